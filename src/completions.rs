//! [`completions`]: futures as a channel, to stand beside other channels.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{Wake, Waker};

use crossbeam_channel::{Receiver, RecvError, Sender, unbounded};

use crate::completion::{InlineRunner, WakerKey};
use crate::completion_set::Entry;
use crate::sync::{Mutex, MutexGuard};
use crate::sys::fork::Origin;
use crate::waitable::Waitable;

/// A channel over which each future comes as it ends.
///
/// For [`crossbeam_channel::select!`], where futures then stand beside a
/// program's own channels. The channel is disconnected when all have come. A worker
/// that waits for tasks of its own pool takes [`Completions::recv`], for a channel runs
/// none of them.
///
/// ```
/// use concurrent_futures::crossbeam_channel::{select, unbounded};
/// use concurrent_futures::{ThreadPoolExecutor, completions};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let (sender, commands) = unbounded::<&str>();
/// let ended = completions([("answer", executor.spawn(|| 42)?)]);
/// select! {
///     recv(ended) -> pair => {
///         let (name, future) = pair.expect("one is left");
///         assert_eq!((name, future.into_result()?), ("answer", 42));
///     }
///     recv(commands) -> command => unreachable!("nobody sends {command:?}"),
/// }
/// assert!(ended.recv().is_err()); // no more
/// # drop(sender);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
pub fn completions<F>(futures: impl IntoIterator<Item = F>) -> Completions<F>
where
    F: Waitable + Send + 'static,
{
    let (sender, receiver) = unbounded();
    // Made first, so that its `Drop` takes back what is registered if the
    // iterator panics.
    let all = Completions {
        receiver,
        waiting: Arc::new(Mutex::new(Waiting::default())),
        origin: Origin::current(),
    };
    for (number, item) in futures.into_iter().enumerate() {
        let waker = Waker::from(Arc::new(ArrivalWaker {
            waiting: Arc::clone(&all.waiting),
            sender: sender.clone(),
            number,
        }));
        // Held while the task is polled: the waker looks here, and may be woken
        // before this is through.
        let mut waiting = all.waiting.lock();
        let mut key = WakerKey::default();
        if item.target().poll(&mut key, &waker) {
            drop(waiting);
            // Never refused: the receiver is not handed out yet.
            let _ = sender.send(item);
        } else {
            waiting.entries.insert(number, Entry { item, key });
        }
    }
    all
}

/// The futures that have not come.
struct Waiting<F> {
    /// By number.
    entries: BTreeMap<usize, Entry<F>>,
    /// For each thread that has received: the number below which it has tried to run
    /// all inline.
    tried_inline: Vec<(InlineRunner, usize)>,
}

impl<F> Default for Waiting<F> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            tried_inline: Vec::new(),
        }
    }
}

/// The waker of the task with this number.
struct ArrivalWaker<F> {
    waiting: Arc<Mutex<Waiting<F>>>,
    sender: Sender<F>,
    number: usize,
}

impl<F: Send + 'static> Wake for ArrivalWaker<F> {
    fn wake(self: Arc<Self>) {
        let entry = self.waiting.lock().entries.remove(&self.number);
        if let Some(entry) = entry {
            // Refused if the receiver was dropped.
            let _ = self.sender.send(entry.item);
        }
    }
}

/// The channel of [`completions`]: a [`Receiver`] of futures, by `Deref`.
///
/// **Dropping it** leaves nothing behind in the futures, and cancels none. That
/// is why it is not the bare receiver, which could not do that.
///
/// ```
/// use concurrent_futures::{ThreadPoolExecutor, completions};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let futures = [executor.spawn(|| 1)?, executor.spawn(|| 2)?];
/// let sum: Result<i32, _> = completions(futures).iter().map(|f| f.into_result()).sum();
/// assert_eq!(sum?, 3);
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
#[must_use = "dropped at once, it receives nothing"]
pub struct Completions<F: Waitable + Send + 'static> {
    receiver: Receiver<F>,
    waiting: Arc<Mutex<Waiting<F>>>,
    /// The process that it was made in: in a fork nothing arrives.
    origin: Origin,
}

impl<F: Waitable + Send + 'static> Completions<F> {
    /// Waits for the next future, as [`Receiver::recv`] does; and on a worker runs
    /// those that have not begun and that this worker can run, which a channel
    /// cannot.
    ///
    /// If none of them can be done while this thread waits (in one of the tasks, in a
    /// callback of their process pool, in a fork), one comes that is not done: its
    /// `result` is the error that says why.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use concurrent_futures::{ThreadPoolExecutor, completions};
    ///
    /// let executor = ThreadPoolExecutor::builder().max_workers(1).build()?;
    /// let executor = Arc::new(executor);
    /// let inner = Arc::clone(&executor);
    /// let outer = executor.spawn(move || {
    ///     // This worker is the only one.
    ///     let ended = completions(inner.spawn(|| 42));
    ///     ended.recv().map(|future| future.into_result())
    /// })?;
    /// assert_eq!(outer.into_result()?.expect("one is left")?, 42);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RecvError`]: all have come.
    pub fn recv(&self) -> Result<F, RecvError> {
        loop {
            if let Ok(future) = self.receiver.try_recv() {
                return Ok(future);
            }
            match self.next_to_try_inline() {
                Some((number, entry)) => {
                    if let Some(future) = self.run_inline(number, entry) {
                        return Ok(future);
                    }
                }
                None => break,
            }
        }
        if let Some(future) = self.take_if_none_can_come() {
            return Ok(future);
        }
        if !self.origin.is_here() {
            return Err(RecvError);
        }
        self.receiver.recv()
    }

    /// Receives all that are left, as [`Receiver::iter`] does, by [`recv`](Self::recv).
    ///
    /// ```
    /// use concurrent_futures::{completions, promise};
    ///
    /// let (promise, future) = promise();
    /// let ended = completions([future]);
    /// promise.set_result(1)?;
    /// assert_eq!(ended.iter().count(), 1);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = F> + '_ {
        std::iter::from_fn(|| self.recv().ok())
    }

    /// Takes one out that this thread has not tried to run inline.
    fn next_to_try_inline(&self) -> Option<(usize, Entry<F>)> {
        let mut waiting = self.locked().filter(|_| self.origin.is_here())?;
        let us = InlineRunner::current();
        let known = waiting
            .tried_inline
            .iter()
            .position(|(thread, _)| *thread == us);
        let at = known.unwrap_or_else(|| {
            waiting.tried_inline.push((us, 0));
            waiting.tried_inline.len() - 1
        });
        let first = waiting.tried_inline[at].1;
        let mut left = waiting.entries.range(first..);
        // One that this thread cannot run stays: another thread that looks for what it
        // can run would not see it again.
        let found = left.find(|(_, entry)| entry.item.target().may_run_inline());
        let found = found.map(|(number, _)| *number);
        waiting.tried_inline[at].1 = found.map_or(usize::MAX, |number| number + 1);
        let number = found?;
        let entry = waiting.entries.remove(&number)?;
        Some((number, entry))
    }

    /// Runs the task if it has not begun and this thread is a worker that can run it.
    /// Returns its future if it is done then, or puts it back.
    fn run_inline(&self, number: usize, entry: Entry<F>) -> Option<F> {
        // Not under the lock, which the task's waker takes.
        entry.item.target().run_inline();
        // The task may have forked.
        let waiting = self.locked();
        let Some(mut waiting) = waiting.filter(|_| !entry.item.target().done()) else {
            // Its waker may have found the place empty.
            return Some(entry.leave());
        };
        // Its waker comes later than this, for it comes when the task is done.
        waiting.entries.insert(number, entry);
        None
    }

    /// Takes one out if none of them can be done while this thread waits.
    fn take_if_none_can_come(&self) -> Option<F> {
        let mut waiting = self.locked()?;
        let mut left = waiting.entries.values();
        if !left.all(|entry| entry.item.target().needs_this_thread()) {
            return None;
        }
        let (_, entry) = waiting.entries.pop_first()?;
        drop(waiting);
        // Without its waker, by which the channel would stay connected.
        Some(entry.leave())
    }

    /// Locks the entries; `None` in a fork, if another thread held the lock at the fork.
    fn locked(&self) -> Option<MutexGuard<'_, Waiting<F>>> {
        if self.origin.is_here() {
            Some(self.waiting.lock())
        } else {
            self.waiting.try_lock()
        }
    }
}

impl<F: Waitable + Send + 'static> Deref for Completions<F> {
    type Target = Receiver<F>;

    fn deref(&self) -> &Receiver<F> {
        &self.receiver
    }
}

impl<F: Waitable + Send + 'static> Drop for Completions<F> {
    fn drop(&mut self) {
        let entries = self
            .locked()
            .map(|mut all| std::mem::take(&mut all.entries));
        for entry in entries.into_iter().flat_map(BTreeMap::into_values) {
            drop(entry.leave());
        }
    }
}

impl<F: Waitable + Send + 'static> fmt::Debug for Completions<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completions")
            .field("ready", &self.receiver.len())
            .finish_non_exhaustive()
    }
}
