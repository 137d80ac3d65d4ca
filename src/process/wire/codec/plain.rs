//! The types that the codec reads and writes without user code, and those whose parts have
//! unknown sizes.

use std::any::TypeId;
use std::mem::needs_drop;

/// Returns `true` if a value of the type may have large parts behind a `Box` or in a `Vec`,
/// so that the size of the type says nothing about the size of these parts. A type with
/// such parts has a `Drop` that frees them. A `Vec` of numbers or texts has no large part.
#[inline]
pub(super) fn has_hidden_parts<T: 'static>() -> bool {
    needs_drop::<T>() && !is_plain::<T>() && !is_vec_of_plain::<T>()
}

macro_rules! is_vec_of_plain {
    ($($part:ty)*) => {
        fn is_vec_of_plain<T: 'static>() -> bool {
            let is = |plain: TypeId| TypeId::of::<T>() == plain;
            false $(|| is(TypeId::of::<Vec<$part>>()))*
        }
    };
}

is_vec_of_plain! { u8 u16 u32 u64 usize i8 i16 i32 i64 isize f32 f64 bool char String }

/// Returns `true` if the type is one of a few common types whose `Serialize`, `Deserialize`
/// and `Drop` run no user code.
pub(crate) fn is_plain<T: 'static>() -> bool {
    let is = |plain: TypeId| TypeId::of::<T>() == plain;
    is(TypeId::of::<()>())
        || is(TypeId::of::<bool>())
        || is(TypeId::of::<u8>())
        || is(TypeId::of::<u16>())
        || is(TypeId::of::<u32>())
        || is(TypeId::of::<u64>())
        || is(TypeId::of::<usize>())
        || is(TypeId::of::<i8>())
        || is(TypeId::of::<i16>())
        || is(TypeId::of::<i32>())
        || is(TypeId::of::<i64>())
        || is(TypeId::of::<isize>())
        || is(TypeId::of::<f32>())
        || is(TypeId::of::<f64>())
        || is(TypeId::of::<char>())
        || is(TypeId::of::<String>())
}
