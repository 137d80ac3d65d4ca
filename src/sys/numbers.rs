//! [`Numbers`]: a vector of primitive numbers whose type is known only at run time.
//!
//! A long vector becomes a `Numbers` while it travels from one process to another. In the
//! sending process, the `Numbers` takes over the memory of the caller's vector. In the
//! receiving process, the memory of the `Numbers` becomes the memory of the vector that the
//! caller gets. So a process seldom copies the numbers from one buffer of its own to
//! another.

use std::alloc::{Layout, alloc_zeroed, dealloc, realloc};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::slice;

use bytemuck::Pod;
#[cfg(target_os = "linux")]
use rustix::mm::{Advice, madvise};

/// A vector of primitive numbers. While this process is still receiving the numbers, those
/// that have not arrived are missing or 0.
pub(crate) struct Numbers {
    /// The allocation, which has room for `capacity` bytes, or a dangling pointer if the
    /// capacity is 0. The memory was allocated with the layout of an array of numbers that
    /// have the layout `element`.
    start: NonNull<u8>,
    /// The number of initialized bytes at the start of the allocation.
    length: usize,
    capacity: usize,
    /// The layout of one number, whose size is not 0.
    element: Layout,
}

// SAFETY: the value owns its memory, and any thread may use numbers.
unsafe impl Send for Numbers {}
// SAFETY: a shared reference only reads the memory.
unsafe impl Sync for Numbers {}

impl Numbers {
    /// Returns an empty vector of numbers of `size` bytes each, or `None` if no primitive
    /// number type has this size.
    pub(crate) fn new(size: u8) -> Option<Self> {
        let element = match size {
            1 => Layout::new::<u8>(),
            2 => Layout::new::<u16>(),
            4 => Layout::new::<u32>(),
            8 => Layout::new::<u64>(),
            16 => Layout::new::<u128>(),
            _ => return None,
        };
        Some(Self::empty(element))
    }

    pub(crate) fn of_bytes() -> Self {
        Self::empty(Layout::new::<u8>())
    }

    /// Returns `true` if there is a primitive number type of `size` bytes.
    pub(crate) fn is_size(size: u8) -> bool {
        Self::new(size).is_some()
    }

    const fn empty(element: Layout) -> Self {
        Self {
            start: NonNull::dangling(),
            length: 0,
            capacity: 0,
            element,
        }
    }

    pub(crate) fn size(&self) -> u8 {
        self.element.size() as u8
    }

    /// Converts a vector to a `Numbers` with the same memory.
    ///
    /// # Panics
    ///
    /// Panics if no primitive number has the size of `N`.
    pub(crate) fn from_vec<N: Pod>(numbers: Vec<N>) -> Self {
        let mut empty = Self::empty(Layout::new::<N>());
        assert!(u8::try_from(size_of::<N>()).is_ok_and(Self::is_size));
        let mut numbers = ManuallyDrop::new(numbers);
        if let Some(start) = NonNull::new(numbers.as_mut_ptr()) {
            empty.start = start.cast();
            empty.length = size_of::<N>() * numbers.len();
            empty.capacity = size_of::<N>() * numbers.capacity();
        }
        empty
    }

    /// Returns the numbers as a vector, without a copy. Returns `self` as the error if the
    /// layout of `N` is not the layout of the numbers.
    pub(crate) fn into_vec<N: Pod>(self) -> Result<Vec<N>, Self> {
        if self.element != Layout::new::<N>() {
            return Err(self);
        }
        let this = ManuallyDrop::new(self);
        if this.capacity == 0 {
            return Ok(Vec::new());
        }
        let [length, capacity] = [this.length, this.capacity].map(|bytes| bytes / size_of::<N>());
        // SAFETY: the allocation has the layout of an array of `capacity` numbers of type
        // `N`, because its capacity is a multiple of their size. The first `length` numbers
        // are initialized, and each bit pattern is a valid number because `N` is `Pod`.
        // `this` is a `ManuallyDrop`, so only the vector frees the memory.
        Ok(unsafe { Vec::from_raw_parts(this.start.as_ptr().cast(), length, capacity) })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the first `length` bytes of the allocation are initialized.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the first `length` bytes of the allocation are initialized, and the
        // allocation belongs to this value alone.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    /// Makes the vector `length` bytes long. `length` must be a multiple of the size of a
    /// number, and at least the current length. The new bytes are zeros. Returns `false`
    /// and changes nothing if there is not enough memory.
    ///
    /// If the vector was empty and becomes large, the system makes its pages only when they
    /// are written.
    #[must_use]
    pub(crate) fn grow(&mut self, length: usize) -> bool {
        assert!(length >= self.length && length % self.element.size() == 0);
        let is_larger = length > self.capacity;
        if is_larger && !self.reserve(length) {
            return false;
        }
        // If the vector was empty, `reserve` has zeroed the new allocation.
        if !(is_larger && self.length == 0) {
            // SAFETY: the allocation has at least `length` bytes.
            let new = unsafe { self.start.as_ptr().add(self.length) };
            // SAFETY: the allocation has at least `length` bytes. `self.length` of these
            // bytes are before `new`.
            unsafe { new.write_bytes(0, length - self.length) };
        }
        self.length = length;
        true
    }

    /// Makes the allocation larger. If the vector was empty, all bytes of the allocation
    /// are 0. Returns `false` if there is not enough memory.
    fn reserve(&mut self, capacity: usize) -> bool {
        let (Some(old), Some(new)) = (self.layout(self.capacity), self.layout(capacity)) else {
            return false;
        };
        let start = if self.length == 0 {
            self.free();
            // SAFETY: the size is not 0, because the capacity is larger than before.
            unsafe { alloc_zeroed(new) }
        } else {
            // SAFETY: the allocation has the old layout. The new size is larger, and does
            // not overflow, because a layout of this size exists.
            unsafe { realloc(self.start.as_ptr(), old, new.size()) }
        };
        let Some(start) = NonNull::new(start) else {
            return false;
        };
        self.start = start;
        self.capacity = capacity;
        true
    }

    /// Asks the system to use huge pages for the numbers, all of which the caller is about
    /// to write. With pages of 4 KiB instead, the system takes longer to make the pages
    /// than the caller takes to write the numbers. The disadvantage is that `realloc`
    /// copies all numbers if the vector grows later. The system can move pages to another
    /// address without a copy only if all pages of the allocation are of one kind.
    pub(crate) fn ask_for_huge_pages(&mut self) {
        #[cfg(target_os = "linux")]
        ask_for_huge_pages(self.start, self.length);
    }

    fn layout(&self, bytes: usize) -> Option<Layout> {
        Layout::from_size_align(bytes, self.element.align()).ok()
    }

    fn free(&mut self) {
        if let Some(layout) = self
            .layout(self.capacity)
            .filter(|layout| layout.size() > 0)
        {
            // SAFETY: the allocator has returned this allocation for this layout, and no
            // reference to the memory remains.
            unsafe { dealloc(self.start.as_ptr(), layout) };
        }
        self.start = NonNull::dangling();
        self.length = 0;
        self.capacity = 0;
    }
}

/// The size of a huge page on the most common processors, in bytes.
#[cfg(target_os = "linux")]
const HUGE_PAGE: usize = 2 << 20;

/// Asks the system to use huge pages for the part of an allocation that consists of whole
/// pages of [`HUGE_PAGE`] bytes.
#[cfg(target_os = "linux")]
fn ask_for_huge_pages(start: NonNull<u8>, length: usize) {
    let before = start.as_ptr().align_offset(HUGE_PAGE);
    let huge = length.saturating_sub(before) / HUGE_PAGE * HUGE_PAGE;
    if huge == 0 {
        return;
    }
    // SAFETY: `before` is less than `length`, because `huge` is not 0.
    let start = unsafe { start.as_ptr().add(before) };
    // SAFETY: the range belongs to an allocation of this process, and the advice changes no
    // byte of it.
    let advised = unsafe { madvise(start.cast(), huge, Advice::LinuxHugepage) };
    // A system without huge pages refuses the advice. Then the caller's writes only take
    // longer.
    let _ = advised;
}

impl Drop for Numbers {
    fn drop(&mut self) {
        self.free();
    }
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Numbers({} bytes)", self.length)
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_vector_comes_back_with_its_memory() {
        let mut vector = vec![1.5_f64, 2.5, -0.0];
        vector.reserve_exact(7);
        let (start, capacity) = (vector.as_ptr(), vector.capacity());
        let numbers = Numbers::from_vec(vector);
        assert_eq!(numbers.bytes()[..8], 1.5_f64.to_ne_bytes());
        let numbers = numbers.into_vec::<u32>().unwrap_err();
        let vector = numbers.into_vec::<f64>().unwrap();
        assert_eq!(vector, [1.5, 2.5, -0.0]);
        assert_eq!((vector.as_ptr(), vector.capacity()), (start, capacity));
        assert!(Numbers::from_vec(Vec::<u16>::new()).bytes().is_empty());
    }

    #[test]
    fn a_vector_that_grows_keeps_its_numbers_and_gets_zeros() {
        let mut numbers = Numbers::new(4).unwrap();
        assert!(numbers.bytes().is_empty());
        for length in [4, 8, 8, 4096, 1 << 20] {
            let before = numbers.bytes().len();
            assert!(numbers.grow(length));
            assert!(numbers.bytes()[before..].iter().all(|byte| *byte == 0));
            numbers.bytes_mut()[before..].fill(7);
            assert!(numbers.bytes().iter().all(|byte| *byte == 7));
        }
        assert!(!numbers.grow(usize::MAX - 3), "there is not so much memory");
        assert!(!numbers.grow(1 << 60), "there is not so much memory");
        let vector = numbers.into_vec::<u32>().unwrap();
        assert_eq!(vector, vec![0x0707_0707; 1 << 18]);
        let empty = Numbers::new(1).unwrap();
        assert!(empty.into_vec::<u8>().unwrap().is_empty());
    }
}
