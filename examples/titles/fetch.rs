//! One page fetched: its address in, its title out.
//!
//! [`get_title`] is a plain function of one argument. It needs nothing but that argument, and both
//! it and the result can be sent to another process: so it runs in any executor.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use concurrent_futures::{PoolKind, current_worker};
use percent_encoding::{AsciiSet, percent_encode};
use serde::{Deserialize, Serialize};
use ureq::Body;
use ureq::http::{Response, StatusCode, header};
use url::Url;

use crate::body::unpacked;
use crate::connection::{get, has_credentials, proxy};
use crate::content_type::ContentType;
use crate::explain::explain;
use crate::page::{self, MAX_BYTES, Trouble};
use crate::report::one_line;
use crate::title;

const MAX_REDIRECTS: usize = 10;

/// A page to fetch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) address: String,
    /// For all of it: names, redirects, body.
    pub(crate) timeout: Duration,
    /// `true` to report on standard error each page that begins.
    pub(crate) trace: bool,
}

/// The outcome of a [`Request`].
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
        let proxy = proxy(&url)?;
        let response = get(&url, left, proxy.as_ref()).map_err(|error| match proxy {
            None => explain(error),
            Some(proxy) => {
                let (host, port) = (proxy.host(), proxy.port());
                format!("{} (through the proxy {host}:{port})", explain(error))
            }
        })?;
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
    let content_type = ContentType::of(response.headers());
    if content_type.as_ref().is_some_and(|it| !it.may_be_html()) {
        return Ok(None);
    }
    // A server that gives no type leaves it to the page.
    let encoding = content_type.and_then(|it| it.encoding());
    let end = start + request.timeout;
    let body = unpacked(response, end)?;
    page::title(body, encoding, end).map_err(|trouble| match trouble {
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
    if address.contains(char::REPLACEMENT_CHARACTER) {
        return Err("the address has U+FFFD, which stands for bytes that are not UTF-8".to_owned());
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

/// Returns `true` if what looks like a scheme is the name of a host, as in
/// `localhost:8000` or `example.com:80/path`, and not in `data:1,2` or `tel:5550100`.
fn is_host_with_port(url: &Url) -> bool {
    let port = url.path().split('/').next().unwrap_or_default();
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    !is_web(url) && is_number && (1..=5).contains(&port.len())
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

/// Returns the address that the response redirects to, if it does.
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
    let location = location.as_bytes();
    // Bytes of an older charset stay the bytes that they are, as browsers send them.
    let location = std::str::from_utf8(location).map_or_else(
        |_| percent_encode(location, &AsciiSet::EMPTY).into(),
        Cow::from,
    );
    match from.join(&location) {
        Ok(url) if is_web(&url) => Ok(Some(with_credentials(url, from))),
        Ok(url) => Err(format!(
            "redirected to {url}, which is neither http nor https"
        )),
        Err(error) => Err(format!("redirected to {location}, not an address: {error}")),
    }
}

/// The address with the user and the password of the one before, as browsers remember them: for the
/// same scheme, host and port.
fn with_credentials(mut url: Url, before: &Url) -> Url {
    if url.origin() == before.origin() && !has_credentials(&url) {
        // Neither fails for an address that has a host.
        let _ = url.set_username(before.username());
        let _ = url.set_password(before.password());
    }
    url
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
    // A trace that cannot be written is left out.
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
