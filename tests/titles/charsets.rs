//! The charset that a page is read in: mark, header, meta, XML declaration, UTF-8, windows-1252.

use std::io::{Read, Write};

use crate::program::titles;
use crate::server::{Server, html, response, said, said_of, said_of_each};

#[track_caller]
fn title_is(page: &[u8], expected: &str) {
    assert_eq!(
        said_of(html(page)),
        expected,
        "of {}",
        String::from_utf8_lossy(page)
    );
}

#[track_caller]
fn title_is_with(header: &str, page: &[u8], expected: &str) {
    let headers = format!("Content-Type: text/html; charset={header}\r\n");
    let said = said_of(response("200 OK", &headers, page));
    assert_eq!(
        said,
        expected,
        "{header} of {}",
        String::from_utf8_lossy(page)
    );
}

/// As [`title_is`] for several pages, all in one run.
#[track_caller]
fn titles_are(pages: &[(&[u8], &str)]) {
    let said = said_of_each(pages.iter().map(|page| html(page.0)).collect());
    for ((page, expected), said) in pages.iter().zip(said) {
        assert_eq!(said, *expected, "of {}", String::from_utf8_lossy(page));
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn utf16_big(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

#[test]
fn the_byte_order_mark_goes_first() {
    title_is(
        b"\xef\xbb\xbf<meta charset=latin1><title>\xc3\xa9</title>",
        "é",
    );
    title_is_with("latin1", b"\xef\xbb\xbf<title>\xc3\xa9</title>", "é");
    title_is_with("utf-8", &utf16("\u{feff}<title>é☃</title>"), "é☃");
    title_is(&utf16_big("\u{feff}<title>é☃</title>"), "é☃");
}

#[test]
fn then_the_header() {
    title_is_with(
        "iso-8859-2",
        b"<meta charset=utf-8><title>\xb1</title>",
        "ą",
    );
    title_is_with(
        "\"UTF-8\"",
        b"<meta charset=latin1><title>\xc3\xa9</title>",
        "é",
    );
    title_is_with("'koi8-r'", b"<title>\xf7</title>", "В");
    title_is_with("utf-16", &utf16("<title>é☃</title>"), "é☃");
    title_is_with(
        "nonsense",
        b"<meta charset=iso-8859-2><title>\xb1</title>",
        "ą",
    );
    // What was promised to be UTF-8 is no longer guessed.
    title_is_with("utf-8", b"<title>a\xe9b</title>", "a\u{fffd}b");
}

#[test]
fn then_a_meta_element() {
    title_is(b"<meta charset=iso-8859-2><title>\xb1</title>", "ą");
    title_is(b"<meta charset=' ISO-8859-2 '><title>\xb1</title>", "ą");
    for content in [
        "'text/html; charset=shift_jis'",
        "'text/html;charset=\"shift_jis\"'",
        "'charset = Shift_JIS;'",
        "'text/html; charsets=x; charset=shift_jis'",
    ] {
        let mut page = format!("<meta content={content} http-equiv=Content-Type>").into_bytes();
        page.extend(b"<title>\x93\xfa\x96{</title>");
        title_is(&page, "日本");
    }
    // A quote without a second one, or with the other kind, names no charset.
    for content in ["'charset=\"shift_jis'", "\"charset='shift_jis\""] {
        let page = format!("<meta content={content} http-equiv=Content-Type><title>é</title>");
        title_is(page.as_bytes(), "é");
    }
    title_is(
        b"<meta charset=iso-2022-jp><title>\x1b$BF|K\\\x1b(B</title>",
        "日本",
    );
    title_is(
        b"<meta name=x content='charset=koi8-r'><title>\xe9</title>",
        "é",
    );
    title_is(b"<!-- <meta charset=koi8-r> --><title>\xe9</title>", "é");
}

#[test]
fn a_meta_element_after_the_title_counts() {
    title_is(b"<title>\xb1</title><meta charset=iso-8859-2>", "ą");
    title_is(
        b"<title>\xc4\x85</title><meta charset=utf-8></head>\xff",
        "ą",
    );
    title_is(
        b"<title>\x1b$BF|K\\\x1b(B</title><meta charset=iso-2022-jp>",
        "日本",
    );
    let mut page = b"<title>\xb1</title>".to_vec();
    page.extend("<link rel=icon>".repeat(1_000).bytes());
    page.extend(b"<meta charset=iso-8859-2>");
    title_is(&page, "ą");
    // In the body it is too late.
    title_is(b"<title>\xb1</title><p><meta charset=iso-8859-2>", "±");
}

#[test]
fn a_meta_element_after_a_huge_head_counts() {
    let mut page = "<link rel=icon>".repeat(20_000).into_bytes();
    page.extend(b"<!-- \xe9 --><meta charset=iso-8859-2><title>\xb1</title>");
    title_is(&page, "ą");
}

#[test]
fn what_meta_elements_cannot_mean() {
    title_is("<meta charset=utf-16><title>é</title>".as_bytes(), "é");
    title_is(b"<meta charset=x-user-defined><title>\xe9</title>", "é");
    title_is("<meta charset=nonsense><title>é</title>".as_bytes(), "é");
}

#[test]
fn then_an_xml_declaration() {
    titles_are(&[
        (
            b"<?xml version=\"1.0\" encoding=\"windows-1251\"?><title>\xcc\xe8\xf0</title>",
            "Мир",
        ),
        (
            b"<?xml version='1.0' encoding='iso-8859-2'?>\n<!doctype html><title>\xb1</title>",
            "ą",
        ),
        (
            b"<?xml encoding=\"Shift_JIS\"?><title>\x93\xfa\x96{</title>",
            "日本",
        ),
        (
            b"<?xml version=\"1.0\" encoding \n= \n\"KOI8-R\" standalone='yes'?><title>\xf7</title>",
            "В",
        ),
        (
            b"<?xml encoding='iso-2022-jp'?><title>\x1b$BF|K\\\x1b(B</title>",
            "日本",
        ),
        // What was promised to be UTF-8 is no longer guessed.
        (b"<?xml encoding='utf-8'?><title>a\xe9b</title>", "a\u{fffd}b"),
        // In words that can be read as ASCII.
        ("<?xml encoding='utf-16'?><title>é</title>".as_bytes(), "é"),
    ]);
}

#[test]
fn what_is_no_xml_declaration_names_no_charset() {
    titles_are(&[
        (b" <?xml encoding='koi8-r'?><title>\xe9</title>", "é"),
        (b"<!-- --><?xml encoding='koi8-r'?><title>\xe9</title>", "é"),
        (b"<?XML encoding='koi8-r'?><title>\xe9</title>", "é"),
        (b"<?xml Encoding='koi8-r'?><title>\xe9</title>", "é"),
        (b"<?xml encoding=koi8-r?><title>\xe9</title>", "é"),
        (b"<?xml encoding='koi8-r?><title>\xe9</title>", "é"),
        (b"<?xml encoding='koi8-r\"?><title>\xe9</title>", "é"),
        (b"<?xml encoding=' koi8-r'?><title>\xe9</title>", "é"),
        (b"<?xml encoding='nonsense'?><title>\xe9</title>", "é"),
        (b"<?xml ?><p encoding='koi8-r'><title>\xe9</title>", "é"),
        (b"<?xml", "no title"),
        (b"<?xml encoding='koi8-r'", "no title"),
        (b"<", "no title"),
        (b"", "no title"),
    ]);
    // Browsers look no further than this for its end.
    let long = |length: usize| {
        let mut page = b"<?xml encoding='koi8-r'".to_vec();
        page.resize(length - 1, b' ');
        page.extend(b"><title>\xe9</title>");
        page
    };
    titles_are(&[(&long(1024), "И"), (&long(1025), "é")]);
}

#[test]
fn an_xml_declaration_yields_to_mark_header_and_meta() {
    const PAGE: &[u8] = b"<?xml encoding='koi8-r'?><title>\xb1</title>";
    title_is_with("iso-8859-2", PAGE, "ą");
    let with_meta = [PAGE, b"<meta charset=iso-8859-2>"].concat();
    let meta_first = PAGE.strip_suffix(b"<title>\xb1</title>").unwrap();
    let meta_first = [meta_first, b"<meta charset=iso-8859-2><title>\xb1</title>"].concat();
    titles_are(&[
        (
            b"\xef\xbb\xbf<?xml encoding='koi8-r'?><title>\xc3\xa9</title>",
            "é",
        ),
        (&with_meta, "ą"),
        (&meta_first, "ą"),
        (PAGE, "╠"),
    ]);
}

#[test]
fn utf_16_without_a_mark_shows_in_its_xml_declaration() {
    let page = "<?xml version='1.0' encoding='utf-16'?><title>é☃</title>";
    let with_meta = "<?xml version='1.0'?><meta charset=koi8-r><title>é☃</title>";
    titles_are(&[
        (&utf16(page), "é☃"),
        (&utf16_big(page), "é☃"),
        (&utf16(with_meta), "é☃"),
        (&utf16_big(with_meta), "é☃"),
    ]);
    title_is_with("utf-16be", &utf16_big(page), "é☃");
    // The header goes first, be it wrong.
    title_is_with("utf-8", &utf16(page), "no title");
}

#[test]
fn an_xml_declaration_may_come_in_pieces() {
    let page = b"<?xml encoding='iso-8859-2'?><title>here</title>";
    let server = Server::start(move |_, connection| {
        connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        connection.set_nodelay(true)?;
        for byte in page {
            connection.write_all(&[*byte])?;
        }
        // Until the client has heard enough: nothing more comes.
        connection.read(&mut [0]).map(|_| ())
    });
    assert_eq!(said(&titles(["--timeout", "30", &server.url("/")])), "here");
}

#[test]
fn then_utf_8_if_it_is_valid_or_else_windows_1252() {
    title_is("<title>é☃</title>".as_bytes(), "é☃");
    title_is(b"<title>\x93quoted\x94 caf\xe9</title>", "“quoted” café");
    // What counts is the page up to its title.
    title_is(b"<title>\xc3\xa9</title></head><p>\xe9", "é");
    title_is(b"<!-- \xe9 --><title>\xc3\xa9</title>", "Ã©");
    title_is(b"<title>cut \xc3", "cut Ã");
}
