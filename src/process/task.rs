//! [`RemoteTask`]: the worker's end of a task whose worker is another process, and
//! [`EncodedCall`], the call as it travels.
//!
//! The pool holds tasks of all types as [`AnyRemoteTask`]. What it does with one, in
//! this order: `claim` when the call is sent (nobody can cancel it from then
//! on), `begin` when the worker says that it started, one `answered` or `failed`
//! at the end. A task whose worker ended before it started is `release`d, and
//! may be claimed again or cancelled. `failed` and what `answered` gives back run
//! foreign code; all else takes the task's own lock for a moment and may be done
//! under the pool's.

use std::any::Any;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::codec::{self, CodecFault};
use super::frame::ProtocolError;
use super::message::{Answer, answers};
use super::pool::Pool;
use super::worker_handle::FOREIGN_WORDS;
use crate::completion::{
    Completion, Finalizer, Job, Notification, Notifications, Task, WorkerHooks,
};
use crate::error::{CodecError, Error, Side};
use crate::map::Chunk;
use crate::panic::{catch, contain};

/// A call on its way: a frame that is written once and sent as it is.
pub(super) struct EncodedCall {
    pub(super) pool: Arc<Pool>,
    /// What the worker knows the task by.
    pub(super) number: u64,
    pub(super) frame: Arc<Vec<u8>>,
}

impl<T> Job<T> for EncodedCall {
    fn call(self: Box<Self>) -> T {
        unreachable!("it runs in another process, and no thread here is its worker")
    }

    fn on_withdrawn(&self, cancelled: bool) {
        self.pool.on_withdrawn(cancelled);
    }

    fn drop_contained(self: Box<Self>) {}

    fn inline_hooks(&self) -> Option<Box<dyn WorkerHooks>> {
        None
    }

    fn into_any(self: Box<Self>) -> Option<Box<dyn Any>> {
        Some(self)
    }
}

/// The number of bytes that a value may have to be decoded by the thread that waits for
/// it: its `Deserialize` may recurse by itself, and that thread may have little stack,
/// where the collector has much.
const SMALL: usize = 32;

/// The worker's end of a task of any type.
pub(super) trait AnyRemoteTask: Send {
    /// Tells tasks apart as long as their futures live.
    fn id(&self) -> usize;

    /// Takes the call of a task that is pending.
    fn claim(&self) -> Option<Box<EncodedCall>>;

    /// Puts the call of a claimed task that did not begin back.
    fn release(&self, call: Box<EncodedCall>);

    /// The worker has started it.
    fn begin(&self);

    /// Ends it with what the worker answered, which is decoded first. A thread
    /// that waits for it does that, if it is small; `Some`: the caller sees to it.
    fn answered(
        self: Box<Self>,
        answer: Answer<Vec<u8>>,
        name: Option<Arc<str>>,
    ) -> Option<Finalizer>;

    /// Ends a claimed task with an error.
    fn failed(&self, error: Error) -> Notifications;

    /// Ends a task that is in the queue with an error.
    fn fail_pending(&self, error: Error) -> Notifications;

    /// Cancels a task that is in the queue.
    fn cancel(&self) -> Notifications;
}

/// A task, and how the bytes that its worker returned become its value.
pub(super) struct RemoteTask<T, D> {
    pub(super) pool: Arc<Pool>,
    pub(super) completion: Arc<Completion<T>>,
    pub(super) decode: D,
}

impl<T, D> RemoteTask<T, D>
where
    T: Send + 'static,
    D: Fn(&[u8], Option<&Arc<str>>) -> Result<T, Error> + Send,
{
    fn settle(&self, outcome: Result<T, Error>) -> Notifications {
        let notification = self.completion.settle(outcome).ok();
        Box::new(|| notification.map_or((), Notification::notify))
    }
}

impl<T, D> AnyRemoteTask for RemoteTask<T, D>
where
    T: Send + 'static,
    D: Fn(&[u8], Option<&Arc<str>>) -> Result<T, Error> + Send + 'static,
{
    fn id(&self) -> usize {
        Arc::as_ptr(&self.completion).addr()
    }

    fn claim(&self) -> Option<Box<EncodedCall>> {
        self.completion.claim()?.into_any()?.downcast().ok()
    }

    fn release(&self, call: Box<EncodedCall>) {
        self.completion.release(call);
    }

    fn begin(&self) {
        self.completion.start();
    }

    fn answered(
        self: Box<Self>,
        answer: Answer<Vec<u8>>,
        name: Option<Arc<str>>,
    ) -> Option<Finalizer> {
        let completion = Arc::clone(&self.completion);
        let is_small = !matches!(&answer, Answer::Returned(bytes) if bytes.len() > SMALL);
        let finalizer = move || {
            // For one whose wait would close a circle through this thread.
            self.completion.runs_here();
            // `Deserialize` is the user's.
            let outcome = catch(|| outcome(answer, name, &self.decode));
            let outcome = outcome.unwrap_or_else(|panic| Err(Error::Panicked(panic)));
            self.pool.ended(outcome.is_err());
            contain(self.settle(outcome));
            self.pool.settled();
        };
        let finalizer: Finalizer = Box::new(finalizer);
        if is_small {
            completion.hand_to_waiter(finalizer).err()
        } else {
            Some(finalizer)
        }
    }

    fn failed(&self, error: Error) -> Notifications {
        self.settle(Err(error))
    }

    fn fail_pending(&self, error: Error) -> Notifications {
        Task::fail(Arc::clone(&self.completion), error)
    }

    fn cancel(&self) -> Notifications {
        Task::cancel(Arc::clone(&self.completion))
    }
}

/// What an answer means here.
fn outcome<T, B>(
    answer: Answer<B>,
    name: Option<Arc<str>>,
    decode: impl FnOnce(&[u8], Option<&Arc<str>>) -> Result<T, Error>,
) -> Result<T, Error>
where
    B: AsRef<[u8]>,
{
    match answer {
        Answer::Returned(bytes) => decode(bytes.as_ref(), name.as_ref()),
        Answer::Panicked(note) => Err(Error::Panicked(note.into_panic(name))),
        Answer::Undecodable(fault) => Err(Error::Decode(codec_error(Side::Worker, fault))),
        Answer::Unencodable(fault) => Err(Error::Encode(codec_error(Side::Worker, fault))),
    }
}

/// The value of a single call.
pub(super) fn one<T: DeserializeOwned>(bytes: &[u8], _name: Option<&Arc<str>>) -> Result<T, Error> {
    codec::decode(bytes).map_err(|fault| Error::Decode(codec_error(Side::Parent, fault)))
}

/// What came of the items of a chunk.
pub(super) type Results<R> = Chunk<Result<R, Error>>;

/// The results of a chunk of so many items. One that fails fails alone.
pub(super) fn chunk<T: DeserializeOwned>(
    items: u64,
) -> impl Fn(&[u8], Option<&Arc<str>>) -> Result<Results<T>, Error> {
    move |bytes, name| {
        type Answered<'a> = Result<(u64, Answer<&'a [u8]>), ProtocolError>;
        let result = |(place, answer): (u64, Answered<'_>)| {
            let (number, answer) = answer.map_err(|why| garbled(&why.to_string()))?;
            if number != place {
                return Err(garbled("the items are out of order"));
            }
            let result = catch(|| outcome(answer, name.cloned(), one));
            Ok(result.unwrap_or_else(|panic| Err(Error::Panicked(panic))))
        };
        let results: Results<T> = (0..)
            .zip(answers(bytes))
            .map(result)
            .collect::<Result<_, _>>()?;
        if results.len() as u64 == items {
            Ok(results)
        } else {
            Err(garbled("items are missing"))
        }
    }
}

/// An answer for a chunk that no worker gives by itself.
fn garbled(what: &str) -> Error {
    Error::other(format!(
        "the worker's answer for several items makes no sense ({what}); {FOREIGN_WORDS}"
    ))
}

pub(super) fn codec_error(side: Side, fault: CodecFault) -> CodecError {
    CodecError::new(side, fault.type_name, fault.reason)
}
