//! Pools of other languages: a process for each, which measures when it is told to.
//!
//! A request is a line with a pool, a workload and its sizes; the answer is a line with the values.
//! The process stays for all rounds, as Java needs some to compile what runs often.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::contender::{Contender, Kind};

/// A process that measures.
#[derive(Debug)]
struct Script {
    process: Child,
    /// Taken by `drop` alone: its end is the end of the process.
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Script {
    fn start(program: &str, file: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scripts");
        let mut process = Command::new(program)
            .arg(folder.join(file))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it is installed");
        let requests = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("it is a pipe"));
        Self {
            process,
            requests,
            answers,
        }
    }

    fn ask(&mut self, request: &str) -> Vec<f64> {
        let requests = self.requests.as_mut().expect("taken by drop alone");
        writeln!(requests, "{request}").expect("the script reads");
        let mut answer = String::new();
        self.answers
            .read_line(&mut answer)
            .expect("the script answers");
        let values = answer.split_whitespace().map(str::parse);
        let values: Result<Vec<f64>, _> = values.collect();
        values.expect("the script answers with numbers")
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.requests = None;
        // It has no more to read, and ends.
        let _ = self.process.wait();
    }
}

/// Returns whether the program is installed.
fn is_installed(program: &str, version: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(version);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Returns the programs that are not installed, and with them the rows' lines about them.
pub(crate) fn missing() -> Vec<&'static str> {
    let programs = [("java", "-version"), ("python3", "--version")];
    let missing = |(program, version): &(&str, &str)| !is_installed(program, version);
    let missing = programs.into_iter().filter(missing);
    missing.map(|(program, _)| program).collect()
}

/// Returns Java's two pools with that workload.
pub(crate) fn java(workload: String) -> Vec<Contender> {
    if !is_installed("java", "-version") {
        return Vec::new();
    }
    [
        ("Java ForkJoinPool", "ForkJoinPool"),
        ("Java ThreadPoolExecutor", "ThreadPoolExecutor"),
    ]
    .map(|(name, pool)| contender(name, Kind::Java, ["java", "Peers.java"], pool, &workload))
    .into()
}

/// Returns CPython's pool of threads with that workload.
pub(crate) fn python(workload: String) -> Option<Contender> {
    python_pool(
        "CPython ThreadPoolExecutor",
        "ThreadPoolExecutor",
        &workload,
    )
}

/// Returns CPython's `ProcessPoolExecutor` with that workload.
pub(crate) fn python_executor(workload: String) -> Option<Contender> {
    python_pool(
        "CPython ProcessPoolExecutor",
        "ProcessPoolExecutor",
        &workload,
    )
}

/// Returns CPython's two pools of processes with that workload.
pub(crate) fn python_processes(workload: String) -> Vec<Contender> {
    let pool = python_pool("multiprocessing.Pool", "Pool", &workload);
    python_executor(workload).into_iter().chain(pool).collect()
}

fn python_pool(name: &'static str, pool: &str, workload: &str) -> Option<Contender> {
    let script = ["python3", "peers.py"];
    is_installed("python3", "--version")
        .then(|| contender(name, Kind::Python, script, pool, workload))
}

fn contender(
    name: &'static str,
    kind: Kind,
    [program, file]: [&'static str; 2],
    pool: &str,
    workload: &str,
) -> Contender {
    let request = format!("{pool} {workload}");
    // Started by the first round, which does not count.
    let mut script = None;
    Contender::new(name, kind, move || {
        let script = script.get_or_insert_with(|| Script::start(program, file));
        script.ask(&request)
    })
}
