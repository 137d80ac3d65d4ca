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

/// Lists the tests of a file that a process pool passes, as functions over
/// [`Launched`](fixture::Launched).
macro_rules! contract {
    ($($executors:tt { $($test:ident),+ $(,)? })+) => {
        pub(crate) fn tests() -> Vec<(&'static str, fn())> {
            let mut tests = Vec::new();
            $(
                // The list is one token tree, so its text tells if the pool is in it.
                if stringify!($executors).contains("processes") {
                    $(
                        tests.push((
                            concat!(module_path!(), "::", stringify!($test)),
                            $test::<crate::launcher::Launched<0>> as fn(),
                        ));
                        tests.push((
                            concat!(module_path!(), "::", stringify!($test), "::ahead"),
                            $test::<crate::launcher::Launched<8>> as fn(),
                        ));
                    )+
                }
            )+
            tests
        }
    };
}

#[path = "../contract/awaiting.rs"]
mod awaiting;
#[path = "../contract/bombs.rs"]
mod bombs;
#[path = "../contract/callbacks.rs"]
mod callbacks;
#[path = "../contract/composing.rs"]
mod composing;
#[path = "../contract/joining.rs"]
mod joining;
#[path = "../contract/mapping.rs"]
mod mapping;
#[path = "../contract/mapping_automatic.rs"]
mod mapping_automatic;
#[path = "../contract/mapping_in_time.rs"]
mod mapping_in_time;
#[path = "../contract/mapping_unordered.rs"]
mod mapping_unordered;
#[path = "../contract/several.rs"]
mod several;
#[path = "../contract/shutting_down.rs"]
mod shutting_down;
#[path = "../contract/states.rs"]
mod states;
#[path = "../contract/submitting.rs"]
mod submitting;

#[path = "../contract/fixture.rs"]
mod fixture;
#[path = "../gate/mod.rs"]
mod gate;
#[path = "../contract/quiet.rs"]
mod quiet;

mod ahead;
mod ending;
mod engines;
mod launcher;
mod outages;
mod places;
mod relaying;
mod staging;
mod starting;

use std::panic::{set_hook, take_hook};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError, RwLock};

use concurrent_futures::current_worker;
use libtest_mimic::{Arguments, Trial};

/// The panics of this process. Many are meant, and the harness captures none, so they are
/// printed only after a failure.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Read by each test, and written by one that cuts the network, which may fail others.
static NETWORK: RwLock<()> = RwLock::new(());

fn keep_panics() {
    let prints = take_hook();
    set_hook(Box::new(move |panic| {
        let is_worker = current_worker().is_some_and(|worker| worker.host().is_some());
        if is_worker {
            return prints(panic);
        }
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
        panics.push(format!("`{name}` {panic}"));
    }));
}

fn main() -> ExitCode {
    keep_panics();
    relaying::be_a_relay();
    concurrent_futures::init();
    ending::be_a_parent();
    engines::be_a_parent();
    relaying::be_a_printer();
    let contract = [
        awaiting::tests(),
        bombs::tests(),
        callbacks::tests(),
        composing::tests(),
        joining::tests(),
        mapping::tests(),
        mapping_automatic::tests(),
        mapping_in_time::tests(),
        mapping_unordered::tests(),
        several::tests(),
        shutting_down::tests(),
        states::tests(),
        submitting::tests(),
        places::tests(),
        ahead::tests(),
        engines::tests(),
        staging::tests(),
    ];
    let mut tests = contract.concat();
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
    let trial = |(name, test): (&'static str, fn())| {
        Trial::test(name, move || {
            let _network = NETWORK.read().unwrap_or_else(PoisonError::into_inner);
            fixture::within_the_limit(test);
            Ok(())
        })
    };
    let trial_alone = |(name, test): (&'static str, fn())| {
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
        let panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
        eprintln!(
            "the panics of this process, meant or not:\n{}",
            panics.join("\n")
        );
    }
    conclusion.exit_code()
}
