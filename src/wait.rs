//! [`wait`] and [`wait_until`], which wait for several futures at once.

use std::time::{Duration, Instant};

use crate::completion_set::{CompletionSet, NotDone};
use crate::waitable::Waitable;

/// The condition that ends a [`wait`].
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
    /// The wait ends when one task has finished or was cancelled.
    FirstCompleted,
    /// The wait ends when one task fails, for example by a panic or because its pool is
    /// broken, or when all tasks are done. As in Python, a cancelled task does not count as
    /// failed. A task that returns an `Err` does not count as failed either. To wait for an
    /// `Err`, use [`wait_until`].
    FirstException,
    /// The wait ends when each task has finished or was cancelled.
    AllCompleted,
}

/// The result of [`wait`] and [`wait_until`]: two lists of futures. The futures in each
/// list are in the order in which the caller passed them.
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
    /// The futures of tasks that have finished or were cancelled.
    pub done: Vec<F>,
    /// The futures of tasks that were pending or running when the wait ended.
    pub not_done: Vec<F>,
}

/// Waits for several futures at once, for `timeout` at most.
///
/// The items of `futures` are futures, references to futures, or pairs of a key and a
/// future, see [`Waitable`]. A future that the caller passes twice counts once. A timeout
/// is no error. After a timeout, the result shows which tasks are done.
///
/// A wait without a time limit also ends if no remaining task can end while this thread
/// waits. A task counts as unable to end if this thread runs the task itself or the
/// initializer of the task's thread pool, or if this thread is the one in which the task's
/// process pool runs callbacks. The wait also ends if this thread is a worker that would
/// run an awaited task itself, but has too little stack left. In a forked child, the wait
/// does not wait for tasks of the parent process, which never end there. In these cases,
/// `not_done` has the futures of the tasks that are not done. The
/// [`result`](crate::TaskFuture::result) of such a future returns the error that says why
/// the task cannot end, in most cases [`Error::WouldDeadlock`](crate::Error).
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

/// Waits until `enough` returns `true` for a future that is done, or until all futures are
/// done. The wait ends after `timeout` at the latest, and earlier in the cases in which
/// [`wait`] does.
///
/// The waiting thread calls `enough` once for each future that is done before the wait
/// ends. The futures that were done from the start come first, and the others follow in the
/// order in which their tasks end. The argument of `enough` is the item that the caller
/// passed for this future. In a forked child, the thread also calls `enough` for futures of
/// the parent process that are not done.
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
    let all = completion_set.len();
    // The futures that have left the set, each with its index and with `true` if its task is
    // done. After the loop, the other futures follow, with `false`.
    let mut arrived: Vec<(usize, bool, F)> = Vec::with_capacity(all);
    let mut is_enough = false;
    let mut can_end = true;
    while can_end && completion_set.len() > 0 && !is_enough {
        let numbers: Vec<usize> = match completion_set.next(deadline) {
            // The code takes the numbers of all tasks that have arrived, so that the result
            // contains all tasks that have ended so far.
            Ok(number) => std::iter::once(number)
                .chain(std::iter::from_fn(|| completion_set.try_next()))
                .collect(),
            Err(NotDone::TimedOut) => break,
            Err(NotDone::Deadlock | NotDone::NoStack(_)) => {
                can_end = false;
                // If this process was forked during the wait, no task number arrives here.
                // So the code searches for the tasks that were done before the fork.
                let is_done = |number: &usize| {
                    let item = completion_set.item(*number);
                    item.is_some_and(|item| item.target().done())
                };
                (0..all).filter(is_done).collect()
            }
        };
        for number in numbers {
            // A future that has arrived leaves the set. If it stayed, the set would count
            // its task as one that can still end, and would not notice that no other task
            // can end.
            let Some(item) = completion_set.take(number) else {
                continue;
            };
            is_enough |= enough(&item);
            // The code checks `done`, because in a forked child `next` may return a task of
            // the parent process that is not done.
            let is_done = item.target().done();
            arrived.push((number, is_done, item));
        }
    }
    let left = completion_set.take_all().into_iter();
    arrived.extend(left.map(|(number, item)| (number, false, item)));
    arrived.sort_unstable_by_key(|(number, ..)| *number);
    let (mut done, mut not_done) = (Vec::new(), Vec::new());
    for (_, is_done, future) in arrived {
        if is_done {
            done.push(future);
        } else {
            not_done.push(future);
        }
    }
    Waited { done, not_done }
}
