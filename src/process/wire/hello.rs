//! [`Hello`]: the first message to a worker.
//!
//! The message does not use the codec, because the codec asks how much stack is left. On
//! the main thread of a process, the C library has to read the list of all memory mappings
//! to answer this question. That would delay the start of the worker.
//!
//! ```text
//! | version, build id and name: for each a length u64 and the bytes |
//! | headers u64 | anchor u64 | number u64 | key of the rings u64 | key of the offers u64 |
//! | u8: RINGS, OFFERS, OFFERS_LATER, ELSEWHERE |
//! ```
//!
//! The *rings* are memory that the parent shares with one worker. The *offers* are tasks in
//! memory that the parent shares with all workers (`transport/mod.rs`). A *key* is a random
//! number from which the processes compute the check values in one of these memories. A
//! wrong check value shows that a task has written to the memory by mistake. The
//! descriptors of the memories' files come with the message: first the one file of the
//! rings, if there are rings, then the two files of the offers, if there are offers.
//!
//! If a command such as `ssh` has started the worker, these fields follow:
//!
//! ```text
//! | silence in milliseconds u64 | folder | number of variables u64 |
//! | for each variable its name and its value |
//! ```

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::frame::{FrameWriter, Kind, ProtocolError};
use super::program::Program;

/// The bits of the byte behind the two keys. `RINGS` and `OFFERS` say that the key of the
/// rings or of the offers is valid, and `OFFERS_LATER` is the `bool` of [`Hello::offers`].
/// `ELSEWHERE` says that [`Hello::elsewhere`] follows.
const RINGS: u8 = 1;
const OFFERS: u8 = 2;
const OFFERS_LATER: u8 = 4;
const ELSEWHERE: u8 = 8;

/// The first message to a worker: the parent's program, and the number, name and settings
/// of the worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The parent's program. The worker must run the same program, so that an address names
    /// the same function in both processes.
    pub(crate) program: Program,
    pub(crate) number: u64,
    pub(crate) name: String,
    /// The key of the rings, or `None` if the messages do not travel through rings.
    pub(crate) rings: Option<u64>,
    /// The key of the offers, and `true` if the worker takes offers only after it has run
    /// its initializer. `None` if the worker takes no offers.
    pub(crate) offers: Option<(u64, bool)>,
    /// The settings of a worker that a command such as `ssh` has started, or `None` for any
    /// other worker.
    pub(crate) elsewhere: Option<Elsewhere>,
}

/// The settings of a worker that may inherit nothing from its parent, because a command
/// such as `ssh` has started the worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    /// The time after which the worker ends if nothing has arrived from its parent.
    pub(crate) silence: Duration,
    /// The folder in which the worker runs its tasks, or `None` for the folder in which the
    /// command has started the worker.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) variables: Vec<(OsString, OsString)>,
}

impl Hello {
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let open = FrameWriter::begin(&mut out, Kind::Hello, 0);
        let program = &self.program;
        write_bytes(&mut out, program.version.as_bytes());
        write_bytes(&mut out, &program.build_id);
        write_bytes(&mut out, self.name.as_bytes());
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
                | bit(offers.1, OFFERS_LATER)
                | bit(self.elsewhere.is_some(), ELSEWHERE),
        );
        if let Some(elsewhere) = &self.elsewhere {
            elsewhere.write(&mut out);
        }
        open.close(&mut out);
        out
    }

    pub(super) fn read(payload: &[u8]) -> Result<Self, ProtocolError> {
        let mut rest = Rest(payload);
        let hello = rest.hello().filter(|_| rest.0.is_empty());
        hello.ok_or_else(|| ProtocolError::new("a greeting that makes no sense"))
    }
}

impl Elsewhere {
    fn write(&self, out: &mut Vec<u8>) {
        let silence = u64::try_from(self.silence.as_millis()).unwrap_or(u64::MAX);
        let folder = self.folder.as_deref().unwrap_or(Path::new(""));
        out.extend_from_slice(&silence.to_le_bytes());
        write_bytes(out, folder.as_os_str().as_bytes());
        out.extend_from_slice(&(self.variables.len() as u64).to_le_bytes());
        for (name, value) in &self.variables {
            write_bytes(out, name.as_bytes());
            write_bytes(out, value.as_bytes());
        }
    }
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
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
        let elsewhere = if has(ELSEWHERE) {
            Some(self.elsewhere()?)
        } else {
            None
        };
        Some(Hello {
            program,
            number,
            name,
            rings: has(RINGS).then_some(rings),
            offers: has(OFFERS).then_some((offers, has(OFFERS_LATER))),
            elsewhere,
        })
    }

    fn elsewhere(&mut self) -> Option<Elsewhere> {
        let silence = Duration::from_millis(self.word()?);
        let folder = Some(self.bytes()?).filter(|folder| !folder.is_empty());
        let mut variables = Vec::new();
        for _ in 0..self.word()? {
            let name = OsString::from_vec(self.bytes()?);
            variables.push((name, OsString::from_vec(self.bytes()?)));
        }
        Some(Elsewhere {
            silence,
            folder: folder.map(|folder| OsString::from_vec(folder).into()),
            variables,
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
        let elsewhere = |folder: Option<&str>| Elsewhere {
            silence: Duration::from_millis(1500),
            folder: folder.map(PathBuf::from),
            variables: vec![
                ("PLACE".into(), OsString::from_vec(vec![0xff])),
                ("EMPTY".into(), "".into()),
            ],
        };
        for (rings, offers, elsewhere) in [
            (None, None, None),
            (Some(0), None, None),
            (None, Some((7, false)), None),
            (Some(u64::MAX), Some((0, true)), None),
            (None, None, Some(elsewhere(None))),
            (None, None, Some(elsewhere(Some("/a folder")))),
        ] {
            let hello = Hello {
                program: Program::current(),
                number: 3,
                name: "worker_3 \u{e4}".to_owned(),
                rings,
                offers,
                elsewhere,
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
