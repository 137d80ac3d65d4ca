//! The pools of this crate beside pools of other people.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- check
//! ```
//!
//! The contenders of a row take turns, A B C A B C, so that what else the machine does meets all of
//! them, and each has a new pool in each round. Read the ratios: they are of medians. The minimum
//! stands beside the median, since the system may place two threads on one core for a whole round
//! or on two, and then a figure is of two kinds.

mod allocator;
mod arguments;
mod check;
mod contender;
mod pools;
mod row;
mod scripts;
mod statistics;
mod table;
mod workloads;

use std::env;
use std::process::ExitCode;

use arguments::{Arguments, Command, USAGE};

fn main() -> ExitCode {
    // Before anything else: how fast it answers is measured.
    if workloads::has_answered() {
        return ExitCode::SUCCESS;
    }
    // Its workers begin here; ours have begun before.
    procspawn::init();
    match Arguments::parse(env::args().skip(1)) {
        Ok(arguments) => match arguments.command {
            Command::Check => check::check(&arguments),
            Command::Report => check::report(&arguments),
        },
        Err(fault) => {
            eprintln!("{fault}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}
