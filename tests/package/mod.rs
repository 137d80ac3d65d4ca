//! A package of its own that depends on this crate, as its users have it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A package with several programs, below the target folder.
pub(crate) struct Package {
    folder: PathBuf,
}

impl Package {
    /// Writes the package; each program is a name and its text.
    pub(crate) fn write(name: &str, programs: &[(String, String)]) -> Self {
        let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let sources = folder.join("src/bin");
        // Programs of an earlier run may be no more.
        let _ = fs::remove_dir_all(&sources);
        fs::create_dir_all(&sources).expect("the target folder is ours");
        let write = |file: PathBuf, text: &str| {
            fs::write(file, text).expect("the target folder is ours");
        };
        let manifest = format!(
            "[package]\nname = \"{name}\"\nedition = \"2024\"\n\n\
             [dependencies]\nconcurrent-futures = {{ path = {crate_root:?} }}\n\n[workspace]\n"
        );
        write(folder.join("Cargo.toml"), &manifest);
        for (program, text) in programs {
            write(sources.join(program).with_extension("rs"), text);
        }
        // The versions that this crate is tested with, which are here already.
        let lock = fs::copy(crate_root.join("Cargo.lock"), folder.join("Cargo.lock"));
        lock.expect("it is committed");
        Self { folder }
    }

    /// Has cargo do something with one of the programs.
    pub(crate) fn cargo(&self, command: &str, program: &str) -> Output {
        Command::new(env!("CARGO"))
            .args([command, "--quiet", "--offline", "--bin", program])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", self.folder.join("target"))
            .output()
            .expect("cargo runs this test, so it is there")
    }
}
