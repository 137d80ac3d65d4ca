//! Runs a launcher's command, whose standard input and output become the transport to the
//! worker that the command starts.
//!
//! The command gets one end of a socket pair as its standard input and as its standard
//! output. Its error output is a pipe (`error_output.rs`). The command runs in a process
//! group of its own, so that Ctrl-C in a terminal reaches this process and not the command:
//! this process decides what happens to its workers. If the pool kills the command, it does
//! not kill the other processes of this group: `srun`, for example, has a child process
//! that must live on, because this child ends the worker after `srun` has ended.
//!
//! If this process is killed, the command reads end-of-file, passes it on, and ends after
//! its worker has ended. While the network is down, a command such as `ssh` would wait long
//! for the worker's end. So if a shell reads the words that follow the command, as with
//! `ssh`, [`start`] asks the kernel to terminate the command when the thread that started
//! it ends. This is the supervisor's thread, which ends at the latest when this process
//! ends. [`start`] does not do this for other commands: `bwrap`, for example, leaves a
//! process behind if it is terminated during its own start.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::error_output::ErrorOutput;
use super::process_handle::Process;
use super::staging::StagedProgram;
use crate::error::StartFailure;
use crate::process::launcher::Launcher;
use crate::process::transport::ParentEnd;
use crate::process::wire::marker::{ELSEWHERE, VARIABLE};
use crate::sys::channel;
use crate::sys::child::terminate_with_parent;
use crate::sys::shortage::Shortage;

/// Runs the command of a launcher. If `staged` is set, the command first copies this
/// program's file to the host or container of the worker, unless a copy is there already.
///
/// # Errors
///
/// Returns an error if the launcher's command cannot be run, if the path of this program
/// cannot be used, or if the system lacks a resource.
pub(super) fn start(
    launcher: &Launcher,
    staged: Option<&StagedProgram>,
) -> io::Result<(Process, ParentEnd, ErrorOutput)> {
    let (first, others) = launcher
        .words
        .split_first()
        .ok_or(io::ErrorKind::InvalidInput)?;
    let (parent_end, child_end) = channel::pair()?;
    let mut command = Command::new(first);
    command
        .args(others)
        .args(words_of_program(launcher, staged)?)
        .stdin(Stdio::from(child_end.try_clone()?))
        .stdout(Stdio::from(child_end))
        .stderr(Stdio::piped())
        .process_group(0);
    if launcher.goes_through_shell() {
        terminate_with_parent(&mut command);
    }
    let mut child = command.spawn().map_err(|error| explain(launcher, error))?;
    let errors = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let process = Process::new(child)?;
    match ErrorOutput::new(errors) {
        Ok(errors) => Ok((
            process,
            ParentEnd::through_command(parent_end, staged.is_some()),
            errors,
        )),
        Err(error) => {
            process.kill_and_wait();
            Err(error)
        }
    }
}

/// Returns the words that start this program as a worker. They follow the words of the
/// launcher's command.
fn words_of_program(
    launcher: &Launcher,
    staged: Option<&StagedProgram>,
) -> io::Result<Vec<OsString>> {
    let assignment = format!("{VARIABLE}={ELSEWHERE}");
    let words = match (staged, &launcher.program) {
        (Some(staged), _) => staged.words(launcher, &assignment),
        (None, Some(program)) => vec!["env".into(), assignment.into(), program.into()],
        (None, None) => vec!["env".into(), assignment.into(), own_program()?.into()],
    };
    Ok(match launcher.goes_through_shell() {
        true => words.iter().map(|word| quoted(word)).collect(),
        false => words,
    })
}

/// Returns the path of this program, for a launcher for which the user has set no path. If
/// the user has set a path, the builder has already checked it.
fn own_program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let bytes = path.as_os_str().as_bytes();
    // The kernel adds ` (deleted)` to the path of a program whose file was removed.
    let (kind, what, advice) = if bytes.ends_with(b" (deleted)") && !path.exists() {
        (
            io::ErrorKind::NotFound,
            "the file of this program was removed or replaced",
            "start the program anew, or name a copy by `Launcher::program`",
        )
    } else if bytes.contains(&b'=') {
        (
            io::ErrorKind::InvalidInput,
            "the path of the program must not have a `=`",
            "move it, or name another path by `Launcher::program`",
        )
    } else {
        return Ok(path);
    };
    let what = format!("{what} ({})", path.display());
    Err(StartFailure::wrap(kind.into(), what, advice))
}

/// Quotes a word for a POSIX shell. Leaves a word as it is if it is not empty and no
/// character in it is special for a shell.
fn quoted(word: &OsStr) -> OsString {
    let bytes = word.as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+=:,@%".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return word.to_owned();
    }
    let mut quoted = vec![b'\''];
    for byte in bytes {
        match byte {
            // A quote cannot be escaped inside quoted text. So the text ends, an escaped
            // quote follows, and another quoted text begins.
            b'\'' => quoted.extend(br"'\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    OsString::from_vec(quoted)
}

fn explain(launcher: &Launcher, error: io::Error) -> io::Error {
    if Shortage::of(&error).is_some() {
        return error;
    }
    let first = launcher
        .words
        .first()
        .map(|word| word.to_string_lossy().into_owned());
    let first = first.unwrap_or_default();
    let what = format!("the command `{first}` of a launcher cannot be run ({error})");
    StartFailure::wrap(error, what, "install it, or give its whole path")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_word_as_it_was() {
        for word in [
            "/usr/bin/a-b_c.d",
            "a b",
            "it's",
            "$HOME `x` \"y\" \\ * ; &",
            "",
            "\n",
        ] {
            let script = format!("printf %s {}", quoted(word.as_ref()).to_string_lossy());
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(output.stdout, word.as_bytes(), "{script}");
        }
        assert_eq!(quoted("/usr/bin/a-b_c.d".as_ref()), "/usr/bin/a-b_c.d");
    }

    #[test]
    fn the_path_is_quoted_only_for_a_shell() {
        let words = |command| {
            let launcher = Launcher::command([command]).program("/a b");
            words_of_program(&launcher, None).unwrap()[2].clone()
        };
        assert_eq!(words("ssh"), "'/a b'");
        assert_eq!(words("srun"), "/a b");
    }

    #[test]
    fn a_command_that_is_not_there_is_named() {
        let error = start(&Launcher::command(["/no/such/command"]), None)
            .err()
            .unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("`/no/such/command`"), "{error}");
    }
}
