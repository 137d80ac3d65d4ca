//! The executors that the contract's tests run on.

#[cfg(target_os = "linux")]
use concurrent_futures::ProcessPoolExecutor;
use concurrent_futures::{Executor, InlineExecutor, TaskOptions, ThreadPoolExecutor};

use crate::fixture::{Fixture, note_start, refuse_to_start};

pub(crate) struct Inline;

impl Fixture for Inline {
    type Executor = InlineExecutor;

    fn executor(_max_workers: usize) -> InlineExecutor {
        InlineExecutor::new().expect("it never fails")
    }

    fn with(executor: &InlineExecutor, options: TaskOptions) -> impl Executor {
        executor.with(options)
    }

    fn failing_to_initialize(_text: &'static str) -> InlineExecutor {
        unreachable!("it has no workers to initialize")
    }

    fn initializing() -> InlineExecutor {
        unreachable!("it has no workers to initialize")
    }
}

pub(crate) struct Threads;

impl Fixture for Threads {
    type Executor = ThreadPoolExecutor;

    fn executor(max_workers: usize) -> ThreadPoolExecutor {
        ThreadPoolExecutor::with_max_workers(max_workers).expect("more than none")
    }

    fn with(executor: &ThreadPoolExecutor, options: TaskOptions) -> impl Executor {
        executor.with(options)
    }

    fn failing_to_initialize(text: &'static str) -> ThreadPoolExecutor {
        ThreadPoolExecutor::builder()
            .max_workers(2)
            .initializer(refuse_to_start, text)
            .build()
            .expect("more than none")
    }

    fn initializing() -> ThreadPoolExecutor {
        ThreadPoolExecutor::builder()
            .max_workers(3)
            .initializer(note_start, 7)
            .build()
            .expect("more than none")
    }
}

#[cfg(target_os = "linux")]
pub(crate) struct Processes;

#[cfg(target_os = "linux")]
impl Fixture for Processes {
    type Executor = ProcessPoolExecutor;

    fn executor(max_workers: usize) -> ProcessPoolExecutor {
        ProcessPoolExecutor::with_max_workers(max_workers).expect("more than none")
    }

    fn with(executor: &ProcessPoolExecutor, options: TaskOptions) -> impl Executor {
        executor.with(options)
    }

    fn failing_to_initialize(text: &'static str) -> ProcessPoolExecutor {
        ProcessPoolExecutor::builder()
            .max_workers(2)
            .initializer(|text: String| refuse_to_start(&text), text.to_owned())
            .build()
            .expect("more than none")
    }

    fn initializing() -> ProcessPoolExecutor {
        ProcessPoolExecutor::builder()
            .max_workers(3)
            .initializer(note_start, 7)
            .build()
            .expect("more than none")
    }
}
