//! [`Waitable`]: a future that can be waited for together with others.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use crate::completion::WakerKey;

/// The items that [`wait`](crate::wait), [`as_completed`](crate::as_completed) and
/// [`completions`](crate::completions) take.
///
/// Futures, references and boxes of futures, and pairs of a key and a future:
/// the key says which of them it is. Futures of *different* outputs
/// mix as `&dyn Waitable`. It is sealed.
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

    /// Returns `true` if no other item has the same task: so it need not be looked for.
    #[doc(hidden)]
    fn is_sole(&self) -> bool;
}

/// The task behind a [`Waitable`], whatever its output.
#[doc(hidden)]
pub trait Target {
    /// Returns an id that is unique as long as the handle lives.
    fn id(&self) -> usize;

    fn done(&self) -> bool;

    /// Returns `true` if it finished with an error; a cancel is none, as in Python.
    fn failed(&self) -> bool;

    /// Returns `true` if it is done; if not, wakes `waker` when it is.
    fn poll(&self, key: &mut WakerKey, waker: &Waker) -> bool;

    /// Takes the waker back.
    fn forget(&self, key: &mut WakerKey);

    /// Returns `true` if it is not done and cannot be while the calling thread blocks.
    fn needs_this_thread(&self) -> bool;

    /// Returns `true` if the calling thread is a worker of its pool and it has not begun.
    fn may_run_inline(&self) -> bool;

    /// Runs it inline, if the calling thread is a worker of its pool, is about to wait
    /// for it without a limit, and it has not begun.
    fn run_inline(&self);
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
    /// Keeps the traits of futures to this crate, so that they can grow.
    pub trait Sealed {}
}
