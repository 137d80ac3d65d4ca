//! Pools of ranks: the places of their tasks, their share of the ranks, and what they refuse.

use std::env;
use std::time::{Duration, Instant};

use concurrent_futures::{
    Error, Future, MpiPoolExecutor, PoolKind, ProcessPoolExecutor, ShutdownOptions, TaskOptions,
    current_worker,
};

use crate::by_main::{list, wait_until};
use crate::fixture::{Fixture, Gate, double, hold};
use crate::ranks::{Ranks, builder};

list! {
    a_worker_is_a_rank_and_the_pool_knows_its_host,
    pools_share_the_ranks_one_after_the_other,
    a_pool_waits_for_ranks_of_another_pool,
    a_pool_without_tasks_gives_its_ranks_to_another,
    a_pool_that_ends_as_it_begins_disturbs_no_other,
    large_arguments_and_values_arrive,
    recalls_do_not_get_between_the_parts_of_an_answer,
    time_limits_and_retries_are_refused,
    tasks_move_from_a_busy_rank_to_an_idle_one,
    a_task_that_was_sent_ahead_can_be_cancelled,
    a_rank_answers_while_its_task_computes,
    a_rank_is_initialized_by_each_pool,
    a_task_may_have_processes_of_its_own_but_no_ranks,
}

fn a_worker_is_a_rank_and_the_pool_knows_its_host() {
    let pool = builder(1).build().unwrap();
    let about = |()| {
        let worker = current_worker().expect("a worker runs it");
        assert_eq!(worker.kind(), PoolKind::Mpi);
        // Of Open MPI, MPICH and Slurm.
        let names = ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"];
        let rank = names.iter().find_map(|name| env::var(name).ok());
        let rank: u32 = rank.unwrap().parse().unwrap();
        (worker.host().unwrap().to_owned(), worker.pid(), rank)
    };
    let (host, pid, rank) = pool.submit(about, ()).unwrap().into_result().unwrap();
    assert!(rank > 0 && pid != std::process::id());
    let stats = pool.stats();
    assert_eq!((stats.pids, stats.workers), (vec![pid], 1));
    let launcher = &stats.launchers[0];
    assert_eq!(
        (&*launcher.name, &launcher.hosts, &launcher.pids),
        ("mpi", &vec![host], &vec![pid])
    );
}

fn pools_share_the_ranks_one_after_the_other() {
    for n in 0..100 {
        let pool = builder(2).build().unwrap();
        let futures: Vec<_> = (0..4)
            .map(|m| pool.submit(double, n + m).unwrap())
            .collect();
        let sum: i64 = futures.iter().map(|future| *future.result().unwrap()).sum();
        assert_eq!(sum, 8 * n + 12);
        if n % 2 == 0 {
            assert_eq!(pool.shutdown().finished, 4);
        }
    }
}

fn a_pool_waits_for_ranks_of_another_pool() {
    let mut gate = Gate::new();
    let all = MpiPoolExecutor::builder().build().unwrap();
    let workers = all.max_workers();
    let held: Vec<_> = (0..workers as i64)
        .map(|n| all.submit(hold, (gate.port(), n)).unwrap())
        .collect();
    gate.wait_for(workers);
    let other = builder(1).build().unwrap();
    let waits = other.submit(double, 21).unwrap();
    assert!(waits.result_timeout(Duration::from_millis(50)).is_err());
    gate.open();
    all.shutdown();
    assert_eq!(waits.into_result().unwrap(), 42);
    assert!(held.iter().all(Future::done));
}

fn a_pool_without_tasks_gives_its_ranks_to_another() {
    let all = MpiPoolExecutor::builder().build().unwrap();
    let sum = |pool: &MpiPoolExecutor| -> i64 {
        let values = pool.map(double, 0..40).unwrap();
        values.sum::<Result<_, Error>>().unwrap()
    };
    assert_eq!(sum(&all), 1560);
    // It waits for no limit of the first.
    let other = MpiPoolExecutor::builder().build().unwrap();
    let begun = Instant::now();
    for _ in 0..3 {
        assert_eq!(sum(&other), 1560);
        assert_eq!(sum(&all), 1560);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
}

fn a_pool_that_ends_as_it_begins_disturbs_no_other() {
    let make_and_end = |rounds: u32| {
        for round in 0..rounds {
            let pool = builder(1).build().unwrap();
            let futures: Vec<_> = (0..3).map(|n| pool.submit(double, n).unwrap()).collect();
            if round % 3 == 0 {
                std::thread::yield_now();
            }
            pool.shutdown_with(ShutdownOptions::new().cancel_pending(round % 4 > 0));
            for (n, future) in (0..).zip(futures) {
                assert!(future.done());
                assert!(future.cancelled() || *future.result().unwrap() == 2 * n);
            }
        }
    };
    make_and_end(500);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| make_and_end(200));
        }
    });
}

fn recalls_do_not_get_between_the_parts_of_an_answer() {
    let pool = builder(1).in_flight(4).build().unwrap();
    for _ in 0..20 {
        let large = |n: u8| vec![n; (3 << 20) + 5];
        let futures: Vec<_> = (0..8).map(|n| pool.submit(large, n).unwrap()).collect();
        futures[0].result().unwrap();
        let cancelled: Vec<bool> = futures.iter().rev().map(Future::cancel).collect();
        for ((n, future), cancelled) in (0..).zip(futures).zip(cancelled.into_iter().rev()) {
            if !cancelled {
                assert!(future.into_result().unwrap() == large(n));
            }
        }
    }
}

fn large_arguments_and_values_arrive() {
    let pool = builder(2).in_flight(3).build().unwrap();
    let grow = |mut bytes: Vec<u8>| {
        bytes.reverse();
        bytes.push(1);
        bytes
    };
    // Shorter, as long as, and longer than one message, and longer than what may wait.
    let sizes = [
        0,
        1,
        (1 << 20) - 100,
        1 << 20,
        (1 << 20) + 1,
        9 << 20,
        33 << 20,
    ];
    for round in 0..3 {
        let sent: Vec<Vec<u8>> = sizes
            .iter()
            .map(|size| (0..*size).map(|n| (n % 251 + round) as u8).collect())
            .collect();
        let futures: Vec<_> = sent
            .iter()
            .map(|bytes| pool.submit(grow, bytes.clone()).unwrap())
            .collect();
        for (bytes, future) in sent.into_iter().zip(futures) {
            assert!(future.into_result().unwrap() == grow(bytes));
        }
    }
}

fn time_limits_and_retries_are_refused() {
    let pool = builder(1).build().unwrap();
    for options in [
        TaskOptions::new().time_limit(Duration::from_secs(1)),
        TaskOptions::new().retries(1),
    ] {
        let view = pool.with(options);
        assert!(matches!(
            view.submit(double, 1),
            Err(Error::InvalidArgument(_))
        ));
        assert!(matches!(
            view.map(double, [1]),
            Err(Error::InvalidArgument(_))
        ));
        let refused = view.try_submit(double, 1).unwrap_err();
        assert!(matches!(refused.error, Error::InvalidArgument(_)));
        assert_eq!(refused.call.1, 1);
    }
    let named = pool.with(TaskOptions::new().name("bad").retries(0));
    let error = named.submit(|()| -> () { panic!("meant") }, ()).unwrap();
    assert!(error.exception().unwrap().to_string().contains("bad"));
}

fn tasks_move_from_a_busy_rank_to_an_idle_one() {
    let pool = builder(2).in_flight(4).build().unwrap();
    let (mut long, mut short) = (Gate::new(), Gate::new());
    let first = pool.submit(hold, (long.port(), 1)).unwrap();
    let second = pool.submit(hold, (short.port(), 2)).unwrap();
    long.wait_for(1);
    short.wait_for(1);
    let behind: Vec<_> = (0..6).map(|n| pool.submit(double, n).unwrap()).collect();
    short.open();
    assert_eq!(*second.result().unwrap(), 2);
    for (n, future) in (0..).zip(&behind) {
        assert_eq!(*future.result().unwrap(), 2 * n);
    }
    assert!(first.running());
    long.open();
    assert_eq!(first.into_result().unwrap(), 1);
}

fn a_task_that_was_sent_ahead_can_be_cancelled() {
    let pool = builder(1).in_flight(4).build().unwrap();
    let mut gate = Gate::new();
    let running = pool.submit(hold, (gate.port(), 1)).unwrap();
    gate.wait_for(1);
    Ranks::<0>::hear(&pool, 1);
    let behind: Vec<_> = (0..8).map(|n| pool.submit(double, n).unwrap()).collect();
    assert!(!running.cancel());
    for future in behind.iter().step_by(2) {
        assert!(future.cancel());
    }
    gate.open();
    for future in behind.iter().skip(1).step_by(2) {
        assert!(future.result().is_ok());
    }
    let report = pool.shutdown();
    assert_eq!((report.finished, report.cancelled), (5, 4));
}

/// No call of MPI is made in the task.
fn a_rank_answers_while_its_task_computes() {
    let pool = builder(1).in_flight(2).build().unwrap();
    let compute = |millis: u64| {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(millis) {
            std::hint::spin_loop();
        }
    };
    for millis in [0, 5, 2000] {
        let long = pool.submit(compute, millis).unwrap();
        let behind = pool.submit(compute, 0).unwrap();
        wait_until("it runs", || long.running() || long.done());
        if millis == 2000 {
            assert!(behind.cancel());
            assert!(long.running(), "the cancel waited for the task");
        }
        long.result().unwrap();
    }
}

fn a_rank_is_initialized_by_each_pool() {
    use std::sync::atomic::{AtomicU64, Ordering};
    static VALUE: AtomicU64 = AtomicU64::new(0);
    for value in 1..5_u64 {
        let builder = builder(1).initializer(|n| VALUE.store(n, Ordering::Relaxed), value);
        let pool = builder.build().unwrap();
        let seen = pool.submit(|()| VALUE.load(Ordering::Relaxed), ()).unwrap();
        assert_eq!(seen.into_result().unwrap(), value);
    }
    let broken = builder(1)
        .initializer(|()| Err("no licence"), ())
        .build()
        .unwrap();
    let error = broken.submit(double, 1).unwrap().exception().unwrap();
    assert!(matches!(error, Error::Broken(_)), "{error}");
    drop(broken);
    let next = builder(1).build().unwrap();
    assert_eq!(next.submit(double, 1).unwrap().into_result().unwrap(), 2);
}

fn a_task_may_have_processes_of_its_own_but_no_ranks() {
    let pool = builder(1).build().unwrap();
    let outer = |n: i64| -> i64 {
        let inner = ProcessPoolExecutor::with_max_workers(2).unwrap();
        let refused = MpiPoolExecutor::builder().build();
        assert!(matches!(refused, Err(Error::Unsupported(_))));
        let sum: Result<i64, Error> = inner.map(double, 0..n).unwrap().sum();
        sum.unwrap()
    };
    let sum = pool.submit(outer, 10).unwrap().into_result().unwrap();
    assert_eq!(sum, 90);
}
