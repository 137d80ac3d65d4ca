//! Replaces `ranks.rs` without the feature `mpi`: no worker is a rank of an MPI job.

use std::time::Duration;

use rustix::event::{PollFd, poll};

use super::pool_state::PoolState;
use crate::process::settings::Config;

pub(super) struct Ranks;

impl Ranks {
    pub(super) fn new(_config: &Config) -> Self {
        Self
    }

    pub(super) fn must_wake(&self) -> bool {
        false
    }

    pub(super) fn begin_wait(&self, _state: &PoolState) -> bool {
        false
    }

    pub(super) fn poll(
        &self,
        polled: &mut [PollFd<'_>],
        limit: Option<Duration>,
        _looks: bool,
        _is_ready: &dyn Fn() -> bool,
    ) -> rustix::io::Result<usize> {
        let limit = limit.and_then(|limit| limit.try_into().ok());
        poll(polled, limit.as_ref())
    }
}
