//! [`CompletionSet`]: a set of tasks that returns each task when the task ends.
//!
//! Each task has a number, which is its index in the set. The set registers a waker with
//! each task that is not done. When the task ends, the waker sends the task's number over a
//! channel. If a task is already done when it is added, the set itself puts the task's
//! number into a queue or into the channel. A thread takes the numbers from the queue, and
//! then waits for numbers from the channel. A worker that waits without a deadline first
//! runs the set's pending tasks of its own pool *inline*, which means inside its wait.
//! Dropping the set removes the wakers from the tasks.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::completion::{InlineRunner, WakerKey};
use crate::sys::fork::{Origin, keep};
use crate::waitable::Waitable;

pub(crate) struct CompletionSet<F: Waitable> {
    /// The indices (in `entries`) of tasks that were already done when they were added. If
    /// the channel `arrivals` is not empty at that time, it gets the index instead.
    ready: VecDeque<usize>,
    arrivals: Receiver<usize>,
    sender: Sender<usize>,
    /// The tasks. The number of a task is its index in this list. A free slot is `None`.
    entries: Vec<Option<Entry<F>>>,
    free: Vec<usize>,
    /// The ids of those tasks in `entries` that a caller could add twice. An id is the
    /// address of its task. No two tasks have the same id, because the entries keep the
    /// tasks alive.
    ids: HashSet<usize, BuildHasherDefault<AddressHasher>>,
    /// The number of tasks in `entries`.
    len: usize,
    /// The indices (in `entries`) of the tasks that the thread `waiter` may be able to run
    /// inline (inside its wait), and has not yet tried to run.
    not_tried_inline: BTreeSet<usize>,
    /// The thread that created the set, and later the thread that last waited without a
    /// deadline. Different threads can run different tasks inline.
    waiter: InlineRunner,
    /// The index (in `entries`) of the task at which `all_need_this_thread` begins its next
    /// search: the last task that it found to be able to end while the waiting thread
    /// blocks.
    elsewhere: usize,
    /// The process that created the set. In a forked child of that process no task number
    /// arrives, because the tasks run only in the parent process.
    origin: Origin,
}

/// The reason why a wait returned without a task that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotDone {
    TimedOut,
    /// No task can end: each task needs the waiting thread in order to end, or this process
    /// is a forked child, in which the tasks do not run.
    Deadlock,
    /// The waiting thread may be the only one that could run the task with this index, but
    /// has too little stack left.
    NoStack(usize),
}

/// A future, and the key of the waker that is registered with its task.
pub(crate) struct Entry<F> {
    pub(crate) item: F,
    pub(crate) key: WakerKey,
}

impl<F: Waitable> Entry<F> {
    /// Removes the waker from the task, and returns the future.
    pub(crate) fn leave(mut self) -> F {
        // A task that is done has no waker any more.
        if !self.item.target().done() {
            self.item.target().forget(&mut self.key);
        }
        self.item
    }
}

/// Hashes the addresses of tasks. A simple hash is enough, because an attacker cannot
/// choose the addresses.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, address: usize) {
        // The factor is 2^64 divided by the golden ratio. The product spreads the bits in
        // which addresses differ over the high bits, and the shift copies the high bits to
        // the low bits. The hash table uses both.
        let mixed = (self.0 ^ address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// The waker of the task with the index `number` in the set.
struct ArrivalWaker {
    sender: Sender<usize>,
    number: usize,
}

impl Wake for ArrivalWaker {
    fn wake(self: Arc<Self>) {
        // An error of `send` is ignored, because `send` fails only if the set was dropped.
        let _ = self.sender.send(self.number);
    }
}

impl<F: Waitable> CompletionSet<F> {
    pub(crate) fn new() -> Self {
        let (sender, arrivals) = unbounded();
        Self {
            ready: VecDeque::new(),
            arrivals,
            sender,
            entries: Vec::new(),
            free: Vec::new(),
            ids: HashSet::default(),
            len: 0,
            not_tried_inline: BTreeSet::new(),
            waiter: InlineRunner::current(),
            elsewhere: 0,
            origin: Origin::current(),
        }
    }

    /// Adds a task and returns `true`, or returns `false` if the task is already in the
    /// set.
    pub(crate) fn add(&mut self, item: F) -> bool {
        if !item.is_sole() && !self.ids.insert(item.target().id()) {
            return false;
        }
        self.len += 1;
        let number = self.free.pop().unwrap_or(self.entries.len());
        let mut key = WakerKey::default();
        if item.target().done() {
            self.arrive(number);
        } else {
            let sender = self.sender.clone();
            let waker = Waker::from(Arc::new(ArrivalWaker { sender, number }));
            if item.target().poll(&mut key, waker) {
                self.arrive(number);
            } else if item.target().may_run_inline() || self.waiter != InlineRunner::current() {
                // Add the number also if `waiter` is another thread, because that thread
                // may be able to run the task inline.
                self.not_tried_inline.insert(number);
            }
        }
        let entry = Some(Entry { item, key });
        match self.entries.get_mut(number) {
            Some(free) => *free = entry,
            None => self.entries.push(entry),
        }
        true
    }

    /// Puts the index of a task that is already done behind the indices that have arrived.
    fn arrive(&mut self, number: usize) {
        if self.arrivals.is_empty() {
            self.ready.push_back(number);
        } else {
            // `send` cannot fail, because this set owns the receiver.
            let _ = self.sender.send(number);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Waits for the next task that is done, and returns the index of the task in the set.
    ///
    /// If a worker calls this method without a deadline, it first runs the set's pending
    /// tasks of its own pool inline, until a task is done.
    ///
    /// # Errors
    ///
    /// Returns [`NotDone::TimedOut`] if no task is done by the deadline. In a forked child,
    /// returns [`NotDone::Deadlock`]. Without a deadline, returns [`NotDone::Deadlock`] if
    /// no task can end while this thread waits, and [`NotDone::NoStack`] if too little
    /// stack is left to run a task inline.
    pub(crate) fn next(&mut self, deadline: Option<Instant>) -> Result<usize, NotDone> {
        if let Some(deadline) = deadline.filter(|_| self.origin.is_here()) {
            if let Some(number) = self.try_next() {
                return Ok(number);
            }
            let arrived = self.arrivals.recv_deadline(deadline);
            return arrived.or(Err(NotDone::TimedOut));
        }
        loop {
            // The check is in the loop, because a task that this loop ran inline may have
            // forked the process.
            if !self.origin.is_here() {
                return Err(NotDone::Deadlock);
            }
            if let Some(number) = self.try_next() {
                return Ok(number);
            }
            // `note_waiter` is called only when no task has arrived, because it may have to
            // check all tasks.
            self.note_waiter();
            if let Some(number) = self.not_tried_inline.pop_first() {
                if self
                    .item(number)
                    .is_some_and(|item| !item.target().run_inline())
                {
                    return self.try_next().ok_or(NotDone::NoStack(number));
                }
            } else if self.all_need_this_thread() {
                // A task may have arrived meanwhile, because another thread may have ended
                // a task after `all_need_this_thread` checked the task.
                return self.try_next().ok_or(NotDone::Deadlock);
            } else {
                return self.arrivals.recv().or(Err(NotDone::Deadlock));
            }
        }
    }

    /// If another thread waited last, stores in `not_tried_inline` the indices of all tasks
    /// that the calling thread can run inline.
    fn note_waiter(&mut self) {
        let us = InlineRunner::current();
        if std::mem::replace(&mut self.waiter, us) == us {
            return;
        }
        let is_open = |entry: &Entry<F>| entry.item.target().may_run_inline();
        let numbered = self.entries.iter().enumerate();
        self.not_tried_inline = numbered
            .filter(|(_, entry)| entry.as_ref().is_some_and(is_open))
            .map(|(number, _)| number)
            .collect();
    }

    /// Returns `true` if no task can end while this thread waits. The search for a task
    /// that can end begins with the task `elsewhere`, which the last search found. In most
    /// calls this task can still end, so the method does not visit all tasks of a large
    /// set.
    fn all_need_this_thread(&mut self) -> bool {
        let (before, from) = self.entries.split_at(self.elsewhere);
        let is_elsewhere = |entry: &Option<Entry<F>>| {
            let entry = entry.as_ref();
            entry.is_some_and(|entry| !entry.item.target().needs_this_thread())
        };
        let mut entries = from.iter().chain(before);
        match entries.position(is_elsewhere) {
            Some(at) => {
                self.elsewhere = (self.elsewhere + at) % self.entries.len();
                false
            }
            None => true,
        }
    }

    /// Removes the next task that is done, and returns its future. Returns `None` if no
    /// task is done by the deadline, or if the set is empty. If [`next`](Self::next)
    /// returns [`NotDone::Deadlock`] and no task is done, or if it returns
    /// [`NotDone::NoStack`], returns a future that is not done. The `result` of that future
    /// returns the error that says why the task cannot end.
    pub(crate) fn take_next(&mut self, deadline: Option<Instant>) -> Option<F> {
        loop {
            match self.next(deadline) {
                // `take` returns `None` if the task was removed before its number arrived.
                Ok(number) => match self.take(number) {
                    None if self.len > 0 => {}
                    taken => return taken,
                },
                Err(NotDone::TimedOut) => return None,
                Err(NotDone::NoStack(number)) => return self.take_without_arrival(number),
                Err(NotDone::Deadlock) => return self.take_without_arrival(self.best_left()?),
            }
        }
    }

    /// Returns the index of a task that is done, or else of any task.
    fn best_left(&self) -> Option<usize> {
        let is_done = |entry: &Option<Entry<F>>| {
            let entry = entry.as_ref();
            entry.is_some_and(|entry| entry.item.target().done())
        };
        let done = self.entries.iter().position(is_done);
        done.or_else(|| self.entries.iter().position(Option::is_some))
    }

    /// Removes a task whose number has not arrived, and returns its future. Its waker may
    /// still send the number, so no later task gets the number.
    fn take_without_arrival(&mut self, number: usize) -> Option<F> {
        let taken = self.take(number);
        self.free.retain(|free| *free != number);
        taken
    }

    /// Returns the index of a task that is already done, without waiting.
    pub(crate) fn try_next(&mut self) -> Option<usize> {
        if !self.origin.is_here() {
            return None;
        }
        let ready = self.ready.pop_front();
        ready.or_else(|| self.arrivals.try_recv().ok())
    }

    pub(crate) fn item(&self, number: usize) -> Option<&F> {
        Some(&self.entries.get(number)?.as_ref()?.item)
    }

    /// Removes the task with the index `number`, and returns the future of the task.
    pub(crate) fn take(&mut self, number: usize) -> Option<F> {
        let entry = self.entries.get_mut(number)?.take()?;
        self.free.push(number);
        self.not_tried_inline.remove(&number);
        self.len -= 1;
        if !entry.item.is_sole() {
            self.ids.remove(&entry.item.target().id());
        }
        Some(entry.leave())
    }

    /// Removes all tasks, and returns the index and the future of each task. The list is in
    /// the order in which the tasks were added if no task was removed before.
    pub(crate) fn take_all(&mut self) -> Vec<(usize, F)> {
        let numbers = 0..self.entries.len();
        numbers
            .filter_map(|number| Some((number, self.take(number)?)))
            .collect()
    }
}

impl<F: Waitable> Drop for CompletionSet<F> {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            // A thread of the parent may have been sending at the fork. The drop of the
            // last receiver would wait until that thread has sent.
            keep(&self.arrivals);
            keep(&self.sender);
        }
        drop(self.take_all());
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;
    use crate::completion::{Completion, NO_POOL};
    use crate::waitable::tests::Awaited;
    use crate::waitable::{Target, sealed::Sealed};

    /// A thread of the parent may have been sending a number at the fork. The drop of the
    /// last receiver in the child would wait for that thread.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_forked_child_keeps_the_receiver_of_the_parents_set() {
        Origin::new().expect("there is memory");
        let set = CompletionSet::<Awaited>::new();
        let sender = set.sender.clone();
        let mut set = Some(set);
        let is_kept = crate::sys::fork::tests::is_true_in_a_fork(|| {
            drop(set.take());
            sender.send(1).is_ok()
        });
        assert!(is_kept);
        drop(set);
        assert!(sender.send(1).is_err());
    }

    /// A waker may send the number of a task that the set has given out already, because no
    /// other task could end. The set must neither take this number for the end of the set,
    /// nor for the number of a task that was added later.
    #[test]
    fn a_number_that_arrives_too_late_is_ignored() {
        let tasks = [(); 3].map(|()| Completion::new(NO_POOL));
        let end = |number: usize| tasks[number].settle(Ok(())).unwrap();
        let mut set = CompletionSet::new();
        set.add((0, Awaited(tasks[0].clone())));
        set.add((1, Awaited(tasks[1].clone())));
        let late = end(0);
        assert_eq!(set.take_without_arrival(0).unwrap().0, 0);
        late.notify();
        set.add((2, Awaited(tasks[2].clone())));
        end(1).notify();
        end(2).notify();
        let rest: Vec<usize> = std::iter::from_fn(|| set.take_next(None))
            .map(|future| future.0)
            .collect();
        assert_eq!(rest, [1, 2]);
    }

    /// A task that the waiting thread would have to run, but for which it has no stack.
    struct WithoutStack;

    impl Sealed for WithoutStack {}

    impl Waitable for WithoutStack {
        fn target(&self) -> &dyn Target {
            self
        }

        fn is_sole(&self) -> bool {
            true
        }
    }

    impl Target for WithoutStack {
        fn id(&self) -> usize {
            0
        }

        fn done(&self) -> bool {
            false
        }

        fn failed(&self) -> bool {
            false
        }

        fn poll(&self, _key: &mut WakerKey, _waker: Waker) -> bool {
            false
        }

        fn forget(&self, _key: &mut WakerKey) {}

        fn needs_this_thread(&self) -> bool {
            false
        }

        fn may_run_inline(&self) -> bool {
            true
        }

        fn run_inline(&self) -> bool {
            false
        }
    }

    /// The set must return the task for which there is no stack, and not a task that
    /// another thread may end.
    #[test]
    fn a_task_without_a_stack_comes_before_those_that_may_end() {
        let task = Completion::new(NO_POOL);
        let mut set = CompletionSet::<Box<dyn Waitable>>::new();
        set.add(Box::new(Awaited(task.clone())));
        set.add(Box::new(WithoutStack));
        assert!(
            set.take_next(None)
                .is_some_and(|first| first.target().id() == 0)
        );
        task.settle(Ok(())).unwrap().notify();
        assert!(
            set.take_next(None)
                .is_some_and(|second| second.target().done())
        );
    }
}
