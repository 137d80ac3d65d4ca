//! The tables: lines of bars, and all contenders of a row.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::contender::Series;
use crate::row::{Line, Metric, Row, Verdict};
use crate::statistics::{median, minimum};

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Aim => "aim",
            Self::Firm => "firm",
            Self::Short => "short",
            Self::Skipped => "skipped",
        }
    }
}

/// Returns what there is, or a dash.
fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// Returns the figure with three digits that say something.
fn short(value: f64) -> String {
    let magnitude = value.abs();
    let decimals = match magnitude {
        _ if magnitude >= 100.0 => 0,
        _ if magnitude >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// Returns the bound to a thousandth, without zeros that say nothing.
fn bound(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

impl Line {
    fn ratio(&self) -> Option<f64> {
        self.rival.map(|(_, median, _)| self.ours.0 / median)
    }
}

/// Prints the head of the lines.
pub(crate) fn print_head() {
    println!(
        "{:<30} {:>4} {:>16} {:>16} {:<29} {:>7} {:>5} {:>5}",
        "median (minimum)", "", "ours", "best rival", "", "ratio", "firm", "aim"
    );
}

/// Prints a line.
pub(crate) fn print_line(line: &Line) {
    let figures = |(median, minimum)| format!("{} ({})", short(median), short(minimum));
    println!(
        "{:<30} {:>4} {:>16} {:>16} {:<29} {:>7} {:>5} {:>5} {}",
        line.name,
        line.unit,
        figures(line.ours),
        or_dash(
            line.rival
                .map(|(_, median, minimum)| figures((median, minimum)))
        ),
        or_dash(line.rival.map(|(name, ..)| name)),
        or_dash(line.ratio().map(|ratio| format!("{ratio:.3}"))),
        or_dash(line.firm.map(bound)),
        or_dash(line.aim.map(bound)),
        line.verdict.name()
    );
}

/// Writes the lines to a file, in columns that tabs divide.
///
/// # Errors
///
/// Those of the system about the file.
pub(crate) fn write_tsv(file: &Path, lines: &[Line]) -> io::Result<()> {
    let mut file = File::create(file)?;
    writeln!(
        file,
        "name\tunit\tours\tours_min\trival\trival_min\trival_name\tratio\tfirm\taim\tverdict"
    )?;
    for line in lines {
        writeln!(
            file,
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
            line.name,
            line.unit,
            line.ours.0,
            line.ours.1,
            or_dash(line.rival.map(|(_, median, _)| median)),
            or_dash(line.rival.map(|(_, _, minimum)| minimum)),
            or_dash(line.rival.map(|(name, ..)| name)),
            or_dash(line.ratio()),
            or_dash(line.firm),
            or_dash(line.aim),
            line.verdict.name()
        )?;
    }
    Ok(())
}

/// Prints all contenders of a row.
pub(crate) fn print_contenders(row: &Row, measured: &[Series]) {
    for (index, Metric { name, unit }) in row.metrics.iter().enumerate() {
        println!("\n{}: {name} {unit}", row.name);
        println!(
            "{:>31} {:>10} {:>10} {:>10}",
            "", "median", "minimum", "maximum"
        );
        for Series { name, samples, .. } in measured {
            let samples = &samples[index];
            let maximum = samples.iter().copied().fold(f64::MIN, f64::max);
            let figures = [median(samples), minimum(samples), maximum].map(short);
            let [median, minimum, maximum] = figures;
            println!("{name:>31} {median:>10} {minimum:>10} {maximum:>10}");
        }
    }
}

/// Prints the load of the machine, where the system tells it.
pub(crate) fn print_load(when: &str) {
    if let Ok(load) = fs::read_to_string("/proc/loadavg") {
        println!("load average {when}: {}", load.trim());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_has_the_digits_that_say_something() {
        let bounds = [0.002, 0.4, 1.0 / 0.95, 1.0, 80.0, 2_000.0].map(bound);
        assert_eq!(bounds, ["0.002", "0.4", "1.053", "1", "80", "2000"]);
    }
}
