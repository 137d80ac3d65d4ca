//! [`Program`]: a fingerprint of the program. In two processes with the same fingerprint, a
//! link address (an address in the program's file, see [`Image`]) names the same function.

use std::fmt;

use crate::sys::image::Image;

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) version: String,
    /// The id that the linker gave to this build, which may be empty.
    pub(crate) build_id: Vec<u8>,
    /// A hash of the program headers of the executable file.
    pub(crate) headers: u64,
    /// The link address of a function of this crate, or 0 if the crate is not part of the
    /// main program.
    pub(crate) anchor: u64,
}

impl Program {
    /// Returns the fingerprint of this process's program.
    pub(crate) fn current() -> Self {
        let image = Image::current();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build_id: image.build_id().to_vec(),
            headers: image.headers(),
            anchor: image.link_address(anchor()).unwrap_or(0),
        }
    }

    /// Returns `true` if this crate is linked into the main program, and not into a shared
    /// library.
    pub(crate) fn is_main() -> bool {
        Image::current().link_address(anchor()).is_some()
    }

    /// Compares the worker's program (`self`) with the parent's program. Returns an error
    /// text if the two differ, because the link addresses that the parent sends would then
    /// be invalid in the worker.
    pub(crate) fn mismatch(&self, parent: &Self) -> Option<String> {
        (self != parent).then(|| {
            format!(
                "no worker can begin: it runs another build of the program ({self:?}) than \
                     its parent ({parent:?}), whose file was changed while it ran; start the \
                     program anew"
            )
        })
    }
}

fn anchor() -> usize {
    (Program::current as *const ()).addr()
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {} build ", self.version)?;
        for byte in &self.build_id {
            write!(f, "{byte:02x}")?;
        }
        write!(f, " headers {:x} anchor {:#x}", self.headers, self.anchor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_is_noticed_in_each_point() {
        let parent = Program::current();
        assert_eq!(parent.mismatch(&Program::current()), None);
        let others: [fn(&mut Program); 4] = [
            |p| p.version = "9.9.9".to_owned(),
            |p| p.build_id.push(0xab),
            |p| p.headers ^= 1,
            |p| p.anchor ^= 1,
        ];
        for change in others {
            let mut worker = parent.clone();
            change(&mut worker);
            let why = worker.mismatch(&parent).expect("they differ");
            assert!(why.contains(&format!("{worker:?}")), "{why}");
            assert!(why.contains(&format!("{parent:?}")), "{why}");
        }
    }

    #[test]
    fn a_test_has_the_crate_in_its_main_program() {
        assert!(Program::is_main());
        assert_ne!(Program::current().anchor, 0);
    }
}
