//! The data that the parent and its workers exchange: frames, messages, values and
//! functions as bytes.

pub(crate) mod answer;
pub(crate) mod assembler;
pub(crate) mod call;
pub(crate) mod codec;
// The tests are not inside `codec`, because `benches/values.rs` includes the codec without
// its tests.
#[cfg(test)]
mod codec_tests;
pub(crate) mod exit_code;
mod fields;
pub(crate) mod frame;
pub(crate) mod marker;
pub(crate) mod message;
pub(crate) mod program;
