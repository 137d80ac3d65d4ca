//! [`Requests`]: the receiving side of a worker.

use super::ending::{end_after_error, end_at_error};
use super::remote::Remote;
use crate::process::transport::{self, WorkerReceiver};
use crate::process::wire::assembler::Assembler;
use crate::process::wire::frame::Frame;
use crate::process::wire::message::Request;
use crate::sys::parent::Parent;
use crate::sys::spin::is_elsewhere;

/// The connection by which a worker receives from its parent.
#[expect(clippy::large_enum_variant, reason = "a worker has one of them")]
pub(super) enum Input {
    /// The transport of a worker that the parent process has started, and the arrived bytes
    /// that the worker has not handled yet.
    Direct(WorkerReceiver, Assembler),
    /// The connection of a worker that a command or MPI has started.
    Elsewhere(&'static dyn Remote),
}

pub(super) struct Requests {
    /// The parent, or `None` if a command or MPI has started this process.
    parent: Option<&'static Parent>,
    input: Input,
    /// The bytes of the *offer* that the worker has taken last: a call that the parent
    /// offers to all workers, in memory that they share (`transport/offers.rs`).
    call: Vec<u8>,
    pub(super) takes_offers: bool,
    /// `true` between the messages `Hold` and `Release`. In this time the parent may be
    /// about to kill this process, so the worker takes no offer.
    pub(super) is_held: bool,
    /// The number of the CPU on which the last request was sent, plus one, or 0 if unknown.
    cpu: u32,
}

/// A request from the parent, or the lack of one.
pub(super) enum Received {
    Request(Request),
    /// The worker has taken the offer with this number, but must not run its call: a task
    /// has overwritten the offer's status, or the parent may be about to kill the worker.
    Revoked(u64),
}

impl Requests {
    /// Returns the receiving side of a worker that takes no offer yet.
    pub(super) fn new(parent: Option<&'static Parent>, input: Input) -> Self {
        Self {
            parent,
            input,
            call: Vec::new(),
            takes_offers: false,
            is_held: false,
            cpu: 0,
        }
    }

    /// Waits for the next request. Returns `None` if the parent has ended or has closed its
    /// end of the channel.
    pub(super) fn next(&mut self) -> Option<Received> {
        let (receiver, bytes) = match &mut self.input {
            Input::Direct(receiver, bytes) => (receiver, bytes),
            Input::Elsewhere(remote) => {
                let request = remote.next();
                let request = request.unwrap_or_else(|error| end_after_error(&error, None));
                return Some(Received::of(request));
            }
        };
        loop {
            if let Some(frame) = bytes.next().unwrap_or_else(end_at_error) {
                self.cpu = bytes.cpu();
                return Some(Received::of(frame));
            }
            // If only a part of a message has arrived, the rest is on its way, so the
            // worker checks for the rest several times before it sleeps. It does so, too,
            // if the parent sent the last request on another CPU, where it may be sending
            // the next one.
            let is_inside = !bytes.is_between_frames();
            let spins = is_inside || is_elsewhere(self.cpu);
            let spare_buffer = bytes.spare_buffer().unwrap_or_else(end_at_error);
            let call = &mut self.call;
            let takes_offers = self.takes_offers && !self.is_held;
            match receiver.receive(spare_buffer, call, takes_offers, spins) {
                Ok(transport::Received::Bytes(0)) => return None,
                Ok(transport::Received::Bytes(count)) => bytes.advance(count),
                // The parent may have used the memory of a revoked offer again while the
                // worker copied the call.
                Ok(transport::Received::Offer(offer)) if !receiver.is_still_taken(offer) => {
                    return Some(Received::Revoked(offer));
                }
                Ok(transport::Received::Offer(_)) => {
                    let (header, frame) = Frame::only(call).unwrap_or_else(end_at_error);
                    self.cpu = header.cpu;
                    return Some(Received::of(frame));
                }
                Err(error) => end_after_error(&error, self.parent),
            }
        }
    }
}

impl Received {
    fn of(frame: Frame) -> Self {
        Self::Request(Request::of(frame).unwrap_or_else(end_at_error))
    }
}
