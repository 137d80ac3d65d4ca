//! [`RemoteTask`]: a task that runs in a worker process, together with the type of its
//! value. This file also converts the worker's answer into the task's value or an error.

use std::any::TypeId;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::pool::Pool;
use super::queued_task::{Answered, AnyRemoteTask};
use super::{offers, polling};
use crate::completion::{
    Completion, EncodedCall, Finalizer, Job, JoblessNotification, Notification, Remote,
};
use crate::encoded::Encoded;
use crate::error::{CodecError, Error, Side};
use crate::map::{ChunkTimer, ContainedVec};
use crate::panic::{catch, contain};
use crate::process::wire::answer::{Answer, answers, run_time};
use crate::process::wire::codec::{self, CodecFault};
use crate::process::wire::frame::ProtocolError;
use crate::process::wire::message::FOREIGN_BYTES;
use crate::sync::ThreadId;

/// The largest value, in bytes, that the waiting thread may decode instead of the
/// collector. The collector decodes larger values, because a `Deserialize` may recurse, and
/// the collector has a large stack.
const SMALL: usize = 32;

/// The encoded call of a pending task. The task's completion holds the call until the pool
/// sends it to a worker, or until the task is cancelled.
pub(super) struct RemoteJob {
    pub(super) pool: Arc<Pool>,
    /// The encoded call, or `None` while a worker has the call.
    pub(super) call: Option<EncodedCall>,
}

impl<T> Job<T> for RemoteJob {
    const REMOTE: Option<&'static Remote> = Some(&Remote {
        poll: polling::poll,
        recall: offers::recall,
    });

    fn call(self) -> T {
        unreachable!("it runs in another process, and no thread here is its worker")
    }

    fn on_withdrawn(&self, cancelled: bool) {
        self.pool.on_withdrawn(cancelled);
    }

    fn take_call(&mut self) -> Option<EncodedCall> {
        self.call.take()
    }

    fn put_call(&mut self, call: EncodedCall) {
        self.call = Some(call);
    }
}

/// A task, with the function that decodes the worker's answer into the task's value.
pub(super) struct RemoteTask<T, D> {
    pub(super) pool: Arc<Pool>,
    pub(super) completion: Completion<T>,
    pub(super) decode: D,
    /// The timer, if the task is a chunk of a map that chooses the chunk sizes
    /// automatically.
    pub(super) timer: Option<ChunkTimer>,
}

impl<T, D> RemoteTask<T, D>
where
    T: Send + 'static,
    D: Fn(&mut Encoded, Option<&Arc<str>>) -> Result<T, Error> + Send,
{
    fn settle(&self, outcome: Result<T, Error>) -> Option<Notification> {
        self.completion.settle(outcome).ok()
    }

    /// Ends the task with a small value of a plain type, if the task has no callback and no
    /// waker.
    /// The calling thread holds the pool's lock, and must not run user code. The collector
    /// runs the notification.
    fn end_plain(&self, bytes: &mut Encoded, collector: ThreadId) -> Option<JoblessNotification> {
        if bytes.len() > SMALL || !is_plain::<T>() {
            return None;
        }
        let value = (self.decode)(bytes, None).ok()?;
        self.completion.settle_quietly(value, collector).ok()
    }

    /// Publishes the run time of a chunk before the collector decodes the chunk's results,
    /// because the map may submit its other chunks meanwhile.
    fn publish_run_time(&self, answer: &Answer<Encoded>) {
        if let (Some(timer), Answer::Returned(bytes)) = (&self.timer, answer) {
            if let Some(time) = run_time(&bytes.bytes) {
                timer.end(time);
            }
        }
    }
}

impl<T, D> AnyRemoteTask for RemoteTask<T, D>
where
    T: Send + 'static,
    D: Fn(&mut Encoded, Option<&Arc<str>>) -> Result<T, Error> + Send + 'static,
{
    fn id(&self) -> usize {
        self.completion.address()
    }

    fn claim(&self) -> Option<EncodedCall> {
        self.completion.claim()
    }

    fn release(&self, call: EncodedCall) {
        // SAFETY: the pool has claimed this task, and calls `release` once for each claim.
        unsafe { self.completion.release(call) };
    }

    fn begin(&self) {
        self.completion.start();
        if let Some(timer) = &self.timer {
            timer.begin();
        }
    }

    fn answered(
        self: Box<Self>,
        mut answer: Answer<Encoded>,
        name: Option<Arc<str>>,
        collector: Option<ThreadId>,
    ) -> Answered {
        if let (Answer::Returned(bytes), Some(collector)) = (&mut answer, collector) {
            if let Some(notification) = self.end_plain(bytes, collector) {
                if !notification.is_due() {
                    // It has nothing to call, and drops the value if there is no future.
                    notification.notify();
                    return Answered::Ended(None);
                }
                let pool = Arc::clone(&self.pool);
                let finalizer = move || {
                    contain(|| notification.notify());
                    pool.settled(1);
                };
                return Answered::Ended(Some(Box::new(finalizer)));
            }
        }
        self.publish_run_time(&answer);
        let completion = self.completion.clone();
        let is_small = !matches!(&answer, Answer::Returned(bytes) if bytes.len() > SMALL);
        let finalizer = move || {
            // Marks this thread as the task's worker. If the value's `Deserialize` waits
            // for the task itself, the wait returns an error for the deadlock.
            self.completion.runs_here();
            // The value's `Deserialize` is user code, which may panic.
            let decode = |mut bytes, name: Option<&_>| (self.decode)(&mut bytes, name);
            let outcome = catch(|| outcome(answer, name, decode));
            let outcome = outcome.unwrap_or_else(|panic| Err(Error::Panicked(panic)));
            self.pool.ended(outcome.is_err());
            contain(|| self.settle(outcome).map_or((), Notification::notify));
            self.pool.settled(1);
        };
        let finalizer: Finalizer = Box::new(finalizer);
        Answered::Left(if is_small {
            completion.hand_to_waiter(finalizer).err()
        } else {
            Some(finalizer)
        })
    }

    fn failed(&self, error: Error) -> Option<Notification> {
        self.settle(Err(error))
    }

    fn fail_pending(&self, error: Error) -> Option<Notification> {
        self.completion.fail(error)
    }

    fn cancel(&self) -> Option<Notification> {
        self.completion.cancel()
    }
}

/// Converts a worker's answer into the task's outcome.
fn outcome<T, B>(
    answer: Answer<B>,
    name: Option<Arc<str>>,
    decode: impl FnOnce(B, Option<&Arc<str>>) -> Result<T, Error>,
) -> Result<T, Error> {
    match answer {
        Answer::Returned(bytes) => decode(bytes, name.as_ref()),
        Answer::Panicked(note) => Err(Error::Panicked(note.into_panic(name))),
        Answer::Undecodable(fault) => Err(Error::Decode(codec_error(Side::Worker, fault))),
        Answer::Unencodable(fault) => Err(Error::Encode(codec_error(Side::Worker, fault))),
    }
}

/// Returns `true` if the `Deserialize` and the `Drop` of the type run no user code.
fn is_plain<T: 'static>() -> bool {
    let is = |plain: TypeId| TypeId::of::<T>() == plain;
    is(TypeId::of::<()>())
        || is(TypeId::of::<bool>())
        || is(TypeId::of::<u8>())
        || is(TypeId::of::<u16>())
        || is(TypeId::of::<u32>())
        || is(TypeId::of::<u64>())
        || is(TypeId::of::<usize>())
        || is(TypeId::of::<i8>())
        || is(TypeId::of::<i16>())
        || is(TypeId::of::<i32>())
        || is(TypeId::of::<i64>())
        || is(TypeId::of::<isize>())
        || is(TypeId::of::<f32>())
        || is(TypeId::of::<f64>())
        || is(TypeId::of::<char>())
        || is(TypeId::of::<String>())
}

/// Decodes the value of a single call.
pub(super) fn one<T: DeserializeOwned>(
    bytes: &mut Encoded,
    _name: Option<&Arc<str>>,
) -> Result<T, Error> {
    decoded(codec::decode_moved(&bytes.bytes, bytes.numbers.take()))
}

fn decoded<T>(decoded: Result<T, CodecFault>) -> Result<T, Error> {
    decoded.map_err(|fault| Error::Decode(codec_error(Side::Parent, fault)))
}

/// The outcomes of the items of a chunk.
pub(super) type Results<R> = ContainedVec<Result<R, Error>>;

/// Returns the decoder for a chunk of `items` items. An item that fails does not make the
/// other items fail.
pub(super) fn chunk<T: DeserializeOwned>(
    items: u64,
) -> impl Fn(&mut Encoded, Option<&Arc<str>>) -> Result<Results<T>, Error> {
    move |bytes, name| {
        type Answered<'a> = Result<(u64, Answer<&'a [u8]>), ProtocolError>;
        let result = |(place, answer): (u64, Answered<'_>)| {
            let (number, answer) = answer.map_err(|why| malformed_chunk(&why.to_string()))?;
            if number != place {
                return Err(malformed_chunk("the items are out of order"));
            }
            let decode = |bytes: &[u8], _: Option<&_>| decoded(codec::decode(bytes));
            let result = catch(|| outcome(answer, name.cloned(), decode));
            Ok(result.unwrap_or_else(|panic| Err(Error::Panicked(panic))))
        };
        let results: Results<T> = (0..)
            .zip(answers(&bytes.bytes))
            .map(result)
            .collect::<Result<_, _>>()?;
        if results.len() as u64 == items {
            Ok(results)
        } else {
            Err(malformed_chunk("items are missing"))
        }
    }
}

/// Returns the error for a chunk whose answer is malformed.
fn malformed_chunk(what: &str) -> Error {
    Error::other(format!(
        "the worker's answer for several items makes no sense ({what}); {FOREIGN_BYTES}"
    ))
}

pub(super) fn codec_error(side: Side, fault: CodecFault) -> CodecError {
    CodecError::new(side, fault.type_name, fault.reason)
}
