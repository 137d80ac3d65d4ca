//! [`word_of`]: a word of shared memory made of bytes.

/// Returns the first 8 bytes as a 64-bit word, with zeros in place of missing bytes.
#[inline]
pub(super) fn word_of(bytes: &[u8]) -> u64 {
    let mut eight = [0; 8];
    match bytes.first_chunk() {
        Some(whole) => eight = *whole,
        None => eight[..bytes.len()].copy_from_slice(bytes),
    }
    u64::from_le_bytes(eight)
}
