//! The network: redirects, limits, and everything that can fail.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::program::{LIMIT, command, start, titles};
use crate::server::{Server, html, redirect, response, said, said_of, said_of_each};

const PAGE: &str = "<title>here</title>";

/// As browsers send them: the bytes of the address, in whatever charset it is.
#[test]
fn a_redirect_to_bytes_that_are_not_utf_8_asks_for_these_bytes() {
    let server = Server::start(|path, connection| {
        connection.write_all(&match path {
            "/" => {
                let mut to = b"HTTP/1.1 302 Found\r\nLocation: /caf\xe9?q=\xfc\r\n".to_vec();
                to.extend(b"Content-Length: 0\r\n\r\n");
                to
            }
            "/caf%E9?q=%FC" => html(PAGE),
            path => panic!("no page asks for {path}"),
        })
    });
    assert_eq!(said(&titles([server.url("/")])), "here");
}

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
            path => panic!("no page asks for {path}"),
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

pub(crate) const CUT_OFF: &str = "error: cut off at 10 MB, no title so far";

/// A page of this many bytes, with its title at the very end.
pub(crate) fn page_of(length: usize) -> Vec<u8> {
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
fn a_reset_in_a_body_without_a_length_is_an_error() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let broke = "error: broke off, no title so far: the server broke the connection";
    for (coding, body, expected) in [
        ("", "<p>the first part", broke),
        ("", "", broke),
        ("Content-Encoding: gzip\r\n", "", broke),
        ("", PAGE, "here"),
    ] {
        let running = start(&mut command([&address]));
        let (mut connection, _) = listener.accept().unwrap();
        // What is closed with something unread resets: the request is looked at only.
        connection.set_read_timeout(Some(LIMIT)).unwrap();
        connection.peek(&mut [0]).unwrap();
        write!(connection, "HTTP/1.1 200 OK\r\n{coding}\r\n{body}").unwrap();
        drop(connection);
        assert_eq!(said(&running.finish()), expected, "{coding}{body}");
    }
}

#[test]
fn what_is_no_http() {
    assert_eq!(
        said_of("220 mail.example ESMTP\r\n\r\n"),
        "error: the response cannot be read as HTTP/1: invalid HTTP version"
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
fn a_head_that_is_refused_is_not_the_servers_fault() {
    let many = "Set-Cookie: a=b\r\n".repeat(128);
    let head = |headers: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n{PAGE}").into_bytes();
    let unread = |why| format!("error: the response cannot be read as HTTP/1: {why}");
    let cases = [
        (head(&many), "here".to_owned()),
        (
            head(&format!("{many}X: y\r\n")),
            "error: the response has more than 128 headers".to_owned(),
        ),
        (head("X: folded,\r\n as it once was\r\n"), unread("invalid header name")),
        (
            b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n".to_vec(),
            unread("received headers with 100-continue response"),
        ),
        (
            head("Content-Length: 5\r\nContent-Length: 6\r\n"),
            unread("conflicting content-length headers"),
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;name=a-value-of-its-own\r\n<p>".to_vec(),
            unread("chunk expected crlf as next character")
                .replace("error: ", "error: broke off, no title so far: "),
        ),
    ];
    let (responses, expected): (_, Vec<String>) = cases.into_iter().unzip();
    assert_eq!(said_of_each(responses), expected);
}

/// The name and the password that a server reads, for addresses that begin in this way.
fn password_of(before_host: &str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let host = listener.local_addr().unwrap();
    let running = start(&mut command([format!("http://{before_host}{host}/")]));
    let (mut connection, _) = listener.accept().unwrap();
    let password = authorization(&connection);
    connection.write_all(&html(PAGE)).unwrap();
    assert_eq!(said(&running.finish()), "here");
    password
}

/// The request's Authorization, without its decoration; nothing if there is none.
fn authorization(connection: &TcpStream) -> String {
    connection.set_read_timeout(Some(LIMIT)).unwrap();
    let lines = BufReader::new(connection).lines().map(|line| line.unwrap());
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let host = head.iter().find(|line| line.starts_with("host: "));
    assert!(!host.unwrap().contains('@'), "{head:?}");
    let password = head
        .iter()
        .find_map(|line| line.strip_prefix("authorization: Basic "));
    password.unwrap_or_default().to_owned()
}

#[test]
fn a_user_and_a_password_are_decoded() {
    for (before_host, expected) in [
        ("", ""),
        ("@", ""),
        ("me:secret@", "bWU6c2VjcmV0"),
        ("me@", "bWU6"),
        (":secret@", "OnNlY3JldA=="),
        // me@x.org:a:b/c%
        ("me%40x.org:a%3Ab%2Fc%25@", "bWVAeC5vcmc6YTpiL2Ml"),
        ("a%3Ab:c@", "YTpiOmM="),
        // As typed, which the address itself encodes.
        ("m\u{e9}:p w@", "bcOpOnAgdw=="),
        // No UTF-8: the bytes E9 and FF.
        ("%e9:%FF@", "6Tr/"),
        // What is not encoded stands for itself.
        ("a+b:100%@", "YStiOjEwMCU="),
    ] {
        assert_eq!(password_of(before_host), expected, "{before_host}");
    }
}

#[test]
fn a_password_goes_no_further_than_its_server() {
    let (sender, passwords) = mpsc::channel();
    let listener = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (own, other) = (listener(), listener());
    let at = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
    let (host, far) = (at(&own), at(&other));
    let address = format!("http://me:secret@{host}/");
    let to = [
        "/relative".to_owned(),
        format!("http://{host}/absolute"),
        format!("http://you:%40@{host}/"),
        format!("http://{far}/"),
    ];
    let server = thread::spawn(move || {
        for to in to {
            let (mut connection, _) = own.accept().unwrap();
            sender.send(authorization(&connection)).unwrap();
            connection.write_all(&redirect(&to)).unwrap();
        }
        let (mut connection, _) = other.accept().unwrap();
        sender.send(authorization(&connection)).unwrap();
        connection.write_all(&html(PAGE)).unwrap();
    });
    assert_eq!(said(&titles([address])), "here");
    server.join().unwrap();
    let passwords: Vec<String> = passwords.iter().collect();
    let mine = "bWU6c2VjcmV0";
    assert_eq!(passwords, [mine, mine, mine, "eW91OkA=", ""]);
}

#[test]
fn a_refused_connection() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // The other end of a connection: no server listens there, and no other test gets the port.
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

/// Writes one byte after the other until the other end is closed.
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
fn the_time_out_holds_for_a_page_that_is_read_again() {
    const TIME_OUT: Duration = Duration::from_secs(6);
    const MARGIN: Duration = Duration::from_millis(100);
    let server = Server::start(|_, connection| {
        let late = Instant::now() + TIME_OUT - MARGIN;
        connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        // To read this takes longer than the margin. What follows is no UTF-8.
        connection.write_all("<p>x</p>".repeat(400_000).as_bytes())?;
        thread::sleep(late.saturating_duration_since(Instant::now()));
        connection.write_all(b"\xff<title>here</title>")
    });
    let time_out = TIME_OUT.as_secs().to_string();
    assert_eq!(
        said(&titles(["--timeout", &time_out, &server.url("/")])),
        "error: timed out after 6 s"
    );
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
fn a_certificate_that_no_authority_signed() {
    // By `tests/titles/localhost/generate`.
    let certificate = include_bytes!("localhost/certificate.der").as_slice();
    let key = include_bytes!("localhost/key.der").as_slice();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.into()], key)
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

/// ureq would pass over it, and ask the server itself.
#[test]
fn a_proxy_that_cannot_be_used_is_an_error() {
    for value in ["nonsense://x", "http://127.0.0.1:1 "] {
        let mut command = command(["http://far-away.invalid/"]);
        command.env("http_proxy", value);
        let said = said(&start(&mut command).finish());
        let begin = "error: the proxy in http_proxy cannot be used: ";
        assert!(said.starts_with(begin), "{said}");
    }
}

#[test]
fn an_error_behind_a_proxy_names_the_proxy() {
    let mut command = command(["http://far-away.invalid/"]);
    command.env("http_proxy", "http://127.0.0.1:1");
    assert_eq!(
        said(&start(&mut command).finish()),
        "error: connection refused (through the proxy 127.0.0.1:1)"
    );
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
