//! Packages of their own that depend on this crate, as its users have them: programs
//! that run, and programs that must not compile.

#[cfg(target_os = "linux")]
mod entries;
mod package;
mod program;
mod ui;
