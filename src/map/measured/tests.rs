//! Tests of the mean run time of an item, without a clock.

use super::*;

fn mean(measured: Measured) -> u32 {
    match measured {
        Measured::Ended { mean, .. } => mean,
        other => panic!("{other:?}"),
    }
}

fn after(measured: Measured, chunks: usize, items: u32, each: u64) -> Measured {
    let end = |measured: Measured, _| measured.end(items, u64::from(items) * each);
    (0..chunks).fold(measured, end)
}

#[test]
fn the_mean_is_that_of_an_item() {
    let measured = after(Measured::NothingEnded, 10, 50, 1000);
    let (items, mean) = (500, 1000);
    assert_eq!(measured, Measured::Ended { items, mean });
}

#[test]
fn items_that_become_longer_are_followed() {
    let short = after(Measured::NothingEnded, 1000, 200, 1000);
    assert!(mean(after(short, 3, 100, 1_000_000)) > 5000);
    assert!(mean(after(short, 10, 10, 1_000_000)) > AIM / 2);
    let shortest = after(Measured::NothingEnded, 1000, 4096, 0);
    assert!(mean(after(shortest, 20, 10, 1_000_000)) > AIM / 2);
}

#[test]
fn items_that_become_shorter_are_followed() {
    let long = after(Measured::NothingEnded, 1000, 1, 10_000_000);
    assert_eq!(mean(long), AIM);
    assert!(mean(after(long, 20, 1, 1000)) < 2000);
}

#[test]
fn a_single_slow_item_is_soon_forgotten() {
    let short = after(Measured::NothingEnded, 10, 200, 1000);
    let outlier = short.end(1, 60_000_000_000);
    assert!(mean(outlier) < 2000);
    assert!(mean(after(outlier, 3, 1, 1000)) < 1500);
}

#[test]
fn any_figures_are_taken() {
    let mut measured = Measured::NothingBegan;
    for items in [0, 1, 2, u32::MAX] {
        for nanoseconds in [0, 1, u64::MAX] {
            measured = measured.end(items, nanoseconds);
            assert!(mean(measured) <= AIM);
            assert_eq!(Measured::from_bits(measured.to_bits()), measured);
        }
    }
    let Measured::Ended { items, .. } = measured else {
        panic!("{measured:?}");
    };
    assert_eq!(items, u32::MAX, "the number does not wrap");
    let hostile = Measured::from_bits(u64::MAX).end(1, 1);
    assert!(mean(hostile) <= AIM);
}

#[test]
fn a_timer_publishes_to_its_map() {
    let measurement = Measurement::new();
    let (one, other) = (measurement.timer(1), measurement.timer(3));
    assert_eq!(measurement.get(), Measured::NothingBegan);
    one.begin();
    assert_eq!(measurement.get(), Measured::NothingEnded);
    one.end(Duration::MAX);
    other.begin();
    let (items, mean) = (1, AIM);
    assert_eq!(measurement.get(), Measured::Ended { items, mean });
    other.end(Duration::ZERO);
    let (items, mean) = (4, AIM / 4 * 3);
    assert_eq!(measurement.get(), Measured::Ended { items, mean });
}
