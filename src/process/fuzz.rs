//! The drivers that the fuzz targets of `fuzz/` call, one for each target.
//!
//! A driver takes any bytes as its input, and panics if the tested code breaks one of its
//! guarantees. The source of a driver is beside the code that the driver tests. A unit test
//! runs the driver with fixed inputs.

/// Tests a ring (a queue of bytes in shared memory), and overwrites words of this memory as
/// a task might do by mistake.
pub fn ring(data: &[u8]) {
    super::transport::drive_ring(data);
}

/// Tests the offers (calls in shared memory, each of which any worker may take). The tasks
/// of the test overwrite words that workers can write to, such as the statuses of the
/// offers.
pub fn offers(data: &[u8]) {
    super::transport::drive_offers(data);
}

/// Tests a pool: plays its workers, its supervisor and the threads that use it.
pub fn parent(data: &[u8]) {
    super::parent::fuzz::drive(data);
}

/// Tests the reading of frames and messages from any bytes.
pub fn frames(data: &[u8]) {
    super::wire::frames_fuzz::drive(data);
}

/// Tests the decoding of values from any bytes.
pub fn codec(data: &[u8]) {
    super::wire::codec_fuzz::drive(data);
}
