//! Forks of a process that has a pool: each use of what is the parent's is an
//! error there, and none hangs.
//!
//! A process with several threads that forks may do less than this in the fork by
//! the letter of POSIX; glibc and musl let it allocate.

use super::*;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicI32;

use concurrent_futures::wait as wait_for;
use concurrent_futures::{
    InlineExecutor, MapOptions, ReturnWhen, Stats, as_completed, completions, promise,
};

use crate::alone::alone;

/// Runs `test` in a fork of this process, where no failure and no hang goes
/// unnoticed.
fn in_a_fork(test: impl FnOnce()) {
    // SAFETY: see the head of this file; the fork ends itself.
    let child = unsafe { libc::fork() };
    assert_ne!(child, -1);
    if child == 0 {
        // SAFETY: takes a number. The signal ends a fork that hangs.
        unsafe { libc::alarm(20) };
        let failed = catch_unwind(AssertUnwindSafe(test)).is_err();
        // SAFETY: takes a number, and runs nothing of the parent's.
        unsafe { libc::_exit(i32::from(failed)) };
    }
    assert_eq!(
        end_of(child),
        Ok(0),
        "the fork failed, or by SIGALRM it hung"
    );
}

/// The exit code of a child, or the signal that ended it.
fn end_of(child: i32) -> Result<i32, i32> {
    let mut status = -1;
    // SAFETY: a number of ours.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
    if libc::WIFEXITED(status) {
        Ok(libc::WEXITSTATUS(status))
    } else {
        Err(libc::WTERMSIG(status))
    }
}

/// Says so as for a process pool.
fn assert_forked(error: &Error) {
    assert!(matches!(error, Error::Other(_)), "{error:?}");
    assert!(error.to_string().contains("was forked from"), "{error}");
}

alone! {
    fn a_fork_that_drops_the_pool_does_not_hang() {
        let executor = pool("dropped", 1);
        take(executor.spawn(|| ()).unwrap()); // one idle worker
        in_a_fork(|| drop(executor));
        let (busy, opener) = held_pool();
        busy.spawn(|| ()).unwrap().detach();
        // The parent drops both behind this, the opener first.
        in_a_fork(move || {
            let opener = opener;
            drop(busy);
            drop(opener);
        });
    }

    /// The second item forks. The child must not run the items behind it, which belong to
    /// the parent.
    fn a_chunk_that_forks_runs_each_item_once() {
        let (reads, writes) = rustix::pipe::pipe().unwrap();
        let call = move |item: u8| {
            rustix::io::write(&writes, &[item]).unwrap();
            if item == 1 {
                // SAFETY: see the head of this file; the fork ends with its only thread.
                let child = unsafe { libc::fork() };
                assert_ne!(child, -1);
                if child > 0 {
                    end_of(child).unwrap();
                }
            }
        };
        let executor = pool("chunks", 1);
        let chunks = MapOptions::new().chunk_size(4);
        let done = executor.map_with(chunks, call, 0..4).unwrap();
        assert_eq!(done.filter(Result::is_ok).count(), 4);
        let mut ran = [9; 8];
        let count = rustix::io::read(&reads, &mut ran).unwrap();
        assert_eq!(ran[..count], [0, 1, 2, 3]);
    }

    /// The second item forks. The child must not drop the result of the first, which the
    /// parent gives out.
    fn a_chunk_that_forks_drops_no_result_of_the_parent() {
        struct Noted<'a>(&'a rustix::fd::OwnedFd, u8, u32);
        impl Drop for Noted<'_> {
            fn drop(&mut self) {
                let by_parent = u8::from(self.2 == std::process::id());
                rustix::io::write(self.0, &[10 * self.1 + by_parent]).unwrap();
            }
        }
        let (reads, writes) = rustix::pipe::pipe().unwrap();
        let writes: &'static _ = Box::leak(Box::new(writes));
        let call = move |item: u8| {
            if item == 1 {
                // SAFETY: see the head of this file; the fork ends with its only thread.
                let child = unsafe { libc::fork() };
                assert_ne!(child, -1);
                if child > 0 {
                    end_of(child).unwrap();
                }
            }
            Noted(writes, item, std::process::id())
        };
        let executor = pool("chunks", 1);
        let chunks = MapOptions::new().chunk_size(2);
        let done = executor.map_with(chunks, call, 0..2).unwrap();
        assert_eq!(done.filter(Result::is_ok).count(), 2);
        let mut dropped = [9; 8];
        let count = rustix::io::read(&reads, &mut dropped).unwrap();
        let dropped = &dropped[..count];
        assert_eq!(dropped.iter().filter(|noted| **noted < 10).count(), 1, "{dropped:?}");
    }

    fn a_fork_is_refused_by_the_pool() {
        let executor = pool("refused", 2);
        let (_held, _opener) = hold_a_worker(&executor);
        take(executor.spawn(|| ()).unwrap());
        in_a_fork(|| {
            let submitted = [
                executor.submit(|n| n, 1).map(ThreadFuture::detach),
                executor.spawn(|| ()).map(ThreadFuture::detach),
                executor.map(|n| n, [1, 2]).map(drop),
                executor.map_with(MapOptions::new().buffer_size(1), |n| n, [1, 2]).map(drop),
                executor.scope(|scope| scope.spawn(|| ()).map(|_| ())),
            ];
            for error in submitted {
                assert_forked(&error.unwrap_err());
            }
            let refused = executor.try_submit(|n| n, 7).unwrap_err();
            assert_forked(&refused.error);
            assert_eq!(refused.call.1, 7);
            assert_eq!((executor.stats(), executor.max_workers()), (Stats::default(), 2));
            assert!(format!("{executor:?}").contains("max_workers: 2"));
            executor.shutdown();
            executor.shutdown();
        });
    }

    fn a_fork_is_refused_by_the_inline_executor() {
        let executor = InlineExecutor::new().unwrap();
        let future = executor.spawn(|| 1).unwrap();
        in_a_fork(|| {
            assert_eq!(*future.result().unwrap(), 1);
            assert_forked(&executor.spawn(|| 2).unwrap_err());
            assert_forked(&executor.map(|n| n, [1]).unwrap_err());
            assert_forked(&executor.try_submit(|n| n, 7).unwrap_err().error);
            assert_eq!(executor.stats(), Stats::default());
            executor.shutdown();
        });
        assert_eq!(take_inline(&executor), 3);
    }

    /// Those that run, those that are queued, and those of a promise.
    fn a_fork_waits_for_no_task_of_the_parent() {
        let executor = pool("awaited", 1);
        let (held, opener) = hold_a_worker(&executor);
        let queued = || executor.spawn(|| ()).unwrap();
        let (promised, of_promise) = promise::<()>();
        let undone = [queued(), queued(), held, of_promise];
        let taken = [queued(), queued(), queued(), queued()];
        let mut eager = executor.map(|n| n, [1, 2]).unwrap();
        let limited = MapOptions::new().timeout(LIMIT);
        let mut timed = executor.map_with(limited, |n| n, [1, 2]).unwrap();
        let mut unordered = executor.map(|n| n, [1, 2]).unwrap().unordered();
        let mut endless = executor
            .map_with(MapOptions::new().buffer_size(2), |n| n, 1..)
            .unwrap();
        let collected = [queued(), queued(), queued(), queued()];
        let mut begun = as_completed(&collected);
        let ended = completions([queued(), queued()]);
        in_a_fork(|| {
            for future in &undone {
                assert_forked(&future.result().unwrap_err());
                assert_forked(&future.result_timeout(LIMIT).unwrap_err());
                assert_forked(&future.result_timeout(Duration::MAX).unwrap_err());
                assert_forked(&future.exception().unwrap());
                assert_forked(&future.exception_timeout(LIMIT).unwrap_err());
                assert_forked(&pollster::block_on(async { future.await }).unwrap_err());
                assert!(!future.done());
                future.add_done_callback(|_| panic!("it never ends here"));
                assert!(format!("{future:?}").contains("ing"));
            }
            assert!(!undone[0].cancel() && !undone[2].cancel());
            for when in [ReturnWhen::FirstCompleted, ReturnWhen::AllCompleted] {
                let waited = wait_for(&undone, when, None);
                assert_eq!((waited.done.len(), waited.not_done.len()), (0, 4));
            }
            assert_eq!(as_completed(&undone).count(), 4);
            assert_eq!(begun.next_timeout(LIMIT).unwrap().map(|_| ()), Some(()));
            assert_eq!(begun.count(), 3);
            assert_forked(&ended.recv().unwrap().into_result().unwrap_err());
            assert_eq!(ended.iter().count(), 1);
            for error in [
                eager.next().unwrap().unwrap_err(),
                timed.next().unwrap().unwrap_err(),
                unordered.next().unwrap().1.unwrap_err(),
                endless.next().unwrap().unwrap_err(),
            ] {
                assert_forked(&error);
            }
            drop((eager, timed, unordered, endless));
            let [own, to_await, to_chain, to_send] = taken;
            let own = own.try_into_result().unwrap_err();
            assert_forked(&own.into_result().unwrap_err());
            let awaited = pollster::block_on(to_await.into_future());
            assert_forked(&awaited.unwrap_err());
            to_chain.then(|_| panic!("it never ends here"));
            let sent = completions([to_send]).recv_timeout(LIMIT).unwrap();
            assert_forked(&sent.result().unwrap_err());
            drop(sent);
        });
        drop(opener);
        promised.set_result(()).unwrap();
        for future in &undone {
            wait(future);
        }
    }

    /// The worker that waits runs the task that forks.
    fn a_fork_inside_a_wait_does_not_hang_and_is_told() {
        type Wait = fn(ThreadFuture<()>) -> bool;
        let waits: [Wait; 5] = [
            |future| matches!(future.result(), Err(Error::Other(_))),
            |future| matches!(future.exception(), Some(Error::Other(_))),
            |future| wait_for([future], ReturnWhen::AllCompleted, None).done.is_empty(),
            |future| !as_completed([future]).next().unwrap().done(),
            |future| !completions([future]).recv().unwrap().done(),
        ];
        for wait in waits {
            static FORK: AtomicI32 = AtomicI32::new(-1);
            let executor = Arc::new(pool("forking", 1));
            let inner = Arc::clone(&executor);
            let outer = executor.spawn(move || {
                let forks = inner.spawn(|| {
                    // SAFETY: see the head of this file; the fork ends itself.
                    let child = unsafe { libc::fork() };
                    if child == 0 {
                        // SAFETY: takes a number. The signal ends a fork that hangs.
                        unsafe { libc::alarm(20) };
                    }
                    FORK.store(child, Ordering::Relaxed);
                });
                let is_undone = wait(forks.unwrap());
                if FORK.load(Ordering::Relaxed) == 0 {
                    // SAFETY: takes a number, and runs nothing of the parent's.
                    unsafe { libc::_exit(i32::from(!is_undone)) };
                }
            });
            take(outer.unwrap());
            assert_eq!(end_of(FORK.load(Ordering::Relaxed)), Ok(0), "or by SIGALRM it hung");
        }
    }

    fn a_fork_has_what_was_done_before() {
        let executor = pool("done", 1);
        let done = || {
            let future = executor.spawn(|| String::from("value")).unwrap();
            wait(&future);
            future
        };
        let futures = [done(), done(), done(), done()];
        let (promised, cancelled) = promise::<i32>();
        assert!(cancelled.cancel());
        let failed = executor.spawn(|| -> i32 { panic!("no luck") }).unwrap();
        assert!(failed.exception_timeout(LIMIT).unwrap().is_some());
        in_a_fork(|| {
            assert_eq!(*futures[0].result().unwrap(), "value");
            assert_eq!(wait_for(&futures, ReturnWhen::AllCompleted, None).done.len(), 4);
            let (sender, told) = mpsc::channel();
            futures[0].add_done_callback(move |_| sender.send(()).unwrap());
            assert!(told.try_recv().is_ok());
            let [first, second, third, fourth] = futures;
            assert_eq!(first.into_result().unwrap(), "value");
            assert_eq!(second.try_into_result().unwrap().unwrap(), "value");
            assert_eq!(pollster::block_on(third.into_future()).unwrap(), "value");
            let (sender, told) = mpsc::channel();
            fourth.then(move |value| sender.send(value).unwrap());
            assert_eq!(told.try_recv().unwrap().unwrap(), "value");
            assert!(matches!(cancelled.result(), Err(Error::Cancelled)));
            assert!(matches!(failed.result(), Err(Error::Panicked(_))));
            drop(promised);
        });
    }

    fn a_fork_has_pools_and_promises_of_its_own() {
        let (executor, opener) = held_pool();
        let (inherited, future) = promise::<i32>();
        in_a_fork(|| {
            let own = pool("own", 2);
            let squares = own.map(|n| n * n, 0..100).unwrap();
            assert_eq!(squares.sum::<Result<i32, _>>().unwrap(), 328_350);
            let (promised, promised_future) = promise::<i32>();
            let waits = own.spawn(move || promised_future.into_result().unwrap());
            promised.set_result(3).unwrap();
            assert_eq!(take(waits.unwrap()), 3);
            let mut local = 1;
            own.scope(|scope| scope.spawn(|| local += 1).unwrap().detach());
            assert_eq!(local, 2);
            let inline = InlineExecutor::new().unwrap();
            assert_eq!(take_inline(&inline), 3);
            // The fork has the parent's promise as well.
            inherited.set_result(4).unwrap();
            assert_eq!(future.into_result().unwrap(), 4);
            own.shutdown();
            in_a_fork(|| assert_forked(&own.spawn(|| 1).unwrap_err()));
        });
        drop(opener);
        assert_eq!(take(executor.spawn(|| 5).unwrap()), 5);
    }

    fn a_scope_ends_in_a_fork_that_began_inside() {
        let executor = pool("scope", 1);
        let (opener, pass) = gate();
        let text = String::from("borrowed");
        executor.scope(|scope| {
            let (pass, text) = (&pass, &text);
            let running = scope.spawn(move || { pass(); text.len() }).unwrap();
            let queued = scope.spawn(|| text.len()).unwrap();
            in_a_fork(|| {
                assert_forked(&scope.spawn(|| ()).unwrap_err());
                assert_forked(&queued.result().unwrap_err());
                assert!(format!("{scope:?}").contains("Scope"));
            });
            drop(opener);
            assert_eq!(running.into_result().unwrap() + queued.into_result().unwrap(), 16);
        });
        // The whole scope, its end too.
        let (opener, pass) = gate();
        // SAFETY: see the head of this file.
        let child = executor.scope(|scope| {
            scope.spawn(pass).unwrap().detach();
            let queued = scope.spawn(|| text.len()).unwrap();
            // SAFETY: see the head of this file.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: takes a number.
                unsafe { libc::alarm(20) };
                drop(queued);
                // The worker, which is not here, may have locked the channel.
                let _ = std::mem::ManuallyDrop::new(opener);
            } else {
                drop(opener);
            }
            child
        });
        if child == 0 {
            drop(executor);
            // SAFETY: takes a number, and runs nothing of the parent's.
            unsafe { libc::_exit(0) };
        }
        assert_eq!(end_of(child), Ok(0));
    }

    /// The parent runs the rest of the queue, and the fork none of it.
    fn a_fork_that_returns_from_its_task_ends() {
        let executor = pool("forks", 1);
        let (reader, writer) = std::io::pipe().unwrap();
        let (opener, pass) = gate();
        let says = |what: &'static str| {
            let mut writer = writer.try_clone().unwrap();
            move || std::io::Write::write_all(&mut writer, what.as_bytes()).unwrap()
        };
        let forks = || {
            // SAFETY: see the head of this file.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: takes a number.
                unsafe { libc::alarm(20) };
            }
            child
        };
        executor.spawn(pass).unwrap().detach();
        let first = executor.spawn(forks).unwrap();
        let mut tell = says("callback ");
        first.add_done_callback(move |_| tell());
        executor.spawn(says("task ")).unwrap().detach();
        // In a task that another one waits for, and runs there.
        let executor = Arc::new(executor);
        let inner = Arc::clone(&executor);
        let nested = executor.spawn(move || {
            let nested = inner.spawn(forks).unwrap();
            nested.into_result().map_err(|error| assert_forked(&error))
        });
        let nested = nested.unwrap();
        // In a callback, behind which there is another.
        let (sender, children) = mpsc::channel();
        let calls = executor.spawn(|| ()).unwrap();
        calls.add_done_callback(move |_| sender.send(forks()).unwrap());
        let mut tell = says("callback ");
        calls.add_done_callback(move |_| tell());
        executor.spawn(says("task ")).unwrap().detach();
        drop(opener);
        for child in [
            take(first),
            take(nested).unwrap(),
            children.recv_timeout(LIMIT).unwrap(),
        ] {
            assert_eq!(end_of(child), Ok(0));
        }
        executor.shutdown();
        drop((calls, executor));
        drop(writer);
        let said = std::io::read_to_string(reader).unwrap();
        assert_eq!(said, "callback task callback task ");
    }

    /// Those of another task, which the callback itself completed.
    fn callbacks_behind_one_that_forks_run_in_the_parent_alone() {
        let executor = pool("watched", 1);
        take(executor.spawn(|| ()).unwrap());
        let (reader, mut writer) = std::io::pipe().unwrap();
        let (first, of_first) = promise::<()>();
        let (second, of_second) = promise::<()>();
        let child = Arc::new(AtomicI32::new(-1));
        of_second.add_done_callback(move |_| {
            std::io::Write::write_all(&mut writer, b"told ").unwrap();
        });
        let forked = Arc::clone(&child);
        of_first.add_done_callback(move |_| {
            second.set_result(()).unwrap();
            // SAFETY: see the head of this file; the fork ends itself.
            forked.store(unsafe { libc::fork() }, Ordering::Relaxed);
        });
        first.set_result(()).unwrap();
        let child = child.load(Ordering::Relaxed);
        if child == 0 {
            // SAFETY: takes a number, and runs nothing of the parent's.
            unsafe { libc::_exit(0) };
        }
        assert_eq!(end_of(child), Ok(0));
        assert_eq!(std::io::read_to_string(reader).unwrap(), "told ");
    }

    fn a_fork_inside_an_inline_call_has_its_result() {
        let executor = InlineExecutor::new().unwrap();
        // SAFETY: see the head of this file.
        let future = executor.spawn(|| unsafe { libc::fork() }).unwrap();
        let child = *future.result().unwrap();
        if child == 0 {
            let is_refused = executor.spawn(|| ()).is_err();
            // SAFETY: takes a number, and runs nothing of the parent's.
            unsafe { libc::_exit(i32::from(!is_refused)) };
        }
        assert_eq!(end_of(child), Ok(0));
        assert_eq!(executor.stats().finished, 1);
    }

    /// Its initializer, its exit hook.
    fn a_fork_of_a_workers_other_code_ends() {
        let children = Arc::new(Mutex::new(Vec::new()));
        let fork = {
            let children = Arc::clone(&children);
            move || {
                // SAFETY: see the head of this file.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    // SAFETY: takes a number.
                    unsafe { libc::alarm(20) };
                } else {
                    children.lock().unwrap().push(child);
                }
            }
        };
        let executor = ThreadPoolExecutor::builder()
            .max_workers(1)
            .initializer({ let fork = fork.clone(); move |()| fork() }, ())
            .on_worker_exit(fork)
            .build()
            .unwrap();
        assert_eq!(take(executor.spawn(|| 1).unwrap()), 1);
        drop(executor);
        let children = children.lock().unwrap().clone();
        assert_eq!(children.len(), 2);
        for child in children {
            assert_eq!(end_of(child), Ok(0));
        }
    }
}

fn take_inline(executor: &InlineExecutor) -> i32 {
    let future = executor.spawn(|| 3).unwrap();
    future.into_result().unwrap()
}
