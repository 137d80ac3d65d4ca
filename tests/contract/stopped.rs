//! The wait for a process that was sent `SIGSTOP`.

use std::fs;
use std::io;

/// Returns `true` if each thread of a process has stopped. The signal is sent at once, and
/// acted on a moment later: meanwhile a worker may still begin a task.
pub(crate) fn has_stopped(pid: u32) -> bool {
    let is_stopped = |thread: io::Result<fs::DirEntry>| {
        let stat = fs::read_to_string(thread?.path().join("stat"))?;
        let state = stat.rsplit_once(") ").map(|(_, state)| state);
        io::Result::Ok(state.is_some_and(|state| state.starts_with('T')))
    };
    // A thread that ends meanwhile has not stopped.
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    threads.is_ok_and(|mut threads| threads.all(|thread| is_stopped(thread).unwrap_or(false)))
}
