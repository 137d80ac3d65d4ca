//! [`Map`]: an iterator over the results of one function for many items, in the order of
//! the items.
//!
//! This module depends on no executor: each executor passes a function that submits one
//! *batch*, the items of one task. The module [`batch`] cuts the items into batches. The
//! iterator [`Unordered`] yields the results in the order in which the tasks end.

mod batch;
mod chunk_size;
mod contained_vec;
mod measured;
mod options;
mod unordered;

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::time::Instant;

pub(crate) use self::batch::{Batch, Part, each, one_by_one};
pub(crate) use self::contained_vec::ContainedVec;
pub(crate) use self::measured::ChunkTimer;
pub use self::options::MapOptions;
pub use self::unordered::Unordered;

use self::batch::{Indexed, batches};
use crate::completion_set::CompletionSet;
use crate::error::Error;
use crate::panic::contain_drop;
use crate::waitable::Waitable;

/// An iterator over the results of [`Executor::map`](crate::Executor::map), in the order of
/// the items.
///
/// `next` waits for the result of the next item and returns this result. The error of one
/// item does not end the iterator. **Dropping a `Map`** cancels the tasks that have not
/// begun, so keep the `Map` until you have all results.
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
    /// The futures of the submitted batches whose results the map has not read yet, in the
    /// order of the items.
    parts: VecDeque<Part<R>>,
    /// In a map with a buffer, the number of batches that the map still has to submit, to
    /// take the place of the batches that it has read. After a panic of the user's iterator
    /// in `refill`, this number is still 1 or more, so a later call of `next` submits the
    /// batch.
    to_submit: usize,
    /// The number of batches that the map has submitted so far, including a batch that the
    /// executor refused or that was too late for the deadline.
    submitted: u32,
    /// The number of items in these batches.
    drawn: usize,
    /// The results of the last batch that the map has read, without the results that `next`
    /// has already returned.
    ready: Indexed<R>,
    /// The function that submits the next batch, or `None` if the map has no buffer, no
    /// items remain, the executor has refused a batch, or the map has given up.
    more: Option<More<'a, R>>,
    deadline: Option<Instant>,
}

/// A function that submits the next batch. If its argument is `false`, the map's deadline
/// has passed, and the function drops the batch instead. It returns how many items the
/// batch has, and the future of their results ([`Part`]) or the error of the submission. It
/// returns `None` if no items remain, or after a batch that was too late for the deadline.
type More<'a, R> = Box<dyn FnMut(bool) -> Option<(usize, Result<Part<R>, Error>)> + 'a>;

/// Submits all items before it returns, so that the returned iterator borrows neither the
/// executor nor the items.
pub(crate) fn eager<A, R: 'static>(
    options: MapOptions,
    workers: usize,
    items: impl IntoIterator<Item = A>,
    submit: impl FnMut(Batch<A>, Option<Instant>) -> Result<Part<R>, Error>,
) -> Result<Map<'static, R>, Error> {
    let mut map = Map::new(&options.check()?);
    let mut more = batches(options, workers, map.deadline, items.into_iter(), submit);
    map.fill(usize::MAX, &mut more)?;
    Ok(map)
}

/// Submits as many batches as the map's buffer holds. Without a buffer, submits all items.
pub(crate) fn with<'a, A: 'a, R: 'static, I>(
    options: MapOptions,
    workers: usize,
    items: I,
    submit: impl FnMut(Batch<A>, Option<Instant>) -> Result<Part<R>, Error> + 'a,
) -> Result<Map<'a, R>, Error>
where
    I: IntoIterator<Item = A>,
    I::IntoIter: 'a,
{
    let Some(buffer_size) = options.check()?.buffer_size else {
        return eager(options, workers, items, submit);
    };
    let mut map = Map::new(&options);
    let mut more = batches(options, workers, map.deadline, items.into_iter(), submit);
    map.fill(buffer_size, &mut more)?;
    map.more = Some(Box::new(more));
    Ok(map)
}

impl<'a, R: 'static> Map<'a, R> {
    fn new(options: &MapOptions) -> Self {
        Self {
            parts: VecDeque::new(),
            to_submit: 0,
            submitted: 0,
            drawn: 0,
            ready: (0..).zip(Vec::new()),
            more: None,
            deadline: options
                .timeout
                .and_then(|timeout| Instant::now().checked_add(timeout)),
        }
    }

    /// Returns an iterator that yields the results in the order in which the tasks end,
    /// each result with the index of its item. The results of tasks that ended before this
    /// call come in the order of the items.
    ///
    /// ```
    /// use concurrent_futures::ThreadPoolExecutor;
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let names = ["one", "three"];
    /// for (index, length) in executor.map(str::len, names)?.unordered() {
    ///     assert_eq!(length?, names[index].len());
    /// }
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn unordered(mut self) -> Unordered<'a, R> {
        let mut completion_set = CompletionSet::new();
        for part in self.parts.drain(..) {
            completion_set.add(part);
        }
        Unordered {
            map: self,
            completion_set,
        }
    }

    /// Submits batches until the map has `size` unread batches, or until no items remain.
    fn fill(
        &mut self,
        size: usize,
        more: &mut impl FnMut(bool) -> Option<(usize, Result<Part<R>, Error>)>,
    ) -> Result<(), Error> {
        while self.parts.len() < size {
            match more(true) {
                Some((items, part)) => self.push(items, part?),
                None => break,
            }
        }
        Ok(())
    }

    fn push(&mut self, items: usize, mut part: Part<R>) {
        part.first = self.drawn;
        self.drawn += items;
        self.submitted = self.submitted.saturating_add(1);
        self.parts.push_back(part);
    }

    /// Waits for the results of a batch. A map with a buffer then submits one more batch to
    /// take the place of this batch.
    fn read(&mut self, part: Part<R>) {
        self.ready = part.take();
        self.to_submit += 1;
        self.refill();
    }

    /// Submits new batches in place of the batches that the map has read. Submits none
    /// after the deadline. If the executor refuses a batch, the error becomes the result
    /// of each item of the batch, and the map submits no further batch.
    fn refill(&mut self) {
        while let Some(more) = self.more.as_mut().filter(|_| self.to_submit > 0) {
            match more(self.deadline.is_none_or(|at| Instant::now() < at)) {
                Some((items, Ok(part))) => self.push(items, part),
                Some((items, Err(error))) => {
                    self.push(items, Part::refused(error, items));
                    // The drop of the user's iterator may panic, so it comes after `push`.
                    self.more = None;
                }
                None => self.more = None,
            }
            self.to_submit -= 1;
        }
    }
}

impl<R> Map<'_, R> {
    /// Cancels the tasks that have not begun, drops the results that are left, and ends the
    /// iterator.
    fn give_up(&mut self) {
        // Cancel the last batch first, because the workers begin the first batches first.
        while let Some(part) = self.parts.pop_back() {
            part.cancel();
        }
        for (_, result) in self.ready.by_ref() {
            contain_drop(result);
        }
        // The user's iterator is dropped last, because its `Drop` may panic.
        self.more = None;
    }

    fn timeout(&self, unfinished: usize) -> Error {
        Error::Timeout {
            unfinished: u32::try_from(unfinished).unwrap_or(u32::MAX),
            total: self.submitted,
        }
    }
}

impl<R: 'static> Iterator for Map<'_, R> {
    type Item = Result<R, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((_, result)) = self.ready.next() {
                return Some(result);
            }
            // After the last submitted batch, items may still remain if the user's iterator
            // has panicked. Then `refill` submits the next batch.
            if self.parts.is_empty() {
                self.refill();
            }
            let part = self.parts.pop_front()?;
            if self.deadline.is_some_and(|at| !part.wait(at)) && !part.target().done() {
                self.parts.push_front(part);
                let undone = self.parts.iter().filter(|part| !part.target().done());
                let error = self.timeout(undone.count());
                self.give_up();
                return Some(Err(error));
            }
            self.read(part);
        }
    }
}

impl<R: 'static> FusedIterator for Map<'_, R> {}

impl<R> Drop for Map<'_, R> {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl<R> fmt::Debug for Map<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("ready", &self.ready.size_hint().0)
            .field("ahead", &self.parts.len())
            .finish_non_exhaustive()
    }
}
