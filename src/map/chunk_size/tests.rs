//! Tests of the chunk sizes, without an executor and without a clock.

use super::*;

/// Returns the measurement after one chunk of 1,000 items, if each item ran for
/// `nanoseconds`.
fn known(nanoseconds: u64) -> Measured {
    Measured::NothingEnded.end(1000, 1000 * nanoseconds)
}

/// Returns the sizes of all chunks of a map of `items` items, if `measured` never changes.
fn sizes(workers: usize, mut items: usize, measured: Measured) -> Vec<usize> {
    let mut sizes = ChunkSizes::new(workers);
    let mut all = Vec::new();
    while items > 0 {
        let size = sizes.next(Some(items), measured).min(items);
        items -= size;
        all.push(size);
    }
    all
}

#[test]
fn long_items_get_chunks_of_one() {
    for nanoseconds in [150_000, 10_000_000, u64::MAX / 1000] {
        let sizes = sizes(2, 500, known(nanoseconds));
        assert!(sizes.iter().all(|size| *size == 1), "{sizes:?}");
    }
}

#[test]
fn short_items_get_chunks_of_the_aimed_run_time() {
    let mut sizes = ChunkSizes::new(2);
    for (nanoseconds, size) in [(1000, 200), (20_000, 10), (90_000, 2)] {
        assert_eq!(sizes.next(Some(1_000_000), known(nanoseconds)), size);
        assert_eq!(sizes.next(None, known(nanoseconds)), size);
    }
}

#[test]
fn items_below_the_resolution_of_the_clock_get_the_largest_chunks() {
    let measured = Measured::NothingEnded.end(u32::MAX, 0);
    let mut sizes = ChunkSizes::new(1);
    assert_eq!(sizes.next(Some(usize::MAX), measured), LARGEST);
    assert_eq!(sizes.next(None, measured), LARGEST);
}

#[test]
fn chunks_become_smaller_towards_the_end() {
    let sizes = sizes(2, 10_000, known(1000));
    assert_eq!(sizes[..40], [200; 40]);
    assert!(sizes.is_sorted_by(|one, next| one >= next), "{sizes:?}");
    assert_eq!(sizes[sizes.len() - 8..], [1; 8]);
    assert!(sizes.len() < 120, "{sizes:?}");
    let mut left = 10_000;
    for size in sizes {
        left -= size;
        assert!(size <= 1 + left / 7, "{size} items, and then only {left}");
    }
}

#[test]
fn no_chunk_is_larger_than_what_was_measured() {
    let mut sizes = ChunkSizes::new(2);
    let mut measured = Measured::NothingEnded;
    for ended in 1..=150 {
        measured = measured.end(1, 1000);
        assert_eq!(sizes.next(None, measured), ended);
    }
}

#[test]
fn chunks_have_one_item_while_the_first_ones_run() {
    let sizes = sizes(2, 100_000, Measured::NothingEnded);
    assert_eq!(sizes.len(), 100_000);
}

#[test]
fn a_pool_that_is_busy_with_other_tasks_does_not_get_a_task_for_each_item() {
    let sizes = sizes(2, 10_000_000, Measured::NothingBegan);
    assert!(sizes[..PATIENCE].iter().all(|size| *size == 1));
    assert_eq!(sizes[PATIENCE..2 * PATIENCE], [2; PATIENCE]);
    assert_eq!(sizes.iter().max(), Some(&2048));
    assert!(sizes.len() < 12 * PATIENCE, "{}", sizes.len());
    // The size does not grow without limit.
    let mut endless = ChunkSizes::new(2);
    let last = (0..100 * PATIENCE).map(|_| endless.next(None, Measured::NothingBegan));
    assert_eq!(last.last(), Some(LARGEST));
}

#[test]
fn a_map_lets_the_first_workers_run_now_and_then() {
    let yields = |measured| {
        let mut sizes = ChunkSizes::new(2);
        let mut next = || {
            let gives_way = sizes.gives_way(measured);
            sizes.next(None, measured);
            gives_way
        };
        let all = (0..100 * PATIENCE).filter(|_| next());
        all.collect::<Vec<_>>()
    };
    let doubled = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096];
    assert_eq!(yields(Measured::NothingBegan), doubled);
    assert_eq!(yields(Measured::NothingEnded), doubled);
    assert!(yields(known(1000)).is_empty());
}

#[test]
fn any_number_of_workers_and_items_gives_a_size() {
    for workers in [0, 1, 2, usize::MAX] {
        for remaining in [None, Some(0), Some(1), Some(usize::MAX)] {
            for measured in [Measured::NothingBegan, Measured::NothingEnded, known(1)] {
                let size = ChunkSizes::new(workers).next(remaining, measured);
                assert!((1..=LARGEST).contains(&size), "{size}");
            }
        }
    }
}
