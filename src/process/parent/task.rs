//! [`ValueOf`]: the type of the value of a task that runs in a worker process. This file
//! converts the worker's answer into the task's value or an error.

use std::convert::Infallible;
use std::fmt::Display;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::pool::find;
use super::queued_task::{Answered, RemoteValue};
use super::{offers, polling};
use crate::completion::{
    Completion, Finalizer, Job, JoblessNotification, Notification, PoolId, Remote, Task,
};
use crate::encoded::{Encoded, EncodedCall};
use crate::error::{CodecError, Error, Side};
use crate::map::{ChunkTimer, ContainedVec};
use crate::panic::{catch, contain, named};
use crate::process::wire::answer::{Answer, answers, run_time};
use crate::process::wire::codec::plain::is_plain;
use crate::process::wire::codec::{self, CodecFault, with_room_for_parts_of};
use crate::process::wire::frame::Kind;
use crate::process::wire::message::FOREIGN_BYTES;
use crate::sync::ThreadId;
use crate::sys::stack::with_room_for;
use crate::worker::without_worker;

/// The length in bytes of the largest encoded value that a thread which waits for the task
/// may decode. The collector decodes larger values, because a `Deserialize` may recurse,
/// and the collector has a large stack.
const SMALL: usize = 32;

/// The job of a task that runs in another process. The task keeps its job until it ends.
pub(super) struct RemoteJob {
    pub(super) pool: PoolId,
    /// The encoded call, or `None` once the call is not needed any more.
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
        if let Some(pool) = find(self.pool) {
            pool.on_withdrawn(cancelled);
        }
    }

    fn encoded_call(&self) -> Option<&EncodedCall> {
        self.call.as_ref()
    }

    fn take_encoded_call(&mut self) -> Option<EncodedCall> {
        self.call.take()
    }
}

pub(super) trait Decoder<T>: Send + 'static {
    fn decode(&self, bytes: &mut Encoded, name: Option<&Arc<str>>) -> Result<T, Error>;

    fn begin(&self) {}

    /// Called with the worker's answer, before a thread decodes the answer.
    fn answered(&self, _answer: &Answer<Encoded>) {}
}

struct ValueOf<T, D> {
    decoder: D,
    value: PhantomData<fn() -> T>,
}

/// Returns the operations on a task whose value is a `T`.
pub(super) fn value_of<T, D>(decoder: D) -> Box<dyn RemoteValue>
where
    T: Send + 'static,
    D: Decoder<T>,
{
    Box::new(ValueOf {
        decoder,
        value: PhantomData::<fn() -> T>,
    })
}

impl<T, D> ValueOf<T, D>
where
    T: Send + 'static,
    D: Decoder<T>,
{
    /// Returns the task with its type, which `value_of` has erased.
    fn typed<'a>(&self, task: &'a Task) -> &'a Completion<T> {
        Completion::of_task(task)
    }

    /// Ends the task if it has no callback and no waker. Its value is small and of a plain
    /// type (a type that is decoded without user code). The calling thread holds the pool's
    /// lock, and must not run user code. So this method returns the notification of the
    /// task's end: if another thread has just added a callback or a waker, the collector
    /// runs the notification. Returns `None` if the task has not ended.
    fn end_plain(
        &self,
        task: &Task,
        bytes: &mut Encoded,
        collector: ThreadId,
    ) -> Option<JoblessNotification> {
        let value = self.decoder.decode(bytes, None).ok()?;
        self.typed(task).settle_quietly(value, collector).ok()
    }

    fn finish(&self, task: &Task, answer: Answer<Encoded>, name: Option<Arc<str>>) {
        // Marks this thread as the task's worker. If the value's `Deserialize` waits for
        // this very task, the wait then returns an error instead of a deadlock.
        task.runs_here();
        // The value's `Deserialize` is user code, which may panic. This thread may be a
        // worker that waits for the task inside another task. Neither that worker nor the
        // name of that other task belongs to the panic.
        let decode = |mut bytes, name: Option<&_>| self.decoder.decode(&mut bytes, name);
        let decoded = || catch(|| named(name.clone(), || outcome(answer, name, decode)));
        let outcome = without_worker(decoded);
        let outcome = outcome.unwrap_or_else(|panic| Err(Error::Panicked(panic)));
        let pool = find(task.pool_id());
        if let Some(pool) = &pool {
            pool.ended(outcome.is_err());
        }
        contain(|| self.settle(task, outcome).map_or((), Notification::notify));
        if let Some(pool) = pool {
            pool.settled(1);
        }
    }

    fn settle(&self, task: &Task, outcome: Result<T, Error>) -> Option<Notification> {
        self.typed(task).settle(outcome).ok()
    }
}

impl<T, D> RemoteValue for ValueOf<T, D>
where
    T: Send + 'static,
    D: Decoder<T>,
{
    fn begin(&self) {
        self.decoder.begin();
    }

    fn answered(
        self: Box<Self>,
        task: Task,
        mut answer: Answer<Encoded>,
        name: Option<Arc<str>>,
        collector: Option<ThreadId>,
    ) -> Answered {
        let is_small = !matches!(&answer, Answer::Returned(bytes) if bytes.len() > SMALL);
        // In a debug build, even a call of `end_plain` that returned at once would need
        // stack for several values.
        let may_end = is_small && is_plain::<T>();
        if let (Answer::Returned(bytes), Some(collector), true) = (&mut answer, collector, may_end)
        {
            if let Some(notification) = self.end_plain(&task, bytes, collector) {
                if !notification.is_due() {
                    // This notification calls no user code. It only drops the value if
                    // there is no future.
                    notification.notify();
                    return Answered::Ended(None);
                }
                let finalizer = move || {
                    contain(|| notification.notify());
                    if let Some(pool) = find(task.pool_id()) {
                        pool.settled(1);
                    }
                };
                return Answered::Ended(Some(Box::new(finalizer)));
            }
        }
        self.decoder.answered(&answer);
        let finished = task.clone();
        let finish = move || self.finish(&finished, answer, name);
        let finalizer: Finalizer = Box::new(move || with_room_for(size_of::<T>(), finish));
        Answered::Left(if is_small {
            task.hand_to_waiter(finalizer).err()
        } else {
            Some(finalizer)
        })
    }

    fn failed(&self, task: &Task, error: Error) -> Option<Notification> {
        self.settle(task, Err(error))
    }
}

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

pub(super) struct One;

impl<T: DeserializeOwned + 'static> Decoder<T> for One {
    fn decode(&self, bytes: &mut Encoded, _name: Option<&Arc<str>>) -> Result<T, Error> {
        let numbers = bytes.numbers.take();
        decoded(with_room_for_parts_of::<T, _>(|| {
            codec::decode_moved(&bytes.bytes, numbers)
        }))
    }
}

fn decoded<T>(decoded: Result<T, CodecFault>) -> Result<T, Error> {
    decoded.map_err(|fault| Error::Decode(codec_error(Side::Parent, fault)))
}

/// The outcomes of the items of a *chunk*, which is one task for several items of a map.
pub(super) type Results<R> = ContainedVec<Result<R, Error>>;

/// The decoder for the outcomes of a chunk ([`Results`]). If one item fails, the other
/// items keep their values.
pub(super) struct OfChunk {
    /// The number of items in the chunk.
    pub(super) items: usize,
    /// The timer, if the map chooses the chunk sizes automatically.
    pub(super) timer: Option<ChunkTimer>,
}

impl<R: DeserializeOwned + Send + 'static> Decoder<Results<R>> for OfChunk {
    fn decode(&self, bytes: &mut Encoded, name: Option<&Arc<str>>) -> Result<Results<R>, Error> {
        // Asks for the stack once, because a further segment for each item would take longer
        // than the decoding of most items.
        with_room_for(size_of::<R>(), || {
            with_room_for_parts_of::<R, _>(|| self.decode_here(&bytes.bytes, name))
        })
    }

    fn begin(&self) {
        if let Some(timer) = &self.timer {
            timer.begin();
        }
    }

    /// Publishes the run time of the chunk before a thread decodes the chunk's results. So
    /// the map can already use this time to choose the sizes of its next chunks.
    fn answered(&self, answer: &Answer<Encoded>) {
        if let (Some(timer), Answer::Returned(bytes)) = (&self.timer, answer) {
            if let Some(time) = run_time(&bytes.bytes) {
                timer.end(time);
            }
        }
    }
}

impl OfChunk {
    /// Decodes the outcomes on the current stack.
    fn decode_here<R: DeserializeOwned + 'static>(
        &self,
        bytes: &[u8],
        name: Option<&Arc<str>>,
    ) -> Result<Results<R>, Error> {
        let mut results = Results::with_capacity(self.items);
        for item in answers(bytes) {
            let (kind, item) = item.map_err(malformed_chunk)?;
            if results.len() == self.items {
                return Err(malformed_chunk("there are too many"));
            }
            // No `Answer` is made of a value, because its copies would take longer than the
            // decoding of a short item.
            match kind {
                Kind::Returned => results.push(item_value(item)),
                kind => results.push(Err(item_error(kind, item, name)?)),
            }
        }
        if results.len() == self.items {
            Ok(results)
        } else {
            Err(malformed_chunk("items are missing"))
        }
    }
}

/// Decodes the value that the worker returned for an item.
fn item_value<R: DeserializeOwned + 'static>(item: &[u8]) -> Result<R, Error> {
    let decode = || decoded(codec::decode(item));
    if is_plain::<R>() {
        return decode();
    }
    catch(decode).unwrap_or_else(|panic| Err(Error::Panicked(panic)))
}

/// Returns the error of an item for which the worker returned no value. Returns `Err` if
/// the worker's answer makes no sense.
#[cold]
fn item_error(kind: Kind, why: &[u8], name: Option<&Arc<str>>) -> Result<Error, Error> {
    let answer = Answer::read(kind, why).map_err(malformed_chunk)?;
    match outcome(answer, name.cloned(), |never: Infallible, _| Ok(never)) {
        Err(error) => Ok(error),
        Ok(never) => match never {},
    }
}

fn malformed_chunk(what: impl Display) -> Error {
    Error::other(format!(
        "the worker's answer for several items makes no sense ({what}); {FOREIGN_BYTES}"
    ))
}

pub(super) fn codec_error(side: Side, fault: CodecFault) -> CodecError {
    CodecError::new(side, fault.type_name, fault.reason, fault.is_shortage)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the payload of a chunk's answer with this number of values.
    fn answered(values: u64) -> Encoded {
        let mut out = Vec::new();
        for value in 0..values {
            let mut bytes = Vec::new();
            codec::encode(&value, &mut bytes).unwrap();
            let head = (bytes.len() as u64) << 8 | Kind::Returned as u64;
            out.extend_from_slice(&head.to_le_bytes());
            out.extend_from_slice(&bytes);
        }
        out.extend_from_slice(&7_u64.to_le_bytes());
        out.into()
    }

    #[test]
    fn a_chunk_has_one_answer_for_each_item() {
        let decoder = OfChunk {
            items: 3,
            timer: None,
        };
        let decode = |mut answer: Encoded| -> Result<Results<u64>, Error> {
            decoder.decode(&mut answer, None)
        };
        let values = decode(answered(3)).unwrap();
        assert!(values.iter().map(|value| value.clone().unwrap()).eq(0..3));
        for (answer, what) in [
            (answered(2), "missing"),
            (answered(4), "too many"),
            (b"no item and a run time".to_vec().into(), "makes no sense"),
        ] {
            let error = decode(answer).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
