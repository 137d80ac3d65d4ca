//! `Report`: an error with its chain, made from any other, readable again.

use std::error::Error;
use std::fmt;

use concurrent_futures::Report;

#[derive(Debug)]
struct Outer(std::num::ParseIntError);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no page number")
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

fn report() -> Report {
    let parsed = "x".parse::<u8>().map_err(Outer);
    parsed.expect_err("it is no number").into()
}

const CHAIN: [&str; 2] = ["no page number", "invalid digit found in string"];

#[test]
fn it_keeps_the_chain_and_shows_as_much_as_is_asked_for() {
    let report = report();
    assert_eq!(report.message(), CHAIN[0]);
    assert_eq!(report.chain().collect::<Vec<_>>(), CHAIN);
    assert_eq!(report.to_string(), CHAIN[0]);
    assert_eq!(format!("{report:#}"), CHAIN.join(": "));
    assert_eq!(format!("{report:?}"), CHAIN.join("\n  because "));
}

#[test]
fn it_crosses_a_border_as_it_is() {
    let there = serde_json::to_string(&report()).expect("it is text");
    let back: Report = serde_json::from_str(&there).expect("it was made so");
    assert_eq!(back, report());
    let long: Report = serde_json::from_value(vec!["again"; 500_000].into()).expect("a list");
    drop(Box::<dyn Error>::from(long)); // needs no deep stack
    let empty: Report = serde_json::from_str("[]").expect("a list of texts");
    assert_eq!((empty.message(), format!("{empty:?}")), ("", String::new()));
}

#[test]
fn it_becomes_an_error_with_sources_again() {
    fn fails() -> Result<(), Box<dyn Error + Send + Sync>> {
        Err(report())?
    }
    let error = fails().expect_err("it does");
    assert_eq!(error.to_string(), CHAIN[0]);
    let cause = error.source().expect("the chain has two");
    assert_eq!(cause.to_string(), CHAIN[1]);
    assert!(cause.source().is_none());
    let plain: Box<dyn Error> = report().into();
    // A `main` that returns it prints it so.
    assert_eq!(format!("{plain:?}"), CHAIN.join("\n  because "));
    assert_eq!(plain.to_string(), CHAIN[0]);
}

/// An error that is its own cause.
#[derive(Debug)]
struct Endless;

impl fmt::Display for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("again")
    }
}

impl Error for Endless {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&Self)
    }
}

#[test]
fn a_chain_without_an_end_is_cut_off_with_a_remark() {
    let report = Report::from(Endless);
    let mut chain: Vec<_> = report.chain().collect();
    assert_eq!(
        chain.pop(),
        Some("more causes, which the report leaves out")
    );
    assert_eq!(chain, ["again"; 128]);
}

#[test]
fn an_error_whose_text_cannot_be_written_becomes_a_report_all_the_same() {
    #[derive(Debug)]
    struct Unsaid;
    impl fmt::Display for Unsaid {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }
    impl Error for Unsaid {}
    let report = Report::from(Unsaid);
    assert_eq!(report.message(), "an error whose `Display` fails");
}
