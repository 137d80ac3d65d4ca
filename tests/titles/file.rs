//! Files that a run of the example reads.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of files made so far, for names that differ.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// A file until it is dropped.
pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn new(name: &str, content: &[u8]) -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("titles-{}-{number}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, content).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
