//! [`SharedFile`]: a word that tasks in other processes read and write.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::process;

use rustix::fs::{MemfdFlags, memfd_create};

/// A word in a file without a name, which starts at 0.
#[derive(Debug)]
pub(super) struct SharedFile {
    file: File,
}

impl SharedFile {
    pub(super) fn new() -> Self {
        let file = memfd_create("benchmark", MemfdFlags::CLOEXEC).expect("Linux has it");
        let shared = Self { file: file.into() };
        shared.set(0);
        shared
    }

    /// Opens the file of another process.
    pub(super) fn open(path: &str) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.expect("its process lives");
        Self { file }
    }

    /// Returns the path by which another process opens the file, as long as this process lives.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.file.as_raw_fd())
    }

    pub(super) fn set(&self, word: u64) {
        let written = self.file.write_all_at(&word.to_le_bytes(), 0);
        written.expect("it is in memory");
    }

    pub(super) fn get(&self) -> u64 {
        let mut word = [0; 8];
        let read = self.file.read_exact_at(&mut word, 0);
        read.expect("it has a word from the beginning");
        u64::from_le_bytes(word)
    }
}
