//! Tests of the wake-ups by which a worker ends a nap of its parent (a short sleep in which
//! messages gather), and of the checks of the worker's socket.

use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::parent_end::{ParentEnd, Watch};
use super::*;
use crate::sys::channel;

/// Returns the parent's end and the worker's end of a transport by shared memory. A method
/// of the worker's end that would sleep returns `WouldBlock` instead.
fn transport() -> (ParentEnd, (WorkerSender, WorkerReceiver)) {
    let (rings, file) = Rings::create().unwrap();
    let (ours, theirs) = channel::pair().unwrap();
    let socket = UnixStream::from(theirs);
    socket.set_nonblocking(true).unwrap();
    let channel = Arc::new(Channel::new(socket.into()));
    let theirs = Rings::open(&file, rings.key()).unwrap();
    let parent = ParentEnd::new(ours, Some(rings));
    (parent, ends(channel, Some(theirs), None, 0))
}

fn is_woken(watch: &Watch) -> bool {
    let socket = watch.descriptor().expect("it has a socket");
    let now = Timespec::default();
    poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&now)).unwrap() > 0
}

/// A CPU that was slow when the worker began may be fast later. So the worker measures
/// the time to close a descriptor again after [`UNCHECKED`] tasks without a check.
#[test]
fn the_time_that_closing_takes_is_measured_again() {
    let (_ours, theirs) = channel::pair().unwrap();
    let channel = Arc::new(Channel::new(theirs));
    let (mut sender, _) = ends(channel, None, None, 0);
    sender.time_to_close = Duration::MAX;
    for _ in 0..UNCHECKED {
        assert!(sender.can_wake_after(Duration::ZERO));
        assert_eq!(sender.time_to_close, Duration::MAX);
    }
    assert!(sender.can_wake_after(Duration::ZERO));
    assert_ne!(sender.time_to_close, Duration::MAX);
    assert_eq!(sender.unchecked, 0);
}

/// If the worker did not wake the parent, each part of a large answer would wait until the
/// parent's nap is over.
#[test]
fn a_worker_without_room_wakes_a_parent_that_naps() {
    for in_burst in [false, true] {
        let (mut parent, (mut sender, _)) = transport();
        let watch = parent.watch(false, None);
        watch.nap(in_burst);
        // The bytes do not fit into the ring, so the worker would sleep.
        let sent = sender.send_all(&vec![1; 1 << 20]);
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(is_woken(&watch), "in a burst: {in_burst}");
        assert!(parent.receive_now(&mut [0; 1 << 16]).unwrap() > 0);
    }
}

/// If an idle worker ended the parent's nap in a burst too, it would wake the parent after
/// each tiny task of the burst.
#[test]
fn only_an_idle_worker_leaves_a_parent_alone_that_naps_in_a_burst() {
    for (in_burst, takes_offers) in [(false, false), (false, true), (true, false), (true, true)] {
        let (parent, (_sender, mut receiver)) = transport();
        let watch = parent.watch(false, None);
        watch.nap(in_burst);
        let received = receiver.receive(&mut [0; 64], &mut Vec::new(), takes_offers, false);
        assert_eq!(received.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let wakes = !(in_burst && takes_offers);
        assert_eq!(is_woken(&watch), wakes, "{in_burst} {takes_offers}");
    }
}
