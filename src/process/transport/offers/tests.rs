//! Tests of both sides of the offers in one process.

use super::*;

const SLOTS: usize = 4;
const SPACE: usize = 100;
const KEY: u64 = 0x1357_9bdf_0246_8ace;

struct Words {
    calls: Vec<AtomicU64>,
    statuses: Vec<AtomicU64>,
}

impl Words {
    fn new() -> Self {
        let zeros = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            calls: zeros(words(SLOTS, SPACE)),
            statuses: zeros(SLOTS),
        }
    }

    fn parent(&self) -> Offers<&[AtomicU64]> {
        Offers::new(&self.calls, &self.statuses, KEY)
    }

    fn worker(&self, number: usize) -> Taker<&[AtomicU64]> {
        Taker::new(&self.calls, &self.statuses, KEY, code(number))
    }
}

/// Takes the oldest offer, and returns its number and its bytes.
fn take(worker: &mut Taker<&[AtomicU64]>) -> Option<(u64, Vec<u8>)> {
    let Found::Open(n) = worker.find() else {
        return None;
    };
    let mut call = Vec::new();
    assert!(worker.take(n, &mut call) && worker.is_still_taken(n));
    Some((n, call))
}

#[test]
fn each_offer_is_taken_once_and_the_oldest_first() {
    let words = Words::new();
    let mut parent = words.parent();
    let mut workers = [words.worker(0), words.worker(70_000)];
    let longest = [7; LONGEST];
    let longer = [8; LONGEST + 1];
    let calls = [&b""[..], b"1", b"12345678", &longest, &longer];
    for (lap, taker) in [0, 70_000].into_iter().cycle().take(10).enumerate() {
        // The calls are offered one at a time, because there are fewer slots than calls.
        for call in calls {
            parent.offer(call, 0);
            let [first, second] = &mut workers;
            let (n, bytes) = take(first).expect("it is there");
            assert_eq!(bytes, call, "offer {n} of lap {lap}");
            assert_eq!(take(second), None);
            assert_eq!(parent.status(n), Status::By(code(taker)));
            assert!(!parent.recall(n));
            parent.set_oldest(parent.next());
        }
        workers.swap(0, 1);
    }
    for call in &calls[..SLOTS] {
        parent.offer(call, 0);
    }
    let [first, second] = &mut workers;
    for (at, call) in calls[..SLOTS].iter().enumerate() {
        let worker = if at % 2 == 0 {
            &mut *first
        } else {
            &mut *second
        };
        let (n, bytes) = take(worker).expect("it is there");
        assert_eq!((n, &bytes[..]), (50 + at as u64, *call));
    }
    assert_eq!(parent.status(51), Status::By(code(70_000)));
}

#[test]
fn a_recalled_offer_is_not_taken_and_the_next_one_is() {
    let words = Words::new();
    let (mut parent, mut worker) = (words.parent(), words.worker(3));
    parent.offer(b"a", 0);
    parent.offer(b"b", 0);
    assert_eq!(worker.find(), Found::Open(0));
    assert!(parent.recall(0) && !parent.recall(0));
    assert!(!worker.take(0, &mut Vec::new()));
    assert_eq!(take(&mut worker), Some((1, b"b".to_vec())));
    assert_eq!(worker.find(), Found::Nothing);
}

#[test]
fn a_worker_that_has_missed_some_laps_finds_the_oldest_offer() {
    let words = Words::new();
    let (mut parent, mut busy) = (words.parent(), words.worker(1));
    let mut late = words.worker(2);
    for n in 0..10 * SLOTS as u64 {
        parent.offer(b"x", 0);
        assert_eq!(take(&mut busy).map(|(taken, _)| taken), Some(n));
    }
    parent.offer(b"y", 0);
    parent.offer(b"z", 0);
    parent.set_oldest(40);
    assert_eq!(take(&mut late), Some((40, b"y".to_vec())));
    assert_eq!(take(&mut busy), Some((41, b"z".to_vec())));
}

#[test]
fn an_overwritten_status_is_noticed_and_taken_by_no_worker() {
    let words = Words::new();
    let (mut parent, mut worker) = (words.parent(), words.worker(1));
    parent.offer(b"a", 0);
    let open = words.statuses[0].load(Ordering::Relaxed);
    for nonsense in [0, 1, u64::MAX, open ^ 1, open ^ 1 << 63, open + 1] {
        words.statuses[0].store(nonsense, Ordering::Relaxed);
        assert_eq!(parent.status(0), Status::Scribbled, "{nonsense:#x}");
        assert!(!parent.recall(0));
        assert_eq!(worker.find(), Found::Scribbled(0));
        assert!(!worker.take(0, &mut Vec::new()));
    }
    parent.revoke(0);
    words.statuses[0].store(0, Ordering::Relaxed);
    parent.offer(b"a", 0);
    assert_eq!(worker.find(), Found::Scribbled(0), "it comes first");
    parent.set_oldest(1);
    assert_eq!(take(&mut worker), Some((1, b"a".to_vec())));
}

#[test]
fn a_worker_sees_that_its_offer_was_revoked() {
    let words = Words::new();
    let (mut parent, mut worker) = (words.parent(), words.worker(1));
    parent.offer(b"a", 0);
    let (n, _) = take(&mut worker).expect("it is there");
    words.statuses[0].store(0, Ordering::Relaxed);
    assert!(!worker.is_still_taken(n));
    parent.revoke(n);
    assert!(!worker.is_still_taken(n));
}
