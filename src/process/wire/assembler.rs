//! [`Assembler`]: a decoder that assembles frames from bytes that arrive in pieces of any
//! size.

use super::frame::{Frame, HEADER, Header, ProtocolError};

/// The smallest number of bytes that one read asks for, and the size of `read_buf`.
const READ_CHUNK: usize = 64 << 10;

/// The zeros that are appended to a payload's buffer, so that a read can fill the appended
/// part.
static ZEROS: [u8; READ_CHUNK] = [0; READ_CHUNK];

/// Assembles frames from bytes that arrive in pieces.
///
/// The bytes are first read into a buffer of fixed size. The assembler copies small frames
/// out of that buffer. If the payload of a larger frame is not yet complete, the remaining
/// bytes are read directly into the frame's own buffer. Each read at most doubles the
/// frame's buffer, so a wrong length in a header allocates little memory.
///
/// The caller repeats three steps. The caller calls [`next`](Self::next) until it returns
/// `None`, reads bytes into [`spare_buffer`](Self::spare_buffer), and reports their number
/// by [`advance`](Self::advance).
#[derive(Debug)]
pub(crate) struct Assembler {
    read_buf: Box<[u8]>,
    /// The bytes of `read_buf` from `start` to `end` have been read and are not yet part of
    /// a frame.
    start: usize,
    end: usize,
    /// The frame whose header has arrived, but whose payload is incomplete.
    partial: Option<Partial>,
    /// The bytes of the last frame's header.
    head: [u8; HEADER],
    /// The number of the CPU in the last frame's header, plus one, or 0 if the CPU is
    /// unknown.
    cpu: u32,
}

#[derive(Debug)]
struct Partial {
    header: Header,
    /// The frame's payload. The first `got` bytes have arrived, and the next read fills the
    /// remaining bytes.
    payload: Vec<u8>,
    got: usize,
}

impl Partial {
    fn missing(&self) -> usize {
        self.header.length - self.got
    }
}

impl Assembler {
    pub(crate) fn new() -> Self {
        Self {
            read_buf: vec![0; READ_CHUNK].into(),
            start: 0,
            end: 0,
            partial: None,
            head: [0; HEADER],
            cpu: 0,
        }
    }

    /// Returns the number of the CPU on which the sender of the last frame ran, plus one,
    /// or 0 if the CPU is unknown.
    pub(crate) fn cpu(&self) -> u32 {
        self.cpu
    }

    /// Returns the buffer into which the caller reads the next bytes. The caller must first
    /// call [`next`](Self::next) until it returns `None`.
    ///
    /// # Errors
    ///
    /// Returns an error if there is not enough memory for the arriving frame.
    pub(crate) fn spare_buffer(&mut self) -> Result<&mut [u8], ProtocolError> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if let Some(partial) = self.partial.as_mut().filter(|p| p.missing() > 0) {
                // The buffer grows only when it is full. A read may bring few bytes, and each
                // growth may move the buffer.
                let is_full = partial.payload.len() == partial.got;
                let more = partial.missing().min(partial.got.max(READ_CHUNK));
                let wanted = match is_full {
                    true => partial.got + more,
                    false => partial.payload.len(),
                };
                let longer = wanted.saturating_sub(partial.payload.len());
                // The method returns an error and does not abort the program. If an answer
                // is too large for the memory, only the answer's task fails.
                if partial.payload.try_reserve_exact(longer).is_err() {
                    return Err(ProtocolError::new(format!(
                        "a frame of {} bytes, for which there is no memory",
                        partial.header.length
                    )));
                }
                // The loop does not use `Vec::resize`, because in a debug build `resize`
                // writes byte by byte, which takes 4 ms for each MiB.
                while partial.payload.len() < wanted {
                    let piece = READ_CHUNK.min(wanted - partial.payload.len());
                    partial.payload.extend_from_slice(&ZEROS[..piece]);
                }
                return Ok(&mut partial.payload[partial.got..]);
            }
        } else {
            // At most an incomplete header is moved, because `next` has returned `None`.
            self.read_buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        Ok(&mut self.read_buf[self.end..])
    }

    /// Returns the bytes of the last frame's header.
    pub(crate) fn head(&self) -> [u8; HEADER] {
        self.head
    }

    /// Returns all bytes that were read and are not part of a frame that `next` has
    /// returned.
    pub(crate) fn leftover(&self) -> Vec<u8> {
        let partial = self.partial.iter();
        let frame =
            partial.flat_map(|partial| self.head.iter().chain(&partial.payload[..partial.got]));
        frame
            .chain(&self.read_buf[self.start..self.end])
            .copied()
            .collect()
    }

    /// Records that the caller has read `count` bytes into
    /// [`spare_buffer`](Self::spare_buffer).
    pub(crate) fn advance(&mut self, count: usize) {
        match &mut self.partial {
            // The bytes are in the payload's buffer, because `spare_buffer` returns that
            // buffer while `read_buf` is empty.
            Some(partial) if self.end == 0 && partial.missing() > 0 => {
                partial.got = (partial.got + count).min(partial.payload.len());
            }
            _ => self.end = (self.end + count).min(self.read_buf.len()),
        }
    }

    /// Returns the next frame, or `None` if the frame is not complete yet.
    ///
    /// # Errors
    ///
    /// Returns an error if the bytes are malformed. The caller must then close the
    /// connection, because the start of the next frame is unknown.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, ProtocolError> {
        if self.partial.is_none() {
            let buffered = &self.read_buf[self.start..self.end];
            let Some(header) = buffered.first_chunk() else {
                return Ok(None);
            };
            self.head = *header;
            let header = Header::parse(self.head)?;
            self.start += HEADER;
            self.cpu = header.cpu;
            self.partial = Some(Partial {
                header,
                payload: Vec::new(),
                got: 0,
            });
        }
        let Some(partial) = &mut self.partial else {
            return Ok(None);
        };
        let buffered = &self.read_buf[self.start..self.end];
        let taken = buffered.len().min(partial.missing());
        if taken > 0 {
            partial.payload.truncate(partial.got);
            partial.payload.extend_from_slice(&buffered[..taken]);
            partial.got += taken;
            self.start += taken;
        }
        if partial.missing() > 0 {
            return Ok(None);
        }
        Ok(self.partial.take().map(|partial| Frame {
            kind: partial.header.kind,
            task: partial.header.task,
            payload: partial.payload,
        }))
    }

    /// Returns the header of the frame that is arriving, or `None` if the header has not
    /// arrived.
    pub(crate) fn header(&self) -> Option<&Header> {
        self.partial.as_ref().map(|partial| &partial.header)
    }

    /// Returns `true` if the assembler holds no bytes of an incomplete frame.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.partial.is_none() && self.start == self.end
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{FrameWriter, Frames, Kind, bare, holds, set_cpu, set_task};
    use super::*;

    fn frame(kind: Kind, task: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let open = FrameWriter::begin(&mut out, kind, task);
        out.extend_from_slice(payload);
        open.close(&mut out);
        out
    }

    /// Returns all frames that an assembler makes of `bytes` if they arrive in pieces of
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
            READ_CHUNK - 1,
            READ_CHUNK,
            READ_CHUNK + 1,
            usize::MAX,
        ] {
            let frames = assemble(&bytes, piece).unwrap();
            assert_eq!(frames.len(), payloads.len(), "pieces of {piece}");
            for (task, (frame, payload)) in frames.iter().zip(payloads).enumerate() {
                assert_eq!((frame.kind, frame.task), (Kind::Task, task as u64));
                assert!(frame.payload == payload, "pieces of {piece}");
            }
        }
    }

    /// A header has a wrong length, so the assembler takes the `Started` frame behind the
    /// header for payload.
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
    fn a_length_that_is_only_claimed_allocates_nothing() {
        let mut bytes = bare(Kind::Returned, 1);
        bytes[16..].copy_from_slice(&(1_u64 << 60).to_le_bytes());
        let mut assembler = Assembler::new();
        for part in [&bytes[..], &[7; 100]] {
            assembler.spare_buffer().unwrap()[..part.len()].copy_from_slice(part);
            assembler.advance(part.len());
            assert_eq!(assembler.next(), Ok(None));
        }
        assert!(assembler.spare_buffer().unwrap().len() <= READ_CHUNK);
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
            assert!(Frames::within(&bad).any(|frame| frame.is_err()));
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
            let within: Vec<_> = Frames::within(&good[..end]).collect();
            let read = within.iter().filter(|frame| frame.is_ok()).count();
            assert_eq!(read, whole);
            let ends = [0, HEADER + 8, good.len()];
            assert_eq!(within.len() > whole, !ends.contains(&end), "{end}");
        }
        for at in 0..good.len() {
            for byte in 0..=255 {
                let mut bad = good.clone();
                bad[at] = byte;
                let _ = assemble(&bad, 16);
                let _ = Frames::within(&bad).count();
            }
        }
    }

    #[test]
    fn a_frame_can_be_taken_back_and_renumbered() {
        let mut out = b"before".to_vec();
        let open = FrameWriter::begin(&mut out, Kind::Returned, 1);
        out.extend_from_slice(b"half");
        open.rollback(&mut out);
        assert_eq!(out, b"before");
        let mut task = frame(Kind::Task, 0, b"x");
        set_task(&mut task, 7);
        set_cpu(&mut task, 3);
        assert_eq!(assemble(&task, 64).unwrap()[0].task, 7);
        assert_eq!(frame(Kind::Exit, 5, b""), bare(Kind::Exit, 5));
    }
}
