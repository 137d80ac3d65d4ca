//! Tests that make, encode and run calls in a single process.

use std::convert::Infallible;
use std::fmt;
use std::thread::sleep;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

use super::super::answer::{Answer, answers, run_time};
use super::super::assembler::Assembler;
use super::super::frame::Frame;
use super::super::message::{Reply, Request};
use super::*;

/// Returns the frame that an `Assembler` makes from `bytes`.
fn frame(bytes: &[u8]) -> Frame {
    let mut assembler = Assembler::new();
    let mut left = bytes;
    loop {
        if let Some(frame) = assembler.next().unwrap() {
            assert!(assembler.is_between_frames() && left.is_empty());
            return frame;
        }
        let spare_buffer = assembler.spare_buffer().unwrap();
        let count = spare_buffer.len().min(left.len());
        assert!(count > 0, "the frame is whole");
        spare_buffer[..count].copy_from_slice(&left[..count]);
        assembler.advance(count);
        left = &left[count..];
    }
}

/// Runs the call of a request as a worker does, and returns the worker's reply.
fn reply(request: &[u8]) -> Reply {
    let (task, mut work) = match Request::of(frame(request)).unwrap() {
        Request::Task(task, work) => (task, work),
        Request::Initialize(work) => (0, work),
        other => panic!("{other:?}"),
    };
    let (call, mut out) = (work.call, Encoded::default());
    // SAFETY: the test made the call in this process.
    assert!(unsafe { call.run(task, work.args(), &mut out) });
    let numbers = out
        .numbers
        .as_ref()
        .map_or(&[][..], |numbers| numbers.bytes());
    Reply::of(frame(&[&out.bytes, numbers].concat())).unwrap()
}

fn answer_to<A, R>(f: fn(A) -> R, args: &A) -> Answer<Encoded>
where
    A: Serialize + DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    let mut request = task_frame(Call::one(f).unwrap(), args).unwrap();
    super::super::frame::set_task(&mut request, 7);
    match reply(&request) {
        Reply::Answer(7, answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn value_of<A, R>(f: fn(A) -> R, args: A) -> R
where
    A: Serialize + DeserializeOwned + 'static,
    R: Serialize + DeserializeOwned + 'static,
{
    match answer_to(f, &args) {
        Answer::Returned(value) => codec::decode_moved(&value.bytes, value.numbers).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn double<T: Clone + std::ops::Add<Output = T>>(value: T) -> T {
    value.clone() + value
}

#[test]
fn functions_generics_and_closures_are_called() {
    assert_eq!(value_of(double::<u8>, 4), 8);
    assert_eq!(value_of(double::<f64>, 0.25), 0.5);
    assert_eq!(value_of(|s: String| s.len(), "four".to_owned()), 4);
    // The two closures have types with the same name.
    let both: [fn(u8) -> u8; 2] = [|n| n + 1, |n| n + 2];
    assert_eq!(both.map(|f| value_of(f, 1)), [2, 3]);
    assert_eq!(value_of(|()| (), ()), ());
}

#[test]
fn a_function_of_a_library_is_not_shippable() {
    let name = c"getpid";
    // SAFETY: the arguments have the types that `dlsym` takes.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    let address: *const () = found.cast();
    // SAFETY: the test never calls `f`, and only uses the address of `f`.
    let f = unsafe { transmute::<*const (), fn(()) -> u32>(address) };
    let refused = Call::one(f).unwrap_err().to_string();
    let named = format!("fn(()) -> u32 at {:#x}", found as usize);
    assert!(refused.contains(&named), "{refused}");
}

#[test]
fn addresses_that_are_not_code_are_not_called() {
    let call = Call::one(double::<u8>).unwrap();
    let mut out = Encoded::default();
    for (function, trampoline) in [
        (0, call.trampoline),
        (call.function, 0),
        (u64::MAX, u64::MAX),
        (call.function, u64::MAX - 5),
    ] {
        let call = Call {
            function,
            trampoline,
        };
        assert_eq!(Call::from_bytes(call.to_bytes()), call);
        // SAFETY: the address of the function or of the trampoline is not in the program's
        // code, so `run` calls no function.
        assert!(!unsafe { call.run(1, (&[], None), &mut out) });
    }
    assert_eq!(out.len(), 0);
}

#[test]
fn a_panic_comes_with_its_place() {
    crate::panic::watch_panics();
    let answer = answer_to(|n: u8| assert!(n > 9, "{n} is too small"), &3);
    let Answer::Panicked(note) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(note.message, "3 is too small");
    assert!(note.location.as_ref().unwrap().contains("tests.rs:"));
    let panic = note.into_panic(Some("thumb".into()));
    assert_eq!(panic.task(), Some("thumb"));
    assert_eq!(panic.message(), "3 is too small");
}

/// A number whose `Serialize`, `Deserialize` or `Drop` fails or panics for certain values.
struct Picky(u8);

impl Serialize for Picky {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            1 => Err(serde::ser::Error::custom("one cannot be written")),
            2 => panic!("two panics"),
            n => serializer.serialize_u8(n),
        }
    }
}

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            3 => Err(serde::de::Error::custom("three cannot be read")),
            4 => panic!("four panics"),
            n => Ok(Self(n)),
        }
    }
}

impl Drop for Picky {
    fn drop(&mut self) {
        if self.0 == 5 {
            panic!("five explodes");
        }
    }
}

fn make(n: u8) -> Picky {
    Picky(n)
}

#[test]
fn values_that_do_not_cross_fail_their_own_task() {
    let answer = answer_to(make, &1);
    assert!(matches!(&answer, Answer::Unencodable(f) if f.type_name.ends_with("Picky")));
    let answer = answer_to(make, &2);
    assert!(matches!(&answer, Answer::Panicked(note) if note.message == "two panics"));
    let answer = answer_to(|p: Picky| p.0, &Picky(3));
    assert!(matches!(&answer, Answer::Undecodable(f) if f.type_name.ends_with("Picky")));
    let answer = answer_to(|p: Picky| p.0, &Picky(4));
    assert!(matches!(&answer, Answer::Panicked(note) if note.message == "four panics"));
    // A value whose `Drop` panics still gets the answer `Returned`, because the value is
    // already encoded when it is dropped.
    assert!(
        matches!(answer_to(make, &5), Answer::Returned(bytes) if codec::decode(&bytes.bytes) == Ok(5_u8))
    );
    let refused = task_frame(Call::one(|_: Picky| ()).unwrap(), &Picky(1)).unwrap_err();
    assert!(refused.type_name.ends_with("Picky"));
}

#[test]
fn each_item_of_a_chunk_has_an_answer_of_its_own() {
    let mut chunk = Chunk::new(Call::each(|p: Picky| make(p.0 - 10)).unwrap());
    assert!(chunk.push(&Picky(1)).is_err());
    for n in [10, 11, 12, 3, 4, 16] {
        chunk.push(&Picky(n)).unwrap();
    }
    assert_eq!(chunk.items(), 6);
    let Reply::Answer(0, Answer::Returned(bytes)) = reply(&chunk.into_frame()) else {
        panic!("a chunk returns");
    };
    let all: Vec<_> = answers(&bytes.bytes).map(Result::unwrap).collect();
    assert_eq!(all.len(), 6);
    let kinds = all.into_iter().map(|(kind, item)| match kind {
        Kind::Returned => codec::decode::<u8>(item).unwrap().to_string(),
        kind => match Answer::<Infallible>::read(kind, item).unwrap() {
            Answer::Returned(never) => match never {},
            Answer::Panicked(note) => note.message,
            Answer::Undecodable(_) => "undecodable".to_owned(),
            Answer::Unencodable(_) => "unencodable".to_owned(),
        },
    });
    let expected = [
        "0",
        "unencodable",
        "two panics",
        "undecodable",
        "four panics",
        "6",
    ];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
}

#[test]
fn the_answer_of_a_chunk_says_how_long_the_chunk_ran() {
    const NAP: Duration = Duration::from_millis(2);
    let mut chunk = Chunk::new(Call::each(|()| sleep(NAP)).unwrap());
    chunk.push(&()).unwrap();
    chunk.push(&()).unwrap();
    let start = Instant::now();
    let Reply::Answer(0, Answer::Returned(bytes)) = reply(&chunk.into_frame()) else {
        panic!("a chunk returns");
    };
    let ran = run_time(&bytes.bytes).unwrap();
    assert!(2 * NAP <= ran && ran <= start.elapsed(), "{ran:?}");
    assert_eq!(run_time(&bytes.bytes[..7]), None);
    assert_eq!(run_time(&[0xff; 8]), Some(Duration::from_nanos(u64::MAX)));
}

#[test]
fn an_initializer_says_how_it_went() {
    fn run<O: InitializerOutcome>(f: fn(u8) -> O) -> Reply {
        reply(&initialize_frame(Call::initializer(f).unwrap(), &1_u8).unwrap())
    }
    assert_eq!(run(|_| ()), Reply::Initialized);
    assert_eq!(run(|_| Ok::<(), String>(())), Reply::Initialized);
    let failed = run(|n| "x".repeat(n.into()).parse::<u8>().map(drop));
    let Reply::InitializeFailed(InitializeFailure::Error(report)) = failed else {
        panic!("{failed:?}");
    };
    assert_eq!(report.message(), "invalid digit found in string");
    let failed = run(|_| -> () { panic!("no") });
    let Reply::InitializeFailed(InitializeFailure::Panicked(note)) = failed else {
        panic!("{failed:?}");
    };
    assert_eq!(note.message, "no");
    let call = Call::initializer(|_: Picky| ()).unwrap();
    let failed = reply(&initialize_frame(call, &Picky(3)).unwrap());
    assert!(matches!(
        failed,
        Reply::InitializeFailed(InitializeFailure::Undecodable(_))
    ));
}

/// Returns the bytes of a frame, and the address of the numbers at the frame's end, if
/// there are numbers.
fn bytes_of(frame: &Encoded) -> (Vec<u8>, Option<usize>) {
    let numbers = frame.numbers.as_ref().map(|numbers| numbers.bytes());
    let all = [&frame.bytes, numbers.unwrap_or_default()].concat();
    (all, numbers.map(|numbers| numbers.as_ptr().addr()))
}

fn moves<N: bytemuck::Pod + Serialize + DeserializeOwned + fmt::Debug + PartialEq>(count: usize) {
    let number = |n: usize| {
        let bytes = [n.to_ne_bytes(), n.to_ne_bytes()];
        bytemuck::pod_read_unaligned(&bytes.as_flattened()[..size_of::<N>()])
    };
    let vector: Vec<N> = (0..count).map(number).collect();
    let address = vector.as_ptr().addr();
    let call = Call::one(|vector: Vec<N>| vector).unwrap();
    let frame = task_frame_of(call, vector.clone()).unwrap();
    assert_eq!(frame.numbers.is_some(), count * size_of::<N>() >= 64 << 10);
    let own = task_frame_of(call, vector).unwrap();
    let (request, moved) = bytes_of(&own);
    assert_eq!(
        moved.is_some_and(|moved| moved == address),
        frame.numbers.is_some()
    );
    // A frame that has moved the vector has the same bytes behind the header as a frame
    // that has copied the vector.
    let copied = task_frame(call, &(0..count).map(number).collect::<Vec<N>>()).unwrap();
    assert_eq!(request[24..], copied[24..]);
    let Reply::Answer(0, Answer::Returned(value)) = reply(&request) else {
        panic!("the call returns its argument");
    };
    assert_eq!(value.numbers.is_some(), frame.numbers.is_some());
    let arrived: Vec<N> = codec::decode_moved(&value.bytes, value.numbers).unwrap();
    assert_eq!(arrived, (0..count).map(number).collect::<Vec<N>>());
}

#[test]
fn a_long_vector_of_numbers_is_moved_and_not_copied() {
    moves::<u8>((64 << 10) - 1);
    moves::<u8>(64 << 10);
    moves::<i8>(300_001);
    moves::<u16>(32 << 10);
    moves::<f32>(16 << 10);
    moves::<f64>(8191);
    moves::<f64>(100_000);
    moves::<usize>(100_000);
    moves::<i128>(100_000);
}

#[test]
fn a_long_vector_that_a_custom_type_reads_is_decoded_from_a_copy() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Wrapped(Vec<u32>);
    let mut out = Encoded::default();
    assert!(codec::keep(vec![7_u32; 20_000], &mut out).is_none());
    let Encoded { bytes, numbers } = out;
    let wrapped: Wrapped = codec::decode_moved(&bytes, numbers).unwrap();
    assert_eq!(wrapped, Wrapped(vec![7; 20_000]));
    // The decoder must return an error if bytes in front of the numbers are missing, or if
    // the numbers are read as numbers of another type.
    let numbers = || Some(Box::new(Numbers::from_vec(vec![7_u32; 20_000])));
    for cut in 0..bytes.len() {
        assert!(codec::decode_moved::<Vec<u32>>(&bytes[..cut], numbers()).is_err());
    }
    let as_reals = codec::decode_moved::<Vec<f32>>(&bytes, numbers());
    assert!(as_reals.unwrap_err().reason.contains("a u32"));
}

#[test]
fn a_value_that_is_no_vector_of_numbers_is_not_moved() {
    let mut out = Encoded::default();
    assert!(codec::keep(String::from_utf8(vec![b'x'; 100_000]).unwrap(), &mut out).is_some());
    assert!(codec::keep(vec![true; 100_000], &mut out).is_some());
    assert!(codec::keep((vec![1_u8; 100_000], 1), &mut out).is_some());
    assert!(codec::keep(Some(vec![1_u8; 100_000]), &mut out).is_some());
    assert_eq!(out, Encoded::default());
}
