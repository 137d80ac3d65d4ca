//! [`Panic`]: a caught panic, described, and kept so that it can be resumed.
//!
//! [`catch`] runs a task's function; [`contain`] and [`contain_drop`] run code
//! whose panic has no caller to go to (a callback, a user's `Drop`), so that no
//! worker ends by it. The place of a panic is known only to the panic
//! hook, so [`watch_panics`] chains one in front of the program's own.
//!
//! # Which panic a note is of
//!
//! The hook sees more panics than [`catch`] gets: a task may catch some itself,
//! before its own or in a `Drop` while its own unwinds. So each `catch` keeps the
//! notes of all panics inside it, and looks for the one of its payload: of the
//! same type and text, with that text at the same address. A formatted text has
//! an address of its own. Literals may share one; of several notes of one
//! literal that is the panic which was raised with the least on the stack, since
//! those that a task catches come from below the function that catches them.

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::mem::needs_drop;
use std::panic::{AssertUnwindSafe, PanicHookInfo, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};

use crate::sync::Mutex;
use crate::worker::current_worker;

/// A panic that ended a task: its message, place and worker.
///
/// It comes inside [`Error::Panicked`](crate::Error::Panicked). The program's
/// panic hook has run as for any other panic, so the message is on standard
/// error too, unless the program says otherwise.
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
/// Clones share one payload. Dropping the last one drops the payload; should
/// that panic as well, the second panic goes no further.
#[derive(Clone)]
pub struct Panic(Arc<Inner>);

struct Inner {
    message: String,
    location: Option<String>,
    worker: Option<String>,
    task: Option<Arc<str>>,
    payload: Mutex<Option<Box<dyn Any + Send>>>,
    /// `true` once the task's outcome was read.
    is_read: AtomicBool,
}

impl Panic {
    /// Describes the payload that [`std::panic::catch_unwind`] returned.
    ///
    /// For an executor of your own, made of [`promise`](crate::promise()), that catches
    /// panics itself. The location is known only for panics inside a
    /// function that this crate runs.
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

    /// Records that it was read as a task's outcome.
    pub(crate) fn mark_read(&self) {
        // ORDERING: it publishes nothing; who asks, asks behind a lock that
        // every reader has passed.
        self.0.is_read.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_read(&self) -> bool {
        // ORDERING: see `mark_read`.
        self.0.is_read.load(Ordering::Relaxed)
    }

    /// A panic in another process, of which there are words and no payload.
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

    /// The message, or `Box<dyn Any>` for a payload that is not text.
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

    /// Returns the place of the panic, as `file:line:column`.
    ///
    /// `None` when the panic hook did not see it: the program replaced the hook
    /// after it made the executor, or `resume_unwind` raised the panic.
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

    /// The name of the worker that ran the task, if one did.
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

    /// The name that the task was given by
    /// [`TaskOptions::name`](crate::TaskOptions::name); `None` too if the panic
    /// hook did not see it.
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

    /// Goes on with the panic in the calling thread.
    ///
    /// The first call among all clones resumes the payload itself, later ones
    /// its message. The panic hook does not run again.
    ///
    /// # Panics
    ///
    /// Always: that is what it is for.
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

// The payload is only ever moved out whole, under a lock.
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
    /// Writes that `who` panicked, where, and the message.
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

/// Runs a task's function; returns its panic as an error.
#[inline]
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Panic> {
    with_notes(true, || {
        catch_unwind(AssertUnwindSafe(f)).map_err(Panic::from_payload)
    })
}

/// Runs a task's function under its name.
pub(crate) fn named<T>(name: Option<Arc<str>>, f: impl FnOnce() -> T) -> T {
    /// Puts the outer name back, on the way of a panic too.
    struct Outer(Option<Arc<str>>);
    impl Drop for Outer {
        fn drop(&mut self) {
            let _ = TASK.try_with(|task| task.replace(self.0.take()));
        }
    }
    let _outer = Outer(TASK.try_with(|task| task.replace(name)).unwrap_or(None));
    f()
}

/// Runs `f` and swallows its panic, which the hook has reported: for callbacks and
/// destructors, whose panics have no caller to go to.
pub(crate) fn contain(f: impl FnOnce()) {
    let caught = with_notes(false, || catch_unwind(AssertUnwindSafe(f)));
    if let Err(payload) = caught {
        contain_drop(payload);
    }
}

/// Drops a user's value; swallows its panic, and that of the panic's own payload.
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

/// The note that the hook took of a panic inside a [`catch`] on this thread.
struct Note {
    payload: (TypeId, usize),
    message: String,
    /// An address on the stack, which grows downwards.
    height: usize,
    location: String,
    task: Option<Arc<str>>,
}

impl Note {
    /// Returns the source location and the task's name of the panic with this payload,
    /// if the panic hook recorded it inside the innermost [`catch`].
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

/// The type of a payload, and the address of its text if it is one.
fn identity(payload: &(dyn Any + Send)) -> (TypeId, usize) {
    let text = payload.downcast_ref::<&'static str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    (
        payload.type_id(),
        text.map_or(0, |text| text.as_ptr().addr()),
    )
}

/// Runs `f`, which does not unwind, with notes of its own if they are wanted, or with
/// none.
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

/// The number of panics that a [`catch`] remembers; a task may catch any number itself.
const MOST_NOTES: usize = 32;

thread_local! {
    /// The name of the task that runs, if it has one.
    static TASK: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
    /// Of the panics inside each [`catch`], in their order.
    static NOTES: RefCell<Vec<Note>> = const { RefCell::new(Vec::new()) };
    /// The number of notes.
    static COUNT: Cell<usize> = const { Cell::new(0) };
    /// The index of the first one of the innermost [`catch`]; `None` outside, and where a
    /// panic is contained.
    static FIRST_NOTE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Chains the hook that notes locations, once a process.
///
/// Where executors and promises are made, not where tasks run: a task that runs
/// while another thread is inside the program's hook would wait for that hook.
pub(crate) fn watch_panics() {
    static CHAINED: Once = Once::new();
    // A panicking thread may not touch the hook; the next executor will do.
    if CHAINED.is_completed() || std::thread::panicking() {
        return;
    }
    CHAINED.call_once(|| {
        let program = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            note(info);
            program(info);
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
    // Should the program's hook panic as well, nothing here is borrowed.
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
