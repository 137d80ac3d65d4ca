//! [`ReceiverRole`]: decides which of two threads of a worker receives.
//!
//! A worker that a command such as `ssh` has started must see the end of its connection
//! soon, even while a task runs. So besides the *task thread*, which runs the tasks, it
//! has a second thread, the *reader*. But a reader that receives a request (a task, for
//! example) has to wake the task thread that waits for the request. This wake-up takes
//! longer than a short task. So the task thread receives its messages itself. The reader
//! receives only if the task thread is busy, and has received nothing for a while:
//!
//! | receiver | the task thread | the reader |
//! |---|---|---|
//! | none | runs the requests that have arrived | pauses. If the task thread still runs the same request, becomes the receiver. If the task thread has taken other requests, and nothing was received in the pause, receives what has arrived |
//! | task thread | waits for messages | pauses. If the task thread took no request in the pause, sleeps until it takes one |
//! | reader | runs a long request, or waits for the next request | waits for messages. After each message, gives the role up if a request waits, or if the task thread has taken another request |
//!
//! So the worker receives each message within two pauses of the reader, even if many
//! requests wait in front of the message. While short requests come one after the other,
//! the reader usually only pauses. While no requests come, the reader sleeps. When the
//! reader gives the role up, a task thread that waits for a request takes one from the
//! queue. If the queue is empty, the task thread becomes the receiver.
//!
//! One lock protects the queue of requests and the choice of the receiver. By a *recall*
//! the parent asks for a request back. Because of the lock, a thread that receives a recall
//! either finds the request in the queue, or knows that the task thread has taken it.

use crate::sync::{Condvar, Mutex, MutexGuard};

/// The receiver of a connection, and the queue `Q` of the requests that have arrived.
#[derive(Debug)]
pub(crate) struct ReceiverRole<Q> {
    state: Mutex<State<Q>>,
    given_up: Condvar,
    /// Notified when the task thread takes a request while the reader sleeps.
    taken: Condvar,
}

#[derive(Debug)]
struct State<Q> {
    queue: Q,
    receiver: Option<Receiver>,
    /// The number of requests that the task thread has taken.
    taken: u64,
    /// The number of times that the task thread has received messages.
    received: u64,
    is_reader_asleep: bool,
}

/// The time for which a thread that receives waits for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Not,
    UntilMessage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiver {
    TaskThread,
    Reader,
}

impl<Q> ReceiverRole<Q> {
    pub(crate) fn new(queue: Q) -> Self {
        let state = State {
            queue,
            receiver: None,
            taken: 0,
            received: 0,
            is_reader_asleep: false,
        };
        Self {
            state: Mutex::new(state),
            given_up: Condvar::new(),
            taken: Condvar::new(),
        }
    }

    /// Calls a function with the queue. The thread that receives puts requests into the
    /// queue by this method.
    pub(crate) fn with_queue<T>(&self, act: impl FnOnce(&mut Q) -> T) -> T {
        act(&mut self.state.lock().queue)
    }

    /// Takes a request out of the queue by `pop`, if the queue has a request. The task
    /// thread calls this method.
    pub(crate) fn try_next<T>(&self, pop: impl Fn(&mut Q) -> Option<T>) -> Option<T> {
        self.take(&mut self.state.lock(), pop)
    }

    /// Like [`try_next`](Self::try_next), but waits until there is a request. The closure
    /// `receive` waits for the next messages, and puts them into the queue.
    pub(crate) fn next<T>(&self, pop: impl Fn(&mut Q) -> Option<T>, receive: impl Fn(Wait)) -> T {
        let mut state = self.state.lock();
        loop {
            if let Some(request) = self.take(&mut state, &pop) {
                return request;
            }
            if state.receiver.is_some() {
                self.given_up.wait(&mut state);
            } else {
                let received = || receive(Wait::UntilMessage);
                state = self.receive_as(Receiver::TaskThread, state, received);
                state.received += 1;
                state.receiver = None;
            }
        }
    }

    fn take<T>(&self, state: &mut State<Q>, pop: impl Fn(&mut Q) -> Option<T>) -> Option<T> {
        let request = pop(&mut state.queue)?;
        state.taken += 1;
        if std::mem::take(&mut state.is_reader_asleep) {
            self.taken.notify_one();
        }
        Some(request)
    }

    /// Calls `pause`. Then sleeps if the task thread waits for messages and took no request
    /// in the pause. Receives if the task thread runs a request and received nothing in the
    /// pause. The reader calls this method again and again.
    pub(crate) fn stand_by(
        &self,
        pause: impl FnOnce(),
        is_empty: impl Fn(&Q) -> bool,
        receive: impl Fn(Wait),
    ) {
        let state = self.state.lock();
        let (seen, received) = (state.taken, state.received);
        drop(state);
        pause();
        let mut state = self.state.lock();
        let has_gone_on = state.taken != seen;
        if has_gone_on && (state.received != received || state.receiver.is_some()) {
            return;
        }
        if state.receiver.is_some() {
            state.is_reader_asleep = true;
            while state.is_reader_asleep {
                self.taken.wait(&mut state);
            }
            return;
        }
        // The reader receives at least once, even if requests already wait in the queue.
        loop {
            let wait = match has_gone_on {
                // The task thread runs short requests, and will soon receive itself. So the
                // reader does not wait for a message.
                true => Wait::Not,
                false => Wait::UntilMessage,
            };
            state = self.receive_as(Receiver::Reader, state, || receive(wait));
            if state.taken != seen || !is_empty(&state.queue) {
                break;
            }
        }
        state.receiver = None;
        self.given_up.notify_one();
    }

    /// Makes the calling thread the receiver, and releases the lock during the call of
    /// `receive`.
    fn receive_as<'a>(
        &'a self,
        receiver: Receiver,
        mut state: MutexGuard<'a, State<Q>>,
        receive: impl Fn(),
    ) -> MutexGuard<'a, State<Q>> {
        state.receiver = Some(receiver);
        drop(state);
        receive();
        self.state.lock()
    }
}

#[cfg(all(test, not(concurrent_futures_loom)))]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use super::*;

    /// Lets the reader stand by, and calls `during_pause` in the reader's pause. Returns
    /// the [`Wait`] of each time that the reader has then received.
    fn received(during_pause: impl FnOnce(&ReceiverRole<VecDeque<u32>>)) -> Vec<Wait> {
        let role = ReceiverRole::new(VecDeque::from([1, 2, 3]));
        let received = RefCell::new(Vec::new());
        role.stand_by(
            || during_pause(&role),
            VecDeque::is_empty,
            |wait| received.borrow_mut().push(wait),
        );
        received.into_inner()
    }

    #[test]
    fn a_reader_receives_if_the_task_thread_has_not_for_a_pause() {
        assert_eq!(received(|_| {}), [Wait::UntilMessage]);
        // The task thread has gone on, so the reader does not wait for a message.
        let take = |role: &ReceiverRole<_>| role.try_next(VecDeque::pop_front);
        assert_eq!(
            received(|role| assert_eq!(take(role), Some(1))),
            [Wait::Not]
        );
        let takes_all = |role: &ReceiverRole<VecDeque<u32>>| {
            while take(role).is_some() {}
            role.next(VecDeque::pop_front, |_| {
                role.with_queue(|queue| queue.push_back(4));
            });
        };
        assert_eq!(received(takes_all), []);
    }
}

#[cfg(all(test, concurrent_futures_loom))]
mod model;
