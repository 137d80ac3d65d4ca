//! The process pool by itself: workers that die in every place where one
//! can, limits, kills, and what is left behind, which is nothing.
//!
//! Each test has a process to itself, also under `cargo test`: it runs this very
//! test binary again with its own name ([`fixture::alone`]), and the fixture sees
//! that no child and no descriptor is left.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap ends the test, and says where"
)]

/// Makes tests that have a process to themselves.
macro_rules! alone {
    ($($(#[$doc:meta])* fn $name:ident() $body:block)*) => { $(
        $(#[$doc])*
        #[test]
        fn $name() {
            crate::fixture::alone(concat!(module_path!(), "::", stringify!($name)), || $body);
        }
    )* };
}

#[path = "../by_sockets/mod.rs"]
mod by_sockets;
mod fixture;
#[path = "../gate/mod.rs"]
mod gate;
#[path = "../contract/stopped.rs"]
mod stopped;

mod callbacks;
mod crashing;
mod ending;
mod error_texts;
mod interfering;
mod misbehaving;
mod offers;
mod orphans;
mod reaping;
mod refusing;
mod scribbling;
mod signals;
mod standing;
mod stopping;
mod strangers;
mod values;
mod waiting;
mod workers;

#[test]
fn all_of_this_holds_by_sockets() {
    by_sockets::run_again("all_of_this_holds_by_sockets", "");
}
