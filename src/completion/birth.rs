//! [`Birth`]: the process that created a task, and the place of the task's memory, in four
//! bytes.

use super::memory::Place;
use crate::sys::fork::Origin;

/// The process that created a task, and the place of the task's memory. The upper 24 bits
/// are the lower 24 bits of the process's [`Origin`]; the lower 8 bits are the [`Place`].
///
/// So a forked child mistakes a task of its ancestor for its own only after 2^24 counted
/// forks (see [`Origin`]), each made in the child of the fork before.
#[derive(Clone, Copy)]
pub(super) struct Birth(u32);

impl Birth {
    pub(super) fn new(place: Place) -> Self {
        Self(Self::process() | u32::from(place.0))
    }

    fn process() -> u32 {
        Origin::current().bits() << 8
    }

    #[inline]
    pub(super) fn is_here(self) -> bool {
        (self.0 ^ Self::process()) >> 8 == 0
    }

    pub(super) fn place(self) -> Place {
        Place(self.0 as u8)
    }
}
