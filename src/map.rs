//! [`Map`]: the results of one function on many items, in their order.
//!
//! It gets a function to submit with and knows no executor. Items travel in
//! batches; a batch is one task, and a [`Part`] is what is left of it here.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::future::Future;
use crate::panic::catch;

/// How [`Executor::map_with`](crate::Executor::map_with) cuts and limits.
///
/// ```
/// use concurrent_futures::{MapOptions, ThreadPoolExecutor};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let options = MapOptions::new().chunk_size(3);
/// let squares = executor.map_with(options, |n: i32| n * n, 0..10)?;
/// let squares: Vec<i32> = squares.collect::<Result<_, _>>()?;
/// assert_eq!(squares, [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "options do nothing by themselves"]
pub struct MapOptions {
    chunk_size: usize,
    buffer_size: Option<usize>,
    timeout: Option<Duration>,
}

impl MapOptions {
    /// One item a task, all submitted at once, no limit of time.
    pub fn new() -> Self {
        Self {
            chunk_size: 1,
            buffer_size: None,
            timeout: None,
        }
    }

    /// How many items make one task. Larger chunks cost less for each item.
    pub fn chunk_size(mut self, items: usize) -> Self {
        self.chunk_size = items;
        self
    }

    /// How many tasks may be ahead of the reader.
    ///
    /// Then the items are drawn as results are taken, never more, and may be
    /// endless; and the iterator borrows the executor.
    pub fn buffer_size(mut self, tasks: usize) -> Self {
        self.buffer_size = Some(tasks);
        self
    }

    /// The limit for the whole, counted from the call. When it passes, the
    /// iterator gives [`Error::Timeout`] and ends, which cancels the rest.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    fn check(self) -> Result<Self, Error> {
        if self.chunk_size == 0 {
            return Err(Error::invalid_argument("chunk_size must be at least 1"));
        }
        if self.buffer_size == Some(0) {
            return Err(Error::invalid_argument("buffer_size must be at least 1"));
        }
        Ok(self)
    }

    /// For an executor that takes the items one by one.
    pub(crate) fn unchunked(self) -> Result<Self, Error> {
        Ok(self.check()?.chunk_size(1))
    }
}

impl Default for MapOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The results of [`Executor::map`](crate::Executor::map), in the order of the
/// items.
///
/// `next` waits for the next item's result and gives it away. It goes on after
/// an item that failed. **Dropping it** cancels the tasks that have not begun.
///
/// ```
/// use concurrent_futures::{Error, ThreadPoolExecutor};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let mut quotients = executor.map(|n: i32| 12 / n, [3, 0, 4])?;
/// assert_eq!(quotients.next().unwrap()?, 4);
/// assert!(matches!(quotients.next(), Some(Err(Error::Panicked(_)))));
/// assert_eq!(quotients.next().unwrap()?, 3);
/// assert!(quotients.next().is_none());
/// # Ok::<(), Error>(())
/// ```
#[must_use = "dropping it cancels what has not begun"]
pub struct Map<'a, R> {
    /// Submitted and not yet read, in order.
    parts: VecDeque<Part<R>>,
    /// How many parts there have been.
    submitted: u32,
    /// What the last part gave and was not yet taken.
    ready: std::vec::IntoIter<Result<R, Error>>,
    /// Submits the next batch, for a map with a buffer.
    more: Option<More<'a, R>>,
    deadline: Option<Instant>,
}

/// `None`: there are no more items.
type More<'a, R> = Box<dyn FnMut() -> Option<Result<Part<R>, Error>> + 'a>;

/// The items of one task.
pub(crate) enum Batch<A> {
    One(A),
    Many(Vec<A>),
}

/// The task of one batch.
pub(crate) struct Part<R>(Box<dyn Pending<R> + Send>);

trait Pending<R> {
    fn cancel(&self);
    fn done(&self) -> bool;
    /// Whether it is done before the deadline.
    fn wait(&self, deadline: Instant) -> bool;
    fn take(self: Box<Self>) -> Vec<Result<R, Error>>;
}

/// A future, and how its output becomes the results of the items.
struct Unpacked<F, U> {
    future: F,
    unpack: U,
}

impl<R, F, U> Pending<R> for Unpacked<F, U>
where
    F: Future,
    U: FnOnce(Result<F::Output, Error>) -> Vec<Result<R, Error>>,
{
    fn cancel(&self) {
        self.future.cancel();
    }

    fn done(&self) -> bool {
        self.future.done()
    }

    fn wait(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        // Not `result_timeout`: the task may have failed with a time-out too.
        self.future.exception_timeout(left).is_ok()
    }

    fn take(self: Box<Self>) -> Vec<Result<R, Error>> {
        (self.unpack)(self.future.into_result())
    }
}

impl<R: 'static> Part<R> {
    pub(crate) fn one<F>(future: F) -> Self
    where
        F: Future<Output = R> + Send + 'static,
    {
        let unpack = |result| vec![result];
        Self(Box::new(Unpacked { future, unpack }))
    }

    /// A chunk of `items`, run by [`each`].
    pub(crate) fn many<F>(future: F, items: usize) -> Self
    where
        F: Future<Output = Vec<Result<R, Error>>> + Send + 'static,
    {
        let unpack = move |result: Result<Vec<_>, Error>| {
            result.unwrap_or_else(|error| (0..items).map(|_| Err(error.clone())).collect())
        };
        Self(Box::new(Unpacked { future, unpack }))
    }
}

/// Runs `f` on each item of a chunk; one that panics does not end the others.
pub(crate) fn each<A, R>(f: impl Fn(A) -> R, items: Vec<A>) -> Vec<Result<R, Error>> {
    let call = |item| catch(|| f(item)).map_err(Error::Panicked);
    items.into_iter().map(call).collect()
}

/// A way to submit batches, from one to submit single items.
pub(crate) fn one_by_one<A, R, F>(
    mut submit: impl FnMut(A) -> Result<F, Error>,
) -> impl FnMut(Batch<A>) -> Result<Part<R>, Error>
where
    R: 'static,
    F: Future<Output = R> + Send + 'static,
{
    move |batch| match batch {
        Batch::One(item) => submit(item).map(Part::one),
        Batch::Many(_) => unreachable!("its maps are unchunked"),
    }
}

/// Submits all items now; the iterator borrows nothing.
pub(crate) fn eager<A, R>(
    options: MapOptions,
    items: impl IntoIterator<Item = A>,
    submit: impl FnMut(Batch<A>) -> Result<Part<R>, Error>,
) -> Result<Map<'static, R>, Error> {
    let mut map = Map::new(&options.check()?);
    let mut more = batches(options.chunk_size, items.into_iter(), submit);
    map.fill(usize::MAX, &mut more)?;
    Ok(map)
}

/// Submits all items now, or as many as the buffer holds.
pub(crate) fn with<'a, A: 'a, R: 'a, I>(
    options: MapOptions,
    items: I,
    submit: impl FnMut(Batch<A>) -> Result<Part<R>, Error> + 'a,
) -> Result<Map<'a, R>, Error>
where
    I: IntoIterator<Item = A>,
    I::IntoIter: 'a,
{
    let Some(buffer_size) = options.check()?.buffer_size else {
        return eager(options, items, submit);
    };
    let mut map = Map::new(&options);
    let mut more = batches(options.chunk_size, items.into_iter(), submit);
    map.fill(buffer_size, &mut more)?;
    map.more = Some(Box::new(more));
    Ok(map)
}

/// Cuts the items into batches and submits one a call.
fn batches<A, R>(
    chunk_size: usize,
    mut items: impl Iterator<Item = A>,
    mut submit: impl FnMut(Batch<A>) -> Result<Part<R>, Error>,
) -> impl FnMut() -> Option<Result<Part<R>, Error>> {
    move || {
        let batch = if chunk_size == 1 {
            Batch::One(items.next()?)
        } else {
            let chunk: Vec<A> = items.by_ref().take(chunk_size).collect();
            if chunk.is_empty() {
                return None;
            }
            Batch::Many(chunk)
        };
        Some(submit(batch))
    }
}

impl<R> Map<'_, R> {
    fn new(options: &MapOptions) -> Self {
        Self {
            parts: VecDeque::new(),
            submitted: 0,
            ready: Vec::new().into_iter(),
            more: None,
            deadline: options
                .timeout
                .and_then(|timeout| Instant::now().checked_add(timeout)),
        }
    }

    /// Submits until `size` parts are ahead of the reader.
    fn fill(
        &mut self,
        size: usize,
        more: &mut impl FnMut() -> Option<Result<Part<R>, Error>>,
    ) -> Result<(), Error> {
        while self.parts.len() < size {
            match more() {
                Some(part) => self.push(part?),
                None => break,
            }
        }
        Ok(())
    }

    fn push(&mut self, part: Part<R>) {
        self.parts.push_back(part);
        self.submitted = self.submitted.saturating_add(1);
    }

    /// Submits one more batch in place of the one that was read.
    fn refill(&mut self) -> Option<Error> {
        match self.more.as_mut()?() {
            Some(Ok(part)) => {
                self.push(part);
                None
            }
            Some(Err(error)) => {
                self.more = None;
                Some(error)
            }
            None => {
                self.more = None;
                None
            }
        }
    }

    /// Cancels what has not begun; the iterator is at its end.
    fn give_up(&mut self) {
        self.more = None;
        self.ready = Vec::new().into_iter();
        // The last first: a worker takes the first ones meanwhile.
        while let Some(part) = self.parts.pop_back() {
            part.0.cancel();
        }
    }

    fn timeout(&self) -> Error {
        let unfinished = self.parts.iter().filter(|part| !part.0.done()).count();
        Error::Timeout {
            unfinished: u32::try_from(unfinished).unwrap_or(u32::MAX),
            total: self.submitted,
        }
    }
}

impl<R> Iterator for Map<'_, R> {
    type Item = Result<R, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(result) = self.ready.next() {
                return Some(result);
            }
            let part = self.parts.pop_front()?;
            if self.deadline.is_some_and(|deadline| !part.0.wait(deadline)) {
                self.parts.push_front(part);
                let error = self.timeout();
                self.give_up();
                return Some(Err(error));
            }
            let mut results = part.0.take();
            results.extend(self.refill().map(Err));
            self.ready = results.into_iter();
        }
    }
}

impl<R> Drop for Map<'_, R> {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl<R> fmt::Debug for Map<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("ready", &self.ready.len())
            .field("ahead", &self.parts.len())
            .finish_non_exhaustive()
    }
}
