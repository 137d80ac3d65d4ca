//! Measures a pool of ranks beside `mpi4py.futures`, in one run.
//!
//! ```text
//! cargo run --release --manifest-path benches/mpi/Cargo.toml [ROUNDS]
//! ```
//!
//! Three ranks, so two workers, on this machine. Empty tasks that return their argument. Prints
//! the median of the rounds for each row: tasks per second with one task in flight a worker and
//! with eight, the median time of a task alone in microseconds, and the CPU that a waiting rank
//! takes. Needs `mpirun`, and Python with mpi4py (`PYTHON`, `python3` if that is not set).

use std::env;
use std::fs;
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use concurrent_futures::{Error, MpiPoolExecutor};

const TASKS: u64 = 200_000;
const TRIPS: usize = 20_000;
const IDLE: Duration = Duration::from_secs(5);

/// The rows: what is measured, how often ours must be better, and the word for a better one.
const ROWS: [(&str, f64, &str); 3] = [
    ("one", 5.0, "times the tasks"),
    ("eight", 10.0, "times the tasks"),
    ("trip", 10.0, "times as fast"),
];

fn main() -> ExitCode {
    let what = env::args().nth(1).unwrap_or_default();
    if env::var_os("CONCURRENT_FUTURES_BENCH").is_some() {
        run(&what).expect("`mpirun` has started three ranks");
        return ExitCode::SUCCESS;
    }
    compare(what.parse().unwrap_or(5))
}

/// Measures in a job, and prints one number.
fn run(what: &str) -> Result<(), Error> {
    let builder = MpiPoolExecutor::builder();
    let builder = match what {
        "one" => builder.in_flight(1),
        "eight" => builder.in_flight(8),
        _ => builder,
    };
    let number = builder.run(|pool| -> Result<f64, Error> {
        for n in 0..200 {
            pool.submit(black_box::<u64>, n)?.into_result()?;
        }
        match what {
            "trip" => {
                let mut times = Vec::new();
                for n in 0..TRIPS as u64 {
                    let begun = Instant::now();
                    pool.submit(black_box::<u64>, n)?.into_result()?;
                    times.push(begun.elapsed());
                }
                times.sort();
                Ok(times[TRIPS / 2].as_secs_f64() * 1e6)
            }
            "idle" => {
                let pids = pool.stats().pids;
                thread::sleep(Duration::from_secs(1));
                let before: f64 = pids.iter().map(|pid| cpu_seconds(*pid)).sum();
                thread::sleep(IDLE);
                let after: f64 = pids.iter().map(|pid| cpu_seconds(*pid)).sum();
                let ranks = pids.len() as f64;
                Ok(100.0 * (after - before) / IDLE.as_secs_f64() / ranks)
            }
            _ => {
                let begun = Instant::now();
                let futures: Result<Vec<_>, _> = (0..TASKS)
                    .map(|n| pool.submit(black_box::<u64>, n))
                    .collect();
                for (n, future) in (0..).zip(futures?) {
                    assert_eq!(future.into_result()?, n);
                }
                Ok(TASKS as f64 / begun.elapsed().as_secs_f64())
            }
        }
    })?;
    println!("{:.2}", number?);
    Ok(())
}

/// Returns the CPU time that a process has taken.
fn cpu_seconds(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    let nanos = threads.flatten().map(|thread| {
        let stat = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        let ran = stat
            .split(' ')
            .next()
            .and_then(|nanos| nanos.parse::<f64>().ok());
        ran.unwrap_or(0.0)
    });
    nanos.sum::<f64>() / 1e9
}

/// Measures both in turn, and prints the rows.
fn compare(rounds: usize) -> ExitCode {
    let mut is_short = false;
    for (what, wanted, word) in ROWS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(our_number(what));
            theirs.push(their_number(what));
        }
        let (ours, theirs) = (median(ours), median(theirs));
        let ratio = if what == "trip" {
            theirs / ours
        } else {
            ours / theirs
        };
        let verdict = if ratio >= wanted { "met" } else { "short" };
        is_short |= ratio < wanted;
        println!(
            "{what}\tours {ours}\tmpi4py {theirs}\t{ratio:.1} {word} (wanted {wanted})\t{verdict}"
        );
    }
    let idle = median((0..rounds.min(3)).map(|_| our_number("idle")).collect());
    is_short |= idle >= 2.0;
    println!("idle\tours {idle} % of a CPU for each rank (wanted less than 2)");
    ExitCode::from(u8::from(is_short))
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn our_number(what: &str) -> f64 {
    let program = env::current_exe().expect("it has a path");
    let mut command = mpirun();
    command
        .arg(program)
        .arg(what)
        .env("CONCURRENT_FUTURES_BENCH", "1");
    number_of(&mut command)
}

fn their_number(what: &str) -> f64 {
    let python = env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/pool.py");
    let mut command = mpirun();
    command.args([&python, "-m", "mpi4py.futures", script, what]);
    if what == "eight" {
        command.env("MPI4PY_FUTURES_BACKLOG", "8");
    }
    number_of(&mut command)
}

fn mpirun() -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--oversubscribe", "--bind-to", "none", "-n", "3"]);
    let by_root = ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"];
    command.envs(by_root.map(|variable| (variable, "1")));
    command
}

fn number_of(command: &mut Command) -> f64 {
    let output = command.output().expect("`mpirun` can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text.trim().parse();
    number.unwrap_or_else(|_| panic!("{command:?} printed {output:?}"))
}
