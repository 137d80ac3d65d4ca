//! Maps with random options, each result looked at; for both modes.

use std::time::Duration;

use concurrent_futures::*;
use fastrand::Rng;

use crate::{count, fault};

/// Fails for some numbers; the others it makes one larger.
pub fn step(n: u32) -> u32 {
    assert!(n % 7 != 3, "planned: an item");
    n + 1
}

/// The request for a map.
struct Asked {
    number: u32,
    options: MapOptions,
    has_limit: bool,
}

impl Asked {
    fn random(random: &mut Rng) -> Self {
        let mut options = MapOptions::new();
        match random.u32(..3) {
            0 => options = options.chunk_size(random.usize(1..9)),
            1 => options = options.automatic_chunks(),
            _ => {}
        }
        if random.bool() {
            options = options.buffer_size(random.usize(1..9));
        }
        let has_limit = random.u32(..4) == 0;
        if has_limit {
            options = options.timeout(Duration::from_micros(random.u64(..20_000)));
        }
        Self {
            number: random.u32(..40),
            options,
            has_limit,
        }
    }
}

/// Reads one map of `step`. `is_calm` says whether nothing disturbs its tasks.
pub fn map<E: Executor>(executor: &E, is_calm: impl Fn() -> bool, random: &mut Rng) {
    let asked = Asked::random(random);
    let mut results = match executor.map_with(asked.options, step, 0..asked.number) {
        Ok(results) => results,
        Err(error) => {
            if is_calm() {
                fault(format!("map said {error:?}"));
            }
            return count("map refused");
        }
    };
    let mut seen = vec![0; asked.number as usize];
    let mut is_late = false;
    let mut place = 0;
    let mut see = |place: usize, result: Result<u32, Error>| {
        if asked.has_limit && matches!(result, Err(Error::Timeout { .. })) {
            is_late = true;
            return;
        }
        match seen.get_mut(place) {
            Some(times) => *times += 1,
            None => fault(format!("a map with a result at {place}: {result:?}")),
        }
        match result {
            Ok(n) if n as usize != place + 1 || place % 7 == 3 => {
                fault(format!("a map gave {n} at {place}"));
            }
            Err(Error::Panicked(_)) if place % 7 == 3 => {}
            Err(error) if is_calm() => fault(format!("a map gave {error:?} at {place}")),
            _ => {}
        }
    };
    match random.u32(..4) {
        0 => {
            for result in results.by_ref().take(random.usize(..4)) {
                see(place, result);
                place += 1;
            }
            drop(results);
            return count("maps left early");
        }
        1 => {
            results
                .unordered()
                .for_each(|(place, result)| see(place, result));
            count("unordered maps");
        }
        _ => {
            for result in results {
                see(place, result);
                place += 1;
            }
            count("maps");
        }
    }
    let is_whole = !is_late && is_calm();
    if seen
        .iter()
        .any(|times| *times > 1 || (is_whole && *times == 0))
    {
        fault(format!("a map gave each place so often: {seen:?}"));
    }
}
