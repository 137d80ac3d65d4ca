//! The contract: what holds on every executor, written once.
//!
//! A test is a function over a [`Fixture`](fixture::Fixture); the list at the top of
//! each file says which executors run it. The tests use nothing but the traits,
//! functions and portable arguments, and tell a running task from outside over a
//! loopback socket: so they are the same on a process pool.

// A test that no list names.
#![deny(dead_code)]

/// Makes the tests of a list, which names functions over a fixture after the
/// executors that run them: `function::executor`.
macro_rules! contract {
    (@ $test:ident on [$($executor:ident),+]) => {
        $( contract!(@ $test on $executor); )+
    };
    (@ $test:ident on inline) => {
        #[test]
        fn inline() {
            crate::fixture::within_the_limit(super::$test::<crate::executors::Inline>);
        }
    };
    (@ $test:ident on threads) => {
        #[test]
        fn threads() {
            crate::fixture::within_the_limit(super::$test::<crate::executors::Threads>);
        }
    };
    (@ $test:ident on processes) => {
        #[cfg(target_os = "linux")]
        #[test]
        fn processes() {
            crate::fixture::within_the_limit(super::$test::<crate::executors::Processes>);
        }
    };
    ($($executors:tt { $($test:ident),+ $(,)? })+) => { $($(
        mod $test {
            contract!(@ $test on $executors);
        }
    )+)+ };
}

#[cfg(target_os = "linux")]
#[path = "../by_sockets/mod.rs"]
mod by_sockets;
mod executors;
mod fixture;
#[path = "../gate/mod.rs"]
mod gate;

mod awaiting;
mod bombs;
mod callbacks;
mod composing;
mod joining;
mod mapping;
mod mapping_automatic;
mod mapping_in_time;
mod mapping_unordered;
mod quiet;
mod several;
mod shutting_down;
mod states;
mod submitting;

#[cfg(target_os = "linux")]
#[test]
fn all_of_this_holds_by_sockets() {
    by_sockets::run_again("all_of_this_holds_by_sockets", "::processes");
}
