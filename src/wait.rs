//! [`wait`] and [`wait_until`]: several futures, one wait.

use std::time::{Duration, Instant};

use crate::completion_set::{CompletionSet, NotDone};
use crate::waitable::Waitable;

/// The condition that [`wait`] waits for.
///
/// ```
/// use concurrent_futures::{Error, ReturnWhen, promise, wait};
///
/// let (first, first_future) = promise::<i32>();
/// let (_second, second_future) = promise::<i32>();
/// first.set_exception(Error::other("no"))?;
/// let waited = wait(
///     [&first_future, &second_future],
///     ReturnWhen::FirstException,
///     None,
/// );
/// assert_eq!((waited.done.len(), waited.not_done.len()), (1, 1));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReturnWhen {
    /// Until one is done or cancelled.
    FirstCompleted,
    /// Until one fails: by a panic, or with its pool. A cancel does not count,
    /// as in Python, nor a task's own `Err`: for that there is [`wait_until`].
    FirstException,
    /// Until all are done or cancelled.
    AllCompleted,
}

/// The result of [`wait`]: each future in one list, in the order in which they were
/// given.
///
/// ```
/// use std::time::Duration;
/// use concurrent_futures::{ReturnWhen, promise, wait};
///
/// let (_promise, future) = promise::<i32>();
/// let waited = wait([future], ReturnWhen::AllCompleted, Some(Duration::ZERO));
/// assert!(waited.done.is_empty());
/// assert!(waited.not_done[0].cancel());
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Waited<F> {
    /// Finished or cancelled.
    pub done: Vec<F>,
    /// Pending or running.
    pub not_done: Vec<F>,
}

/// Waits for several futures at once, for `timeout` at most.
///
/// Takes futures or whatever stands for them, see [`Waitable`]; one that is
/// given twice counts once. A timeout is no error: it returns what is so far.
///
/// Without a limit it also returns if all that are left need the waiting thread: in
/// one of the tasks themselves, in a callback of their process pool, in the
/// initializer of their thread pool, in a fork. They are `not_done` then, and their
/// [`result`](crate::TaskFuture::result) is [`Error::WouldDeadlock`](crate::Error).
///
/// ```
/// use concurrent_futures::{ReturnWhen, ThreadPoolExecutor, wait};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let squares = (1..=3).map(|n| executor.submit(|n: i32| n * n, n));
/// let squares = squares.collect::<Result<Vec<_>, _>>()?;
/// let waited = wait(squares, ReturnWhen::AllCompleted, None);
/// let sum: Result<i32, _> = waited.done.into_iter().map(|f| f.into_result()).sum();
/// assert_eq!(sum?, 14);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[doc(alias = "select")]
#[doc(alias = "join_all")]
pub fn wait<F: Waitable>(
    futures: impl IntoIterator<Item = F>,
    return_when: ReturnWhen,
    timeout: Option<Duration>,
) -> Waited<F> {
    let enough = |future: &F| match return_when {
        ReturnWhen::FirstCompleted => true,
        ReturnWhen::FirstException => future.target().failed(),
        ReturnWhen::AllCompleted => false,
    };
    wait_until(futures, enough, timeout)
}

/// Waits until `enough` says so of a future that is done, or until all are
/// done, or for `timeout` at most.
///
/// `enough` is asked once for each future that is done, in the order in which
/// they end, and gets the very item that was handed in.
///
/// ```
/// use concurrent_futures::{ThreadPoolExecutor, wait_until};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let parse = |text: &'static str| text.parse::<i32>();
/// let numbers = ["1", "two", "3"].map(|text| (text, executor.submit(parse, text)));
/// let numbers = numbers.map(|(text, future)| (text, future.expect("it is open")));
/// let waited = wait_until(
///     &numbers,
///     |(_, number)| number.result().is_ok_and(Result::is_err),
///     None,
/// );
/// assert!(waited.done.iter().any(|(text, _)| *text == "two"));
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
pub fn wait_until<F: Waitable>(
    futures: impl IntoIterator<Item = F>,
    mut enough: impl FnMut(&F) -> bool,
    timeout: Option<Duration>,
) -> Waited<F> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let wanted = futures.into_iter();
    let mut completion_set = CompletionSet::new();
    for future in wanted {
        completion_set.add(future);
    }
    let mut ended = vec![false; completion_set.len()];
    let mut left = completion_set.len();
    let mut is_enough = false;
    while left > 0 && !is_enough {
        let numbers: Vec<usize> = match completion_set.next(deadline) {
            // Drain all that have arrived before returning, so that tasks that ended
            // together are reported together.
            Ok(number) => std::iter::once(number)
                .chain(std::iter::from_fn(|| completion_set.try_next()))
                .collect(),
            Err(NotDone::TimedOut) => break,
            Err(NotDone::Deadlock) => {
                // In a fork, where nothing arrives, some may be done nevertheless.
                let is_done = |number: &usize| {
                    let item = completion_set.item(*number);
                    !ended[*number] && item.is_some_and(|item| item.target().done())
                };
                left = 0;
                (0..ended.len()).filter(is_done).collect()
            }
        };
        for number in numbers {
            // In a fork, one of the parent's is given out though it never ends.
            ended[number] = completion_set
                .item(number)
                .is_some_and(|item| item.target().done());
            left = left.saturating_sub(1);
            is_enough |= completion_set.item(number).is_some_and(&mut enough);
        }
    }
    let (mut done, mut not_done) = (Vec::new(), Vec::new());
    for (number, future) in completion_set.take_all() {
        if ended[number] {
            done.push(future);
        } else {
            not_done.push(future);
        }
    }
    Waited { done, not_done }
}
