//! The acts of the users of a pool, of harmful tasks, and of time.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::Driver;
use super::book::Plan;
use super::worker::{At, frame};
use crate::error::End;
use crate::executor::ShutdownOptions;
use crate::process::fuzz_input::Input;
use crate::process::wire::exit_code::ExitCode;
use crate::process::wire::frame::{Kind, bare};

impl Driver {
    /// Returns the number of a submitted task. Most often this is one of the last.
    fn any_task(&self, input: &mut Input<'_>) -> Option<u64> {
        let pages = self.book.pages();
        let back = usize::from(input.byte());
        let back = back % (pages.cards.len().clamp(1, 8 + back / 8));
        pages.cards.keys().rev().nth(back).copied()
    }

    /// Lets a user do something with a future.
    pub(super) fn use_task(&mut self, input: &mut Input<'_>) {
        let Some(task) = self.any_task(input) else {
            return;
        };
        let Some(future) = self.book.future(task) else {
            return;
        };
        match input.byte() % 8 {
            0..=2 if self.launchers.is_empty() => self.book.cancelled(task, future.cancel()),
            // `cancel` may wait for a worker, so another thread calls it.
            0..=2 if self.cancels.iter().all(|(other, _)| *other != task) => {
                let cancel = thread::spawn(move || future.cancel());
                self.cancels.push((task, cancel));
            }
            3 => {
                let id = future.completion().address();
                if self.pool.kill(id) {
                    let mut pages = self.book.pages();
                    pages.cards.get_mut(&task).expect("it is there").is_killed = true;
                }
            }
            4 => {
                let mut pages = self.book.pages();
                let card = pages.cards.get_mut(&task).expect("it is there");
                let dropped = card.future.take_if(|_| card.callbacks == 0);
                drop(pages);
                drop(dropped);
            }
            5 => {
                let (book, pool) = (self.book.clone(), Arc::clone(&self.pool));
                let plan = Plan {
                    retries: 0,
                    has_limit: false,
                    length: 0,
                };
                self.book.add_callback(task, move || {
                    book.submit(&pool, plan);
                });
            }
            _ => self.book.add_callback(task, || ()),
        }
    }

    /// Lets a worker panic, misbehave or end, or lets its relay pass on bytes.
    pub(super) fn harm(&mut self, input: &mut Input<'_>) {
        let count = self.workers.len();
        let Some(worker) = self.workers.get_mut(input.index(count)) else {
            return;
        };
        match input.byte() % 16 {
            0 => worker.panic(&self.book),
            1..=4 => worker.close(),
            5 => drop(worker.relay()),
            6 if input.byte() % 8 == 0 => {
                self.book.pages().causes.is_refused |= worker.fail_to_start();
            }
            7 | 8 => {
                let bytes = match input.byte() % 6 {
                    0 => {
                        let task = worker.begun().map_or(u64::MAX, |task| task + 1);
                        bare(Kind::Returned, task).to_vec()
                    }
                    1 => {
                        // This `Ready` names no host, so the pool takes the worker for one
                        // behind a relay.
                        self.book.pages().causes.loses |= !self.launchers.is_empty();
                        bare(Kind::Ready, 0).to_vec()
                    }
                    // No task has this number. The number of a task that the worker gets
                    // later could make the message true.
                    2 => bare(Kind::Started, u64::MAX).to_vec(),
                    3 => bare(Kind::Fetch, u64::MAX).to_vec(),
                    4 => frame(Kind::Panicked, worker.begun().unwrap_or(1), &[9; 9]),
                    _ => input.take(10).to_vec(),
                };
                worker.babble(&bytes);
            }
            9 if matches!(worker.at, At::Starting) => {
                worker.end(End::Exited(ExitCode::Shortage as i32));
            }
            _ => {
                let is_killed = worker.with_process(|process| process.is_killed);
                if is_killed || worker.at == At::Dying {
                    worker.end(End::Signalled("SIGKILL".to_owned()));
                }
            }
        }
    }

    /// Makes a limit of time pass.
    pub(super) fn hurry(&mut self, input: &mut Input<'_>) {
        let mut state = self.pool.lock();
        let (at, which) = (input.index(state.workers.len()), input.byte() % 8);
        if let Some(handle) = state.workers.values_mut().nth(at) {
            match which {
                0 | 1 => handle.deadline = handle.deadline.map(|_| Instant::now()),
                2 => drop(handle.progress.as_mut().map(|limit| limit.hurry())),
                3 => drop(handle.take_limit.as_mut().map(|limit| limit.hurry())),
                4 | 5 => drop(handle.launched.as_mut().map(|it| it.hurry(which == 4))),
                _ => {}
            }
        }
        drop(state);
        if which >= 6 {
            self.end_pauses();
        }
        self.supervisor.is_due = true;
    }

    /// Shuts the pool down, or kills or terminates its workers.
    pub(super) fn stop(&mut self, input: &mut Input<'_>) {
        let options = ShutdownOptions::new().wait(false);
        match input.byte() % 8 {
            0 | 1 => {
                let options = options.cancel_pending(true).timeout(Duration::ZERO);
                self.book.pages().causes.cancels = true;
                let _ = self.pool.shutdown(options);
            }
            2 => {
                let _ = self.pool.shutdown(options);
            }
            which @ (3 | 4) => {
                let mut pages = self.book.pages();
                (pages.causes.is_stopped, pages.causes.cancels) = (true, true);
                drop(pages);
                self.pool.stop_workers(which == 3);
            }
            _ => {}
        }
    }

    /// Lets a user begin to poll, or stop polling.
    pub(super) fn poll(&mut self) {
        self.is_polling = !self.is_polling;
        match self.is_polling {
            true => self.pool.begin_polling(),
            false => self.pool.end_polling(),
        }
    }
}
