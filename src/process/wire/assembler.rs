//! [`Assembler`]: a decoder that assembles frames from bytes that arrive in pieces of any
//! size.

use super::frame::{Frame, HEADER, Header, ProtocolError};
use crate::encoded::Encoded;
use crate::sys::numbers::Numbers;

/// The size in bytes to which the buffer `Assembler::read_buf` grows when a read has filled
/// it.
const READ_CHUNK: usize = 64 << 10;

/// The initial size of `Assembler::read_buf`, in bytes. Most workers get only short frames,
/// and the page faults of a larger buffer would delay the start of a worker.
const FIRST_READ: usize = 4 << 10;

/// The length in bytes of the longest [`Part`] of a payload whose buffer the assembler
/// allocates as a whole, before the first byte of the part has arrived. The system adds
/// pages to the buffer only when bytes are written to it. The buffer of a longer part
/// begins with [`FIRST`] bytes, and doubles when it is full. The buffer of a shorter part
/// does the same if it cannot be allocated as a whole. So a worker without enough memory
/// for a long call ends only after it has read a part of the call. The pool counts the
/// workers that end while they read a call, and makes the call's task fail after a few of
/// them (`parent/worker_ends.rs`).
const AHEAD: usize = 1 << 30;

/// The initial length in bytes of a buffer that is not allocated as a whole.
const FIRST: usize = 1 << 20;

/// Assembles frames from bytes that arrive in pieces.
///
/// The caller first reads the bytes into a small buffer. The assembler copies small frames
/// out of this buffer. If the payload of a larger frame is not yet complete, the
/// caller reads the remaining bytes directly into the frame's own buffers.
///
/// The caller repeats three steps. The caller calls [`next`](Self::next) until it returns
/// `None`, reads bytes into [`spare_buffer`](Self::spare_buffer), and reports their number
/// by [`advance`](Self::advance).
#[derive(Debug)]
pub(crate) struct Assembler {
    read_buf: Vec<u8>,
    /// The bytes of `read_buf` from `start` to `end` have arrived, and are not yet part
    /// of a frame.
    start: usize,
    end: usize,
    /// The frame whose header has arrived, but whose payload is incomplete, or `None` if
    /// there is no such frame.
    partial: Option<Partial>,
    /// The bytes of the last header that has arrived. The payload of its frame may be
    /// incomplete.
    head: [u8; HEADER],
}

#[derive(Debug)]
struct Partial {
    header: Header,
    bytes: Part,
    /// The numbers of a vector at the end of the payload, or `None` if the payload does not
    /// end with numbers.
    numbers: Option<Part>,
}

/// A part of a payload, with its own buffer.
#[derive(Debug)]
struct Part {
    buffer: Numbers,
    /// The number of bytes of this part that have arrived.
    got: usize,
    /// The number of bytes of the whole part.
    wanted: usize,
}

impl Partial {
    fn new(header: Header) -> Self {
        let numbers = header.numbers.and_then(|(head, size)| {
            let buffer = Numbers::new(size)?;
            Some((head, Part::new(buffer, header.length.checked_sub(head)?)))
        });
        let (head, numbers) = numbers.unzip();
        let bytes = Part::new(Numbers::of_bytes(), head.unwrap_or(header.length));
        Self {
            header,
            bytes,
            numbers,
        }
    }

    /// Returns the part to which the next arriving bytes belong.
    fn current(&mut self) -> &mut Part {
        match &mut self.numbers {
            Some(numbers) if self.bytes.missing() == 0 => numbers,
            _ => &mut self.bytes,
        }
    }

    fn missing(&self) -> usize {
        self.bytes.missing() + self.numbers.as_ref().map_or(0, Part::missing)
    }

    fn into_frame(self) -> Frame {
        let bytes = self.bytes.buffer.into_vec();
        Frame {
            kind: self.header.kind,
            task: self.header.task,
            payload: Encoded {
                bytes: bytes.unwrap_or_default(),
                numbers: self.numbers.map(|numbers| Box::new(numbers.buffer)),
            },
        }
    }
}

impl Part {
    fn new(buffer: Numbers, wanted: usize) -> Self {
        Self {
            buffer,
            got: 0,
            wanted,
        }
    }

    fn missing(&self) -> usize {
        self.wanted - self.got
    }

    /// Returns the unused end of the buffer, into which the next bytes are read.
    fn spare(&mut self) -> Result<&mut [u8], ProtocolError> {
        if self.buffer.bytes().len() == self.got && !self.grow() {
            // A failed allocation becomes an error, and does not abort the program. So if
            // an answer is too large for the parent's memory, the parent kills the worker,
            // and only the answer's task fails.
            return Err(ProtocolError::shortage(format!(
                "a frame of {} bytes, for which there is no memory",
                self.wanted
            )));
        }
        Ok(&mut self.buffer.bytes_mut()[self.got..])
    }

    fn grow(&mut self) -> bool {
        if self.got == 0 && self.wanted <= AHEAD && self.buffer.grow(self.wanted) {
            self.buffer.ask_for_huge_pages();
            return true;
        }
        let longer = FIRST.max(2 * self.got);
        self.buffer.grow(self.wanted.min(longer))
    }

    /// Copies bytes from the front of `bytes` into the buffer, but at most as many as are
    /// missing in this part. Returns the number of copied bytes.
    fn copy(&mut self, bytes: &[u8]) -> Result<usize, ProtocolError> {
        let count = bytes.len().min(self.missing());
        let mut copied = 0;
        while copied < count {
            let spare = self.spare()?;
            let piece = spare.len().min(count - copied);
            spare[..piece].copy_from_slice(&bytes[copied..copied + piece]);
            self.got += piece;
            copied += piece;
        }
        Ok(count)
    }

    fn arrived(&self) -> &[u8] {
        &self.buffer.bytes()[..self.got]
    }
}

impl Assembler {
    pub(crate) fn new() -> Self {
        Self {
            read_buf: vec![0; FIRST_READ],
            start: 0,
            end: 0,
            partial: None,
            head: [0; HEADER],
        }
    }

    /// Returns the field [`Header::cpu`] of the last header that has arrived, or 0 before
    /// the first header.
    pub(crate) fn cpu(&self) -> u32 {
        let [_, _, _, _, c0, c1, c2, c3, ..] = self.head;
        u32::from_le_bytes([c0, c1, c2, c3])
    }

    /// Returns the buffer into which the caller reads the next bytes. The caller must first
    /// call [`next`](Self::next) until it returns `None`.
    #[inline]
    pub(crate) fn spare_buffer(&mut self) -> Result<&mut [u8], ProtocolError> {
        let is_filled = self.end == self.read_buf.len();
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if let Some(partial) = self.partial.as_mut().filter(|p| p.missing() > 0) {
                return partial.current().spare();
            }
        } else {
            // `copy_within` moves at most an incomplete header, because `next` has returned
            // `None`.
            self.read_buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if is_filled {
            // More bytes have probably arrived than fitted into the buffer.
            self.read_buf.resize(READ_CHUNK, 0);
        }
        Ok(&mut self.read_buf[self.end..])
    }

    pub(crate) fn head(&self) -> [u8; HEADER] {
        self.head
    }

    /// Returns all bytes that have arrived and are not part of a frame that `next` has
    /// returned.
    pub(crate) fn leftover(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(partial) = &self.partial {
            bytes.extend_from_slice(&self.head);
            bytes.extend_from_slice(partial.bytes.arrived());
            let numbers = partial.numbers.as_ref();
            bytes.extend_from_slice(numbers.map_or(&[], Part::arrived));
        }
        bytes.extend_from_slice(&self.read_buf[self.start..self.end]);
        bytes
    }

    /// Records that the caller has read `count` bytes into
    /// [`spare_buffer`](Self::spare_buffer).
    #[inline]
    pub(crate) fn advance(&mut self, count: usize) {
        match &mut self.partial {
            // The caller has read the bytes into a buffer of the payload, because
            // `spare_buffer` returns a buffer of the payload while `read_buf` is empty.
            Some(partial) if self.end == 0 && partial.missing() > 0 => {
                let part = partial.current();
                part.got = (part.got + count).min(part.buffer.bytes().len());
            }
            _ => self.end = (self.end + count).min(self.read_buf.len()),
        }
    }

    /// Returns the next frame, or `None` if the frame is not complete yet.
    ///
    /// # Errors
    ///
    /// Returns an error if the bytes are malformed, or if there is not enough memory for
    /// the frame. The caller must then close the connection, because the start of the
    /// next frame is unknown.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, ProtocolError> {
        if self.partial.is_none() {
            let buffered = &self.read_buf[self.start..self.end];
            let Some(header) = buffered.first_chunk() else {
                return Ok(None);
            };
            self.head = *header;
            let header = Header::parse(self.head)?;
            self.start += HEADER;
            let payload = self.read_buf[self.start..self.end].get(..header.length);
            if let (Some(payload), None) = (payload, header.numbers) {
                // Most frames are short and arrive whole.
                self.start += header.length;
                return Ok(Some(Frame {
                    kind: header.kind,
                    task: header.task,
                    payload: payload.to_vec().into(),
                }));
            }
            self.partial = Some(Partial::new(header));
        }
        let Some(partial) = &mut self.partial else {
            return Ok(None);
        };
        while self.start < self.end && partial.missing() > 0 {
            let part = partial.current();
            self.start += part.copy(&self.read_buf[self.start..self.end])?;
        }
        if partial.missing() > 0 {
            return Ok(None);
        }
        Ok(self.partial.take().map(Partial::into_frame))
    }

    /// Returns the header of the frame that is arriving, or `None` if the header has not
    /// arrived.
    #[inline]
    pub(crate) fn header(&self) -> Option<&Header> {
        self.partial.as_ref().map(|partial| &partial.header)
    }

    /// Returns `true` if the assembler holds no bytes of an incomplete frame.
    #[inline]
    pub(crate) fn is_between_frames(&self) -> bool {
        self.partial.is_none() && self.start == self.end
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{FrameWriter, Kind, bare, holds, set_cpu, set_task};
    use super::*;

    fn frame(kind: Kind, task: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let open = FrameWriter::begin(&mut out, kind, task);
        out.extend_from_slice(payload);
        open.close(&mut out);
        out
    }

    /// Returns all frames that an assembler makes of `bytes`, which arrive in pieces of
    /// `piece` bytes.
    fn assemble(bytes: &[u8], piece: usize) -> Result<Vec<Frame>, ProtocolError> {
        let mut assembler = Assembler::new();
        let mut frames = Vec::new();
        let mut left = bytes;
        loop {
            while let Some(frame) = assembler.next()? {
                frames.push(frame);
            }
            if left.is_empty() {
                return Ok(frames);
            }
            let spare_buffer = assembler.spare_buffer().unwrap();
            let count = spare_buffer.len().min(piece).min(left.len());
            assert!(count > 0, "there is always room");
            spare_buffer[..count].copy_from_slice(&left[..count]);
            assembler.advance(count);
            left = &left[count..];
        }
    }

    #[test]
    fn frames_come_out_as_they_went_in_whatever_the_pieces() {
        let big: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        let payloads = [
            &big[..0],
            &big[..1],
            &big[..READ_CHUNK],
            &big[..],
            &big[..7],
        ];
        let mut bytes = Vec::new();
        for (task, payload) in payloads.iter().enumerate() {
            bytes.extend(frame(Kind::Task, task as u64, payload));
        }
        for piece in [
            1,
            5,
            HEADER,
            1000,
            FIRST_READ,
            READ_CHUNK - 1,
            READ_CHUNK,
            READ_CHUNK + 1,
            usize::MAX,
        ] {
            let frames = assemble(&bytes, piece).unwrap();
            assert_eq!(frames.len(), payloads.len(), "pieces of {piece}");
            for (task, (frame, payload)) in frames.iter().zip(payloads).enumerate() {
                assert_eq!((frame.kind, frame.task), (Kind::Task, task as u64));
                assert!(frame.payload.bytes == payload, "pieces of {piece}");
            }
        }
    }

    #[test]
    fn the_buffer_grows_when_a_read_has_filled_it() {
        let mut assembler = Assembler::new();
        let started = bare(Kind::Started, 7);
        let mut bytes = started.iter().cycle();
        let mut read = |count: usize| {
            let spare_buffer = assembler.spare_buffer().unwrap();
            let size = spare_buffer.len();
            spare_buffer[..count].fill_with(|| *bytes.next().unwrap());
            assembler.advance(count);
            while assembler.next().unwrap().is_some() {}
            size
        };
        let whole = FIRST_READ / HEADER * HEADER;
        assert_eq!([read(HEADER), read(whole)], [FIRST_READ; 2]);
        // The last header is incomplete, so its bytes stay in the buffer.
        assert_eq!(read(FIRST_READ), FIRST_READ);
        assert_eq!(
            read(HEADER - FIRST_READ % HEADER),
            READ_CHUNK - FIRST_READ % HEADER
        );
        assert_eq!(read(HEADER), READ_CHUNK);
    }

    #[test]
    fn the_numbers_of_a_frame_come_out_in_a_memory_of_their_own() {
        let numbers: Vec<u32> = (0..50_000).collect();
        let mut whole = Encoded::default();
        let open = FrameWriter::begin(&mut whole.bytes, Kind::Returned, 5);
        whole.bytes.extend_from_slice(b"head");
        whole.numbers = Some(Box::new(Numbers::from_vec(numbers.clone())));
        open.close_encoded(&mut whole);
        let mut bytes = [&whole.bytes, whole.slice_from(whole.bytes.len())].concat();
        bytes.extend(bare(Kind::Started, 6));
        for piece in [1, 27, HEADER + 4, HEADER + 5, READ_CHUNK, usize::MAX] {
            let mut frames = assemble(&bytes, piece).unwrap();
            assert_eq!(frames.len(), 2, "pieces of {piece}");
            assert_eq!(frames[1].kind, Kind::Started);
            let Encoded {
                bytes,
                numbers: arrived,
            } = frames.swap_remove(0).payload;
            assert_eq!(bytes, b"head");
            assert_eq!(arrived.unwrap().into_vec::<u32>().unwrap(), numbers);
        }
    }

    /// The assembler refuses a header with a wrong size of the numbers, with too many bytes
    /// in front of the numbers, with an incomplete number, or with no number. It also
    /// refuses numbers in a frame of any kind except `Task` and `Returned`.
    #[test]
    fn wrong_numbers_are_refused() {
        let good = |kind| {
            let mut good = frame(kind, 9, &[0; 20]);
            [good[2], good[3]] = [4, 8];
            good
        };
        assert_eq!(assemble(&good(Kind::Task), 64).unwrap().len(), 1);
        for (size, head) in [(3, 8), (32, 8), (255, 0), (4, 21), (8, 8), (4, 20), (0, 1)] {
            let mut bad = good(Kind::Returned);
            [bad[2], bad[3]] = [size, head];
            let read = assemble(&bad, 64);
            assert!(read.is_err(), "{head} bytes before numbers of {size}");
        }
        for kind in [Kind::Started, Kind::Hello, Kind::Panicked, Kind::Item] {
            assert!(assemble(&good(kind), 64).is_err(), "{kind:?}");
        }
        assert!(Frame::only(&good(Kind::Returned)).is_err());
    }

    /// A header claims a longer payload than its sender has sent. So the assembler takes
    /// the `Started` frame behind the header for a part of the payload. The bytes that
    /// `leftover` returns must still contain the `Started` frame.
    #[test]
    fn what_is_left_over_holds_a_frame_that_was_taken_for_payload() {
        let mut assembler = Assembler::new();
        let mut bytes = bare(Kind::Returned, 9).to_vec();
        bytes[16] = 200;
        let mut started = bare(Kind::Started, 7);
        set_cpu(&mut started, 3);
        bytes.extend(started);
        for piece in [&bytes[..30], &bytes[30..]] {
            let spare_buffer = assembler.spare_buffer().unwrap();
            spare_buffer[..piece.len()].copy_from_slice(piece);
            assembler.advance(piece.len());
            assert!(assembler.next().unwrap().is_none(), "it is not whole");
        }
        let leftover = assembler.leftover();
        assert!(holds(&leftover, Kind::Started, 7));
        assert!(!holds(&leftover, Kind::Started, 8));
        assert!(!holds(&leftover, Kind::Returned, 7));
    }

    #[test]
    fn the_last_frame_says_where_its_sender_ran() {
        let mut assembler = Assembler::new();
        for cpu in [3, u32::MAX, 0] {
            let mut bytes = bare(Kind::Started, 1);
            set_cpu(&mut bytes, cpu);
            assembler.spare_buffer().unwrap()[..HEADER].copy_from_slice(&bytes);
            assembler.advance(HEADER);
            assert!(assembler.next().unwrap().is_some());
            assert_eq!(assembler.cpu(), cpu);
        }
    }

    #[test]
    fn a_length_that_is_only_claimed_reserves_little() {
        let mut bytes = bare(Kind::Returned, 1);
        bytes[16..].copy_from_slice(&(1_u64 << 60).to_le_bytes());
        let mut assembler = Assembler::new();
        for part in [&bytes[..], &[7; 100]] {
            assembler.spare_buffer().unwrap()[..part.len()].copy_from_slice(part);
            assembler.advance(part.len());
            assert_eq!(assembler.next(), Ok(None));
        }
        assert_eq!(assembler.spare_buffer().unwrap().len(), FIRST - 100);
        assert!(!assembler.is_between_frames());
    }

    #[test]
    fn wrong_headers_are_refused() {
        let good = frame(Kind::Started, 9, b"");
        assert!(assemble(&good, 64).is_ok());
        for (at, byte) in [(0, 0x77), (2, 1), (23, 0x80)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(assemble(&bad, 64).is_err(), "{byte:#x} at {at}");
            assert!(Frame::only(&bad).is_err());
        }
    }

    /// The assembler must not panic if a byte of a frame is changed or if the end of a
    /// frame is missing.
    #[test]
    fn no_bytes_panic() {
        let mut good = frame(Kind::Hello, 0, b"12345678");
        good.extend(frame(Kind::Task, 3, b"abc"));
        for end in 0..=good.len() {
            let whole = assemble(&good[..end], 3).unwrap().len();
            let ends = [HEADER + 8, good.len()];
            assert_eq!(whole, ends.iter().filter(|at| **at <= end).count());
            assert_eq!(Frame::only(&good[..end]).is_ok(), end == ends[0], "{end}");
        }
        for at in 0..good.len() {
            for byte in 0..=255 {
                let mut bad = good.clone();
                bad[at] = byte;
                let _ = assemble(&bad, 16);
                let _ = Frame::only(&bad);
            }
        }
    }

    #[test]
    fn a_frame_can_be_given_another_kind_and_number() {
        let mut out = b"before".to_vec();
        let open = FrameWriter::begin(&mut out, Kind::Returned, 1);
        out.extend_from_slice(b"half");
        open.set_kind(&mut out, Kind::Panicked);
        open.close(&mut out);
        assert_eq!(out[b"before".len()..], frame(Kind::Panicked, 1, b"half"));
        let mut task = frame(Kind::Task, 0, b"x");
        set_task(&mut task, 7);
        set_cpu(&mut task, 3);
        assert_eq!(assemble(&task, 64).unwrap()[0].task, 7);
        assert_eq!(frame(Kind::Exit, 5, b""), bare(Kind::Exit, 5));
    }
}
