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
    /// The bound that is wanted, if there is one.
    pub(crate) aim: Option<f64>,
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
    pub(crate) aim: Option<f64>,
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
        let verdict = value.map_or(Verdict::Skipped, |value| self.verdict(value));
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

    fn verdict(&self, value: f64) -> Verdict {
        if self.aim.is_some_and(|aim| value <= aim) {
            Verdict::Aim
        } else if self.firm.is_none_or(|firm| value <= firm) {
            Verdict::Firm
        } else {
            Verdict::Short
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &'static str, kind: Kind, samples: &[f64]) -> Series {
        let samples = vec![samples.to_vec()];
        Series {
            name,
            kind,
            samples,
        }
    }

    fn line(rivals: Rivals, ours: &[f64]) -> Line {
        let row = Row {
            id: "W0",
            name: "W0".into(),
            metrics: &[Metric {
                name: "time",
                unit: "ns",
            }],
            contenders: Vec::new(),
            bars: vec![Bar {
                suffix: ", both",
                metric: 0,
                rivals,
                firm: Some(0.5),
                aim: Some(0.25),
            }],
        };
        let measured = [
            series("own", Kind::Own, ours),
            series("slow", Kind::Rust, &[300.0, 10.0, 300.0]),
            series("fast", Kind::Rust, &[100.0, 90.0, 900.0]),
        ];
        let [line] = row.lines(&measured).try_into().ok().expect("one bar");
        line
    }

    const RUST: Rivals = Rivals::Best(|_, kind| kind == Kind::Rust);

    #[test]
    fn the_best_rival_is_that_of_the_least_median() {
        let line = line(RUST, &[20.0, 30.0, 10.0]);
        assert_eq!(line.name, "W0, both");
        assert_eq!(line.ours, (20.0, 10.0));
        assert_eq!(line.rival, Some(("fast", 100.0, 90.0)));
    }

    #[test]
    fn a_ratio_is_at_aim_or_firm_or_short() {
        assert_eq!(line(RUST, &[25.0]).verdict, Verdict::Aim);
        assert_eq!(line(RUST, &[50.0]).verdict, Verdict::Firm);
        assert_eq!(line(RUST, &[51.0]).verdict, Verdict::Short);
    }

    #[test]
    fn a_bound_on_the_value_itself_needs_no_rival() {
        assert_eq!(line(Rivals::None, &[0.25]).verdict, Verdict::Aim);
        assert_eq!(line(Rivals::None, &[0.75]).verdict, Verdict::Short);
    }

    #[test]
    fn rivals_that_are_not_installed_skip_the_bar() {
        let java = Rivals::Best(|_, kind| kind == Kind::Java);
        assert_eq!(line(java, &[1.0]).verdict, Verdict::Skipped);
    }
}
