//! [`Input`]: the bytes that tell a driver of a fuzz target what to do.

/// The bytes that a driver has not read yet. If too few bytes are left for a number, zeros
/// take the place of the missing bytes.
#[derive(Clone, Debug)]
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the next `count` bytes, or all remaining bytes if there are fewer.
    pub(super) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    pub(super) fn number<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.take(N);
        let mut bytes = [0; N];
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.number())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.number())
    }

    pub(super) fn index(&mut self, count: usize) -> usize {
        usize::from(self.u16()) % count.max(1)
    }

    /// Returns a length in bytes, at most `largest`. Small lengths are the most frequent.
    pub(super) fn size(&mut self, largest: usize) -> usize {
        let size = match self.byte() {
            small @ 0..=199 => usize::from(small),
            near @ 200..=229 => usize::from(near - 200) * 8 + usize::from(self.byte() % 3),
            _ => usize::from(self.u16()),
        };
        size.min(largest)
    }

    /// Returns a number that depends on all bytes that are left. A driver uses the number
    /// as the key of the checksums in shared memory. So a checksum that is valid in the run
    /// with one input is not valid in the run with another input.
    pub(super) fn key(&self) -> u64 {
        let step = |key: u64, byte: &u8| {
            (key.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(0x517c_c1b7_2722_0a95)
        };
        self.0.iter().fold(0x9e37_79b9_7f4a_7c15, step)
    }
}

/// Runs a driver with no bytes, and then with `count` pseudorandom inputs, which are the
/// same in each run. Each input is shorter than `longest`.
#[cfg(test)]
pub(super) fn run_with_fixed_inputs(driver: fn(&[u8]), count: u64, longest: u64) {
    let mut state = 0_u64;
    // The random number generator SplitMix64.
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    };
    driver(&[]);
    for _ in 0..count {
        let length = next() % longest;
        let bytes: Vec<u8> = (0..length).map(|_| next() as u8).collect();
        driver(&bytes);
    }
}
