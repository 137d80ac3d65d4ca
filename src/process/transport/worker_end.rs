//! [`WorkerSender`] and [`WorkerReceiver`]: the worker's end of the transport to its
//! parent. The methods wait as long as they have to.
//!
//! A task may close the socket's descriptor, and open another file that gets the same
//! descriptor number. So both types check that the descriptor still refers to the socket
//! before they send or receive through it.

use std::hint::spin_loop;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::begun::Begun;
use super::offer_memory::OfferMemory;
use super::offers::{Found, Taker};
use super::ring::{Bell, Receiver, SMALLEST_PIECE, Scribbled, Sender};
use super::rings::{Part, Rings};
use super::{CHECK, WAITING, WAKE_UP};
use crate::sys::channel::Channel;
use crate::sys::spin;

/// Returns the sending and the receiving half of a worker's end of the transport. `worker`
/// is the worker's number in the pool. `offers` is the memory of the pool's *offers*: calls
/// that any worker may take (`offers.rs`). Without `offers` the worker takes none.
pub(crate) fn ends(
    channel: Arc<Channel>,
    rings: Option<Rings>,
    offers: Option<OfferMemory>,
    worker: usize,
) -> (WorkerSender, WorkerReceiver) {
    let shared = rings.map(|rings| {
        let sender = Sender::new(rings.to_parent(), rings.key_to_parent());
        (rings, sender)
    });
    let receiver = shared.as_ref().map(|(rings, sender)| Shared {
        ring: Receiver::new(rings.to_worker(), rings.key_to_worker()),
        rings: rings.clone(),
        offers: offers.map(|memory| memory.taker(worker)),
        reported: None,
        bell: sender.bell(),
    });
    (
        WorkerSender {
            time_to_close: channel.time_to_close(),
            channel: Arc::clone(&channel),
            shared: shared.map(|(rings, sender)| (rings.begun(), sender)),
            unchecked: 0,
        },
        WorkerReceiver {
            channel,
            shared: receiver,
        },
    )
}

pub(crate) struct WorkerSender {
    channel: Arc<Channel>,
    shared: Option<(Begun<Part>, Sender<Part>)>,
    /// A time in which, as the worker assumes, no task can close a descriptor.
    time_to_close: Duration,
    /// The number of tasks that the worker has run since the last check of the socket's
    /// descriptor.
    unchecked: u32,
}

/// The largest number of short tasks that the worker runs in a row without a check of the
/// socket's descriptor. After one more task, the worker checks the descriptor. It also
/// measures anew how long it takes to close a descriptor, because a CPU changes its speed.
const UNCHECKED: u32 = 1024;

/// The largest number of CPU pauses for which a worker that begins a task waits before it
/// wakes a pool that sleeps.
const PAUSES_BEFORE_STARTED: u32 = 20;

impl WorkerSender {
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Records that the worker begins a task. Returns `true` if the parent does not learn
    /// this without a message: it sleeps, or shares no memory with the worker.
    pub(crate) fn begin(&self, task: u64) -> bool {
        let Some((begun, sender)) = &self.shared else {
            return true;
        };
        begun.record(task);
        // A thread that submits a task often begins to wait for it just now, and then reads
        // the answer itself. The wake-up of the pool would take many times as long as these
        // pauses.
        sender.is_receiver_asleep()
            && (0..PAUSES_BEFORE_STARTED).all(|_| {
                spin_loop();
                sender.is_receiver_asleep()
            })
    }

    /// Returns `true` if [`send_all`](Self::send_all) sends these bytes as one record, which
    /// the parent reads as a whole.
    pub(crate) fn sends_whole(&self, bytes: &[u8]) -> bool {
        self.is_shared() && bytes.len() <= SMALLEST_PIECE
    }

    /// Returns `false` if the last task, which took the time `took`, has closed the
    /// socket's descriptor: then the worker cannot wake the parent any more. A check of the
    /// descriptor takes as long as a short task, so this method makes no check if the task
    /// was too short to close a descriptor (except as [`UNCHECKED`] says). A check that the
    /// descriptor still refers to the same file takes even longer. So the method makes this
    /// check only if the parent sleeps, because then the worker has to wake the parent
    /// through the socket. A thread that a task has left behind may close the descriptor
    /// later. Then the worker ends when it next wakes the parent, or the parent ends the
    /// worker.
    pub(crate) fn can_wake_after(&mut self, took: Duration) -> bool {
        if self.unchecked == UNCHECKED {
            self.time_to_close = self.channel.time_to_close();
        } else if took < self.time_to_close {
            self.unchecked += 1;
            return true;
        }
        self.unchecked = 0;
        let shared = self.shared.as_ref();
        let is_asleep = shared.is_some_and(|(_, sender)| sender.is_receiver_asleep());
        self.channel.is_open() && (!is_asleep || self.channel.is_intact())
    }

    /// Sends all bytes. Waits when there is no room for more bytes.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidData`](io::ErrorKind::InvalidData) if a task has overwritten the
    /// shared memory, and the errors of the socket.
    pub(crate) fn send_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some((_, sender)) = &mut self.shared else {
            return self.channel.send_all(bytes);
        };
        let mut left = bytes;
        let mut woken = Ok(());
        loop {
            let wake = || woken = wake(&self.channel);
            let sent = sender.send(left, wake).map_err(scribbled)?;
            woken?;
            woken = Ok(());
            left = &left[sent..];
            if left.is_empty() {
                return Ok(());
            }
            // Without a wake-up, a parent that naps might read nothing, and free no room,
            // until its nap is over.
            wake_from_nap(&sender.bell(), &self.channel, true)?;
            let room = sender.room_wanted();
            if spin::poll(|| room.is_there()) || !sender.may_sleep().map_err(scribbled)? {
                continue;
            }
            // A nap may have begun after the wake-up above. A nap that begins from now on
            // ends at once, because the parent sees that this worker waits for room.
            wake_from_nap(&sender.bell(), &self.channel, true)?;
            if self.channel.receive(&mut [0; 64])? == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
    }
}

/// The number of CPU pauses (`spin_loop`) that a polling worker makes after each check that
/// has found neither bytes nor an offer.
///
/// A check reads the words that the parent writes next. A worker that reads these words
/// without pauses takes their cache lines from the parent again and again, while the
/// parent collects the last answer and writes the next call. On the CPU on which the times
/// were measured, a round trip (a call and its answer) takes 1.15 us with 5 pauses, and
/// 1.55 us without (P2 of `benches/peers`). A burst takes the same time in both cases.
const PAUSES_BETWEEN_CHECKS: u32 = 5;

pub(crate) struct WorkerReceiver {
    channel: Arc<Channel>,
    shared: Option<Shared>,
}

struct Shared {
    ring: Receiver<Part>,
    rings: Rings,
    offers: Option<Taker<Part>>,
    /// The last offer whose overwritten status the worker has reported to the parent.
    reported: Option<u64>,
    /// Finds out if the parent *naps* (sleeps for a short time) and this worker has to wake
    /// the parent.
    bell: Bell<Part>,
}

/// The bytes that a worker has received, or the offer that it has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// The number of bytes that the worker has received from the parent, or 0 at
    /// end-of-file.
    Bytes(usize),
    Offer(u64),
}

impl WorkerReceiver {
    /// Waits for bytes or an offer. Copies the bytes that the parent has sent to this
    /// worker into `into`, or the bytes of the offer into `call`. Bytes that have arrived
    /// come before offers. The worker takes an offer only if `takes_offers` is set. If
    /// `spins` is set, the method checks several times before it sleeps.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidData`](io::ErrorKind::InvalidData) if a task has overwritten the
    /// shared memory, and the errors of the socket.
    pub(crate) fn receive(
        &mut self,
        into: &mut [u8],
        call: &mut Vec<u8>,
        takes_offers: bool,
        spins: bool,
    ) -> io::Result<Received> {
        let channel = &*self.channel;
        let Some(shared) = &mut self.shared else {
            return receive_by_socket(channel, into, spins).map(Received::Bytes);
        };
        loop {
            if spins && !shared.has_arrived(takes_offers) {
                wake_from_nap(&shared.bell, channel, !takes_offers)?;
                spin::poll(|| {
                    let has_arrived = shared.has_arrived(takes_offers);
                    if !has_arrived {
                        (0..PAUSES_BETWEEN_CHECKS).for_each(|_| spin_loop());
                    }
                    has_arrived
                });
            }
            if let Some(received) = shared.receive(channel, into, call, takes_offers)? {
                return Ok(received);
            }
            wake_from_nap(&shared.bell, channel, !takes_offers)?;
            if shared.may_sleep(takes_offers) {
                let mut bytes = [0; 64];
                let count = channel.receive(&mut bytes)?;
                if count == 0 {
                    return Ok(Received::Bytes(0));
                }
                if bytes[..count].contains(&CHECK) && !shared.has_arrived(takes_offers) {
                    tell(channel, WAITING)?;
                }
            }
            shared.ring.next().wakes_up();
        }
    }

    /// Returns `false` if a task has overwritten the status of the offer that the worker
    /// has taken, even if the parent has not revoked the offer yet. Also returns `false` if
    /// the parent has sent a message that the worker has not read, because the parent may
    /// then be about to kill the worker.
    pub(crate) fn is_still_taken(&self, offer: u64) -> bool {
        let Some(shared) = &self.shared else {
            return false;
        };
        let offers = shared.offers.as_ref();
        // `Taker::is_still_taken` begins with a fence. The fence also orders the store in
        // `Rings::take` before the check of the ring.
        offers.is_some_and(|offers| offers.is_still_taken(offer)) && !shared.ring.next().is_there()
    }
}

impl Shared {
    fn receive(
        &mut self,
        channel: &Channel,
        into: &mut [u8],
        call: &mut Vec<u8>,
        takes_offers: bool,
    ) -> io::Result<Option<Received>> {
        let mut woken = Ok(());
        let count = self.ring.receive(into, || woken = wake(channel));
        let count = count.map_err(scribbled)?;
        woken?;
        if count > 0 {
            return Ok(Some(Received::Bytes(count)));
        }
        let Some(offers) = self.offers.as_mut().filter(|_| takes_offers) else {
            return Ok(None);
        };
        loop {
            match offers.find() {
                Found::Nothing => return Ok(None),
                Found::Scribbled(offer) if self.reported == Some(offer) => return Ok(None),
                Found::Scribbled(offer) => {
                    self.reported = Some(offer);
                    wake(channel)?;
                }
                // A message that the parent has sent before it made the offer comes first.
                Found::Open(_) if self.ring.next().is_there() => return Ok(None),
                Found::Open(offer) => {
                    if offers.take(offer, call) {
                        self.rings.take(offer);
                        return Ok(Some(Received::Offer(offer)));
                    }
                }
            }
        }
    }

    fn has_arrived(&mut self, takes_offers: bool) -> bool {
        let reported = self.reported;
        let is_there = |offers: &mut Taker<Part>| match offers.find() {
            Found::Nothing => false,
            Found::Scribbled(offer) => reported != Some(offer),
            Found::Open(_) => true,
        };
        let offers = self.offers.as_mut().filter(|_| takes_offers);
        self.ring.next().is_there() || offers.is_some_and(is_there)
    }

    /// Announces to the parent that the worker is about to sleep. Returns `false` if bytes
    /// or an offer have arrived: then the worker must not sleep.
    fn may_sleep(&mut self, takes_offers: bool) -> bool {
        self.ring.next().may_sleep() && !self.has_arrived(takes_offers)
    }
}

fn receive_by_socket(channel: &Channel, into: &mut [u8], spins: bool) -> io::Result<usize> {
    if spins && channel.is_intact() {
        let found = spin::spin(|| match channel.receive_now(into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            received => Some(received),
        });
        if let Some(received) = found {
            return received;
        }
    }
    channel.receive(into)
}

/// Wakes a parent that naps. `is_waited_for` says that the worker waits for the parent: for
/// room, or for a message such as a long call. Otherwise the worker has no task, and does
/// not end a nap in a burst.
fn wake_from_nap(bell: &Bell<Part>, channel: &Channel, is_waited_for: bool) -> io::Result<()> {
    match bell.must_wake_from_nap(is_waited_for) {
        true => wake(channel),
        false => Ok(()),
    }
}

fn wake(channel: &Channel) -> io::Result<()> {
    tell(channel, WAKE_UP)
}

fn tell(channel: &Channel, byte: u8) -> io::Result<()> {
    match channel.send_checked_now(&[byte]) {
        // The socket is full of bytes that the parent has not read, which is enough to wake
        // the parent.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        sent => sent.map(|_| ()),
    }
}

fn scribbled(_: Scribbled) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, super::SCRIBBLED)
}

#[cfg(test)]
mod tests;
