//! [`Measured`]: the run time of a map's items, measured on the chunks that have ended.
//! [`ChunkTimer`] measures one chunk.
//!
//! In a thread pool, each thread publishes the run times of its chunks. In a process pool,
//! the parent process publishes the run times that the workers send. The thread that
//! submits the map's next chunk reads the mean run time of an item. Only whole chunks are
//! measured, because reading a clock takes longer than a short item. The mean is an atomic
//! number without a lock. In a forked child a lock could stay locked for ever, because the
//! thread that had locked it exists only in the parent.

use std::sync::Arc;
use std::time::Duration;

use crate::sync::{AtomicU64, Ordering};

/// The run time, in nanoseconds, that a map tries to give each chunk. The overhead of a
/// task is about a tenth of this time in a process pool, and much less in a thread pool.
pub(super) const AIM: u32 = 200_000;

/// The weight of the old mean when a chunk changes the mean. The chunk's run time per item
/// has the weight 1. With these weights, the mean depends mostly on the last few chunks.
const OLD_WEIGHT: u64 = 3;

/// The largest factor by which the last chunk's run time per item may exceed the old mean.
/// A longer run time counts as this factor times the old mean. So the mean changes little
/// if a single chunk is slow because other programs use the CPU. Twenty slow chunks in a
/// row still raise even a mean of 0 to more than half of [`AIM`].
const SLOWER: u64 = 4;

/// The smallest number of nanoseconds that is multiplied by [`SLOWER`]. A smaller old mean
/// counts as this number in the product, so that a mean of 0 can grow.
const LEAST: u64 = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measured {
    NothingBegan,
    /// A chunk has begun, but none has ended.
    NothingEnded,
    Ended {
        /// The number of items in the chunks that have ended, at least 1.
        items: u32,
        /// The moving average of the run time of an item, in nanoseconds. Each new chunk
        /// has a quarter of the weight. The average is at most [`AIM`], because items that
        /// run longer all get chunks of one item.
        mean: u32,
    },
}

impl Measured {
    fn begin(self) -> Self {
        match self {
            Self::NothingBegan => Self::NothingEnded,
            later => later,
        }
    }

    /// Returns the state after one more chunk has ended, which had `items` items and ran
    /// for `nanoseconds`.
    pub(super) fn end(self, items: u32, nanoseconds: u64) -> Self {
        let items = items.max(1);
        let each = (nanoseconds / u64::from(items)).min(u64::from(AIM));
        let (before, mean) = match self {
            Self::NothingBegan | Self::NothingEnded => (0, each),
            Self::Ended { items, mean } => {
                let mean = u64::from(mean.min(AIM));
                let each = each.min(SLOWER * mean.max(LEAST));
                (items, (OLD_WEIGHT * mean + each) / (OLD_WEIGHT + 1))
            }
        };
        Self::Ended {
            items: items.saturating_add(before),
            mean: u32::try_from(mean).expect("no part of the mean exceeds AIM"),
        }
    }

    /// Packs the state into a number: 0 for `NothingBegan`, and 1 for `NothingEnded`. For
    /// `Ended`, the upper half of the number is `items`, and the lower half is `mean`.
    fn to_bits(self) -> u64 {
        match self {
            Self::NothingBegan => 0,
            Self::NothingEnded => 1,
            Self::Ended { items, mean } => u64::from(items) << 32 | u64::from(mean),
        }
    }

    fn from_bits(bits: u64) -> Self {
        match bits {
            0 => Self::NothingBegan,
            1 => Self::NothingEnded,
            // The casts cut the number into its halves.
            _ => Self::Ended {
                items: (bits >> 32) as u32,
                mean: bits as u32,
            },
        }
    }
}

/// The measurement of one map. The thread that submits the chunks shares it with the
/// threads that publish the run times of chunks.
#[derive(Clone, Debug)]
pub(super) struct Measurement(Arc<AtomicU64>);

impl Measurement {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(Measured::NothingBegan.to_bits())))
    }

    pub(super) fn get(&self) -> Measured {
        // ORDERING: `Relaxed` is enough, because no other data is published with the
        // number. The load pairs with the update in `update`. A thread that has read the
        // result of a chunk also sees the chunk's update here, because the update happens
        // before the result is published.
        Measured::from_bits(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn timer(&self, items: usize) -> ChunkTimer {
        ChunkTimer {
            measurement: self.clone(),
            items: u32::try_from(items).unwrap_or(u32::MAX),
        }
    }

    fn update(&self, change: impl Fn(Measured) -> Measured) {
        let change = |bits| Some(change(Measured::from_bits(bits)).to_bits());
        // The update cannot fail, because `change` always returns a number.
        // ORDERING: `Relaxed` is enough, because no other data is published with the
        // number. The update pairs with the load in `get`.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }
}

#[derive(Debug)]
pub(crate) struct ChunkTimer {
    measurement: Measurement,
    items: u32,
}

impl ChunkTimer {
    /// Publishes that the chunk has begun.
    pub(crate) fn begin(&self) {
        self.measurement.update(Measured::begin);
    }

    /// Publishes the run time of the chunk. `time` may come from another process, and may
    /// then have any length.
    pub(crate) fn end(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.measurement
            .update(|measured| measured.end(self.items, nanoseconds));
    }
}

#[cfg(test)]
mod tests;
