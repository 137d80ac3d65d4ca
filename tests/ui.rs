//! Misuse that must not compile, and what the compiler says about it.
//!
//! Each file of `tests/ui` has at its top the words that the errors must have. Only
//! those: whole outputs, as `trybuild` compares them, differ from compiler to
//! compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes a package with the cases as programs, that depends on this crate.
fn write_package(cases: &[PathBuf]) -> PathBuf {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ui");
    let programs = package.join("src/bin");
    // Programs of cases that are no more would be checked too.
    let _ = fs::remove_dir_all(&programs);
    fs::create_dir_all(&programs).expect("the target folder is ours");
    let manifest = format!(
        "[package]\nname = \"ui\"\nedition = \"2024\"\n\n\
         [dependencies]\nconcurrent-futures = {{ path = {crate_root:?} }}\n\n[workspace]\n"
    );
    fs::write(package.join("Cargo.toml"), manifest).expect("the target folder is ours");
    for case in cases {
        let name = case.file_name().expect("it was listed");
        fs::copy(case, programs.join(name)).expect("the target folder is ours");
    }
    // The versions that this crate is tested with, which are here already.
    fs::copy(crate_root.join("Cargo.lock"), package.join("Cargo.lock")).expect("it is committed");
    package
}

#[test]
fn misuse_does_not_compile_and_the_compiler_says_why() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let listed = fs::read_dir(folder).expect("it is committed");
    let cases: Vec<PathBuf> = listed
        .map(|case| case.expect("it is a file").path())
        .collect();
    assert!(!cases.is_empty());
    let package = write_package(&cases);
    for case in &cases {
        let name = case.file_stem().expect("it has one").to_string_lossy();
        let check = Command::new(env!("CARGO"))
            .args(["check", "--quiet", "--offline", "--bin", &name])
            .current_dir(&package)
            .env("CARGO_TARGET_DIR", package.join("target"))
            .output()
            .expect("cargo runs this test, so it is there");
        let errors = String::from_utf8_lossy(&check.stderr);
        assert!(!check.status.success(), "{name} compiles");
        let text = fs::read_to_string(case).expect("it was copied");
        let lines = text.lines();
        let wanted: Vec<&str> = lines
            .filter_map(|line| line.strip_prefix("// error: "))
            .collect();
        assert!(!wanted.is_empty(), "{name} does not say what it expects");
        for words in wanted {
            assert!(errors.contains(words), "{name}: no {words:?} in\n{errors}");
        }
    }
}
