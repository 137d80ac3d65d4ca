//! Ends the program when no thread gets on, and says where each one stands.

use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::THREADS;

/// Without progress for so long, it is a hang.
const LIMIT: u32 = 60;

static PROGRESS: AtomicU64 = AtomicU64::new(0);
static DOING: Mutex<[&str; THREADS + 1]> = Mutex::new([""; THREADS + 1]);

/// Tells that this thread begins this operation.
pub fn begin(thread: usize, operation: &'static str) {
    DOING.lock().expect("nothing panics under this lock")[thread] = operation;
    // ORDERING: a mere counter; nothing is published by it.
    PROGRESS.fetch_add(1, Ordering::Relaxed);
}

/// Starts the thread that watches.
pub fn start() {
    std::thread::spawn(|| {
        let (mut last, mut still) = (u64::MAX, 0);
        loop {
            std::thread::sleep(Duration::from_secs(1));
            // ORDERING: a mere counter; nothing is read through it.
            let now = PROGRESS.load(Ordering::Relaxed);
            still = if now == last { still + 1 } else { 0 };
            last = now;
            if still >= LIMIT {
                report();
                std::process::abort();
            }
        }
    });
}

fn report() {
    eprintln!("HANG: nothing got on for {LIMIT} s");
    if let Ok(doing) = DOING.lock() {
        eprintln!("{doing:?}");
    }
    for task in fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        let read = |file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let (comm, wchan, call) = (read("comm"), read("wchan"), read("syscall"));
        eprintln!("{} {} {}", comm.trim(), wchan.trim(), call.trim());
    }
    let pid = std::process::id().to_string();
    // Nothing depends on it: it may not be installed, or not permitted.
    let _ = Command::new("gdb")
        .args(["-p", &pid, "-batch", "-ex", "thread apply all bt 40"])
        .status();
}
