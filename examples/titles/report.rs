//! The report about the pages: lines for people, or JSON.
//!
//! Titles, addresses and what servers say are the words of strangers. Nothing in them can end a
//! line, begin a second one or steer a terminal.

use serde::Serialize;

use crate::fetch::Page;

/// One address and what became of it.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    url: String,
    title: Option<String>,
    error: Option<String>,
    ms: u64,
}

impl Row {
    pub(crate) fn new(address: &str, page: Result<&Page, concurrent_futures::Error>) -> Self {
        let (title, took) = match page {
            Ok(page) => (page.title.clone(), page.took),
            // The call itself failed, as by a panic.
            Err(error) => (Err(error.to_string()), Default::default()),
        };
        let (title, error) = match title {
            Ok(title) => (title, None),
            Err(error) => (None, Some(error)),
        };
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Self {
            url: address.to_owned(),
            title,
            error,
            ms,
        }
    }

    pub(crate) fn failed(&self) -> bool {
        self.error.is_some()
    }

    /// `ADDRESS  TITLE`, `ADDRESS  no title` or `ADDRESS  error: ...`.
    fn line(&self) -> String {
        let said = match (&self.error, &self.title) {
            (Some(error), _) => format!("error: {error}"),
            (None, Some(title)) => title.clone(),
            (None, None) => "no title".to_owned(),
        };
        format!("{}  {}\n", one_line(&self.url), one_line(&said))
    }
}

/// One line for each row.
pub(crate) fn lines(rows: &[Row]) -> String {
    rows.iter().map(Row::line).collect()
}

/// One array of all rows.
pub(crate) fn json(rows: &[Row]) -> String {
    let json = serde_json::to_string(rows).expect("strings and numbers can be written as JSON");
    // JSON itself asks for escapes only below U+0020. All others stand inside of strings.
    let mut escaped = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if acts(c) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped.push('\n');
    escaped
}

/// The text with U+FFFD for every character that acts on what shows it.
pub(crate) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| {
            if acts(c) {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// Control characters, line and paragraph separators, and those that turn the direction of writing.
fn acts(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
