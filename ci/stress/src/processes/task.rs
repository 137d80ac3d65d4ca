//! The tasks: they work, fail, harm their worker, or return values that cannot be
//! encoded.

use std::fs;
use std::io::Write;
use std::time::Duration;

use concurrent_futures::{ProcessPoolExecutor, ThreadPoolExecutor};
use fastrand::Rng;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

/// The variable that names the file of starts to the workers.
pub const TALLY: &str = "STRESS_TALLY";

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Kind {
    Quick,
    Sleep(u64),
    Big(usize),
    Err,
    Panic,
    Abort,
    Exit,
    Kill,
    /// Closes descriptors that are not the worker's own.
    CloseSome,
    CloseAll,
    /// Another program takes the worker's place.
    Exec,
    /// Always submitted with a time limit.
    Endless,
    /// A thread pool inside.
    Threads,
    /// A process pool inside.
    Processes,
    Spoilt(Spoil),
}

/// The place at which a value fails on its way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Spoil {
    Nothing,
    EncodeArgument,
    DecodeArgument,
    PanicArgument,
    EncodeResult,
    DecodeResult,
    PanicResult,
}

impl Kind {
    pub fn random(random: &mut Rng) -> Self {
        match random.u32(..80) {
            0..12 => Self::Sleep(random.u64(..5)),
            12..18 => Self::Big(random.usize(..4 << 20)),
            18..22 => Self::Err,
            22..26 => Self::Panic,
            26 => Self::Abort,
            27 => Self::Exit,
            28 => Self::Kill,
            29 if random.bool() => Self::CloseSome,
            29 => Self::CloseAll,
            30 => Self::Exec,
            31..34 => Self::Endless,
            34 => Self::Threads,
            35 if random.bool() => Self::Processes,
            36..42 => Self::Spoilt(Spoil::random(random)),
            _ => Self::Quick,
        }
    }

    /// Returns how such a task ends if nothing else happens to it.
    pub fn outcome(self) -> &'static str {
        match self {
            Self::Panic | Self::Spoilt(Spoil::PanicArgument | Spoil::PanicResult) => "panicked",
            Self::Abort | Self::Exit | Self::Kill | Self::CloseAll | Self::Exec => "worker died",
            Self::Endless => "time limit",
            Self::Spoilt(Spoil::EncodeResult) => "not encoded",
            Self::Spoilt(Spoil::Nothing | Spoil::EncodeArgument) => "ended well",
            Self::Spoilt(_) => "not decoded",
            _ => "ended well",
        }
    }

    /// Tells whether the function is called before such a task ends.
    pub fn begins(self) -> bool {
        !matches!(
            self,
            Self::Spoilt(Spoil::DecodeArgument | Spoil::PanicArgument)
        )
    }
}

impl Spoil {
    fn random(random: &mut Rng) -> Self {
        match random.u32(..6) {
            0 => Self::EncodeArgument,
            1 => Self::DecodeArgument,
            2 => Self::PanicArgument,
            3 => Self::EncodeResult,
            4 => Self::DecodeResult,
            _ => Self::PanicResult,
        }
    }
}

/// A value that fails on its way, if it is told to.
#[derive(Debug)]
pub struct Parcel(pub Spoil);

fn is_worker() -> bool {
    std::env::var_os(TALLY).is_some()
}

impl Serialize for Parcel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0, is_worker()) {
            (Spoil::EncodeArgument, false) | (Spoil::EncodeResult, true) => {
                Err(ser::Error::custom("planned: not encoded"))
            }
            (spoil, _) => spoil.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Parcel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spoil = Spoil::deserialize(deserializer)?;
        match (spoil, is_worker()) {
            (Spoil::DecodeArgument, true) | (Spoil::DecodeResult, false) => {
                Err(de::Error::custom("planned: not decoded"))
            }
            (Spoil::PanicArgument, true) | (Spoil::PanicResult, false) => {
                panic!("planned: a Deserialize")
            }
            _ => Ok(Self(spoil)),
        }
    }
}

pub type Arguments = (u64, Kind, Vec<u8>, Parcel);
pub type Answer = (u64, Result<Vec<u8>, String>, Parcel);

/// Notes its start in the tally, and does what its kind says.
pub fn task((number, kind, bytes, parcel): Arguments) -> Answer {
    note_start(number);
    match kind {
        Kind::Quick | Kind::Spoilt(_) => {}
        Kind::Sleep(limit) => std::thread::sleep(Duration::from_millis(limit)),
        Kind::Big(size) => return (number, Ok(vec![number as u8; size]), parcel),
        Kind::Err => return (number, Err("planned".to_owned()), parcel),
        Kind::Panic => panic!("planned: a task"),
        Kind::Abort => std::process::abort(),
        Kind::Exit => std::process::exit(3),
        // SAFETY: `kill` takes no memory.
        Kind::Kill => {
            let _ = unsafe { libc::kill(std::process::id().cast_signed(), libc::SIGKILL) };
        }
        // SAFETY: closing what others own harms this process alone, which is the purpose.
        Kind::CloseSome => (3..64).for_each(|fd| {
            let _ = unsafe { libc::close(fd) };
        }),
        // SAFETY: as above.
        Kind::CloseAll => {
            let _ = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
        }
        Kind::Exec => become_another_program(),
        Kind::Endless => loop {
            std::thread::sleep(Duration::from_millis(1));
        },
        Kind::Threads => {
            let own = ThreadPoolExecutor::with_max_workers(2).expect("a thread pool");
            let sum: Result<u32, _> = own.map(|n: u32| n, 0..4).expect("a new pool").sum();
            assert_eq!(sum.expect("nothing fails there"), 6, "a thread pool");
        }
        Kind::Processes => {
            let own = ProcessPoolExecutor::with_max_workers(1).expect("a process pool");
            let sum: Result<u32, _> = own.map(|n: u32| n, 0..4).expect("a new pool").sum();
            assert_eq!(sum.expect("nothing fails there"), 6, "a process pool");
        }
    }
    (number, Ok(bytes), parcel)
}

fn note_start(number: u64) {
    let path = std::env::var_os(TALLY).expect("the pool sets it");
    let mut tally = fs::OpenOptions::new()
        .append(true)
        .open(path)
        .expect("the tally");
    // One write of eight bytes: appended as a whole.
    tally.write_all(&number.to_le_bytes()).expect("a start");
}

fn become_another_program() {
    let words = [c"/bin/sleep".as_ptr(), c"0.05".as_ptr(), std::ptr::null()];
    // SAFETY: the words end with a null pointer, and each with a NUL byte.
    let _ = unsafe { libc::execv(words[0], words.as_ptr()) };
    panic!("there is no /bin/sleep");
}

/// Leaves the panics of tasks out of the output: in a worker all of them are planned.
pub fn keep_quiet((): ()) {
    std::panic::set_hook(Box::new(|_| {}));
}
