//! [`Answer`]: the outcome of a call, and [`InitializeFailure`]: the reason why an
//! initializer failed.

use std::time::Duration;

use super::codec::CodecFault;
use super::fields::{append_payload, read};
use super::frame::{FrameWriter, Kind, ProtocolError};
use super::items::{ItemWriter, Items};
use crate::panic::Panic;
use crate::report::Report;

/// The outcome of one call, as the worker sends it to the parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer<B> {
    Returned(B),
    /// A panic occurred in the function, in the `Deserialize` of its arguments, or in the
    /// `Serialize` of its value.
    Panicked(WirePanic),
    Undecodable(CodecFault),
    Unencodable(CodecFault),
}

impl<B> Answer<B> {
    /// Reads an answer of any kind except `Returned`.
    pub(crate) fn read(kind: Kind, payload: &[u8]) -> Result<Self, ProtocolError> {
        match kind {
            Kind::Panicked => WirePanic::read(payload).map(Self::Panicked),
            Kind::Undecodable => read_fault(payload).map(Self::Undecodable),
            Kind::Unencodable => read_fault(payload).map(Self::Unencodable),
            kind => Err(ProtocolError::new(format!("{kind:?} from a worker"))),
        }
    }
}

/// The number of bytes that the run time takes at the end of the answer to a chunk (a
/// task that calls a function for each of several items).
const RUN_TIME: usize = 8;

/// Appends the run time of a chunk to the payload of the chunk's answer, after the answers
/// for the items.
pub(super) fn write_run_time(time: Duration, out: &mut Vec<u8>) {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    out.extend_from_slice(&nanoseconds.to_le_bytes());
}

/// Reads the run time of a chunk from the payload of the chunk's answer, or returns `None`
/// if the payload is too short. The run time may be wrong, because another process sent it.
pub(crate) fn run_time(returned: &[u8]) -> Option<Duration> {
    let (_, nanoseconds) = returned.split_last_chunk::<RUN_TIME>()?;
    Some(Duration::from_nanos(u64::from_le_bytes(*nanoseconds)))
}

/// Returns an iterator over the answers for the items of a chunk. `returned` is the payload
/// of the chunk's answer.
pub(crate) fn answers(returned: &[u8]) -> Items<'_> {
    let items = returned.split_last_chunk::<RUN_TIME>();
    Items::within(items.map_or(returned, |(items, _)| items))
}

/// The data of a panic that the worker sends to the parent. The panic's payload is missing,
/// because it may be a value of any type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WirePanic {
    pub(crate) message: String,
    pub(crate) location: Option<String>,
    pub(crate) worker: Option<String>,
}

impl WirePanic {
    pub(crate) fn of(panic: &Panic) -> Self {
        Self {
            message: panic.message().to_owned(),
            location: panic.location().map(str::to_owned),
            worker: panic.worker().map(str::to_owned),
        }
    }

    /// Converts the worker's data into the [`Panic`] of the task named `task`.
    pub(crate) fn into_panic(self, task: Option<std::sync::Arc<str>>) -> Panic {
        Panic::elsewhere(self.message, self.location, self.worker, task)
    }

    /// Appends the data as the payload of an answer of the kind `Panicked`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        append_payload(out, &(&self.message, &self.location, &self.worker));
    }

    pub(super) fn read(payload: &[u8]) -> Result<Self, ProtocolError> {
        let (message, location, worker) = read("panic", payload)?;
        Ok(Self {
            message,
            location,
            worker,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InitializeFailure {
    Error(Report),
    Panicked(WirePanic),
    Undecodable(CodecFault),
}

impl InitializeFailure {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let open = FrameWriter::begin(out, Kind::InitializeFailed, 0);
        let item = ItemWriter::begin(out);
        match self {
            // There is no [`Kind`] for an error that an initializer has returned, so the
            // kind `Item` stands for this error. The other two cases have kinds of their
            // own.
            Self::Error(report) => {
                append_payload(out, report);
                item.close(out, Kind::Item);
            }
            Self::Panicked(note) => {
                note.write(out);
                item.close(out, Kind::Panicked);
            }
            Self::Undecodable(fault) => {
                write_fault(fault, out);
                item.close(out, Kind::Undecodable);
            }
        }
        open.close(out);
    }

    pub(super) fn read(payload: &[u8]) -> Result<Self, ProtocolError> {
        let item = Items::within(payload).next();
        let (kind, why) =
            item.unwrap_or_else(|| Err(ProtocolError::new("a failure of nothing")))?;
        match kind {
            Kind::Item => read("error", why).map(Self::Error),
            Kind::Panicked => WirePanic::read(why).map(Self::Panicked),
            Kind::Undecodable => read_fault(why).map(Self::Undecodable),
            kind => Err(ProtocolError::new(format!("{kind:?} as a failure"))),
        }
    }
}

/// Appends a fault as the payload of an answer of the kind `Undecodable` or `Unencodable`.
pub(super) fn write_fault(fault: &CodecFault, out: &mut Vec<u8>) {
    append_payload(out, &(&fault.type_name, &fault.reason, fault.is_shortage));
}

fn read_fault(payload: &[u8]) -> Result<CodecFault, ProtocolError> {
    let (type_name, reason, is_shortage) = read("fault", payload)?;
    Ok(CodecFault {
        type_name,
        reason,
        is_shortage,
    })
}
