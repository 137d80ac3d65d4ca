//! [`StagedProgram`] and [`Copying`]: the copy of this program's file that a launcher's command
//! makes on the other side ([`Launcher::stage`]).
//!
//! The words behind those of the command are a script for the shell of the other side, and not
//! the program. So one command, and one connection, copies the program and starts the worker:
//! in a container that the command itself creates, no other command could.
//!
//! | the script | the pool |
//! |---|---|
//! | finds the copy, and becomes the program | waits for the greeting |
//! | finds none, and sends the request (`greeting.rs`) | sends the file's bytes, and nothing else |
//! | has got all bytes: gives the file its name, and becomes the program | waits for the greeting |
//! | has got fewer bytes: removes the file, says so, and exits | reads the end of the command |
//!
//! All other messages wait for the greeting. So it does no harm if a program of the script
//! reads more than it was told to.
//!
//! # The name of the copy
//!
//! The name has a hash of the file's bytes, so two builds never replace each other's file, and
//! the pool need not compare what is there. A copy gets its name only when it is complete.
//! Until then the name also has a number of the pool's own, so several hosts may write to one
//! folder. The worker compares the builds in any case (`program.rs`).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::error::StartFailure;
use crate::process::launcher::Launcher;
use crate::sys::current_process::PROGRAM;

/// The script of the shell on the other side. It has no newline, backslash or `!`, which
/// login shells read in several ways, but the backslash that each leaves alone.
///
/// Its arguments are the assignment of the variable that makes the program a worker, the path
/// of the copy or an empty word, the name of the program, the hash, the length of the file,
/// and the number of this copy.
const SCRIPT: &str = concat!(
    "umask 077; p=$2; ",
    "[ -n \"$p\" ] || { c=${XDG_CACHE_HOME:-${HOME:?is not set, and names the place of the copy}/.cache}; ",
    "p=$c/concurrent-futures/$3; }; ",
    "case $p in */*) ;; *) p=./$p;; esac; ",
    "d=${p%/*}; f=$p-$4; ",
    "if [ -x \"$f\" ] && [ \"$(wc -c <\"$f\")\" -eq \"$5\" ]; then touch -c \"$f\" 2>/dev/null; ",
    "elif mkdir -p \"${d:-/}\" && true >\"$f.$6\" ",
    "&& printf \"\\000concurrent-futures %s, wire 1\\n\" copier ",
    "&& head -c \"$5\" >\"$f.$6\" && [ \"$(wc -c <\"$f.$6\")\" -eq \"$5\" ] ",
    "&& chmod 700 \"$f.$6\" && mv -f \"$f.$6\" \"$f\"; then ",
    "[ -n \"$2\" ] || find \"$d\" -type f -mtime +7 -exec rm -f {} + 2>/dev/null; ",
    "else rm -f \"$f.$6\"; echo \"the program could not be copied to $f\" >&2; exit 1; fi; ",
    "export \"$1\"; exec \"$f\"",
);

/// The number of bytes that are hashed or sent at once.
const PIECE: usize = 64 << 10;

/// The file of this program.
#[derive(Debug)]
pub(super) struct StagedProgram {
    file: File,
    length: u64,
    hash: u64,
    /// The name of the program, in characters that are usual in the names of files.
    name: String,
}

impl StagedProgram {
    /// Opens the file of this program, and reads it once.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read.
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
        Ok(Self {
            file,
            length,
            hash: hasher.finish(),
            name: name.chars().filter(is_usual).take(100).collect(),
        })
    }

    /// Returns the words that copy the program and start it as a worker. The program then has
    /// the variable of this assignment.
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
        ]
    }
}

/// The copy that one command may make.
#[derive(Debug)]
pub(super) struct Copying {
    program: Arc<StagedProgram>,
    /// The number of bytes that were sent, or `None` before they were requested.
    sent: Option<u64>,
}

impl Copying {
    pub(super) fn new(program: Arc<StagedProgram>) -> Self {
        Self {
            program,
            sent: None,
        }
    }

    /// Begins to send, because the other side has requested the file. Returns `false` if it
    /// has begun before.
    pub(super) fn begin(&mut self) -> bool {
        let begins = self.sent.is_none();
        self.sent.get_or_insert(0);
        begins
    }

    /// Returns `true` if bytes wait to be sent.
    pub(super) fn has_unsent(&self) -> bool {
        self.sent.is_some_and(|sent| sent < self.program.length)
    }

    /// Returns the next bytes that wait to be sent. They are empty if there are none.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read, or if it was cut off.
    pub(super) fn next(&self) -> io::Result<Vec<u8>> {
        let sent = self.sent.unwrap_or(self.program.length);
        let left = self.program.length - sent;
        let mut bytes = vec![0; usize::try_from(left).map_or(PIECE, |left| left.min(PIECE))];
        self.program.file.read_exact_at(&mut bytes, sent)?;
        Ok(bytes)
    }

    /// Counts bytes that were sent.
    pub(super) fn count_sent(&mut self, count: usize) {
        self.sent = self.sent.map(|sent| sent + count as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_a_hash_of_its_own_and_is_read_in_pieces() {
        let path = std::env::temp_dir().join(format!("hashed-{}", std::process::id()));
        let mut bytes = vec![7_u8; 3 * PIECE + 5];
        let mut read = || {
            std::fs::write(&path, &bytes).unwrap();
            let program = StagedProgram::read(&path, "a program; $(x)-1.0".as_ref()).unwrap();
            let mut copying = Copying::new(Arc::new(program));
            assert!(!copying.has_unsent() && copying.next().unwrap().is_empty());
            assert!(copying.begin() && !copying.begin());
            let mut copied: Vec<u8> = Vec::new();
            while copying.has_unsent() {
                // As many bytes as there is room for.
                let piece = copying.next().unwrap();
                let taken = piece.len().min(50_000);
                copied.extend(&piece[..taken]);
                copying.count_sent(taken);
            }
            assert!(copied == bytes && copying.next().unwrap().is_empty());
            let program = copying.program;
            bytes[PIECE + 1] += 1;
            (program.hash, program.length, program.name.clone())
        };
        let (first, second) = (read(), read());
        std::fs::remove_file(&path).unwrap();
        assert_ne!(first.0, second.0);
        assert_eq!(
            (first.1, &*first.2),
            (3 * PIECE as u64 + 5, "aprogramx-1.0")
        );
    }
}
