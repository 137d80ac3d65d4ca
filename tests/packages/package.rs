//! A package of its own that depends on this crate, as its users have it.

#![cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "the tests of process pools need the rest")
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A package with several programs, below the target folder.
#[derive(Debug)]
pub(crate) struct Package {
    folder: PathBuf,
}

impl Package {
    /// Writes the package; each program is a name and its text.
    pub(crate) fn write(name: &str, programs: &[(String, String)]) -> Self {
        Self::write_with(name, "2024", "", programs)
    }

    /// Writes the package, of an edition, with more to say of the dependency.
    pub(crate) fn write_with(
        name: &str,
        edition: &str,
        dependency: &str,
        programs: &[(String, String)],
    ) -> Self {
        let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let sources = folder.join("src/bin");
        // Programs of an earlier run may be no more.
        let _ = fs::remove_dir_all(&sources);
        fs::create_dir_all(&sources).expect("the target folder is ours");
        let manifest = format!(
            "[package]\nname = \"{name}\"\nedition = \"{edition}\"\n\n\
             [dependencies]\n\
             concurrent-futures = {{ path = {crate_root:?}{dependency} }}\n\n[workspace]\n"
        );
        let package = Self { folder };
        package.add("Cargo.toml", &manifest);
        for (program, text) in programs {
            package.add(&format!("src/bin/{program}.rs"), text);
        }
        // The versions that this crate is tested with, which are here already.
        let lock = fs::copy(
            crate_root.join("Cargo.lock"),
            package.folder.join("Cargo.lock"),
        );
        lock.expect("it is committed");
        package
    }

    /// Adds a file, whose folder is there.
    pub(crate) fn add(&self, file: &str, text: &str) {
        fs::write(self.folder.join(file), text).expect("the target folder is ours");
    }

    /// Says more in its manifest.
    pub(crate) fn append_manifest(&self, text: &str) {
        let file = self.folder.join("Cargo.toml");
        let manifest = fs::read_to_string(&file).expect("it was written");
        fs::write(file, manifest + text).expect("the target folder is ours");
    }

    /// Has cargo do something with the package.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO"))
            .args(arguments)
            .args(["--quiet", "--offline"])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", self.target())
            .output()
            .expect("cargo runs this test, so it is there")
    }

    /// Returns the folder of the build; all packages share their dependencies
    /// there.
    pub(crate) fn target(&self) -> PathBuf {
        self.folder.with_file_name("packages")
    }

    /// Has cargo do something with one of the programs.
    pub(crate) fn cargo(&self, command: &str, program: &str) -> Output {
        self.run(&[command, "--bin", program])
    }
}
