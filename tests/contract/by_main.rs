//! The contract in a test binary that has a `main` of its own: the list of its tests over one
//! pool, which the binary names `ContractPool`, and what such binaries share.

use std::iter;
use std::panic::{set_hook, take_hook};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A test, with its name.
pub(crate) type NamedTest = (&'static str, fn());

/// Lists the tests of a file that a process pool passes.
macro_rules! contract {
    ($($executors:tt { $($test:ident),+ $(,)? })+) => {
        pub(crate) fn tests() -> Vec<crate::by_main::NamedTest> {
            let mut tests: Vec<crate::by_main::NamedTest> = Vec::new();
            $(
                // The list is one token tree, so its text tells if the pool is in it.
                if stringify!($executors).contains("processes") {
                    $(
                        tests.push((
                            concat!(module_path!(), "::", stringify!($test)),
                            $test::<crate::ContractPool<0>>,
                        ));
                        tests.push((
                            concat!(module_path!(), "::", stringify!($test), "::ahead"),
                            $test::<crate::ContractPool<8>>,
                        ));
                    )+
                }
            )+
            tests
        }
    };
}

#[path = "awaiting.rs"]
mod awaiting;
#[path = "bombs.rs"]
mod bombs;
#[path = "callbacks.rs"]
mod callbacks;
#[path = "composing.rs"]
mod composing;
#[path = "joining.rs"]
mod joining;
#[path = "mapping.rs"]
mod mapping;
#[path = "mapping_automatic.rs"]
mod mapping_automatic;
#[path = "mapping_in_time.rs"]
mod mapping_in_time;
#[path = "mapping_unordered.rs"]
mod mapping_unordered;
#[path = "several.rs"]
mod several;
#[path = "shutting_down.rs"]
mod shutting_down;
#[path = "states.rs"]
mod states;
#[path = "submitting.rs"]
mod submitting;

#[path = "fixture.rs"]
pub(crate) mod fixture;
#[path = "../gate/mod.rs"]
pub(crate) mod gate;
#[path = "quiet.rs"]
pub(crate) mod quiet;

/// Returns the tests of the contract.
pub(crate) fn tests() -> Vec<NamedTest> {
    let tests = [
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
    ];
    tests.concat()
}

/// Makes a list of tests with their names.
macro_rules! named {
    ($($test:ident),+ $(,)?) => {
        vec![$((concat!(module_path!(), "::", stringify!($test)), $test as fn())),+]
    };
}
pub(crate) use named;

/// Makes the function that returns all tests of a file.
macro_rules! list {
    ($($test:ident),+ $(,)?) => {
        pub(crate) fn tests() -> Vec<crate::by_main::NamedTest> {
            crate::by_main::named![$($test),+]
        }
    };
}
pub(crate) use list;

/// The panics of this process. Many are meant, and the harness captures none, so they are
/// printed only after a failure.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps the panics of this process, but for those of a worker.
pub(crate) fn keep_panics(is_in_worker: fn() -> bool) {
    let prints = take_hook();
    set_hook(Box::new(move |panic| {
        if is_in_worker() {
            return prints(panic);
        }
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
        panics.push(format!("`{name}` {panic}"));
    }));
}

/// Prints the panics that were kept.
pub(crate) fn print_panics() {
    let panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    let panics = panics.join("\n");
    eprintln!("the panics of this process, meant or not:\n{panics}");
}

/// Waits until `is_so` returns `true`, and fails with `what` if that takes too long.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let step = Duration::from_millis(5);
    let steps = fixture::LIMIT.as_millis() / step.as_millis();
    let is_soon = iter::repeat_n((), usize::try_from(steps).expect("it is small")).any(|()| {
        is_so() || {
            std::thread::sleep(step);
            false
        }
    });
    assert!(is_soon, "{what}");
}
