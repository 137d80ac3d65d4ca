//! The body of a response, as it was before the server compressed it.

use std::io::{self, Read};
use std::time::Instant;

use ureq::Body;
use ureq::http::Response;
use ureq::http::header::{self, HeaderName};

use crate::gzip::Gunzip;

/// Compressions that some browser knows, and that this program does not ask for.
const UNASKED: [&str; 7] = [
    "br",
    "zstd",
    "deflate",
    "compress",
    "x-compress",
    "dcb",
    "dcz",
];

/// The number of times that a body may be compressed; curl's bound.
const MAX_CODINGS: usize = 5;

/// The body until the time is out. A Content-Encoding that is none, as `UTF-8`, is passed over.
pub(crate) fn unpacked(response: Response<Body>, end: Instant) -> Result<Box<dyn Read>, String> {
    // ureq undoes `chunked` alone of the ways to send a body.
    if let Some(coding) = codings(&response, header::TRANSFER_ENCODING).pop() {
        return Err(format!("sent as {coding}, which was not asked for"));
    }
    let codings = codings(&response, header::CONTENT_ENCODING);
    if codings.len() > MAX_CODINGS {
        return Err(format!("compressed more than {MAX_CODINGS} times"));
    }
    let body = response.into_body().into_reader();
    let mut body: Box<dyn Read> = Box::new(Until { body, end });
    for coding in codings.iter().rev() {
        if is_gzip(coding) {
            let unpacked = Gunzip::new(body);
            // At each layer, as a little of one may be very much of the next.
            body = Box::new(Until {
                body: unpacked,
                end,
            });
        } else if !matches!(body.read(&mut [0]), Ok(0)) {
            return Err(format!("compressed by {coding}, which was not asked for"));
        }
    }
    Ok(body)
}

/// The compressions that a header lists, in the order in which they were applied.
fn codings(response: &Response<Body>, header: HeaderName) -> Vec<String> {
    let values = response.headers().get_all(header).iter();
    values
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(|coding| String::from_utf8_lossy(coding.trim_ascii()).to_ascii_lowercase())
        .filter(|coding| is_gzip(coding) || UNASKED.contains(&&**coding))
        .collect()
}

fn is_gzip(coding: &str) -> bool {
    matches!(coding, "gzip" | "x-gzip")
}

/// A body until the time is out. ureq sees to that where it waits for the network; this does where
/// the work is to unpack and to parse.
pub(crate) struct Until<R> {
    pub(crate) body: R,
    pub(crate) end: Instant,
}

impl<R: Read> Read for Until<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.end {
            return Err(ureq::Error::Timeout(ureq::Timeout::Global).into_io());
        }
        self.body.read(buffer)
    }
}
