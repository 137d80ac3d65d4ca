//! The drivers that the fuzz targets of `fuzz/` call, one for each target.
//!
//! A driver takes any bytes, and panics if a promise of this crate is broken. Each driver
//! is beside the code that it tests, and a unit test runs it with fixed inputs.

/// Tests a ring whose words another process overwrites.
pub fn ring(data: &[u8]) {
    super::transport::drive_ring(data);
}

/// Tests the offers of a pool whose statuses a worker overwrites.
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
