//! The tests of launchers, and once more the contract, over workers that a command has
//! started.
//!
//! The workers begin in `init`, so this binary has a `main` of its own. The command is
//! `nice`, or the words of the variable `CONCURRENT_FUTURES_TEST_LAUNCHER`, separated by
//! spaces: `ci/cluster` runs these tests over real engines.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap ends the test, and says where"
)]

#[path = "../contract/by_main.rs"]
mod by_main;
#[path = "../contract/stopped.rs"]
mod stopped;

mod ahead;
mod ending;
mod engines;
mod launcher;
mod outages;
mod places;
mod relaying;
mod staging;
mod starting;

use std::process::ExitCode;
use std::sync::{PoisonError, RwLock};

use concurrent_futures::current_worker;
use libtest_mimic::{Arguments, Trial};

use by_main::{NamedTest, fixture, gate, quiet};
use launcher::Launched as ContractPool;

/// Read by each test, and written by one that cuts the network, which may fail others.
static NETWORK: RwLock<()> = RwLock::new(());

fn main() -> ExitCode {
    by_main::keep_panics(|| current_worker().is_some_and(|worker| worker.host().is_some()));
    relaying::be_a_relay();
    concurrent_futures::init();
    ending::be_a_parent();
    engines::be_a_parent();
    relaying::be_a_printer();
    let mut tests = [
        by_main::tests(),
        places::tests(),
        ahead::tests(),
        engines::tests(),
        staging::tests(),
    ]
    .concat();
    // These tests need commands that do what they should not.
    if launcher::is_usual() {
        tests.extend(starting::tests());
        tests.extend(staging::tests_of_commands());
        tests.extend(ending::tests());
        tests.extend(relaying::tests());
    }
    if !cfg!(target_os = "linux") {
        tests.clear();
    }
    let trial = |(name, test): NamedTest| {
        Trial::test(name, move || {
            let _network = NETWORK.read().unwrap_or_else(PoisonError::into_inner);
            fixture::within_the_limit(test);
            Ok(())
        })
    };
    let trial_alone = |(name, test): NamedTest| {
        Trial::test(name, move || {
            let _network = NETWORK.write().unwrap_or_else(PoisonError::into_inner);
            fixture::within_the_limit(test);
            Ok(())
        })
    };
    let alone = outages::tests().into_iter().map(trial_alone);
    let tests = tests.into_iter().map(trial).chain(alone).collect();
    let conclusion = libtest_mimic::run(&Arguments::from_args(), tests);
    if conclusion.has_failed() {
        by_main::print_panics();
    }
    conclusion.exit_code()
}
