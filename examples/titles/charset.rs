//! The charset of a page, and its bytes as text.
//!
//! The order is the browsers': byte order mark, header, XML declaration in UTF-16, meta element, XML
//! declaration, and for pages that say nothing UTF-8 if it is valid, else windows-1252. This file answers each question by itself; who
//! reads the page asks them in that order.

use std::io::{self, Read};

use encoding_rs::{
    CoderResult, Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252,
};
use select::document::Document;
use select::predicate::{Attr, Name, Predicate};

/// The charset that the first bytes of a page give away.
pub(crate) fn from_mark(bytes: &[u8]) -> Option<&'static Encoding> {
    Encoding::for_bom(bytes).map(|(encoding, _)| encoding)
}

/// The bytes in which browsers look for the end of an XML declaration.
pub(crate) const MAX_DECLARATION: usize = 1024;

const DECLARATION: &[u8] = b"<?xml";
/// The beginning of one in UTF-16.
const LITTLE_ENDIAN: &[u8] = b"<\0?\0x\0";
const BIG_ENDIAN: &[u8] = b"\0<\0?\0x";

/// Returns `true` if more bytes could make these first ones a mark or an XML declaration.
pub(crate) fn is_unfinished(bytes: &[u8]) -> bool {
    let declarations = [DECLARATION, LITTLE_ENDIAN, BIG_ENDIAN];
    bytes.len() < 3
        || declarations
            .iter()
            .any(|it| it.len() > bytes.len() && it.starts_with(bytes))
        || bytes.starts_with(DECLARATION) && !bytes.contains(&b'>')
}

/// The charset of a page that begins as an XML declaration in UTF-16 does.
pub(crate) fn from_wide_declaration(bytes: &[u8]) -> Option<&'static Encoding> {
    let begins = |with| bytes.starts_with(with);
    begins(LITTLE_ENDIAN)
        .then_some(UTF_16LE)
        .or(begins(BIG_ENDIAN).then_some(UTF_16BE))
}

/// The charset that an XML declaration names, as in `<?xml version="1.0" encoding="koi8-r"?>`.
pub(crate) fn from_declaration(bytes: &[u8]) -> Option<&'static Encoding> {
    const ENCODING: &[u8] = b"encoding";
    let bytes = &bytes[..bytes.len().min(MAX_DECLARATION)];
    let inside = bytes.strip_prefix(DECLARATION)?;
    let inside = &inside[..inside.iter().position(|&byte| byte == b'>')?];
    let mut places = inside.windows(ENCODING.len());
    let at = places.position(|place| place == ENCODING)?;
    let after = skip_space(&inside[at + ENCODING.len()..]);
    let after = skip_space(after.strip_prefix(b"=")?);
    let (&quote, label) = after.split_first()?;
    let label = &label[..label.iter().position(|&byte| byte == quote)?];
    if !matches!(quote, b'"' | b'\'') || label.iter().any(|&byte| byte <= b' ') {
        return None;
    }
    let encoding = Encoding::for_label(label)?;
    // As in a meta element.
    Some(if [UTF_16LE, UTF_16BE].contains(&encoding) {
        UTF_8
    } else {
        encoding
    })
}

/// The bytes behind all white space and control characters that they begin with.
fn skip_space(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|&byte| byte > b' ');
    &bytes[start.unwrap_or(bytes.len())..]
}

/// The charset that a meta element names, in `charset` or in `http-equiv` with `content`.
pub(crate) fn from_meta(meta: &Document) -> Option<&'static Encoding> {
    let named = meta
        .find(Name("meta").and(Attr("charset", ())))
        .find_map(|meta| Encoding::for_label(meta.attr("charset")?.as_bytes()));
    let encoding = named.or_else(|| {
        let meta = meta.find(Name("meta").and(Attr("http-equiv", ()))).next()?;
        let is_type = meta
            .attr("http-equiv")?
            .trim()
            .eq_ignore_ascii_case("content-type");
        is_type
            .then(|| from_content(meta.attr("content")?))
            .flatten()
    })?;
    // In words that could be read as ASCII, a page cannot say that it is not readable as ASCII.
    Some(match encoding.name() {
        "UTF-16LE" | "UTF-16BE" => UTF_8,
        "x-user-defined" => WINDOWS_1252,
        _ => encoding,
    })
}

/// The charset in a Content-Type as pages write it: `charset` anywhere, semicolons or not.
fn from_content(content: &str) -> Option<&'static Encoding> {
    let lower = content.to_ascii_lowercase();
    let value = lower.match_indices("charset").find_map(|(at, word)| {
        lower[at + word.len()..]
            .trim_ascii_start()
            .strip_prefix('=')
    })?;
    let value = value.trim_ascii_start();
    let label = match value.chars().next()? {
        // An unclosed quote names no charset.
        quote @ ('"' | '\'') => value[1..].split_once(quote)?.0,
        _ => value
            .split(|c: char| c == ';' || c.is_ascii_whitespace())
            .next()?,
    };
    Encoding::for_label(label.as_bytes())
}

/// Reads bytes in some charset as UTF-8.
pub(crate) struct Text<R> {
    bytes: R,
    decoder: Decoder,
    /// `true` if malformed bytes are an error, and not U+FFFD.
    strict: bool,
    decoded: String,
    /// The number of bytes of `decoded` that have been read.
    given: usize,
    ended: bool,
    /// The error that ended the text too early, reported once the text before it
    /// has been read.
    pub(crate) broken: Option<Broken>,
}

/// The reason why a text broke off.
#[derive(Debug)]
pub(crate) enum Broken {
    /// A [strict](Text::new) text has bytes that make no sense.
    Nonsense,
    /// The bytes themselves did.
    Bytes(io::Error),
}

impl<R: Read> Text<R> {
    /// A strict text ends where the bytes make no sense in the charset; others go on with U+FFFD.
    pub(crate) fn new(bytes: R, encoding: &'static Encoding, strict: bool) -> Self {
        Self {
            bytes,
            decoder: encoding.new_decoder_with_bom_removal(),
            strict,
            decoded: String::new(),
            given: 0,
            ended: false,
            broken: None,
        }
    }

    fn decode_more(&mut self) {
        let mut buffer = [0; 4096];
        let bytes = match self.bytes.read(&mut buffer) {
            Ok(length) => &buffer[..length],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            Err(error) => return self.broken = Some(Broken::Bytes(error)),
        };
        self.ended = bytes.is_empty();
        self.given = 0;
        self.decoded.clear();
        let length = self.decoder.max_utf8_buffer_length(bytes.len());
        self.decoded
            .reserve(length.expect("three times 4,096 fits"));
        if self.strict {
            let text = &mut self.decoded;
            let (result, _) = self
                .decoder
                .decode_to_string_without_replacement(bytes, text, self.ended);
            if let DecoderResult::Malformed(..) = result {
                self.broken = Some(Broken::Nonsense);
            }
        } else {
            let (result, ..) = self
                .decoder
                .decode_to_string(bytes, &mut self.decoded, self.ended);
            debug_assert_eq!(
                result,
                CoderResult::InputEmpty,
                "there is room for all of it"
            );
        }
    }
}

impl<R: Read> Read for Text<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut rest = &self.decoded.as_bytes()[self.given..];
            if !rest.is_empty() {
                let length = rest.read(buffer)?;
                self.given += length;
                return Ok(length);
            }
            if self.broken.is_some() {
                return Err(io::Error::other("the text breaks off"));
            }
            if self.ended {
                return Ok(0);
            }
            self.decode_more();
        }
    }
}
