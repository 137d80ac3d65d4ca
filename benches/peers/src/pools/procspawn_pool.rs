//! The pool of `procspawn`.

use concurrent_futures::Portable;
use procspawn::JoinHandle;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::{PoolMaker, PortablePool};
use crate::contender::Kind;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Procspawn;

impl Procspawn {
    pub(crate) const NAME: &'static str = "procspawn::Pool";
}

impl PoolMaker for Procspawn {
    type Pool = procspawn::Pool;

    fn name(self) -> &'static str {
        Self::NAME
    }

    fn kind(self) -> Kind {
        Kind::Rust
    }

    fn pool(self, workers: usize) -> Self::Pool {
        allow_all_descriptors();
        procspawn::Pool::new(workers).expect("it starts its workers")
    }
}

impl PortablePool for procspawn::Pool {
    type Handle<R: Portable + Sync> = JoinHandle<R>;

    fn submit<A: Portable, R: Portable + Sync>(&self, f: fn(A) -> R, args: A) -> Self::Handle<R> {
        self.spawn(args, f)
    }

    fn wait<R: Portable + Sync>(handle: Self::Handle<R>) -> R {
        handle.join().expect("it returns")
    }
}

/// Raises the limit on open descriptors: `procspawn` makes channels for each call, and holds three
/// descriptors until the call's result is taken.
fn allow_all_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to its maximum");
}
