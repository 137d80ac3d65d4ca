//! Submission of a task: the pool encodes a function and its arguments, and queues the
//! encoded call. Only this file of the parent's side knows the types of the arguments.
//!
//! Before it queues the task, the submitting thread checks that the pool is open, that the
//! function is part of the main program, and that the arguments can be encoded.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;

use crossbeam_channel::unbounded;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::collector;
use super::pool::Pool;
use super::pool_state::{Event, PoolState, Threads};
use super::queued_task::QueuedTask;
use super::supervisor;
use super::task::{Decoder, OfChunk, One, RemoteJob, Results, codec_error, value_of};
use crate::completion::Completion;
use crate::encoded::Encoded;
use crate::error::{Error, Side};
use crate::executor::{InitializerOutcome, Portable, WhenFull};
use crate::map;
use crate::panic::contain_drop;
use crate::process::settings::TaskSettings;
use crate::process::wire::call::{Call, Chunk, initialize_frame, task_frame, task_frame_of};
use crate::process::wire::codec::CodecFault;
use crate::process::wire::frame;
use crate::sys::current_process;

impl Pool {
    pub(in crate::process) fn submit_one<A: Portable, R: Portable>(
        self: &Arc<Self>,
        f: fn(A) -> R,
        args: A,
        settings: TaskSettings,
        when_full: WhenFull,
    ) -> Result<Completion<R>, Error> {
        let call = match self.call(f) {
            Ok(call) => call,
            Err(error) => {
                contain_drop(args);
                return Err(error);
            }
        };
        let frame = task_frame_of(call, args).map_err(unencodable)?;
        self.queue(frame, settings, One, when_full)
    }

    /// Queues one call, unless the queue is full. The caller keeps the arguments.
    pub(in crate::process) fn try_submit_one<A: Portable, R: Portable>(
        self: &Arc<Self>,
        f: fn(A) -> R,
        args: &A,
        settings: TaskSettings,
    ) -> Result<Completion<R>, Error> {
        let frame = task_frame(self.call(f)?, args).map_err(unencodable)?;
        self.queue(frame.into(), settings, One, WhenFull::Refuse)
    }

    fn call<A: Portable, R: Portable>(&self, f: fn(A) -> R) -> Result<Call, Error> {
        self.check_open()?;
        Call::one(f)
    }

    /// Queues one task that calls `f` for each of the items. If `timer` is set, this timer
    /// gets the task's run time.
    pub(in crate::process) fn submit_chunk<A: Portable, R: Portable>(
        self: &Arc<Self>,
        f: fn(A) -> R,
        items: &map::ContainedVec<A>,
        timer: Option<map::ChunkTimer>,
        settings: TaskSettings,
        when_full: WhenFull,
    ) -> Result<Completion<Results<R>>, Error> {
        self.check_open()?;
        let mut packed = Chunk::new(Call::each(f)?);
        for item in items.iter() {
            packed.push(item).map_err(unencodable)?;
        }
        let decoder = OfChunk {
            items: packed.items(),
            timer,
        };
        self.queue(packed.into_frame().into(), settings, decoder, when_full)
    }

    pub(in crate::process) fn encode_initializer<A, O>(
        f: fn(A) -> O,
        args: &A,
    ) -> Result<Arc<Encoded>, Error>
    where
        A: Serialize + DeserializeOwned,
        O: InitializerOutcome,
    {
        let call = Call::initializer(f)?;
        let frame = initialize_frame(call, args).map_err(unencodable)?;
        Ok(Arc::new(frame.into()))
    }

    /// Queues a task, after the caller has checked that the pool is open. If the queue is
    /// full, does what `when_full` says. But if the caller is a callback or a `Deserialize`
    /// of a task of the pool, queues the task although the queue is full.
    pub(super) fn queue<T, D>(
        self: &Arc<Self>,
        mut call: Encoded,
        settings: TaskSettings,
        decoder: D,
        when_full: WhenFull,
    ) -> Result<Completion<T>, Error>
    where
        T: Send + 'static,
        D: Decoder<T>,
    {
        // ORDERING: `Relaxed` is enough, because the number only has to be unique, and no
        // other data is published with it.
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        frame::set_task(&mut call.bytes, number);
        frame::set_cpu(&mut call.bytes, current_process::cpu());
        let job = RemoteJob {
            pool: self.id,
            call: Some(call.into()),
        };
        // SAFETY: the job and the value are `Send` and `'static`, so neither borrows.
        let (completion, task) = unsafe { Completion::<T>::with_job(self.id, job) };
        if self.config.record_timing {
            completion.record_timing();
        }
        let value = value_of::<T, D>(decoder);
        self.enqueue(QueuedTask::new(task, value, number, settings), when_full)?;
        Ok(completion)
    }

    fn enqueue(self: &Arc<Self>, entry: Box<QueuedTask>, when_full: WhenFull) -> Result<(), Error> {
        let mut state = self.state.lock();
        loop {
            if let Some(closed) = &state.closed {
                return Err(closed.clone());
            }
            // A callback or a `Deserialize` of one of the pool's tasks never waits for room
            // in the queue, because the queue may stay full until this user code returns.
            if !self.is_full(&state) || self.is_in_own_code() {
                break;
            }
            self.capacity.wait(&mut state, when_full)?;
        }
        if state.threads == Threads::Unneeded {
            self.start_threads(&mut state)?;
        }
        let was_alone = state.has_no_tasks();
        state.queue.push_back(entry);
        state.queued += 1;
        self.dispatch(&mut state);
        self.count_submitted(&mut state, was_alone);
        self.wake_supervisor_if_needed(state);
        Ok(())
    }

    /// Returns `true` if a bounded queue is full. As many waiting tasks as there are idle
    /// workers, starting workers and workers that the pool may still start do not count
    /// against the capacity.
    fn is_full(&self, state: &PoolState) -> bool {
        let max_workers = self.config.max_workers;
        let counted_on = || {
            let to_start = match state.launchers.is_empty() {
                true => max_workers.saturating_sub(state.count_workers()),
                false => self.count_startable(state),
            };
            state.idle.len() + state.count_starting() + to_start
        };
        let waiting = state.queued + state.count_offered() + state.count_ahead();
        self.capacity.is_exceeded(waiting + 1, counted_on)
    }

    fn start_threads(self: &Arc<Self>, state: &mut PoolState) -> Result<(), Error> {
        let (sender, events) = unbounded::<Event>();
        let start = |role: &str, stack: usize, life: Box<dyn FnOnce() + Send>| {
            let thread = thread::Builder::new().name(format!("cf-{role}-{}", self.id));
            let thread = thread.stack_size(stack).spawn(life);
            thread.map_err(Error::spawn)
        };
        // The supervisor starts first, because the pool's first task waits until the
        // supervisor has started a worker. If the collector cannot be started, this method
        // drops `is_complete`, so the supervisor's thread ends.
        let (is_complete, wait_for_collector) = mpsc::channel();
        let pool = Arc::clone(self);
        let life = Box::new(move || {
            if wait_for_collector.recv().is_ok() {
                supervisor::main(&pool);
            }
        });
        let supervisor = start("supervisor", supervisor::STACK, life)?;
        let pool = Arc::clone(self);
        let life = Box::new(move || collector::main(pool, &events));
        let collector = start("collector", collector::stack(), life)?;
        // The send cannot fail, because the supervisor's thread waits for it.
        let _ = is_complete.send(());
        state.collector = Some(sender);
        state.threads = Threads::Up;
        self.threads.lock().extend([collector, supervisor]);
        Ok(())
    }
}

fn unencodable(fault: CodecFault) -> Error {
    Error::Encode(codec_error(Side::Parent, fault))
}
