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

/// Defines `is_plain` for the given types, and `is_vec_of_plain` for the vectors of them.
macro_rules! plain {
    ($($type:ty)*) => {
        /// Returns `true` if the type is one of a few common types whose `Serialize`,
        /// `Deserialize` and `Drop` run no user code.
        pub(crate) fn is_plain<T: 'static>() -> bool {
            let is = |plain: TypeId| TypeId::of::<T>() == plain;
            false $(|| is(TypeId::of::<$type>()))*
        }

        fn is_vec_of_plain<T: 'static>() -> bool {
            let is = |plain: TypeId| TypeId::of::<T>() == plain;
            false $(|| is(TypeId::of::<Vec<$type>>()))*
        }
    };
}

plain! { () bool u8 u16 u32 u64 usize i8 i16 i32 i64 isize f32 f64 char String }
