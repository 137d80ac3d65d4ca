//! [`Launcher`]: a command that starts workers elsewhere, for example on another host.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;

const START_LIMIT: Duration = Duration::from_secs(60);

const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// A command that starts workers of a [`ProcessPoolExecutor`](crate::ProcessPoolExecutor)
/// elsewhere: on another host, in a container, as a job of a batch system, or with fewer
/// rights.
///
/// The pool runs the command once for each worker. The pool appends the words that start
/// this program as a worker: `env`, the assignment of a variable, and the program's path.
/// With [`stage`](Self::stage), it appends `sh` and a script instead. Examples:
///
/// | the command | starts workers |
/// |---|---|
/// | `["ssh", "node1"]` | on the host `node1` |
/// | `["srun", "-n1", "-u"]` | as steps of a Slurm job, or as jobs of their own |
/// | `["docker", "run", "-i", "--rm", "image"]` | each in a container of its own |
/// | `["kubectl", "exec", "-i", "pod", "--"]` | in a pod |
/// | `["bwrap", "--dev-bind", "/", "/", "--unshare-net"]` | in a sandbox without a network |
/// | `["nice"]` | here, with a lower priority |
///
/// The pool's messages travel through the standard input and output of the command. So the
/// command has to connect these with the input and output of the program, and to pass all
/// bytes on unchanged. The command has to end when the program that it starts has ended:
/// otherwise the pool kills the command, five seconds after it has told the worker to exit,
/// or when the [`silence_limit`](Self::silence_limit) is over. What a task prints goes to
/// the command's error output, and from there to the error output of this process. This
/// crate neither encrypts the messages nor checks that they arrive unchanged. If the
/// network is not safe, the command has to encrypt and check the messages, as `ssh` does.
///
/// The command has no terminal, so it must not ask for a password: use keys, and
/// `-o BatchMode=yes` with `ssh`. The command runs in a process group of its own. To kill a
/// worker, the pool kills the command. The worker ends when it sees the end of the
/// connection.
///
/// A process that a launcher starts becomes a worker in [`init`](crate::init), so `main`
/// has to call `init` first. The other side, which is the host or container of the worker,
/// needs `env` in its search path and the same build of the program
/// ([`program`](Self::program)), or `sh` and a place for a copy of the program
/// ([`stage`](Self::stage)).
///
/// If the connection to a worker ends, the worker ends too. The task that the worker had
/// begun fails with [`Error::WorkerDied`], or is begun again if it has retries. If tasks
/// wait, the pool starts another worker. After a failed start the launcher pauses, for a
/// time that grows from 0.1 to 5 seconds with each further failure. If the workers of a
/// launcher cannot start, the pool does not use the launcher any more, and
/// [`Stats::launchers`](crate::Stats::launchers) says why. A pool that does not use any of
/// its launchers any more breaks: it refuses tasks with [`Error::Broken`], and the tasks in
/// its queue fail.
///
/// A command such as `ssh` passes the bytes on. If such a command ends, the pool cannot
/// know if a task that the pool sent a moment before has begun. That task fails too,
/// unless it has retries. So a task without retries never runs twice.
///
/// ```
/// use concurrent_futures::{Launcher, ProcessPoolExecutor};
///
/// fn main() -> Result<(), concurrent_futures::Error> {
///     concurrent_futures::init();
///     let executor = ProcessPoolExecutor::builder()
///         .launcher(Launcher::command(["nice", "-n", "5"]).workers(2))
///         .build()?;
///     assert_eq!(executor.submit(|n: u64| n + 1, 41)?.into_result()?, 42);
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a launcher starts nothing before a pool has it"]
pub struct Launcher {
    pub(super) words: Vec<OsString>,
    pub(super) name: Option<String>,
    pub(super) workers: usize,
    pub(super) program: Option<PathBuf>,
    pub(super) through_shell: Option<bool>,
    pub(super) stages: bool,
    pub(super) start_limit: Duration,
    pub(super) silence_limit: Duration,
    pub(super) in_flight: Option<usize>,
}

impl Launcher {
    /// Creates a launcher that runs one worker at a time. The command consists of these
    /// words.
    ///
    /// ```
    /// use concurrent_futures::Launcher;
    ///
    /// let launcher = Launcher::command(["ssh", "-o", "BatchMode=yes", "node1"]);
    /// assert_eq!(launcher.name_or_words(), "ssh -o BatchMode=yes node1");
    /// ```
    pub fn command<W: Into<OsString>>(words: impl IntoIterator<Item = W>) -> Self {
        Self {
            words: words.into_iter().map(Into::into).collect(),
            name: None,
            workers: 1,
            program: None,
            through_shell: None,
            stages: false,
            start_limit: START_LIMIT,
            silence_limit: SILENCE_LIMIT,
            in_flight: None,
        }
    }

    /// Sets the largest number of workers that the launcher runs at once. The default is 1.
    ///
    /// ```
    /// use concurrent_futures::{Launcher, ProcessPoolExecutor};
    ///
    /// concurrent_futures::init();
    /// let executor = ProcessPoolExecutor::builder()
    ///     .launcher(Launcher::command(["ssh", "node1"]).workers(4))
    ///     .launcher(Launcher::command(["ssh", "node2"]).workers(8))
    ///     .build()?;
    /// assert_eq!(executor.max_workers(), 12);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Sets the name by which errors and statistics call the launcher. The default is the
    /// words of the command.
    ///
    /// ```
    /// use concurrent_futures::Launcher;
    ///
    /// let launcher = Launcher::command(["ssh", "10.0.0.7"]).name("the big one");
    /// assert_eq!(launcher.name_or_words(), "the big one");
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Returns the launcher's name, or the words of its command.
    ///
    /// ```
    /// use concurrent_futures::Launcher;
    ///
    /// assert_eq!(Launcher::command(["srun", "-n1", "-u"]).name_or_words(), "srun -n1 -u");
    /// ```
    pub fn name_or_words(&self) -> String {
        let words = || self.words.join(OsStr::new(" "));
        let name = self.name.clone();
        name.unwrap_or_else(|| words().to_string_lossy().into_owned())
    }

    /// Sets the path of this program on the other side. The default is the path of this
    /// program here, or the path of a copy ([`stage`](Self::stage)).
    ///
    /// The file has to be the same build as this program. A worker of another build
    /// reports the difference, and the pool does not use the launcher any more.
    ///
    /// ```
    /// use concurrent_futures::Launcher;
    ///
    /// let launcher = Launcher::command(["docker", "run", "-i", "--rm", "image"])
    ///     .program("/usr/local/bin/program");
    /// assert!(format!("{launcher:?}").contains("/usr/local/bin/program"));
    /// ```
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    /// Sets if the command copies this program to the other side before it starts a
    /// worker. A copy that is already there is used again. The default is `false`.
    ///
    /// The copy is a file in the folder `concurrent-futures` of `$XDG_CACHE_HOME`, or of
    /// `$HOME/.cache`, on the other side. The file's name consists of the program's name
    /// and a hash of the program's bytes, so another build gets another file. If
    /// [`program`](Self::program) sets a path, the copy has this path with the hash
    /// appended; choose a folder in which no other user may write. A command that copies a
    /// program to the cache also removes old copies from the cache: a copy is old if it was
    /// not used to start a worker for a month.
    ///
    /// The other side needs a POSIX shell, which runs as `sh`, and its usual programs
    /// (`head`, `wc`, `find`). The other side must be a machine of the same kind (`uname
    /// -m`), and have the loader and the shared libraries that the program needs. If the
    /// loader is missing, the shell says "not found"; if a library is missing, the loader
    /// names the library. The first worker of the launcher starts alone, so that the
    /// program is copied once. The whole copy has no time limit, but it fails if it makes
    /// no progress for the time of the [`start_limit`](Self::start_limit).
    ///
    /// ```
    /// use concurrent_futures::{Launcher, ProcessPoolExecutor};
    ///
    /// concurrent_futures::init();
    /// let cache = std::env::temp_dir().join(format!("cache-{}", std::process::id()));
    /// let variable = format!("XDG_CACHE_HOME={}", cache.display());
    /// let executor = ProcessPoolExecutor::builder()
    ///     // On another host: `["ssh", "node1"]`.
    ///     .launcher(Launcher::command(["env", &variable]).stage(true))
    ///     .build()?;
    /// let path = executor.submit(|()| std::env::current_exe().ok(), ())?.into_result()?;
    /// let here = std::env::current_exe().ok();
    /// assert!(path.is_some() && path != here, "the worker runs the copy");
    /// # executor.shutdown();
    /// # std::fs::remove_dir_all(cache).expect("the copy lies there");
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn stage(mut self, yes: bool) -> Self {
        self.stages = yes;
        self
    }

    /// Sets if a shell reads the words that follow the command, as a shell on the other
    /// side of `ssh` does. If the setting is `true`, the pool quotes the words that it
    /// adds. The default is `true` if the first word of the command is `ssh`, with or
    /// without a path in front.
    ///
    /// If the setting is `true` and this program is killed, the kernel sends `SIGTERM` to
    /// the command, but not to the processes that the command has started. Without this
    /// signal, `ssh` would wait as long as the network is down. To set up this signal,
    /// this process has to start the command by `fork`, which takes longer the more memory
    /// this process has.
    ///
    /// ```
    /// use concurrent_futures::Launcher;
    ///
    /// let launcher = Launcher::command(["gcloud", "compute", "ssh", "vm", "--"]);
    /// let launcher = launcher.through_shell(true);
    /// assert!(format!("{launcher:?}").contains("through_shell: Some(true)"));
    /// ```
    pub fn through_shell(mut self, yes: bool) -> Self {
        self.through_shell = Some(yes);
        self
    }

    /// Limits the time of each of the two steps of a worker's start. The first step ends
    /// when the program on the other side has called [`init`](crate::init), and the
    /// second when the worker is ready. The initializer has no limit. During a copy
    /// ([`stage`](Self::stage)) the limit begins anew each time the copy makes progress.
    /// The default is 60 seconds.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::Launcher;
    ///
    /// // A batch system may keep a job in its queue for long.
    /// let launcher = Launcher::command(["srun", "-n1", "-u"]);
    /// let launcher = launcher.start_limit(Duration::from_secs(3600));
    /// assert!(format!("{launcher:?}").contains("3600s"));
    /// ```
    pub fn start_limit(mut self, limit: Duration) -> Self {
        self.start_limit = limit;
        self
    }

    /// Sets the time after which a worker counts as lost if nothing has arrived from it.
    /// Also sets the time after which the worker ends itself if nothing has arrived from
    /// the pool. The default is 30 seconds.
    ///
    /// Five times in this period the pool sends a few bytes to each worker. The worker
    /// answers these bytes even while it runs a task. If this process is stopped for longer
    /// than this period, the workers end.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrent_futures::Launcher;
    ///
    /// let launcher = Launcher::command(["ssh", "node1"]);
    /// let launcher = launcher.silence_limit(Duration::from_secs(5));
    /// assert!(format!("{launcher:?}").contains("silence_limit: 5s"));
    /// ```
    pub fn silence_limit(mut self, limit: Duration) -> Self {
        self.silence_limit = limit;
        self
    }

    /// Sets the largest number of tasks that a worker has at once: the task that it runs,
    /// and tasks that the pool sent ahead, so that the worker need not wait for its next
    /// task. By default the pool chooses a number from 1 to 16: the shorter the tasks are
    /// compared to the time that a message travels, the larger the number.
    ///
    /// A task that was sent ahead stays pending until it begins. The pool asks the worker
    /// to give the task back if another worker has nothing to do, or if the task is
    /// cancelled. `cancel` waits for the worker's answer, a few milliseconds on a usual
    /// network.
    ///
    /// ```
    /// use concurrent_futures::{Launcher, ProcessPoolExecutor};
    ///
    /// concurrent_futures::init();
    /// let executor = ProcessPoolExecutor::builder()
    ///     .launcher(Launcher::command(["nice"]).in_flight(8))
    ///     .build()?;
    /// let squares = executor.map(|n: u64| n * n, 0..100)?;
    /// assert_eq!(squares.sum::<Result<u64, _>>()?, 328_350);
    /// # Ok::<(), concurrent_futures::Error>(())
    /// ```
    pub fn in_flight(mut self, tasks: usize) -> Self {
        self.in_flight = Some(tasks);
        self
    }

    /// Returns an error if a setting of the launcher is invalid.
    pub(super) fn check(&self) -> Result<(), Error> {
        // The pool starts the program by the command `env`, which takes a path with a `=`
        // for the assignment of a variable.
        let has_sign = |path: &PathBuf| path.as_os_str().as_encoded_bytes().contains(&b'=');
        let has_nul = |word: &OsStr| word.as_encoded_bytes().contains(&0);
        let is_in_a_home = |path: &PathBuf| path.as_os_str().as_encoded_bytes().starts_with(b"~");
        let program = self.program.iter().map(|program| program.as_os_str());
        let words = self.words.iter().map(OsString::as_os_str).chain(program);
        let what = if self.words.first().is_none_or(|word| word.is_empty()) {
            "launcher: the command must have a first word, which names a program"
        } else if words.into_iter().any(has_nul) {
            "launcher: the words of the command and the program's path must not have a NUL byte"
        } else if self
            .program
            .as_ref()
            .is_some_and(|path| path.as_os_str().is_empty() || has_sign(path))
        {
            "launcher: the program's path must not be empty or have a `=`"
        } else if self.program.as_ref().is_some_and(is_in_a_home) {
            "launcher: no shell replaces the `~` of the program's path; name the whole path, or let \
             `stage` copy to the cache in the home"
        } else if self.workers == 0 || self.in_flight == Some(0) {
            "launcher: the numbers of workers and of tasks in flight must be at least 1"
        } else if self.start_limit.is_zero() || self.silence_limit < SHORTEST_SILENCE {
            "launcher: the start limit must be longer than 0, and the silence limit at least 1 second"
        } else {
            return Ok(());
        };
        Err(Error::invalid_argument(what))
    }

    /// Returns `true` if a shell reads the words that follow the command.
    pub(super) fn goes_through_shell(&self) -> bool {
        let first = self.words.first().map(PathBuf::from);
        let is_ssh = || first.is_some_and(|first| first.file_name() == Some(OsStr::new("ssh")));
        self.through_shell.unwrap_or_else(is_ssh)
    }
}

/// The shortest limit that [`Launcher::silence_limit`] accepts. On a busy machine, a
/// process may have to wait for almost a second until it runs.
const SHORTEST_SILENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_only_a_shell_understands_is_refused() {
        for (path, is_refused) in [
            ("~/program", true),
            ("~user/program", true),
            ("~", true),
            ("./~/program", false),
            ("/home/~/program", false),
        ] {
            for stages in [false, true] {
                let launcher = Launcher::command(["ssh", "node"]).program(path);
                let checked = launcher.stage(stages).check();
                assert_eq!(checked.is_err(), is_refused, "{path}: {checked:?}");
            }
        }
    }

    #[test]
    fn a_shell_reads_the_words_after_ssh() {
        for (words, through_shell) in [
            (["ssh", "node"], true),
            (["/usr/bin/ssh", "node"], true),
            (["srun", "ssh"], false),
            (["sshx", "node"], false),
        ] {
            let launcher = Launcher::command(words);
            assert_eq!(launcher.goes_through_shell(), through_shell, "{words:?}");
            let other = launcher.through_shell(!through_shell);
            assert_eq!(other.goes_through_shell(), !through_shell, "{words:?}");
        }
    }
}
