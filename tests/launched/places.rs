//! The place in which a launched worker runs: its host, variables, folder, and output. These
//! tests run over every engine.

use std::env::current_dir;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use concurrent_futures::{Error, PoolKind, ProcessPoolExecutor, TaskOptions, current_worker};

use crate::by_main::list;
use crate::fixture::{Gate, double, hold};
use crate::launcher::{launcher, pool};

list! {
    a_worker_knows_its_host_and_the_pool_knows_it_too,
    variables_and_the_folder_travel_as_they_are,
    what_a_task_prints_does_not_get_between_the_messages,
    large_arguments_and_values_arrive,
    a_task_that_ends_its_worker_fails_alone,
    a_killed_task_ends_and_the_next_one_runs,
    a_task_that_runs_too_long_is_ended,
    a_worker_is_replaced_after_its_last_task,
    workers_of_two_launchers_share_the_tasks,
    a_task_has_a_pool_of_its_own,
    a_task_that_closes_all_descriptors_fails_alone,
    a_worker_blocks_no_signals_though_the_program_does,
}

fn a_worker_knows_its_host_and_the_pool_knows_it_too() {
    let pool = pool(launcher().name("over there"));
    let about = |()| {
        let worker = current_worker().expect("a worker runs it");
        assert_eq!(worker.kind(), PoolKind::Processes);
        let host = worker.host().expect("a launcher has started it").to_owned();
        (host, worker.pid())
    };
    let (host, pid) = pool.submit(about, ()).unwrap().into_result().unwrap();
    let stats = pool.stats();
    assert_eq!(stats.pids, [pid]);
    let launcher = &stats.launchers[0];
    assert_eq!((&*launcher.name, launcher.failed_starts), ("over there", 0));
    assert_eq!(
        (&launcher.hosts, &launcher.pids),
        (&vec![host.clone()], &vec![pid])
    );
    assert_eq!(launcher.left_out, None);

    let dies = |()| -> () { std::process::abort() };
    let error = pool.submit(dies, ()).unwrap().exception().unwrap();
    let Error::WorkerDied(death) = &error else {
        panic!("{error}");
    };
    assert_eq!(
        (death.host(), death.launcher()),
        (Some(&*host), Some("over there"))
    );
    assert_eq!(death.pid(), pid);
    let text = error.to_string();
    assert!(
        text.contains(&host) && text.contains("`over there`"),
        "{text}"
    );
}

fn variables_and_the_folder_travel_as_they_are() {
    let odd = "a b'c\"d$HOME\n`e`";
    let pool = ProcessPoolExecutor::builder()
        .launcher(launcher())
        .env("PLACE", odd)
        .env("EMPTY", "")
        .current_dir("/usr")
        .build()
        .unwrap();
    let seen = |()| {
        let variable = |name| std::env::var(name).ok();
        let marker = variable("CONCURRENT_FUTURES_WORKER");
        (
            variable("PLACE"),
            variable("EMPTY"),
            marker,
            current_dir().unwrap(),
        )
    };
    let seen = pool.submit(seen, ()).unwrap().into_result().unwrap();
    let wanted = (
        Some(odd.to_owned()),
        Some(String::new()),
        None,
        PathBuf::from("/usr"),
    );
    assert_eq!(seen, wanted);
}

fn what_a_task_prints_does_not_get_between_the_messages() {
    let pool = pool(launcher());
    let prints = |n: i64| {
        print!("x");
        std::io::stdout().flush().unwrap();
        let mut standard_output = std::fs::OpenOptions::new().write(true).open("/dev/stdout");
        if let Ok(output) = &mut standard_output {
            let _ = output.write_all(b"\0concurrent-futures worker");
        }
        let mut input = String::new();
        assert_eq!(std::io::stdin().read_line(&mut input).unwrap(), 0);
        n
    };
    for n in 0..20 {
        assert_eq!(*pool.submit(prints, n).unwrap().result().unwrap(), n);
    }
}

fn large_arguments_and_values_arrive() {
    let pool = pool(launcher());
    let twice = |bytes: Vec<u8>| [&bytes[..], &bytes[..]].concat();
    for size in [0, 1, 100_000, 3 << 20] {
        let bytes: Vec<u8> = (0..size).map(|n: usize| n as u8).collect();
        let value = pool.submit(twice, bytes.clone()).unwrap().into_result();
        assert!(value.unwrap() == twice(bytes), "{size}");
    }
}

fn a_task_that_ends_its_worker_fails_alone() {
    let pool = pool(launcher());
    let dies = pool
        .submit(|()| -> () { std::process::exit(3) }, ())
        .unwrap();
    let others: Vec<_> = (0..10).map(|n| pool.submit(double, n).unwrap()).collect();
    assert!(matches!(dies.exception(), Some(Error::WorkerDied(_))));
    for (n, other) in (0..).zip(others) {
        assert_eq!(*other.result().unwrap(), 2 * n);
    }
    let retried = pool.with(TaskOptions::new().retries(1));
    let dies = retried
        .submit(|()| -> () { std::process::abort() }, ())
        .unwrap();
    let Some(Error::WorkerDied(death)) = dies.exception() else {
        panic!("{dies:?}");
    };
    assert_eq!(death.times_begun(), 2);
}

fn a_killed_task_ends_and_the_next_one_runs() {
    let pool = pool(launcher());
    let mut gate = Gate::new();
    let running = pool.submit(hold, (gate.port(), 1)).unwrap();
    let next = pool.submit(double, 4).unwrap();
    gate.wait_for(1);
    assert!(running.kill());
    assert!(matches!(running.exception(), Some(Error::Killed(_))));
    assert_eq!(*next.result().unwrap(), 8);
}

fn a_task_that_runs_too_long_is_ended() {
    let pool = pool(launcher());
    let short = pool.with(TaskOptions::new().time_limit(Duration::from_millis(50)));
    let endless = |()| -> () {
        loop {
            std::thread::park();
        }
    };
    let endless = short.submit(endless, ()).unwrap();
    assert!(matches!(endless.exception(), Some(Error::TimeLimit(_))));
    assert_eq!(*pool.submit(double, 4).unwrap().result().unwrap(), 8);
}

fn a_worker_is_replaced_after_its_last_task() {
    let pool = ProcessPoolExecutor::builder()
        .launcher(launcher())
        .max_tasks_per_child(2)
        .build()
        .unwrap();
    let number = |()| current_worker().unwrap().number();
    let number = || pool.submit(number, ()).unwrap().into_result().unwrap();
    let numbers: Vec<usize> = (0..4).map(|_| number()).collect();
    assert_eq!(numbers, [0, 0, 1, 1]);
}

fn workers_of_two_launchers_share_the_tasks() {
    let pool = ProcessPoolExecutor::builder()
        .launcher(launcher().name("one"))
        .launcher(launcher().name("other"))
        .build()
        .unwrap();
    assert_eq!(pool.max_workers(), 2);
    let mut gate = Gate::new();
    let tasks = [0, 1].map(|n| pool.submit(hold, (gate.port(), n)).unwrap());
    gate.wait_for(2);
    let stats = pool.stats();
    for launcher in &stats.launchers {
        assert_eq!(launcher.pids.len(), 1, "{stats:?}");
    }
    gate.open();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(*task.result().unwrap(), n);
    }
}

fn a_task_has_a_pool_of_its_own() {
    let nested = |n: i64| {
        let inner = ProcessPoolExecutor::with_max_workers(1).unwrap();
        inner.submit(double, n).unwrap().into_result().unwrap()
    };
    let pool = pool(launcher());
    assert_eq!(*pool.submit(nested, 4).unwrap().result().unwrap(), 8);
}

fn a_task_that_closes_all_descriptors_fails_alone() {
    let pool = pool(launcher());
    let closes = |()| {
        for number in 3..2000 {
            // SAFETY: the test's worker uses none of these descriptors afterwards.
            unsafe { libc::close(number) };
        }
        std::thread::sleep(Duration::from_secs(30));
    };
    let closed = pool.submit(closes, ()).unwrap();
    let error = closed.exception().unwrap();
    assert!(matches!(error, Error::WorkerDied(_)), "{error}");
    assert_eq!(*pool.submit(double, 4).unwrap().result().unwrap(), 8);
}

/// The thread that starts the pool's own threads, which start the workers, blocks them.
fn a_worker_blocks_no_signals_though_the_program_does() {
    let blocked = |()| {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
        mask.map(|mask| mask.trim().to_owned())
    };
    let by_worker = std::thread::spawn(move || {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: the function only writes to the set.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: the set was written; null says that the old one is not wanted.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut()) };
        assert_ne!(blocked(()).as_deref(), Some("0000000000000000"));
        let pool = pool(launcher());
        pool.submit(blocked, ()).unwrap().into_result().unwrap()
    });
    let by_worker = by_worker.join().unwrap();
    assert_eq!(by_worker.as_deref(), Some("0000000000000000"));
}
