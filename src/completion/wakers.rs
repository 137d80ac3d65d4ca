//! [`Wakers`]: the wakers of the `.await`s of one task.

use std::cell::Cell;
use std::task::Waker;

use crate::panic::contain;
use crate::sync::local;

local! {
    /// `true` while the current thread calls wakers.
    static WAKING: Cell<bool> = Cell::new(false)
}

/// Returns `true` while this thread calls a waker. Some runtimes poll the future inside the
/// waker. Such a poll must return `Pending` and not the error `WouldDeadlock`, because a
/// waker does not block.
pub(super) fn is_waking() -> bool {
    WAKING.try_with(Cell::get).unwrap_or(false)
}

/// Runs a task inside a wait. If this wait is itself inside a waker, polls inside the task
/// do not count as polls inside the waker.
#[inline]
pub(super) fn outside_wakers<R>(task: impl FnOnce() -> R) -> R {
    let outer = WAKING.try_with(|waking| waking.replace(false));
    let result = task();
    let _ = WAKING.try_with(|waking| waking.set(outer.unwrap_or(false)));
    result
}

/// The wakers that pending `.await`s of a task have registered. Usually a task has at most
/// one waker.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    stored: Vec<(u64, Waker)>,
    next_key: u64,
}

/// Identifies a stored waker, so that the waker can be replaced or removed. The key is
/// `None` until the first poll returns `Pending`.
#[derive(Debug, Default)]
pub struct WakerKey(Option<u64>);

impl Wakers {
    /// Takes all wakers out. If an `.await` is polled again, it stores its waker again.
    pub(super) fn take(&mut self) -> Self {
        Self {
            stored: std::mem::take(&mut self.stored),
            next_key: self.next_key,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stored.is_empty()
    }

    pub(super) fn wake(self) {
        if self.stored.is_empty() {
            return;
        }
        let outer = WAKING.try_with(|waking| waking.replace(true));
        for (_, waker) in self.stored {
            contain(|| waker.wake());
        }
        let _ = WAKING.try_with(|waking| waking.set(outer.unwrap_or(false)));
    }

    /// Stores a waker, and returns the waker that it replaces.
    pub(super) fn store(&mut self, key: &mut WakerKey, waker: Waker) -> Option<Waker> {
        let old = self.remove(key);
        key.0 = Some(self.next_key);
        self.stored.push((self.next_key, waker));
        self.next_key += 1;
        old
    }

    pub(super) fn remove(&mut self, key: &mut WakerKey) -> Option<Waker> {
        let key = key.0.take()?;
        let at = self.stored.iter().position(|(stored, _)| *stored == key)?;
        Some(self.stored.swap_remove(at).1)
    }
}
