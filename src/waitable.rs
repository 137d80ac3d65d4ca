//! [`Waitable`]: an item that contains a future, so that a thread can wait for several such
//! items.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use crate::completion::WakerKey;

/// The trait of the items that [`wait`](crate::wait), [`as_completed`](crate::as_completed)
/// and [`completions`](crate::completions) take.
///
/// Futures, pointers to futures (references, `Box`, `Rc`, `Arc`), and pairs of a key and a
/// future implement this trait. The key of a pair tells the caller which future is done.
/// Futures with *different* outputs can be mixed as `&dyn Waitable`. The trait is sealed.
///
/// ```
/// use concurrent_futures::{ReturnWhen, ThreadPoolExecutor, Waitable, wait};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let number = executor.spawn(|| 6 * 7)?;
/// let text = executor.spawn(|| String::from("text"))?;
/// let both: [&dyn Waitable; 2] = [&number, &text];
/// assert_eq!(wait(both, ReturnWhen::AllCompleted, None).done.len(), 2);
/// assert_eq!((*number.result()?, text.result()?.as_str()), (42, "text"));
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
pub trait Waitable: sealed::Sealed {
    #[doc(hidden)]
    fn target(&self) -> &dyn Target;

    /// Returns `true` if no other item can have the same task. A set of items then need not
    /// check if it has the task already.
    #[doc(hidden)]
    fn is_sole(&self) -> bool;
}

/// The operations on the task of a [`Waitable`] that do not depend on the type of the
/// task's output.
#[doc(hidden)]
pub trait Target {
    /// Returns the task's id, which no other task has while the task's future exists.
    fn id(&self) -> usize;

    fn done(&self) -> bool;

    /// Returns `true` if the task finished with an error. As in Python, a cancelled
    /// task has no error.
    fn failed(&self) -> bool;

    /// Returns `true` if the task is done, or if this process is a fork of the task's
    /// process. Otherwise registers `waker`, which is woken when the task is done.
    fn poll(&self, key: &mut WakerKey, waker: Waker) -> bool;

    fn forget(&self, key: &mut WakerKey);

    /// Returns `true` if the task is not done and perhaps cannot end while the calling
    /// thread blocks.
    fn needs_this_thread(&self) -> bool;

    /// Returns `true` if the task has not begun and the calling thread is a worker of
    /// the task's pool.
    fn may_run_inline(&self) -> bool;

    /// Runs the task on the calling thread if the task has not begun and the calling thread
    /// is a worker of the task's pool. Only a thread that waits without a time limit calls
    /// this method, because the task may run for any time. Returns `false` if too little
    /// stack is left to run the task. Then `result` of the task's future also returns an
    /// error on this thread.
    fn run_inline(&self) -> bool;
}

macro_rules! pointers {
    ($($pointer:ty: $is_unique:expr),*) => { $(
        impl<W: Waitable + ?Sized> Waitable for $pointer {
            fn target(&self) -> &dyn Target {
                (**self).target()
            }

            fn is_sole(&self) -> bool {
                $is_unique && (**self).is_sole()
            }
        }

        impl<W: Waitable + ?Sized> sealed::Sealed for $pointer {}
    )* };
}

pointers!(&W: false, &mut W: true, Box<W>: true, Arc<W>: false, Rc<W>: false);

impl<K, W: Waitable> Waitable for (K, W) {
    fn target(&self) -> &dyn Target {
        self.1.target()
    }

    fn is_sole(&self) -> bool {
        self.1.is_sole()
    }
}

impl<K, W: Waitable> sealed::Sealed for (K, W) {}

pub(crate) mod sealed {
    /// Allows only this crate to implement the traits of futures, so that a new method does
    /// not break another crate.
    pub trait Sealed {}
}

#[cfg(all(test, not(concurrent_futures_loom)))]
pub(crate) mod tests {
    use super::*;
    use crate::completion::Completion;

    pub(crate) struct Awaited(pub(crate) Completion<()>);

    impl sealed::Sealed for Awaited {}

    impl Waitable for Awaited {
        fn target(&self) -> &dyn Target {
            &self.0
        }

        fn is_sole(&self) -> bool {
            true
        }
    }
}
