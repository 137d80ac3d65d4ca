//! Servers on loopback that do what a test tells them.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::program::{Run, titles};

/// A server until it is dropped.
pub(crate) struct Server {
    at: SocketAddr,
    closing: Arc<AtomicBool>,
}

impl Server {
    /// Calls the function for each request, in a thread of its own, with the path and the
    /// connection, which is closed afterwards.
    pub(crate) fn start<F>(answer: F) -> Self
    where
        F: Fn(&str, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    {
        Self::at(Ipv4Addr::LOCALHOST, answer)
    }

    pub(crate) fn at<F>(ip: Ipv4Addr, answer: F) -> Self
    where
        F: Fn(&str, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let closing = Arc::new(AtomicBool::new(false));
        let (answer, closed) = (Arc::new(answer), Arc::clone(&closing));
        thread::spawn(move || {
            for connection in listener.incoming() {
                if closed.load(Ordering::Relaxed) {
                    break;
                }
                let (connection, answer) = (connection.unwrap(), Arc::clone(&answer));
                // A client that goes away early is nothing to a server.
                thread::spawn(move || serve(connection, &*answer));
            }
        });
        Self { at, closing }
    }

    /// A server that gives the same response to each client.
    pub(crate) fn of(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::start(move |_, connection| connection.write_all(&response))
    }

    /// A server of several responses, by path.
    pub(crate) fn of_all(responses: Vec<(&'static str, Vec<u8>)>) -> Self {
        Self::start(move |path, connection| {
            let found = responses.iter().find(|response| response.0 == path);
            let (_, response) = found.unwrap_or_else(|| panic!("no page asks for {path}"));
            connection.write_all(response)
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }

    pub(crate) fn port(&self) -> u16 {
        self.at.port()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.at); // So that it looks.
    }
}

fn serve(
    mut connection: TcpStream,
    answer: &(dyn Fn(&str, &mut TcpStream) -> io::Result<()> + Send + Sync),
) -> io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(60)))?;
    connection.set_write_timeout(Some(Duration::from_secs(60)))?;
    let mut lines = BufReader::new(connection.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    answer(
        request.split(' ').nth(1).unwrap_or_default(),
        &mut connection,
    )
}

/// A whole response: status and headers, each header with its line end, and the body.
pub(crate) fn response(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let mut response =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n").into_bytes();
    response.extend_from_slice(body);
    response
}

/// A page of HTML that says nothing about its charset.
pub(crate) fn html(body: impl AsRef<[u8]>) -> Vec<u8> {
    response("200 OK", "Content-Type: text/html\r\n", body)
}

pub(crate) fn redirect(to: &str) -> Vec<u8> {
    response("302 Found", &format!("Location: {to}\r\n"), "")
}

/// Returns what the program prints about this one response, after the address.
pub(crate) fn said_of(response: impl Into<Vec<u8>>) -> String {
    let server = Server::of(response);
    said(&titles([server.url("/")]))
}

/// As [`said_of`] for each of these responses, all in one run.
pub(crate) fn said_of_each(responses: Vec<Vec<u8>>) -> Vec<String> {
    let addresses = 0..responses.len();
    let server = Server::start(move |path, connection| {
        let index: usize = path[1..].parse().expect("a path of this server's own");
        connection.write_all(&responses[index])
    });
    let run = titles(addresses.map(|index| server.url(&format!("/{index}"))));
    assert_eq!(run.stderr, "", "{run:?}");
    let said = |line: &&str| line.split_once("  ").expect("as in `said`").1.to_owned();
    run.pages().iter().map(said).collect()
}

/// Returns what a run over one page prints about it, and checks everything around
/// that.
pub(crate) fn said(run: &Run) -> String {
    assert_eq!(run.stderr, "", "{run:?}");
    let [line] = run.pages()[..] else {
        panic!("not one line: {run:?}")
    };
    let (_, said) = line
        .split_once("  ")
        .expect("the address, two spaces, what is said");
    assert_eq!(
        run.code(),
        Some(i32::from(said.starts_with("error: "))),
        "{run:?}"
    );
    said.to_owned()
}
