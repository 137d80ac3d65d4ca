//! What goes over the network: redirects, compression, limits, and everything that can fail.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::program::{LIMIT, command, start, titles};
use crate::server::{Server, html, redirect, response, said, said_of};

const PAGE: &str = "<title>here</title>";

#[test]
fn redirects_are_followed() {
    let server = Server::start(|path, connection| {
        let host = connection.local_addr()?;
        connection.write_all(&match path {
            "/absolute" => redirect(&format!("http://{host}/page#part")),
            "/rooted" => redirect("/page"),
            "/deep/relative" => redirect("../page"),
            "/other-host" => redirect(&format!("//{host}/page")),
            "/query?" => redirect("?to=page"),
            "/permanent" => response("308 Permanent Redirect", "Location: /page\r\n", PAGE),
            "/spaces" => redirect(" /pa ge\u{e9} "),
            "/page" | "/query?to=page" | "/pa%20ge%C3%A9" => html(PAGE),
            path => panic!("nobody asks for {path}"),
        })
    });
    for path in [
        "/absolute",
        "/rooted",
        "/deep/relative",
        "/other-host",
        "/query?",
        "/permanent",
        "/spaces",
    ] {
        assert_eq!(said(&titles([server.url(path)])), "here", "{path}");
    }
}

#[test]
fn what_redirects_without_saying_where_is_a_page() {
    assert_eq!(said_of(response("302 Found", "", PAGE)), "here");
    assert_eq!(
        said_of(html("<meta http-equiv=refresh content='0;url=/x'>")),
        "no title"
    );
}

#[test]
fn ten_redirects_and_no_more() {
    let server = Server::start(|path, connection| {
        let left: u32 = path[1..].parse().unwrap();
        connection.write_all(&match left {
            0 => html(PAGE),
            left => redirect(&format!("/{}", left - 1)),
        })
    });
    assert_eq!(said(&titles([server.url("/10")])), "here");
    assert_eq!(
        said(&titles([server.url("/11")])),
        "error: redirected more than 10 times"
    );
}

#[test]
fn a_redirect_in_a_circle_ends() {
    assert_eq!(
        said_of(redirect("/")),
        "error: redirected more than 10 times"
    );
}

#[test]
fn redirects_stay_on_the_web() {
    for to in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "javascript:alert(1)",
    ] {
        let expected = format!("error: redirected to {to}, which is neither http nor https");
        assert_eq!(said_of(redirect(to)), expected);
    }
    let broken = said_of(redirect("http://[bad/"));
    assert!(
        broken.starts_with("error: redirected to http://[bad/, not an address: "),
        "{broken}"
    );
}

#[test]
fn a_failed_status_is_an_error_that_names_it() {
    for (status, expected) in [
        ("404 Not Found", "error: status 404 Not Found"),
        ("404 Nowhere To Be Seen", "error: status 404 Not Found"),
        (
            "500 Internal Server Error",
            "error: status 500 Internal Server Error",
        ),
        ("599 Whatever", "error: status 599"),
        ("700 Whatever", "error: status 700"),
    ] {
        assert_eq!(
            said_of(response(status, "Content-Type: text/html\r\n", PAGE)),
            expected
        );
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

const GZIP: &str = "Content-Type: text/html\r\nContent-Encoding: gzip\r\n";

#[test]
fn compressed_pages() {
    assert_eq!(
        said_of(response("200 OK", GZIP, gzip(PAGE.as_bytes()))),
        "here"
    );
    assert_eq!(
        said_of(response("200 OK", "Content-Encoding: br\r\n", PAGE)),
        "error: compressed by br, which nobody asked for"
    );
}

#[test]
fn gzip_has_other_names() {
    for coding in ["gzip", "GZIP", "x-gzip"] {
        let header = format!("Content-Encoding: {coding}\r\n");
        let said = |body: &[u8]| said_of(response("200 OK", &header, body));
        assert_eq!(said(&gzip(PAGE.as_bytes())), "here", "{coding}");
        assert_eq!(
            said(PAGE.as_bytes()),
            "error: broke off, no title so far: what is compressed is damaged",
            "{coding}"
        );
    }
    for coding in ["identity", "Identity", ""] {
        let header = format!("Content-Encoding: {coding}\r\n");
        assert_eq!(said_of(response("200 OK", &header, PAGE)), "here");
    }
}

#[test]
fn chunked_pages() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = "4\r\n<tit\r\n9\r\nle>here</\r\n6\r\ntitle>\r\n0\r\n\r\n";
    assert_eq!(said_of(format!("{head}{chunks}")), "here");
    let said = said_of(format!("{head}4\r\n<titXYZ"));
    assert!(
        said.starts_with("error: broke off, no title so far: "),
        "{said}"
    );
}

const CUT_OFF: &str = "error: cut off at 10 MB, no title so far";

/// A page of this many bytes, with its title at the very end.
fn page_of(length: usize) -> Vec<u8> {
    let around = "<!---->".len() + PAGE.len();
    let filling = "x".repeat(length - around);
    format!("<!--{filling}-->{PAGE}").into_bytes()
}

#[test]
fn ten_megabytes_are_read_and_no_more() {
    assert_eq!(said_of(html(page_of(10_000_000))), "here");
    assert_eq!(said_of(html(page_of(10_000_001))), CUT_OFF);
    assert_eq!(said_of(html(vec![b' '; 10_000_000])), "no title");
    assert_eq!(said_of(html(vec![b' '; 10_000_001])), CUT_OFF);
    // What breaks off behind the cut is not read.
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n";
    assert_eq!(
        said_of([head.as_bytes(), &[b' '; 10_000_000]].concat()),
        CUT_OFF
    );
    // A title before the cut, and one across it.
    assert_eq!(
        said_of(html([PAGE.as_bytes(), &[b' '; 11_000_000]].concat())),
        "here"
    );
    assert_eq!(
        said_of(html(["<title>".as_bytes(), &[b'x'; 11_000_000]].concat())),
        CUT_OFF
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

#[test]
fn nothing_is_read_after_the_title_or_the_cut() {
    for (begin, expected) in [(PAGE, "here"), ("", CUT_OFF)] {
        let sent = Arc::new(AtomicUsize::new(0));
        let (count, (gone, hung_up)) = (Arc::clone(&sent), mpsc::channel());
        let server = Server::start(move |_, connection| {
            connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")?;
            connection.write_all(begin.as_bytes())?;
            // Endless, until the client has hung up.
            while connection.write_all(&[b' '; 10_000]).is_ok() {
                count.fetch_add(10_000, Ordering::Relaxed);
            }
            gone.send(()).unwrap();
            Ok(())
        });
        assert_eq!(said(&titles([server.url("/")])), expected);
        hung_up
            .recv_timeout(LIMIT)
            .expect("the program has hung up");
        // Up to the cut, and what fits into the buffers of both sockets.
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent < 30_000_000, "{sent} bytes");
    }
}

#[test]
fn a_body_that_breaks_off() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1000\r\n\r\n";
    assert_eq!(said_of(format!("{head}{PAGE}<p>")), "here");
    let early = "error: broke off, no title so far: the server closed the connection too early";
    assert_eq!(said_of(format!("{head}<p>")), early);
    assert_eq!(said_of(format!("{head}<title>her")), early);
    // A title that could still be in another charset is better than none.
    assert_eq!(said_of(format!("{head}<title>é</title>")), "é");
}

#[test]
fn what_is_no_http() {
    let said = said_of("220 mail.example ESMTP\r\n\r\n");
    assert!(
        said.starts_with("error: the server does not keep to HTTP: "),
        "{said}"
    );
    assert_eq!(
        said_of(""),
        "error: the server closed the connection too early"
    );
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1_000_000));
    assert_eq!(
        said_of(endless),
        "error: the headers of the response are too long"
    );
}

#[test]
fn a_refused_connection() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // The other end of a connection: nobody listens there, and no other test gets the port.
    let taken = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let address = format!("http://{}/", taken.local_addr().unwrap());
    assert_eq!(said(&titles([address])), "error: connection refused");
}

#[test]
fn a_name_that_does_not_resolve() {
    // Too long a label for the domain name system, so it needs no answer from a network.
    let run = titles([format!("http://{}.invalid/", "x".repeat(64))]);
    assert_eq!(said(&run), "error: the name of the host does not resolve");
}

/// Writes one byte after the other until nobody listens.
fn drip(connection: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes.iter().chain(std::iter::repeat(&b'x')) {
        connection.write_all(&[*byte])?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn the_time_out_holds_for_the_whole_address() {
    let server = Server::start(|path, connection| match path {
        "/silent" => connection.read(&mut [0]).map(|_| ()),
        "/headers" => drip(connection, b"HTTP/1.1 200 OK\r\nX: "),
        "/body" => {
            connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            drip(connection, b"")
        }
        // Nine redirects, each of which alone would be in time.
        redirects => {
            thread::sleep(Duration::from_millis(200));
            connection.write_all(&redirect(&format!("/{}", redirects.len())))
        }
    });
    let paths = ["/silent", "/headers", "/body", "/x", "/silent"].map(|path| server.url(path));
    let run = titles(
        ["--timeout", "0.7", "--json"]
            .map(str::to_owned)
            .iter()
            .chain(&paths),
    );
    assert_eq!(run.code(), Some(1));
    for row in run.rows() {
        assert_eq!(row["error"], "timed out after 0.7 s", "{row}");
        let ms = row["ms"].as_u64().unwrap();
        assert!((700..5_000).contains(&ms), "{row}");
    }
}

#[test]
fn a_title_before_the_time_is_out_counts() {
    let server = Server::start(|_, connection| {
        connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n<title>\xc3\xa9</title>")?;
        connection.read(&mut [0]).map(|_| ())
    });
    assert_eq!(said(&titles(["--timeout", "0.5", &server.url("/")])), "é");
}

#[test]
fn a_title_that_reads_the_same_in_every_charset_waits_for_nothing() {
    let server = Server::start(|_, connection| {
        connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n<title>here</title>")?;
        // Until the client has heard enough: the head has not ended.
        connection.read(&mut [0]).map(|_| ())
    });
    let run = titles(["--timeout", "30", "--json", &server.url("/")]);
    let row = &run.rows()[0];
    assert_eq!(row["title"], "here");
    assert!(row["ms"].as_u64().unwrap() < 30_000, "{row}");
}

#[test]
fn a_certificate_that_nobody_signed() {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(signed.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut tls = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        // Until the client refuses.
        while tls.complete_io(&mut connection).is_ok() {}
    });
    let run = titles([format!("https://localhost:{port}/")]);
    assert_eq!(
        said(&run),
        "error: the certificate of the server was not signed by anyone trusted"
    );
    server.join().unwrap();
}

#[test]
fn https_to_a_server_that_has_none() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        // The beginning of what would be a handshake.
        connection.read_exact(&mut [0; 5]).unwrap();
        connection.write_all(&html(PAGE)).unwrap();
    });
    assert_eq!(
        said(&titles([format!("https://127.0.0.1:{port}/")])),
        "error: no secure connection: the server does not speak TLS"
    );
    server.join().unwrap();
}

#[test]
fn proxies_are_not_used_for_loopback() {
    let server = Server::of(html(PAGE));
    let other = Server::at(Ipv4Addr::new(127, 1, 2, 3), |_, connection| {
        connection.write_all(&html(PAGE))
    });
    for address in [
        server.url("/"),
        format!("http://localhost:{}/", server.port()),
        format!("http://LOCALHOST:{}/", server.port()),
        other.url("/"),
    ] {
        let mut command = command([&address]);
        for name in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy"] {
            command.env(name, "http://127.0.0.1:1/");
        }
        assert_eq!(said(&start(&mut command).finish()), "here", "{address}");
    }
}

#[test]
fn proxies_are_used_for_others() {
    let proxy = Server::start(|target, connection| {
        assert!(target.contains("far-away.invalid"), "{target}");
        connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        connection.write_all(&html(PAGE))
    });
    let mut command = command(["http://far-away.invalid/"]);
    command.env("ALL_PROXY", proxy.url(""));
    assert_eq!(said(&start(&mut command).finish()), "here");
}

#[test]
fn socks_proxies_are_used_for_others() {
    // RFC 1928: which ways in, this one; where to, done; then all is as if there were no proxy.
    let proxy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut command = command(["http://far-away.invalid/"]);
    command.env(
        "ALL_PROXY",
        format!("socks5h://{}", proxy.local_addr().unwrap()),
    );
    let running = start(&mut command);
    let server = thread::spawn(move || {
        let (mut connection, _) = proxy.accept().unwrap();
        connection.set_read_timeout(Some(LIMIT)).unwrap();
        let mut ways = [0; 3];
        connection.read_exact(&mut ways).unwrap();
        connection.write_all(&[5, 0]).unwrap();
        let mut target = [0; 4 + 1 + 16 + 2];
        connection.read_exact(&mut target).unwrap();
        assert_eq!(&target[5..21], b"far-away.invalid");
        connection
            .write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
            .unwrap();
        connection.write_all(&html(PAGE)).unwrap();
        let _ = connection.read(&mut [0; 1024]);
    });
    assert_eq!(said(&running.finish()), "here");
    server.join().unwrap();
}
