//! The driver of the fuzz target `offers`: a pool and four workers in one process, one step
//! at a time, with tasks that overwrite statuses and their worker's own memory.
//!
//! The status of an offer says which worker has taken the offer (`transport/offers.rs`).
//! The pool does what `parent/offers.rs` does, without the rest of the pool. The driver
//! checks that each task begins at most once, that a task that was recalled never begins,
//! that the bytes of a call are right, and that the pool forgets no task that has not
//! begun. In some runs the tasks also forge: they write valid statuses, or overwrite the
//! number of the offer that their worker has taken with another possible number. In the
//! runs with forged words the driver checks only that each step ends and does not misuse
//! memory.

mod workers;

use std::cell::OnceCell;
use std::sync::atomic::Ordering;

use self::workers::{At, Said, Worker};
use super::super::rings::Rings;
use super::*;
use crate::process::fuzz_input::Input;

const STEPS: usize = 600;

const WORKERS: [usize; 4] = [0, 1, 70_000, 65_533];

/// The memories of a pool and its workers. All runs of a thread share these memories,
/// because it takes long to map them.
struct Mapped {
    calls: Part,
    /// The calls as a worker maps them: memory that can only be read.
    calls_to_read: Part,
    statuses: Part,
    files: Arc<[OwnedFd; 2]>,
    rings: [Rings; WORKERS.len()],
}

impl Mapped {
    fn new() -> Self {
        let (calls, calls_file) =
            SharedMemory::create_to_read(words(SLOTS, SPACE), words(SLOTS, 0)).expect("calls");
        let (statuses, statuses_file) = SharedMemory::create(SLOTS).expect("statuses");
        let to_read = SharedMemory::open_to_read(&calls_file, words(SLOTS, SPACE));
        Self {
            calls: Part::whole(calls),
            calls_to_read: Part::whole(to_read.expect("calls to read")),
            statuses: Part::whole(statuses),
            files: Arc::new([calls_file, statuses_file]),
            rings: WORKERS.map(|_| Rings::create().expect("rings").0),
        }
    }

    /// Returns offers in the state in which a new pool has them. The space behind the
    /// slots may hold the calls of earlier runs.
    fn offers(&self, key: u64) -> PoolOffers {
        // The previous run has written only to the first `slots` slots. Few runs use all
        // slots, so it takes less time to clear only the used slots.
        let next = self.calls[0].load(Ordering::Relaxed);
        let slots = SLOTS.min(next as usize);
        let used = &self.calls[..words(slots, 0)];
        for word in used.iter().chain(self.statuses.iter()) {
            word.store(0, Ordering::Relaxed);
        }
        PoolOffers {
            offers: Offers::new(self.calls.clone(), self.statuses.clone(), key),
            files: Arc::clone(&self.files),
            key,
            allotted: VecDeque::new(),
            reserved: 0,
        }
    }
}

/// A task, which may be offered several times.
#[derive(Clone, Default)]
struct Task {
    length: usize,
    begun: u32,
    is_recalled: bool,
    /// `true` once the pool has read that the task has begun. Also `true` once the pool has
    /// given up the task of a killed worker, because the task may have begun.
    is_settled: bool,
}

impl Task {
    fn is_done(&self) -> bool {
        self.begun == 1 || self.is_recalled || self.is_settled
    }
}

struct Driver {
    offers: PoolOffers,
    statuses: Part,
    workers: Vec<Worker>,
    tasks: Vec<Task>,
    queue: VecDeque<usize>,
    task_of: Vec<usize>,
    /// The offers that the pool has not assigned to a worker, from the oldest on.
    offered: Vec<u64>,
    /// The assigned offers whose calls the workers may not have copied yet: the pool has
    /// not read a worker's message about the offer.
    unread: Vec<u64>,
    /// `true` if a task may write a valid status over the status of an offer, or a possible
    /// number over the number of the offer that its worker has taken.
    forges: bool,
}

/// Returns the byte at this place of the task's call.
fn byte_at(task: usize, place: usize) -> u8 {
    (task as u8).wrapping_mul(31) ^ (place as u8) ^ ((place >> 8) as u8).wrapping_mul(7)
}

impl Driver {
    fn new(mapped: &Mapped, key: u64, forges: bool) -> Self {
        let worker = |(number, rings): (usize, &Rings)| {
            let rings = rings.with_key(key ^ number as u64);
            rings.mend_taken(|_| false);
            let memory = OfferMemory {
                calls: mapped.calls_to_read.clone(),
                statuses: mapped.statuses.clone(),
                key,
            };
            Worker {
                number,
                taker: memory.taker(number),
                rings,
                call: Vec::new(),
                at: At::Searching,
                said: VecDeque::new(),
                assigned: None,
            }
        };
        Self {
            offers: mapped.offers(key),
            statuses: mapped.statuses.clone(),
            workers: WORKERS.into_iter().zip(&mapped.rings).map(worker).collect(),
            tasks: Vec::new(),
            queue: VecDeque::new(),
            task_of: Vec::new(),
            offered: Vec::new(),
            unread: Vec::new(),
            forges,
        }
    }

    fn submit(&mut self, length: usize) {
        self.queue.push_back(self.tasks.len());
        self.tasks.push(Task {
            length,
            ..Task::default()
        });
    }

    /// Offers the tasks of the queue as far as there is room.
    fn offer(&mut self) {
        while let Some(task) = self.queue.pop_front() {
            if self.tasks[task].is_recalled {
                continue;
            }
            let oldest = self
                .unread
                .iter()
                .chain(self.offered.first())
                .min()
                .copied();
            if !self.offers.has_room(oldest) {
                self.queue.push_front(task);
                return;
            }
            let length = self.tasks[task].length;
            let call: Vec<u8> = (0..length).map(|place| byte_at(task, place)).collect();
            let offer = match self.offers.offer(&call, oldest) {
                Some(offer) => offer,
                // Stands for the short message that a pool offers in place of a call for
                // which there is no space. The message makes the worker ask for the call.
                None => self.offers.offer_in_slot(&call[..8.min(length)]),
            };
            assert_eq!(offer, self.task_of.len() as u64, "offers are numbered");
            self.task_of.push(task);
            self.offered.push(offer);
        }
    }

    /// Removes an offer from the list of unassigned offers. Returns `false` if the offer is
    /// not in the list.
    fn remove(&mut self, offer: u64) -> bool {
        let at = self.offered.iter().position(|other| *other == offer);
        if let Some(at) = at {
            self.offered.remove(at);
            if at == 0 {
                self.offers.set_oldest(self.offered.first().copied());
            }
        }
        at.is_some()
    }

    fn cancel(&mut self, at: usize) {
        let Some(offer) = self.offered.get(at).copied() else {
            return;
        };
        if self.offers.recall(offer) {
            assert!(!self.offers.is_open(offer) || self.forges);
            self.remove(offer);
            self.tasks[self.task_of[offer as usize]].is_recalled = true;
        }
    }

    /// Recalls all offers that no worker has taken, and puts their tasks into the queue
    /// again.
    fn recall_all(&mut self) {
        for offer in self.offered.clone().into_iter().rev() {
            if self.offers.recall(offer) {
                self.remove(offer);
                self.queue.push_front(self.task_of[offer as usize]);
            }
        }
    }

    fn put_back(&mut self, offer: u64) {
        self.recall_all();
        self.queue.push_front(self.task_of[offer as usize]);
    }

    fn assign(&mut self, worker: usize, offer: u64, has_read: bool) -> bool {
        if self.workers[worker].assigned.is_some() || !self.remove(offer) {
            return false;
        }
        self.workers[worker].assigned = Some((offer, false));
        if !has_read {
            self.unread.push(offer);
        }
        true
    }

    fn read(&mut self, worker: usize) {
        while let Some(said) = self.workers[worker].said.pop_front() {
            match said {
                Said::Started(offer) => {
                    self.assign(worker, offer, true);
                    self.unread.retain(|unread| *unread != offer);
                    let is_it = self.workers[worker].assigned == Some((offer, false));
                    assert!(is_it || self.forges, "a task of another worker begins");
                    self.workers[worker].assigned = Some((offer, true));
                    self.settle(offer);
                }
                Said::Declined(offer) => self.declined(worker, offer),
                Said::Ended => self.workers[worker].assigned = None,
            }
        }
        let idle = &self.workers[worker];
        let mends = self
            .offered
            .first()
            .is_none_or(|offer| self.offers.is_open(*offer));
        if idle.assigned.is_none() && mends {
            let is_possible = |taken| self.offers.is_possible(taken);
            idle.rings.mend_taken(is_possible);
        }
    }

    fn settle(&mut self, offer: u64) {
        let task = &mut self.tasks[self.task_of[offer as usize]];
        assert!(!task.is_settled || self.forges, "a task is assigned twice");
        task.is_settled = true;
    }

    fn declined(&mut self, worker: usize, offer: u64) {
        if self.workers[worker].assigned == Some((offer, false)) {
            self.workers[worker].assigned = None;
            self.unread.retain(|unread| *unread != offer);
            self.put_back(offer);
        } else if self.workers[worker].rings.taken() == offer + 1 && self.offered.contains(&offer) {
            self.offers.revoke(offer);
            self.remove(offer);
            self.put_back(offer);
        }
    }

    /// Assigns the tasks whose offers were taken, and revokes the offers whose statuses
    /// were overwritten.
    fn scan(&mut self, input: &mut Input<'_>) {
        let (mut taken, mut scribbled) = (Vec::new(), Vec::new());
        for offer in self.offered.clone() {
            if self.offers.is_open(offer) {
                break;
            }
            let mut workers = self.workers.iter();
            let by = workers.position(|worker| {
                worker.assigned.is_none() && self.offers.is_taken_by(offer, worker.number)
            });
            match by {
                Some(worker) => taken.push((worker, offer)),
                None if self.offers.is_scribbled(offer) => scribbled.push(offer),
                None => {}
            }
        }
        self.work(input);
        if scribbled.is_empty() {
            for (worker, offer) in taken {
                self.assign(worker, offer, false);
            }
            return;
        }
        scribbled
            .iter()
            .for_each(|offer| self.offers.revoke(*offer));
        self.work(input);
        let taken: Vec<u64> = self
            .workers
            .iter()
            .map(|worker| match worker.at {
                At::Killed => 0,
                _ => worker.rings.taken(),
            })
            .collect();
        self.work(input);
        (0..self.workers.len()).for_each(|worker| self.read_unless_killed(worker));
        self.work(input);
        for offer in &scribbled {
            let mut taker = taken.iter().position(|taken| *taken == offer + 1);
            let goes_on = |worker: &usize| self.workers[*worker].rings.taken() != offer + 1;
            if let Some(worker) = taker.filter(goes_on) {
                self.read_unless_killed(worker);
                taker = None;
            }
            self.work(input);
            if let Some(worker) = taker.or_else(|| self.next_guilty()) {
                self.assign(worker, *offer, false);
            }
        }
        for offer in scribbled.into_iter().rev() {
            if self.remove(offer) {
                self.put_back(offer);
            }
        }
        for worker in 0..self.workers.len() {
            if self.workers[worker].at == At::Killed {
                self.bury(worker);
            }
        }
    }

    fn read_unless_killed(&mut self, worker: usize) {
        if self.workers[worker].at != At::Killed {
            self.read(worker);
        }
    }

    /// Kills the first idle worker whose word `TAKEN` (the number of the last offer that it
    /// took) was overwritten with an impossible number. Returns the worker's index.
    fn next_guilty(&mut self) -> Option<usize> {
        let offers = &self.offers;
        let is_guilty = |worker: &Worker| {
            worker.at != At::Killed
                && worker.assigned.is_none()
                && !offers.is_possible(worker.rings.taken())
        };
        let at = self.workers.iter().position(is_guilty)?;
        self.workers[at].at = At::Killed;
        Some(at)
    }

    /// Ends the tasks of a killed worker. The pool does not run these tasks again, because
    /// they may have begun.
    fn bury(&mut self, worker: usize) {
        self.read(worker);
        if let Some((offer, false)) = self.workers[worker].assigned.take() {
            self.settle(offer);
            self.unread.retain(|unread| *unread != offer);
        }
        let number = self.workers[worker].number;
        for offer in self.offered.clone() {
            if self.offers.is_taken_by(offer, number) {
                self.remove(offer);
                self.settle(offer);
            }
        }
    }

    /// Returns `true` if no step would change anything.
    fn is_at_rest(&self) -> bool {
        let rests = |worker: &Worker| {
            let has_nothing = worker.at == At::Searching && worker.said.is_empty();
            has_nothing && worker.assigned.is_none() || worker.at == At::Killed
        };
        self.queue.is_empty() && self.offered.is_empty() && self.workers.iter().all(rests)
    }

    /// Makes steps until no step changes anything, and then checks that the pool has
    /// forgotten no task.
    fn finish(&mut self) {
        for _ in 0..self.tasks.len() * 2 + 20 {
            if self.is_at_rest() {
                break;
            }
            self.offer();
            for worker in 0..self.workers.len() {
                (0..5).for_each(|_| self.step(worker));
            }
            (0..self.workers.len()).for_each(|worker| self.read_unless_killed(worker));
            self.scan(&mut Input::new(&[]));
        }
        let are_alive = self.workers.iter().any(|worker| worker.at != At::Killed);
        if self.forges || !are_alive {
            return;
        }
        for (number, task) in self.tasks.iter().enumerate() {
            assert!(task.is_done(), "task {number} is forgotten");
        }
    }
}

thread_local! {
    static MAPPED: OnceCell<Mapped> = const { OnceCell::new() };
}

pub(crate) fn drive(data: &[u8]) {
    MAPPED.with(|mapped| run(mapped.get_or_init(Mapped::new), data));
}

fn run(mapped: &Mapped, data: &[u8]) {
    let mut input = Input::new(data);
    let key = input.key();
    let forges = input.byte() % 4 == 0;
    let mut driver = Driver::new(mapped, key, forges);
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        let byte = input.byte();
        let number = usize::from(byte >> 4);
        if std::env::var_os("TRACE").is_some() {
            eprintln!(
                "op {} {number} offered {:?} workers {:?}",
                byte % 16,
                driver.offered,
                driver
                    .workers
                    .iter()
                    .map(|w| (w.at, w.assigned, &w.said))
                    .collect::<Vec<_>>()
            );
        }
        match byte % 16 {
            0..=6 => driver.step(number % WORKERS.len()),
            7 | 8 => {
                let length = input.size(LONGEST + 1);
                driver.submit(length);
                driver.offer();
            }
            9 => {
                // Several such steps submit more tasks than a pool offers at the same time.
                (0..8 * number).for_each(|more| driver.submit(more));
                driver.offer();
            }
            10 => driver.read_unless_killed(number % WORKERS.len()),
            11 | 12 => driver.scan(&mut input),
            13 => driver.cancel(number),
            14 if number == 0 => driver.recall_all(),
            _ => driver.overwrite(&mut input),
        }
    }
    driver.finish();
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_overwritten_status_makes_a_task_begin_twice_or_be_forgotten() {
        crate::process::fuzz_input::run_with_fixed_inputs(super::drive, 100, 400);
    }
}
