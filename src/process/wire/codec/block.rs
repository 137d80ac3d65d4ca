//! Lists of numbers as one block of bytes.
//!
//! serde writes a `Vec<f64>` number by number, which takes 3 to 10 times as long
//! as a copy, and in a debug build a hundred times. So the writer and the reader
//! look at the type of what they are handed, and copy what they know: vectors of
//! the primitive numbers. (A `String` is a block already.)
//!
//! It does not matter whether both sides recognize a type, which a `with`
//! attribute may hide: the reader sees the tag, and reads a block number by number
//! if it has to, or a list into a vector.

use std::marker::PhantomData;
use std::mem::{ManuallyDrop, needs_drop, transmute_copy};

use bytemuck::{Pod, cast_slice};
use serde::de::{DeserializeOwned, DeserializeSeed};

use super::tag;

/// A list of numbers as the bytes that it has in memory.
#[derive(Debug)]
pub(super) struct Block<'a> {
    /// The tag of each number.
    pub(super) tag: u8,
    /// The number of numbers.
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

    /// `None`: no block of such numbers is next.
    fn read_numbers<N: Number>(&mut self) -> Option<Result<Vec<N>, Self::Error>>;
}

macro_rules! numbers {
    ($($number:ty, $tag:ident;)*) => {
        $(impl Number for $number {
            const TAG: u8 = tag::$tag;
        })*

        /// The block of `value`, if it is a vector of numbers that is worth one.
        #[inline]
        pub(super) fn block_of<T: ?Sized>(value: &T) -> Option<Block<'_>> {
            // These are constants of most types, which spares the search.
            if is_no_vector(size_of_val(value), needs_drop::<T>()) {
                return None;
            }
            $(if let Some(numbers) = downcast::<T, Vec<$number>>(value) {
                return Some(Block::of(numbers));
            })*
            None
        }

        /// Has `reader` read what a seed of type `S` stands for, if that is a
        /// vector of numbers and a block of them is next.
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
                // SAFETY: the seed is `PhantomData<Vec<_>>`, whose value is that
                // vector; and the original is not dropped.
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
    // SAFETY: it is one, but for lifetimes, of which no `Vec` of numbers has any.
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

/// The numbers of a block, copied. Bytes that make no whole number are left out.
///
/// Not by `bytemuck`, which fills the vector with zeros first: for 1 MiB that is a
/// tenth of the whole way to another process.
pub(super) fn numbers_of<N: Number>(bytes: &[u8]) -> Vec<N> {
    let count = bytes.len() / size_of::<N>();
    let mut numbers = Vec::<N>::with_capacity(count);
    let start = numbers.as_mut_ptr().cast::<u8>();
    // SAFETY: there are that many bytes, and room for as many; the room is new,
    // so they do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start, count * size_of::<N>()) };
    // SAFETY: so many numbers were written, and any bytes are a number (`Pod`).
    unsafe { numbers.set_len(count) };
    numbers
}
