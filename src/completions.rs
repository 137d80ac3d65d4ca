//! [`completions`]: a channel that receives futures. A `select!` can wait for this channel
//! and for other channels.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{Wake, Waker};

use crossbeam_channel::{Receiver, RecvError, Sender, unbounded};

use crate::completion::{InlineRunner, WakerKey};
use crate::completion_set::Entry;
use crate::sync::{Mutex, MutexGuard};
use crate::sys::fork::{Origin, keep};
use crate::waitable::Waitable;

/// Creates a channel that receives each future when the future's task ends.
///
/// Use the channel in [`crossbeam_channel::select!`] together with the program's own
/// channels. The channel is disconnected when all futures have arrived. A worker that waits
/// for tasks of its own pool must call [`Completions::recv`] or [`Completions::iter`]. Only
/// these methods run the awaited tasks on the waiting worker itself. If all workers wait
/// in another way, no worker is left to run the tasks.
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
///     recv(commands) -> command => unreachable!("no thread sends {command:?}"),
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
    // `all` is created before the loop, so that its `Drop` removes the registered wakers if
    // the iterator panics.
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
        // Another thread may call the waker before the entry is inserted into `waiting`.
        // The waker then waits for the lock, which this thread holds from the poll to the
        // insertion, and so finds the entry.
        let mut waiting = all.waiting.lock();
        let mut key = WakerKey::default();
        if item.target().poll(&mut key, waker) {
            drop(waiting);
            // `send` cannot fail, because this function still owns the receiver.
            let _ = sender.send(item);
        } else {
            waiting.entries.insert(number, Entry { item, key });
        }
    }
    all
}

/// The futures that have not arrived.
struct Waiting<F> {
    /// The entries of the futures. The key is the future's index in the argument of
    /// `completions`.
    entries: BTreeMap<usize, Entry<F>>,
    /// For each thread that has looked for tasks to run inline (inside its own `recv`): the
    /// index of the first future whose task it has not tried to run yet.
    tried_inline: Vec<(InlineRunner, usize)>,
    /// The thread of each task that a thread runs inline now. The task's entry is not in
    /// `entries` meanwhile.
    run_inline: Vec<InlineRunner>,
}

impl<F> Default for Waiting<F> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            tried_inline: Vec::new(),
            run_inline: Vec::new(),
        }
    }
}

/// The waker of the task whose future has the index `number` in the argument of
/// `completions`.
struct ArrivalWaker<F> {
    waiting: Arc<Mutex<Waiting<F>>>,
    sender: Sender<F>,
    number: usize,
}

impl<F: Send + 'static> Wake for ArrivalWaker<F> {
    fn wake(self: Arc<Self>) {
        let mut waiting = self.waiting.lock();
        let entry = waiting.entries.remove(&self.number);
        // `send` fails only if the receiver was dropped. The user's future is then dropped
        // without the lock.
        let unsent = entry.map(|entry| self.sender.send(entry.item));
        drop(waiting);
        drop(unsent);
    }
}

/// The channel of [`completions`], which dereferences to a [`Receiver`] of futures.
///
/// **Dropping a `Completions`** removes the wakers that it has registered with the tasks,
/// and cancels no task. [`completions`] does not return a plain `Receiver`, because
/// dropping a `Receiver` cannot remove the wakers.
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
    /// The process that created the channel. No future arrives in a forked child.
    origin: Origin,
}

impl<F: Waitable + Send + 'static> Completions<F> {
    /// Waits for the next future, as [`Receiver::recv`] does. If the calling thread is a
    /// worker, the method first runs the awaited tasks that belong to this worker's pool
    /// and have not begun, one by one, until a future has arrived.
    ///
    /// If no task can end while this thread waits, the method returns a future that is not
    /// done. The `result` of this future returns the error that says why. The method also
    /// returns such a future if too little stack is left to run its task. No task can end,
    /// for example, if the only remaining task itself calls `recv`, if the thread in which
    /// the tasks' process pool runs callbacks calls `recv`, or in a forked child. The
    /// method checks only once, before it waits, if a task can end. So a task whose future
    /// is in the channel must not call `recv` on this channel while another thread waits in
    /// `recv`. If `recv` runs a task that itself calls `recv` on this channel, the task
    /// gets [`RecvError`] in place of the last future, which is its own.
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
    /// Returns [`RecvError`] if all futures were received. In a forked child, the method
    /// may return `RecvError` earlier, because it does not wait there.
    pub fn recv(&self) -> Result<F, RecvError> {
        loop {
            if !self.origin.is_here() {
                return self.recv_in_fork();
            }
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
        match self.take_if_none_can_come() {
            Some(future) => future.ok_or(RecvError),
            None => self.receiver.recv(),
        }
    }

    fn recv_in_fork(&self) -> Result<F, RecvError> {
        // If a thread of the parent was sending at the fork, `try_recv` would wait until
        // that thread has sent. But a thread that sends holds the lock, so in this case
        // `locked` returns `None`.
        let waiting = self.locked().ok_or(RecvError)?;
        if let Ok(future) = self.receiver.try_recv() {
            return Ok(future);
        }
        Self::take_first(waiting).ok_or(RecvError)
    }

    /// Returns an iterator over the remaining futures. The iterator calls
    /// [`recv`](Self::recv) for each future.
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

    /// Removes and returns the entry of a task that this thread can run inline and has not
    /// yet tried to run.
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
        // The entries of tasks that this thread cannot run stay in the list, because
        // another thread may be able to run these tasks.
        let found = left.find(|(_, entry)| entry.item.target().may_run_inline());
        let found = found.map(|(number, _)| *number);
        waiting.tried_inline[at].1 = found.map_or(usize::MAX, |number| number + 1);
        let number = found?;
        let entry = waiting.entries.remove(&number)?;
        waiting.run_inline.push(us);
        Some((number, entry))
    }

    /// Runs the entry's task inline if the task has not begun and this thread is a worker
    /// that can run the task. Returns the future if the task is done afterwards, if too
    /// little stack is left to run the task, or if `locked` returns `None`. Otherwise puts
    /// the entry back.
    fn run_inline(&self, number: usize, entry: Entry<F>) -> Option<F> {
        // The lock of the entries is not held while the task runs, because the task's waker
        // takes the lock.
        let has_stack = entry.item.target().run_inline();
        // The task may have forked this process. In a forked child `locked` does not block.
        let mut waiting = self.locked();
        if let Some(waiting) = &mut waiting {
            let us = InlineRunner::current();
            let at = waiting.run_inline.iter().position(|thread| *thread == us);
            at.map(|at| waiting.run_inline.swap_remove(at));
        }
        let is_back = has_stack && !entry.item.target().done();
        let Some(mut waiting) = waiting.filter(|_| is_back) else {
            // The method returns the future itself, because the waker sends nothing if it
            // runs while the entry is removed.
            return Some(entry.leave());
        };
        // The waker will find the entry: the task was not done when this thread already
        // held the lock, and the waker needs the lock to look for the entry.
        waiting.entries.insert(number, entry);
        None
    }

    /// Removes and returns a future if no task can end while this thread waits: one that
    /// has arrived meanwhile, or else one whose task cannot end. The inner `None` says that
    /// each task that is left runs inside a `recv`, at least one of them inside a `recv` of
    /// this thread.
    fn take_if_none_can_come(&self) -> Option<Option<F>> {
        let waiting = self.locked()?;
        let mut left = waiting.entries.values();
        if !left.all(|entry| entry.item.target().needs_this_thread()) {
            return None;
        }
        // The wakers send while they hold the lock, so nothing arrives while this thread
        // holds the lock.
        if let Ok(future) = self.receiver.try_recv() {
            return Some(Some(future));
        }
        let runs_one = waiting.run_inline.contains(&InlineRunner::current());
        let taken = Self::take_first(waiting);
        (taken.is_some() || runs_one).then_some(taken)
    }

    /// Removes and returns the first future that has not arrived.
    fn take_first(mut waiting: MutexGuard<'_, Waiting<F>>) -> Option<F> {
        let (_, entry) = waiting.entries.pop_first()?;
        drop(waiting);
        // `leave` removes the waker from the task. Otherwise the waker's sender would keep
        // the channel connected after all futures have been received.
        Some(entry.leave())
    }

    /// Locks the entries of the futures that have not arrived. Returns `None` in a forked
    /// child if another thread held the lock at the fork.
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
        if !self.origin.is_here() {
            // A thread of the parent may have been sending at the fork. The drop of the
            // last receiver would wait until that thread has sent.
            keep(&self.receiver);
        }
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

#[cfg(all(test, target_os = "linux", not(concurrent_futures_loom)))]
mod tests {
    use super::*;
    use crate::completion::{Completion, NO_POOL};
    use crate::sys::fork::tests::is_true_in_a_fork;
    use crate::waitable::tests::Awaited;

    /// A channel with a future that has arrived, and a future that has not.
    fn channel() -> Completions<Awaited> {
        Origin::new().expect("there is memory");
        let tasks = [(); 2].map(|()| Completion::new(NO_POOL));
        let end = tasks[0].settle(Ok(()));
        end.expect("it is pending").notify();
        completions(tasks.map(Awaited))
    }

    #[test]
    fn a_forked_child_receives_first_what_has_arrived() {
        let channel = channel();
        assert!(is_true_in_a_fork(|| {
            let is_done = || channel.recv().map(|future| future.target().done());
            (is_done(), is_done(), is_done()) == (Ok(true), Ok(false), Err(RecvError))
        }));
    }

    /// A thread that sends holds the lock. In the child the lock stays held, so `recv` must
    /// not use the channel.
    #[test]
    fn a_forked_child_waits_for_no_sender_of_the_parent() {
        let channel = channel();
        let locked = channel.waiting.lock();
        assert!(is_true_in_a_fork(|| channel.recv().is_err()));
        drop(locked);
        assert!(channel.recv().is_ok());
    }

    /// A thread of the parent may have been sending at the fork. The drop of the last
    /// receiver would wait until that thread has sent.
    #[test]
    fn a_forked_child_keeps_the_receiver_of_the_parents_channel() {
        Origin::new().expect("there is memory");
        let (sender, receiver) = unbounded();
        let mut own = Some(Completions::<Awaited> {
            receiver,
            waiting: Arc::new(Mutex::new(Waiting::default())),
            origin: Origin::current(),
        });
        let is_kept = is_true_in_a_fork(|| {
            drop(own.take());
            sender.send(Awaited(Completion::new(NO_POOL))).is_ok()
        });
        assert!(is_kept);
        drop(own);
        assert!(sender.send(Awaited(Completion::new(NO_POOL))).is_err());
    }
}
