//! [`Wakers`]: the wakers of the `.await`s of one task.

use std::cell::Cell;
use std::task::Waker;

use crate::panic::contain;
use crate::sync::local;

local! {
    static WAKING: Cell<bool> = Cell::new(false)
}

/// Returns `true` while this thread calls a waker. Some runtimes poll the future inside the
/// waker. Such a poll must return `Pending` and not the error `WouldDeadlock`, because a
/// waker does not block.
pub(super) fn is_waking() -> bool {
    WAKING.try_with(Cell::get).unwrap_or(false)
}

/// Runs a task or callbacks on this thread. If the thread is inside a waker, polls that the
/// task or the callbacks make do not count as polls inside the waker.
#[inline]
pub(crate) fn outside_wakers<R>(task: impl FnOnce() -> R) -> R {
    let outer = WAKING.try_with(|waking| waking.replace(false));
    let result = task();
    let _ = WAKING.try_with(|waking| waking.set(outer.unwrap_or(false)));
    result
}

/// The wakers that pending `.await`s of a task, and waits for several tasks, have
/// registered. Usually a task has at most one waker, which needs no allocation here.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    first: Option<(u64, Waker)>,
    /// Empty while there is no first waker.
    more: Vec<(u64, Waker)>,
    next_key: u64,
}

/// Identifies a stored waker, so that the waker can be replaced or removed. The key is
/// `None` before the first waker is stored, and after a waker was removed.
#[derive(Debug, Default)]
pub struct WakerKey(Option<u64>);

impl Wakers {
    /// Takes all wakers out. If an `.await` is polled again and is not ready, it stores its
    /// waker again.
    pub(super) fn take(&mut self) -> Self {
        Self {
            first: self.first.take(),
            more: std::mem::take(&mut self.more),
            next_key: self.next_key,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn wake(self) {
        if self.is_empty() {
            return;
        }
        let outer = WAKING.try_with(|waking| waking.replace(true));
        for (_, waker) in self.first.into_iter().chain(self.more) {
            contain(|| waker.wake());
        }
        let _ = WAKING.try_with(|waking| waking.set(outer.unwrap_or(false)));
    }

    /// Stores a waker, and returns the waker that it replaces.
    pub(super) fn store(&mut self, key: &mut WakerKey, waker: Waker) -> Option<Waker> {
        let old = self.remove(key);
        key.0 = Some(self.next_key);
        let stored = (self.next_key, waker);
        match &mut self.first {
            Some(_) => self.more.push(stored),
            first => *first = Some(stored),
        }
        self.next_key += 1;
        old
    }

    pub(super) fn remove(&mut self, key: &mut WakerKey) -> Option<Waker> {
        let key = key.0.take()?;
        if self
            .first
            .as_ref()
            .is_some_and(|(stored, _)| *stored == key)
        {
            let removed = std::mem::replace(&mut self.first, self.more.pop());
            return removed.map(|(_, waker)| waker);
        }
        let at = self.more.iter().position(|(stored, _)| *stored == key)?;
        Some(self.more.swap_remove(at).1)
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct CountWakes(AtomicUsize);

    impl Wake for CountWakes {
        fn wake(self: Arc<Self>) {
            // ORDERING: `Relaxed` is enough, because the test has one thread.
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_removed_waker_is_not_woken_and_each_other_is_woken_once() {
        for removed in 0..4 {
            let counts = [(); 4].map(|()| Arc::new(CountWakes::default()));
            let mut wakers = Wakers::default();
            let mut keys = [(); 4].map(|()| WakerKey::default());
            for (key, count) in keys.iter_mut().zip(&counts) {
                assert!(wakers.store(key, Arc::clone(count).into()).is_none());
            }
            assert!(wakers.remove(&mut keys[removed]).is_some());
            assert!(wakers.remove(&mut keys[removed]).is_none());
            wakers.take().wake();
            assert!(wakers.is_empty());
            for (number, count) in counts.iter().enumerate() {
                // ORDERING: as above.
                let woken = count.0.load(Ordering::Relaxed);
                assert_eq!(woken, usize::from(number != removed), "waker {number}");
            }
        }
    }
}
