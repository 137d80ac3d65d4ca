//! The tags: a tag is a byte that names the serde call that wrote the following bytes.
//!
//! All numbers are in the processor's byte order, because the writer and the reader run the
//! same build of the program.
//!
//! ```text
//! UNIT NONE FALSE TRUE
//! U8 .. F64, CHAR     | its bytes, a char as a u32
//! SOME                | the value
//! STR BYTES           | length | bytes
//! SEQ                 | count | elements            also tuples and tuple structs
//! MAP                 | count | keys and values
//! PACKED              | tag of all elements | count | their bytes
//! STRUCT              | shape u16 | fields
//! UNIT_VARIANT        | shape u16
//! NEWTYPE_VARIANT     | shape u16 | the value
//! TUPLE_VARIANT       | shape u16 | count | elements
//! STRUCT_VARIANT      | shape u16 | fields
//! ```
//!
//! A newtype struct is encoded as its value. A length or a count is encoded with seven
//! bits in each byte, and the eighth bit says if another byte follows. A `shape` is an
//! index into the list of shapes behind the whole value (`output.rs`).

macro_rules! tags {
    ($($name:ident $text:literal)*) => {
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "they number the constants")]
        #[repr(u8)]
        enum Number { $($name),* }

        $(pub(crate) const $name: u8 = Number::$name as u8;)*

        pub(super) fn name(tag: u8) -> &'static str {
            match tag {
                $($name => $text,)*
                _ => "nothing that is known",
            }
        }
    };
}

tags! {
    UNIT "a unit"
    NONE "`None`"
    SOME "`Some`"
    FALSE "a bool"
    TRUE "a bool"
    U8 "a u8"
    U16 "a u16"
    U32 "a u32"
    U64 "a u64"
    U128 "a u128"
    I8 "an i8"
    I16 "an i16"
    I32 "an i32"
    I64 "an i64"
    I128 "an i128"
    F32 "an f32"
    F64 "an f64"
    CHAR "a char"
    STR "a string"
    BYTES "bytes"
    SEQ "a sequence"
    MAP "a map"
    PACKED "a sequence of numbers"
    STRUCT "a struct"
    UNIT_VARIANT "a variant without fields"
    NEWTYPE_VARIANT "a variant of one value"
    TUPLE_VARIANT "a variant of a tuple"
    STRUCT_VARIANT "a variant with fields"
}

/// The tags of `usize` and `isize`, which depend on the processor's pointer size.
pub(super) const USIZE: u8 = if size_of::<usize>() == 8 { U64 } else { U32 };
pub(super) const ISIZE: u8 = if size_of::<isize>() == 8 { I64 } else { I32 };
