//! The registration of the current thread as a worker that may run tasks of its pool inside
//! a wait.

use std::cell::Cell;
use std::mem::transmute;
use std::ptr::NonNull;

use super::pool_id::{NO_POOL, PoolId};
use super::worker_hooks::WorkerHooks;
use crate::sync::{ThreadId, local, thread_id};

/// The id of the pool whose tasks the thread may run in its waits, and the worker's hooks.
/// For a thread that may run no tasks in its waits: `NO_POOL` and `None`.
type Registered = (PoolId, Option<NonNull<dyn WorkerHooks>>);

local! {
    static REGISTERED: Cell<Registered> = Cell::new((NO_POOL, None))
}

/// A thread, with the pool whose tasks it can run inline, that is, inside its waits. A
/// worker's thread can run the tasks of its pool inline while it runs tasks, but not during
/// the pool's initializer or exit hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InlineRunner(ThreadId, PoolId);

impl InlineRunner {
    /// Returns the current thread, with the pool whose tasks it can run inline.
    pub(crate) fn current() -> Self {
        let registered = REGISTERED.try_with(Cell::get).ok();
        let registered = registered.filter(|(_, hooks)| hooks.is_some());
        Self(
            thread_id(),
            registered.map_or(NO_POOL, |(pool_id, _)| pool_id),
        )
    }
}

/// Calls `f`. Inside `f`, a wait on the current thread may run tasks of the pool
/// `pool_id`.
pub(crate) fn as_inline_worker<R>(
    pool_id: PoolId,
    hooks: &dyn WorkerHooks,
    f: impl FnOnce() -> R,
) -> R {
    struct Outer(Registered);
    impl Drop for Outer {
        fn drop(&mut self) {
            let _ = REGISTERED.try_with(|place| place.set(self.0));
        }
    }
    let hooks = NonNull::from(hooks);
    // SAFETY: only the lifetime changes. `Outer` removes the pointer again before the
    // borrow of `hooks` ends.
    let hooks =
        unsafe { transmute::<NonNull<dyn WorkerHooks + '_>, NonNull<dyn WorkerHooks>>(hooks) };
    let outer = REGISTERED.try_with(|place| place.replace((pool_id, Some(hooks))));
    let _outer = Outer(outer.unwrap_or((NO_POOL, None)));
    f()
}

/// Returns `true` if a wait on the calling thread may run tasks of the pool `pool_id`.
#[inline]
pub(super) fn is_registered_for(pool_id: PoolId) -> bool {
    with_hooks(pool_id, |_| ()).is_some()
}

/// Calls `f` with the hooks of the current thread, if a wait on this thread may run tasks
/// of the pool `pool_id`.
#[inline]
pub(super) fn with_hooks<R>(pool_id: PoolId, f: impl FnOnce(&dyn WorkerHooks) -> R) -> Option<R> {
    let registered = REGISTERED.try_with(Cell::get).ok()?;
    let hooks = registered.1.filter(|_| registered.0 == pool_id)?;
    // SAFETY: `as_inline_worker` borrows the hooks until it returns, and has not yet
    // returned, because its `f` led to this call.
    Some(f(unsafe { hooks.as_ref() }))
}
