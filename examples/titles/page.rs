//! The title of a page, from the bytes of its body.
//!
//! A page may name its charset late, or turn out not to be in the one that it seemed to be in. It is
//! then read again from the start; this file remembers the bytes for as long as that can happen.

use std::io::{self, Read};
use std::time::Instant;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

use crate::body::Until;
use crate::charset::{self, Broken, Text};
use crate::title::{self, Finding};

/// The number of bytes of a page that are read, counted after decompression.
pub(crate) const MAX_BYTES: usize = 10_000_000;

/// The reason why a page has no title.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// After [`MAX_BYTES`].
    CutOff,
    /// Elements nest deeper than [`title::MAX_DEPTH`].
    TooDeep,
    /// More work than [`title::MAX_STEPS`].
    TooTangled,
    /// The body broke off.
    Broken(io::Error),
}

/// The title of the page, or nothing if it has none. Reads no further than it must, and no longer
/// than until `end`.
pub(crate) fn title(
    body: impl Read,
    header: Option<&'static Encoding>,
    end: Instant,
) -> Result<Option<String>, Trouble> {
    let mut body = Body::new(body);
    let start = body.start().map_err(Trouble::Broken)?;
    let mut charset = charset::from_mark(start)
        .or(header)
        .or_else(|| charset::from_wide_declaration(start))
        .map(Charset::Known)
        .or_else(|| charset::from_declaration(start).map(Charset::Declared))
        .unwrap_or(Charset::Assumed(UTF_8));
    loop {
        match read(&mut body, charset, end)? {
            Reading::Done(title) => return Ok(title.and_then(|title| title::fold(&title))),
            Reading::Again(other) => charset = other,
        }
    }
}

#[derive(Clone, Copy)]
enum Charset {
    Known(&'static Encoding),
    /// By an XML declaration. A meta element counts more.
    Declared(&'static Encoding),
    /// For a page that has not said anything yet. A meta element makes it known.
    Assumed(&'static Encoding),
}

enum Reading {
    Done(Option<String>),
    /// The page is in this charset.
    Again(Charset),
}

fn read(body: &mut Body<impl Read>, charset: Charset, end: Instant) -> Result<Reading, Trouble> {
    let (Charset::Known(encoding) | Charset::Declared(encoding) | Charset::Assumed(encoding)) =
        charset;
    let known = matches!(charset, Charset::Known(_));
    let guessed = matches!(charset, Charset::Assumed(_)) && encoding == UTF_8;
    body.rewind(!known);
    // The source knows when the time is out, but what is read again does not come from there.
    let in_time = Until {
        body: &mut *body,
        end,
    };
    let mut text = Text::new(in_time, encoding, guessed);
    let mut title = None;
    let mut head_ended = false;
    let mut trouble = None;

    for finding in title::findings(&mut text) {
        match finding {
            Ok(Finding::Title(found)) => title = title.or(Some(found)),
            Ok(Finding::HeadEnded) => head_ended = true,
            Ok(Finding::Meta(meta)) if !known => {
                if let Some(encoding) = charset::from_meta(&meta) {
                    return Ok(Reading::Again(Charset::Known(encoding)));
                }
            }
            Ok(Finding::Meta(_)) => {}
            Ok(Finding::TooDeep) => trouble = Some(Trouble::TooDeep),
            Ok(Finding::TooTangled) => trouble = Some(Trouble::TooTangled),
            Err(_) => break, // `text.broken` says why.
        }
        // A title that would read differently in another charset waits for the meta element that
        // may still come in the head. Most titles wait for nothing.
        let settled = |title: &String| known || head_ended || reads_the_same(title);
        if trouble.is_some() || title.as_ref().is_some_and(settled) {
            break;
        }
    }

    let broken = text.broken.take();
    match (title, trouble, broken) {
        (Some(title), ..) => Ok(Reading::Done(Some(title))),
        (None, Some(trouble), _) => Err(trouble),
        (None, None, Some(Broken::Nonsense)) => Ok(Reading::Again(Charset::Assumed(WINDOWS_1252))),
        (None, None, Some(Broken::Bytes(_))) if body.cut_off => Err(Trouble::CutOff),
        (None, None, Some(Broken::Bytes(error))) => Err(Trouble::Broken(error)),
        (None, None, None) => Ok(Reading::Done(None)),
    }
}

/// Returns `true` if the text is the same in every charset: ASCII, and without the
/// escapes of ISO-2022-JP.
fn reads_the_same(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii() && byte != 0x1b)
}

/// A body that can be read again from its start.
struct Body<R> {
    source: R,
    /// Bytes taken from the source so far.
    taken: usize,
    /// The first of these.
    seen: Vec<u8>,
    /// The number of bytes of `seen` that have been read since the last rewind.
    at: usize,
    remember: bool,
    cut_off: bool,
}

impl<R: Read> Body<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            taken: 0,
            seen: Vec::new(),
            at: 0,
            remember: true,
            cut_off: false,
        }
    }

    /// Enough bytes for a byte order mark or an XML declaration, or all that there are.
    fn start(&mut self) -> io::Result<&[u8]> {
        let mut buffer = [0; charset::MAX_DECLARATION];
        while charset::is_unfinished(&self.seen) && self.seen.len() < buffer.len() {
            let room = buffer.len() - self.seen.len();
            if self.read(&mut buffer[..room])? == 0 {
                break;
            }
        }
        Ok(&self.seen)
    }

    /// Back to the start. Without `remember` this is the last time.
    fn rewind(&mut self, remember: bool) {
        debug_assert_eq!(self.seen.len(), self.taken, "nothing has been forgotten");
        self.at = 0;
        self.remember = remember;
    }
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut again = &self.seen[self.at..];
        if !again.is_empty() {
            let length = again.read(buffer)?;
            self.at += length;
            return Ok(length);
        }
        let room = MAX_BYTES - self.taken;
        if room == 0 {
            // Only a page that ends here is not cut off, be what follows more of it or a failure.
            self.cut_off = self.cut_off || !matches!(self.source.read(&mut [0]), Ok(0));
            return if self.cut_off {
                Err(io::Error::other("too long"))
            } else {
                Ok(0)
            };
        }
        let wanted = buffer.len().min(room);
        let length = self.source.read(&mut buffer[..wanted])?;
        self.taken += length;
        if self.remember {
            self.seen.extend_from_slice(&buffer[..length]);
            self.at = self.seen.len();
        }
        Ok(length)
    }
}
