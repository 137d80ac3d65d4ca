//! [`Gate`]: tasks that keep all workers of a pool busy until it is opened.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::pools::Pool;

/// A limit on what takes microseconds.
const LIMIT: Duration = Duration::from_secs(10);

/// A task on each worker of a pool, until it is dropped.
#[derive(Debug)]
pub(super) struct Gate {
    _open: Sender<()>,
}

impl Gate {
    /// Submits the tasks, and returns when all of them run.
    pub(super) fn close<P: Pool>(pool: &P, workers: usize) -> Self {
        let (open, opened) = bounded::<()>(0);
        let (start, started) = unbounded();
        for _ in 0..workers {
            let (start, opened): (Sender<()>, Receiver<()>) = (start.clone(), opened.clone());
            pool.detach(move || {
                start.send(()).expect("the other end waits for it");
                // The error says that the gate is gone: that is the sign.
                let _ = opened.recv();
            });
        }
        for _ in 0..workers {
            let began = started.recv_timeout(LIMIT);
            began.unwrap_or_else(|_| panic!("{} runs on all its workers", P::NAME));
        }
        Self { _open: open }
    }

    /// Has the tasks end.
    pub(super) fn open(self) {}
}
