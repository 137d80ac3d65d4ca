//! Lists of numbers as one block of bytes.
//!
//! serde writes a `Vec<f64>` number by number, which takes 3 to 10 times as long as a
//! copy, and a hundred times as long in a debug build. So the writer and the reader check
//! the type of the value, and copy vectors of primitive numbers as one block. (A `String`
//! is written as one block already.)
//!
//! A `with` attribute may hide the type from one of the two sides. The encoding is
//! readable in this case too, because the reader sees the tag of a block. The reader can
//! read a block number by number, and can read a list of single numbers into a vector.

use std::marker::PhantomData;
use std::mem::{ManuallyDrop, needs_drop, transmute_copy};

use bytemuck::{Pod, cast_slice};
use serde::de::{DeserializeOwned, DeserializeSeed};

use super::tag;

/// A list of numbers, as the bytes that the list has in memory.
#[derive(Debug)]
pub(super) struct Block<'a> {
    /// The tag of each number.
    pub(super) tag: u8,
    /// The length of the list.
    pub(super) count: usize,
    pub(super) bytes: &'a [u8],
}

/// A primitive number.
pub(super) trait Number: Pod + DeserializeOwned {
    const TAG: u8;
}

/// Reads lists of numbers.
pub(super) trait ReadNumbers {
    type Error;

    /// Returns the next block as a vector; `None` if no block of such numbers comes next.
    fn read_numbers<N: Number>(&mut self) -> Option<Result<Vec<N>, Self::Error>>;
}

macro_rules! numbers {
    ($($number:ty, $tag:ident;)*) => {
        $(impl Number for $number {
            const TAG: u8 = tag::$tag;
        })*

        /// Returns the block of `value` if `value` is a vector of numbers.
        #[inline]
        pub(super) fn block_of<T: ?Sized>(value: &T) -> Option<Block<'_>> {
            // Both arguments are constants for most types, so the compiler removes the
            // search below.
            if is_no_vector(size_of_val(value), needs_drop::<T>()) {
                return None;
            }
            $(if let Some(numbers) = downcast::<T, Vec<$number>>(value) {
                return Some(Block::of(numbers));
            })*
            None
        }

        /// Makes `reader` read the value of a seed of type `S`, if that value is a vector
        /// of numbers and a block of such numbers comes next.
        #[inline]
        pub(super) fn read_vector<'de, S, R>(reader: &mut R) -> Option<Result<S::Value, R::Error>>
        where
            S: DeserializeSeed<'de>,
            R: ReadNumbers,
        {
            if is_no_vector(size_of::<S::Value>(), needs_drop::<S::Value>()) {
                return None;
            }
            $(if typeid::of::<S>() == typeid::of::<PhantomData<Vec<$number>>>() {
                let numbers = ManuallyDrop::new(reader.read_numbers::<$number>()?);
                // SAFETY: the seed is `PhantomData<Vec<_>>`, whose value has the type of
                // this vector, and `ManuallyDrop` keeps the original from being dropped.
                return Some(unsafe {
                    transmute_copy::<
                        ManuallyDrop<Result<Vec<$number>, R::Error>>,
                        Result<S::Value, R::Error>,
                    >(&numbers)
                });
            })*
            None
        }
    };
}

numbers! {
    u8, U8;
    u16, U16;
    u32, U32;
    u64, U64;
    u128, U128;
    usize, USIZE;
    i8, I8;
    i16, I16;
    i32, I32;
    i64, I64;
    i128, I128;
    isize, ISIZE;
    f32, F32;
    f64, F64;
}

/// Returns `true` if a type of that size cannot be a vector.
#[inline]
fn is_no_vector(size: usize, needs_drop: bool) -> bool {
    !needs_drop || size != size_of::<Vec<u8>>()
}

#[inline]
fn downcast<T: ?Sized, U>(value: &T) -> Option<&U> {
    // SAFETY: the types are equal except for lifetimes, and a `Vec` of numbers has no
    // lifetimes.
    (typeid::of::<T>() == typeid::of::<U>())
        .then(|| unsafe { &*std::ptr::from_ref(value).cast::<U>() })
}

impl<'a> Block<'a> {
    fn of<N: Number>(numbers: &'a [N]) -> Self {
        Self {
            tag: N::TAG,
            count: numbers.len(),
            bytes: cast_slice(numbers),
        }
    }
}

/// Copies the numbers of a block into a vector. Trailing bytes that make no whole number
/// are ignored.
///
/// `bytemuck` is not used here, because it fills the vector with zeros first. For 1 MiB
/// these zeros take a tenth of the time in which the bytes reach another process.
pub(super) fn numbers_of<N: Number>(bytes: &[u8]) -> Vec<N> {
    let count = bytes.len() / size_of::<N>();
    let mut numbers = Vec::<N>::with_capacity(count);
    let start = numbers.as_mut_ptr().cast::<u8>();
    // SAFETY: `bytes` has at least that many bytes, and the vector has the capacity for
    // them. The vector is new, so the two do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start, count * size_of::<N>()) };
    // SAFETY: `count` numbers were written, and any bytes are a valid number (`Pod`).
    unsafe { numbers.set_len(count) };
    numbers
}
