//! [`ChunkSizes`]: the sizes of the chunks of a map that chooses them automatically.
//!
//! A map cannot know how long the items will run that it has not submitted yet. The size of
//! each chunk therefore follows from the chunks that have already ended ([`Measured`]), and
//! from the number of remaining items:
//!
//! * One item, until a chunk has ended. So no long item waits for another long item in its
//!   chunk. If the pool begins no chunk, because the pool is busy with other tasks, the
//!   size doubles after each [`PATIENCE`] chunks, up to [`LARGEST`]. So a large map on a
//!   busy pool has fewer tasks than items.
//! * Then as many items as run for the time [`AIM`], but not more items than the ended
//!   chunks had together. So a few short items at the beginning do not lead to a large
//!   chunk.
//! * If the number of remaining items is known: at most a fixed fraction of this number
//!   ([`PARTS`]), but at least one item. So the chunks become smaller towards the end, and
//!   all workers finish their last chunks at about the same time. This is the rule of
//!   guided self-scheduling.

use super::measured::{AIM, Measured};

/// The largest number of items of a chunk, which limits the memory of a chunk.
const LARGEST: usize = 4096;

/// The number of chunks after which a map doubles the chunk size if the pool has begun no
/// chunk. While the first worker starts, a map usually submits fewer chunks than this
/// number.
const PATIENCE: usize = 4096;

/// The number of submitted chunks after which the map first lets other threads run, if no
/// chunk has ended yet.
const FIRST_YIELD: usize = 16;

/// The number of equal parts for each worker into which the map divides the remaining
/// items. The next chunk has at most as many items as one part, but at least one item. For
/// example, with two workers no chunk has more than an eighth of the remaining items. So no
/// chunk runs far too long if the remaining items run longer than the measured items. The
/// price is more small chunks at the end of a map: about twice as many as with two parts
/// for each worker.
const PARTS: usize = 4;

pub(super) struct ChunkSizes {
    workers: usize,
    /// The number of chunks that the map has submitted.
    submitted: usize,
}

impl ChunkSizes {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            // `workers` may be 0, because an executor of another crate may have no workers
            // at this moment.
            workers: workers.max(1),
            submitted: 0,
        }
    }

    /// Returns the size of the next chunk. `remaining` is the largest possible number of
    /// remaining items, or `None` if this number is unknown. If the iterator of items
    /// reports a wrong number, only the sizes of the chunks change.
    pub(super) fn next(&mut self, remaining: Option<usize>, measured: Measured) -> usize {
        self.submitted = self.submitted.saturating_add(1);
        let size = match measured {
            Measured::NothingBegan => self.next_unbegun(),
            Measured::NothingEnded => 1,
            Measured::Ended { items, mean } => {
                let size = (AIM / mean.max(1)).min(items);
                usize::try_from(size).unwrap_or(usize::MAX)
            }
        };
        let parts = self.workers.saturating_mul(PARTS);
        let part = remaining.map_or(usize::MAX, |items| items / parts);
        size.min(part).clamp(1, LARGEST)
    }

    /// Returns `true` if the map should let other threads run before it submits the next
    /// chunk, because no chunk has ended yet. The system may have put the first worker on
    /// the CPU of the submitting thread. The worker then waits for some milliseconds,
    /// unless the submitting thread yields. The result is `true` at most nine times for a
    /// map, because each yield may cost milliseconds if other programs use the CPU.
    pub(super) fn gives_way(&self, measured: Measured) -> bool {
        let is_measured = matches!(measured, Measured::Ended { .. });
        let at = FIRST_YIELD..=PATIENCE;
        !is_measured && at.contains(&self.submitted) && self.submitted.is_power_of_two()
    }

    fn next_unbegun(&mut self) -> usize {
        let doublings = (self.submitted - 1) / PATIENCE;
        LARGEST.min(1 << doublings.min(LARGEST.ilog2() as usize))
    }
}

#[cfg(test)]
mod tests;
