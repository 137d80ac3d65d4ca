//! The fuzz target `parent`, whose driver is in the crate.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| concurrent_futures::fuzz::parent(data));
