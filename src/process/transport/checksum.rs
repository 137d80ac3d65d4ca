//! [`Checksum`]: the keyed checksum of a record in a ring.
//!
//! A worker process may write to its ring (a queue of bytes in memory that it shares with
//! the parent, `ring.rs`) by mistake, because it runs the user's code, which may corrupt
//! memory. The checksum shows that a record was changed. It does not protect against a
//! process that forges records on purpose, because this process also knows the key.
//!
//! The checksum is a sum of products, similar to the hash function NH: each 64-bit word is
//! combined by XOR with a number of its own, and then the two words of each pair are
//! multiplied. So the CPU needs one multiplication for two words, and can begin a product
//! before the previous sum is known. If words change, then the sum stays the same with a
//! probability of about 2^-64, because the numbers depend on the key. The probability is
//! so small because of two more properties:
//!
//! * The sum has 128 bits. In a sum of 64 bits, the changes of the top bits of two words
//!   would often cancel out, for example the changed signs of two floating-point numbers.
//! * The numbers with which the words are combined have no regular distances, so that
//!   regular changes of neighbouring words do not cancel out.

/// An odd number without a pattern in its bits: 2^64 divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Returns a number that depends on all bits of `key` and of `position`. `position` is the
/// position of a record in its ring, or the number of a task (`begun.rs`). The number is
/// computed as in the random number generator SplitMix64.
pub(super) fn mask(key: u64, position: u64) -> u64 {
    mix(key.wrapping_add(position.wrapping_mul(STEP)))
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Returns the *sealed* form of `number`: a word that depends on `number` and `key`. A word
/// that a task writes by mistake is almost never the sealed form of an expected number.
pub(super) fn seal(key: u64, number: u64) -> u64 {
    (number ^ key).wrapping_mul(STEP).rotate_left(32)
}

pub(super) fn unseal(key: u64, sealed: u64) -> u64 {
    sealed.rotate_left(32).wrapping_mul(INVERSE) ^ key
}

/// The number whose product with `STEP` is 1, in arithmetic with 64 bits.
const INVERSE: u64 = {
    let mut inverse = STEP;
    // An odd number is its own inverse modulo 8, so the lowest 3 bits are correct before
    // the loop. Each step of the loop doubles how many low bits are correct.
    while inverse.wrapping_mul(STEP) != 1 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(STEP.wrapping_mul(inverse)));
    }
    inverse
};

/// The checksum of the words of a record that were added so far.
#[derive(Debug)]
pub(super) struct Checksum {
    sum: u128,
    counter: u64,
}

impl Checksum {
    pub(super) fn new(mask: u64, length: usize) -> Self {
        Self {
            sum: u128::from(mask ^ length as u64),
            counter: mask,
        }
    }

    #[inline]
    pub(super) fn add(&mut self, [first, second]: [u64; 2]) {
        self.counter = self.counter.wrapping_add(STEP);
        let number = self.counter ^ (self.counter >> 29);
        let first = u128::from(first ^ number);
        let second = u128::from(second ^ number.rotate_left(32));
        self.sum = self.sum.wrapping_add(first * second);
    }

    pub(super) fn finish(self) -> u64 {
        mix(self.sum as u64 ^ mix((self.sum >> 64) as u64))
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;

    fn checksum(mask: u64, words: &[u64]) -> u64 {
        let mut checksum = Checksum::new(mask, 8 * words.len());
        for pair in words.chunks(2) {
            checksum.add([pair[0], pair.get(1).copied().unwrap_or(0)]);
        }
        checksum.finish()
    }

    #[test]
    fn each_changed_bit_changes_the_checksum() {
        let words: Vec<u64> = (1..=20).map(|n: u64| n.wrapping_mul(STEP)).collect();
        let good = checksum(7, &words);
        for word in 0..words.len() {
            for bit in 0..64 {
                let mut changed = words.clone();
                changed[word] ^= 1 << bit;
                assert_ne!(checksum(7, &changed), good, "bit {bit} of word {word}");
            }
        }
    }

    #[test]
    fn changes_of_several_words_do_not_cancel_out() {
        let words: Vec<u64> = (1..=12).map(|n: u64| n.wrapping_mul(STEP)).collect();
        for key in 0..50 {
            let mask = mask(key, 0);
            let good = checksum(mask, &words);
            let assert_noticed = |changes: &[(usize, u64)]| {
                let mut changed = words.clone();
                for (at, change) in changes {
                    changed[*at] = changed[*at].wrapping_add(*change);
                }
                assert_ne!(checksum(mask, &changed), good, "key {key}: {changes:?}");
            };
            for first in 0..words.len() {
                for second in first + 1..words.len() {
                    for bit in [0, 31, 32, 52, 61, 62, 63] {
                        let bit = 1 << bit;
                        assert_noticed(&[(first, bit), (second, bit)]);
                        assert_noticed(&[(first, bit), (second, bit.wrapping_neg())]);
                    }
                }
            }
            for first in 0..words.len() - 3 {
                let [plus, minus] = [1, u64::MAX];
                let ups_and_downs = [plus, minus, minus, plus];
                let changes: Vec<_> = (first..).zip(ups_and_downs).collect();
                assert_noticed(&changes);
            }
        }
    }

    #[test]
    fn a_sealed_number_is_opened_and_a_changed_one_is_another() {
        for number in [0, 1, 0xffff, 1 << 16, 12345 << 16 | 7, u64::MAX] {
            let sealed = seal(42, number);
            assert_eq!(unseal(42, sealed), number);
            for bit in 0..64 {
                // In the status of an offer (`offers.rs`), the upper 48 bits are the
                // offer's number. A changed bit must give the number of an offer that is
                // far from the current offers.
                let far = unseal(42, sealed ^ 1 << bit) >> 16;
                assert!(
                    far.abs_diff(number >> 16) > 1 << 20,
                    "bit {bit} of {number}"
                );
            }
        }
    }

    #[test]
    fn the_order_the_number_and_the_position_of_the_words_count() {
        let good = checksum(mask(1, 1), &[1, 2, 0]);
        assert_ne!(good, checksum(mask(1, 1), &[2, 1, 0]));
        let pairs = checksum(mask(1, 1), &[1, 2, 3, 4]);
        assert_ne!(pairs, checksum(mask(1, 1), &[3, 4, 1, 2]));
        assert_ne!(good, checksum(mask(1, 1), &[1, 2]));
        assert_ne!(good, checksum(mask(1, 2), &[1, 2, 0]));
        assert_ne!(good, checksum(mask(2, 1), &[1, 2, 0]));
    }
}
