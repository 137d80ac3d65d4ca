//! Models of a ring, whose threads the model checker `loom` runs in every order that needs
//! at most three preemptions.
//!
//! A process of the model is a thread, and a process sleeps until its bell rings. The bell
//! takes the place of the socket: if it rings before the sleep, the sleep ends at once.

use std::sync::Arc;

use loom::thread;

use super::*;
use crate::sync::{Condvar, Mutex, Tracked};

const KEY: u64 = 42;

/// A wake-up for one process.
pub(in crate::process::transport) struct Bell(Mutex<bool>, Condvar);

impl Bell {
    pub(in crate::process::transport) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(false), Condvar::new()))
    }

    pub(in crate::process::transport) fn ring(&self) {
        *self.0.lock() = true;
        self.1.notify_one();
    }

    /// Sleeps until the bell has rung. If the bell never rings, `loom` reports a deadlock.
    pub(in crate::process::transport) fn sleep(&self) {
        let mut has_rung = self.0.lock();
        while !std::mem::take(&mut *has_rung) {
            self.1.wait(&mut has_rung);
        }
    }
}

/// The memory of a ring with one line of records, in a model.
pub(in crate::process::transport) fn memory() -> Arc<Vec<AtomicU64>> {
    let words = words(LINE_BYTES);
    Arc::new((0..words).map(|_| AtomicU64::new(0)).collect())
}

/// Receives one message of at most 8 bytes, and sleeps until the message arrives.
fn receive(receiver: &mut Receiver<&[AtomicU64]>, bell: &Bell, wake: impl Fn()) -> [u8; 8] {
    let mut into = [0; 8];
    loop {
        match receiver.receive(&mut into, &wake).unwrap() {
            0 if receiver.next().may_sleep() => bell.sleep(),
            0 => receiver.next().wakes_up(),
            _ => return into,
        }
    }
}

/// Sends one message, and sleeps while the ring has no room for it.
fn send(sender: &mut Sender<&[AtomicU64]>, bytes: [u8; 8], bell: &Bell, wake: impl Fn()) {
    while sender.send(&bytes, &wake).unwrap() == 0 {
        if sender.may_sleep().unwrap() {
            bell.sleep();
        }
    }
}

/// The receiver sleeps while there is no record, and the sender sleeps while the only line
/// is in use. A lost wake-up would be a deadlock.
#[test]
fn two_messages_through_one_line_arrive_and_no_wake_up_is_lost() {
    loom::model(|| {
        let memory = memory();
        let (filled, freed) = (Bell::new(), Bell::new());
        let sending = {
            let (memory, filled, freed) = (memory.clone(), filled.clone(), freed.clone());
            thread::spawn(move || {
                let mut sender = Sender::new(&memory[..], KEY);
                for n in [1, 2] {
                    send(&mut sender, [n; 8], &freed, || filled.ring());
                }
            })
        };
        let mut receiver = Receiver::new(&memory[..], KEY);
        for n in [1, 2] {
            assert_eq!(receive(&mut receiver, &filled, || freed.ring()), [n; 8]);
        }
        sending.join().unwrap();
    });
}

/// The process of the sender ends before it wakes the receiver. The end of the process
/// rings the bell in place of the sender, as the end of a real process closes its socket.
/// Then the receiver must get the whole record.
#[test]
fn a_record_of_a_process_that_has_ended_is_whole_or_absent() {
    loom::model(|| {
        let memory = memory();
        let bell = Bell::new();
        let dies = {
            let (memory, bell) = (memory.clone(), bell.clone());
            thread::spawn(move || {
                let mut sender = Sender::new(&memory[..], KEY);
                assert_eq!(sender.send(&[7; 8], || {}), Ok(8));
                bell.ring();
            })
        };
        let mut receiver = Receiver::new(&memory[..], KEY);
        let mut into = [0; 8];
        if receiver.next().may_sleep() {
            bell.sleep();
        }
        match receiver.receive(&mut into, || {}).unwrap() {
            8 => assert_eq!(into, [7; 8]),
            count => panic!("{count} bytes after the end of the process"),
        }
        dies.join().unwrap();
    });
}

/// The only line of the ring holds a record. When the sender sees that the line is free, the
/// receiver has read it.
#[test]
fn a_line_is_free_only_after_it_was_read() {
    loom::model(|| {
        let memory = memory();
        let line = Tracked::new();
        assert_eq!(Sender::new(&memory[..], KEY).send(&[7; 8], || {}), Ok(8));
        let sending = {
            let (memory, line) = (memory.clone(), line.clone());
            thread::spawn(move || {
                let mut sender = Sender::new(&memory[..], KEY);
                sender.position = 1;
                if sender.has_room_for(8) {
                    line.write();
                }
            })
        };
        let mut receiver = Receiver::new(&memory[..], KEY);
        line.read();
        assert_eq!(receiver.receive(&mut [0; 8], || {}), Ok(8));
        sending.join().unwrap();
    });
}
