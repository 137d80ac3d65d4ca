//! The contract: what holds on every executor, written once.
//!
//! A test is a function over a [`Fixture`](fixture::Fixture); `on_every_executor!`
//! and `on_every_pool!` make one `#[test]` of it for each, `in_this_process!` for
//! those whose tasks run here. They use nothing but the traits, functions and
//! portable arguments, and tell a running task from outside over a loopback
//! socket: so they are the same on a pool of processes.

/// Makes the tests of all executors, the inline one too.
macro_rules! on_every_executor {
    ($($(#[$doc:meta])* fn $name:ident<$x:ident>() $body:block)*) => { $(
        $(#[$doc])*
        mod $name {
            use super::*;

            fn contract<$x: Fixture>() $body

            #[test]
            fn inline() {
                fixture::within_the_limit(contract::<fixture::Inline>);
            }

            #[test]
            fn threads() {
                fixture::within_the_limit(contract::<fixture::Threads>);
            }

            #[cfg(target_os = "linux")]
            #[test]
            fn processes() {
                fixture::within_the_limit(contract::<fixture::Processes>);
            }
        }
    )* };
}

/// Makes the tests of the executors whose workers are not the submitter.
macro_rules! on_every_pool {
    ($($(#[$doc:meta])* fn $name:ident<$x:ident>() $body:block)*) => { $(
        $(#[$doc])*
        mod $name {
            use super::*;

            fn contract<$x: Fixture>() $body

            #[test]
            fn threads() {
                fixture::within_the_limit(contract::<fixture::Threads>);
            }

            #[cfg(target_os = "linux")]
            #[test]
            fn processes() {
                fixture::within_the_limit(contract::<fixture::Processes>);
            }
        }
    )* };
}

/// Makes the tests of the executors whose tasks run in the submitter's process.
macro_rules! in_this_process {
    ($($(#[$doc:meta])* fn $name:ident<$x:ident>() $body:block)*) => { $(
        $(#[$doc])*
        mod $name {
            use super::*;

            fn contract<$x: Fixture>() $body

            #[test]
            fn inline() {
                fixture::within_the_limit(contract::<fixture::Inline>);
            }

            #[test]
            fn threads() {
                fixture::within_the_limit(contract::<fixture::Threads>);
            }
        }
    )* };
}

mod fixture;
#[path = "../gate/mod.rs"]
mod gate;

mod awaiting;
mod bombs;
mod callbacks;
mod composing;
mod joining;
mod mapping;
mod several;
mod shutting_down;
mod states;
mod submitting;
