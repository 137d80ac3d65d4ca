//! From a function and its arguments to a queued call: the only place of the
//! parent that knows the types of both.
//!
//! All that can fail for a reason of the caller's fails here, in the caller's
//! thread, before anything is queued: the pool is closed, the function is none
//! of the main program, the arguments do not encode.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::{Call, Chunk, NotShippable, initialize_frame, task_frame};
use super::codec::CodecFault;
use super::pool::Pool;
use super::settings::TaskSettings;
use super::task::{Results, chunk, codec_error, one};
use crate::completion::Completion;
use crate::error::{Error, Side};
use crate::executor::{InitializerOutcome, Portable};
use crate::map;

impl Pool {
    /// Queues one call; a full queue is waited for if `waits`.
    pub(super) fn submit_one<A: Portable, R: Portable>(
        self: &Arc<Self>,
        f: fn(A) -> R,
        args: &A,
        settings: TaskSettings,
        waits: bool,
    ) -> Result<Arc<Completion<R>>, Error> {
        self.check_open()?;
        let call = Call::one(f).map_err(not_shippable)?;
        let frame = task_frame(call, args).map_err(unencodable)?;
        self.queue(frame, settings, one, waits)
    }

    /// Queues a call for each item as one task.
    pub(super) fn submit_chunk<A: Portable, R: Portable>(
        self: &Arc<Self>,
        f: fn(A) -> R,
        items: &map::Chunk<A>,
        settings: TaskSettings,
    ) -> Result<Arc<Completion<Results<R>>>, Error> {
        self.check_open()?;
        let mut packed = Chunk::new(Call::each(f).map_err(not_shippable)?);
        for item in items.iter() {
            packed.push(item).map_err(unencodable)?;
        }
        let decode = chunk(packed.items());
        self.queue(packed.into_frame(), settings, decode, true)
    }

    /// The call of an initializer.
    pub(super) fn pack_initializer<A, O>(f: fn(A) -> O, args: &A) -> Result<Vec<u8>, Error>
    where
        A: Serialize + DeserializeOwned,
        O: InitializerOutcome,
    {
        let call = Call::initializer(f).map_err(not_shippable)?;
        initialize_frame(call, args).map_err(unencodable)
    }
}

fn not_shippable(why: NotShippable) -> Error {
    Error::not_shippable(why.to_string())
}

fn unencodable(fault: CodecFault) -> Error {
    Error::Encode(codec_error(Side::Parent, fault))
}
