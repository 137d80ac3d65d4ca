//! The command line.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use encoding_rs::UTF_8;
use lexopt::Arg::{Long, Short, Value};
use lexopt::{Parser, ValueExt};

pub(crate) const HELP: &str = "\
Prints the titles of web pages, fetched by a pool.

Usage: titles [URL]... [OPTIONS]

Without addresses it fetches five well-known pages or, where no name resolves, five of its own.

Options:
  --from FILE        addresses from a file, one a line; - is standard input; lines that begin
                     with # are left out; they come after the addresses given here
  --offline          fetch five pages of the program's own, from a server that it starts here
  --pool POOL        inline: one after the other in the main thread; threads (default); processes;
                     mpi: the ranks of a job that mpirun has started, built with --features mpi
  --workers N        at most N pages at a time; inline never has more than one
                     (default: 4 more than there are processors, at most 32; as many processes as
                     there are processors, but at least one for each launcher; all ranks but one)
  --launcher WORDS   start the processes by the command with these words, separated by spaces, as
                     'ssh node', where this program has to be too, at the same path; given several
                     times, the commands share the workers evenly
  --timeout SECONDS  for each address, with all that belongs to it (default: 20)
  --trace            say on standard error which worker gets which page
  --json             print one JSON array and nothing else
  --help             print this

Pages are read as browsers read them, but without cookies and scripts; a meta refresh is not followed,
XHTML is read as HTML, and of the compressions there is only gzip.

The first of ALL_PROXY, HTTPS_PROXY and HTTP_PROXY (also in small letters) that is set names the proxy
for all addresses but this machine's own and those that NO_PROXY names.

Exit status: 0 if all went well (no title is well), 1 if an address failed, 2 for wrong usage.
";

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);
/// Longer is as good as forever, and clocks can be added to it.
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The options of the command line.
#[derive(Debug)]
pub(crate) enum Asked {
    Help,
    Titles(Options),
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) pages: Pages,
    pub(crate) pool: Pool,
    pub(crate) workers: Option<usize>,
    /// The commands that start the processes, each as its words. Without any, the pool starts them.
    pub(crate) launchers: Vec<Vec<String>>,
    pub(crate) timeout: Duration,
    pub(crate) trace: bool,
    pub(crate) json: bool,
}

/// The pages to fetch.
#[derive(Debug)]
pub(crate) enum Pages {
    /// These, and be there none of them.
    Given(Vec<String>),
    /// The well-known ones.
    WellKnown,
    /// The program's own.
    Own,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Pool {
    Inline,
    Threads,
    Processes,
    Mpi,
}

impl Pool {
    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Threads => "threads",
            Self::Processes => "processes",
            Self::Mpi => "mpi",
        }
    }
}

/// Reads the command line, and the files that it names. Wrong usage is a sentence.
pub(crate) fn parse(mut parser: Parser) -> Result<Asked, String> {
    let mut addresses = Vec::new();
    let mut files = Vec::new();
    let mut offline = false;
    let mut options = Options {
        pages: Pages::WellKnown,
        pool: Pool::Threads,
        workers: None,
        launchers: Vec::new(),
        timeout: DEFAULT_TIMEOUT,
        trace: false,
        json: false,
    };
    let sentence = |error: lexopt::Error| error.to_string();
    while let Some(arg) = parser.next().map_err(sentence)? {
        match arg {
            Value(address) => addresses.push(address.string().map_err(sentence)?),
            Long("from") => files.push(parser.value().map_err(sentence)?),
            Long("offline") => offline = true,
            Long("pool") => options.pool = pool(&text(&mut parser)?)?,
            Long("workers") => options.workers = Some(workers(&text(&mut parser)?)?),
            Long("launcher") => options.launchers.push(launcher(&text(&mut parser)?)?),
            Long("timeout") => options.timeout = timeout(&text(&mut parser)?)?,
            Long("trace") => options.trace = true,
            Long("json") => options.json = true,
            Long("help") | Short('h') => return Ok(Asked::Help),
            other => return Err(other.unexpected().to_string()),
        }
    }

    if !options.launchers.is_empty() && !matches!(options.pool, Pool::Processes) {
        return Err("--launcher is for --pool processes".to_owned());
    }
    options.pages = match (addresses.is_empty() && files.is_empty(), offline) {
        (true, false) => Pages::WellKnown,
        (true, true) => Pages::Own,
        (false, true) => return Err("--offline has addresses of its own".to_owned()),
        (false, false) => {
            for file in &files {
                addresses.extend(listed(&read(file)?));
            }
            Pages::Given(addresses)
        }
    };
    Ok(Asked::Titles(options))
}

fn text(parser: &mut Parser) -> Result<String, String> {
    let value = parser.value().and_then(|value| value.string());
    value.map_err(|error| error.to_string())
}

fn pool(name: &str) -> Result<Pool, String> {
    let pool = [Pool::Inline, Pool::Threads, Pool::Processes, Pool::Mpi]
        .into_iter()
        .find(|pool| pool.name() == name)
        .ok_or_else(|| format!("--pool is inline, threads, processes or mpi, not {name:?}"))?;
    if matches!(pool, Pool::Mpi) && !cfg!(feature = "mpi") {
        return Err("--pool mpi takes a build with --features mpi".to_owned());
    }
    Ok(pool)
}

fn workers(number: &str) -> Result<usize, String> {
    let number = number.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "--workers is a whole number from 1".to_owned())
}

fn launcher(command: &str) -> Result<Vec<String>, String> {
    let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() {
        return Err("--launcher is the words of a command, as 'ssh node'".to_owned());
    }
    Ok(words)
}

fn timeout(seconds: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = seconds.parse().ok();
    let seconds = seconds.filter(|seconds| seconds.is_finite() && *seconds > 0.0);
    let seconds = seconds.ok_or("--timeout is a number of seconds above 0, as 2.5")?;
    let timeout = Duration::try_from_secs_f64(seconds).unwrap_or(MAX_TIMEOUT);
    Ok(timeout.clamp(Duration::from_nanos(1), MAX_TIMEOUT))
}

fn read(file: &OsStr) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = if file == "-" {
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(file)
    };
    read.map_err(|error| format!("cannot read {}: {error}", Path::new(file).display()))
}

/// The addresses in a file of UTF-8, or of UTF-16 with a byte order mark.
fn listed(bytes: &[u8]) -> Vec<String> {
    let (text, ..) = UTF_8.decode(bytes);
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}
