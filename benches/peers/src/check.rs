//! The two commands: `check`, with a line for each bar, and `report`, with a table for each row.

use std::process::ExitCode;

use crate::arguments::Arguments;
use crate::row::{Row, Verdict};
use crate::scripts;
use crate::table::{print_contenders, print_head, print_line, print_load, write_tsv};
use crate::workloads;

/// Returns the rows that were asked for.
fn choose(mut rows: Vec<Row>, only: &[String]) -> Vec<Row> {
    if !only.is_empty() {
        // `W5` means both halves.
        rows.retain(|row| only.iter().any(|only| row.id.starts_with(only.as_str())));
    }
    rows
}

fn print_missing() {
    for program in scripts::missing() {
        println!("{program} is not installed: its rows are skipped");
    }
}

/// Measures the rows that have bars, and fails if one is missed.
pub(crate) fn check(arguments: &Arguments) -> ExitCode {
    print_load("before");
    print_missing();
    print_head();
    let mut lines = Vec::new();
    for mut row in choose(workloads::checked(), &arguments.only) {
        row.keep_those_with_bars();
        let measured = row.measure(arguments.rounds);
        for line in row.lines(&measured) {
            print_line(&line);
            lines.push(line);
        }
    }
    print_load("after");
    if let Some(file) = &arguments.tsv
        && let Err(error) = write_tsv(file, &lines)
    {
        eprintln!("{}: {error}", file.display());
        return ExitCode::from(2);
    }
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    let short = count(Verdict::Short);
    println!(
        "{} at aim, {} firm, {short} short, {} skipped",
        count(Verdict::Aim),
        count(Verdict::Firm),
        count(Verdict::Skipped)
    );
    match (short, lines.len()) {
        (0, 1..) => ExitCode::SUCCESS,
        (_, 0) => {
            eprintln!("no row has that name");
            ExitCode::from(2)
        }
        _ => ExitCode::FAILURE,
    }
}

/// Measures all contenders of all rows.
pub(crate) fn report(arguments: &Arguments) -> ExitCode {
    print_load("before");
    print_missing();
    let mut rows = workloads::reported();
    rows.extend(workloads::checked());
    for mut row in choose(rows, &arguments.only) {
        let measured = row.measure(arguments.rounds);
        print_contenders(&row, &measured);
        for line in row.lines(&measured) {
            print_line(&line);
        }
    }
    print_load("after");
    ExitCode::SUCCESS
}
