//! The driver of the fuzz target `ring`: it holds both ends of a ring in one process, and
//! overwrites words of the ring, as a task might do by mistake.
//!
//! The driver checks that the received bytes are the sent bytes, in order, and that no
//! overwritten word causes a panic. As long as no word was overwritten, it also checks that
//! no error occurs, each byte arrives, and no wake-up is lost.

use std::cell::Cell;

use super::*;
use crate::process::fuzz_input::Input;

const STEPS: usize = 300;

/// The largest number of bytes that one step sends, or receives.
const MOST: usize = 60_000;

/// Returns the byte at this place of the stream.
fn byte_at(place: usize) -> u8 {
    ((place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// The new value of a word that is overwritten.
#[derive(Clone, Copy)]
enum Change {
    To(u64),
    By(u64),
    Plus(u64),
    /// The value of another word.
    Copy(usize),
}

impl Change {
    fn read(input: &mut Input<'_>) -> Self {
        match input.byte() % 6 {
            0 => Self::To(input.u64()),
            1 => Self::To(u64::from(input.byte())),
            2 => Self::By(1 << (input.byte() % 64)),
            3 => Self::By(u64::from(input.byte())),
            4 => Self::Plus(i64::from(input.byte() as i8) as u64),
            _ => Self::Copy(usize::from(input.u16())),
        }
    }
}

/// The words of a ring. The planned `change` happens at one of the next accesses to the
/// words, so a word may change while a method of one of the two ends runs.
struct Words {
    words: Vec<AtomicU64>,
    /// The next change: the number of accesses before the change, the index of the changed
    /// word, and its new value.
    change: Cell<Option<(u8, usize, Change)>>,
}

impl Words {
    fn overwrite(&self, at: usize, change: Change) {
        let words = &self.words;
        let word = &words[at % words.len()];
        let before = word.load(Ordering::Relaxed);
        let after = match change {
            Change::To(value) => value,
            Change::By(bits) => before ^ bits,
            Change::Plus(number) => before.wrapping_add(number),
            Change::Copy(from) => words[from % words.len()].load(Ordering::Relaxed),
        };
        word.store(after, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy)]
struct Shared<'w>(&'w Words);

impl Deref for Shared<'_> {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        match self.0.change.take() {
            Some((0, at, change)) => self.0.overwrite(at, change),
            Some((left, at, change)) => self.0.change.set(Some((left - 1, at, change))),
            None => {}
        }
        &self.0.words
    }
}

struct Driver<'w> {
    words: &'w Words,
    sender: Sender<Shared<'w>>,
    receiver: Receiver<Shared<'w>>,
    /// The number of bytes that were sent. After an error of the sender, it includes the
    /// bytes that the sender may have sent before the error.
    sent: usize,
    received: usize,
    sender_has_failed: bool,
    /// `true` as long as no word was overwritten.
    is_clean: bool,
    /// The flag with which the receiver sleeps, or `None` if the receiver is awake.
    receiver_sleeps: Option<u64>,
    sender_sleeps: bool,
    /// The indices and former values of the overwritten words.
    before: Vec<(usize, u64)>,
    stream: Vec<u8>,
}

impl Driver<'_> {
    fn send(&mut self, count: usize) {
        if self.sender_has_failed {
            return;
        }
        self.sender_sleeps = false;
        self.stream.clear();
        let places = self.sent..self.sent + count;
        self.stream.extend(places.map(byte_at));
        let mut woken = 0;
        let sent = self.sender.send(&self.stream, || woken += 1);
        let Ok(sent) = sent else {
            assert!(!self.is_clean, "an error although nothing was overwritten");
            self.sender_has_failed = true;
            self.sent += count;
            return;
        };
        assert!(sent <= count, "more is sent than there was");
        self.sent += sent;
        if !self.is_clean {
            return;
        }
        let whole = self.words.words.len() * 8 - LINE_BYTES * CONTROL_LINES - 8 * HEAD;
        let fits = whole >= min(count, SMALLEST_PIECE);
        if self.received + sent == self.sent && fits && count > 0 {
            assert!(sent > 0, "an empty ring takes nothing");
        }
        let is_asleep = self.receiver_sleeps == Some(ASLEEP);
        let expected = usize::from(is_asleep && sent > 0);
        assert_eq!(woken, expected, "wake-ups of a receiver");
        if expected > 0 {
            self.receiver_wakes_up();
        }
    }

    fn receive(&mut self, into: &mut [u8]) {
        if self.is_clean && self.receiver_sleeps == Some(ASLEEP) {
            assert!(!self.receiver.next().is_there(), "a lost wake-up");
        }
        self.receiver_wakes_up();
        let mut woken = false;
        let received = self.receiver.receive(into, || woken = true);
        let Ok(received) = received else {
            assert!(!self.is_clean, "an error although nothing was overwritten");
            return;
        };
        assert!(received <= self.sent - self.received, "more than was sent");
        let places = self.received..self.received + received;
        let is_right = places.map(byte_at).eq(into[..received].iter().copied());
        assert!(is_right, "a wrong value behind byte {}", self.received);
        self.received += received;
        if self.is_clean && self.sender_sleeps {
            let is_there = self.sender.room_wanted().is_there();
            assert_eq!(woken, is_there, "wake-ups of a sender");
            self.sender_sleeps = !woken;
        }
    }

    fn receiver_wakes_up(&mut self) {
        if self.receiver_sleeps.take().is_some() {
            self.receiver.next().wakes_up();
        }
    }

    fn receiver_sleeps(&mut self, flag: u64) {
        let next = self.receiver.next();
        let may_sleep = match flag {
            ASLEEP => next.may_sleep(),
            _ => next.may_nap(flag == NAPPING_IN_BURST),
        };
        if may_sleep {
            self.receiver_sleeps = Some(flag);
        } else {
            next.wakes_up();
            self.receiver_sleeps = None;
        }
        if self.is_clean {
            let is_there = self.received < self.sent;
            assert_eq!(may_sleep, !is_there, "the receiver sees what was sent");
        }
    }

    fn ring_bell(&mut self, input: &mut Input<'_>) {
        let bell = self.sender.bell();
        let (flags, rings) = match input.byte() % 3 {
            0 => (ASLEEP..=ASLEEP, bell.must_wake()),
            1 => (NAPPING..=NAPPING, bell.must_wake_from_nap(false)),
            _ => (NAPPING..=NAPPING_IN_BURST, bell.must_wake_from_nap(true)),
        };
        let is_asleep = self.sender.is_receiver_asleep();
        if !self.is_clean {
            return;
        }
        let sleeps = self
            .receiver_sleeps
            .is_some_and(|flag| flags.contains(&flag));
        assert_eq!(rings, sleeps, "flags {flags:?}");
        if rings {
            self.receiver_wakes_up();
        }
        assert_eq!(is_asleep, self.receiver_sleeps == Some(ASLEEP));
    }

    /// Returns the index of a word. In most cases, an end reads or writes this word soon.
    fn choose(&self, input: &mut Input<'_>) -> usize {
        let sends = self.sender.memory.index(self.sender.position);
        let next = &self.receiver.next;
        let receives = next.memory.index(next.position);
        match input.byte() % 8 {
            0 => FREED,
            1 => RECEIVER_SLEEPS,
            2 => SENDER_SLEEPS,
            3 => receives,
            4 => receives + 1,
            5 => receives + usize::from(input.byte()),
            6 => sends + usize::from(input.byte()),
            _ => usize::from(input.u16()),
        }
    }

    fn overwrite(&mut self, input: &mut Input<'_>) {
        self.is_clean = false;
        let at = self.choose(input) % self.words.words.len();
        let before = self.words.words[at].load(Ordering::Relaxed);
        self.before.push((at, before));
        let accesses = input.byte() % 16;
        let change = Change::read(input);
        match accesses {
            0 => self.words.overwrite(at, change),
            later => self.words.change.set(Some((later - 1, at, change))),
        }
    }

    /// Gives the overwritten words their former values. Some of these values are out of
    /// date, because an end has written to the word since.
    fn restore(&mut self) {
        for (at, before) in self.before.drain(..).rev() {
            self.words.words[at].store(before, Ordering::Relaxed);
        }
    }

    /// Returns `false` at the end of the input.
    fn step(&mut self, input: &mut Input<'_>, into: &mut [u8]) -> bool {
        if input.is_empty() {
            return false;
        }
        match input.byte() % 12 {
            0..=2 => self.send(input.size(MOST)),
            3..=5 => {
                let count = input.size(MOST);
                self.receive(&mut into[..count]);
            }
            6 => self.receiver_sleeps(ASLEEP),
            7 => self.receiver_sleeps([NAPPING, NAPPING_IN_BURST][usize::from(input.byte() % 2)]),
            8 => {
                let sleeps = self.sender.may_sleep();
                assert!(sleeps.is_ok() || !self.is_clean);
                self.sender_sleeps = sleeps == Ok(true);
                self.sender_has_failed |= sleeps.is_err();
            }
            9 => self.ring_bell(input),
            10 => self.overwrite(input),
            _ => self.restore(),
        }
        true
    }
}

pub(crate) fn drive(data: &[u8]) {
    let mut input = Input::new(data);
    let key = input.key();
    let lines = 1 << (input.byte() % 11);
    let words = Words {
        words: (0..words(LINE_BYTES * lines))
            .map(|_| AtomicU64::new(0))
            .collect(),
        change: Cell::new(None),
    };
    let mut driver = Driver {
        words: &words,
        sender: Sender::new(Shared(&words), key),
        receiver: Receiver::new(Shared(&words), key),
        sent: 0,
        received: 0,
        sender_has_failed: false,
        is_clean: true,
        receiver_sleeps: None,
        sender_sleeps: false,
        before: Vec::new(),
        stream: Vec::new(),
    };
    let mut into = vec![0; MOST];
    for _ in 0..STEPS {
        if !driver.step(&mut input, &mut into) {
            break;
        }
    }
    if driver.is_clean {
        while driver.receiver.next().is_there() {
            driver.receive(&mut into);
        }
        assert_eq!(driver.received, driver.sent, "bytes are lost");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_overwritten_word_makes_a_ring_panic_or_deliver_a_wrong_value() {
        crate::process::fuzz_input::run_with_fixed_inputs(super::drive, 400, 500);
    }
}
