//! The Content-Type of a response, read as browsers read it: by WHATWG's Fetch and MIME Sniffing.

use encoding_rs::Encoding;
use ureq::http::{HeaderMap, header};

/// A kind of document, as `text/html; charset=utf-8`.
#[derive(Debug)]
pub(crate) struct ContentType {
    essence: String,
    charset: Option<String>,
}

impl ContentType {
    /// Returns the last of all Content-Types. It takes its charset from the one before if that is
    /// of the same kind. `*/*` and what is no MIME type do not count.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(header::CONTENT_TYPE).iter();
        let lines: Vec<_> = lines
            .map(|line| String::from_utf8_lossy(line.as_bytes()))
            .collect();
        let mut last: Option<Self> = None;
        for value in split_unquoted(&lines.join(", "), ',') {
            let Some(mut next) = Self::parse(value).filter(|next| next.essence != "*/*") else {
                continue;
            };
            let before = last.filter(|last| last.essence == next.essence);
            next.charset = next.charset.or_else(|| before?.charset);
            last = Some(next);
        }
        last
    }

    fn parse(value: &str) -> Option<Self> {
        let mut parts = split_unquoted(value, ';');
        let essence = parts.next()?.trim().to_ascii_lowercase();
        let (kind, subkind) = essence.split_once('/')?;
        if !is_token(kind) || !is_token(subkind) {
            return None;
        }
        let charset = parts
            .filter_map(|parameter| parameter.split_once('='))
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
            .map(|(_, value)| value.trim().trim_matches(['"', '\'']).to_owned())
            .find(|value| !value.is_empty());
        Some(Self { essence, charset })
    }

    /// Returns `true` if it is one of a page, or one that says that the server does not know.
    pub(crate) fn may_be_html(&self) -> bool {
        matches!(
            &*self.essence,
            "text/html" | "application/xhtml+xml" | "unknown/unknown" | "application/unknown"
        )
    }

    pub(crate) fn encoding(&self) -> Option<&'static Encoding> {
        Encoding::for_label(self.charset.as_deref()?.as_bytes())
    }
}

/// The parts of the text between these separators, where they are not in double quotes.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let was_escaped = std::mem::replace(&mut escaped, false);
        match c {
            _ if was_escaped => {}
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        c == separator && !quoted
    })
}

fn is_token(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}
