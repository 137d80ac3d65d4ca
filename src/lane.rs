//! [`Lane`]: where the ends of several tasks arrive, in their order.
//!
//! Each task that is not done gets a waker that sends the task's number over a
//! channel; one that is done has it sent at once. So a number arrives exactly
//! once, and waiting is receiving. Dropping the lane takes the wakers back.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::completion::WakerKey;
use crate::sys::fork::Origin;
use crate::waitable::Waitable;

pub(crate) struct Lane<F: Waitable> {
    arrivals: Receiver<usize>,
    sender: Sender<usize>,
    /// By number; `None` is free for the next.
    places: Vec<Option<Place<F>>>,
    free: Vec<usize>,
    /// The tasks in `places`. They live, so no two have the same id.
    ids: HashSet<usize>,
    /// Those that the current thread has not yet tried to run itself.
    unhelped: BTreeSet<usize>,
    /// The process that it was made in: in a fork nothing arrives.
    origin: Origin,
}

struct Place<F> {
    item: F,
    key: WakerKey,
}

/// The waker of the task with this number.
struct Arrival {
    sender: Sender<usize>,
    number: usize,
}

impl Wake for Arrival {
    fn wake(self: Arc<Self>) {
        // The lane may be gone.
        let _ = self.sender.send(self.number);
    }
}

impl<F: Waitable> Lane<F> {
    pub(crate) fn new() -> Self {
        let (sender, arrivals) = unbounded();
        Self {
            arrivals,
            sender,
            places: Vec::new(),
            free: Vec::new(),
            ids: HashSet::new(),
            unhelped: BTreeSet::new(),
            origin: Origin::current(),
        }
    }

    /// Adds a task, unless it is in the lane already.
    pub(crate) fn add(&mut self, item: F) -> bool {
        if !self.ids.insert(item.target().id()) {
            return false;
        }
        let number = self.free.pop().unwrap_or(self.places.len());
        let mut key = WakerKey::default();
        if item.target().done() {
            self.arrive(number);
        } else {
            let sender = self.sender.clone();
            let waker = Waker::from(Arc::new(Arrival { sender, number }));
            if item.target().poll(&mut key, &waker) {
                self.arrive(number);
            } else {
                self.unhelped.insert(number);
            }
        }
        let place = Some(Place { item, key });
        match self.places.get_mut(number) {
            Some(free) => *free = place,
            None => self.places.push(place),
        }
        true
    }

    fn arrive(&self, number: usize) {
        // Never refused: the receiver is in this very lane.
        let _ = self.sender.send(number);
    }

    /// How many tasks are in the lane, arrived or not.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The number of the next task that is done. `None`: the deadline passed.
    ///
    /// Without a deadline, a worker runs those that have not begun itself.
    pub(crate) fn next(&mut self, deadline: Option<Instant>) -> Option<usize> {
        if !self.origin.is_here() {
            // They are as far as they come, and each knows how far that is.
            return self.places.iter().position(Option::is_some);
        }
        if let Some(deadline) = deadline {
            return self.arrivals.recv_deadline(deadline).ok();
        }
        loop {
            if let Some(number) = self.try_next() {
                return Some(number);
            }
            let Some(number) = self.unhelped.pop_first() else {
                return self.arrivals.recv().ok();
            };
            if let Some(item) = self.item(number) {
                item.target().help();
            }
        }
    }

    /// The number of a task that is done already.
    pub(crate) fn try_next(&self) -> Option<usize> {
        if !self.origin.is_here() {
            return None;
        }
        self.arrivals.try_recv().ok()
    }

    pub(crate) fn item(&self, number: usize) -> Option<&F> {
        Some(&self.places.get(number)?.as_ref()?.item)
    }

    /// Takes a task out.
    pub(crate) fn take(&mut self, number: usize) -> Option<F> {
        let mut place = self.places.get_mut(number)?.take()?;
        self.free.push(number);
        self.unhelped.remove(&number);
        let target = place.item.target();
        self.ids.remove(&target.id());
        target.forget(&mut place.key);
        Some(place.item)
    }

    /// Takes all out, in the order of adding if none was taken before.
    pub(crate) fn take_all(&mut self) -> Vec<(usize, F)> {
        let numbers = 0..self.places.len();
        numbers
            .filter_map(|number| Some((number, self.take(number)?)))
            .collect()
    }
}

impl<F: Waitable> Drop for Lane<F> {
    fn drop(&mut self) {
        drop(self.take_all());
    }
}
