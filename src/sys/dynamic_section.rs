//! The dynamic section of the main program. The loader reads this section when the program
//! starts.

use std::slice;

/// Returns two values of the dynamic section: the link address of the array of constructors
/// (the functions that run before `main`), and the length of this array in bytes.
///
/// The section is a list of pairs, each of a tag and a value. A pair with the tag 0 ends
/// the list.
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

/// Returns a part of the main program's memory as a slice. The slice is empty if the
/// address is null or not aligned for `T`.
///
/// # Safety
///
/// The `bytes` bytes at `address` must be mapped for reading, and must not change any more.
pub(super) unsafe fn slice_at<T>(address: usize, bytes: usize) -> &'static [T] {
    let address: *const T = std::ptr::with_exposed_provenance(address);
    if address.is_null() || !address.is_aligned() {
        return &[];
    }
    // SAFETY: the caller promises that the bytes are mapped and do not change, and the
    // address is aligned.
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
}
