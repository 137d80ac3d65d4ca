//! [`Image`]: the main program as it is mapped into memory.
//!
//! Two processes may map the same program at different addresses. The *bias* of a process
//! is the number that the loader adds to all addresses in the program's file. An address
//! minus the bias is a *link address*, which is the same in all processes of the program.
//! This crate uses link addresses only for the executable itself, because each process may
//! load different shared libraries.

use std::ffi::{c_int, c_void};
use std::fmt;
use std::ops::Range;
use std::slice;
use std::sync::OnceLock;

use super::dynamic_section::{array_of, slice_at};

#[cfg(target_pointer_width = "64")]
use libc::Elf64_Phdr as Phdr;

#[cfg(target_pointer_width = "32")]
use libc::Elf32_Phdr as Phdr;

/// The executable of this process, without the shared libraries.
pub(crate) struct Image {
    bias: usize,
    /// The link addresses of the program's code.
    code: Vec<Range<usize>>,
    build_id: Vec<u8>,
    headers: u64,
    /// `true` if the program names a loader, which the system starts before the program.
    has_loader: bool,
    /// The addresses of the functions that run before `main`.
    constructors: &'static [usize],
}

impl Image {
    #[inline]
    pub(crate) fn current() -> &'static Self {
        static CURRENT: OnceLock<Image> = OnceLock::new();
        CURRENT.get_or_init(Self::read)
    }

    /// Returns the link address of the code at `address`. Returns `None` if `address` is
    /// not in the code of the main program.
    #[inline]
    pub(crate) fn link_address(&self, address: usize) -> Option<u64> {
        let link = address.wrapping_sub(self.bias);
        self.has_code_at(link).then_some(link as u64)
    }

    /// Returns the address that the code with the link address `link` has in this process.
    /// Returns `None` if the main program has no code at this link address.
    pub(crate) fn address(&self, link: u64) -> Option<usize> {
        let link = usize::try_from(link).ok()?;
        self.has_code_at(link).then(|| self.bias.wrapping_add(link))
    }

    fn has_code_at(&self, link: usize) -> bool {
        self.code.iter().any(|segment| segment.contains(&link))
    }

    /// Returns the build id that the linker gave this program, or no bytes if the program
    /// has no build id.
    pub(crate) fn build_id(&self) -> &[u8] {
        &self.build_id
    }

    /// Returns a hash of the program headers. A worker compares this hash with its parent's
    /// hash, in order to find out if both run the same program. A comparison of the build
    /// ids is not enough, because some linkers write no build id.
    pub(crate) fn headers(&self) -> u64 {
        self.headers
    }

    /// Returns `true` if the user started the loader, as in `ld.so ./program`, instead of
    /// the program. The executable file of this process is then the loader's file.
    pub(crate) fn is_run_by_loader(&self) -> bool {
        // SAFETY: `getauxval` takes any number, and returns a number.
        let loader = unsafe { libc::getauxval(libc::AT_BASE) };
        // The kernel reports the address of the loader as `AT_BASE`. The address is 0 if
        // the user started the loader as the program.
        self.has_loader && loader == 0
    }

    /// Returns the addresses of the functions that run before `main`, in their order. The
    /// list is empty if the functions cannot be found.
    pub(super) fn constructors(&self) -> &'static [usize] {
        self.constructors
    }

    fn read() -> Self {
        let mut image: Option<Self> = None;
        let data: *mut Option<Self> = &raw mut image;
        // SAFETY: `first` has the type of the callback, and `data` points to an
        // `Option<Image>` that lives longer than the call.
        unsafe { libc::dl_iterate_phdr(Some(first), data.cast()) };
        // If the program headers cannot be found, the image has no code. Then this process
        // can send no function to a worker.
        image.unwrap_or(Self {
            bias: 0,
            code: Vec::new(),
            build_id: Vec::new(),
            headers: 0,
            has_loader: false,
            constructors: &[],
        })
    }

    fn of(bias: usize, headers: &[Phdr]) -> Self {
        let mut image = Self {
            bias,
            code: Vec::new(),
            build_id: Vec::new(),
            headers: 0xcbf2_9ce4_8422_2325,
            has_loader: false,
            constructors: &[],
        };
        // Returns `true` if the bytes at `address` are in a segment that is mapped for
        // reading.
        let mapped = |address: usize, bytes: usize| {
            let link = address.wrapping_sub(bias);
            headers.iter().any(|header| {
                let start = header.p_vaddr as usize;
                header.p_type == libc::PT_LOAD
                    && header.p_flags & libc::PF_R != 0
                    && link >= start
                    && link.saturating_add(bytes) <= start.saturating_add(header.p_memsz as usize)
            })
        };
        for header in headers {
            image.hash(header);
            let start = header.p_vaddr as usize;
            let segment = start..start.saturating_add(header.p_memsz as usize);
            let at = bias.wrapping_add(start);
            match header.p_type {
                libc::PT_LOAD if header.p_flags & libc::PF_X != 0 => image.code.push(segment),
                libc::PT_NOTE if mapped(at, segment.len()) && image.build_id.is_empty() => {
                    // SAFETY: the segment is mapped, and no code writes to ELF notes.
                    let notes: &[u8] = unsafe { slice_at(at, segment.len()) };
                    image.build_id = build_id(notes).unwrap_or_default().to_vec();
                }
                libc::PT_DYNAMIC if mapped(at, segment.len()) => {
                    // SAFETY: the memory is mapped, and the loader no longer changes it.
                    let section = unsafe { slice_at(at, segment.len()) };
                    let array = array_of(section).map(|(at, bytes)| (bias.wrapping_add(at), bytes));
                    if let Some((at, bytes)) = array.filter(|(at, bytes)| mapped(*at, *bytes)) {
                        // SAFETY: the memory is mapped, and the loader no longer changes
                        // it.
                        image.constructors = unsafe { slice_at(at, bytes) };
                    }
                }
                libc::PT_INTERP => image.has_loader = true,
                _ => {}
            }
        }
        image
    }

    /// Adds the numbers of one program header to the hash of all headers. The hash is like
    /// FNV-1a, but takes 64 bits at a time instead of a byte.
    fn hash(&mut self, header: &Phdr) {
        let numbers = [
            header.p_type as usize,
            header.p_flags as usize,
            header.p_offset as usize,
            header.p_vaddr as usize,
            header.p_memsz as usize,
        ];
        for number in numbers {
            self.headers = (self.headers ^ number as u64).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image")
            .field("bias", &format_args!("{:#x}", self.bias))
            .field("code", &self.code)
            .finish_non_exhaustive()
    }
}

/// Reads the first record, which describes the main program. Returns 1, so that the C
/// library passes no further record. The C library calls this function from
/// `dl_iterate_phdr`.
unsafe extern "C" fn first(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    data: *mut c_void,
) -> c_int {
    // SAFETY: `info` points to a valid record until this callback returns.
    let info = unsafe { &*info };
    let headers = if info.dlpi_phdr.is_null() {
        &[]
    } else {
        // SAFETY: the record contains the address of the array of headers and the array's
        // length, and the headers stay mapped.
        unsafe { slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) }
    };
    let found = Image::of(info.dlpi_addr as usize, headers);
    let image: *mut Option<Image> = data.cast();
    // SAFETY: `data` points to an `Option<Image>` of the caller of `dl_iterate_phdr`, and
    // no other code uses that variable during this call.
    unsafe { *image = Some(found) };
    1
}

/// Returns the build id in a list of ELF notes. A note begins with three numbers: the
/// length of its name, the length of its content, and its type. The name and the content
/// follow, each padded to 4 bytes.
fn build_id(mut notes: &[u8]) -> Option<&[u8]> {
    const GNU_BUILD_ID: u32 = 3;
    let number = |bytes: &[u8]| Some(u32::from_ne_bytes(*bytes.first_chunk()?));
    loop {
        let (name_length, rest) = (number(notes)? as usize, notes.get(4..)?);
        let (length, rest) = (number(rest)? as usize, rest.get(4..)?);
        let (kind, rest) = (number(rest)?, rest.get(4..)?);
        let name = rest.get(..name_length)?;
        let rest = rest.get(name_length.next_multiple_of(4)..)?;
        let content = rest.get(..length)?;
        if kind == GNU_BUILD_ID && name == b"GNU\0" {
            return Some(content);
        }
        notes = rest.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_of_the_program_has_a_link_address_and_back() {
        fn twice<T: Copy + std::ops::Add<Output = T>>(n: T) -> T {
            n + n
        }
        let image = Image::current();
        let functions = [
            twice::<u8> as fn(u8) -> u8 as usize,
            twice::<u64> as fn(u64) -> u64 as usize,
            (|n| n + 1) as fn(u32) -> u32 as usize,
            Image::current as fn() -> &'static Image as usize,
        ];
        for address in functions {
            let link = image.link_address(address).expect("it is in here");
            assert_eq!(image.address(link), Some(address));
        }
    }

    #[test]
    fn data_the_heap_and_libraries_are_not_code_of_the_program() {
        static DATA: u8 = 1;
        let image = Image::current();
        let heap = Box::new(1_u8);
        let elsewhere = [
            &raw const DATA as usize,
            &raw const *heap as usize,
            0,
            usize::MAX,
            // The address of `getpid` is 0 in a program that was linked statically.
            library_function(),
        ];
        for address in elsewhere {
            assert_eq!(image.link_address(address), None, "{address:#x}");
        }
        assert_eq!(image.address(u64::MAX), None);
    }

    /// Returns the address of `getpid` in the C library, rather than the address of this
    /// program's stub for `getpid`.
    fn library_function() -> usize {
        // SAFETY: `RTLD_NEXT` is a handle that `dlsym` accepts, and the name is a C string.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"getpid".as_ptr()) };
        assert_eq!(found.is_null(), cfg!(target_feature = "crt-static"));
        found as usize
    }

    /// For a program whose headers are not in memory, the loader may report a record
    /// without headers. The image of such a program has no code.
    #[test]
    fn a_record_without_headers_is_an_image_without_code() {
        // SAFETY: all fields of `dl_phdr_info` are numbers or pointers that may be null.
        let record: libc::dl_phdr_info = unsafe { std::mem::zeroed() };
        for count in [0, 7] {
            let mut record = libc::dl_phdr_info { ..record };
            record.dlpi_phnum = count;
            let mut image: Option<Image> = None;
            let data = (&raw mut image).cast();
            // SAFETY: `record` is a valid record, and `data` points to an `Option<Image>`.
            let ended = unsafe { first(&raw mut record, size_of_val(&record), data) };
            assert_eq!(ended, 1);
            let image = image.expect("it was read");
            assert_eq!(image.link_address(first as *const () as usize), None);
            assert!(!image.is_run_by_loader());
        }
    }

    #[test]
    fn a_build_has_an_id_and_a_hash() {
        let image = Image::current();
        assert_ne!(image.headers(), Image::of(0, &[]).headers());
        // A program without a build id is allowed, because some linkers write no build id
        // by default.
        assert!(image.build_id().is_empty() || image.build_id().len() >= 8);
    }

    #[test]
    fn notes_that_are_cut_off_have_no_build_id() {
        let note = |name: &[u8], kind: u32, content: &[u8]| {
            let mut bytes = Vec::new();
            for number in [name.len() as u32, content.len() as u32, kind] {
                bytes.extend(number.to_ne_bytes());
            }
            for part in [name, content] {
                bytes.extend(part);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            bytes
        };
        let mut notes = note(b"GNU\0", 1, b"abi");
        notes.extend(note(b"Go\0", 3, b"other"));
        notes.extend(note(b"GNU\0", 3, b"identity"));
        assert_eq!(build_id(&notes), Some(&b"identity"[..]));
        for end in 0..notes.len() {
            assert_eq!(build_id(&notes[..end]), None, "{end}");
        }
        let hostile = [u32::MAX, u32::MAX, 3].map(u32::to_ne_bytes).concat();
        assert_eq!(build_id(&hostile), None);
    }
}
