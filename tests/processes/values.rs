//! Values that do not cross over: each fails its own task, and says where.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::{fs, panic};

use concurrent_futures::{Error, MapOptions, ProcessPoolExecutor, ShutdownOptions, Side};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::fixture::*;
use crate::gate::{Gate, hold, pass};

/// Encodes, unless it says no.
#[derive(Deserialize)]
struct Picky(bool);

impl Serialize for Picky {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 {
            return Err(serde::ser::Error::custom("I will not be written down"));
        }
        self.0.serialize(serializer)
    }
}

/// Is encoded and never decoded.
#[derive(Serialize)]
struct OneWay(u8);

impl<'de> Deserialize<'de> for OneWay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer)?;
        Err(serde::de::Error::custom("I will not be read"))
    }
}

/// Panics when it is dropped.
#[derive(Serialize, Deserialize)]
struct PanicsInDrop(u8);

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("dropped");
        }
    }
}

/// Panics when it is decoded.
#[derive(Serialize)]
struct Explosive;

impl<'de> Deserialize<'de> for Explosive {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("boom in deserialize")
    }
}

/// A number whose `Deserialize` panics if it is 4.
#[derive(Serialize)]
struct FourPanics(u8);

impl<'de> Deserialize<'de> for FourPanics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct FourPanics(u8);
        let FourPanics(n) = FourPanics::deserialize(deserializer)?;
        if n == 4 {
            panic!("four");
        }
        Ok(Self(n))
    }
}

/// Knows which thread decoded it.
struct Decoded(Option<ThreadId>);

impl Serialize for Decoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Decoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer)?;
        Ok(Self(Some(thread::current().id())))
    }
}

/// A task.
fn decoded(port: u16) -> Decoded {
    pass(port);
    Decoded(None)
}

/// A value that holds itself, as deep as one likes.
#[derive(Serialize, Deserialize)]
struct Onion(Option<Box<Onion>>);

impl Onion {
    fn of(layers: u32) -> Self {
        (0..layers).fold(Self(None), |inner, _| Self(Some(Box::new(inner))))
    }

    fn layers(&self) -> u32 {
        std::iter::successors(self.0.as_deref(), |onion| onion.0.as_deref())
            .count()
            .try_into()
            .unwrap()
    }
}

impl Drop for Onion {
    /// One by one: dropped by themselves they would need as deep a stack.
    fn drop(&mut self) {
        let mut inner = self.0.take();
        while let Some(mut onion) = inner {
            inner = onion.0.take();
        }
    }
}

alone! {
    /// A value that a worker could just encode overflowed the stack here, which
    /// is the end of the whole program and not of a worker.
    fn what_a_worker_can_write_can_be_read_here_however_deep() {
        let executor = pool(1);
        for layers in [1000, 10_000, 100_000] {
            let onion = executor.submit(Onion::of, layers).unwrap();
            assert_eq!(onion.result().unwrap().layers(), layers);
        }
    }

    /// That saves a thread that would have to be woken in between.
    fn who_waits_for_a_value_decodes_it_and_who_has_a_limit_does_not() {
        let executor = pool(1);
        let us = thread::current().id();
        let decoded_here = |with_limit: bool| {
            let mut gate = Gate::new();
            let future = executor.submit(decoded, gate.port()).unwrap();
            gate.wait_for(1);
            let opening = thread::spawn(move || {
                for _ in 0..100 {
                    thread::yield_now(); // until the other most likely waits
                }
                gate.open();
            });
            let value = if with_limit {
                future.result_timeout(LIMIT)
            } else {
                future.result()
            };
            let is_here = value.unwrap().0 == Some(us);
            opening.join().unwrap();
            is_here
        };
        assert!((0..50).any(|_| decoded_here(false)));
        assert!(!(0..50).any(|_| decoded_here(true)));
        assert_eq!(executor.stats().finished, executor.shutdown().finished);
    }

    /// The pool's own threads have nothing to do with it any more.
    fn a_shutdown_waits_for_a_value_that_is_being_decoded() {
        #[derive(Serialize)]
        struct Slow(u16);
        impl<'de> Deserialize<'de> for Slow {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let port = u16::deserialize(deserializer)?;
                pass(port);
                Ok(Self(port))
            }
        }
        let executor = pool(1);
        for _ in 0..20 {
            let executor = pool(1);
            let mut gate = Gate::new();
            let future = executor.submit(Slow, gate.port()).unwrap();
            thread::scope(|scope| {
                let waiting = scope.spawn(|| future.result().map(|slow| slow.0));
                gate.wait_for(1);
                let ending = scope.spawn(|| {
                    executor.shutdown();
                    assert!(future.done());
                });
                for _ in 0..100 {
                    thread::yield_now(); // until the other most likely waits
                }
                let port = gate.port();
                gate.open();
                assert_eq!(waiting.join().unwrap().unwrap(), port);
                ending.join().unwrap();
            });
        }
        assert_goes_on(&executor);
    }

    /// Python's test_error_at_task_pickle.
    fn an_argument_that_does_not_encode_is_refused_by_submit() {
        let executor = pool(1);
        let Err(Error::Encode(why)) = executor.submit(|_: Picky| (), Picky(true)) else {
            panic!("it is refused");
        };
        assert_eq!((why.side(), why.reason()), (Side::Parent, "I will not be written down"));
        assert!(why.type_name().contains("Picky"));
        let refused = executor.try_submit(|_: Picky| (), Picky(true)).unwrap_err();
        assert!(matches!(refused.error, Error::Encode(_)) && refused.call.1.0);
        assert_eq!(executor.stats().workers, 0, "nothing came of it");
        assert_goes_on(&executor);
    }

    /// Python's test_shutdown_deadlock_pickle.
    fn an_argument_that_does_not_encode_does_not_hang_the_shutdown() {
        let executor = pool(2);
        value(&executor.submit(double, 1).unwrap());
        assert!(executor.submit(|_: Picky| (), Picky(true)).is_err());
        executor.shutdown_with(ShutdownOptions::new().wait(false));
    }

    /// Python's test_error_at_task_unpickle.
    fn an_argument_that_does_not_decode_fails_its_task() {
        let executor = pool(1);
        let bad = executor.submit(|_: OneWay| (), OneWay(1)).unwrap();
        let Error::Decode(why) = error(&bad) else {
            panic!("{bad:?}");
        };
        assert_eq!((why.side(), why.reason()), (Side::Worker, "I will not be read"));
        assert!(why.type_name().contains("OneWay"));
        assert_goes_on(&executor);
        assert_eq!(executor.stats().replaced, 0, "the worker lives");
    }

    fn an_argument_that_panics_while_it_is_decoded_fails_its_task() {
        let executor = pool(1);
        let bad = executor.submit(|_: Explosive| (), Explosive).unwrap();
        let Error::Panicked(panic) = error(&bad) else {
            panic!("{bad:?}");
        };
        assert_eq!(panic.message(), "boom in deserialize");
        assert_goes_on(&executor);
    }

    /// Python's test_error_during_result_pickle_on_worker.
    fn a_value_that_does_not_encode_fails_its_task() {
        let executor = pool(1);
        let bad = executor.submit(|()| Picky(true), ()).unwrap();
        let Error::Encode(why) = error(&bad) else {
            panic!("it has no value");
        };
        assert_eq!((why.side(), why.reason()), (Side::Worker, "I will not be written down"));
        assert_goes_on(&executor);
    }

    /// Python's test_error_during_result_unpickle_in_result_handler.
    fn a_value_that_does_not_decode_here_fails_its_task() {
        let executor = pool(1);
        let bad = executor.submit(|()| OneWay(1), ()).unwrap();
        let Error::Decode(why) = error(&bad) else {
            panic!("it has no value");
        };
        assert_eq!((why.side(), why.reason()), (Side::Parent, "I will not be read"));
        assert_goes_on(&executor);
        let stats = executor.stats();
        assert_eq!((stats.finished, stats.failed), (1, 1));
    }

    fn a_value_that_panics_while_it_is_decoded_here_fails_its_task() {
        let executor = pool(1);
        let bad = executor.submit(|()| Explosive, ()).unwrap();
        let Error::Panicked(panic) = error(&bad) else {
            panic!("it has no value");
        };
        assert_eq!(panic.message(), "boom in deserialize");
        assert_goes_on(&executor);
    }

    /// Python's test_traceback.
    fn a_panic_names_its_line_in_the_other_process() {
        let executor = pool(1);
        let bad = executor.submit(|n: i32| assert!(n > 0, "{n} is too small"), -1).unwrap();
        let Error::Panicked(panic) = error(&bad) else {
            panic!("{bad:?}");
        };
        assert_eq!(panic.message(), "-1 is too small");
        assert!(panic.location().unwrap().contains("values.rs:"));
        assert!(panic.worker().unwrap().starts_with("ProcessPoolExecutor-"));
        assert_goes_on(&executor);
    }

    fn an_item_that_fails_in_a_chunk_fails_alone() {
        let executor = pool(1);
        let options = MapOptions::new().chunk_size(4);
        let picky = |n: i64| Picky(n == 1 || n / i64::from(n != 2) < 0);
        let results = executor.map_with(options, picky, 0..4).unwrap();
        let results: Vec<_> = results.map(|result| result.map(|picky| picky.0)).collect();
        let [Ok(false), Err(Error::Encode(_)), Err(Error::Panicked(_)), Ok(false)] = &results[..] else {
            panic!("{results:?}");
        };
        let refused = executor.map_with(options, |_: Picky| (), [Picky(false), Picky(true)]);
        assert!(matches!(refused, Err(Error::Encode(_))));
    }

    fn large_values_cross_over_both_ways() {
        let executor = pool(2);
        for size in [0, 1, 70_000, 5 << 20] {
            let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let back = executor.submit(|bytes: Vec<u8>| bytes, bytes.clone()).unwrap();
            assert!(*value(&back) == bytes, "{size} bytes");
        }
    }

    fn long_vectors_of_each_kind_of_number_cross_over() {
        let executor = pool(2);
        macro_rules! crosses {
            ($($number:ty)*) => {$(
                for count in [1_u32, 4095, 4096, 8193, 65_536, 300_001] {
                    let vector: Vec<$number> = (0..count).map(|n| (n % 100) as $number).collect();
                    let given = vector.clone();
                    let future = executor.submit(|mut vector: Vec<$number>| {
                        vector.reverse();
                        vector
                    }, given).unwrap();
                    let mut back = future.into_result().unwrap();
                    back.reverse();
                    assert!(back == vector, "{count} of {}", stringify!($number));
                }
            )*};
        }
        crosses!(u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize f32 f64);
    }

    fn a_refused_argument_may_panic_in_its_drop() {
        let executor = pool(1);
        executor.shutdown();
        let refused = executor.submit(|_: PanicsInDrop| (), PanicsInDrop(1));
        assert!(matches!(refused, Err(Error::ShutDown)));
    }

    fn an_item_that_panics_while_it_is_decoded_fails_alone() {
        let executor = pool(1);
        let options = || MapOptions::new().chunk_size(3);
        let here = executor.map_with(options(), |n: u8| FourPanics(n), 0..6).unwrap();
        let there = executor.map_with(options(), |item: FourPanics| item.0, (0..6).map(FourPanics));
        let here: Vec<_> = here.map(|value| value.map(|item| item.0)).collect();
        for (n, result) in here.into_iter().chain(there.unwrap()).enumerate() {
            match (n % 6, result) {
                (4, Err(Error::Panicked(panic))) => assert_eq!(panic.message(), "four"),
                (n, result) => assert_eq!(usize::from(result.unwrap()), n),
            }
        }
        assert_eq!(executor.stats().replaced, 0);
    }

    fn a_map_of_long_vectors_gives_each_back() {
        let executor = pool(2);
        let options = MapOptions::new().chunk_size(3);
        let vectors = (0..8_u32).map(|n| vec![n; 40_000]);
        let results = executor.map_with(options, |vector: Vec<u32>| vector, vectors).unwrap();
        for (n, result) in results.enumerate() {
            assert_eq!(result.unwrap(), vec![n as u32; 40_000]);
        }
    }

    fn a_long_vector_that_was_refused_comes_back() {
        let builder = ProcessPoolExecutor::builder().max_workers(1);
        let executor = builder.queue_capacity(1).build().unwrap();
        let mut gate = Gate::new();
        let first = executor.submit(hold, (gate.port(), 0)).unwrap();
        gate.wait_for(1);
        let second = executor.submit(|numbers: Vec<u16>| numbers.len(), vec![7; 100_000]).unwrap();
        let refused = executor.try_submit(|numbers: Vec<u16>| numbers, vec![7; 100_000]);
        let refused = refused.unwrap_err();
        assert!(matches!(refused.error, Error::QueueFull), "{}", refused.error);
        assert_eq!(refused.call.1, vec![7; 100_000]);
        gate.open();
        value(&first);
        assert_eq!(*value(&second), 100_000);
    }

    fn two_closures_of_one_function_are_two_functions() {
        let executor = pool(1);
        let [add, sub]: [fn(i64) -> i64; 2] = [|n| n + 1, |n| n - 1];
        assert_eq!(*value(&executor.submit(add, 1).unwrap()), 2);
        assert_eq!(*value(&executor.submit(sub, 1).unwrap()), 0);
    }

    fn a_function_of_a_shared_library_is_refused() {
        // What `labs` of C is depends on how the program was linked; `dlsym`
        // gives it of the library for certain, if it is one.
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let is_code_of_libc = |line: &&str| line.contains("libc.so") && line.contains("r-xp");
        let Some(line) = maps.lines().find(is_code_of_libc) else {
            return; // linked statically
        };
        let start = usize::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
        let address = std::ptr::with_exposed_provenance::<()>(start + 64);
        // SAFETY: it is never called, here or elsewhere: that is the test.
        let foreign = unsafe { std::mem::transmute::<*const (), fn(i64) -> i64>(address) };
        let executor = pool(1);
        let refused = executor.try_submit(foreign, 7).unwrap_err();
        assert!(matches!(refused.error, Error::NotShippable(_)), "{}", refused.error);
        assert_eq!(refused.call.1, 7);
        assert_goes_on(&executor);
    }
}

/// A list of itself, whose parts lie on the stack by value while they are read.
#[derive(serde::Serialize, serde::Deserialize)]
struct Large<const N: usize> {
    #[serde(with = "board")]
    board: [[u64; 32]; N],
    next: Option<Box<Large<N>>>,
}

/// Serde knows arrays of up to 32 only.
mod board {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer, const N: usize>(
        board: &[[u64; 32]; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        board[0][0].serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[[u64; 32]; N], D::Error> {
        Ok([[u64::deserialize(deserializer)?; 32]; N])
    }
}

fn large<const N: usize>(length: u64) -> Option<Box<Large<N>>> {
    (0..length).fold(None, |next, number| {
        Some(Box::new(Large {
            board: [[number; 32]; N],
            next,
        }))
    })
}

fn length<const N: usize>(mut list: Option<Box<Large<N>>>) -> u64 {
    let mut length = 0;
    while let Some(part) = list {
        length += 1;
        list = part.next;
    }
    length
}

alone! {
    /// The parent reads it on a thread of its own, and its end is that of the program.
    fn a_deep_value_of_large_parts_arrives() {
        let executor = pool(1);
        let future = executor.submit(large::<8>, 5000).unwrap();
        assert_eq!(length(future.into_result().unwrap()), 5000);
        let future = executor.submit(large::<256>, 300).unwrap();
        assert_eq!(length(future.into_result().unwrap()), 300);
    }

    /// On the stack of the thread that submits, and of the worker's.
    fn a_deep_argument_of_large_parts_arrives() {
        let executor = pool(1);
        let future = executor.submit(length::<8>, large(20_000)).unwrap();
        assert_eq!(future.into_result().unwrap(), 20_000);
    }
}

/// A megabyte, which each function that takes or returns it copies in a debug build.
struct Megabyte([u64; 1 << 17]);

impl Serialize for Megabyte {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_slice().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Megabyte {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let numbers = Vec::deserialize(deserializer)?;
        Ok(Self(numbers.try_into().expect("it has its length")))
    }
}

fn turn(mut large: Megabyte) -> Megabyte {
    large.0.reverse();
    large
}

/// Half a megabyte in memory, of which a few bytes are encoded.
#[derive(serde::Serialize, serde::Deserialize)]
struct Scratch {
    number: u32,
    #[serde(skip, default = "zeros")]
    _buffer: [u8; 1 << 19],
}

fn zeros() -> [u8; 1 << 19] {
    [0; 1 << 19]
}

fn scratch(number: u32) -> Box<Scratch> {
    Box::new(Scratch {
        number,
        _buffer: zeros(),
    })
}

alone! {
    /// The thread that waits may itself decode a value that is encoded in a few bytes. It
    /// overflowed its stack, which ended the whole program.
    fn a_short_answer_of_a_large_type_fits_on_the_stack_of_the_thread_that_waits() {
        let program = || {
            let executor = pool(1);
            let boxed = executor.submit(scratch, 7).unwrap();
            assert_eq!(boxed.into_result().unwrap().number, 7);
            let none = executor.submit(|()| vec![None::<Scratch>], ()).unwrap();
            assert_eq!(none.into_result().unwrap().len(), 1);
            let items = executor.map_with(MapOptions::new().chunk_size(2), scratch, [1, 2]);
            let numbers = items.unwrap().map(|item| item.unwrap().number);
            assert_eq!(numbers.collect::<Vec<_>>(), [1, 2]);
        };
        // As many bytes as a thread has by default.
        let waits = thread::Builder::new().stack_size(2 << 20).spawn(program);
        waits.unwrap().join().unwrap();
    }

    /// Each value asks for more stack than memory has room for, and does without. Each such
    /// request was reported as a panic.
    fn values_that_get_no_further_stack_are_read_without_a_word() {
        static PANICS: AtomicUsize = AtomicUsize::new(0);
        panic::set_hook(Box::new(|info| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            eprintln!("{info}");
        }));
        let executor = pool(1);
        assert_goes_on(&executor);
        let status = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = status.split(' ').next().unwrap().parse().unwrap();
        let before = getrlimit(Resource::As);
        let current = Some(pages * 4096 + (4 << 20));
        let limit = Rlimit { current, maximum: before.maximum };
        setrlimit(Resource::As, limit).unwrap();
        let texts = |n: u32| (n, vec![Some("x".to_owned())]);
        let one = value(&executor.submit(texts, 7).unwrap()).clone();
        let items = executor.map_with(MapOptions::new().chunk_size(50), texts, 0..100);
        let sum: u32 = items.unwrap().map(|item| item.unwrap().0).sum();
        setrlimit(Resource::As, before).unwrap();
        assert_eq!((one.0, sum), (7, 4950));
        assert_eq!(PANICS.load(Ordering::Relaxed), 0);
    }

    fn a_boxed_argument_of_a_large_type_fits_on_the_stack_of_a_worker() {
        let program = || {
            let executor = pool(1);
            let number = executor.submit(|boxed: Box<Scratch>| boxed.number, scratch(5));
            assert_eq!(number.unwrap().into_result().unwrap(), 5);
        };
        // The stack of the thread that submits is not the pool's.
        let submits = thread::Builder::new().stack_size(256 << 20).spawn(program);
        submits.unwrap().join().unwrap();
    }
}

alone! {
    /// By value on the stacks of the worker and of the parent's threads.
    fn values_of_a_megabyte_fit_on_each_stack_of_the_pool() {
        let program = || {
            let executor = pool(1);
            let future = executor.submit(turn, Megabyte([3; 1 << 17])).unwrap();
            assert_eq!(future.into_result().unwrap().0[7], 3);
            let made = executor.submit(|n| Megabyte([n; 1 << 17]), 5).unwrap();
            assert_eq!(made.into_result().unwrap().0[7], 5);
            let taken = executor.submit(|large: Megabyte| large.0[7], Megabyte([6; 1 << 17]));
            assert_eq!(taken.unwrap().into_result().unwrap(), 6);
            let builder = ProcessPoolExecutor::builder().max_workers(1);
            let started = builder.initializer(
                |large| assert_eq!(turn(large).0[7], 7),
                Megabyte([7; 1 << 17]),
            );
            let started = started.build().unwrap().submit(double, 4).unwrap();
            assert_eq!(started.into_result().unwrap(), 8);
            let options = MapOptions::new().chunk_size(2);
            let items = (0..3).map(|_| Megabyte([4; 1 << 17]));
            let turned = executor.map_with(options, turn, items).unwrap();
            turned.for_each(|large| assert_eq!(large.unwrap().0[7], 4));
        };
        // The stack of the thread that submits is not the pool's.
        let submits = thread::Builder::new().stack_size(256 << 20).spawn(program);
        submits.unwrap().join().unwrap();
    }
}

/// Neither writes anything of its own.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
struct Bare(Option<Box<Bare>>);

impl Drop for Bare {
    /// One by one, as [`Onion`]'s.
    fn drop(&mut self) {
        let mut left = self.0.take();
        while let Some(mut bare) = left {
            left = bare.0.take();
        }
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
struct Twig(Vec<Twig>);

alone! {
    fn a_deep_value_of_transparent_parts_arrives() {
        let executor = pool(1);
        let bare = |length: u32| (0..length).fold(Bare(None), |bare, _| Bare(Some(Box::new(bare))));
        let bare: Bare = executor.submit(bare, 300_000).unwrap().into_result().unwrap();
        let length = std::iter::successors(Some(&bare), |bare| bare.0.as_deref()).count();
        assert_eq!(length, 300_001);
        let twig = (0..4_000).fold(Twig(Vec::new()), |twig, _| Twig(vec![twig]));
        let has_one = executor.submit(|twig: Twig| twig.0.len(), twig);
        assert_eq!(has_one.unwrap().into_result().unwrap(), 1);
    }
}
