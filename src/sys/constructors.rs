//! The functions that the startup code, which the C library contains, runs before `main`.
//!
//! These functions are called constructors. A program has an array with the addresses of
//! its constructors, and the program's dynamic section points to this array. If one
//! constructor does not return, the startup code does not run the later constructors. A
//! later constructor may initialize a C++ library, for example. The worker hook is a
//! constructor of this crate. If the process becomes a worker in the hook, the hook runs
//! the worker's tasks and does not return. Before these tasks, the hook itself runs the
//! later constructors. A program that is linked statically at a fixed address has no
//! dynamic section, so this crate cannot find the program's constructors.

use std::ffi::{c_char, c_int};
use std::mem::transmute;

use super::image::Image;

/// A function that the startup code calls. The GNU C library passes the program's arguments
/// and environment to the function. Other C libraries pass nothing.
pub(crate) type Constructor =
    unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// The arguments that the startup code passed to a constructor. The constructor passes
/// these arguments on to the later constructors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InitArgs(
    pub(crate) c_int,
    pub(crate) *const *const c_char,
    pub(crate) *const *const c_char,
);

/// Returns the constructors of the main program that the startup code would run after
/// `own`, in the same order. Returns none if this crate cannot find the array of
/// constructors.
pub(crate) fn after(own: Constructor) -> impl Iterator<Item = Constructor> {
    let own = (own as *const ()).addr();
    let array = Image::current().constructors();
    let at = array.iter().position(|address| *address == own);
    let later = at.map_or(&[][..], |at| &array[at + 1..]);
    // Old tool chains put the marker values 0 and -1 into the array.
    let functions = later.iter().filter(|a| !matches!(**a, 0 | usize::MAX));
    functions.map(|address| {
        let address: *const () = std::ptr::with_exposed_provenance(*address);
        // SAFETY: each entry of the array is the address of a `Constructor`, which the
        // startup code would call.
        unsafe { transmute::<*const (), Constructor>(address) }
    })
}

/// Returns `true` if this crate can find the program's constructors.
#[cfg(test)]
pub(crate) fn are_known() -> bool {
    !Image::current().constructors().is_empty()
}

/// Runs the constructors that the startup code would run after `own`. The constructor `own`
/// calls this function if `own` does not return to the startup code.
///
/// # Safety
///
/// The startup code must have called `own` with the arguments `given`, and `own` must not
/// return to the startup code.
pub(crate) unsafe fn run_after(own: Constructor, given: InitArgs) {
    for constructor in after(own) {
        // SAFETY: the caller promises that `own` does not return to the startup code, so
        // the startup code does not run `constructor` a second time.
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
            // SAFETY: each entry of the array is the address of a `Constructor`, which this
            // test does not call.
            let own = unsafe { transmute::<*const (), Constructor>(address) };
            assert_eq!(after(own).count(), all.len() - at - 1);
        }
    }
}
