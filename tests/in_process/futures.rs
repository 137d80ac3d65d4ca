//! Futures by themselves, settled by a promise: no pool, no clock, no luck.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use concurrent_futures::{
    BrokenPool, Error, Future, InlineExecutor, InlineFuture, Promise, State, TaskFuture,
    ThreadFuture, ThreadPoolExecutor, as_completed, promise,
};

use crate::LIMIT;

/// A future in each state, with the promise that keeps it there.
fn in_each_state() -> [(State, Promise<i32>, ThreadFuture<i32>); 4] {
    let [pending, running, finished, cancelled] = [0; 4].map(|_| promise());
    assert!(running.0.start());
    finished.0.set_result(5).unwrap();
    assert!(cancelled.1.cancel());
    [
        (State::Pending, pending.0, pending.1),
        (State::Running, running.0, running.1),
        (State::Finished, finished.0, finished.1),
        (State::Cancelled, cancelled.0, cancelled.1),
    ]
}

#[test]
fn done_running_and_cancelled_tell_the_states_apart() {
    for (state, _promise, future) in in_each_state() {
        let done = matches!(state, State::Finished | State::Cancelled);
        assert_eq!(future.done(), done, "{state}");
        assert_eq!(future.running(), state == State::Running, "{state}");
        assert_eq!(future.cancelled(), state == State::Cancelled, "{state}");
        assert!(format!("{future:?}").contains(&state.to_string()));
    }
}

#[test]
fn only_a_pending_or_cancelled_future_can_be_cancelled() {
    for (state, _promise, future) in in_each_state() {
        let cancels = matches!(state, State::Pending | State::Cancelled);
        assert_eq!(future.cancel(), cancels, "{state}");
        assert_eq!(future.cancelled(), cancels, "{state}");
        assert_eq!(future.running(), state == State::Running, "{state}");
    }
}

#[test]
fn a_wait_of_no_time_tells_what_is() {
    for (state, _promise, future) in in_each_state() {
        let result = future.result_timeout(Duration::ZERO).copied();
        let exception = future.exception_timeout(Duration::ZERO);
        match state {
            State::Pending | State::Running => {
                assert!(matches!(
                    result,
                    Err(Error::Timeout {
                        unfinished: 1,
                        total: 1
                    })
                ));
                assert!(matches!(
                    exception,
                    Err(Error::Timeout {
                        unfinished: 1,
                        total: 1
                    })
                ));
            }
            State::Finished => {
                assert_eq!(result.unwrap(), 5);
                assert!(exception.unwrap().is_none());
            }
            State::Cancelled => {
                assert!(matches!(result, Err(Error::Cancelled)));
                assert!(matches!(exception, Ok(Some(Error::Cancelled))));
            }
        }
    }
}

#[test]
fn a_wait_beyond_the_clock_is_a_wait_without_limit() {
    let (promise, future) = promise();
    let waiter = thread::spawn(move || future.result_timeout(Duration::MAX).copied());
    promise.set_result(1).unwrap();
    assert_eq!(waiter.join().unwrap().unwrap(), 1);
}

#[test]
fn a_second_outcome_is_refused_and_names_the_state() {
    for (state, promise, future) in in_each_state() {
        let ended = matches!(state, State::Finished | State::Cancelled);
        for (set, n) in [(promise.set_result(1), 1), (promise.set_result(2), 2)] {
            if ended || n == 2 {
                let error = set.unwrap_err();
                let in_the_way = if ended { state } else { State::Finished };
                assert!(matches!(error, Error::InvalidState(found) if found == in_the_way));
                assert!(error.to_string().contains(&in_the_way.to_string()));
            }
        }
        assert!(!promise.start(), "{state}");
        match state {
            State::Cancelled => assert!(matches!(future.result(), Err(Error::Cancelled))),
            State::Finished => assert_eq!(*future.result().unwrap(), 5),
            _ => assert_eq!(*future.result().unwrap(), 1),
        }
    }
}

#[test]
fn a_second_error_is_refused_and_the_first_stays() {
    let (promise, future) = promise::<i32>();
    promise.set_exception(Error::other("first")).unwrap();
    let second = promise.set_exception(Error::other("second")).unwrap_err();
    assert!(matches!(second, Error::InvalidState(State::Finished)));
    assert_eq!(future.exception().unwrap().to_string(), "first");
}

#[test]
fn a_dropped_promise_abandons_its_future() {
    let (promise, future) = promise::<i32>();
    let waiter = thread::spawn(move || future.into_result());
    drop(promise);
    assert!(matches!(waiter.join().unwrap(), Err(Error::Abandoned)));
}

#[test]
fn a_promise_that_was_started_and_dropped_abandons_its_future_too() {
    let (promise, future) = promise::<i32>();
    assert!(promise.start());
    drop(promise);
    let error = future.exception_timeout(LIMIT).unwrap();
    assert!(matches!(error, Some(Error::Abandoned)));
}

#[test]
fn a_future_that_is_added_while_it_is_there_counts_once() {
    let (promise, future) = promise::<i32>();
    let mut all = as_completed([&future]);
    all.add(&future);
    all.extend([&future]);
    let (unfinished, total) = match all.next_timeout(Duration::ZERO) {
        Err(Error::Timeout { unfinished, total }) => (unfinished, total),
        other => panic!("{other:?}"),
    };
    assert_eq!((unfinished, total), (1, 1));
    promise.set_result(1).unwrap();
    assert_eq!(all.count(), 1);
}

#[test]
fn a_cancelled_future_gives_its_cancel_however_it_is_asked() {
    let cancelled = || {
        let (promise, future) = promise::<i32>();
        assert!(future.cancel());
        drop(promise);
        future
    };
    assert!(matches!(cancelled().into_result(), Err(Error::Cancelled)));
    assert!(matches!(
        cancelled().try_into_result(),
        Ok(Err(Error::Cancelled))
    ));
    assert!(matches!(
        pollster::block_on(cancelled().into_future()),
        Err(Error::Cancelled)
    ));
    let (sender, told) = mpsc::channel();
    let (promise, future) = promise::<i32>();
    future.then(move |outcome| sender.send(outcome).unwrap());
    drop(promise);
    assert!(matches!(told.try_recv(), Ok(Err(Error::Abandoned))));
    let (sender, told) = mpsc::channel();
    cancelled().then(move |outcome| sender.send(outcome).unwrap());
    assert!(matches!(told.try_recv(), Ok(Err(Error::Cancelled))));
}

#[test]
fn a_promise_runs_a_function_and_catches_its_panic() {
    let (promise, future) = promise::<i32>();
    let what = String::from("luck");
    promise.run(|| panic!("no {what}"));
    let Some(Error::Panicked(panic)) = future.exception() else {
        panic!("{future:?}");
    };
    assert_eq!(panic.message(), "no luck");
    assert!(panic.location().unwrap().contains("futures.rs:"));
    let payload = catch_unwind(AssertUnwindSafe(|| panic.resume())).unwrap_err();
    assert_eq!(payload.downcast_ref::<String>().unwrap(), "no luck");
}

/// All that may be done with a promise, in every order, up to four times.
#[test]
fn a_promise_does_in_every_order_what_its_state_allows() {
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Start,
        SetResult,
        SetException,
        Cancel,
    }
    #[derive(Clone, Copy, Debug)]
    enum End {
        Run,
        RunAndPanic,
        Drop,
    }
    use Step::*;
    let all = [Start, SetResult, SetException, Cancel];
    let mut orders: Vec<Vec<Step>> = vec![Vec::new()];
    for _ in 0..4 {
        let longer = |order: &Vec<Step>| all.map(|step| [&order[..], &[step]].concat());
        let longer: Vec<_> = orders.iter().flat_map(longer).collect();
        orders.extend(longer);
    }
    for (order, end) in orders
        .iter()
        .flat_map(|order| [End::Run, End::RunAndPanic, End::Drop].map(|end| (order, end)))
    {
        let (promise, future) = promise::<i32>();
        let called = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&called);
        future.add_done_callback(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let mut state = State::Pending;
        let mut outcome = "";
        for step in order {
            let is_open = matches!(state, State::Pending | State::Running);
            let (did, is_due, next) = match step {
                Start => (promise.start(), state == State::Pending, State::Running),
                SetResult => (promise.set_result(1).is_ok(), is_open, State::Finished),
                SetException => {
                    let set = promise.set_exception(Error::other("set"));
                    (set.is_ok(), is_open, State::Finished)
                }
                // Once more is true as well.
                Cancel => {
                    let may = matches!(state, State::Pending | State::Cancelled);
                    (future.cancel(), may, State::Cancelled)
                }
            };
            assert_eq!(did, is_due, "{step:?} in {order:?}");
            if is_due {
                state = next;
                outcome = match step {
                    Start => "",
                    SetResult => "1",
                    SetException => "set",
                    Cancel => "cancelled",
                };
            }
        }
        let is_open = matches!(state, State::Pending | State::Running);
        let mut ran = false;
        match end {
            End::Run => promise.run(|| {
                ran = true;
                2
            }),
            End::RunAndPanic => promise.run(|| {
                ran = true;
                std::panic::resume_unwind(Box::new("it panicked"))
            }),
            End::Drop => drop(promise),
        }
        assert_eq!(ran, is_open && !matches!(end, End::Drop), "{order:?}");
        if is_open {
            outcome = match end {
                End::Run => "2",
                End::RunAndPanic => "it panicked",
                End::Drop => "dropped without",
            };
        }
        let found = match future.result_timeout(Duration::ZERO) {
            Ok(n) => n.to_string(),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(outcome), "{order:?}, {end:?}: {found}");
        assert_eq!(called.load(Ordering::Relaxed), 1, "{order:?}, {end:?}");
    }
}

#[test]
fn a_promise_does_not_run_what_was_cancelled() {
    let (promise, future) = promise::<i32>();
    assert!(future.cancel());
    promise.run(|| unreachable!("it was cancelled"));
    assert!(future.cancelled());
}

#[test]
fn the_place_of_a_panic_is_that_panics_own() {
    let (promise, future) = promise::<i32>();
    promise.run(|| {
        let caught = catch_unwind(|| panic!("caught inside"));
        assert!(caught.is_err());
        // No hook runs for this one, so its place is not known.
        std::panic::resume_unwind(Box::new("resumed"))
    });
    let Some(Error::Panicked(panic)) = future.exception() else {
        panic!("{future:?}");
    };
    assert_eq!((panic.message(), panic.location()), ("resumed", None));
}

#[test]
fn the_value_is_lent_and_then_given_away() {
    struct Unique(i32); // neither Clone nor Debug
    let (promise, future) = promise();
    promise.run(|| Unique(3));
    assert_eq!(future.result().map(|unique| unique.0).unwrap(), 3);
    let Ok(given) = future.into_result() else {
        panic!("it has a value");
    };
    assert_eq!(given.0, 3);
}

#[test]
fn a_future_that_is_not_done_comes_back() {
    let (promise, future) = promise();
    let future = future.try_into_result().unwrap_err();
    promise.set_result(1).unwrap();
    assert_eq!(future.try_into_result().unwrap().unwrap(), 1);
}

#[test]
fn a_value_that_is_not_sync_is_lent_and_given() {
    let (promise, future) = promise();
    promise.run(|| Cell::new(1));
    future.result().unwrap().set(2);
    assert_eq!(future.into_result().unwrap().into_inner(), 2);
}

#[test]
fn dyn_futures_do_everything_that_is_not_generic() {
    let (promise, future) = promise();
    let future: Box<dyn Future<Output = i32>> = Box::new(future);
    assert!(!future.done() && !future.running() && !future.cancelled());
    assert!(future.result_timeout(Duration::ZERO).is_err());
    promise.set_result(1).unwrap();
    assert!(!future.cancel());
    assert!(future.exception().is_none());
    assert!(future.exception_timeout(Duration::ZERO).unwrap().is_none());
    assert_eq!(*future.result().unwrap(), 1);
    assert_eq!(future.boxed_into_result().unwrap(), 1);
}

#[test]
fn a_future_is_one_pointer_wide_and_as_shareable_as_its_value() {
    fn is_send<T: Send>() {}
    fn is_sync<T: Sync>() {}
    fn is_unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
    assert_eq!(size_of::<ThreadFuture<[u8; 100]>>(), size_of::<usize>());
    assert_eq!(size_of::<Option<InlineFuture<u8>>>(), size_of::<usize>());
    is_send::<ThreadFuture<Cell<u8>>>();
    is_sync::<ThreadFuture<Mutex<Cell<u8>>>>();
    is_unwind_safe::<ThreadFuture<Cell<u8>>>();
    is_send::<Error>();
    is_sync::<Error>();
    is_unwind_safe::<Error>();
}

// ---- callbacks -------------------------------------------------------------

#[test]
fn a_callback_added_in_a_callback_runs_behind_the_others() {
    let (promise, future) = promise();
    let (sender, order) = mpsc::channel();
    let (first, second, third) = (sender.clone(), sender.clone(), sender);
    future.add_done_callback(move |future| {
        future.add_done_callback(move |_| third.send(3).unwrap());
        first.send(1).unwrap();
    });
    future.add_done_callback(move |_| second.send(2).unwrap());
    promise.set_result(()).unwrap();
    assert_eq!(order.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn the_last_callback_is_the_last() {
    let (promise, future) = promise();
    let (sender, order) = mpsc::channel();
    let (first, added) = (sender.clone(), sender.clone());
    future.add_done_callback(move |future| {
        first.send(1).unwrap();
        future.add_done_callback(move |future| added.send(*future.result().unwrap()).unwrap());
    });
    future.then(move |value| sender.send(value.unwrap() + 1).unwrap());
    promise.set_result(2).unwrap();
    assert_eq!(order.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn then_on_a_done_future_runs_at_once() {
    let (promise, future) = promise();
    promise.set_result(Cell::new(1)).unwrap();
    let (sender, given) = mpsc::channel();
    future.then(move |cell| sender.send(cell.unwrap().into_inner()).unwrap());
    assert_eq!(given.try_recv(), Ok(1));
}

#[test]
fn a_callback_that_comes_while_others_run_waits_for_its_turn() {
    let (promise, future) = promise();
    let future = Arc::new(future);
    let (entered, inside) = mpsc::channel();
    let (leave, left) = mpsc::channel::<()>();
    let (sender, order) = mpsc::channel();
    let first = sender.clone();
    future.add_done_callback(move |_| {
        entered.send(()).unwrap();
        left.recv_timeout(LIMIT).unwrap();
        first.send((1, thread::current().id())).unwrap();
    });
    let settler = thread::spawn(move || {
        promise.set_result(()).unwrap();
        thread::current().id()
    });
    inside.recv_timeout(LIMIT).unwrap();
    future.add_done_callback(move |_| sender.send((2, thread::current().id())).unwrap());
    assert!(order.try_recv().is_err(), "the first is still running");
    leave.send(()).unwrap();
    let settler = settler.join().unwrap();
    assert_eq!(
        order.try_iter().collect::<Vec<_>>(),
        [(1, settler), (2, settler)]
    );
}

#[test]
fn taking_the_value_inside_its_own_callback_would_deadlock() {
    let (promise, future) = promise();
    let (hand_over, handed) = mpsc::channel::<ThreadFuture<i32>>();
    let (sender, answer) = mpsc::channel();
    future.add_done_callback(move |_| {
        let own = handed.recv_timeout(LIMIT).unwrap();
        assert_eq!(*own.result().unwrap(), 7, "lending is fine");
        sender.send(own.into_result()).unwrap();
    });
    hand_over.send(future).unwrap();
    promise.set_result(7).unwrap();
    assert!(matches!(answer.try_recv(), Ok(Err(Error::WouldDeadlock))));
}

#[test]
fn what_a_callback_completes_tells_its_own_when_the_callback_has_returned() {
    let (first, first_future) = promise();
    let (second, second_future) = promise();
    let (sender, order) = mpsc::channel();
    let (before, after) = (sender.clone(), sender.clone());
    first_future.add_done_callback(move |_| {
        before.send("first begins").unwrap();
        second.set_result(()).unwrap();
        after.send("first ends").unwrap();
    });
    second_future.add_done_callback(move |_| sender.send("second").unwrap());
    first.set_result(()).unwrap();
    let order: Vec<_> = order.try_iter().collect();
    assert_eq!(order, ["first begins", "first ends", "second"]);
}

#[test]
fn what_several_callbacks_complete_is_told_in_that_order() {
    let (first, first_future) = promise();
    let (sender, order) = mpsc::channel();
    for n in 0..10 {
        let (promise, future) = promise();
        let sender = sender.clone();
        future.add_done_callback(move |_| sender.send(n).unwrap());
        first_future.add_done_callback(move |_| promise.set_result(()).unwrap());
    }
    first.set_result(()).unwrap();
    assert!(order.try_iter().eq(0..10));
}

#[test]
fn what_an_immediate_callback_completes_is_not_nested_either() {
    let (done, done_future) = promise();
    done.set_result(()).unwrap();
    let (other, other_future) = promise();
    let (sender, order) = mpsc::channel();
    let (begin, end) = (sender.clone(), sender.clone());
    other_future.add_done_callback(move |_| sender.send("other").unwrap());
    done_future.add_done_callback(move |_| {
        begin.send("begin").unwrap();
        other.set_result(()).unwrap();
        end.send("end").unwrap();
    });
    assert!(order.try_iter().eq(["begin", "end", "other"]));
}

/// Runs `f` while the future is done and its one callback is held.
fn inside_a_callback(f: impl FnOnce(ThreadFuture<i32>) + Send + 'static) {
    let (promise, future) = promise();
    let (entered, inside) = mpsc::channel();
    let (leave, left) = mpsc::channel::<()>();
    future.add_done_callback(move |future| {
        let lent = future.result().unwrap();
        entered.send(()).unwrap();
        assert!(left.recv_timeout(LIMIT).is_err());
        assert_eq!(*lent, 7, "lent as long as the callback has it");
    });
    let settler = thread::spawn(move || promise.set_result(7).unwrap());
    inside.recv_timeout(LIMIT).unwrap();
    f(future);
    drop(leave);
    settler.join().unwrap();
}

#[test]
fn nothing_is_given_away_while_a_callback_has_it() {
    inside_a_callback(|future| {
        let future = future.try_into_result().unwrap_err();
        let wakes = Arc::new(CountWakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        {
            let mut lending = pin!((&future).into_future());
            let lent = poll::<&ThreadFuture<i32>>(lending.as_mut(), &waker);
            assert!(matches!(lent, Poll::Ready(Ok(7))), "lending need not wait");
        }
        let mut giving = pin!(future.into_future());
        assert!(poll::<ThreadFuture<i32>>(giving.as_mut(), &waker).is_pending());
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn who_awaits_the_value_is_woken_behind_the_last_callback() {
    let wakes = Arc::new(CountWakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let (sender, receiver) = mpsc::channel();
    inside_a_callback(move |future| {
        let mut giving = Box::pin(future.into_future());
        assert!(poll::<ThreadFuture<i32>>(giving.as_mut(), &waker).is_pending());
        sender.send(giving).unwrap();
    });
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    let mut giving = receiver.try_recv().unwrap();
    let given = poll::<ThreadFuture<i32>>(giving.as_mut(), Waker::noop());
    assert!(matches!(given, Poll::Ready(Ok(7))));
}

/// Runs `f` on a stack that a chain of nested calls would soon fill.
fn on_a_small_stack(f: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(128 << 10).spawn(f);
    thread.unwrap().join().unwrap();
}

const LONG: usize = 100_000;

#[test]
fn a_long_chain_of_completions_needs_no_deep_stack() {
    let ended = Arc::new(AtomicUsize::new(0));
    let (first, future) = promise::<()>();
    let mut previous = future;
    for _ in 0..LONG {
        let (next, future) = promise::<()>();
        let ended = Arc::clone(&ended);
        previous.add_done_callback(move |_| {
            ended.fetch_add(1, Ordering::Relaxed);
            next.set_result(()).unwrap();
        });
        previous = future;
    }
    on_a_small_stack(move || first.set_result(()).unwrap());
    assert!(previous.done());
    assert_eq!(ended.load(Ordering::Relaxed), LONG);
}

#[test]
fn a_long_chain_of_cancels_needs_no_deep_stack() {
    let mut promises = Vec::new();
    let mut next: Option<ThreadFuture<()>> = None;
    for _ in 0..LONG {
        let (promise, future) = promise::<()>();
        promises.push(promise);
        if let Some(next) = next.take() {
            future.add_done_callback(move |_| assert!(next.cancel()));
        }
        next = Some(future);
    }
    on_a_small_stack(move || assert!(next.unwrap().cancel()));
    assert!(promises.iter().all(|promise| !promise.start()));
}

#[test]
fn a_long_chain_of_abandoned_promises_needs_no_deep_stack() {
    let ended = Arc::new(AtomicUsize::new(0));
    let (first, future) = promise::<()>();
    let mut previous = future;
    for _ in 0..LONG {
        let (next, future) = promise::<()>();
        let ended = Arc::clone(&ended);
        previous.then(move |_| {
            ended.fetch_add(1, Ordering::Relaxed);
            drop(next);
        });
        previous = future;
    }
    on_a_small_stack(move || drop(first));
    assert!(matches!(previous.exception(), Some(Error::Abandoned)));
    assert_eq!(ended.load(Ordering::Relaxed), LONG);
}

// ---- values, arguments and payloads whose drop panics ----------------------

struct Bomb(Arc<AtomicUsize>);

impl Bomb {
    fn new() -> (Self, Arc<AtomicUsize>) {
        let drops = Arc::new(AtomicUsize::new(0));
        (Self(Arc::clone(&drops)), drops)
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("a bomb in drop");
    }
}

#[test]
fn callbacks_with_bombs_harm_no_other() {
    let (promise, future) = promise();
    let (sender, told) = mpsc::channel();
    let (captured, captured_drops) = Bomb::new();
    let (payload, payload_drops) = Bomb::new();
    future.add_done_callback(move |_| drop(captured));
    future.add_done_callback(move |_| std::panic::panic_any(payload));
    future.add_done_callback(move |_| sender.send(()).unwrap());
    promise.set_result(()).unwrap();
    assert!(told.try_recv().is_ok());
    assert_eq!(captured_drops.load(Ordering::Relaxed), 1);
    assert_eq!(payload_drops.load(Ordering::Relaxed), 1);
}

#[test]
fn a_payload_whose_drop_panics_goes_no_further() {
    let (payload, drops) = Bomb::new();
    let (promise, future) = promise::<()>();
    promise.run(|| std::panic::panic_any(payload));
    let error = future.exception().unwrap();
    drop(future);
    assert_eq!(drops.load(Ordering::Relaxed), 0, "the error still has it");
    drop(error);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

#[test]
fn a_value_whose_drop_panics_gets_out_of_no_future_and_no_promise() {
    let (value, drops) = Bomb::new();
    let (promise, future) = promise();
    drop(future);
    promise.run(|| value);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    let (value, drops) = Bomb::new();
    let (promise, future) = self::promise();
    assert!(promise.set_result(value).is_ok());
    drop(promise);
    drop(future);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

// ---- errors ----

#[test]
fn errors_say_what_happened_and_keep_their_sources() {
    let timeout = Error::Timeout {
        unfinished: 3,
        total: 7,
    };
    assert!(timeout.to_string().contains("3 of 7"));
    let outer = std::io::Error::other("x".parse::<u8>().unwrap_err());
    let inner = std::error::Error::source(&outer).map(ToString::to_string);
    let error = Error::other(outer);
    assert_eq!(
        std::error::Error::source(&error).map(ToString::to_string),
        inner
    );
}

#[test]
fn each_error_says_what_happened_and_what_to_do() {
    fn is_an_error<E: std::error::Error + Clone + Send + Sync + 'static>(error: E) -> String {
        error.to_string()
    }
    let (one, some) = (
        Error::Timeout {
            unfinished: 1,
            total: 1,
        },
        Error::Timeout {
            unfinished: 2,
            total: 3,
        },
    );
    let broken = Error::Broken(BrokenPool::new(Error::other("no licence")));
    let spawn = Error::Spawn(Arc::new(std::io::ErrorKind::OutOfMemory.into()));
    let says = [
        (Error::Cancelled, "cancelled", "submit it again"),
        (one, "timed out", "waited for again"),
        (some, "2 of 3", "waited for again"),
        (broken, "no licence", "mend that and make a new pool"),
        (Error::ShutDown, "shut down", "make a new one"),
        (Error::QueueFull, "full", "try again later"),
        (Error::Abandoned, "dropped", "set one on every path"),
        (Error::WouldDeadlock, "this very thread", "with a limit"),
        (spawn, "out of memory", "ask for fewer workers"),
    ];
    for (error, what, advice) in says {
        let text = is_an_error(error.clone());
        assert!(text.contains(what) && text.contains(advice), "{text}");
        // A `main` that returns the error prints this.
        let debug = format!("{error:?}");
        let (variant, said) = debug.split_once(": ").expect("the variant comes first");
        assert_eq!(said, text);
        assert!(variant.chars().all(char::is_alphabetic), "{variant}");
    }
    assert!(format!("{:?}", Error::ShutDown).starts_with("ShutDown: "));
    let (promise, future) = promise::<i32>();
    future.cancel();
    let late = is_an_error(promise.set_result(1).unwrap_err());
    assert!(late.contains("was cancelled") && late.contains("leave out the work"));
}

#[test]
fn a_panic_is_resumed_by_its_payload_once_and_then_by_its_message() {
    let (promise, future) = promise::<()>();
    promise.run(|| panic!("again"));
    for _ in 0..2 {
        let Some(Error::Panicked(panic)) = future.exception() else {
            panic!("{future:?}");
        };
        let payload = catch_unwind(AssertUnwindSafe(|| panic.resume())).unwrap_err();
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        assert_eq!(text.as_deref(), Some("again"));
    }
}

#[test]
fn an_earlier_panic_lends_no_other_panic_its_place() {
    let (first, _first_future) = promise::<()>();
    first.run(|| {
        let caught = catch_unwind(|| panic!("the same words"));
        assert!(caught.is_err());
    });
    let (second, future) = promise::<()>();
    second.run(|| std::panic::resume_unwind(Box::new("the same words")));
    let Some(Error::Panicked(panic)) = future.exception() else {
        panic!("{future:?}");
    };
    assert_eq!(panic.location(), None);
}

// ---- awaiting --------------------------------------------------------------

#[derive(Default)]
struct CountWakes(AtomicUsize);

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll<F: IntoFuture>(awaiting: Pin<&mut F::IntoFuture>, waker: &Waker) -> Poll<F::Output> {
    std::future::Future::poll(awaiting, &mut Context::from_waker(waker))
}

#[test]
fn awaiting_by_value_gives_and_by_reference_lends() {
    let (promise, future) = promise();
    let awaiting = thread::spawn(move || {
        pollster::block_on(async {
            assert_eq!(*(&future).await?, "lent");
            future.await
        })
    });
    promise.set_result(String::from("lent")).unwrap();
    let given: Result<String, Error> = awaiting.join().unwrap();
    assert_eq!(given.unwrap(), "lent");
}

#[test]
fn awaiting_gives_errors_and_cancels_too() {
    let (promise, future) = promise::<i32>();
    promise.set_exception(Error::other("no")).unwrap();
    assert!(matches!(
        pollster::block_on(future.into_future()),
        Err(Error::Other(_))
    ));
    let (_promise, future) = self::promise::<i32>();
    future.cancel();
    assert!(matches!(
        pollster::block_on((&future).into_future()),
        Err(Error::Cancelled)
    ));
}

#[test]
fn only_the_latest_waker_is_woken_and_none_after_a_drop() {
    let [dropped, old, new] = [0; 3].map(|_| Arc::new(CountWakes::default()));
    let (promise, future) = promise();
    {
        let mut awaiting = pin!((&future).into_future());
        let waker = Waker::from(Arc::clone(&dropped));
        assert!(poll::<&ThreadFuture<i32>>(awaiting.as_mut(), &waker).is_pending());
        assert_eq!(Arc::strong_count(&dropped), 3, "registered");
    }
    {
        let (_promise, owned) = self::promise::<i32>();
        let owned_waker = Waker::from(Arc::clone(&dropped));
        let mut awaiting = Box::pin(owned.into_future());
        assert!(poll::<ThreadFuture<i32>>(awaiting.as_mut(), &owned_waker).is_pending());
        drop((awaiting, owned_waker));
        assert_eq!(Arc::strong_count(&dropped), 1, "the promise is still there");
    }
    assert_eq!(Arc::strong_count(&dropped), 1, "dropping takes it back");

    let mut awaiting = pin!(future.into_future());
    for waker in [&old, &new] {
        let waker = Waker::from(Arc::clone(waker));
        assert!(poll::<ThreadFuture<i32>>(awaiting.as_mut(), &waker).is_pending());
    }
    promise.set_result(1).unwrap();
    let wakes = [dropped, old, new].map(|wakes| wakes.0.load(Ordering::Relaxed));
    assert_eq!(wakes, [0, 0, 1]);
    let waker = Waker::noop();
    let ready = poll::<ThreadFuture<i32>>(awaiting.as_mut(), waker);
    assert!(matches!(ready, Poll::Ready(Ok(1))));
    let again = poll::<ThreadFuture<i32>>(awaiting.as_mut(), waker);
    assert!(matches!(
        again,
        Poll::Ready(Err(Error::InvalidState(State::Finished)))
    ));
}

#[test]
fn awaiting_by_value_is_ready_behind_the_callbacks() {
    let wakes = Arc::new(CountWakes::default());
    let (promise, future) = promise();
    let (sender, told) = mpsc::channel();
    future.add_done_callback(move |_| sender.send(()).unwrap());
    let mut awaiting = pin!(future.into_future());
    let waker = Waker::from(Arc::clone(&wakes));
    assert!(poll::<ThreadFuture<i32>>(awaiting.as_mut(), &waker).is_pending());
    promise.set_result(1).unwrap();
    assert!(wakes.0.load(Ordering::Relaxed) > 0 && told.try_recv().is_ok());
    assert!(poll::<ThreadFuture<i32>>(awaiting.as_mut(), &waker).is_ready());
}

#[test]
fn a_waker_that_panics_harms_no_other() {
    struct Bad;
    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            panic!("a bad waker");
        }
    }
    let wakes = Arc::new(CountWakes::default());
    let (promise, future) = promise();
    let mut bad = pin!((&future).into_future());
    let mut good = pin!((&future).into_future());
    type Borrowed<'a> = &'a TaskFuture<i32, ThreadPoolExecutor>;
    assert!(poll::<Borrowed>(bad.as_mut(), &Waker::from(Arc::new(Bad))).is_pending());
    let waker = Waker::from(Arc::clone(&wakes));
    assert!(poll::<Borrowed>(good.as_mut(), &waker).is_pending());
    promise.set_result(1).unwrap();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
}

// ---- waits inside a callback ------------------------------------------------

type Wait = fn(ThreadFuture<i32>) -> Result<i32, Error>;

/// Ways to wait until a future's callbacks have run.
const WAITS_FOR_TOLD: [Wait; 2] = [ThreadFuture::into_result, |future| {
    pollster::block_on(future.into_future())
}];

/// Runs `f` in a callback, on a thread of its own, and gives what it returns.
fn answer_of_a_callback<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    let (promise, future) = promise();
    let (sender, answer) = mpsc::channel();
    future.then(move |_: Result<(), Error>| sender.send(f()).unwrap());
    let settler = thread::spawn(move || promise.set_result(()).unwrap());
    let answer = answer.recv_timeout(LIMIT).expect("it does not hang");
    settler.join().unwrap();
    answer
}

/// It says `WouldDeadlock`, or hangs, though only this thread's own queue is in
/// the way.
#[test]
fn what_a_callback_completed_is_told_when_the_callback_waits_for_it() {
    type End = fn(Promise<i32>, &ThreadFuture<i32>);
    let ends: [End; 3] = [
        |promise, _| promise.set_result(1).unwrap(),
        |promise, _| drop(promise),
        |_, future| assert!(future.cancel()),
    ];
    for end in ends {
        for wait in WAITS_FOR_TOLD {
            let (told, others) = answer_of_a_callback(move || {
                let (sender, order) = mpsc::channel();
                // Completed by this callback too, and not waited for.
                let (other, other_future) = promise();
                let others = sender.clone();
                other_future.add_done_callback(move |_| others.send("other").unwrap());
                other.set_result(1).unwrap();
                let (promise, future) = promise();
                future.add_done_callback(move |_| sender.send("awaited").unwrap());
                end(promise, &future);
                assert!(!matches!(wait(future), Err(Error::WouldDeadlock)));
                (order.try_iter().collect::<Vec<_>>(), order)
            });
            assert_eq!(told, ["awaited"], "and not the other one");
            assert_eq!(others.recv_timeout(LIMIT), Ok("other"), "in its turn");
        }
    }
}

#[test]
fn what_a_callback_completed_is_told_to_a_function_that_it_waits_for() {
    for wait in WAITS_FOR_TOLD {
        let answer = answer_of_a_callback(move || {
            let (promise, future) = promise();
            future.add_done_callback(|_| {});
            promise.set_result(1).unwrap();
            let inline = concurrent_futures::InlineExecutor::new().unwrap();
            inline.spawn(move || wait(future)).unwrap().into_result()
        });
        assert_eq!(answer.unwrap().unwrap(), 1);
    }
}

#[test]
fn awaiting_the_value_inside_its_own_callback_would_deadlock() {
    let (promise, future) = promise();
    let (hand_over, handed) = mpsc::channel::<ThreadFuture<i32>>();
    let (sender, answer) = mpsc::channel();
    future.add_done_callback(move |_| {
        let own = handed.recv_timeout(LIMIT).unwrap();
        sender.send(pollster::block_on(own.into_future())).unwrap();
    });
    hand_over.send(future).unwrap();
    thread::spawn(move || promise.set_result(7).unwrap());
    let answer = answer.recv_timeout(LIMIT).expect("it does not hang");
    assert!(matches!(answer, Err(Error::WouldDeadlock)), "{answer:?}");
}

/// A poll inside a waker returns, also if the thread that has to end the task makes it. But
/// a function that the waker calls may block on the future.
#[test]
fn awaiting_ones_own_future_in_a_call_inside_a_waker_would_deadlock() {
    struct Calls(Mutex<Option<Box<dyn FnOnce() + Send>>>);
    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            let call = self.0.lock().unwrap().take();
            call.into_iter().for_each(|call| call());
        }
    }
    for inside in ["a promise", "an inline call", "a callback"] {
        let (own, own_future) = promise::<i32>();
        let (sender, awaited) = mpsc::channel();
        let mut own_future = Box::pin(own_future.into_future());
        let mut poll = move || poll::<ThreadFuture<i32>>(own_future.as_mut(), Waker::noop());
        let call = Box::new(move || {
            let mut send = move || sender.send(poll()).unwrap();
            let (promise, future) = promise();
            match inside {
                "a promise" => promise.run(send),
                "an inline call" => InlineExecutor::new().unwrap().spawn(send).unwrap().detach(),
                _ => {
                    future.add_done_callback(move |_| send());
                    promise.set_result(()).unwrap();
                }
            }
        });
        let waker = Waker::from(Arc::new(Calls(Mutex::new(Some(call)))));
        let (other, other_future) = promise();
        let mut awaits = pin!((&other_future).into_future());
        let polled = awaits.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        own.run(|| {
            other.set_result(1).unwrap();
            1
        });
        let polled = awaited.recv_timeout(LIMIT).unwrap();
        assert!(
            matches!(polled, Poll::Ready(Err(Error::WouldDeadlock))),
            "{inside}: {polled:?}"
        );
    }
}

/// A waker that polls at once is inside no callback yet.
#[test]
fn awaiting_inside_ones_own_waker_goes_on() {
    type Awaiting = Pin<Box<concurrent_futures::TaskAwait<i32, ThreadPoolExecutor>>>;
    struct PollsAtOnce(Mutex<Option<Awaiting>>, AtomicUsize);
    impl Wake for PollsAtOnce {
        fn wake(self: Arc<Self>) {
            let Some(mut future) = self.0.lock().unwrap().take() else {
                return;
            };
            let waker = Waker::from(Arc::clone(&self));
            match poll::<ThreadFuture<i32>>(future.as_mut(), &waker) {
                Poll::Ready(value) => {
                    self.1.store(value.unwrap() as usize, Ordering::Relaxed);
                }
                Poll::Pending => *self.0.lock().unwrap() = Some(future),
            }
        }
    }
    let (promise, future) = promise();
    future.add_done_callback(|_| {});
    let polls = Arc::new(PollsAtOnce(Mutex::default(), AtomicUsize::new(0)));
    *polls.0.lock().unwrap() = Some(Box::pin(future.into_future()));
    Waker::from(Arc::clone(&polls)).wake();
    promise.set_result(7).unwrap();
    assert_eq!(polls.1.load(Ordering::Relaxed), 7);
}
