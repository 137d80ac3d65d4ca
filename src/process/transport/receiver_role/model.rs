//! A model of a worker's two threads, which the model checker `loom` runs in every order
//! that needs at most three preemptions.

use std::collections::VecDeque;
use std::sync::Arc;

use loom::thread;

use super::*;
use crate::sync::{AtomicBool, Ordering, yield_now};

/// The messages of the parent that have not been received.
#[derive(Default)]
struct Wire {
    messages: VecDeque<u32>,
    is_closed: bool,
}

/// The message by which the parent asks for a request back. The thread that receives the
/// message also answers it.
const RECALL: u32 = 100;

/// The message that stands for the end of the connection.
const END: u32 = 200;

struct Connection {
    role: ReceiverRole<VecDeque<u32>>,
    wire: Mutex<Wire>,
    sent: Condvar,
    is_receiving: AtomicBool,
    is_recalled: Mutex<bool>,
    recalled: Condvar,
}

impl Connection {
    fn new() -> Self {
        Self {
            role: ReceiverRole::new(VecDeque::new()),
            wire: Mutex::new(Wire::default()),
            sent: Condvar::new(),
            is_receiving: AtomicBool::new(false),
            is_recalled: Mutex::new(false),
            recalled: Condvar::new(),
        }
    }

    fn send(&self, message: u32) {
        self.wire.lock().messages.push_back(message);
        self.sent.notify_one();
    }

    fn close(&self) {
        self.wire.lock().is_closed = true;
        self.sent.notify_one();
    }

    /// Receives one message. Checks that no other thread receives at the same time,
    /// because the two threads would mix up the bytes.
    fn receive(&self, wait: Wait) {
        // ORDERING: `Relaxed` is enough, because the lock in `ReceiverRole` orders the
        // calls of this function.
        let was_receiving = self.is_receiving.swap(true, Ordering::Relaxed);
        assert!(!was_receiving, "two threads receive");
        let mut wire = self.wire.lock();
        while wire.messages.is_empty() && !wire.is_closed && wait == Wait::UntilMessage {
            self.sent.wait(&mut wire);
        }
        let message = wire.messages.pop_front();
        let message = message.or_else(|| wire.is_closed.then_some(END));
        drop(wire);
        if message == Some(RECALL) {
            *self.is_recalled.lock() = true;
            self.recalled.notify_one();
        } else {
            self.role.with_queue(|queue| queue.extend(message));
        }
        // ORDERING: `Relaxed` is enough, as for the swap above.
        self.is_receiving.store(false, Ordering::Relaxed);
    }

    fn next(&self) -> u32 {
        self.role
            .next(VecDeque::pop_front, |wait| self.receive(wait))
    }

    fn wait_for_recall(&self) {
        let mut is_recalled = self.is_recalled.lock();
        while !*is_recalled {
            self.recalled.wait(&mut is_recalled);
        }
    }
}

/// The task thread runs the first request until the recall behind this request is received.
/// So the reader has to receive the recall. Only then does the task thread send the second
/// request.
#[test]
fn a_message_is_received_while_a_request_runs_and_no_wake_up_is_lost() {
    loom::model(|| {
        let connection = Arc::new(Connection::new());
        let is_over = Arc::new(AtomicBool::new(false));
        let task_thread = {
            let (connection, is_over) = (connection.clone(), is_over.clone());
            thread::spawn(move || {
                assert_eq!(connection.next(), 1);
                connection.wait_for_recall();
                connection.send(2);
                assert_eq!(connection.next(), 2);
                // ORDERING: `Relaxed` is enough, because the reader may see the store at
                // any later time.
                is_over.store(true, Ordering::Relaxed);
                connection.close();
            })
        };
        let reader = {
            let (connection, is_over) = (connection.clone(), is_over);
            thread::spawn(move || {
                // ORDERING: `Relaxed` is enough, as for the store of the task thread.
                while !is_over.load(Ordering::Relaxed) {
                    connection
                        .role
                        .stand_by(yield_now, VecDeque::is_empty, |wait| {
                            connection.receive(wait)
                        });
                }
            })
        };
        connection.send(1);
        connection.send(RECALL);
        task_thread.join().unwrap();
        reader.join().unwrap();
    });
}
