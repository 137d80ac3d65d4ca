//! Payloads that consist of texts: reasons, panics and errors. This crate, and not the
//! user, defines their types.

use super::codec;
use super::frame::{FrameWriter, Kind, ProtocolError};

pub(super) fn whole<T: serde::Serialize>(kind: Kind, task: u64, plain: &T) -> Vec<u8> {
    let mut out = Vec::new();
    let open = FrameWriter::begin(&mut out, kind, task);
    append_payload(&mut out, plain);
    open.close(&mut out);
    out
}

/// Appends the encoding of `plain`, which is a payload or a part of a payload.
pub(super) fn append_payload<T: serde::Serialize>(out: &mut Vec<u8>, plain: &T) {
    codec::encode(plain, out).expect("texts and numbers can be encoded");
}

pub(super) fn read<T: serde::de::DeserializeOwned>(
    what: &str,
    payload: &[u8],
) -> Result<T, ProtocolError> {
    codec::decode(payload)
        .map_err(|fault| ProtocolError::new(format!("no {what}: {}", fault.reason)))
}
