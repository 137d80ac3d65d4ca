//! [`Batch`], the items of one task of a map, and [`Part`], the future of the results of a
//! batch.

use std::iter::Zip;
use std::ops::RangeFrom;
use std::time::Instant;
use std::vec;

use super::chunk_size::ChunkSizes;
use super::contained_vec::ContainedVec;
use super::measured::{ChunkTimer, Measurement};
use super::options::MapOptions;
use crate::completion::{Completion, NO_POOL};
use crate::error::Error;
use crate::future::{Future, TaskFuture};
use crate::panic::{catch, contain_drop};
use crate::sync::yield_now;
use crate::sys::fork::{Origin, forget};
use crate::sys::stack::with_room_for;
use crate::waitable::{Target, Waitable, sealed};

pub(crate) enum Batch<A> {
    One(A),
    /// A chunk of one or more items. The chunk has a timer if the map chooses the chunk
    /// sizes automatically.
    Many(ContainedVec<A>, Option<ChunkTimer>),
}

impl<A> Batch<A> {
    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(items, _) => items.len(),
        }
    }
}

/// Cuts the items of a map into batches. Each call of the returned function submits one
/// batch, and returns two values: how many items the batch has, and the batch's [`Part`] or
/// the error of the submission. The returned function returns `None` if no items remain, or
/// after a batch that was too late for the deadline. If the argument of the returned
/// function is `false`, all further items are too late.
pub(super) fn batches<A, R: 'static>(
    options: MapOptions,
    workers: usize,
    deadline: Option<Instant>,
    items: impl Iterator<Item = A>,
    mut submit: impl FnMut(Batch<A>, Option<Instant>) -> Result<Part<R>, Error>,
) -> impl FnMut(bool) -> Option<(usize, Result<Part<R>, Error>)> {
    // The map may ask the iterator for items again after the iterator's end. Without
    // `fuse`, some iterators would then yield further items.
    let mut items = items.fuse();
    let mut sizes = ChunkSizes::new(workers);
    let mut drawn = ContainedVec::default();
    let measurement = Measurement::new();
    let mut is_late = false;
    move |submits| {
        if is_late {
            return None;
        }
        let batch = match options.chunk_size {
            Some(1) => Batch::One(items.next()?),
            Some(size) => Batch::Many(draw(&mut drawn, &mut items, size)?, None),
            None => {
                // Read the upper bound before each chunk, because the bound may become more
                // exact. For example, an iterator that filters does not know how many items
                // remain before it has filtered them.
                let remaining = items.size_hint().1;
                if sizes.gives_way(measurement.get()) {
                    yield_now();
                }
                let size = sizes.next(remaining, measurement.get());
                let chunk = draw(&mut drawn, &mut items, size)?;
                let timer = measurement.timer(chunk.len());
                Batch::Many(chunk, Some(timer))
            }
        };
        let size = batch.len();
        let submitted = match submits {
            true => submit(batch, deadline),
            false => {
                contain_drop(batch);
                Err(Error::QueueFull)
            }
        };
        is_late = matches!(submitted, Err(Error::QueueFull))
            && deadline.is_some_and(|at| at <= Instant::now());
        let submitted = match is_late {
            true => Ok(Part::never_done()),
            false => submitted,
        };
        Some((size, submitted))
    }
}

/// Returns the next `size` items, or all remaining items if there are fewer. Returns `None`
/// if no items remain. If the user's iterator panics, the items that it has yielded before
/// stay in `drawn`, and the next chunk begins with all of these items, even if they are
/// more than `size`.
fn draw<A>(
    drawn: &mut ContainedVec<A>,
    items: &mut impl Iterator<Item = A>,
    size: usize,
) -> Option<ContainedVec<A>> {
    drawn.extend(items.take(size.saturating_sub(drawn.len())));
    let chunk = std::mem::take(drawn);
    (chunk.len() > 0).then_some(chunk)
}

/// Converts a function that submits a single item to a function that submits a batch of one
/// item.
pub(crate) fn one_by_one<A, R, F>(
    mut submit: impl FnMut(A) -> Result<F, Error>,
) -> impl FnMut(Batch<A>, Option<Instant>) -> Result<Part<R>, Error>
where
    R: 'static,
    F: Future<Output = R> + Send + 'static,
{
    move |batch, _deadline| match batch {
        Batch::One(item) => submit(item).map(Part::one),
        Batch::Many(..) => unreachable!("its maps are unchunked"),
    }
}

/// Calls `f` for each item of a chunk, and measures the run time of the chunk if the chunk
/// has a timer. If `f` panics for one item, `f` is still called for the other items.
pub(crate) fn each<A, R>(
    f: impl Fn(A) -> R,
    items: ContainedVec<A>,
    timer: Option<&ChunkTimer>,
) -> ContainedVec<Result<R, Error>> {
    let size = size_of::<A>() + size_of::<R>();
    with_room_for(size, || each_here(f, items, timer))
}

/// Calls `f` for each item on the current stack.
fn each_here<A, R>(
    f: impl Fn(A) -> R,
    items: ContainedVec<A>,
    timer: Option<&ChunkTimer>,
) -> ContainedVec<Result<R, Error>> {
    let call = |item| catch(|| f(item)).map_err(Error::Panicked);
    let begun = timer.map(|timer| {
        timer.begin();
        (timer, Instant::now())
    });
    let origin = Origin::current();
    let mut results = ContainedVec::with_capacity(items.len());
    let mut items = items.into_vec().into_iter();
    while let Some(item) = items.next() {
        let result = call(item);
        if !origin.is_here() {
            // The call has forked, and this process is the child. The other items, and the
            // results of earlier items, belong to the parent.
            forget(&mut items);
            forget(&mut results);
        }
        results.push(result);
    }
    if let Some((timer, start)) = begun {
        timer.end(start.elapsed());
    }
    results
}

pub(crate) struct Part<R> {
    task: Box<dyn Pending<R> + Send>,
    /// The index of the batch's first item among all items of the map.
    pub(super) first: usize,
}

impl<R: 'static> Part<R> {
    pub(crate) fn one<F>(future: F) -> Self
    where
        F: Future<Output = R> + Send + 'static,
    {
        Self::new(future, |result| vec![result])
    }

    /// Creates the part for a chunk of `items` items. In a thread pool, the chunk's task
    /// calls [`each`].
    pub(crate) fn many<F>(future: F, items: usize) -> Self
    where
        F: Future<Output = ContainedVec<Result<R, Error>>> + Send + 'static,
    {
        Self::new(future, move |result| match result {
            Ok(chunk) => chunk.into_vec(),
            Err(error) => (0..items).map(|_| Err(error.clone())).collect(),
        })
    }

    /// Creates the part for a batch of `items` items that the executor refused with
    /// `error`.
    pub(super) fn refused(error: Error, items: usize) -> Self {
        let completion = Completion::new(NO_POOL);
        // `settle` cannot fail and no callback has to run, because no other code has a
        // reference to the completion yet.
        let _ = completion.settle(Ok(()));
        Self::new(TaskFuture::<(), Nowhere>::new(completion), move |_| {
            (0..items).map(|_| Err(error.clone())).collect()
        })
    }

    /// Creates the part for a batch that was too late for the map's deadline. So the map
    /// ends with a timeout when it waits for this part.
    fn never_done() -> Self {
        let completion = Completion::new(NO_POOL);
        Self::new(TaskFuture::<(), Nowhere>::new(completion), |result| {
            result.err().map(Err).into_iter().collect()
        })
    }

    fn new<F, U>(future: F, unpack: U) -> Self
    where
        F: Future + Send + 'static,
        U: FnOnce(Result<F::Output, Error>) -> Vec<Result<R, Error>> + Send + 'static,
    {
        let task = Box::new(Unpacked { future, unpack });
        Self { task, first: 0 }
    }
}

/// The results of a batch, each with the index of its item.
pub(super) type Indexed<R> = Zip<RangeFrom<usize>, vec::IntoIter<Result<R, Error>>>;

impl<R> Part<R> {
    /// Waits for the results of the batch, and returns each result with the index of
    /// its item.
    pub(super) fn take(self) -> Indexed<R> {
        (self.first..).zip(self.task.take())
    }

    /// Waits until the batch is done, but not longer than until the deadline. Returns
    /// `false` if the deadline has passed first. In a forked child, returns `true` at once.
    pub(super) fn wait(&self, deadline: Instant) -> bool {
        self.task.wait(deadline)
    }

    pub(super) fn cancel(&self) {
        self.task.cancel();
    }
}

impl<R> Waitable for Part<R> {
    fn target(&self) -> &dyn Target {
        self.task.target()
    }

    fn is_sole(&self) -> bool {
        true
    }
}

impl<R> sealed::Sealed for Part<R> {}

/// The executor type of the future of a batch that no executor runs.
enum Nowhere {}

/// The operations on the future of a part. The trait hides the type of this future.
trait Pending<R> {
    fn cancel(&self);
    fn wait(&self, deadline: Instant) -> bool;
    fn take(self: Box<Self>) -> Vec<Result<R, Error>>;
    fn target(&self) -> &dyn Target;
}

/// A future, and the function that converts the future's output to the results of the
/// items.
struct Unpacked<F, U> {
    future: F,
    unpack: U,
}

impl<R, F, U> Pending<R> for Unpacked<F, U>
where
    F: Future,
    U: FnOnce(Result<F::Output, Error>) -> Vec<Result<R, Error>>,
{
    fn cancel(&self) {
        self.future.cancel();
    }

    fn wait(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        // `exception_timeout` returns `Err(Error::Timeout)` only after a timeout. If the
        // task itself failed with this error, the method returns `Ok`.
        !matches!(
            self.future.exception_timeout(left),
            Err(Error::Timeout { .. })
        )
    }

    fn take(self: Box<Self>) -> Vec<Result<R, Error>> {
        (self.unpack)(self.future.into_result())
    }

    fn target(&self) -> &dyn Target {
        self.future.target()
    }
}
