//! Replaces the process pool on systems without process pools. This `Pool` has the methods
//! of the `Pool` in `parent/` that the public API calls, but `Pool::new` always fails.

use std::sync::Arc;

use super::settings::{Config, TaskSettings};
use crate::completion::{Completion, PoolId};
use crate::encoded::Encoded;
use crate::error::Error;
use crate::executor::{ShutdownOptions, ShutdownReport, Stats, WhenFull};
use crate::map::{ChunkTimer, ContainedVec};

pub(super) enum Pool {}

pub(super) fn find(_id: PoolId) -> Option<Arc<Pool>> {
    None
}

fn unsupported() -> Error {
    Error::unsupported(
        "process pools are made for Linux; use a `ThreadPoolExecutor` on this system",
    )
}

impl Pool {
    pub(super) fn new(_config: Config) -> Result<Arc<Self>, Error> {
        Err(unsupported())
    }

    pub(super) fn encode_initializer<A, O>(
        _f: fn(A) -> O,
        _args: &A,
    ) -> Result<Arc<Encoded>, Error> {
        Err(unsupported())
    }

    pub(super) fn config(&self) -> &Config {
        match *self {}
    }

    pub(super) fn submit_one<A, R>(
        self: &Arc<Self>,
        _f: fn(A) -> R,
        _args: A,
        _settings: TaskSettings,
        _when_full: WhenFull,
    ) -> Result<Completion<R>, Error> {
        match **self {}
    }

    pub(super) fn try_submit_one<A, R>(
        self: &Arc<Self>,
        _f: fn(A) -> R,
        _args: &A,
        _settings: TaskSettings,
    ) -> Result<Completion<R>, Error> {
        match **self {}
    }

    pub(super) fn submit_chunk<A, R>(
        self: &Arc<Self>,
        _f: fn(A) -> R,
        _items: &ContainedVec<A>,
        _timer: Option<ChunkTimer>,
        _settings: TaskSettings,
        _when_full: WhenFull,
    ) -> Result<Completion<ContainedVec<Result<R, Error>>>, Error> {
        match **self {}
    }

    pub(super) fn kill(&self, _task: usize) -> bool {
        match *self {}
    }

    pub(super) fn stop_workers(&self, _at_once: bool) {
        match *self {}
    }

    pub(super) fn shutdown(&self, _options: ShutdownOptions) -> ShutdownReport {
        match *self {}
    }

    pub(super) fn needs_no_shutdown(&self) -> bool {
        match *self {}
    }

    pub(super) fn stats(&self) -> Stats {
        match *self {}
    }
}
