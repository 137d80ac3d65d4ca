//! All that crosses between the two processes: frames, messages, values and
//! functions as bytes.

pub(crate) mod answer;
pub(crate) mod assembler;
pub(crate) mod call;
pub(crate) mod codec;
// Not inside it: `benches/values.rs` takes the encoding without its tests.
#[cfg(test)]
mod codec_tests;
pub(crate) mod exit_code;
mod fields;
pub(crate) mod frame;
pub(crate) mod marker;
pub(crate) mod message;
pub(crate) mod program;
