//! Five pages of the program's own, for machines without internet: from a small real server on
//! loopback, each after a visible delay.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A page: its path, how long it takes, what it says. They are small lessons in titles.
const PAGES: [(&str, Duration, &str); 5] = [
    (
        "/entities",
        Duration::from_millis(600),
        "<!doctype html><title>Fish &amp; Chips &mdash; a page with entities</title>",
    ),
    (
        "/folded",
        Duration::from_millis(300),
        "<!doctype html><title>\n    A page whose title\n    takes two lines\n</title>",
    ),
    (
        "/untitled",
        Duration::from_millis(500),
        "<!doctype html><h1>A page without a title, as google.com once was</h1>",
    ),
    (
        "/drawing",
        Duration::from_millis(700),
        "<!doctype html><svg><title>A circle</title><circle r=9 /></svg>\
         <title>A page whose drawing has a title too</title>",
    ),
    (
        "/charset",
        Duration::from_millis(400),
        "<!doctype html><meta charset=utf-8><title>Eine Seite mit Umlauten: äöü</title>",
    ),
];

/// Returns `true` if any of the hosts is found to have an address within the limit.
pub(crate) fn any_resolves(hosts: &[String], limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    let (sender, answers) = mpsc::channel();
    for host in hosts {
        let (host, sender) = (host.clone(), sender.clone());
        // Nothing can call off the system's look-up, so it has a thread of its own, left alone if
        // it takes too long. No thread, no answer.
        let _ = thread::Builder::new()
            .name("resolve".to_owned())
            .spawn(move || {
                let resolves = (&*host, 443)
                    .to_socket_addrs()
                    .is_ok_and(|mut all| all.next().is_some());
                let _ = sender.send(resolves);
            });
    }
    drop(sender);
    let answer = || {
        answers
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .ok()
    };
    std::iter::from_fn(answer).any(|resolves| resolves)
}

/// Starts the server, which serves until the program ends, and gives the addresses of its pages.
pub(crate) fn start() -> io::Result<Vec<String>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let at = listener.local_addr()?;
    thread::Builder::new()
        .name("demo server".to_owned())
        .spawn(move || {
            for connection in listener.incoming().flatten() {
                // A thread for each, so that their delays pass side by side.
                let _ = thread::Builder::new().spawn(move || serve(connection));
            }
        })?;
    Ok(PAGES
        .iter()
        .map(|(path, ..)| format!("http://{at}{path}"))
        .collect())
}

fn serve(mut connection: TcpStream) -> io::Result<()> {
    let mut head = BufReader::new(connection.try_clone()?).lines();
    let request = head.next().unwrap_or_else(|| Ok(String::new()))?;
    // The rest of the head says nothing new, but an answer comes after all of it.
    for line in head {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match PAGES.iter().find(|page| page.0 == path) {
        Some((_, delay, body)) => {
            thread::sleep(*delay);
            ("200 OK", *body)
        }
        None => ("404 Not Found", ""),
    };
    write!(
        connection,
        "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}
