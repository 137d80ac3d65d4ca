//! The marker: the environment variable that tells a process to become a worker.

pub(crate) const VARIABLE: &str = "CONCURRENT_FUTURES_WORKER";

/// The place in the program at which a process becomes a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryPoint {
    /// The process becomes a worker before `main`.
    Hook,
    /// The process becomes a worker in [`init`](crate::init).
    Init,
}

impl EntryPoint {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hook => "hook",
            Self::Init => "init",
        }
    }
}

/// The value of the variable in a worker that a command such as `ssh` starts. The process
/// becomes a worker in [`init`](crate::init). The value contains only characters that have
/// no special meaning in a shell.
pub(crate) const ELSEWHERE: &str = "elsewhere";

/// Returns the marker for a worker that this process starts: the name and the value of the
/// variable. The value contains the entry point and the id of this process.
pub(crate) fn marker(entry_point: EntryPoint) -> (&'static str, String) {
    (
        VARIABLE,
        format!("{} {}", entry_point.name(), std::process::id()),
    )
}
