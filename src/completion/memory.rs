//! [`allocate`] and [`free`]: memory for tasks. The small tasks of one thread share blocks
//! of memory.
//!
//! With one allocation per task, `malloc` and `free` took half of the time of a thread that
//! submits 200,000 empty tasks and reads their results (the benchmark W1 of
//! `benches/peers`). In a block, taking memory for a task is an addition, and freeing this
//! memory increments one counter. Each task is placed behind the task before it. Freed
//! memory is used again only when the block is full and all its tasks are freed.
//!
//! The whole block stays allocated as long as a future or a queue entry refers to one of
//! its tasks. So a block is small: it has 512 bytes, in which 4 to 10 small tasks fit.
//! (Larger blocks do not help: blocks of 16 KiB did not make W1 faster than blocks of 1
//! KiB.)
//!
//! # Who frees a block
//!
//! The *owner* of a block is the thread that takes memory from it. In a field that no other
//! thread sees, the owner counts the tasks for which it took memory. The block's field
//! `freed` counts the freed tasks, whichever thread freed them. When the block is full, or
//! when the thread ends, the owner *leaves* the block: it subtracts its own count from
//! `freed`. After that, `freed` is 0 minus the number of tasks in use. The thread whose
//! step changes `freed` to 0 frees the block:
//!
//! | step | `freed` after the step | who frees the block |
//! |---|---|---|
//! | the owner takes memory | not changed | - |
//! | a thread frees a task before the owner leaves | 1 or more | - |
//! | the owner leaves | 0, or minus the number of tasks in use | the owner, at 0 |
//! | a thread frees a task after the owner has left | one more than before | that thread, at 0 |
//!
//! If the block is full and all its tasks are already freed, the owner does not leave the
//! block. It sets `freed` back to 0, and takes memory from the block's start again.
//! Consider a thread that waits for each task, and drops the task's future, before it
//! submits the next task. This thread mostly stays in one block. It takes a new block only
//! if the block is full and the worker of the last task has not yet dropped its reference
//! to that task.
//!
//! # Code that runs inside
//!
//! The global allocator may be code of the user, which may create a task itself. So a
//! function that changes the fields of [`Blocks`] calls the allocator only before it
//! changes the first field or after it has changed the last.
//!
//! # A forked child
//!
//! A forked child has a copy of all blocks, but the only owner in the child is the thread
//! that forked. The blocks that other threads owned at the fork are never freed in the
//! child.

use std::alloc::Layout;
use std::cell::Cell;
use std::ptr::{NonNull, null_mut};

use crate::sync::{AtomicUsize, Ordering, UnsafeCell, alloc, dealloc, fence, local};

/// The unit of sizes and places in a block, in bytes.
const UNIT: usize = 8;

/// The number of units for tasks in a block. With the counter and the two words that
/// `malloc` may add, a block has 512 bytes. In loom models a block has only 2 units, so
/// that a model can fill the block.
const UNITS: usize = if cfg!(concurrent_futures_loom) { 2 } else { 61 };

/// The size of the largest task that may share a block, in bytes: about a quarter of a
/// block. So less than a quarter of a block stays unused at its end.
const LARGEST: usize = UNITS / 4 * UNIT;

pub(super) struct Memory {
    pub(super) start: NonNull<u8>,
    pub(super) place: Place,
}

/// The place of a task in its block: the distance from the start of the block, in units.
/// The place is 0 for a task that has an allocation of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(pub(super) u8);

const NO_BLOCK: Place = Place(0);

const _: () = assert!(END <= u8::MAX as usize, "each place fits into a `Place`");

/// The start of a block. The units for tasks follow.
#[repr(align(8))]
struct Block {
    /// The number of freed tasks. When the thread that owns the block leaves it, the thread
    /// subtracts the number of tasks for which it took memory. The result may wrap around.
    freed: AtomicUsize,
    /// A cell of size 0 through which loom models check the accesses to the tasks.
    tasks: UnsafeCell<()>,
}

/// The place of the first task in a block.
const FIRST: usize = size_of::<Block>().div_ceil(UNIT);

/// The place behind the last unit of a block.
const END: usize = FIRST + UNITS;

const LAYOUT: Layout = match Layout::from_size_align(END * UNIT, align_of::<Block>()) {
    Ok(layout) => layout,
    Err(_) => panic!("a block is small"),
};

local! {
    static BLOCKS: Blocks = Blocks::new()
}

/// Allocates memory for a task. Returns `None` if there is no memory.
///
/// The size of the layout must not be 0.
#[inline]
pub(super) fn allocate(layout: Layout) -> Option<Memory> {
    if is_shareable(layout) {
        // If the thread has already dropped its thread locals, and with them its blocks, or
        // if there is no memory for a block, allocate memory for this task alone.
        let memory = BLOCKS.try_with(|blocks| blocks.take(layout.size()));
        if let Ok(Some(memory)) = memory {
            return Some(memory);
        }
    }
    // SAFETY: the size of the layout is not 0.
    let start = NonNull::new(unsafe { alloc(layout) })?;
    let place = NO_BLOCK;
    Some(Memory { start, place })
}

/// Returns `true` if a task of this layout may share a block. In a loom model, and with the
/// `cfg` `concurrent_futures_no_blocks`, each task has an allocation of its own, so that
/// loom, or a tool that checks memory, reports each use of a freed task.
#[inline]
fn is_shareable(layout: Layout) -> bool {
    let has_blocks = !cfg!(any(concurrent_futures_loom, concurrent_futures_no_blocks));
    has_blocks && layout.size() <= LARGEST && layout.align() <= UNIT
}

/// Frees the memory of a task.
///
/// # Safety
///
/// [`allocate`] returned `start` and `place` for this layout. The memory is not used after
/// this call.
#[inline]
pub(super) unsafe fn free(start: NonNull<u8>, place: Place, layout: Layout) {
    if place == NO_BLOCK {
        // SAFETY: `allocate` allocated the memory with this layout.
        unsafe { dealloc(start.as_ptr(), layout) };
        return;
    }
    let distance = usize::from(place.0) * UNIT;
    // SAFETY: `take` returned an address at this distance from the start of the block.
    let block = unsafe { start.byte_sub(distance) }.cast::<Block>();
    // SAFETY: the block exists as long as one of its tasks exists.
    let Block { freed, tasks } = unsafe { block.as_ref() };
    tasks.with(|_| ());
    // ORDERING: release publishes the last accesses to the task to the thread that frees
    // the block or uses it again.
    let before = freed.fetch_add(1, Ordering::Release);
    if before.wrapping_add(1) == 0 {
        // SAFETY: the sum is 0 only if the owner has left the block and all its tasks are
        // freed.
        unsafe { free_block(block) };
    }
}

/// Frees the memory of a block.
///
/// # Safety
///
/// The owner has left the block, and all tasks of the block are freed.
#[cold]
unsafe fn free_block(block: NonNull<Block>) {
    // ORDERING: acquire pairs with the release in `replace`, by the owner, and in `free`,
    // by the threads that freed the block's tasks.
    fence(Ordering::Acquire);
    // SAFETY: no other thread uses the block.
    unsafe { block.as_ref() }.tasks.with_mut(|_| ());
    // SAFETY: `add_block` allocated the memory with this layout, and no thread uses it.
    unsafe { dealloc(block.as_ptr().cast(), LAYOUT) };
}

/// The current block of one thread, and the thread's position in this block.
pub(super) struct Blocks {
    /// The block from which the thread takes memory. The pointer is null before the first
    /// task, and after the thread has left its last block.
    current: Cell<*mut Block>,
    /// The place of the next task in the current block.
    next: Cell<usize>,
    /// The number of tasks whose memory was taken from the current block, since the thread
    /// last began at the block's start.
    taken: Cell<usize>,
}

impl Blocks {
    pub(super) const fn new() -> Self {
        Self {
            current: Cell::new(null_mut()),
            next: Cell::new(END),
            taken: Cell::new(0),
        }
    }

    /// Takes memory of `size` bytes, which is aligned to [`UNIT`]. Returns `None` if there
    /// is no memory for a block.
    #[inline]
    pub(super) fn take(&self, size: usize) -> Option<Memory> {
        let units = size.div_ceil(UNIT);
        // This is a loop, because the allocator, which `add_block` calls, may itself create
        // tasks, and these may fill the new block.
        while self.next.get() + units > END {
            self.add_block()?;
        }
        let place = self.next.get();
        self.next.set(place + units);
        self.taken.set(self.taken.get() + 1);
        // SAFETY: the place is in the block, as checked above.
        let start = unsafe { self.current.get().byte_add(place * UNIT) };
        Some(Memory {
            start: NonNull::new(start.cast())?,
            // `END` fits into a `Place`.
            place: Place(place as u8),
        })
    }

    /// Continues at the start of the current block if all its tasks are freed, and
    /// otherwise at the start of a new block. Returns `None` if there is no memory for a
    /// new block.
    #[cold]
    fn add_block(&self) -> Option<()> {
        if self.is_unused() {
            self.next.set(FIRST);
            self.taken.set(0);
            return Some(());
        }
        // SAFETY: the size of a block is not 0.
        let memory = unsafe { alloc(LAYOUT) };
        let block = NonNull::new(memory.cast::<Block>())?;
        let new = Block {
            freed: AtomicUsize::new(0),
            tasks: UnsafeCell::new(()),
        };
        // SAFETY: the memory is new, and has room for a `Block`.
        unsafe { block.write(new) };
        self.replace(block.as_ptr(), FIRST);
        Some(())
    }

    /// Returns `true` if there is a current block and all its tasks are freed. In this
    /// case, sets the block's counter back to 0.
    fn is_unused(&self) -> bool {
        // SAFETY: the owner has not left the block, so the block exists.
        let Some(block) = (unsafe { self.current.get().as_ref() }) else {
            return false;
        };
        // ORDERING: acquire pairs with the release in `free`, by the threads that freed the
        // tasks.
        let is_unused = block.freed.load(Ordering::Acquire) == self.taken.get();
        if is_unused {
            block.tasks.with_mut(|_| ());
            // ORDERING: no other thread has a task of the block, so relaxed is enough.
            block.freed.store(0, Ordering::Relaxed);
        }
        is_unused
    }

    /// Replaces the current block by `new`, whose next task is at `next`. Leaves the old
    /// block, and frees it if all its tasks are freed.
    fn replace(&self, new: *mut Block, next: usize) {
        let taken = self.taken.replace(0);
        self.next.set(next);
        let Some(block) = NonNull::new(self.current.replace(new)) else {
            return;
        };
        // SAFETY: the owner leaves only now, so the block exists.
        let Block { freed, tasks } = unsafe { block.as_ref() };
        tasks.with(|_| ());
        // ORDERING: release publishes this thread's writes to its tasks to the thread that
        // frees the block.
        if freed.fetch_sub(taken, Ordering::Release) == taken {
            // SAFETY: the owner has left, and all tasks are freed.
            unsafe { free_block(block) };
        }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        self.replace(null_mut(), END);
    }
}

#[cfg(all(test, not(any(concurrent_futures_loom, concurrent_futures_no_blocks))))]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread;

    use super::*;

    const SMALL: Layout = Layout::new::<[u64; 7]>();

    fn take(layout: Layout) -> Memory {
        allocate(layout).expect("there is memory")
    }

    fn give_back(memory: &Memory, layout: Layout) {
        // SAFETY: each test gives memory back once, with the layout with which it took the
        // memory.
        unsafe { free(memory.start, memory.place, layout) };
    }

    fn address(memory: &Memory) -> usize {
        memory.start.addr().get()
    }

    /// Runs a test in a thread that has no block yet.
    fn with_no_block(test: impl FnOnce() + Send) {
        thread::scope(|scope| scope.spawn(test).join().expect("the test passes"));
    }

    #[test]
    fn tasks_of_one_thread_lie_one_behind_the_other() {
        with_no_block(|| {
            let tasks = [take(SMALL), take(SMALL), take(SMALL)];
            let places = tasks.each_ref().map(address);
            let size = SMALL.size();
            assert_eq!(places, [0, 1, 2].map(|n| places[0] + n * size));
            for task in &tasks {
                give_back(task, SMALL);
            }
        });
    }

    #[test]
    fn a_large_task_and_a_task_with_a_large_alignment_have_memory_of_their_own() {
        let large = Layout::new::<[u8; LARGEST + 1]>();
        let aligned = |align| Layout::from_size_align(64, align).expect("it is a layout");
        for layout in [large, aligned(16), aligned(32), aligned(4096)] {
            let task = take(layout);
            assert_eq!(task.place, NO_BLOCK);
            assert_eq!(address(&task) % layout.align(), 0);
            give_back(&task, layout);
        }
    }

    #[test]
    fn a_thread_that_frees_each_task_stays_in_its_block() {
        with_no_block(|| {
            let first = take(SMALL);
            give_back(&first, SMALL);
            let again = (0..100).filter(|_| {
                let task = take(SMALL);
                give_back(&task, SMALL);
                address(&task) == address(&first)
            });
            assert_eq!(again.count(), 100 / (UNITS / 7));
        });
    }

    /// The memory of a task that is still used is not given to another task.
    #[test]
    fn a_task_in_use_keeps_its_memory() {
        with_no_block(|| {
            let kept = take(SMALL);
            let others: Vec<usize> = (0..100)
                .map(|_| {
                    let task = take(SMALL);
                    give_back(&task, SMALL);
                    address(&task)
                })
                .collect();
            let is_in = |other: &usize| address(&kept).abs_diff(*other) < SMALL.size();
            assert!(!others.iter().any(is_in), "{others:?}");
            give_back(&kept, SMALL);
        });
    }

    /// The destructor of a thread local may create a task after the thread has dropped its
    /// blocks. Such a task has an allocation of its own.
    #[test]
    fn a_thread_without_its_thread_locals_has_memory_for_tasks() {
        struct Last(Cell<Option<Sender<Place>>>);
        impl Drop for Last {
            fn drop(&mut self) {
                let task = take(SMALL);
                give_back(&task, SMALL);
                if let Some(sender) = self.0.take() {
                    sender.send(task.place).expect("the test listens");
                }
            }
        }
        thread_local! { static LAST: Last = const { Last(Cell::new(None)) } }
        let (sender, places) = channel();
        let thread = thread::spawn(move || {
            // The thread local that is used first is dropped last, so `LAST` is dropped
            // after the blocks.
            LAST.with(|last| last.0.set(Some(sender)));
            let task = take(SMALL);
            assert_ne!(task.place, NO_BLOCK);
            give_back(&task, SMALL);
        });
        thread.join().expect("it does not panic");
        assert_eq!(places.recv().expect("it was sent"), NO_BLOCK);
    }

    #[test]
    fn a_task_outlives_the_thread_that_created_it() {
        let task = thread::spawn(|| {
            let task = take(SMALL);
            // SAFETY: the memory has this size.
            unsafe { task.start.write_bytes(7, SMALL.size()) };
            (task.start.as_ptr() as usize, task.place)
        });
        let (start, place) = task.join().expect("it does not panic");
        let start = NonNull::new(start as *mut u8).expect("it is not null");
        // SAFETY: the thread above wrote the bytes.
        let bytes = unsafe { start.cast::<[u8; SMALL.size()]>().read() };
        assert_eq!(bytes, [7; SMALL.size()]);
        give_back(&Memory { start, place }, SMALL);
    }
}
