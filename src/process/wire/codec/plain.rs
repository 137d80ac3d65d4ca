//! The types that the codec reads and writes without user code.

use std::any::TypeId;

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
