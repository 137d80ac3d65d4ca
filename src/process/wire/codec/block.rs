//! Blocks: a block holds all numbers of a list as one sequence of bytes.
//!
//! The writer and the reader check the type of each value, and copy a vector of primitive
//! numbers as one block. Without blocks, serde would write a `Vec<f64>` number by number.
//! This takes several times as long as a copy, and still longer in a debug build.
//!
//! A serde attribute such as `with` may hide the vector's type from the writer or from the
//! reader. Then only one of the two uses a block. The reader still understands the
//! encoding, because a block has its own tag: the reader can also read a block number by
//! number, and can read a list of single numbers into a vector.

use std::marker::PhantomData;
use std::mem::{ManuallyDrop, needs_drop, transmute_copy};

use bytemuck::{Pod, cast_slice};
use serde::de::{DeserializeOwned, DeserializeSeed};

use super::tag;
use crate::sys::numbers::Numbers;

/// The numbers of a list, as the bytes that these numbers have in memory.
#[derive(Debug)]
pub(super) struct Block<'a> {
    /// The tag for the type of the numbers.
    pub(super) tag: u8,
    pub(super) count: usize,
    pub(super) bytes: &'a [u8],
}

pub(super) trait Number: Pod + DeserializeOwned {
    const TAG: u8;
}

/// A reader that can read a whole list of numbers at once.
pub(super) trait ReadNumbers {
    type Error;

    /// Returns the next block as a vector, or `None` if the next bytes are not a block of
    /// numbers of type `N`.
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
            // For most types the two arguments of `is_no_vector` are constants. The
            // compiler then evaluates the condition, and removes the code below it if the
            // type cannot be a vector.
            if is_no_vector(size_of_val(value), needs_drop::<T>()) {
                return None;
            }
            $(if let Some(numbers) = downcast::<T, Vec<$number>>(value) {
                return Some(Block::of(numbers));
            })*
            None
        }

        /// Reads the next block from `reader` as a vector of numbers. Returns `None` if `S`
        /// is not the seed of a vector of primitive numbers, or if the next block does not
        /// hold numbers of the vector's type.
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
                // SAFETY: `S` is `PhantomData<Vec<_>>`, so `S::Value` is the type of this
                // vector. `ManuallyDrop` keeps the original vector from being dropped.
                return Some(unsafe {
                    transmute_copy::<
                        ManuallyDrop<Result<Vec<$number>, R::Error>>,
                        Result<S::Value, R::Error>,
                    >(&numbers)
                });
            })*
            None
        }

        /// Moves a vector of numbers into [`Numbers`]. Returns the tag of the numbers, the
        /// count of the numbers, and the numbers themselves. Returns the value itself if
        /// it is not a vector of numbers.
        pub(super) fn into_numbers<T>(value: T) -> Result<(u8, usize, Numbers), T> {
            $(if typeid::of::<T>() == typeid::of::<Vec<$number>>() {
                let mut vector = moved::<T, Vec<$number>>(value);
                // The unused capacity of the vector would take up memory as long as the
                // numbers exist.
                if vector.capacity() / 2 > vector.len() {
                    vector.shrink_to_fit();
                }
                return Ok((tag::$tag, vector.len(), Numbers::from_vec(vector)));
            })*
            Err(value)
        }

        /// Moves numbers into a value of type `T`. Returns the numbers as the error if `T`
        /// is not the type of vector that the tag `found` stands for.
        pub(super) fn from_numbers<T>(found: u8, numbers: Numbers) -> Result<T, Numbers> {
            $(if found == tag::$tag && typeid::of::<T>() == typeid::of::<Vec<$number>>() {
                return numbers.into_vec::<$number>().map(moved::<Vec<$number>, T>);
            })*
            Err(numbers)
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

/// Returns `true` if the size of a type, or its lack of drop code, shows that the type is
/// not a vector.
#[inline]
fn is_no_vector(size: usize, needs_drop: bool) -> bool {
    !needs_drop || size != size_of::<Vec<u8>>()
}

#[inline]
fn downcast<T: ?Sized, U>(value: &T) -> Option<&U> {
    // SAFETY: the two type ids are equal, so `T` and `U` differ at most in lifetimes. `U`
    // is a `Vec` of numbers, which has no lifetimes.
    (typeid::of::<T>() == typeid::of::<U>())
        .then(|| unsafe { &*std::ptr::from_ref(value).cast::<U>() })
}

/// Converts a value of type `T` into the type `U`, which must be the same type.
///
/// # Panics
///
/// Panics if the types differ.
fn moved<T, U>(value: T) -> U {
    assert_eq!(typeid::of::<T>(), typeid::of::<U>());
    let value = ManuallyDrop::new(value);
    // SAFETY: the type ids of `T` and `U` are equal, so the types differ at most in
    // lifetimes. All callers pass a `Vec` of numbers as `T` or `U`, which has no lifetimes.
    // `ManuallyDrop` keeps the original from being dropped.
    unsafe { transmute_copy::<ManuallyDrop<T>, U>(&value) }
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

/// Copies the numbers of a block into a vector. The function ignores the bytes at the end
/// if they are too few for one number.
///
/// The function does not use `bytemuck`, because `bytemuck` first fills the vector with
/// zeros, which takes long if the vector is long.
pub(super) fn numbers_of<N: Number>(bytes: &[u8]) -> Vec<N> {
    let count = bytes.len() / size_of::<N>();
    let mut numbers = Vec::<N>::with_capacity(count);
    let start = numbers.as_mut_ptr().cast::<u8>();
    // SAFETY: `bytes` has at least as many bytes as are copied, and the vector has the
    // capacity for these bytes. `bytes` and the vector do not overlap, because the vector
    // is new.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start, count * size_of::<N>()) };
    // SAFETY: the copy has written `count` numbers, and any bytes are a valid number
    // because `N` is `Pod`.
    unsafe { numbers.set_len(count) };
    numbers
}
