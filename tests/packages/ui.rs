//! Misuse that must not compile, and what the compiler says about it.
//!
//! Each file of `tests/ui` has at its top the words that the errors must have. Only
//! those: whole outputs, as `trybuild` compares them, differ from compiler to
//! compiler.

use std::fs;
use std::path::Path;

use crate::package::Package;

#[test]
fn misuse_does_not_compile_and_the_compiler_says_why() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let cases = fs::read_dir(folder).expect("it is committed").map(|case| {
        let case = case.expect("it is a file").path();
        let name = case.file_stem().expect("it has a name").to_string_lossy();
        let text = fs::read_to_string(&case).expect("it is text");
        (name.into_owned(), text)
    });
    let cases: Vec<(String, String)> = cases.collect();
    assert!(!cases.is_empty());
    let package = Package::write("ui", &cases);
    for (name, text) in &cases {
        let check = package.cargo("check", name);
        let errors = String::from_utf8_lossy(&check.stderr);
        assert!(!check.status.success(), "{name} compiles");
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
