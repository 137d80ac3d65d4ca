//! Pages made to harm: none may cost more than its own line.

use crate::program::titles;
use crate::server::{Server, html};

const TOO_DEEP: &str = "more than 512 elements one in the other, no title so far";
const TOO_TANGLED: &str = "too tangled to be read, no title so far";

/// Fetches the pages together with a good one, and gives the error or title of each.
fn fates(pages: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    let names: Vec<&'static str> = pages.iter().map(|page| page.0).collect();
    let mut responses: Vec<_> = pages
        .into_iter()
        .map(|(name, body)| (name, html(body)))
        .collect();
    responses.push(("/good", html("<title>good</title>")));
    let server = Server::of_all(responses);
    let addresses = names
        .iter()
        .chain(["/good"].iter())
        .map(|name| server.url(name));
    // On a slow machine such pages take longer than is usual to wait.
    let options = ["--json", "--timeout=90"].map(str::to_owned);
    let run = titles(addresses.chain(options));
    assert_eq!(run.stderr, "");
    let rows = run.rows();
    assert_eq!(rows.last().unwrap()["title"], "good");
    let fate = |row: &serde_json::Value| {
        row["error"]
            .as_str()
            .or(row["title"].as_str())
            .unwrap_or("no title")
            .to_owned()
    };
    names.into_iter().zip(rows.iter().map(fate)).collect()
}

#[test]
fn a_million_nested_elements() {
    let pages = [
        ("/div", "<div>"),
        ("/b", "<b>"),
        ("/svg", "<svg>"),
        ("/g", "<svg><g>"),
        ("/template", "<template>"),
        ("/table", "<table><tr><td>"),
        ("/select", "<select><option><b>"),
        ("/button", "<object><button>"),
        ("/svg-titles", "<svg><title>"),
    ];
    let pages = pages.map(|(name, tags)| (name, tags.repeat(1_000_000)));
    for (name, fate) in fates(pages.into()) {
        assert_eq!(fate, TOO_DEEP, "{name}");
    }
}

#[test]
fn a_title_before_them_is_given() {
    let deep = "<div>".repeat(1_000_000);
    let edge = "<div>".repeat(500);
    let pages = vec![
        ("/before", format!("<title>before</title>{deep}")),
        ("/edge", format!("<body>{edge}<title>at the edge</title>")),
        (
            "/closed",
            format!("<body>{}<title>flat</title>", "<div></div>".repeat(300_000)),
        ),
    ];
    let fates = fates(pages);
    let titles: Vec<&str> = fates.iter().map(|fate| &*fate.1).collect();
    assert_eq!(titles, ["before", "at the edge", "flat"]);
}

#[test]
fn tangled_elements() {
    let fonts: String = (0..400)
        .map(|n| format!("<font size={n} color={n}>"))
        .collect();
    let pages = vec![
        (
            "/unclosed",
            format!("{fonts}{}", "<p>x</p>".repeat(1_000_000)),
        ),
        (
            "/stray",
            format!("{}{}", "<div>".repeat(500), "</h1>".repeat(1_000_000)),
        ),
    ];
    for (name, fate) in fates(pages) {
        assert_eq!(fate, TOO_TANGLED, "{name}");
    }
    let pages = vec![
        ("/adoption", "<a><div></a>".repeat(500_000)),
        ("/crossed", "<b><i><div></b></i>".repeat(300_000)),
        ("/foster", format!("<table>{}", "<b>x<i>".repeat(500_000))),
        ("/nobr", "<nobr><table>".repeat(500_000)),
    ];
    for (name, fate) in fates(pages) {
        assert!(
            [TOO_DEEP, TOO_TANGLED, "no title"].contains(&&*fate),
            "{name}: {fate}"
        );
    }
}

#[test]
fn a_million_of_something() {
    let attributes: String = (0..1_000_000).map(|n| format!(" a{n}")).collect();
    let pages = vec![
        ("/attributes", format!("<p{attributes}><title>here</title>")),
        (
            "/end-tag",
            format!("<p></p{attributes}><title>here</title>"),
        ),
        (
            "/same",
            format!("<meta{}><title>here</title>", " charset=x".repeat(900_000)),
        ),
        (
            "/drawings",
            format!(
                "{}<title>here</title>",
                "<svg><title>x</title></svg>".repeat(99_999)
            ),
        ),
        (
            "/metas",
            format!("{}<title>here</title>", "<meta charset=x>".repeat(99_999)),
        ),
        (
            "/entities",
            format!("{}<title>here</title>", "&notit;&#38".repeat(300_000)),
        ),
        (
            "/name",
            format!("<{}><title>here</title>", "x".repeat(5_000_000)),
        ),
        (
            "/nul",
            format!("{}<title>here</title>", "\0x".repeat(500_000)),
        ),
    ];
    for (name, fate) in fates(pages) {
        assert_eq!(fate, "here", "{name}");
    }
}

#[test]
fn things_that_never_end() {
    let filling = "x ".repeat(4_000_000);
    let pages = vec![
        ("/comment", format!("<!--{filling}<title>x</title>")),
        ("/doctype", format!("<!doctype {filling}")),
        ("/attribute", format!("<p a='{filling}<title>x</title>")),
        ("/script", format!("<script>{filling}<title>x</title>")),
        (
            "/plaintext",
            format!("<plaintext>{filling}<title>x</title>"),
        ),
        ("/cdata", format!("<svg><![CDATA[{filling}<title>x</title>")),
    ];
    for (name, fate) in fates(pages) {
        assert_eq!(fate, "no title", "{name}");
    }
}

#[test]
fn a_title_of_megabytes() {
    let title = "word ".repeat(1_500_000);
    let fates = fates(vec![("/long", format!("<title>{title}</title>"))]);
    assert_eq!(fates[0].1, title.trim_end());
}
