//! The meaning of a Content-Encoding for the body: compressed, or nothing at all.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::network::{CUT_OFF, page_of};
use crate::program::titles;
use crate::server::{Server, response, said, said_of, said_of_each};

const PAGE: &str = "<title>here</title>";
const GZIP: &str = "Content-Type: text/html\r\nContent-Encoding: gzip\r\n";
const DAMAGED: &str = "error: broke off, no title so far: what is compressed is damaged";

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// A response whose body is in these codings, as the header lists them.
fn coded(codings: &str, body: &[u8]) -> Vec<u8> {
    response("200 OK", &format!("Content-Encoding: {codings}\r\n"), body)
}

/// Each of the bodies, compressed or not, is said to be this.
#[track_caller]
fn each_is(bodies: Vec<(&'static str, Vec<u8>)>, expected: &str) {
    let responses = bodies.iter().map(|body| response("200 OK", GZIP, &body.1));
    let said = said_of_each(responses.collect());
    for ((name, _), said) in bodies.iter().zip(said) {
        assert_eq!(said, expected, "{name}");
    }
}

#[test]
fn gzip_has_other_names() {
    let page = gzip(PAGE.as_bytes());
    let codings = ["gzip", "GZIP", "x-gzip"];
    let said = said_of_each(codings.map(|coding| coded(coding, &page)).into());
    assert_eq!(said, ["here"; 3]);
    let said = said_of_each(codings.map(|coding| coded(coding, PAGE.as_bytes())).into());
    assert_eq!(said, [DAMAGED; 3]);
}

#[test]
fn a_compression_that_was_not_asked_for_is_named() {
    for coding in ["br", "zstd", "deflate", "compress"] {
        assert_eq!(
            said_of(coded(coding, PAGE.as_bytes())),
            format!("error: compressed by {coding}, which was not asked for")
        );
    }
}

/// As a page it would have no title.
#[test]
fn a_body_that_is_compressed_on_its_way_is_an_error() {
    let mut sent = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".to_vec();
    let page = gzip(PAGE.as_bytes());
    write!(sent, "{:x}\r\n", page.len()).unwrap();
    sent.extend(page);
    sent.extend(b"\r\n0\r\n\r\n");
    let said = said_of(sent);
    assert_eq!(said, "error: sent as gzip, which was not asked for");
}

#[test]
fn an_empty_body_that_is_said_to_be_compressed_has_no_title() {
    let chunked = "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let mut responses = Vec::new();
    for coding in ["gzip", "x-gzip", "br", "gzip, gzip"] {
        for head in [
            "204 No Content\r\n",
            "304 Not Modified\r\n",
            "205 Reset Content\r\nContent-Length: 0\r\n",
            "200 OK\r\nContent-Length: 0\r\n",
            "200 OK\r\n", // The connection's end.
        ] {
            responses.push(format!("HTTP/1.1 {head}Content-Encoding: {coding}\r\n\r\n"));
        }
        responses.push(format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\n{chunked}"
        ));
    }
    let said = said_of_each(responses.iter().map(|it| it.clone().into()).collect());
    for (response, said) in responses.iter().zip(said) {
        assert_eq!(said, "no title", "{response}");
    }
}

#[test]
fn what_is_no_compression_is_passed_over() {
    let page = PAGE.as_bytes();
    let plain = [
        "",
        ",",
        "identity",
        "Identity",
        "UTF-8",
        "none",
        "text/html",
        "binary",
        "8bit",
    ];
    let said = said_of_each(plain.map(|coding| coded(coding, page)).into());
    assert_eq!(said, ["here"; 9]);
    // Beside a real one it says as little.
    let beside = ["gzip, UTF-8", "utf-8,gzip", "identity , gzip,"];
    let said = said_of_each(beside.map(|coding| coded(coding, &gzip(page))).into());
    assert_eq!(said, ["here"; 3]);
}

#[test]
fn a_page_may_be_compressed_more_than_once() {
    let twice = gzip(&gzip(PAGE.as_bytes()));
    let two_headers = "Content-Encoding: gzip\r\nContent-Encoding: x-gzip\r\n";
    assert_eq!(said_of(coded("gzip, gzip", &twice)), "here");
    assert_eq!(said_of(response("200 OK", two_headers, &twice)), "here");
    let codings = ["gzip"; 5_000].join(",");
    assert_eq!(
        said_of(coded(&codings, &twice)),
        "error: compressed more than 5 times"
    );
}

/// A complete page in gzip that has no title, its compressed text, and its trailer.
fn untitled() -> (Vec<u8>, Vec<u8>) {
    let mut text = gzip(b"<p>nothing");
    let trailer = text.split_off(text.len() - 8);
    (text, trailer)
}

#[test]
fn what_follows_a_complete_gzip_stream_is_passed_over() {
    let (text, trailer) = untitled();
    let whole = [&*text, &trailer].concat();
    each_is(
        vec![
            (
                "rubbish",
                [&*whole, b"rubbish that is longer than a header"].concat(),
            ),
            ("one byte of it", [&*whole, b"r"].concat()),
            ("markup", [&*whole, PAGE.as_bytes()].concat()),
            ("zeros", [&*whole, &[0; 100_000]].concat()),
            ("half a mark of gzip", [&*whole, b"\x1f\x8b"].concat()),
            ("no trailer", text.clone()),
            ("half a trailer", [&*text, &trailer[..5]].concat()),
            ("a wrong trailer", [&*text, b"whatever"].concat()),
        ],
        "no title",
    );
}

#[test]
fn a_gzip_stream_may_follow_another() {
    let (first, second) = PAGE.as_bytes().split_at(10);
    each_is(
        vec![
            ("two", [gzip(first), gzip(second)].concat()),
            (
                "an empty one first",
                [gzip(b""), gzip(PAGE.as_bytes())].concat(),
            ),
            (
                "rubbish last",
                [&*gzip(first), &gzip(second), b"rubbish"].concat(),
            ),
        ],
        "here",
    );
}

#[test]
fn a_gzip_header_may_say_more() {
    let page = gzip(PAGE.as_bytes());
    let (start, text) = page.split_at(10);
    let with = |flags: u8, more: &[u8]| {
        let mut start = start.to_vec();
        start[3] = flags;
        [&*start, more, text].concat()
    };
    each_is(
        vec![
            ("extra", with(4, b"\x05\0extra")),
            ("name", with(8, b"page.html\0")),
            ("comment", with(16, b"\xff\0")),
            ("checksum", with(2, b"??")),
            ("all", with(31, b"\x02\0xxname\0comment\0??")),
        ],
        "here",
    );
}

#[test]
fn a_gzip_stream_that_breaks_off_is_damaged() {
    let (text, _) = untitled();
    let mut named = text[..10].to_vec();
    named[3] = 8;
    each_is(
        vec![
            ("one byte", text[..1].to_vec()),
            ("half a header", text[..9].to_vec()),
            ("a header", text[..10].to_vec()),
            ("half a name", [&*named, b"name"].concat()),
            ("most of it", text[..text.len() - 1].to_vec()),
            (
                "another way to compress",
                [b"\x1f\x8b\x07", &text[3..]].concat(),
            ),
            ("no such block", [&text[..10], &[0xff; 100]].concat()),
            (
                "another, which breaks off",
                [&*gzip(b"<p>"), &text[..15]].concat(),
            ),
        ],
        DAMAGED,
    );
}

#[test]
fn ten_megabytes_count_after_decompression() {
    let server = Server::of_all(vec![
        (
            "/fits",
            response("200 OK", GZIP, gzip(&page_of(10_000_000))),
        ),
        (
            "/bomb",
            response("200 OK", GZIP, gzip(&page_of(200_000_000))),
        ),
    ]);
    assert_eq!(said(&titles([server.url("/fits")])), "here");
    assert_eq!(said(&titles([server.url("/bomb")])), CUT_OFF);
}
