//! [`MapOptions`]: the chunk size, the buffer size and the timeout of a map.

use std::time::Duration;

use crate::error::Error;

/// Options for [`Executor::map_with`](crate::Executor::map_with): chunks, buffer,
/// timeout.
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
    /// The number of items of one task. `None` chooses the chunk sizes for each map.
    pub(super) chunk_size: Option<usize>,
    pub(super) buffer_size: Option<usize>,
    pub(super) timeout: Option<Duration>,
}

impl MapOptions {
    /// Creates options for tasks of one item each, which are all submitted at once, and
    /// without a timeout.
    ///
    /// ```
    /// use concurrent_futures::{InlineExecutor, MapOptions};
    ///
    /// let executor = InlineExecutor::new()?;
    /// let doubled = executor.map_with(MapOptions::new(), |n: i32| 2 * n, [1, 2])?;
    /// assert_eq!(doubled.sum::<Result<i32, _>>()?, 6);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn new() -> Self {
        Self {
            chunk_size: Some(1),
            buffer_size: None,
            timeout: None,
        }
    }

    /// Sets the number of items that make one task. Larger chunks cost less for
    /// each item.
    ///
    /// ```
    /// use concurrent_futures::{MapOptions, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let options = MapOptions::new().chunk_size(50);
    /// assert_eq!(executor.map_with(options, |n: i32| n, 0..100)?.count(), 100);
    /// assert_eq!(executor.shutdown().finished, 2);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn chunk_size(mut self, items: usize) -> Self {
        self.chunk_size = Some(items);
        self
    }

    /// Chooses the chunk sizes automatically. If the iterator knows the number of its
    /// items, the map makes four chunks for each worker. If not, the first chunk has
    /// one item, and the size doubles up to 1,024 items.
    ///
    /// ```
    /// use concurrent_futures::{MapOptions, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::with_max_workers(2)?;
    /// let options = MapOptions::new().automatic_chunks();
    /// let sum: Result<u64, _> = executor.map_with(options, |n: u64| n, 0..1000)?.sum();
    /// assert_eq!(sum?, 499_500);
    /// assert_eq!(executor.shutdown().finished, 8);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn automatic_chunks(mut self) -> Self {
        self.chunk_size = None;
        self
    }

    /// Limits the number of tasks that are submitted and whose results the caller has
    /// not yet taken.
    ///
    /// With a buffer, the map draws new items only when the caller takes results, so
    /// the items may be endless. The returned iterator borrows the executor. The map
    /// draws the next item before it returns the result that makes room for the item.
    /// An iterator of items that waits for this result before it yields the next item
    /// therefore hangs.
    ///
    /// ```
    /// use concurrent_futures::{MapOptions, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let options = MapOptions::new().buffer_size(8);
    /// let mut squares = executor.map_with(options, |n: u64| n * n, 1..)?;
    /// assert!(squares.any(|square| square.is_ok_and(|n| n > 1000)));
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn buffer_size(mut self, tasks: usize) -> Self {
        self.buffer_size = Some(tasks);
        self
    }

    /// Limits the time for all items, counted from the call of `map_with`. If `next`
    /// would have to wait longer, the iterator returns [`Error::Timeout`], cancels the
    /// tasks that have not begun, and ends. Before that, the iterator still returns the
    /// results that are done.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::{Error, MapOptions, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let options = MapOptions::new().timeout(Duration::from_millis(1));
    /// let naps = [1, 0].map(Duration::from_secs);
    /// let mut naps = executor.map_with(options, std::thread::sleep, naps)?;
    /// assert!(matches!(naps.next(), Some(Err(Error::Timeout { total: 2, .. }))));
    /// assert!(naps.next().is_none());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    pub(super) fn check(self) -> Result<Self, Error> {
        if self.chunk_size == Some(0) {
            return Err(Error::invalid_argument("chunk_size must be at least 1"));
        }
        if self.buffer_size == Some(0) {
            return Err(Error::invalid_argument("buffer_size must be at least 1"));
        }
        Ok(self)
    }

    /// Returns the options with a chunk size of 1, for an executor that takes the items
    /// one by one.
    pub(crate) fn unchunked(self) -> Result<Self, Error> {
        Ok(self.check()?.chunk_size(1))
    }
}

impl Default for MapOptions {
    fn default() -> Self {
        Self::new()
    }
}
