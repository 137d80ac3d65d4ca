//! The data that the parent and its workers exchange. Messages, values and functions are
//! encoded as bytes in frames.

pub(crate) mod answer;
pub(crate) mod assembler;
pub(crate) mod call;
pub(crate) mod codec;
// The codec's tests are beside the module `codec` and not inside it, because
// `benches/values.rs` includes the module and cannot include the tests.
#[cfg(any(test, concurrent_futures_fuzz))]
pub(super) mod codec_fuzz;
#[cfg(test)]
mod codec_tests;
pub(crate) mod exit_code;
mod fields;
pub(crate) mod frame;
#[cfg(any(test, concurrent_futures_fuzz))]
pub(super) mod frames_fuzz;
pub(crate) mod greeting;
mod hello;
mod items;
pub(crate) mod marker;
pub(crate) mod message;
pub(crate) mod program;
