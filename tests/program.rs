//! The program that the crate is for, in a package of its own, as its users
//! write it: one `use` line says where the work runs, and nothing else changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `POOL` stands for the executor.
const PROGRAM: &str = r#"
#![deny(warnings)]

use concurrent_futures::POOL as PoolExecutor;

type Page = Result<String, String>;
type Work = <PoolExecutor as concurrent_futures::Executor>::Future<Page>;

fn get_title(url: String) -> Page {
    match url.strip_prefix("https://") {
        Some(host) => Ok(format!("the title of {host}")),
        None => Err(format!("{url} has no scheme")),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let urls = ["https://one.example", "two.example", "https://three.example"];
    let urls: Vec<String> = urls.map(String::from).into();

    let mut work: Vec<(String, Work)> = Vec::new();
    {
        let executor = PoolExecutor::new()?;
        for url in urls {
            let f = executor.submit(get_title, url.clone())?; // starts now
            work.push((url, f));
        }
        println!("Waiting for downloads...");
    } // leaving the block waits for all of it
    for (url, f) in &work {
        println!("{url}: {:?}", f.result()?);
    }
    Ok(())
}
"#;

const OUTPUT: &str = r#"Waiting for downloads...
https://one.example: Ok("the title of one.example")
two.example: Err("two.example has no scheme")
https://three.example: Ok("the title of three.example")
"#;

const POOLS: [&str; 2] = ["InlineExecutor", "ThreadPoolExecutor"];

/// Writes a package with one program for each pool, that depends on this crate.
fn write_package() -> PathBuf {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("program");
    fs::create_dir_all(package.join("src/bin")).expect("the target folder is ours");
    let manifest = format!(
        "[package]\nname = \"program\"\nedition = \"2024\"\n\n\
         [dependencies]\nconcurrent-futures = {{ path = {crate_root:?} }}\n\n[workspace]\n"
    );
    let write = |file: &str, text: &str| {
        fs::write(package.join(file), text).expect("the target folder is ours");
    };
    write("Cargo.toml", &manifest);
    for pool in POOLS {
        write(
            &format!("src/bin/{pool}.rs"),
            &PROGRAM.replace("POOL", pool),
        );
    }
    // The versions that this crate is tested with, which are here already.
    fs::copy(crate_root.join("Cargo.lock"), package.join("Cargo.lock")).expect("it is committed");
    package
}

#[test]
fn one_line_says_where_it_runs_and_the_output_is_the_same() {
    let package = write_package();
    for pool in POOLS {
        let run = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--offline", "--bin", pool])
            .current_dir(&package)
            .env("CARGO_TARGET_DIR", package.join("target"))
            .output()
            .expect("cargo runs this test, so it is there");
        let errors = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{pool}: {errors}");
        assert_eq!(String::from_utf8_lossy(&run.stdout), OUTPUT, "{pool}");
        assert_eq!(errors, "", "{pool}");
    }
}
