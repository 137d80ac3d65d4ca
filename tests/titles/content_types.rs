//! The Content-Types that make a page, and the one of several that counts.

use crate::server::{response, said_of_each};

const PAGE: &str = "<title>page</title>";

/// Sends the page with these headers, each with its line end, and compares what is said.
#[track_caller]
fn each_is(cases: &[(&str, &str)], page: &[u8]) {
    let responses = cases.iter().map(|case| response("200 OK", case.0, page));
    let said = said_of_each(responses.collect());
    for ((headers, expected), said) in cases.iter().zip(said) {
        assert_eq!(said, *expected, "{headers}");
    }
}

#[test]
fn what_is_no_html_has_no_title() {
    each_is(
        &[
            ("Content-Type: text/plain\r\n", "no title"),
            ("Content-Type: application/json\r\n", "no title"),
            ("Content-Type: image/svg+xml\r\n", "no title"),
            (
                "Content-Type: application/xml; charset=utf-8\r\n",
                "no title",
            ),
            ("Content-Type: text/htmlx\r\n", "no title"),
            ("Content-Type: image/png; name=\u{e9}.png\r\n", "no title"),
            ("Content-Type: text/html\r\n", "page"),
            ("Content-Type: TEXT/HTML;charset=utf-8\r\n", "page"),
            ("Content-Type: text/html ; charset=utf-8\r\n", "page"),
            ("Content-Type: application/xhtml+xml\r\n", "page"),
            ("", "page"),
        ],
        PAGE.as_bytes(),
    );
}

#[test]
fn of_several_content_types_the_last_counts() {
    each_is(
        &[
            (
                "Content-Type: text/plain\r\nContent-Type: text/html\r\n",
                "page",
            ),
            (
                "Content-Type: text/html\r\nContent-Type: text/plain\r\n",
                "no title",
            ),
            ("Content-Type: text/plain, text/html\r\n", "page"),
            ("Content-Type: text/html, text/plain\r\n", "no title"),
            // What is none does not count as the last.
            ("Content-Type: text/html, charset=utf-8\r\n", "page"),
            ("Content-Type: text/plain, */*\r\n", "no title"),
            (
                "Content-Type: text/plain\r\nContent-Type: html\r\n",
                "no title",
            ),
            // A comma in quotes ends nothing.
            ("Content-Type: text/html; x=\"a, text/plain\"\r\n", "page"),
            (
                "Content-Type: text/html; x=\"\\\", text/plain\"\r\n",
                "page",
            ),
        ],
        PAGE.as_bytes(),
    );
}

#[test]
fn the_charset_is_that_of_the_last_content_type() {
    const LATIN2: &str = "text/html; charset=iso-8859-2";
    let header = |types: [&str; 2]| {
        format!(
            "Content-Type: {}\r\nContent-Type: {}\r\n",
            types[0], types[1]
        )
    };
    let cases = [
        (header([LATIN2, "text/html; charset=koi8-r"]), "╠"),
        (header(["text/html; charset=koi8-r", LATIN2]), "ą"),
        // It is remembered from one of the same kind, and not from another.
        (header([LATIN2, "text/html"]), "ą"),
        (header([LATIN2, "*/*; charset=koi8-r"]), "ą"),
        (header([LATIN2, "application/xhtml+xml"]), "±"),
        (
            "Content-Type: text/html; x=\"; charset=koi8-r\"; charset=iso-8859-2\r\n".to_owned(),
            "ą",
        ),
        (
            "Content-Type: text/html; charset=; charset=iso-8859-2\r\n".to_owned(),
            "ą",
        ),
        (
            "Content-Type: text/html; charset=iso-8859-2; charset=koi8-r\r\n".to_owned(),
            "ą",
        ),
    ];
    let cases: Vec<_> = cases.iter().map(|case| (&*case.0, case.1)).collect();
    each_is(&cases, b"<title>\xb1</title>");
}

#[test]
fn what_is_no_content_type_is_read_like_none() {
    let types = [
        "",
        "*/*",
        "unknown/unknown",
        "Unknown/Unknown; charset=utf-8",
        "application/unknown",
        "html",
        "text/",
        "/html",
        "text html",
        "text/html/x",
        "(none)",
        "\u{e9}",
        ";charset=utf-8",
        "text/ html",
    ];
    let headers = types.map(|it| format!("Content-Type: {it}\r\n"));
    let cases: Vec<_> = headers.iter().map(|headers| (&**headers, "page")).collect();
    each_is(&cases, PAGE.as_bytes());
}
