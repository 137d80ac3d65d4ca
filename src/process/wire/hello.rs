//! [`Hello`]: the first message to a worker.
//!
//! The message does not use the codec. The codec asks how much stack is left, and on the
//! main thread of a process the C library answers this only after it has read the list of
//! all mappings, which takes as long as everything else that a worker does with this
//! message.
//!
//! ```text
//! | version, build id and name: for each a length u64 and the bytes |
//! | headers u64 | anchor u64 | number u64 | key of the rings u64 | key of the offers u64 |
//! | u8: RINGS, OFFERS, OFFERS_LATER |
//! ```

use super::frame::{FrameWriter, Kind, ProtocolError};
use super::program::Program;

/// The bits of the last byte: the keys that there are, and the second part of
/// [`Hello::offers`].
const RINGS: u8 = 1;
const OFFERS: u8 = 2;
const OFFERS_LATER: u8 = 4;

/// The first message to a worker: the parent's program, and the worker's number and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The parent's program. The worker must run the same program, so that an address names
    /// the same function in both processes.
    pub(crate) program: Program,
    /// The number of the worker in its pool.
    pub(crate) number: u64,
    pub(crate) name: String,
    /// The key of the shared memory whose file comes with this message, or `None` if the
    /// messages travel through the socket.
    pub(crate) rings: Option<u64>,
    /// The key of the offers, whose two files come next, and `true` if the worker takes
    /// offers only after it has run its initializer. `None` if the worker takes no offers.
    pub(crate) offers: Option<(u64, bool)>,
}

impl Hello {
    /// Returns the frame of the message.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let open = FrameWriter::begin(&mut out, Kind::Hello, 0);
        let program = &self.program;
        for text in [
            program.version.as_bytes(),
            &program.build_id,
            self.name.as_bytes(),
        ] {
            out.extend_from_slice(&(text.len() as u64).to_le_bytes());
            out.extend_from_slice(text);
        }
        let offers = self.offers.unwrap_or_default();
        let rings = self.rings.unwrap_or_default();
        for word in [
            program.headers,
            program.anchor,
            self.number,
            rings,
            offers.0,
        ] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let bit = |is_set, bit| if is_set { bit } else { 0 };
        out.push(
            bit(self.rings.is_some(), RINGS)
                | bit(self.offers.is_some(), OFFERS)
                | bit(offers.1, OFFERS_LATER),
        );
        open.close(&mut out);
        out
    }

    pub(super) fn read(payload: &[u8]) -> Result<Self, ProtocolError> {
        let mut rest = Rest(payload);
        let hello = rest.hello().filter(|_| rest.0.is_empty());
        hello.ok_or_else(|| ProtocolError::new("a greeting that makes no sense"))
    }
}

/// The bytes of the message that were not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn hello(&mut self) -> Option<Hello> {
        let version = String::from_utf8(self.bytes()?).ok()?;
        let build_id = self.bytes()?;
        let name = String::from_utf8(self.bytes()?).ok()?;
        let program = Program {
            version,
            build_id,
            headers: self.word()?,
            anchor: self.word()?,
        };
        let (number, rings, offers) = (self.word()?, self.word()?, self.word()?);
        let (bits, rest) = self.0.split_first()?;
        self.0 = rest;
        let has = |bit| bits & bit != 0;
        Some(Hello {
            program,
            number,
            name,
            rings: has(RINGS).then_some(rings),
            offers: has(OFFERS).then_some((offers, has(OFFERS_LATER))),
        })
    }

    fn word(&mut self) -> Option<u64> {
        let (word, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*word))
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.word()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::HEADER;
    use super::*;

    #[test]
    fn a_greeting_arrives_as_it_was() {
        for (rings, offers) in [
            (None, None),
            (Some(0), None),
            (None, Some((7, false))),
            (Some(u64::MAX), Some((0, true))),
        ] {
            let hello = Hello {
                program: Program::current(),
                number: 3,
                name: "worker_3 \u{e4}".to_owned(),
                rings,
                offers,
            };
            let bytes = hello.frame();
            assert_eq!(Hello::read(&bytes[HEADER..]), Ok(hello));
            for end in HEADER..bytes.len() {
                assert!(Hello::read(&bytes[HEADER..end]).is_err(), "{end}");
            }
            assert!(Hello::read(&[&bytes[HEADER..], b"x"].concat()).is_err());
        }
        let mut no_text = Hello::read(&[0; 65]).unwrap().frame();
        assert_eq!(no_text.len(), HEADER + 65);
        no_text[HEADER] = 1;
        no_text.insert(HEADER + 8, 0xff);
        assert!(Hello::read(&no_text[HEADER..]).is_err());
    }
}
