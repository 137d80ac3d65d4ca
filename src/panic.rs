//! [`Panic`]: a caught panic, with its description, and with its payload to resume the
//! panic.
//!
//! [`catch`] runs a task's function, or other code of the user whose panic becomes an
//! error. [`contain`] and [`contain_drop`] run callbacks, a user's `Drop`, and other code
//! whose panic is discarded. All three functions catch panics, so that a panic does not end
//! the worker. Only the panic hook knows the location of a panic, so [`watch_panics`]
//! installs a hook, which records the location and calls the program's own hook.
//!
//! # Finding the note of a panic
//!
//! The panic hook also runs for the panics that a task catches itself, and [`catch`] never
//! gets these panics. The hook cannot know which panic `catch` will get, so it writes a
//! [`Note`] of each panic inside a `catch`. A `catch` that has caught a payload looks for
//! the note that matches this payload. A note matches a payload if both have the same type
//! and the same text at the same address. Two formatted texts that exist at the same time
//! have different addresses, but two panics with the same string literal may have the same
//! address. If several notes match, `catch` takes the note of the panic that was raised at
//! the smallest depth of the stack. A panic that the task caught itself was usually raised
//! at a greater depth.

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::mem::needs_drop;
use std::panic::{AssertUnwindSafe, PanicHookInfo, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};

use crate::sync::Mutex;
use crate::sys::stack::is_growing;
use crate::worker::current_worker;

/// A caught panic, for example of a task: its message, location and worker.
///
/// [`Error::Panicked`](crate::Error::Panicked) contains a `Panic`. The program's panic hook
/// runs as for any other panic. The message therefore also appears on standard error,
/// unless the program has replaced the hook.
///
/// ```
/// use concurrent_futures::{Error, ThreadPoolExecutor};
///
/// let executor = ThreadPoolExecutor::new()?;
/// let future = executor.submit(|n: i32| assert!(n > 0, "{n} is too small"), -1)?;
/// let Some(Error::Panicked(panic)) = future.exception() else {
///     unreachable!("the assertion fails")
/// };
/// assert_eq!(panic.message(), "-1 is too small");
/// # Ok::<(), concurrent_futures::Error>(())
/// ```
///
/// All clones of a `Panic` share one payload. Dropping the last clone drops the payload,
/// and catches a panic of the payload's `Drop`.
#[derive(Clone)]
pub struct Panic(Arc<Inner>);

struct Inner {
    message: String,
    location: Option<String>,
    worker: Option<String>,
    task: Option<Arc<str>>,
    payload: Mutex<Option<Box<dyn Any + Send>>>,
    /// `true` after the program has read this panic as a task's outcome.
    is_read: AtomicBool,
}

impl Panic {
    /// Creates a `Panic` from the payload that [`std::panic::catch_unwind`] returned.
    ///
    /// An implementation of [`Executor`](crate::Executor) needs this function if it catches
    /// panics itself, see [`promise`](crate::promise()). The `Panic` has a location only if
    /// the panic occurred inside a function that this crate runs.
    ///
    /// ```
    /// use concurrent_futures::Panic;
    ///
    /// let payload = std::panic::catch_unwind(|| panic!("no {}", "luck")).unwrap_err();
    /// assert_eq!(Panic::from_payload(payload).message(), "no luck");
    /// ```
    pub fn from_payload(payload: Box<dyn Any + Send>) -> Self {
        let message = message_of(&*payload);
        let note = Note::of(&*payload, &message);
        let (location, task) = note.unzip();
        Self(Arc::new(Inner {
            message,
            location,
            worker: current_worker().map(|worker| worker.name().to_owned()),
            task: task.flatten(),
            payload: Mutex::new(Some(payload)),
            is_read: AtomicBool::new(false),
        }))
    }

    /// Records that the program has read this panic as a task's outcome.
    pub(crate) fn mark_read(&self) {
        // ORDERING: `Relaxed` is enough, because no other data is published with the flag.
        // The end of a scope loads the flag (`completion/scope_count.rs`), to find a panic
        // that the program has not read. If a task of the scope stored the flag, the end of
        // this task publishes the store to the thread that loads the flag.
        self.0.is_read.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_read(&self) -> bool {
        // ORDERING: `Relaxed` is enough, because no other data is published with the flag.
        self.0.is_read.load(Ordering::Relaxed)
    }

    /// Creates a `Panic` for a panic in another process. That process sends the panic's
    /// text but not the panic's payload.
    #[cfg(not(concurrent_futures_loom))]
    pub(crate) fn elsewhere(
        message: String,
        location: Option<String>,
        worker: Option<String>,
        task: Option<Arc<str>>,
    ) -> Self {
        Self(Arc::new(Inner {
            message,
            location,
            worker,
            task,
            payload: Mutex::new(None),
            is_read: AtomicBool::new(false),
        }))
    }

    /// Returns the message, or the text `Box<dyn Any>` if the payload is neither a
    /// `&'static str` nor a `String`.
    ///
    /// ```
    /// use concurrent_futures::Panic;
    ///
    /// let payload = std::panic::catch_unwind(|| panic!("ouch")).unwrap_err();
    /// assert_eq!(Panic::from_payload(payload).message(), "ouch");
    /// ```
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the location of the panic in the form `file:line:column`.
    ///
    /// Returns `None` if this crate's panic hook did not record this panic. For example,
    /// this is the case if the program replaced this hook by a hook that does not call it,
    /// if `resume_unwind` raised the panic, or if this crate did not run the panicking
    /// code.
    ///
    /// ```
    /// use concurrent_futures::{Error, InlineExecutor};
    ///
    /// let executor = InlineExecutor::new()?;
    /// let future = executor.submit(|()| -> () { panic!("here") }, ())?;
    /// let Some(Error::Panicked(panic)) = future.exception() else {
    ///     unreachable!("it panics")
    /// };
    /// assert!(panic.location().unwrap().contains(".rs:"));
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn location(&self) -> Option<&str> {
        self.0.location.as_deref()
    }

    /// Returns the name of the worker that ran the task, or `None` if no worker ran the
    /// task.
    ///
    /// ```
    /// use concurrent_futures::{Error, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::builder()
    ///     .thread_name_prefix("fetch")
    ///     .build()?;
    /// let future = executor.spawn(|| assert_eq!(1, 2))?;
    /// let Some(Error::Panicked(panic)) = future.exception() else {
    ///     unreachable!("the assertion fails")
    /// };
    /// assert_eq!(panic.worker(), Some("fetch_0"));
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn worker(&self) -> Option<&str> {
        self.0.worker.as_deref()
    }

    /// Returns the task's name, which [`TaskOptions::name`](crate::TaskOptions::name)
    /// sets. Returns `None` if the task has no name, or if this crate's panic hook did
    /// not run for this panic on the task's thread.
    ///
    /// ```
    /// use concurrent_futures::{Error, InlineExecutor, TaskOptions};
    ///
    /// let executor = InlineExecutor::new()?;
    /// let view = executor.with(TaskOptions::new().name("thumb"));
    /// let future = view.submit(|n: i32| assert!(n > 0), -1)?;
    /// let Some(Error::Panicked(panic)) = future.exception() else {
    ///     unreachable!("the assertion fails")
    /// };
    /// assert_eq!(panic.task(), Some("thumb"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn task(&self) -> Option<&str> {
        self.0.task.as_deref()
    }

    /// Resumes the panic in the calling thread.
    ///
    /// The first call of `resume`, on any clone of this `Panic`, resumes the panic with the
    /// original payload. Later calls, and all calls for a panic of another process, resume
    /// the panic with the message as its payload. The panic hook does not run again.
    ///
    /// # Panics
    ///
    /// Always panics, because it resumes a panic.
    ///
    /// ```
    /// use concurrent_futures::{Error, ThreadPoolExecutor};
    ///
    /// let executor = ThreadPoolExecutor::new()?;
    /// let future = executor.spawn(|| -> () { std::panic::panic_any(7) })?;
    /// let Some(Error::Panicked(panic)) = future.exception() else {
    ///     unreachable!("it panics")
    /// };
    /// let payload = std::panic::catch_unwind(|| panic.resume()).unwrap_err();
    /// assert_eq!(payload.downcast_ref(), Some(&7));
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn resume(self) -> ! {
        let payload = self.0.payload.lock().take();
        std::panic::resume_unwind(payload.unwrap_or_else(|| Box::new(self.message().to_owned())))
    }
}

// A `Panic` is unwind safe, because its only mutable parts are an atomic flag and the
// payload, which a thread moves out as a whole under a lock.
impl UnwindSafe for Panic {}
impl RefUnwindSafe for Panic {}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panic")
            .field("message", &self.message())
            .field("location", &self.location())
            .field("worker", &self.worker())
            .field("task", &self.task())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.task() {
            Some(task) => self.describe(&format!("the task {task}"), f),
            None => self.describe("the task", f),
        }
    }
}

impl Panic {
    /// Writes that `who` panicked, and then the panic's location, worker and message.
    pub(crate) fn describe(&self, who: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{who} panicked")?;
        if let Some(location) = self.location() {
            write!(f, " at {location}")?;
        }
        if let Some(worker) = self.worker() {
            write!(f, " in worker {worker}")?;
        }
        write!(f, ": {}", self.message())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let payload = self.payload.lock().take();
        contain_drop(payload);
    }
}

/// Runs `f`, for example a task's function, and returns a panic of `f` as an error.
#[inline]
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Panic> {
    with_notes(true, || {
        catch_unwind(AssertUnwindSafe(f)).map_err(Panic::from_payload)
    })
}

/// Runs a task's function. If the function panics, the panic hook records the task's name.
pub(crate) fn named<T>(name: Option<Arc<str>>, f: impl FnOnce() -> T) -> T {
    /// A guard whose drop restores the name of the outer task (a task that waits on this
    /// thread for the inner task), even if the inner task panics.
    struct Outer(Option<Arc<str>>);
    impl Drop for Outer {
        fn drop(&mut self) {
            HAS_NAME.set(self.0.is_some());
            let _ = TASK.try_with(|task| task.replace(self.0.take()));
        }
    }
    HAS_NAME.set(name.is_some());
    let _outer = Outer(TASK.try_with(|task| task.replace(name)).unwrap_or(None));
    f()
}

/// Calls `f`. If `f` runs inside another task on this thread, the panic hook does not
/// record that task's name for a panic of `f`.
#[inline]
pub(crate) fn unnamed<T>(f: impl FnOnce() -> T) -> T {
    match HAS_NAME.get() {
        true => named(None, f),
        false => f(),
    }
}

/// Runs `f`, for example a callback or a waker, and discards its panic, which the panic
/// hook has usually reported.
pub(crate) fn contain(f: impl FnOnce()) {
    let caught = with_notes(false, || catch_unwind(AssertUnwindSafe(f)));
    if let Err(payload) = caught {
        contain_drop(payload);
    }
}

/// Drops a user's value. Discards a panic of the value's `Drop`, and also a panic of the
/// `Drop` of that panic's payload.
pub(crate) fn contain_drop<T>(value: T) {
    if !needs_drop::<T>() {
        return;
    }
    let drop_it = || catch_unwind(AssertUnwindSafe(|| drop(value)));
    if let Err(payload) = with_notes(false, drop_it) {
        let again = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        #[expect(
            clippy::mem_forget,
            reason = "a payload whose drop panics with a payload: leaking ends the regress"
        )]
        std::mem::forget(again);
    }
}

/// A value of the user whose `Drop` may panic: dropping the `Contained` catches the
/// panic.
///
/// If a struct owns two values of the user, and the `Drop` of the first value panics, the
/// second value is dropped while the thread unwinds. A panic of the second `Drop` would
/// then abort the program. `Contained` prevents this in structs and closures that own two
/// values of the user, or that may be dropped while the panic of a task unwinds.
pub(crate) struct Contained<T>(Option<T>);

impl<T> Contained<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    pub(crate) fn get(&self) -> &T {
        let value = self.0.as_ref();
        value.expect("only `into_inner` and `drop` take the value, and both consume it")
    }

    pub(crate) fn into_inner(mut self) -> T {
        let value = self.0.take();
        value.expect("only `into_inner` and `drop` take the value, and both consume it")
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        contain_drop(self.0.take());
    }
}

/// The facts that the panic hook recorded about a panic inside a [`catch`] on this
/// thread.
struct Note {
    payload: (TypeId, usize),
    message: String,
    /// The stack address at which the hook ran. On one stack segment (`sys/stack.rs`), a
    /// deeper call has a lower address, because the stack grows downwards.
    height: usize,
    location: String,
    task: Option<Arc<str>>,
}

impl Note {
    /// Returns the source location and the task's name of the panic with this payload, if
    /// the panic hook recorded the panic inside the innermost [`catch`].
    fn of(payload: &(dyn Any + Send), message: &str) -> Option<(String, Option<Arc<str>>)> {
        let is_its = |note: &&Self| note.payload == identity(payload) && note.message == message;
        let find = |notes: &RefCell<Vec<Self>>| {
            let notes = notes.borrow();
            let notes = notes.get(FIRST_NOTE.get()?..)?.iter().filter(is_its);
            let note = notes.max_by_key(|note| note.height)?;
            Some((note.location.clone(), note.task.clone()))
        };
        NOTES.try_with(find).unwrap_or(None)
    }
}

/// Returns the type of a payload, and the address of its text. The address is 0 if the
/// payload is not text.
fn identity(payload: &(dyn Any + Send)) -> (TypeId, usize) {
    let text = payload.downcast_ref::<&'static str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    (
        payload.type_id(),
        text.map_or(0, |text| text.as_ptr().addr()),
    )
}

/// Runs `f`, which must not unwind. If `are_wanted` is `true`, the panic hook records
/// notes of the panics inside `f`. If `are_wanted` is `false`, the hook records no notes
/// inside `f`.
#[inline]
fn with_notes<R>(are_wanted: bool, f: impl FnOnce() -> R) -> R {
    let before = COUNT.get();
    let outer = FIRST_NOTE.replace(are_wanted.then_some(before));
    let result = f();
    FIRST_NOTE.set(outer);
    if COUNT.get() != before {
        forget_notes(before);
    }
    result
}

#[cold]
fn forget_notes(before: usize) {
    COUNT.set(before);
    let _ = NOTES.try_with(|notes| notes.borrow_mut().truncate(before));
}

/// The largest number of notes that one [`catch`] keeps: a task may catch many panics.
const MOST_NOTES: usize = 32;

thread_local! {
    /// The name of the task that this thread runs, if the task has a name.
    static TASK: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
    /// `true` while `TASK` has a name. A task that runs inside another one reads this flag,
    /// because a read of `TASK` takes several times as long.
    static HAS_NAME: Cell<bool> = const { Cell::new(false) };
    /// The notes of the panics inside each [`catch`] of this thread, in the panics' order.
    static NOTES: RefCell<Vec<Note>> = const { RefCell::new(Vec::new()) };
    /// The number of notes in [`NOTES`].
    static COUNT: Cell<usize> = const { Cell::new(0) };
    /// The index in [`NOTES`] of the first note of the innermost [`catch`]. The index is
    /// `None` outside every `catch`, and inside [`contain`] and [`contain_drop`].
    static FIRST_NOTE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Installs the panic hook that records locations, if the process has not installed it yet.
///
/// The constructors of executors and promises call it, and so does the start of a worker.
/// The code that runs a task does not call it, because installing a hook waits while
/// another thread is inside the program's hook.
pub(crate) fn watch_panics() {
    static CHAINED: Once = Once::new();
    // A panicking thread must not change the hook. If this thread is panicking, a later
    // call of this function installs the hook.
    if CHAINED.is_completed() || std::thread::panicking() {
        return;
    }
    CHAINED.call_once(|| {
        let program = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !is_growing() {
                note(info);
                program(info);
            }
        }));
    });
}

fn note(info: &PanicHookInfo<'_>) {
    let (Some(first), Some(location)) = (FIRST_NOTE.get(), info.location()) else {
        return;
    };
    let here = 0_u8;
    let note = Note {
        payload: identity(info.payload()),
        message: message_of(info.payload()),
        height: std::ptr::from_ref(&here).addr(),
        location: location.to_string(),
        task: TASK.try_with(|task| task.borrow().clone()).unwrap_or(None),
    };
    // The borrow of `NOTES` ends with this statement, because the program's hook runs
    // next and may panic.
    let _ = NOTES.try_with(|notes| {
        let mut notes = notes.borrow_mut();
        if notes.len() == first + MOST_NOTES {
            notes.remove(first);
        }
        notes.push(note);
        COUNT.set(notes.len());
    });
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "Box<dyn Any>".to_owned()
    }
}
