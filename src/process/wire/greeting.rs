//! The greeting: the bytes that a worker sends first if a command such as `ssh` started it.
//!
//! The output of such a command may begin with other text, such as the output of a login
//! shell's startup files, or the notices of a batch system. The parent skips this text,
//! and keeps its end for an error message. The worker's messages begin after the
//! greeting.
//!
//! The command may have to copy the program to the other side first. If the other side has
//! no copy yet, requests for the program's file come before the greeting
//! (`parent/staging.rs`).

use std::collections::VecDeque;

/// The greeting. Its first byte does not appear again within the greeting. So if a search
/// has found a part of the greeting and then finds a wrong byte, the greeting can begin
/// again only at this byte, and not at an earlier one.
pub(crate) const GREETING: &[u8] = b"\0concurrent-futures worker, wire 1\n";

/// The request for the program's file. Its first byte does not appear again within the
/// request.
pub(crate) const REQUEST: &[u8] = b"\0concurrent-futures copier, wire 1\n";

/// The largest number of skipped bytes that the parent keeps for an error message.
const KEPT: usize = 1024;

/// The number of bytes that may be skipped. If more bytes were skipped and the greeting has
/// not arrived, the search fails with [`NoGreeting`].
const MOST_SKIPPED: usize = 1 << 20;

/// The search for the greeting, or for the request, in the output of a command.
#[derive(Debug)]
pub(crate) struct Search {
    wanted: &'static [u8],
    /// The length of the longest start of `wanted` with which the searched bytes end.
    matched: usize,
    skipped: usize,
    /// The last skipped bytes, at most [`KEPT`].
    text: VecDeque<u8>,
}

/// The error of a search in which too many bytes have arrived before the wanted bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoGreeting;

impl Search {
    pub(crate) fn new(wanted: &'static [u8]) -> Self {
        Self {
            wanted,
            matched: 0,
            skipped: 0,
            text: VecDeque::new(),
        }
    }

    /// Searches the next bytes for `wanted`. Returns the number of these bytes up to the
    /// end of `wanted`, or `None` if `wanted` is not complete yet.
    pub(crate) fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, NoGreeting> {
        for (at, byte) in bytes.iter().enumerate() {
            if *byte != self.wanted[self.matched] {
                self.skip(&self.wanted[..self.matched]);
                self.matched = 0;
            }
            if *byte == self.wanted[self.matched] {
                self.matched += 1;
            } else {
                self.skip(&[*byte]);
            }
            if self.matched == self.wanted.len() {
                return Ok(Some(at + 1));
            }
        }
        if self.skipped > MOST_SKIPPED {
            return Err(NoGreeting);
        }
        Ok(None)
    }

    /// Prepares this search for the bytes behind a request, which another search has
    /// found. This search drops the text that it has kept, but still counts the text's
    /// bytes for [`MOST_SKIPPED`].
    pub(crate) fn forget_text(&mut self) {
        self.matched = 0;
        self.text.clear();
    }

    fn skip(&mut self, bytes: &[u8]) {
        self.skipped += bytes.len();
        self.text.extend(bytes);
        let more = self.text.len().saturating_sub(KEPT);
        self.text.drain(..more);
    }

    /// Returns `true` if the wanted bytes have arrived with another first byte, another
    /// version number or another end. Then the worker's program has another version of this
    /// crate, or the bytes were changed on their way.
    pub(crate) fn has_other_greeting(&self) -> bool {
        // Without the first byte, the number and the end of the line.
        let name = &self.wanted[1..self.wanted.len() - 2];
        let text: Vec<u8> = self.text.iter().copied().collect();
        text.windows(name.len()).any(|bytes| bytes == name)
    }

    /// Returns the end of the text that has arrived before the wanted bytes or in place
    /// of them.
    pub(crate) fn skipped_text(&self) -> String {
        let bytes: Vec<u8> = self.text.iter().copied().collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_is_found_in_pieces_of_any_size() {
        let mut bytes = b"Welcome!\n".to_vec();
        bytes.extend(&GREETING[..7]);
        bytes.extend(&GREETING[..1]);
        bytes.extend(GREETING);
        bytes.extend(b"frames");
        for size in 1..bytes.len() {
            let mut search = Search::new(GREETING);
            let mut read = 0;
            let found = bytes.chunks(size).find_map(|piece| {
                let found = search.find(piece).unwrap();
                read += found.unwrap_or(piece.len());
                found
            });
            assert!(found.is_some(), "{size}");
            assert_eq!(&bytes[read..], b"frames", "{size}");
            let text = search.skipped_text();
            assert_eq!(text, "Welcome!\n\0concur\0", "{size}");
        }
    }

    #[test]
    fn a_stream_without_a_greeting_is_given_up_and_its_end_is_kept() {
        let mut search = Search::new(GREETING);
        let piece = [b'x'; 4096];
        let given_up = (0..1000).find(|_| search.find(&piece).is_err());
        assert_eq!(given_up, Some(MOST_SKIPPED / 4096));
        assert_eq!(search.skipped_text(), "x".repeat(KEPT));
    }

    #[test]
    fn the_greeting_of_another_version_is_recognized() {
        for (bytes, is_other) in [
            (&b"\0concurrent-futures worker, wire 2\n"[..], true),
            (b"Welcome!\r\n^@concurrent-futures worker, wire 1\r\n", true),
            (b"Welcome to the concurrent-futures workers!\n", false),
            (GREETING, false),
        ] {
            let mut search = Search::new(GREETING);
            search.find(bytes).unwrap();
            assert_eq!(search.has_other_greeting(), is_other, "{bytes:?}");
        }
    }

    #[test]
    fn the_first_byte_of_what_is_searched_does_not_appear_again() {
        for wanted in [GREETING, REQUEST] {
            assert!(!wanted[1..].contains(&wanted[0]));
        }
    }
}
