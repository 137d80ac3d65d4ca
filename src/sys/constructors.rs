//! The functions that the loader runs before `main`.
//!
//! A program lists them in an array of addresses, which its dynamic section
//! points to. One of them that does not return keeps all later ones from
//! running, and they may be what makes a library of C++ or a registry usable; so
//! it has to run them itself. A program that is linked statically and always
//! lies at the same place has no dynamic section: there nothing can be done.

use std::ffi::{c_char, c_int};
use std::mem::transmute;
use std::slice;

use super::image::Image;

/// What the loader calls. The C library of GNU gives the program's arguments
/// and environment to it; others leave them out.
pub(crate) type Constructor =
    unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// What the loader gave to a constructor, for it to hand on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given(
    pub(crate) c_int,
    pub(crate) *const *const c_char,
    pub(crate) *const *const c_char,
);

/// The constructors of the main program that come after `current_process`, in their order.
pub(crate) fn after(current_process: Constructor) -> impl Iterator<Item = Constructor> {
    let current_process = (current_process as *const ()).addr();
    let array = Image::current().constructors();
    let at = array.iter().position(|address| *address == current_process);
    let later = at.map_or(&[][..], |at| &array[at + 1..]);
    // Old tool chains put such marks into it.
    let functions = later.iter().filter(|a| !matches!(**a, 0 | usize::MAX));
    functions.map(|address| {
        let address: *const () = std::ptr::with_exposed_provenance(*address);
        // SAFETY: what stands in the array is the address of such a function:
        // the loader would call it as one.
        unsafe { transmute::<*const (), Constructor>(address) }
    })
}

/// Whether they can be found in this program.
#[cfg(test)]
pub(crate) fn are_known() -> bool {
    !Image::current().constructors().is_empty()
}

/// Runs what the loader would run after `current_process`, which will not return to it.
///
/// # Safety
///
/// The loader is calling `current_process`, with what was `given`.
pub(crate) unsafe fn run_after(current_process: Constructor, given: Given) {
    for constructor in after(current_process) {
        // SAFETY: it is this one's turn, by the contract, and nobody else's.
        unsafe { constructor(given.0, given.1, given.2) };
    }
}

/// The array that a dynamic section points to: where it is, and its length in
/// bytes, both as the section has them.
///
/// The section is pairs of a tag and a value, up to a tag of 0.
pub(super) fn array_of(dynamic: &[[usize; 2]]) -> Option<(usize, usize)> {
    const INIT_ARRAY: usize = 25;
    const INIT_ARRAY_SIZE: usize = 27;
    let section = dynamic.iter().take_while(|[tag, _]| *tag != 0);
    let find = |wanted| {
        let mut section = section.clone();
        section.find_map(|[tag, value]| (*tag == wanted).then_some(*value))
    };
    Some((find(INIT_ARRAY)?, find(INIT_ARRAY_SIZE)?))
}

/// Memory of the main program as words.
///
/// # Safety
///
/// The bytes are mapped for reading and do not change any more.
pub(super) unsafe fn words<T>(address: usize, bytes: usize) -> &'static [T] {
    let address: *const T = std::ptr::with_exposed_provenance(address);
    if address.is_null() || !address.is_aligned() {
        return &[];
    }
    // SAFETY: by the contract, and aligned.
    unsafe { slice::from_raw_parts(address, bytes / size_of::<T>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_section_is_read_up_to_its_end() {
        let section = [[1, 9], [25, 0x1000], [27, 24], [0, 0], [25, 7], [27, 8]];
        assert_eq!(array_of(&section), Some((0x1000, 24)));
        assert_eq!(array_of(&section[..2]), None);
        assert_eq!(array_of(&section[3..]), None);
        assert_eq!(array_of(&[]), None);
    }

    #[test]
    fn each_constructor_knows_the_later_ones() {
        let all: Vec<_> = Image::current().constructors().to_vec();
        for (at, address) in all.iter().enumerate() {
            let address: *const () = std::ptr::with_exposed_provenance(*address);
            // SAFETY: see `after`.
            let current_process = unsafe { transmute::<*const (), Constructor>(address) };
            assert_eq!(after(current_process).count(), all.len() - at - 1);
        }
    }
}
