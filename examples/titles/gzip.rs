//! Gzip as browsers take it: what follows a complete stream, and its checksum, say nothing.

use std::error::Error;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use flate2::{Decompress, FlushDecompress, Status};

/// The first bytes of each stream, with the only way to compress that there is.
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// A stream that makes no sense, or ends before its text does.
#[derive(Debug)]
pub(crate) struct Damaged;

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what is compressed is damaged")
    }
}

impl Error for Damaged {}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Damaged)
}

/// The text of one or more gzip streams, as RFC 1952 has them. No bytes at all are no text.
pub(crate) struct Gunzip<R> {
    source: BufReader<R>,
    inflate: Decompress,
    part: Part,
}

/// The part of the streams that is read next.
enum Part {
    /// The header of the first stream.
    Start,
    Text,
    Trailer,
    End,
}

impl<R: Read> Gunzip<R> {
    pub(crate) fn new(source: R) -> Self {
        Self {
            source: BufReader::new(source),
            inflate: Decompress::new(false),
            part: Part::Start,
        }
    }

    /// Reads the header of a stream; tells whether there is one.
    fn header(&mut self) -> io::Result<bool> {
        const CHECKSUM: u8 = 2;
        const EXTRA: u8 = 4;
        const NAME: u8 = 8;
        const COMMENT: u8 = 16;
        let header = self.bytes(10)?;
        if !header.starts_with(&MAGIC) {
            return Ok(false);
        }
        let flags = *header.get(3).ok_or_else(damaged)?;
        if flags & EXTRA != 0 {
            let length = self.bytes(2)?;
            let length = length.try_into().map_err(|_| damaged())?;
            self.bytes(u16::from_le_bytes(length).into())?;
        }
        for text in [NAME, COMMENT] {
            if flags & text != 0 {
                while !matches!(self.bytes(1)?[..], [0] | []) {}
            }
        }
        if flags & CHECKSUM != 0 {
            self.bytes(2)?;
        }
        Ok(true)
    }

    /// So many bytes, or all that are left.
    fn bytes(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.source.by_ref().take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn text(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let input = self.source.fill_buf()?;
        let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(input, buffer, FlushDecompress::None)
            .map_err(|_| damaged())?;
        // Neither is more than the length of a slice.
        let read = (self.inflate.total_in() - read) as usize;
        let written = (self.inflate.total_out() - written) as usize;
        self.source.consume(read);
        if status == Status::StreamEnd {
            self.part = Part::Trailer;
        } else if read == 0 && written == 0 {
            return Err(damaged()); // Nothing is left to read.
        }
        Ok(written)
    }
}

impl<R: Read> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() {
            match self.part {
                Part::Start => {
                    if self.source.fill_buf()?.is_empty() {
                        self.part = Part::End;
                    } else if self.header()? {
                        self.part = Part::Text;
                    } else {
                        return Err(damaged());
                    }
                }
                Part::Text => {
                    let written = self.text(buffer)?;
                    if written > 0 {
                        return Ok(written);
                    }
                }
                Part::Trailer => {
                    self.bytes(8)?;
                    self.part = if self.header()? {
                        Part::Text
                    } else {
                        Part::End
                    };
                    self.inflate.reset(false);
                }
                Part::End => break,
            }
        }
        Ok(0)
    }
}
