//! Frames: a frame is a sequence of bytes with a header in front. This file does not decode
//! the payload of a frame (`message.rs` does).
//!
//! ```text
//! | kind u16 | size u8 | head u8 | cpu u32 | task u64 | length u64 | payload: length bytes |
//! ```
//!
//! If `size` is not 0, the payload ends with the numbers of a vector, and each number has
//! `size` bytes. The first `head` bytes of the payload stand in front of the numbers. The
//! receiver puts the numbers into a memory of their own, which becomes the vector
//! ([`Numbers`]).
//!
//! `cpu` is the number of the CPU on which the sender ran, plus one, or 0 if the CPU is
//! unknown. `cpu` only decides if the receiver polls for the next frame before it sleeps
//! (`sys/spin.rs`), and which worker the parent wakes first (`parent/offers.rs`). So the
//! receiver accepts any value of `cpu`. All numbers of a header are little-endian.
//!
//! The receiver checks `kind`, `size`, `head` and `length`, because another process sent
//! them. A `length` may still be wrong, so a long payload takes up memory only as its bytes
//! arrive. If the encoded arguments or the encoded value in a payload are malformed, only
//! the frame's task (or the initializer) fails, because the header still says where the
//! next frame begins. Any other malformed payload is a [`ProtocolError`], like a malformed
//! header. This file does no I/O. The caller gives the arriving bytes to the `Assembler`
//! (`assembler.rs`) in pieces of any size.

use std::fmt;

use crate::encoded::Encoded;
use crate::sys::numbers::Numbers;

pub(crate) const HEADER: usize = 24;

/// The kind of a frame. The parent and the worker send different kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Kind {
    // Kinds that the parent sends to the worker.
    Hello = 0x01,
    Initialize = 0x02,
    Task = 0x03,
    Exit = 0x04,
    LongTask = 0x05,
    Hold = 0x06,
    Release = 0x07,
    Ping = 0x08,
    Recall = 0x09,
    // Kinds that the worker sends to the parent.
    Ready = 0x11,
    Refused = 0x12,
    Initialized = 0x13,
    InitializeFailed = 0x14,
    Started = 0x15,
    Returned = 0x16,
    Panicked = 0x17,
    Undecodable = 0x18,
    Unencodable = 0x19,
    Fetch = 0x1a,
    Declined = 0x1b,
    Pong = 0x1c,
    Recalled = 0x1d,
    // The kind of an item of a chunk (`items.rs`), or of an initializer's error
    // (`answer.rs`).
    Item = 0x21,
}

impl Kind {
    const ALL: [Self; 23] = [
        Self::Hello,
        Self::Initialize,
        Self::Task,
        Self::Exit,
        Self::LongTask,
        Self::Hold,
        Self::Release,
        Self::Ping,
        Self::Recall,
        Self::Ready,
        Self::Refused,
        Self::Initialized,
        Self::InitializeFailed,
        Self::Started,
        Self::Returned,
        Self::Panicked,
        Self::Undecodable,
        Self::Unencodable,
        Self::Fetch,
        Self::Declined,
        Self::Pong,
        Self::Recalled,
        Self::Item,
    ];

    pub(crate) fn of(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == number)
    }
}

/// The header of a frame, after its fields were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// The number of the CPU on which the sender ran, plus one, or 0 if the CPU is unknown.
    pub(crate) cpu: u32,
    /// The number of the frame's task. In some kinds, another number takes its place, for
    /// example the number of an offer in `Declined`. It is 0 if the frame has no such
    /// number.
    pub(crate) task: u64,
    /// The payload's length, which the sender claims. The length is at most the largest
    /// capacity of a `Vec`.
    pub(crate) length: usize,
    /// If the payload ends with the numbers of a vector: the length in bytes of the part in
    /// front of the numbers, and the size in bytes of each number. Otherwise `None`.
    pub(crate) numbers: Option<(usize, u8)>,
}

impl Header {
    /// Returns the header of a frame that this process has made, or `None` if the header is
    /// malformed.
    pub(crate) fn of(frame: &[u8]) -> Option<Self> {
        Self::parse(*frame.first_chunk()?).ok()
    }

    #[inline]
    pub(super) fn parse(bytes: [u8; HEADER]) -> Result<Self, ProtocolError> {
        let [first, task, length] = bytemuck::cast::<_, [u64; 3]>(bytes).map(u64::from_le);
        let [_, _, size, head, ..] = bytes;
        let number = first as u16;
        let kind = Kind::of(number).ok_or_else(|| {
            ProtocolError::new(format!("a frame of the unknown kind {number:#x}"))
        })?;
        let length = usize::try_from(length)
            .ok()
            .filter(|length| isize::try_from(*length).is_ok())
            .ok_or_else(|| ProtocolError::new(format!("a frame of {length} bytes")))?;
        let numbers = (size > 0 || head > 0).then_some((usize::from(head), size));
        let is_possible = |(head, size): (usize, u8)| {
            let bytes = length.checked_sub(head);
            let is_whole = |bytes| bytes > 0 && bytes % usize::from(size) == 0;
            matches!(kind, Kind::Task | Kind::Returned)
                && Numbers::is_size(size)
                && bytes.is_some_and(is_whole)
        };
        if !numbers.is_none_or(is_possible) {
            return Err(ProtocolError::new(format!(
                "a {kind:?} with numbers of {size} bytes in its {length} bytes"
            )));
        }
        Ok(Self {
            numbers,
            kind,
            cpu: (first >> 32) as u32,
            task,
            length,
        })
    }
}

/// The reason why this process cannot read what the other process has sent: the bytes
/// violate the protocol, or there is no memory for a frame of the announced length.
///
/// After such an error the parent kills the worker, and a worker ends itself. A malformed
/// item in a chunk's answer (`items.rs`) only makes the task of the chunk fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProtocolError {
    what: String,
    is_shortage: bool,
}

impl ProtocolError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            is_shortage: false,
        }
    }

    /// Creates the error for a frame for which this process has no memory.
    pub(super) fn shortage(what: String) -> Self {
        Self {
            what,
            is_shortage: true,
        }
    }

    /// Returns `true` if the bytes may be fine, but this process has no memory for them.
    pub(crate) fn is_shortage(&self) -> bool {
        self.is_shortage
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// A frame that is being written at the end of a buffer.
#[derive(Debug)]
#[must_use = "a frame that is not closed has no length"]
pub(crate) struct FrameWriter {
    at: usize,
}

impl FrameWriter {
    /// Writes the header of a frame. The bytes that the caller appends before it calls
    /// [`close`](Self::close) are the frame's payload.
    #[inline]
    pub(crate) fn begin(out: &mut Vec<u8>, kind: Kind, task: u64) -> Self {
        let at = out.len();
        out.extend_from_slice(&(kind as u16).to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&task.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        Self { at }
    }

    #[inline]
    pub(crate) fn set_kind(&self, out: &mut [u8], kind: Kind) {
        out[self.at..self.at + 2].copy_from_slice(&(kind as u16).to_le_bytes());
    }

    /// Writes the length of the payload into the frame's header.
    #[inline]
    pub(crate) fn close(self, out: &mut [u8]) {
        self.put_length(out, 0);
    }

    /// Writes the length of the payload into the frame's header. If the payload ends with
    /// numbers, also writes the size of a number, and the length of the part in front of
    /// them.
    ///
    /// # Panics
    ///
    /// Panics if 256 or more bytes of the payload stand in front of the numbers.
    #[inline]
    pub(crate) fn close_encoded(self, out: &mut Encoded) {
        if let Some(numbers) = &out.numbers {
            let head = out.bytes.len() - self.at - HEADER;
            out.bytes[self.at + 2] = numbers.size();
            out.bytes[self.at + 3] = u8::try_from(head).expect("a call and a count are short");
        }
        let count = out.count_numbers();
        self.put_length(&mut out.bytes, count);
    }

    fn put_length(self, out: &mut [u8], more: usize) {
        let length = (out.len() - self.at - HEADER + more) as u64;
        out[self.at + 16..self.at + HEADER].copy_from_slice(&length.to_le_bytes());
    }
}

/// Returns a complete frame that has no payload.
#[inline]
pub(crate) fn bare(kind: Kind, task: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..2].copy_from_slice(&(kind as u16).to_le_bytes());
    bytes[8..16].copy_from_slice(&task.to_le_bytes());
    bytes
}

/// Sets the task number in the header of a complete frame.
#[inline]
pub(crate) fn set_task(frame: &mut [u8], task: u64) {
    frame[8..16].copy_from_slice(&task.to_le_bytes());
}

/// Sets the sender's CPU in the header of a complete frame.
#[inline]
pub(crate) fn set_cpu(frame: &mut [u8], cpu: u32) {
    frame[4..8].copy_from_slice(&cpu.to_le_bytes());
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) task: u64,
    pub(crate) payload: Encoded,
}

impl Frame {
    /// Reads bytes that hold one whole frame. Returns the frame with its header.
    ///
    /// # Errors
    ///
    /// Returns an error if the bytes are malformed, if they are not exactly one frame,
    /// or if the frame's payload ends with the numbers of a vector.
    #[inline]
    pub(crate) fn only(bytes: &[u8]) -> Result<(Header, Self), ProtocolError> {
        let cut_off = || ProtocolError::new("a frame that is cut off");
        let (header, payload) = bytes.split_first_chunk().ok_or_else(cut_off)?;
        let header = Header::parse(*header)?;
        if header.numbers.is_some() {
            return Err(ProtocolError::new(
                "numbers in a frame that has arrived whole",
            ));
        }
        if payload.len() < header.length {
            return Err(cut_off());
        }
        if payload.len() > header.length {
            return Err(ProtocolError::new("bytes behind a frame"));
        }
        let frame = Self {
            kind: header.kind,
            task: header.task,
            payload: payload.to_vec().into(),
        };
        Ok((header, frame))
    }
}

/// Returns `true` if `bytes` contain a frame of this kind and task without a payload, even
/// if malformed frames surround that frame.
pub(crate) fn holds(bytes: &[u8], kind: Kind, task: u64) -> bool {
    let mut wanted = bare(kind, task);
    bytes.windows(HEADER).any(|window| {
        // The CPU field of the wanted frame may have any value, so the closure copies the
        // field from the window before it compares the two.
        wanted[4..8].copy_from_slice(&window[4..8]);
        window == wanted
    })
}
