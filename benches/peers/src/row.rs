//! [`Row`]: a workload with its contenders, and the bars that this crate has to pass in it.

use crate::contender::{Contender, Kind, Series, interleave};
use crate::statistics::{median, minimum};

/// A workload that contenders take turns in.
pub(crate) struct Row {
    /// `W1`, or `guard`: what `--only` asks for.
    pub(crate) id: &'static str,
    pub(crate) name: String,
    /// A name and a unit for each value of a sample.
    pub(crate) metrics: &'static [Metric],
    pub(crate) contenders: Vec<Contender>,
    pub(crate) bars: Vec<Bar>,
}

/// One of the things that a row measures. Less is better in all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
}

/// A bound on one metric of this crate.
pub(crate) struct Bar {
    /// Stands behind the name of the row, where a row has several bars.
    pub(crate) suffix: &'static str,
    pub(crate) metric: usize,
    pub(crate) rivals: Rivals,
    /// The bound that has to be kept, if there is one.
    pub(crate) firm: Option<f64>,
    /// The bound that is wanted.
    pub(crate) aim: f64,
}

/// The contenders that a bar compares with.
pub(crate) enum Rivals {
    /// The bounds are on the value itself.
    None,
    /// The bounds are on the ratio to the least median of these.
    Best(fn(&str, Kind) -> bool),
}

/// The outcome of a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Aim,
    Firm,
    Short,
    /// The rivals are not installed.
    Skipped,
}

/// A bar with what was measured: a line of the table.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    /// Median and minimum.
    pub(crate) ours: (f64, f64),
    /// The name of the best rival, and its median and minimum.
    pub(crate) rival: Option<(&'static str, f64, f64)>,
    pub(crate) firm: Option<f64>,
    pub(crate) aim: f64,
    pub(crate) verdict: Verdict,
}

impl Row {
    /// Leaves out the contenders that no bar compares with.
    pub(crate) fn keep_those_with_bars(&mut self) {
        let bars = &self.bars;
        self.contenders.retain(|contender| {
            let compared = |bar: &Bar| match bar.rivals {
                Rivals::None => false,
                Rivals::Best(is_rival) => is_rival(contender.name, contender.kind),
            };
            contender.kind == Kind::Own || bars.iter().any(compared)
        });
    }

    /// Measures the contenders in turns.
    pub(crate) fn measure(&mut self, rounds: usize) -> Vec<Series> {
        interleave(&mut self.contenders, rounds)
    }

    /// Returns a line for each bar.
    pub(crate) fn lines(&self, measured: &[Series]) -> Vec<Line> {
        let line = |bar: &Bar| bar.line(self, measured);
        self.bars.iter().map(line).collect()
    }
}

impl Bar {
    fn line(&self, row: &Row, measured: &[Series]) -> Line {
        let figures = |series: &Series| {
            let samples = &series.samples[self.metric];
            (median(samples), minimum(samples))
        };
        let own = measured.iter().find(|series| series.kind == Kind::Own);
        let ours = figures(own.expect("each row has this crate's own"));
        let (rival, value) = match self.rivals {
            Rivals::None => (None, Some(ours.0)),
            Rivals::Best(is_rival) => {
                let rivals = measured.iter().filter(|s| is_rival(s.name, s.kind));
                let best = rivals
                    .map(|series| (series.name, figures(series)))
                    .min_by(|(_, a), (_, b)| a.0.total_cmp(&b.0))
                    .map(|(name, (median, minimum))| (name, median, minimum));
                (best, best.map(|(_, median, _)| ours.0 / median))
            }
        };
        let verdict = match value {
            None => Verdict::Skipped,
            Some(value) if value <= self.aim => Verdict::Aim,
            Some(value) if self.firm.is_none_or(|firm| value <= firm) => Verdict::Firm,
            Some(_) => Verdict::Short,
        };
        Line {
            name: format!("{}{}", row.name, self.suffix),
            unit: row.metrics[self.metric].unit,
            ours,
            rival,
            firm: self.firm,
            aim: self.aim,
            verdict,
        }
    }
}
