//! [`WorkerSender`] and [`WorkerReceiver`]: the worker's end of the transport to its parent.
//! The methods wait as long as they have to.
//!
//! A task may close the socket's descriptor, and open another file that gets the same
//! number. So both types check the descriptor each time before they use it.

use std::io;

use super::offers::Offers;
use super::ring::{Receiver, Scribbled, Sender};
use super::rings::{Part, Rings};
use super::{CHECK, WAITING, WAKE_UP};
use crate::sys::channel::Channel;
use crate::sys::spin;

/// Returns the two halves of the worker's end.
pub(crate) fn ends(
    channel: &'static Channel,
    rings: Option<Rings>,
) -> (WorkerSender, WorkerReceiver) {
    let receiver = rings
        .as_ref()
        .map(|rings| Receiver::new(rings.to_worker(), rings.key_to_worker()));
    let shared = rings.map(|rings| {
        let sender = Sender::new(rings.to_parent(), rings.key_to_parent());
        (rings.offers(), sender)
    });
    (
        WorkerSender {
            channel,
            shared,
            calls: 0,
        },
        WorkerReceiver {
            channel,
            shared: receiver,
        },
    )
}

/// The sending half of a worker's end.
pub(crate) struct WorkerSender {
    channel: &'static Channel,
    shared: Option<(Offers<Part>, Sender<Part>)>,
    /// The number of calls that have arrived.
    calls: u64,
}

impl WorkerSender {
    /// Begins a task whose call has arrived. Returns `false` if the parent has recalled the
    /// task, which the worker must then skip.
    pub(crate) fn begin(&mut self, task: u64) -> bool {
        let n = self.calls;
        self.calls += 1;
        let shared = self.shared.as_ref();
        shared.is_none_or(|(offers, _)| offers.begin(n, task))
    }

    /// Returns `true` if the worker can still wake its parent. A task may have closed the
    /// socket's descriptor.
    pub(crate) fn can_wake(&self) -> bool {
        self.shared.is_none() || self.channel.is_intact()
    }

    /// Sends all bytes, and waits for room.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidData`](io::ErrorKind::InvalidData) if the shared memory was
    /// overwritten, and the errors of the socket.
    pub(crate) fn send_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some((_, sender)) = &mut self.shared else {
            return self.channel.send_all(bytes);
        };
        let mut left = bytes;
        let mut woken = Ok(());
        loop {
            let wake = || woken = wake(self.channel);
            let sent = sender.send(left, wake).map_err(scribbled)?;
            woken?;
            woken = Ok(());
            left = &left[sent..];
            if left.is_empty() {
                return Ok(());
            }
            let room = sender.room_wanted();
            if !spin::poll(|| room.is_there())
                && sender.may_sleep().map_err(scribbled)?
                && self.channel.receive(&mut [0; 64])? == 0
            {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
    }
}

/// The receiving half of a worker's end.
pub(crate) struct WorkerReceiver {
    channel: &'static Channel,
    shared: Option<Receiver<Part>>,
}

impl WorkerReceiver {
    /// Waits for bytes, and receives them. A result of 0 bytes means end-of-file. If `spins`
    /// is set, the method checks for bytes several times before it sleeps.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidData`](io::ErrorKind::InvalidData) if the shared memory was
    /// overwritten, and the errors of the socket.
    pub(crate) fn receive(&mut self, into: &mut [u8], spins: bool) -> io::Result<usize> {
        let Some(receiver) = &mut self.shared else {
            return receive_by_socket(self.channel, into, spins);
        };
        loop {
            if spins {
                spin::poll(|| receiver.next().is_there());
            }
            let mut woken = Ok(());
            let wake = || woken = wake(self.channel);
            let count = receiver.receive(into, wake).map_err(scribbled)?;
            woken?;
            if count > 0 {
                return Ok(count);
            }
            if receiver.next().may_sleep() {
                let mut bytes = [0; 64];
                let count = self.channel.receive(&mut bytes)?;
                if count == 0 {
                    return Ok(0);
                }
                if bytes[..count].contains(&CHECK) && !receiver.next().is_there() {
                    tell(self.channel, WAITING)?;
                }
            }
            receiver.next().wakes_up();
        }
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

/// Wakes the parent.
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
