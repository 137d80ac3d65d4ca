//! [`Call`]: a function in a form that another process of the same program can call.
//!
//! A `fn(A) -> R` is sent as two link addresses (addresses in the program's file, see
//! [`Image`]): the address of the function, and the address of a *trampoline*. The compiler
//! makes a trampoline for each kind of call (single call, chunk or initializer) and each
//! pair of `A` and `R`. A trampoline decodes the arguments, calls the function, and encodes
//! the value. All trampolines have the same type, so the worker can call any trampoline
//! without knowing `A` and `R`:
//!
//! ```text
//! parent, types known                worker, types unknown
//! Call::one(f) ─ two addresses ────▶ Call::run ─▶ trampoline::<A, R>(f, bytes)
//! task_frame(call, &args) ─ bytes ─────────────────▶ A ─▶ f ─▶ R ─▶ bytes
//! ```
//!
//! Two other ways to identify a function were rejected. The first is the function's type:
//! the worker would have to create a value of this type. But the type may be a closure's,
//! and the closure may have captured a zero-sized value that only certain code may create.
//! The second is the function's name: two closures in one function have the same name.

use std::any::type_name;
use std::mem::transmute;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answer::{InitializeFailure, WirePanic, write_fault, write_run_time};
use super::codec::plain::is_plain;
use super::codec::{self, CodecFault};
use super::frame::{FrameWriter, Kind};
use super::items::{ItemWriter, Items};
use crate::encoded::Encoded;
use crate::error::Error;
use crate::executor::InitializerOutcome;
use crate::panic::{catch, contain_drop};
use crate::report::Report;
use crate::sys::current_process;
use crate::sys::fork::Origin;
use crate::sys::image::Image;
use crate::sys::numbers::Numbers;
use crate::sys::stack::with_room_for;

/// A function and its trampoline, both stored as link addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    function: u64,
    trampoline: u64,
}

/// The type of a trampoline: a trampoline decodes the arguments, calls the function, and
/// appends the answer to `out` as one whole frame.
///
/// # Safety
///
/// `function` is the address of a `fn(A) -> R`, with the `A` and the `R` for which the
/// compiler made this trampoline.
type Trampoline = unsafe fn(function: usize, task: u64, args: Args<'_>, out: &mut Encoded);

/// Encoded arguments: their bytes, and the numbers of a vector if the encoding ends with
/// such numbers.
pub(crate) type Args<'a> = (&'a [u8], Option<Box<Numbers>>);

impl Call {
    pub(crate) const BYTES: usize = 16;

    /// Returns a call that calls `f` once and answers with the value that `f` returns.
    pub(crate) fn one<A, R>(f: fn(A) -> R) -> Result<Self, Error>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        Self::of(f, run_one::<A, R>)
    }

    /// Returns a call that calls `f` for each item of a [`Chunk`].
    pub(crate) fn each<A, R>(f: fn(A) -> R) -> Result<Self, Error>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        Self::of(f, run_each::<A, R>)
    }

    /// Returns a call of a worker's initializer.
    pub(crate) fn initializer<A, O>(f: fn(A) -> O) -> Result<Self, Error>
    where
        A: DeserializeOwned,
        O: InitializerOutcome,
    {
        Self::of(f, run_initializer::<A, O>)
    }

    /// Refuses a function of a shared library. A worker might not have the function,
    /// because only the main program is the same in all processes.
    fn of<A, R>(f: fn(A) -> R, trampoline: Trampoline) -> Result<Self, Error> {
        let image = Image::current();
        let link = |address: usize| {
            image.link_address(address).ok_or_else(|| {
                // The error shows the type, because the function's name is unknown.
                let signature = type_name::<fn(A) -> R>();
                Error::not_shippable(format!(
                    "the {signature} at {address:#x} is not part of the main program but of a \
                     shared library, where a worker might not have it; wrap it in a closure of \
                     the main program"
                ))
            })
        };
        Ok(Self {
            function: link((f as *const ()).expose_provenance())?,
            trampoline: link((trampoline as *const ()).expose_provenance())?,
        })
    }

    /// Returns the call's bytes. In a frame these bytes stand in front of the arguments.
    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        bytemuck::cast([self.function, self.trampoline].map(u64::to_le))
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let [function, trampoline] = bytemuck::cast::<_, [u64; 2]>(bytes).map(u64::from_le);
        Self {
            function,
            trampoline,
        }
    }

    /// Runs the call, and appends its answer to `out` as one whole frame.
    ///
    /// Returns `false`, and runs nothing, if one of the two addresses is not in the code of
    /// this program.
    ///
    /// # Safety
    ///
    /// The call was made by [`one`](Self::one), [`each`](Self::each) or
    /// [`initializer`](Self::initializer) in a process of this very program.
    pub(crate) unsafe fn run(self, task: u64, args: Args<'_>, out: &mut Encoded) -> bool {
        let image = Image::current();
        let found = (image.address(self.function), image.address(self.trampoline));
        let (Some(function), Some(trampoline)) = found else {
            return false;
        };
        let trampoline: *const () = std::ptr::with_exposed_provenance(trampoline);
        // SAFETY: the caller promises that `one`, `each` or `initializer` made the call in
        // a process of this program, so the address is the address of a trampoline.
        let trampoline = unsafe { transmute::<*const (), Trampoline>(trampoline) };
        // SAFETY: the caller promises that `one`, `each` or `initializer` made the call, so
        // the function has the type for which the trampoline was made.
        unsafe { trampoline(function, task, args, out) };
        true
    }
}

/// Encodes the arguments into the frame of a task, as [`task_frame`] does, and then drops
/// the arguments. If the arguments are a long vector of primitive numbers, the frame takes
/// over the vector's memory in place of these two steps.
pub(crate) fn task_frame_of<A: Serialize>(call: Call, args: A) -> Result<Encoded, CodecFault> {
    let mut frame = Encoded::from(Vec::with_capacity(SHORT));
    let open = begin(Kind::Task, call, &mut frame.bytes);
    if let Some(args) = codec::keep(args, &mut frame) {
        let encoded = codec::encode(&args, &mut frame.bytes);
        contain_drop(args);
        encoded?;
    }
    open.close_encoded(&mut frame);
    Ok(frame)
}

/// Returns the frame of a task. The frame holds the task number 0 until `frame::set_task`
/// sets the number.
pub(crate) fn task_frame<A: Serialize>(call: Call, args: &A) -> Result<Vec<u8>, CodecFault> {
    request(Kind::Task, call, args)
}

/// Returns the frame that makes a worker run its initializer.
pub(crate) fn initialize_frame<A: Serialize>(call: Call, args: &A) -> Result<Vec<u8>, CodecFault> {
    request(Kind::Initialize, call, args)
}

/// The initial capacity in bytes of the frame of a call.
const SHORT: usize = 64;

fn request<A: Serialize>(kind: Kind, call: Call, args: &A) -> Result<Vec<u8>, CodecFault> {
    // Most calls fit into `SHORT` bytes, so one allocation is enough for them.
    let mut frame = Vec::with_capacity(SHORT);
    let open = begin(kind, call, &mut frame);
    codec::encode(args, &mut frame)?;
    open.close(&mut frame);
    Ok(frame)
}

#[inline]
fn begin(kind: Kind, call: Call, out: &mut Vec<u8>) -> FrameWriter {
    let open = FrameWriter::begin(out, kind, 0);
    out.extend_from_slice(&call.to_bytes());
    open
}

/// The incomplete frame of a task that calls one function for each of several items.
#[derive(Debug)]
pub(crate) struct Chunk {
    frame: Vec<u8>,
    open: FrameWriter,
    items: usize,
}

impl Chunk {
    /// Begins a chunk without items. The caller must have made `call` by [`Call::each`].
    pub(crate) fn new(call: Call) -> Self {
        let mut frame = Vec::new();
        let open = FrameWriter::begin(&mut frame, Kind::Task, 0);
        frame.extend_from_slice(&call.to_bytes());
        Self {
            frame,
            open,
            items: 0,
        }
    }

    /// Adds an item to the chunk. An item that cannot be encoded leaves the chunk
    /// unchanged.
    ///
    /// # Panics
    ///
    /// Panics if the `Serialize` of the item panics. After a panic the caller must not send
    /// the chunk.
    pub(crate) fn push<A: Serialize>(&mut self, item: &A) -> Result<(), CodecFault> {
        let open = ItemWriter::begin(&mut self.frame);
        match codec::encode(item, &mut self.frame) {
            Ok(()) => {
                open.close(&mut self.frame, Kind::Item);
                self.items += 1;
                Ok(())
            }
            Err(fault) => {
                open.rollback(&mut self.frame);
                Err(fault)
            }
        }
    }

    pub(crate) fn items(&self) -> usize {
        self.items
    }

    /// Returns the whole frame of the chunk's task. The frame holds the task number 0, as
    /// in [`task_frame`].
    pub(crate) fn into_frame(mut self) -> Vec<u8> {
        self.open.close(&mut self.frame);
        self.frame
    }
}

/// The [`Trampoline`] of a call that [`Call::one`] made.
unsafe fn run_one<A, R>(function: usize, task: u64, args: Args<'_>, out: &mut Encoded)
where
    A: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    // SAFETY: the trampoline's caller promises that `function` is the address of a `fn(A)
    // -> R`.
    let f = unsafe { function_at::<A, R>(function) };
    let open = FrameWriter::begin(&mut out.bytes, Kind::Returned, task);
    let kind = answer(f, args, out, Moves::LongVectors);
    open.set_kind(&mut out.bytes, kind);
    open.close_encoded(out);
}

/// The [`Trampoline`] of a call that [`Call::each`] made. The value of the [`Chunk`]'s
/// task consists of the answers for the chunk's items, and of the chunk's run time.
unsafe fn run_each<A, R>(function: usize, task: u64, args: Args<'_>, out: &mut Encoded)
where
    A: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    // SAFETY: the trampoline's caller promises that `function` is the address of a `fn(A)
    // -> R`.
    let f = unsafe { function_at::<A, R>(function) };
    let open = FrameWriter::begin(&mut out.bytes, Kind::Returned, task);
    let start = Instant::now();
    let origin = Origin::current();
    // `Items` ends at a malformed item, and `flatten` skips the error. So this item and the
    // items behind it would get no answer. But the parent writes only well-formed items.
    let answer_items = || {
        for (_, args) in Items::within(args.0).flatten() {
            let open = ItemWriter::begin(&mut out.bytes);
            let kind = answer(f, (args, None), out, Moves::Nothing);
            if !origin.is_here() {
                // The call has forked, and this process is the child, which must not run
                // the other items.
                current_process::end_now(0);
            }
            open.close(&mut out.bytes, kind);
        }
    };
    // A further stack segment for each item would take longer than most items.
    codec::with_room_for_parts_of::<A, _>(answer_items);
    write_run_time(start.elapsed(), &mut out.bytes);
    open.close(&mut out.bytes);
}

/// The [`Trampoline`] of a call that [`Call::initializer`] made.
unsafe fn run_initializer<A, O>(function: usize, task: u64, args: Args<'_>, out: &mut Encoded)
where
    A: DeserializeOwned,
    O: InitializerOutcome,
{
    // SAFETY: the trampoline's caller promises that `function` is the address of a `fn(A)
    // -> O`.
    let f = unsafe { function_at::<A, O>(function) };
    let size = size_of::<A>() + size_of::<O>();
    with_room_for(size, || initialize(f, task, args, &mut out.bytes));
}

/// Decodes the arguments, calls the initializer `f`, and appends the frame of the reply.
fn initialize<A, O>(f: fn(A) -> O, task: u64, args: Args<'_>, out: &mut Vec<u8>)
where
    A: DeserializeOwned,
    O: InitializerOutcome,
{
    let (args, numbers) = args;
    let decoded = guarded(false, || codec::decode_moved(args, numbers));
    let initialized = decoded.map_err(|failed| match failed {
        Failed::Panicked(note) => InitializeFailure::Panicked(note),
        Failed::CodecFault(fault) => InitializeFailure::Undecodable(fault),
    });
    let initialized = initialized.and_then(|args| {
        catch(|| f(args).into_result().map_err(Report::from))
            .map_err(|panic| InitializeFailure::Panicked(WirePanic::of(&panic)))?
            .map_err(InitializeFailure::Error)
    });
    match initialized {
        Ok(()) => FrameWriter::begin(out, Kind::Initialized, task).close(out),
        Err(failure) => failure.write(out),
    }
}

/// Returns the function at `address`.
///
/// # Safety
///
/// `address` is the address of a `fn(A) -> R`.
unsafe fn function_at<A, R>(address: usize) -> fn(A) -> R {
    let address: *const () = std::ptr::with_exposed_provenance(address);
    // SAFETY: the caller promises that `address` is the address of a `fn(A) -> R`, and a
    // function pointer has the size of a data pointer.
    unsafe { transmute::<*const (), fn(A) -> R>(address) }
}

/// The reason why a call cannot return a value.
enum Failed {
    Panicked(WirePanic),
    CodecFault(CodecFault),
}

/// Runs `code`, which encodes or decodes a value, and catches its panics. If `is_plain`
/// is `true`, the value's type needs no user code, so `code` cannot panic and runs
/// without a catch.
fn guarded<T>(is_plain: bool, code: impl FnOnce() -> Result<T, CodecFault>) -> Result<T, Failed> {
    if is_plain {
        return code().map_err(Failed::CodecFault);
    }
    catch(code)
        .map_err(|panic| Failed::Panicked(WirePanic::of(&panic)))?
        .map_err(Failed::CodecFault)
}

/// The values whose memory an answer takes over without a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moves {
    LongVectors,
    Nothing,
}

/// Decodes the arguments, calls `f`, and appends the encoded value that `f` returns. If
/// one of these steps fails, appends the reason instead. Returns the kind of the answer.
/// Catches all panics of user code, even those of a `Drop`.
#[inline]
fn answer<A, R>(f: fn(A) -> R, args: Args<'_>, out: &mut Encoded, moves: Moves) -> Kind
where
    A: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    let size = size_of::<A>() + size_of::<R>();
    with_room_for(size, || answer_here(f, args, out, moves))
}

/// Answers on the current stack.
fn answer_here<A, R>(f: fn(A) -> R, args: Args<'_>, out: &mut Encoded, moves: Moves) -> Kind
where
    A: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    let fail = |failed, out: &mut Vec<u8>, fault_kind| match failed {
        Failed::Panicked(note) => {
            note.write(out);
            Kind::Panicked
        }
        Failed::CodecFault(fault) => {
            write_fault(&fault, out);
            fault_kind
        }
    };
    let (bytes, numbers) = args;
    let decoded = guarded(is_plain::<A>(), || {
        codec::with_room_for_parts_of::<A, _>(|| codec::decode_moved(bytes, numbers))
    });
    let args: A = match decoded {
        Ok(args) => args,
        Err(failed) => return fail(failed, &mut out.bytes, Kind::Undecodable),
    };
    let value = match catch(|| f(args)) {
        Ok(value) => value,
        Err(panic) => {
            let failed = Failed::Panicked(WirePanic::of(&panic));
            return fail(failed, &mut out.bytes, Kind::Panicked);
        }
    };
    let value = match moves {
        Moves::LongVectors => codec::keep(value, out),
        Moves::Nothing => Some(value),
    };
    let Some(value) = value else {
        return Kind::Returned;
    };
    let out = &mut out.bytes;
    let start = out.len();
    let kind = match guarded(is_plain::<R>(), || codec::encode(&value, out)) {
        Ok(()) => Kind::Returned,
        Err(failed) => {
            out.truncate(start);
            fail(failed, out, Kind::Unencodable)
        }
    };
    contain_drop(value);
    kind
}

#[cfg(test)]
mod tests;
