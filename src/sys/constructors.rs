//! The functions that the loader runs before `main`.
//!
//! A program lists them in an array of addresses, which its dynamic section
//! points to. One of them that does not return keeps all later ones from
//! running, and they may be what makes a library of C++ or a registry usable; so
//! it has to run them itself. A program that is linked statically and always
//! lies at the same place has no dynamic section: there nothing can be done.

use std::ffi::{c_char, c_int};
use std::mem::transmute;

use super::image::Image;

/// A function that the loader calls. The C library of GNU gives the program's
/// arguments and environment to it; others leave them out.
pub(crate) type Constructor =
    unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// The arguments that the loader gave to a constructor, to be handed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InitArgs(
    pub(crate) c_int,
    pub(crate) *const *const c_char,
    pub(crate) *const *const c_char,
);

/// The constructors of the main program that come after `own`, in their order.
pub(crate) fn after(own: Constructor) -> impl Iterator<Item = Constructor> {
    let own = (own as *const ()).addr();
    let array = Image::current().constructors();
    let at = array.iter().position(|address| *address == own);
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

/// Returns `true` if they can be found in this program.
#[cfg(test)]
pub(crate) fn are_known() -> bool {
    !Image::current().constructors().is_empty()
}

/// Runs what the loader would run after `own`, which will not return to it.
///
/// # Safety
///
/// The loader is calling `own`, with what was `given`.
pub(crate) unsafe fn run_after(own: Constructor, given: InitArgs) {
    for constructor in after(own) {
        // SAFETY: it is this one's turn, by the contract, and nobody else's.
        unsafe { constructor(given.0, given.1, given.2) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_constructor_knows_the_later_ones() {
        let all: Vec<_> = Image::current().constructors().to_vec();
        for (at, address) in all.iter().enumerate() {
            let address: *const () = std::ptr::with_exposed_provenance(*address);
            // SAFETY: see `after`.
            let own = unsafe { transmute::<*const (), Constructor>(address) };
            assert_eq!(after(own).count(), all.len() - at - 1);
        }
    }
}
