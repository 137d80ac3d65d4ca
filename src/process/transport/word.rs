//! [`word_of`]: a word of shared memory made of bytes.

/// Returns the first 8 bytes as a 64-bit word, with zeros in place of missing bytes.
#[inline]
pub(super) fn word_of(bytes: &[u8]) -> u64 {
    // The missing bytes are added one by one, because a copy of a few bytes to an array of 8,
    // read as a word at once, would wait until the CPU has written all its earlier stores:
    // those to shared memory take a hundred times as long as this loop.
    match bytes.first_chunk() {
        Some(whole) => u64::from_le_bytes(*whole),
        None => bytes
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}
