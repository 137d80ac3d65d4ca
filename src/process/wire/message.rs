//! The messages between the parent and the worker, and the frames that carry these
//! messages.
//!
//! ```text
//! parent ──▶ worker                          worker ──▶ parent
//! Hello(program, name)     first, once       Ready | Refused(why)
//! Initialize(call, args)   at most once      Initialized | InitializeFailed(why)
//! Task(call, args)         any number        Started if needed, then one Answer
//! LongTask(task)           in an offer       Fetch(task), then as for Task
//! Hold, Release            with offers       nothing
//! an offer                                   as for Task or LongTask, or Declined(offer)
//! Ping                     at any time       Pong, at any time
//! Recall(task)             at any time       Recalled(task), or nothing
//! Exit                     last              ends, with code 0
//! ```
//!
//! The parent may send several frames without waiting for an answer, because the worker
//! handles the frames one after the other. The worker says that it begins the task *before*
//! it decodes the arguments, because the arguments' `Deserialize` is user code. If this
//! code ends the process, the pool treats the task as the cause. The worker says so by
//! `Started`. A worker with shared memory says so by a word in this memory, and sends
//! `Started` only if the parent sleeps, or if the answer may arrive in pieces
//! (`transport/begun.rs`). A worker ends after it has sent
//! `Refused` or `InitializeFailed`. A process that MPI has started (a *rank*) does not end:
//! it waits for `Exit`, and then for the `Hello` of the next pool. It ends when it gets
//! `Exit` in place of a `Hello`.
//!
//! An *offer* is a `Task` or `LongTask` in memory from which all workers of the pool take
//! their tasks (`parent/offers.rs`). A `LongTask` stands for a call that cannot lie in this
//! memory, for example because it is too long. The worker that takes the `LongTask` asks
//! for the call by `Fetch`, and the parent sends the call as a `Task` to this worker alone.
//!
//! Between `Hold` and `Release` a worker takes no offers. The parent sends `Hold` before it
//! kills a worker because of the worker's current task, for instance at a time limit. The
//! current task may end before the kill. Without `Hold` the worker could then take another
//! task, and the kill would end that other task. By `Declined` a worker gives an offer
//! back. A worker declines an offer if the parent has revoked the offer, if a task has
//! overwritten the offer's status (the word that says which worker has taken the offer), or
//! if a message of the parent, perhaps `Hold`, has arrived while the worker took the offer.
//!
//! Only a worker that MPI or a command such as `ssh` has started gets `Ping` and `Recall`.
//! `Ping` and `Pong` show that the connection works. A worker that gets these messages may
//! have several tasks at once: it runs the first task, and the others wait. By `Recall` the
//! parent takes back a task that has not begun. If the task has begun, the worker does not
//! answer `Recall`, because the parent learns this from the task's `Started`, which the
//! worker has sent or is about to send. The `Ready` of a worker that gets `Ping` and
//! `Recall` contains the worker's pid and the name of its host.
//!
//! A chunk is a group of items of a map, and is one task. The arguments of this task are
//! the items (`items.rs`). Its value consists of an answer for each item, and of the run
//! time of the chunk, as a `u64` of nanoseconds.

pub(crate) use super::hello::{Elsewhere, Hello};

use super::answer::{Answer, InitializeFailure};
use super::call::Call;
use super::fields::{read, whole};
use super::frame::{Frame, FrameWriter, Kind, ProtocolError, bare};
use crate::encoded::Encoded;
use crate::sys::numbers::Numbers;

/// The advice in an error about malformed bytes from a worker. A task of the worker has
/// probably written these bytes to the descriptor by which the worker sends its messages.
pub(crate) const FOREIGN_BYTES: &str = "a task may write only to what it has opened itself";

/// Returns the frame of the message `Exit`, which makes a worker exit, or makes an MPI rank
/// leave its pool.
pub(crate) fn exit() -> Vec<u8> {
    bare(Kind::Exit, 0).to_vec()
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Hello(Hello),
    Initialize(Work),
    Task(u64, Work),
    /// A task whose call does not lie in the memory of the offers, for example because it
    /// is too long. The worker that takes the task requests the call by `Fetch`.
    LongTask(u64),
    /// The worker takes no offer until `Release` arrives.
    Hold,
    Release,
    Ping,
    Recall(u64),
    Exit,
}

impl Request {
    #[inline]
    pub(crate) fn of(frame: Frame) -> Result<Self, ProtocolError> {
        match frame.kind {
            Kind::Hello => Hello::read(&frame.payload.bytes).map(Self::Hello),
            Kind::Initialize => Work::of(frame.payload).map(Self::Initialize),
            Kind::Task => Work::of(frame.payload).map(|work| Self::Task(frame.task, work)),
            Kind::LongTask => Ok(Self::LongTask(frame.task)),
            Kind::Hold => Ok(Self::Hold),
            Kind::Release => Ok(Self::Release),
            Kind::Ping => Ok(Self::Ping),
            Kind::Recall => Ok(Self::Recall(frame.task)),
            Kind::Exit => Ok(Self::Exit),
            kind => Err(ProtocolError::new(format!("{kind:?} from a parent"))),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) call: Call,
    payload: Encoded,
}

impl Work {
    #[inline]
    fn of(payload: Encoded) -> Result<Self, ProtocolError> {
        let call = payload
            .bytes
            .first_chunk()
            .ok_or_else(|| ProtocolError::new("a call without a function"))?;
        Ok(Self {
            call: Call::from_bytes(*call),
            payload,
        })
    }

    /// Returns the encoded arguments. If their encoding ends with the numbers of a vector,
    /// only the first call of this method returns these numbers, because it moves them.
    #[inline]
    pub(crate) fn args(&mut self) -> (&[u8], Option<Box<Numbers>>) {
        let Encoded { bytes, numbers } = &mut self.payload;
        (&bytes[Call::BYTES..], numbers.take())
    }
}

/// The process and the host of a worker that can begin, as the worker sees them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadyOn {
    pub(crate) pid: u32,
    /// The pid of the process that has made the socket to which the worker is connected, or
    /// 0 if the worker is connected to no socket, or cannot see that process.
    pub(crate) maker: u32,
    pub(crate) host: String,
}

/// The largest number of bytes of a host's name in `Ready`.
pub(crate) const LONGEST_HOST: usize = 256;

/// Returns the frame of the message `Ready` of a worker that MPI or a command such as
/// `ssh` has started.
pub(crate) fn ready_on(process: &ReadyOn) -> Vec<u8> {
    let mut out = Vec::new();
    let pids = u64::from(process.pid) | u64::from(process.maker) << 32;
    let open = FrameWriter::begin(&mut out, Kind::Ready, pids);
    let length = process.host.len().min(LONGEST_HOST);
    out.extend_from_slice(&process.host.as_bytes()[..length]);
    open.close(&mut out);
    out
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The worker can begin. The pid is 0, and the host empty, if the parent process
    /// itself has started the worker.
    Ready(ReadyOn),
    Refused(String),
    Initialized,
    InitializeFailed(InitializeFailure),
    Started(u64),
    /// The worker asks for the call of a long task that it has taken.
    Fetch(u64),
    /// The worker gives back the offer with this number, and does not begin the offer's
    /// task.
    Declined(u64),
    Pong(u64),
    /// The worker has given the task back, and does not begin it.
    Recalled(u64),
    Answer(u64, Answer<Encoded>),
}

impl Reply {
    #[inline]
    pub(crate) fn of(frame: Frame) -> Result<Self, ProtocolError> {
        match frame.kind {
            Kind::Ready => Ok(Self::Ready(ReadyOn {
                pid: frame.task as u32,
                maker: (frame.task >> 32) as u32,
                host: String::from_utf8_lossy(&frame.payload.bytes).into_owned(),
            })),
            Kind::Refused => read("refusal", &frame.payload.bytes).map(Self::Refused),
            Kind::Initialized => Ok(Self::Initialized),
            Kind::InitializeFailed => {
                InitializeFailure::read(&frame.payload.bytes).map(Self::InitializeFailed)
            }
            Kind::Started => Ok(Self::Started(frame.task)),
            Kind::Fetch => Ok(Self::Fetch(frame.task)),
            Kind::Declined => Ok(Self::Declined(frame.task)),
            Kind::Pong => Ok(Self::Pong(frame.task)),
            Kind::Recalled => Ok(Self::Recalled(frame.task)),
            Kind::Returned => Ok(Self::Answer(frame.task, Answer::Returned(frame.payload))),
            kind => Answer::read(kind, &frame.payload.bytes).map(|a| Self::Answer(frame.task, a)),
        }
    }
}

/// Returns the frame of the message `Refused`, with which a worker reports that it cannot
/// begin.
pub(crate) fn refused(why: &str) -> Vec<u8> {
    whole(Kind::Refused, 0, &why)
}

#[cfg(test)]
mod tests {
    use super::super::answer::{WirePanic, answers, run_time};
    use super::super::frame::HEADER;
    use super::super::program::Program;
    use super::*;

    fn hello() -> Hello {
        Hello {
            program: Program {
                version: "1.2.3".to_owned(),
                build_id: vec![1, 2, 3],
                headers: 0xabcd_ef01_2345_6789,
                anchor: 0x1000,
            },
            number: 3,
            name: "worker_3".to_owned(),
            rings: Some(u64::MAX),
            offers: Some((1, true)),
            elsewhere: None,
        }
    }

    fn frame(kind: Kind, bytes: &[u8]) -> Frame {
        Frame {
            kind,
            task: 0,
            payload: bytes.to_vec().into(),
        }
    }

    /// Reading a frame of any kind must not panic if the payload is empty, is cut short,
    /// or has invalid bytes.
    #[test]
    fn no_payload_panics() {
        let note = WirePanic {
            message: "m".to_owned(),
            location: Some("l".to_owned()),
            worker: None,
        };
        let mut panicked = Vec::new();
        note.write(&mut panicked);
        let mut failed = Vec::new();
        InitializeFailure::Panicked(note).write(&mut failed);
        let payloads = [
            &hello().frame()[HEADER..],
            &panicked,
            &failed[HEADER..],
            &[0xff; 40],
        ]
        .map(<[u8]>::to_vec);
        for number in 0..0x40 {
            let Some(kind) = Kind::of(number) else {
                continue;
            };
            for payload in &payloads {
                for end in 0..=payload.len() {
                    let _ = Request::of(frame(kind, &payload[..end]));
                    let _ = Reply::of(frame(kind, &payload[..end]));
                    let _ = answers(&payload[..end]).count();
                    let _ = run_time(&payload[..end]);
                }
            }
        }
        let cut = &hello().frame()[HEADER..];
        for end in 0..cut.len() {
            assert!(Request::of(frame(Kind::Hello, &cut[..end])).is_err());
        }
        assert!(Request::of(frame(Kind::Task, &[0; 15])).is_err());
    }

    #[test]
    fn each_side_says_its_own_kinds_only() {
        for kind in [Kind::Ready, Kind::Started, Kind::Returned, Kind::Item] {
            assert!(Request::of(frame(kind, &[])).is_err(), "{kind:?}");
        }
        for kind in [Kind::Hello, Kind::Task, Kind::Exit, Kind::Item] {
            assert!(Reply::of(frame(kind, &[])).is_err(), "{kind:?}");
        }
    }
}
