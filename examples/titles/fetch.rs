//! One page fetched: its address in, its title out.
//!
//! [`get_title`] is a plain function of one argument. It needs nothing but that argument, and both
//! it and the result can be sent to another process: so it runs in any executor.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use concurrent_futures::{PoolKind, current_worker};
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body, Proxy};
use url::{Host, Url};

use crate::page::{self, MAX_BYTES, Trouble};
use crate::report::one_line;
use crate::{charset, title};

const MAX_REDIRECTS: usize = 10;

/// A page to fetch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) address: String,
    /// For all of it: names, redirects, body.
    pub(crate) timeout: Duration,
    /// Whether to say on standard error what begins.
    pub(crate) trace: bool,
}

/// What became of a [`Request`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Page {
    /// The title, or that there is none, or a sentence that says what went wrong.
    pub(crate) title: Result<Option<String>, String>,
    pub(crate) took: Duration,
}

/// Fetches a page and looks for its title.
pub(crate) fn get_title(request: Request) -> Page {
    if request.trace {
        trace(&request.address);
    }
    let start = Instant::now();
    let title = fetch(&request, start);
    Page {
        title,
        took: start.elapsed(),
    }
}

fn fetch(request: &Request, start: Instant) -> Result<Option<String>, String> {
    let explain = |error| explain(error, request.timeout);
    let mut url = parse(&request.address)?;
    let mut redirects = 0;
    let response = loop {
        let left = request.timeout.saturating_sub(start.elapsed());
        let response = get(&url, left).map_err(explain)?;
        match redirect(&url, &response)? {
            None => break response,
            Some(_) if redirects == MAX_REDIRECTS => {
                return Err(format!("redirected more than {MAX_REDIRECTS} times"));
            }
            Some(next) => url = next,
        }
        redirects += 1;
    };

    let status = response.status();
    if status.as_u16() >= 400 {
        let reason = status.canonical_reason().unwrap_or_default();
        return Err(format!("status {} {reason}", status.as_u16())
            .trim_end()
            .to_owned());
    }
    let content_type = text_of(&response, header::CONTENT_TYPE);
    if !is_html(&content_type) {
        return Ok(None);
    }
    let encoding = charset::from_content_type(&content_type);
    let body = Until {
        body: unpacked(response)?,
        end: start + request.timeout,
    };
    page::title(body, encoding).map_err(|trouble| match trouble {
        Trouble::CutOff => format!("cut off at {} MB, no title so far", MAX_BYTES / 1_000_000),
        Trouble::TooDeep => {
            format!(
                "more than {} elements one in the other, no title so far",
                title::MAX_DEPTH
            )
        }
        Trouble::TooTangled => "too tangled to be read, no title so far".to_owned(),
        Trouble::Broken(error) => match ureq::Error::from(error) {
            error @ ureq::Error::Timeout(_) => explain(error),
            error => format!("broke off, no title so far: {}", explain(error)),
        },
    })
}

/// The address as a browser reads it, if it is one for the web.
fn parse(address: &str) -> Result<Url, String> {
    let address = address.trim();
    if address.is_empty() {
        return Err("the address is empty".to_owned());
    }
    let url = Url::parse(address);
    let scheme_missing = match &url {
        Ok(url) => !address.contains("://") && is_host_with_port(url),
        Err(error) => *error == url::ParseError::RelativeUrlWithoutBase,
    };
    if scheme_missing {
        let rest = address.trim_start_matches('/');
        return Err(format!("the address has no scheme: write https://{rest}"));
    }
    let url = url.map_err(|error| format!("not an address: {error}"))?;
    if !is_web(&url) {
        return Err(format!(
            "the scheme {} is neither http nor https",
            url.scheme()
        ));
    }
    Ok(url)
}

/// Whether what looks like a scheme is the name of a host, as in `localhost:8000` or
/// `example.com:80/path`.
fn is_host_with_port(url: &Url) -> bool {
    !is_web(url) && url.path().starts_with(|c: char| c.is_ascii_digit())
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

/// One request, without following redirects.
fn get(url: &Url, timeout: Duration) -> Result<Response<Body>, ureq::Error> {
    let proxy = if is_loopback(url) {
        None
    } else {
        Proxy::try_from_env()
    };
    let agent = Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(0)
        .proxy(proxy)
        .user_agent(concat!(
            "concurrent-futures-titles/",
            env!("CARGO_PKG_VERSION")
        ))
        .accept("text/html, application/xhtml+xml, */*;q=0.1")
        .build()
        .new_agent();
    let mut url = url.clone();
    url.set_fragment(None);
    agent.get(url.as_str()).call()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.to_canonical().is_loopback(),
        None => false,
    }
}

/// Where the response redirects to, if it does.
fn redirect(from: &Url, response: &Response<Body>) -> Result<Option<Url>, String> {
    let redirects = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = response
        .headers()
        .get(header::LOCATION)
        .filter(|_| redirects);
    let Some(location) = location else {
        return Ok(None);
    };
    let location = String::from_utf8_lossy(location.as_bytes());
    match from.join(&location) {
        Ok(url) if is_web(&url) => Ok(Some(url)),
        Ok(url) => Err(format!(
            "redirected to {url}, which is neither http nor https"
        )),
        Err(error) => Err(format!("redirected to {location}, not an address: {error}")),
    }
}

/// A header of the response; nothing if there is none.
fn text_of(response: &Response<Body>, name: header::HeaderName) -> Cow<'_, str> {
    let value = response.headers().get(name);
    String::from_utf8_lossy(value.map_or(b"", |value| value.as_bytes()))
}

/// Whether a Content-Type is one of HTML; a server that gives none leaves it to the page.
fn is_html(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    ["", "text/html", "application/xhtml+xml"]
        .iter()
        .any(|it| essence.eq_ignore_ascii_case(it))
}

/// The body as it was before the server compressed it.
fn unpacked(response: Response<Body>) -> Result<Box<dyn Read>, String> {
    let coding = text_of(&response, header::CONTENT_ENCODING).to_ascii_lowercase();
    let body = response.into_body().into_reader();
    match &*coding {
        // Also what was `gzip` in just that spelling: ureq unpacks it, and takes the header away.
        "" | "identity" => Ok(Box::new(body)),
        "gzip" | "x-gzip" => Ok(Box::new(Gzip(MultiGzDecoder::new(body)))),
        coding => Err(format!("compressed by {coding}, which nobody asked for")),
    }
}

/// What ureq makes of `gzip`, for the other spellings.
struct Gzip<R>(MultiGzDecoder<R>);

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0
            .read(buffer)
            .map_err(|error| match ureq::Error::from(error) {
                ureq::Error::Io(error) => ureq::Error::Decompress("gzip", error).into_io(),
                error => error.into_io(),
            })
    }
}

/// A body until the time is out. ureq sees to that where it waits for the network; this does where
/// the work is to unpack and to parse.
struct Until<R> {
    body: R,
    end: Instant,
}

impl<R: Read> Read for Until<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.end {
            return Err(ureq::Error::Timeout(ureq::Timeout::Global).into_io());
        }
        self.body.read(buffer)
    }
}

/// A failed request as a sentence for people.
fn explain(error: ureq::Error, timeout: Duration) -> String {
    match error {
        ureq::Error::Timeout(_) => format!("timed out after {} s", timeout.as_secs_f64()),
        ureq::Error::HostNotFound => "the name of the host does not resolve".to_owned(),
        ureq::Error::Io(error) => explain_io(&error),
        ureq::Error::Rustls(error) => explain_tls(&error),
        ureq::Error::Protocol(error) => format!("the server does not keep to HTTP: {error}"),
        ureq::Error::Http(error) => format!("not an address: {error}"),
        ureq::Error::LargeResponseHeader(..) => {
            "the headers of the response are too long".to_owned()
        }
        ureq::Error::Decompress(..) => "what is compressed is damaged".to_owned(),
        error => error.to_string(),
    }
}

fn explain_io(error: &io::Error) -> String {
    use io::ErrorKind as Kind;
    if let Some(error) = error.get_ref().and_then(|error| error.downcast_ref()) {
        return explain_tls(error);
    }
    let sentence = match error.kind() {
        Kind::ConnectionRefused => "connection refused",
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => {
            "the server broke the connection"
        }
        Kind::UnexpectedEof => "the server closed the connection too early",
        Kind::HostUnreachable | Kind::NetworkUnreachable => "the host cannot be reached",
        // The standard library has no kind for it.
        _ if error.to_string().starts_with("failed to lookup address") => {
            "the name of the host does not resolve"
        }
        _ => return format!("the connection failed: {error}"),
    };
    sentence.to_owned()
}

fn explain_tls(error: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    let bad = match error {
        rustls::Error::InvalidCertificate(bad) => bad,
        rustls::Error::InvalidMessage(_) => {
            return "no secure connection: the server does not speak TLS".to_owned();
        }
        rustls::Error::AlertReceived(_) => {
            return "no secure connection: the server refuses it".to_owned();
        }
        error => return format!("no secure connection: {error}"),
    };
    let reason = match bad {
        Bad::Expired | Bad::ExpiredContext { .. } => "has expired",
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => "is not valid yet",
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => "is for another name",
        Bad::Revoked => "was revoked",
        Bad::UnknownIssuer => "was not signed by anyone trusted",
        _ => "cannot be trusted",
    };
    format!("the certificate of the server {reason}")
}

/// Says what begins, as one write that a pipe takes whole: lines of several workers, and of several
/// processes, then never tear each other.
fn trace(address: &str) {
    let process = match current_worker() {
        Some(worker) if !matches!(worker.kind(), PoolKind::Threads | PoolKind::Inline) => {
            format!("worker-{}", worker.number())
        }
        _ => "main".to_owned(),
    };
    let thread = std::thread::current();
    let line = format!(
        "getting title from {} (pid {}, process {process}, thread {})\n",
        shortened(&one_line(address)),
        std::process::id(),
        thread.name().unwrap_or("unnamed"),
    );
    // Nobody listens to a trace that cannot be written.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Linux takes 4,096 bytes as one; this leaves room for the rest of the line.
fn shortened(address: &str) -> Cow<'_, str> {
    const LENGTH: usize = 3_800;
    if address.len() <= LENGTH {
        return address.into();
    }
    let end = (0..=LENGTH)
        .rev()
        .find(|at| address.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}...", &address[..end]).into()
}
