//! The texts of errors: the culprit, the event, and the advice.

use std::process::{abort, exit};

use concurrent_futures::{Error, Launcher, OnWorkerDeath, ProcessPoolExecutor, TaskOptions};
use rustix::process::Signal;

use crate::fixture::*;

/// The text of a pool that a task's submission broke.
fn text_of(executor: &ProcessPoolExecutor) -> String {
    let future = executor.submit(double, 1).unwrap();
    let error = error(&future);
    assert!(matches!(error, Error::Broken(_)), "{error:?}");
    error.to_string()
}

fn in_folder(folder: impl Into<std::path::PathBuf>) -> ProcessPoolExecutor {
    ProcessPoolExecutor::builder()
        .current_dir(folder)
        .build()
        .unwrap()
}

/// A pool that breaks when a worker dies.
fn fragile() -> ProcessPoolExecutor {
    ProcessPoolExecutor::builder()
        .max_workers(1)
        .on_worker_death(OnWorkerDeath::BreakPool)
        .retries(2)
        .build()
        .unwrap()
}

alone! {
    /// The advice was to ask for fewer workers.
    fn a_folder_that_does_not_exist_is_named_with_the_advice_to_create_it() {
        let text = text_of(&in_folder("/nowhere/at all"));
        assert!(text.contains("`/nowhere/at all`") && text.contains("`current_dir`"), "{text}");
        assert!(text.contains("does not exist; create it"), "{text}");
        assert!(text.contains("make a new pool") && !text.contains("fewer"), "{text}");
        // A name without a beginning is told with it.
        let text = text_of(&in_folder("nowhere"));
        let whole = std::env::current_dir().unwrap().join("nowhere");
        assert!(text.contains(whole.to_str().unwrap()), "{text}");
    }

    fn a_file_in_the_place_of_the_folder_is_called_no_folder() {
        let text = text_of(&in_folder("/proc/self/exe"));
        assert!(text.contains("`/proc/self/exe`") && text.contains("is not a folder"), "{text}");
    }

    /// It was an error of the first task, and named no folder.
    fn a_folder_that_no_folder_can_be_is_an_invalid_argument() {
        for folder in ["a\0b", ""] {
            let refused = ProcessPoolExecutor::builder().current_dir(folder).build().map(drop);
            let Err(Error::InvalidArgument(what)) = refused else {
                panic!("{refused:?}");
            };
            assert!(what.contains("current_dir"), "{what}");
        }
    }

    fn an_environment_that_is_too_large_is_told_as_such() {
        let huge = "x".repeat(8 << 20);
        let executor = ProcessPoolExecutor::builder().env("HUGE", huge).build().unwrap();
        let text = text_of(&executor);
        assert!(text.contains("environment") && !text.contains("fewer workers"), "{text}");
    }

    /// It spoke of what had broken the pool as of a fault to be mended, and of the
    /// policy not at all.
    fn a_pool_that_breaks_by_its_policy_says_so_and_who_died() {
        let executor = fragile();
        let options = TaskOptions::new().name("page 19");
        let running = executor.with(options).submit(linger, ()).unwrap();
        wait_until_running(&running);
        let pending = executor.submit(double, 1).unwrap();
        let pid = only_worker(&executor);
        send(pid, Signal::KILL);
        let told = error(&pending).to_string();
        assert!(told.contains("policy `OnWorkerDeath::BreakPool`"), "{told}");
        assert!(told.contains(&format!("process {pid} was ended by SIGKILL")), "{told}");
        assert!(told.contains("into the task page 19"), "{told}");
        assert!(told.contains("`OnWorkerDeath::FailTask`") && !told.contains("mend"), "{told}");
        // That task had two retries, which the policy does not use.
        let died = error(&running).to_string();
        assert!(died.contains("`OnWorkerDeath::BreakPool`"), "{died}");
        assert!(!died.contains("set `retries`"), "{died}");
    }

    /// It was said to have ended before it ran anything.
    fn a_worker_that_died_while_it_had_no_task_is_told_as_such() {
        let executor = fragile();
        let pid = *value(&executor.submit(pid, ()).unwrap());
        send(pid, Signal::KILL);
        while !executor.stats().broken {
            std::thread::yield_now();
        }
        let told = executor.submit(double, 1).unwrap_err().to_string();
        assert!(told.contains(&format!("process {pid} was ended by SIGKILL while it had no task")), "{told}");
    }

    fn a_pool_whose_initializer_ends_its_worker_says_where_it_ended() {
        let build = |policy| {
            ProcessPoolExecutor::builder()
                .initializer(|code| -> () { exit(code) }, 9)
                .on_worker_death(policy)
                .max_workers(1)
                .build()
                .unwrap()
        };
        let text = text_of(&build(OnWorkerDeath::FailTask));
        assert!(text.contains("5 workers in a row ended before they began a task"), "{text}");
        assert!(text.contains("exited with code 9 in its initializer"), "{text}");
        assert!(text.contains("look at the initializer") && !text.contains("retries"), "{text}");
        let text = text_of(&build(OnWorkerDeath::BreakPool));
        assert!(text.contains("policy") && text.contains("in its initializer"), "{text}");
        assert!(!text.contains("retries"), "{text}");
    }

    fn a_task_whose_worker_dies_at_the_first_try_is_advised_to_set_retries() {
        let executor = pool(1);
        let died = error(&executor.submit(|()| -> () { abort() }, ()).unwrap()).to_string();
        assert!(died.contains("SIGABRT") && died.contains("set `retries`"), "{died}");
    }

    /// A panic of a task of the user's own executor was said to be an initializer's.
    fn only_a_pool_whose_initializer_failed_says_initializer() {
        let executor = ProcessPoolExecutor::builder()
            .initializer(|()| -> () { panic!("ouch") }, ())
            .build()
            .unwrap();
        let failed = error(&executor.submit(double, 1).unwrap());
        let Error::Broken(broken) = &failed else {
            panic!("{failed:?}");
        };
        assert!(broken.is_initializer());
        assert!(failed.to_string().contains("its initializer panicked"), "{failed}");
        let Error::Panicked(_) = broken.cause() else {
            panic!("{broken:?}");
        };
        let others = concurrent_futures::BrokenPool::new(broken.cause().clone());
        assert!(!others.is_initializer());
        let others = Error::Broken(others).to_string();
        assert!(others.contains("ouch") && !others.contains("initializer"), "{others}");
        assert!(others.contains("make a new pool"), "{others}");
    }
}

/// The harness has called no `init`, so a worker that a launcher starts would run `main`.
#[test]
fn a_launcher_needs_init() {
    let builder = ProcessPoolExecutor::builder().launcher(Launcher::command(["nice"]));
    let error = builder.build().unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    assert!(
        error.to_string().contains("call it first in `main`"),
        "{error}"
    );
}
