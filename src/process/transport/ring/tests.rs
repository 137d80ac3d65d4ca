//! Tests of a ring in ordinary memory.

use std::thread;

use super::*;

type Ends<'m> = (Sender<&'m [AtomicU64]>, Receiver<&'m [AtomicU64]>);

const KEY: u64 = 42;

/// The memory of a ring with `lines` lines of records.
fn memory(lines: usize) -> Vec<AtomicU64> {
    (0..words(LINE_BYTES * lines))
        .map(|_| AtomicU64::new(0))
        .collect()
}

fn ends(memory: &[AtomicU64]) -> Ends<'_> {
    (Sender::new(memory, KEY), Receiver::new(memory, KEY))
}

/// Returns `count` bytes whose values repeat after 251 bytes. The length of a line is no
/// multiple of 251, so bytes from a wrong line are noticed.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n % 251) as u8).collect()
}

fn never() {
    panic!("the other side does not sleep");
}

/// Sends all bytes and receives them into a buffer of `buffer` bytes.
fn transfer(
    sender: &mut Sender<&[AtomicU64]>,
    receiver: &mut Receiver<&[AtomicU64]>,
    sent: &[u8],
    buffer: usize,
) {
    let mut arrived = Vec::new();
    let mut into = vec![0; buffer];
    let mut left = sent;
    while arrived.len() < sent.len() {
        let count = sender.send(left, never).expect("no word was changed");
        left = &left[count..];
        let before = arrived.len();
        loop {
            let count = receiver
                .receive(&mut into, never)
                .expect("no word was changed");
            if count == 0 {
                break;
            }
            arrived.extend_from_slice(&into[..count]);
        }
        assert!(arrived.len() > before, "the stream has stopped");
    }
    assert!(arrived == sent, "{} bytes were changed", sent.len());
    assert!(!receiver.next().is_there());
}

#[test]
fn bytes_arrive_as_they_were_sent_whatever_their_number_and_the_buffer() {
    let memory = memory(4096);
    let (mut sender, mut receiver) = ends(&memory);
    let lengths = [
        1,
        7,
        8,
        9,
        47,
        48,
        49,
        112,
        113,
        4096,
        LARGEST,
        LARGEST + 1,
        700_001,
    ];
    // The stream goes around the ring several times, so some records lie across its end.
    for lap in 0..7 {
        for length in lengths {
            transfer(&mut sender, &mut receiver, &bytes(length + lap), 64 << 10);
            transfer(&mut sender, &mut receiver, &bytes(length), 1000);
        }
    }
}

#[test]
fn small_messages_go_through_a_ring_of_one_line() {
    let memory = memory(1);
    let (mut sender, mut receiver) = ends(&memory);
    for length in 1..=48 {
        transfer(&mut sender, &mut receiver, &bytes(length), 64);
    }
    assert_eq!(sender.send(&[1; 49], never), Ok(0), "it does not fit");
}

#[test]
fn a_full_ring_takes_nothing_until_lines_are_freed() {
    let memory = memory(4);
    let (mut sender, mut receiver) = ends(&memory);
    for n in 0..4 {
        assert_eq!(sender.send(&[n; 10], never), Ok(10));
    }
    assert_eq!(sender.send(&[4; 10], never), Ok(0));
    assert_eq!(sender.may_sleep(), Ok(true));
    let mut into = [0; 16];
    let mut woken = 0;
    assert_eq!(receiver.receive(&mut into, || woken += 1), Ok(10));
    assert_eq!(receiver.receive(&mut into, || woken += 1), Ok(10));
    assert_eq!(woken, 1, "a sender is woken once");
    assert_eq!(sender.may_sleep(), Ok(false), "there is room");
    assert_eq!(sender.send(&[4; 10], never), Ok(10));
}

#[test]
fn a_receiver_that_sleeps_is_woken_once_and_one_that_does_not_is_not() {
    let memory = memory(16);
    let (mut sender, receiver) = ends(&memory);
    let mut woken = 0;
    assert_eq!(sender.send(&[1], || woken += 1), Ok(1));
    assert!(!receiver.next().may_sleep(), "bytes have arrived");
    receiver.next().wakes_up();
    assert_eq!(sender.send(&[1], || woken += 1), Ok(1));
    assert_eq!(woken, 0);
    let (memory, mut woken) = (self::memory(16), 0);
    let (mut sender, receiver) = ends(&memory);
    assert!(receiver.next().may_sleep());
    assert_eq!(sender.send(&[1], || woken += 1), Ok(1));
    assert_eq!(sender.send(&[1], || woken += 1), Ok(1));
    assert_eq!(woken, 1);
}

/// A receiver that believed a mark with a length beyond the ring would look for the bytes
/// behind the end of the memory, and panic.
#[test]
fn a_mark_that_tells_of_more_bytes_than_the_ring_has_is_no_record() {
    let memory = memory(4);
    let (mut sender, mut receiver) = ends(&memory);
    assert_eq!(sender.send(&[1; 10], never), Ok(10));
    for length in [4 * LINE_BYTES - 8 * HEAD + 1, 4000, LARGEST] {
        let changed = (length ^ 10) as u64;
        let mark = &memory[LINE * CONTROL_LINES];
        mark.fetch_xor(changed, Ordering::Relaxed);
        assert_eq!(receiver.receive(&mut [0; 64], never), Ok(0), "{length}");
        mark.fetch_xor(changed, Ordering::Relaxed);
    }
    assert_eq!(receiver.receive(&mut [0; 64], never), Ok(10));
}

/// The user's bytes almost never look like the mark of a later record, because a mark
/// depends on the ring's key.
#[test]
fn bytes_of_an_earlier_lap_are_no_record() {
    let memory = memory(4);
    let (mut sender, mut receiver) = ends(&memory);
    for word in [0_u64, 1, 8, u64::MAX, 1 << 32] {
        let payload: Vec<u8> = (0..30).flat_map(|_| word.to_le_bytes()).collect();
        assert_eq!(sender.send(&payload, never), Ok(240));
        assert_eq!(receiver.receive(&mut [0; 240], never), Ok(240));
        assert!(!receiver.next().is_there());
    }
}

#[test]
fn each_changed_word_of_a_record_is_noticed() {
    let payload = bytes(500);
    let record = lines(payload.len()) * LINE;
    for changed in 0..record {
        for bit in [0, 3, 17, 63] {
            let memory = memory(16);
            let (mut sender, mut receiver) = ends(&memory);
            assert_eq!(sender.send(&payload, never), Ok(500));
            let word = &memory[CONTROL_LINES * LINE + changed];
            word.store(word.load(Ordering::Relaxed) ^ 1 << bit, Ordering::Relaxed);
            let mut into = [0; 500];
            let received = receiver.receive(&mut into, never);
            let is_padding = changed >= HEAD + payload.len().div_ceil(8);
            match (changed, received) {
                // The bytes behind the payload mean nothing.
                (_, Ok(500)) if is_padding => assert_eq!(into[..], payload[..]),
                // If the changed mark holds no possible length, the receiver sees no
                // record.
                (0, Ok(0)) | (_, Err(Scribbled)) => {}
                other => panic!("{other:?}, bit {bit}"),
            }
        }
    }
}

#[test]
fn a_record_of_another_position_or_key_is_refused() {
    let memory = memory(4);
    let (mut sender, _) = ends(&memory);
    assert_eq!(sender.send(&[1; 30], never), Ok(30));
    let mut late = Receiver::new(&memory[..], KEY);
    late.next.free(4);
    assert_eq!(late.receive(&mut [0; 64], never), Ok(0));
    let mut other = Receiver::new(&memory[..], KEY + 1);
    assert_eq!(other.receive(&mut [0; 64], never), Ok(0));
}

#[test]
fn a_position_that_makes_no_sense_is_refused() {
    let memory = memory(4);
    let (mut sender, mut receiver) = ends(&memory);
    for n in 0..4 {
        assert_eq!(sender.send(&[n; 10], never), Ok(10));
    }
    assert_eq!(receiver.receive(&mut [0; 16], never), Ok(10));
    assert_eq!(sender.send(&[4; 10], never), Ok(10));
    for nonsense in [0, 6, 7, u64::MAX] {
        memory[FREED].store(nonsense, Ordering::Relaxed);
        assert_eq!(sender.send(&[5; 10], never), Err(Scribbled), "{nonsense}");
        assert_eq!(sender.may_sleep(), Err(Scribbled));
    }
}

/// A thread sends pieces of many sizes to another thread. A thread that has to wait is
/// parked until the other thread unparks it, so a lost wake-up would block the test.
#[test]
fn a_stream_between_two_threads_loses_nothing() {
    let memory = memory(64);
    let (mut sender, mut receiver) = ends(&memory);
    let sent = bytes(3_000_000);
    let sending = thread::current();
    thread::scope(|scope| {
        let receives = scope.spawn(|| {
            let mut arrived = Vec::new();
            let mut into = [0; 3000];
            while arrived.len() < sent.len() {
                match receiver.receive(&mut into, || sending.unpark()).unwrap() {
                    0 if receiver.next().may_sleep() => thread::park(),
                    0 => receiver.next().wakes_up(),
                    count => arrived.extend_from_slice(&into[..count]),
                }
            }
            arrived
        });
        let receiving = receives.thread().clone();
        let mut left = &sent[..];
        let mut piece = 1;
        while !left.is_empty() {
            piece = (piece * 7 + 1) % 3900;
            let end = left.len().min(1 + piece);
            let count = sender.send(&left[..end], || receiving.unpark()).unwrap();
            left = &left[count..];
            if count < end && sender.may_sleep().unwrap() {
                thread::park();
            }
        }
        assert!(receives.join().unwrap() == sent);
    });
}
