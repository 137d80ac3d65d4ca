//! Workers: when they count as idle, and that no task waits for a busy one.

use super::*;

#[test]
fn a_worker_in_a_callback_does_not_count_as_idle() {
    let executor = ThreadPoolExecutor::with_max_workers(2).unwrap();
    let (hold, held) = gate();
    let (opener, pass) = gate();
    let (sender, entered) = mpsc::channel();
    let future = executor.spawn(held).unwrap();
    future.add_done_callback(move |_| {
        sender.send(()).unwrap();
        pass();
    });
    drop(hold);
    entered.recv_timeout(LIMIT).unwrap();
    // The only worker is in the callback: this needs another one.
    assert_eq!(*wait(&executor.spawn(|| 2).unwrap()), 2);
    assert_eq!(executor.stats().workers, 2);
    drop(opener);
}

#[test]
fn a_task_that_came_before_the_callback_gets_a_worker_too() {
    // The worker is free when its result is known, and turns to its callback
    // after that: a task that counted on it in between must not wait for it.
    for _ in 0..200 {
        let executor = Arc::new(ThreadPoolExecutor::with_max_workers(2).unwrap());
        let (hold, held) = gate();
        let future = executor.spawn(held).unwrap();
        let inner = Arc::clone(&executor);
        let (sender, answer) = mpsc::channel();
        future.add_done_callback(move |_| {
            let other = inner.spawn(|| 7).unwrap();
            sender.send(other.result_timeout(LIMIT).copied()).unwrap();
        });
        drop(hold);
        assert_eq!(answer.recv_timeout(LIMIT).unwrap().unwrap(), 7);
    }
}

#[test]
fn a_task_that_counted_on_a_worker_with_callbacks_gets_another() {
    // The worker is free when its result is known, and turns to its callback
    // then. What is submitted in between counts on it and must not wait for it.
    for _ in 0..2000 {
        let executor = ThreadPoolExecutor::with_max_workers(2).unwrap();
        let (opener, pass) = gate();
        let (hold, held) = gate();
        let future = executor.spawn(held).unwrap();
        // Before it is done: later the callback would run here.
        future.add_done_callback(move |_| pass());
        drop(hold);
        wait(&future);
        assert_eq!(*wait(&executor.spawn(|| 7).unwrap()), 7);
        drop(opener);
    }
}

#[test]
fn a_waker_on_a_worker_may_wait_for_another_task() {
    struct Submitter(Arc<ThreadPoolExecutor>, Sender<i32>);
    impl Wake for Submitter {
        fn wake(self: Arc<Self>) {
            let other = self.0.spawn(|| 7).unwrap();
            self.1.send(*wait(&other)).unwrap();
        }
    }
    let executor = Arc::new(ThreadPoolExecutor::with_max_workers(2).unwrap());
    let (hold, held) = gate();
    let future = executor.spawn(held).unwrap();
    let (sender, answer) = mpsc::channel();
    let waker = Waker::from(Arc::new(Submitter(Arc::clone(&executor), sender)));
    let mut awaiting = pin!((&future).into_future());
    let polled = std::future::Future::poll(awaiting.as_mut(), &mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    drop(hold);
    assert_eq!(answer.recv_timeout(LIMIT), Ok(7));
}

/// The future is dropped before the task begins (most times), and while it runs.
#[test]
fn a_value_whose_drop_takes_its_time_does_not_hold_up_the_next_task() {
    [false, true].into_iter().for_each(drop_slowly);
}

fn drop_slowly(drops_late: bool) {
    struct Slow(Sender<()>, Option<Box<dyn Fn() + Send>>);
    impl Drop for Slow {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
            (self.1.take().unwrap())();
        }
    }
    let executor = ThreadPoolExecutor::with_max_workers(2).unwrap();
    let (sender, dropping) = mpsc::channel();
    let (opener, pass) = gate();
    let (hold, held) = gate();
    let task = move || {
        held();
        Slow(sender, Some(Box::new(pass)))
    };
    let future = executor.spawn(task).unwrap();
    if drops_late {
        while !future.running() {
            thread::yield_now();
        }
    }
    future.detach();
    drop(hold);
    dropping.recv_timeout(LIMIT).unwrap();
    assert_eq!(*wait(&executor.spawn(|| 2).unwrap()), 2);
    drop(opener);
}

#[test]
fn two_tasks_at_a_time_need_two_workers_and_no_third() {
    for _ in 0..30 {
        let executor = ThreadPoolExecutor::with_max_workers(8).unwrap();
        let mut before = executor.spawn(|| ()).unwrap();
        for _ in 0..300 {
            let next = executor.spawn(|| ()).unwrap();
            take(before);
            before = next;
        }
        take(before);
        let workers = executor.stats().workers;
        assert!(workers <= 2, "{workers} workers");
    }
}

#[test]
fn many_submitters_at_once_lose_nothing() {
    let executor = ThreadPoolExecutor::with_max_workers(4).unwrap();
    let ran = Arc::new(AtomicUsize::new(0));
    let cancelled: usize = thread::scope(|scope| {
        let submitters = [0; 4].map(|_| {
            scope.spawn(|| {
                let mut cancelled = 0;
                for n in 0..2000 {
                    let ran = Arc::clone(&ran);
                    let task = move || ran.fetch_add(1, Ordering::Relaxed);
                    let future = executor.spawn(task).unwrap();
                    if n % 3 == 0 && future.cancel() {
                        cancelled += 1;
                    }
                }
                cancelled
            })
        });
        submitters
            .map(|submitter| submitter.join().unwrap())
            .iter()
            .sum()
    });
    let report = executor.shutdown();
    let ran = ran.load(Ordering::Relaxed);
    assert_eq!(ran + cancelled, 8000);
    assert_eq!(report.finished, u64::try_from(ran).unwrap());
    assert_eq!(report.cancelled, u64::try_from(cancelled).unwrap());
    assert_eq!((report.queued, report.running), (0, 0));
}

#[test]
fn times_tell_waiting_from_running() {
    let executor = ThreadPoolExecutor::builder()
        .max_workers(1)
        .record_timing(true)
        .build()
        .unwrap();
    let (first, opener) = hold_a_worker(&executor);
    let (second, cancelled) = (
        executor.spawn(|| ()).unwrap(),
        executor.spawn(|| ()).unwrap(),
    );
    let running = first.timing().unwrap();
    assert!(running.waited().is_some() && running.ran().is_none());
    assert!(second.timing().unwrap().waited().is_none());
    assert!(cancelled.cancel());
    drop(opener);
    wait(&second);
    let [first, second] = [first, second].map(|future| future.timing().unwrap());
    assert!(
        second.queued() <= first.finished().unwrap(),
        "it waited for the first"
    );
    assert!(second.started() >= first.finished(), "one after the other");
    assert_eq!(
        first.ran().unwrap(),
        first.finished().unwrap() - first.started().unwrap()
    );
    let cancelled = cancelled.timing().unwrap();
    assert!(cancelled.started().is_none() && cancelled.finished().is_some());
}
