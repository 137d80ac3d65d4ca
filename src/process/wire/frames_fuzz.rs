//! The driver of the fuzz target `frames`: reads any bytes, in pieces of any size, as
//! frames and messages.
//!
//! The driver checks that nothing panics, and that a buffer of the assembler is larger than
//! [`AHEAD`] bytes only if as many bytes have arrived. The frames must not depend on the
//! sizes of the pieces. The driver writes some kinds of messages anew, and checks that the
//! written bytes are read as an equal message.

use std::path::PathBuf;
use std::time::Duration;

use super::answer::{Answer, InitializeFailure, WirePanic, answers, run_time, write_fault};
use super::assembler::Assembler;
use super::call::Call;
use super::codec::{self, CodecFault};
use super::frame::{Frame, FrameWriter, HEADER, Header, Kind, holds, set_cpu};
use super::items::{HEAD, ItemWriter, Items};
use super::message::{Elsewhere, Hello, Reply, Request, refused};
use super::program::Program;
use crate::encoded::Encoded;
use crate::process::fuzz_input::Input;
use crate::report::Report;
use crate::sys::numbers::Numbers;

/// The size in bytes of the largest buffer that the assembler may allocate before as
/// many bytes have arrived.
const AHEAD: usize = 1 << 30;

/// The upper limit, in bytes, for each size that the driver reads from its input.
const LONGEST: usize = 300_000;

fn text(input: &mut Input<'_>) -> String {
    let length = usize::from(input.byte() % 32);
    String::from_utf8_lossy(input.take(length)).into_owned()
}

fn maybe<T>(input: &mut Input<'_>, read: impl Fn(&mut Input<'_>) -> T) -> Option<T> {
    (input.byte() % 2 == 0).then(|| read(input))
}

fn panic(input: &mut Input<'_>) -> WirePanic {
    WirePanic {
        message: text(input),
        location: maybe(input, text),
        worker: maybe(input, text),
    }
}

fn fault(input: &mut Input<'_>) -> CodecFault {
    CodecFault {
        type_name: text(input),
        reason: text(input),
        is_shortage: input.byte() % 2 == 1,
    }
}

fn elsewhere(input: &mut Input<'_>) -> Elsewhere {
    let variables = input.byte() % 3;
    Elsewhere {
        silence: Duration::from_millis(input.u64()),
        // An empty folder is read as `None`.
        folder: Some(text(input))
            .filter(|folder| !folder.is_empty())
            .map(PathBuf::from),
        variables: (0..variables)
            .map(|_| (text(input).into(), text(input).into()))
            .collect(),
    }
}

/// Appends a frame with a valid header and a payload, which may be one that the parent or a
/// worker could send.
fn append(input: &mut Input<'_>, out: &mut Vec<u8>, depth: u32) {
    let task = u64::from(input.byte());
    match input.byte() % 10 {
        0 => {
            let hello = Hello {
                program: Program {
                    version: text(input),
                    build_id: text(input).into_bytes(),
                    headers: input.u64(),
                    anchor: input.u64(),
                },
                number: task,
                name: text(input),
                rings: maybe(input, |input| input.u64()),
                offers: maybe(input, |input| (input.u64(), input.byte() % 2 == 0)),
                elsewhere: maybe(input, elsewhere),
            };
            out.extend(hello.frame());
        }
        1 => whole(out, Kind::Panicked, task, |out| panic(input).write(out)),
        2 => whole(out, Kind::Undecodable, task, |out| {
            write_fault(&fault(input), out)
        }),
        3 => whole(out, Kind::Unencodable, task, |out| {
            write_fault(&fault(input), out)
        }),
        4 => out.extend(refused(&text(input))),
        5 => {
            let failure = match input.byte() % 3 {
                0 => InitializeFailure::Error(Report::from(std::io::Error::other(text(input)))),
                1 => InitializeFailure::Panicked(panic(input)),
                _ => InitializeFailure::Undecodable(fault(input)),
            };
            failure.write(out);
        }
        6 if depth > 0 => {
            let open = FrameWriter::begin(out, Kind::Returned, task);
            for _ in 0..input.byte() % 4 {
                let kinds = [Kind::Returned, Kind::Panicked, Kind::Item];
                let item = ItemWriter::begin(out);
                append(input, out, depth - 1);
                item.close(out, kinds[usize::from(input.byte() % 3)]);
            }
            out.extend_from_slice(&input.number::<8>());
            open.close(out);
        }
        7 if input.byte() % 2 == 0 => append_numbers(input, out, task),
        7 => {
            let open = FrameWriter::begin(out, Kind::Task, task);
            let byte = input.byte();
            let length = input.size(LONGEST) * usize::from(byte % 4);
            out.extend((0..length).map(|place| byte ^ place as u8));
            open.close(out);
        }
        _ => {
            let kind = Kind::of(u16::from(input.byte() % 0x22)).unwrap_or(Kind::Item);
            let at = out.len();
            let open = FrameWriter::begin(out, kind, task);
            let length = usize::from(input.byte());
            out.extend_from_slice(input.take(length));
            open.close(out);
            set_cpu(&mut out[at..], u32::from(input.byte()));
        }
    }
}

/// Appends a frame with the payload that `write` appends.
fn whole(out: &mut Vec<u8>, kind: Kind, task: u64, write: impl FnOnce(&mut Vec<u8>)) {
    let open = FrameWriter::begin(out, kind, task);
    write(out);
    open.close(out);
}

/// Appends a frame whose payload ends with the numbers of a vector.
fn append_numbers(input: &mut Input<'_>, out: &mut Vec<u8>, task: u64) {
    let kind = [Kind::Task, Kind::Returned][usize::from(input.byte() % 2)];
    let open = FrameWriter::begin(out, kind, task);
    let mut frame = Encoded::from(std::mem::take(out));
    let count = input.size(LONGEST / 8);
    let byte = input.byte();
    let vector: Vec<u32> = (0..count as u32).map(|n| n ^ u32::from(byte)).collect();
    if codec::keep(vector, &mut frame).is_some() {
        frame.bytes.push(byte);
        frame.numbers = Some(Box::new(Numbers::from_vec(vec![
            u64::from(byte);
            count % 9 + 1
        ])));
    }
    open.close_encoded(&mut frame);
    *out = frame.bytes;
    out.extend_from_slice(
        frame
            .numbers
            .as_ref()
            .map_or(&[], |numbers| numbers.bytes()),
    );
}

/// Returns frames of [`append`]. Some of their bytes may be changed or missing.
fn build(input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..input.byte() % 6 {
        append(input, &mut bytes, 2);
    }
    for _ in 0..input.byte() % 4 {
        let at = input.index(bytes.len());
        let byte = input.byte();
        if let Some(changed) = bytes.get_mut(at) {
            *changed ^= byte;
        }
    }
    let cut = usize::from(input.byte());
    if cut % 2 == 0 {
        bytes.truncate(bytes.len().saturating_sub(cut / 2));
    }
    bytes
}

/// Gives the bytes to an `Assembler` in pieces of the sizes that `piece` returns, and
/// checks the state of the assembler before each piece. Returns the frames, the text of
/// the error if there is one, and the bytes that are left over.
fn assemble(
    bytes: &[u8],
    mut piece: impl FnMut() -> usize,
) -> (Vec<Frame>, Option<String>, Vec<u8>) {
    let mut assembler = Assembler::new();
    let mut frames = Vec::new();
    let mut left = bytes;
    let mut behind = 0;
    loop {
        loop {
            match assembler.next() {
                Ok(Some(frame)) => {
                    behind += HEADER + frame.payload.len();
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(error) => {
                    let rest = [&assembler.leftover()[..], left].concat();
                    return (frames, Some(error.to_string()), rest);
                }
            }
        }
        let arrived = bytes.len() - left.len();
        assert_eq!(assembler.is_between_frames(), behind == arrived);
        // To save time, 1000 or more left-over bytes are compared only at the end.
        if arrived - behind < 1000 {
            assert_eq!(assembler.leftover(), &bytes[behind..arrived]);
        }
        if let Some(header) = assembler.header() {
            assert!(header.length > arrived - behind - HEADER, "it is whole");
            assert_eq!(assembler.head(), bytes[behind..behind + HEADER]);
        }
        if left.is_empty() {
            return (frames, None, assembler.leftover());
        }
        let spare = assembler.spare_buffer().expect("a small buffer");
        assert!(spare.len() <= AHEAD.max(arrived), "a large buffer");
        let count = spare.len().min(piece().max(1)).min(left.len());
        assert!(count > 0, "there is always room");
        spare[..count].copy_from_slice(&left[..count]);
        assembler.advance(count);
        left = &left[count..];
    }
}

/// Checks that [`Frame::only`] reads each frame that the assembler has found, except
/// frames that end with the numbers of a vector. Checks that the bytes behind these
/// frames are not a whole frame.
fn compare(bytes: &[u8], frames: &[Frame], error: Option<&str>, leftover: &[u8]) {
    let mut rest = bytes;
    for frame in frames {
        let (whole, behind) = rest.split_at(HEADER + frame.payload.len());
        match Frame::only(whole) {
            Ok((header, alone)) => {
                assert!(alone == *frame, "another frame");
                assert_eq!(header.length, frame.payload.len());
            }
            Err(_) => assert!(frame.payload.numbers.is_some()),
        }
        assert!(
            Frame::only(rest).is_err() || behind.is_empty(),
            "bytes behind"
        );
        rest = behind;
    }
    assert!(leftover == rest, "what is left over");
    match (Frame::only(rest), error) {
        (Ok(_), _) => panic!("one more frame"),
        (Err(wrong), Some(error)) if Header::of(rest).is_none() && rest.len() >= HEADER => {
            assert_eq!(wrong.to_string(), error);
        }
        (Err(_), _) => {}
    }
}

fn only(bytes: &[u8]) -> Frame {
    Frame::only(bytes).expect("it was just written").1
}

fn copy(frame: &Frame) -> Frame {
    Frame {
        kind: frame.kind,
        task: frame.task,
        payload: frame.payload.bytes.clone().into(),
    }
}

/// Reads a frame as a [`Request`] and as a [`Reply`]. Writes some kinds of messages anew,
/// and checks that the written bytes are read as an equal message.
fn read(frame: &Frame) {
    match Request::of(copy(frame)) {
        Ok(Request::Hello(hello)) => {
            let again = Request::of(only(&hello.frame()));
            assert_eq!(again, Ok(Request::Hello(hello)));
        }
        Ok(Request::Task(_, mut work) | Request::Initialize(mut work)) => {
            let call = work.call;
            let (args, _) = work.args();
            assert_eq!(
                call.to_bytes(),
                frame.payload.bytes[..frame.payload.len() - args.len()]
            );
            assert!(frame.payload.bytes.ends_with(args));
            for item in Items::within(args) {
                std::hint::black_box(item.is_ok());
            }
        }
        _ => {}
    }
    let reply = Reply::of(copy(frame));
    let mut again = Vec::new();
    match &reply {
        Ok(Reply::Answer(task, Answer::Panicked(panic))) => {
            whole(&mut again, Kind::Panicked, *task, |out| panic.write(out));
        }
        Ok(Reply::Answer(task, Answer::Undecodable(fault))) => {
            whole(&mut again, Kind::Undecodable, *task, |out| {
                write_fault(fault, out)
            });
        }
        Ok(Reply::Answer(task, Answer::Unencodable(fault))) => {
            whole(&mut again, Kind::Unencodable, *task, |out| {
                write_fault(fault, out)
            });
        }
        Ok(Reply::InitializeFailed(failure)) => failure.write(&mut again),
        Ok(Reply::Refused(why)) => again = refused(why),
        _ => {}
    }
    if !again.is_empty() {
        assert_eq!(Reply::of(only(&again)), reply);
    }
    read_returned(&frame.payload.bytes);
}

/// Reads a payload as the answers for the items of a chunk.
fn read_returned(payload: &[u8]) {
    let count = answers(payload).count();
    assert!(count <= payload.len() / HEAD + 1, "more answers than bytes");
    assert_eq!(run_time(payload).is_some(), payload.len() >= 8);
    for (kind, item) in answers(payload).flatten() {
        assert!(item.len() <= payload.len());
        let _ = Answer::<()>::read(kind, item);
    }
}

/// Decodes the payload of a frame that ends with the numbers of a vector, as one of
/// three types.
fn decode_numbers(frame: Frame) {
    let Encoded { bytes, numbers } = frame.payload;
    let Some(numbers) = numbers else {
        return;
    };
    let head = match frame.kind {
        Kind::Task => bytes.get(Call::BYTES..).unwrap_or_default(),
        _ => &bytes,
    };
    let length = numbers.bytes().len();
    assert_eq!(
        length % usize::from(numbers.size()),
        0,
        "a part of a number"
    );
    let decoded = match frame.task % 3 {
        0 => codec::decode_moved::<Vec<u32>>(head, Some(numbers)).map(|vector| 4 * vector.len()),
        1 => codec::decode_moved::<Vec<f64>>(head, Some(numbers)).map(|vector| 8 * vector.len()),
        _ => codec::decode_moved::<String>(head, Some(numbers)).map(|text| text.len()),
    };
    assert!(
        decoded.is_err() || decoded == Ok(length),
        "numbers are lost"
    );
}

pub(crate) fn drive(data: &[u8]) {
    let mut input = Input::new(data);
    let is_built = input.byte() % 2 == 0;
    let mut pieces = [0; 4].map(|_| input.size(LONGEST)).into_iter().cycle();
    let built;
    let bytes = if is_built {
        built = build(&mut input);
        &built[..]
    } else {
        input.rest()
    };
    let whole = assemble(bytes, || usize::MAX);
    // A long input has larger pieces, so that it does not take much longer than a short
    // input.
    let least = bytes.len() / 500;
    let by_pieces = assemble(bytes, || pieces.next().unwrap_or(1).max(least));
    assert!(whole == by_pieces, "the pieces make a difference");
    let (frames, error, leftover) = whole;
    compare(bytes, &frames, error.as_deref(), &leftover);
    for frame in &frames {
        assert!(
            frame.payload.len() > 0 || holds(bytes, frame.kind, frame.task),
            "a frame that is not found"
        );
        if frame.payload.numbers.is_none() {
            read(frame);
        }
    }
    frames.into_iter().for_each(decode_numbers);
    let longest = bytes.len().min(1000);
    for kind in [
        Kind::Hello,
        Kind::Returned,
        Kind::Panicked,
        Kind::InitializeFailed,
    ] {
        read(&Frame {
            kind,
            task: 1,
            payload: bytes[..longest].to_vec().into(),
        });
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_bytes_make_the_reading_of_frames_panic() {
        crate::process::fuzz_input::run_with_fixed_inputs(super::drive, 1000, 300);
    }
}
