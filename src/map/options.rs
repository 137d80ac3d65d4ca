//! [`MapOptions`]: the chunk size, the buffer size and the timeout of a map.

use std::time::Duration;

use crate::error::Error;

/// Options for [`Executor::map_with`](crate::Executor::map_with): the chunk size, the
/// buffer size and the timeout.
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
    /// The number of items of one task, or `None` if each map chooses its chunk sizes
    /// automatically.
    pub(super) chunk_size: Option<usize>,
    pub(super) buffer_size: Option<usize>,
    pub(super) timeout: Option<Duration>,
}

impl MapOptions {
    /// Creates the default options: one item for each task, no buffer, and no timeout.
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

    /// Sets the number of items of each task. The last task may have fewer items. Larger
    /// chunks cost less for each item. The [`Executor`](crate::Executor)s that submit each
    /// item as one task, for example [`InlineExecutor`](crate::InlineExecutor), ignore this
    /// number.
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

    /// Chooses the chunk sizes automatically. The sizes follow the measured run time of the
    /// items: short items share tasks, and long items become tasks of their own.
    ///
    /// The map measures the chunks that have ended. A chunk has one item until the first
    /// chunk has ended, and then as many items as run for about 0.2 milliseconds, but at
    /// most 4,096 items, and at most as many as the ended chunks had together. If the
    /// iterator knows the number of its items, the chunks become smaller towards the end,
    /// so that all workers end at about the same time. If the pool is so busy with other
    /// tasks that it begins no chunk, the size doubles after each 4,096 chunks.
    ///
    /// Without a [buffer](Self::buffer_size), the map may submit most items before many
    /// items have run, so most chunk sizes may follow from the run time of the first items.
    /// With a buffer, the chunk sizes also follow the run time of later items. The
    /// [`Executor`](crate::Executor)s that submit each item as one task, for example
    /// [`InlineExecutor`](crate::InlineExecutor), make no chunks.
    ///
    /// ```
    /// use concurrent_futures::{MapOptions, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::with_max_workers(2)?;
    /// let options = MapOptions::new().automatic_chunks();
    /// let sum: Result<u64, _> = executor.map_with(options, |n: u64| n, 0..1000)?.sum();
    /// assert_eq!(sum?, 499_500);
    /// assert!(executor.shutdown().finished <= 1000); // at most one task for each item
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn automatic_chunks(mut self) -> Self {
        self.chunk_size = None;
        self
    }

    /// Limits the number of submitted tasks whose results the iterator has not read yet.
    /// The iterator reads all results of a task when the caller takes the first of them.
    ///
    /// With a buffer, the map takes further items from the iterator of items only when the
    /// caller takes results, so the iterator may be endless. The returned iterator borrows
    /// the executor. Before the map returns a result, it may take the items of one more
    /// task from the iterator of items. If that iterator waits for the result before it
    /// yields these items, the map hangs.
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

    /// Limits the time for all items. The time begins with the call of `map_with`. When the
    /// time is over, the iterator still returns results as long as the next result is
    /// available. At the first result that is not available, the iterator returns
    /// [`Error::Timeout`], cancels the tasks that have not begun, and ends.
    ///
    /// After the time, the map stops waiting for room in a bounded queue, and a map with a
    /// [buffer](Self::buffer_size) submits no more tasks. In both cases the map drops the
    /// items of the next task, and the error counts this task as not finished. The limit
    /// does not end a wait for the iterator of items. A map without a buffer submits items
    /// after the time too, as long as the queue has room. An executor that inherits
    /// `map_with` from [`Executor`](crate::Executor) does not pass the limit to its
    /// `submit`.
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

    /// Checks the options, and sets the chunk size to 1 for an executor that submits each
    /// item as one task.
    pub(crate) fn unchunked(self) -> Result<Self, Error> {
        Ok(self.check()?.chunk_size(1))
    }
}

impl Default for MapOptions {
    fn default() -> Self {
        Self::new()
    }
}
