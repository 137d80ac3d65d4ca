//! Lists of numbers as one block of bytes.
//!
//! serde writes a `Vec<f64>` number by number, which takes 3 to 10 times as long
//! as a copy, and in a debug build a hundred times. So the writer and the reader
//! look at the type of what they are handed, and copy what they know: vectors of
//! the primitive numbers. (A `String` is a block already.)
//!
//! Bytes and floating-point numbers are in the same bytes either way. Integers
//! are written short (`postcard`'s varints) number by number, and in full as a
//! block, which [`MARK`] in the place of the length announces. A reader that did
//! not recognise the type, as a `with` attribute may hide it, finds the mark and
//! reads the block number by number; one that did, and finds no mark, reads a
//! list. So it never matters that both sides recognise the same.

use std::marker::PhantomData;
use std::mem::{ManuallyDrop, needs_drop, transmute_copy};

use bytemuck::{Pod, cast_slice};
use serde::de::{DeserializeOwned, DeserializeSeed};

/// In the place of a list's length: a block follows, as its [`Width`], how many
/// numbers there are, and these. No list is that long.
pub(super) const MARK: usize = usize::MAX;

/// From how many integers on a block is worth its head of up to 20 bytes.
const WORTH: usize = 32;

/// The bytes of one integer, and whether it has a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Width(u8);

impl Width {
    const fn of(size: usize, is_signed: bool) -> Self {
        Self((size as u8) << 1 | is_signed as u8)
    }

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        matches!(byte >> 1, 2 | 4 | 8 | 16).then_some(Self(byte))
    }

    pub(super) fn to_byte(self) -> u8 {
        self.0
    }

    pub(super) fn size(self) -> usize {
        usize::from(self.0 >> 1)
    }

    pub(super) fn is_signed(self) -> bool {
        self.0 & 1 == 1
    }
}

/// How the numbers of a type are written as a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Like a list, to the byte.
    Plain,
    /// Behind a [`MARK`].
    Marked(Width),
}

/// A list of numbers as the bytes that it has in memory.
#[derive(Debug)]
pub(super) struct Block<'a> {
    pub(super) form: Form,
    /// How many numbers there are.
    pub(super) count: usize,
    pub(super) bytes: &'a [u8],
}

/// A primitive number.
pub(super) trait Number: Pod + DeserializeOwned {
    const FORM: Form;
}

/// Reads lists of numbers.
pub(super) trait ReadNumbers {
    type Error;

    fn read_numbers<N: Number>(&mut self) -> Result<Vec<N>, Self::Error>;
}

macro_rules! numbers {
    ($($plain:ty)*; $($marked:ty)*) => {
        $(impl Number for $plain {
            const FORM: Form = Form::Plain;
        })*
        $(impl Number for $marked {
            const FORM: Form = Form::Marked(Width::of(size_of::<$marked>(), <$marked>::MIN != 0));
        })*
        numbers! { @all $($plain)* $($marked)* }
    };
    (@all $($number:ty)*) => {
        /// The block of `value`, if it is a vector of numbers that is worth one.
        #[inline]
        pub(super) fn block_of<T: ?Sized>(value: &T) -> Option<Block<'_>> {
            // These are constants of most types, which spares the search.
            if is_no_vector(size_of_val(value), needs_drop::<T>()) {
                return None;
            }
            $(if let Some(numbers) = downcast::<T, Vec<$number>>(value) {
                return Block::of(numbers);
            })*
            None
        }

        /// Has `reader` read what a seed of type `S` stands for, if that is a
        /// vector of numbers.
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
                let numbers = ManuallyDrop::new(reader.read_numbers::<$number>());
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
    u8 i8 f32 f64;
    u16 u32 u64 u128 usize i16 i32 i64 i128 isize
}

/// Whether a type of that size cannot be a vector, or nothing is one here: plain
/// blocks are like lists on little-endian machines only.
#[inline]
fn is_no_vector(size: usize, needs_drop: bool) -> bool {
    cfg!(target_endian = "big") || !needs_drop || size != size_of::<Vec<u8>>()
}

#[inline]
fn downcast<T: ?Sized, U>(value: &T) -> Option<&U> {
    // SAFETY: it is one, but for lifetimes, of which no `Vec` of numbers has any.
    (typeid::of::<T>() == typeid::of::<U>())
        .then(|| unsafe { &*std::ptr::from_ref(value).cast::<U>() })
}

impl<'a> Block<'a> {
    fn of<N: Number>(numbers: &'a [N]) -> Option<Self> {
        let is_worth_it = N::FORM == Form::Plain || numbers.len() >= WORTH;
        is_worth_it.then(|| Self {
            form: N::FORM,
            count: numbers.len(),
            bytes: cast_slice(numbers),
        })
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
