//! [`Contender`]: a party that does the work of a row, and the rounds in which the parties take
//! turns.

use std::thread;
use std::time::Duration;

/// The rest before each run. A run leaves threads behind that still end or fall asleep (and
/// Java's compiler and collector), and they are not to be paid for by the next contender.
const REST: Duration = Duration::from_millis(20);

/// The party that a contender belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// This crate.
    Own,
    /// Another crate.
    Rust,
    Java,
    Python,
    /// No pool at all, or another way to use the same pool.
    Base,
}

/// A party that does the work of a row.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    run: Box<dyn FnMut() -> Vec<f64>>,
}

/// The samples of one contender.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// For each metric of the row, a sample for each round.
    pub(crate) samples: Vec<Vec<f64>>,
}

impl Contender {
    /// Creates a contender; `run` does the work once, and returns a value for each metric.
    pub(crate) fn new(
        name: &'static str,
        kind: Kind,
        run: impl FnMut() -> Vec<f64> + 'static,
    ) -> Self {
        let run = Box::new(run);
        Self { name, kind, run }
    }

    fn run(&mut self) -> Vec<f64> {
        thread::sleep(REST);
        (self.run)()
    }
}

/// Has the contenders take turns, A B C A B C, so that what else the machine does meets all of
/// them. A first round is not counted.
pub(crate) fn interleave(contenders: &mut [Contender], rounds: usize) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for contender in &mut *contenders {
        all.push(Series {
            name: contender.name,
            kind: contender.kind,
            samples: vec![Vec::new(); contender.run().len()],
        });
    }
    for _ in 0..rounds {
        for (contender, series) in contenders.iter_mut().zip(&mut all) {
            for (sample, samples) in contender.run().into_iter().zip(&mut series.samples) {
                samples.push(sample);
            }
        }
    }
    all
}
