//! [`Submitter`]: submits calls to a pool, for an executor or for a view of it.

use std::sync::Arc;
use std::time::Instant;

use super::parent::Pool;
use super::settings::TaskSettings;
use crate::error::Error;
use crate::executor::{Portable, TaskOptions, TrySubmitError, WhenFull};
use crate::future::TaskFuture;
use crate::map::{self, Batch, Map, MapOptions, Part};
use crate::panic::contain_drop;

/// A pool, and the settings of the tasks that are submitted through this submitter. The
/// type parameter `E` of the methods is the type of the executor that submits the calls.
pub(super) struct Submitter<'a> {
    pool: &'a Arc<Pool>,
    settings: TaskSettings,
}

impl<'a> Submitter<'a> {
    pub(super) fn new(pool: &'a Arc<Pool>) -> Self {
        let settings = pool.config().settings.clone();
        Self { pool, settings }
    }

    /// Returns the submitter of a view ([`With`](crate::With)) that has these options.
    pub(super) fn with(pool: &'a Arc<Pool>, options: &TaskOptions) -> Self {
        let settings = pool.config().settings.with(options);
        Self { pool, settings }
    }

    pub(super) fn submit<A: Portable, R: Portable, E>(
        self,
        f: fn(A) -> R,
        args: A,
    ) -> Result<TaskFuture<R, E>, Error> {
        let submitted = self.pool.submit_one(f, args, self.settings, WhenFull::Wait);
        submitted.map(TaskFuture::new)
    }

    #[expect(clippy::type_complexity, reason = "what comes back is what went in")]
    pub(super) fn try_submit<A: Portable, R: Portable, E>(
        self,
        f: fn(A) -> R,
        args: A,
    ) -> Result<TaskFuture<R, E>, TrySubmitError<fn(A) -> R, A>> {
        match self.pool.try_submit_one(f, &args, self.settings) {
            Ok(completion) => {
                contain_drop(args);
                Ok(TaskFuture::new(completion))
            }
            Err(error) => Err(TrySubmitError::new(error, f, args)),
        }
    }

    pub(super) fn map<A: Portable, R: Portable>(
        self,
        f: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Map<'static, R>, Error> {
        let workers = self.pool.config().max_workers;
        map::eager(MapOptions::new(), workers, items, self.batches(f))
    }

    pub(super) fn map_with<A, R, I>(
        self,
        options: MapOptions,
        f: fn(A) -> R,
        items: I,
    ) -> Result<Map<'a, R>, Error>
    where
        A: Portable,
        R: Portable,
        I: IntoIterator<Item = A>,
        I::IntoIter: 'a,
    {
        let workers = self.pool.config().max_workers;
        map::with(options, workers, items, self.batches(f))
    }

    fn batches<A: Portable, R: Portable>(
        self,
        f: fn(A) -> R,
    ) -> impl FnMut(Batch<A>, Option<Instant>) -> Result<Part<R>, Error> + use<'a, A, R> {
        let Self { pool, settings } = self;
        move |batch, deadline| match batch {
            Batch::One(item) => {
                let when_full = WhenFull::wait_until(deadline);
                let submitted = pool.submit_one(f, item, settings.clone(), when_full);
                let future = submitted.map(TaskFuture::<_, Arc<Pool>>::new);
                future.map(Part::one)
            }
            Batch::Many(items, timer) => {
                let size = items.len();
                let when_full = WhenFull::wait_until(deadline);
                let submitted = pool.submit_chunk(f, &items, timer, settings.clone(), when_full);
                drop(items);
                let future = submitted.map(TaskFuture::<_, Arc<Pool>>::new);
                future.map(|future| Part::many(future, size))
            }
        }
    }
}
