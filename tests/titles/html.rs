//! The text of a page that is its title.

use crate::server::{html, said_of};

#[track_caller]
fn title_is(page: &str, expected: &str) {
    assert_eq!(said_of(html(page)), expected, "of {page:.200}");
}

#[test]
fn the_title_of_a_plain_page() {
    title_is(
        "<!doctype html><html><head><title>Hello</title></head></html>",
        "Hello",
    );
    title_is("<TITLE lang=en>Hello</TITLE >", "Hello");
    title_is("<title>Hello</title><title>again</title>", "Hello");
}

#[test]
fn white_space_is_folded() {
    title_is("<title>\r\n  two\t\x0c words \n</title>", "two words");
    title_is("<title>a\u{a0}b</title>", "a\u{a0}b");
}

#[test]
fn entities_are_decoded() {
    title_is(
        "<title>a &amp; b &lt;c&gt; &#8212; &#x1F600; &eacute;</title>",
        "a & b <c> — 😀 é",
    );
    title_is("<title>a &amp b &unknown; &</title>", "a & b &unknown; &");
}

#[test]
fn tags_in_a_title_are_text() {
    title_is(
        "<title>a <b>c</b> <!-- d --></title>",
        "a <b>c</b> <!-- d -->",
    );
}

#[test]
fn no_title_is_said() {
    title_is("", "no title");
    title_is("<p>nothing", "no title");
    title_is("<title></title>", "no title");
    title_is("<title> \n </title>", "no title");
    title_is("<title>&nbsp;</title>", "no title");
    // A browser says so too: the first one counts.
    title_is("<title></title><title>second</title>", "no title");
}

#[test]
fn titles_of_others_are_not_the_documents() {
    for other in [
        "<svg><title>other</title></svg>",
        "<svg><g><title>other</title></g></svg>",
        "<math><title>other</title></math>",
        "<template><title>other</title></template>",
        "<template><div><title>other</title></div></template>",
        "<textarea><title>other</title></textarea>",
        "<iframe><title>other</title></iframe>",
        "<noscript><title>other</title></noscript>",
        "<script>'<title>other</title>'</script>",
        "<style><title>other</title></style>",
        "<xmp><title>other</title></xmp>",
        "<!-- <title>other</title> -->",
        "<p title='<title>other</title>'>",
    ] {
        title_is(other, "no title");
        title_is(&format!("{other}<title>own</title>"), "own");
        title_is(&format!("<body>{other}<p><title>own</title>"), "own");
    }
}

#[test]
fn html_in_a_drawing_is_html() {
    title_is(
        "<svg><foreignObject><title>own</title></foreignObject></svg>",
        "own",
    );
}

#[test]
fn a_title_in_the_body_counts() {
    title_is("<body><div><p>text<title>late</title>", "late");
    title_is("<body><table><tr><td><title>late</title>", "late");
    title_is("<table><title>late</title>", "late");
    title_is("<svg></svg><title>late</title>", "late");
}

#[test]
fn a_title_after_a_huge_head() {
    let links = "<link rel=preload href='/some/where/else.css'>".repeat(20_000);
    let script = format!("<script>{}</script>", "x < y && z;\n".repeat(100_000));
    let comment = format!("<!-- {} -->", "- ".repeat(500_000));
    let font = format!("<style a='{}'></style>", "A/ ".repeat(300_000));
    title_is(
        &format!("<head>{links}{script}{comment}{font}<title>at last</title>"),
        "at last",
    );
}

#[test]
fn a_page_that_ends_in_its_title() {
    title_is("<title>unfinished", "unfinished");
}
