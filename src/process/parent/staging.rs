//! [`StagedProgram`] and [`Copying`]: the copy of this program's file that a launcher's
//! command makes on the other side ([`Launcher::stage`]).
//!
//! The words that follow the launcher's command are `sh -c`, a script and its arguments,
//! instead of the name of the program. The script is for the shell of the *other side*: the
//! host or container where the worker will run. So one command with one connection copies
//! the program and starts the worker. A second command could not reach a container that the
//! first command has created.
//!
//! | the script | the pool |
//! |---|---|
//! | finds the copy, and becomes the program (by `exec`) | waits for the worker's greeting (`greeting.rs`) |
//! | finds no complete copy: requests a piece of the file (`greeting.rs`) | sends the next piece of the file, and nothing else |
//! | has got all pieces: gives the file its name, and becomes the program | waits for the greeting |
//! | gets no more bytes: removes the file, prints an error, and exits | handles the end of the command |
//!
//! The script requests each piece of the file separately, because the pool cannot see which
//! bytes have reached the other side: the command and the network buffer bytes. So the time
//! limit of the start begins anew with each piece, and a slow connection has enough time
//! for all pieces. It does no harm if a program in the script, such as `head`, tries to
//! read more than one piece, because the pool sends nothing else until the next request or
//! the greeting.
//!
//! # The name of the copy
//!
//! The name contains a hash of the file's bytes, so two builds do not replace each other's
//! file, and the pool need not compare contents. A copy gets this name only when it is
//! complete. Until then a random number follows the name. The number is new for each start,
//! because several hosts may write to one folder. The worker also checks that it is the
//! same build as the pool's program (`program.rs`).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::system::uname;

use crate::error::StartFailure;
use crate::process::launcher::Launcher;
use crate::sys::current_process::PROGRAM;

/// The script for the shell of the host or container where the worker will run. A login
/// shell of any kind may read the script first. So the script has no newline and no `!`,
/// and its backslashes stand only in front of a digit and of an `n`, where each kind of
/// shell keeps the backslash.
///
/// Its arguments are the assignment of the variable that makes the program a worker, the
/// path of the copy or an empty word, the name of the program, the hash, the length of the
/// file, the number of this copy, the length of a piece, and the kind of this machine.
const SCRIPT: &str = concat!(
    // The prefix `cf_` makes the names unusual: assigning to an exported variable would
    // change it for the program.
    "cf_p=$2; if [ -z \"$cf_p\" ]; then ",
    "cf_p=${XDG_CACHE_HOME:-${HOME:?is not set, and names the place of the copy}/.cache}; ",
    "cf_p=$cf_p/concurrent-futures/$3; fi; ",
    "case $cf_p in /*) ;; *) cf_p=./$cf_p;; esac; ",
    "cf_d=${cf_p%/*}; cf_f=$cf_p-$4; cf_t=$cf_f.$6; ",
    "cf_fail() { rm -f \"$cf_t\" 2>/dev/null; echo \"the program could not be copied to $cf_f$1\" >&2; exit 1; }; ",
    "cf_size() { echo $(($(wc -c <\"$1\"))); }; ",
    // Some shells run a program for another kind of machine as if it were a script. So this
    // script compares the kinds of the machines first.
    "[ \"$(uname -m)\" = \"$8\" ] || cf_fail \": this machine is $(uname -m), and the program is for $8\"; ",
    "if [ -d \"$cf_f\" ]; then cf_fail \": that is a folder\"; fi; ",
    "if [ -x \"$cf_f\" ] && [ -O \"$cf_f\" ] && [ \"$(cf_size \"$cf_f\")\" -eq \"$5\" ]; then ",
    "touch -c \"$cf_f\" 2>/dev/null; else ",
    "cf_u=$(umask); umask 077; trap cf_fail HUP INT PIPE TERM; ",
    "mkdir -p \"${cf_d:-/}\" && true >\"$cf_t\" || cf_fail; ",
    "cf_n=0; while [ \"$cf_n\" -lt \"$5\" ]; do ",
    "cf_k=$(($5 - cf_n)); [ \"$cf_k\" -lt \"$7\" ] || cf_k=$7; ",
    "printf \"\\000concurrent-futures %s, wire 1\\n\" copier && head -c \"$cf_k\" >>\"$cf_t\" || cf_fail; ",
    "cf_k=$((cf_n + cf_k)); cf_n=$(cf_size \"$cf_t\"); [ \"$cf_n\" -eq \"$cf_k\" ] || cf_fail; done; ",
    "chmod 700 \"$cf_t\" && mv -f \"$cf_t\" \"$cf_f\" || cf_fail; ",
    // Removes old incomplete copies, and in the default folder also the files that were not
    // used for a month.
    "find \"$cf_f\".* -prune -type f -mtime +1 -exec rm -f {} + 2>/dev/null; ",
    "[ -n \"$2\" ] || find \"$cf_d\" -type f -mtime +30 -exec rm -f {} + 2>/dev/null; ",
    "trap - HUP INT PIPE TERM; umask \"$cf_u\"; fi; ",
    "export \"$1\"; exec \"$cf_f\"",
);

/// The number of bytes of the file that the script requests at once.
const REQUESTED: u64 = 1 << 20;

/// The largest number of bytes that one system call reads in order to hash or to send them.
const PIECE: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct StagedProgram {
    file: File,
    length: u64,
    hash: u64,
    /// The name of the program, without characters that are unusual in the names of files.
    name: String,
}

impl StagedProgram {
    /// Opens the file of this program, and reads it once for its length and hash.
    pub(super) fn open() -> io::Result<Self> {
        let path = std::env::current_exe().unwrap_or_default();
        Self::read(Path::new(PROGRAM), path.file_name().unwrap_or_default()).map_err(|error| {
            let what = format!(
                "{PROGRAM}, which is to be copied for a launcher, cannot be read ({error})"
            );
            StartFailure::wrap(error, what, "allow that, or copy the program by hand")
        })
    }

    fn read(path: &Path, name: &OsStr) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut hasher = DefaultHasher::new();
        let mut bytes = vec![0; PIECE];
        let mut length = 0;
        loop {
            let count = file.read(&mut bytes)?;
            if count == 0 {
                break;
            }
            hasher.write(&bytes[..count]);
            length += count as u64;
        }
        let is_usual = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name = name.to_string_lossy();
        // The kernel adds this suffix to the name of a file that was removed.
        let name = name.strip_suffix(" (deleted)").unwrap_or(&name);
        Ok(Self {
            file,
            length,
            hash: hasher.finish(),
            name: name.chars().filter(is_usual).take(100).collect(),
        })
    }

    /// Returns the words that follow the launcher's command: the script that copies the
    /// program and starts it as a worker, and its arguments. The `assignment` sets a
    /// variable in the worker's environment.
    pub(super) fn words(&self, launcher: &Launcher, assignment: &str) -> Vec<OsString> {
        let path = launcher.program.as_ref();
        let number = RandomState::new().build_hasher().finish();
        vec![
            "sh".into(),
            "-c".into(),
            SCRIPT.into(),
            "concurrent-futures".into(),
            assignment.into(),
            path.map_or_else(OsString::new, |path| path.as_os_str().to_owned()),
            (&self.name).into(),
            format!("{:016x}", self.hash).into(),
            self.length.to_string().into(),
            format!("{number:016x}").into(),
            REQUESTED.to_string().into(),
            uname().machine().to_string_lossy().into_owned().into(),
        ]
    }
}

#[derive(Debug)]
pub(super) struct Copying {
    program: Arc<StagedProgram>,
    sent: u64,
    /// The number of bytes of the file that were requested up to now.
    requested: u64,
}

impl Copying {
    pub(super) fn new(program: Arc<StagedProgram>) -> Self {
        Self {
            program,
            sent: 0,
            requested: 0,
        }
    }

    /// Permits the pool to send the next piece, because the script has requested it.
    /// Returns `false` if the previous piece was not sent completely, or if no piece is
    /// left.
    pub(super) fn request(&mut self) -> bool {
        let may_request = !self.has_unsent() && self.requested < self.program.length;
        if may_request {
            self.requested = (self.requested + REQUESTED).min(self.program.length);
        }
        may_request
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.requested
    }

    pub(super) fn is_complete(&self) -> bool {
        self.sent == self.program.length
    }

    /// Returns the next bytes to send, or an empty vector if all requested bytes were sent.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read, or if it has become shorter.
    pub(super) fn next(&self) -> io::Result<Vec<u8>> {
        let left = self.requested - self.sent;
        let mut bytes = vec![0; usize::try_from(left).map_or(PIECE, |left| left.min(PIECE))];
        self.program.file.read_exact_at(&mut bytes, self.sent)?;
        Ok(bytes)
    }

    pub(super) fn count_sent(&mut self, count: usize) {
        self.sent += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_a_hash_of_its_own_and_is_read_in_pieces() {
        let path = std::env::temp_dir().join(format!("hashed-{}", std::process::id()));
        let length = 2 * REQUESTED + 5;
        let mut bytes = vec![7_u8; usize::try_from(length).unwrap()];
        let mut read = || {
            std::fs::write(&path, &bytes).unwrap();
            let name = "a program; $(x)-1.0 (deleted)";
            let program = StagedProgram::read(&path, name.as_ref()).unwrap();
            let mut copying = Copying::new(Arc::new(program));
            let mut copied: Vec<u8> = Vec::new();
            while !copying.is_complete() {
                assert!(!copying.has_unsent() && copying.next().unwrap().is_empty());
                assert!(copying.request() && !copying.request() && !copying.is_complete());
                assert!(copying.requested <= copying.sent + REQUESTED);
                while copying.has_unsent() {
                    // The transport takes only a part of the piece.
                    let piece = copying.next().unwrap();
                    let taken = piece.len().min(50_000);
                    copied.extend(&piece[..taken]);
                    copying.count_sent(taken);
                }
            }
            assert!(copied == bytes && !copying.request() && !copying.has_unsent());
            let program = copying.program;
            bytes[PIECE + 1] += 1;
            let words = || program.words(&Launcher::command(["ssh"]), "A=b");
            assert_ne!(words(), words(), "each start has a number of its own");
            (program.hash, program.length, program.name.clone())
        };
        let (first, second) = (read(), read());
        std::fs::remove_file(&path).unwrap();
        assert_ne!(first.0, second.0);
        assert_eq!((first.1, &*first.2), (length, "aprogramx-1.0"));
    }
}
