//! The drivers that the fuzz targets of `fuzz/` call, one for each target.
//!
//! A driver takes any bytes as its input, and panics if the tested code does not do what it
//! guarantees. Each driver is beside the code that it tests, and a unit test runs it with
//! fixed inputs.

/// Tests a ring (a queue of bytes in shared memory), and overwrites its words as the other
/// process might do by mistake.
pub fn ring(data: &[u8]) {
    super::transport::drive_ring(data);
}

/// Tests the offers (the calls in shared memory that the workers take) while a worker
/// overwrites the words that say which worker has taken each offer.
pub fn offers(data: &[u8]) {
    super::transport::drive_offers(data);
}

/// Tests the reading of frames and messages from any bytes.
pub fn frames(data: &[u8]) {
    super::wire::frames_fuzz::drive(data);
}

/// Tests the decoding of values from any bytes.
pub fn codec(data: &[u8]) {
    super::wire::codec_fuzz::drive(data);
}
