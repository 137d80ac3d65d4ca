//! [`Unordered`]: the results of a map in the order in which the tasks end.

use std::fmt;

use super::Map;
use super::batch::Part;
use crate::completion_set::CompletionSet;
use crate::error::Error;

/// The iterator of [`Map::unordered`], which yields the results in the order in which the
/// tasks end, each result with the index of its item.
///
/// **Dropping the iterator** cancels the tasks that have not begun. When the time limit of
/// [`MapOptions::timeout`](crate::MapOptions::timeout) has passed and no result is
/// available, the iterator yields [`Error::Timeout`] and ends. In place of an item's index,
/// the error comes with the number of items that the map has taken so far.
///
/// ```
/// use concurrent_futures::ThreadPoolExecutor;
///
/// let executor = ThreadPoolExecutor::new()?;
/// let mut squares = [0; 3];
/// for (index, square) in executor.map(|n: i32| n * n, 1..=3)?.unordered() {
///     squares[index] = square?;
/// }
/// assert_eq!(squares, [1, 4, 9]);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[must_use = "dropping it cancels what has not begun"]
pub struct Unordered<'a, R> {
    /// The map, whose parts are in `completion_set` instead of in the map.
    pub(super) map: Map<'a, R>,
    pub(super) completion_set: CompletionSet<Part<R>>,
}

impl<R: 'static> Iterator for Unordered<'_, R> {
    type Item = (usize, Result<R, Error>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(result) = self.map.ready.next() {
                return Some(result);
            }
            self.take_parts();
            // After the last submitted batch, items may still remain if the user's iterator
            // has panicked. Then `refill` submits the next batch.
            if self.completion_set.len() == 0 {
                self.map.refill();
                self.take_parts();
            }
            if self.completion_set.len() == 0 {
                return None;
            }
            let Some(part) = self.completion_set.take_next(self.map.deadline) else {
                let error = self.map.timeout(self.completion_set.len());
                self.give_up();
                return Some((self.map.drawn, Err(error)));
            };
            self.map.read(part);
            self.take_parts();
        }
    }
}

impl<R: 'static> Unordered<'_, R> {
    fn take_parts(&mut self) {
        for part in self.map.parts.drain(..) {
            self.completion_set.add(part);
        }
    }
}

impl<R> Unordered<'_, R> {
    fn give_up(&mut self) {
        let parts = self.completion_set.take_all();
        self.map
            .parts
            .extend(parts.into_iter().map(|(_, part)| part));
        self.map.give_up();
    }
}

impl<R> Drop for Unordered<'_, R> {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl<R> fmt::Debug for Unordered<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unordered")
            .field("ready", &self.map.ready.size_hint().0)
            .field("ahead", &self.completion_set.len())
            .finish_non_exhaustive()
    }
}
