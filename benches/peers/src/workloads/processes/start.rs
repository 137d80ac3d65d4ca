//! P6: from making a pool to its first result, beside a bare start of this program: the same start
//! that a worker has, with one byte over a pipe for an answer.

use std::cell::OnceCell;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Instant;
use std::{env, io};

use crate::contender::{Contender, Kind};
use crate::pools::{PoolMaker, PortablePool, Procspawn, Transport, same};
use crate::row::{Bar, Metric, Rivals, Row};
use crate::statistics::median;

/// Starts in a round, whose median is its sample.
const STARTS: usize = 15;

/// The size of a parent: bytes of memory that the parent has written to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parent {
    name: &'static str,
    bytes: usize,
}

pub(super) const PARENTS: [Parent; 2] = [
    Parent {
        name: "small",
        bytes: 0,
    },
    Parent {
        name: "1 GiB",
        bytes: 1 << 30,
    },
];

/// The argument with which this program only answers.
const ANSWER: &str = "answer-at-once";

/// Answers, if this program was started for nothing else.
pub(crate) fn has_answered() -> bool {
    let asked = env::args_os().nth(1).is_some_and(|word| word == ANSWER);
    if asked {
        let answered = io::stdout()
            .write_all(b"!")
            .and_then(|()| io::stdout().flush());
        answered.expect("the parent reads it");
    }
    asked
}

fn start_pool<M: PoolMaker>(maker: M) -> f64 {
    let start = Instant::now();
    let pool = maker.pool(1);
    assert_eq!(M::Pool::wait(pool.submit(same, 1)), 1);
    start.elapsed().as_secs_f64()
}

fn start_bare() -> f64 {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(ANSWER)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().expect("it has been started before");
    let mut answer = [0];
    let stdout = child.stdout.as_mut().expect("it is a pipe");
    stdout.read_exact(&mut answer).expect("it answers");
    let taken = start.elapsed();
    child.wait().expect("it was started");
    taken.as_secs_f64()
}

/// Returns the row of parents of that size.
pub(super) fn row(transport: Transport, parent: Parent) -> Row {
    // Written to when the row begins, and given back when it is over.
    let memory = Rc::new(OnceCell::new());
    let contender = |name, kind, start: Box<dyn Fn() -> f64>| {
        let memory = Rc::clone(&memory);
        Contender::new(name, kind, move || {
            memory.get_or_init(|| vec![1_u8; parent.bytes]);
            let starts: Vec<f64> = (0..STARTS).map(|_| start() * 1e6).collect();
            vec![median(&starts)]
        })
    };
    Row {
        id: "P6",
        name: format!("P6, {} parent, {}", parent.name, transport.short_name()),
        metrics: &[Metric {
            name: "to the first answer",
            unit: "us",
        }],
        contenders: vec![
            contender(
                transport.name(),
                transport.kind(),
                Box::new(move || start_pool(transport)),
            ),
            contender("bare start", Kind::Base, Box::new(start_bare)),
            contender(
                Procspawn.name(),
                Procspawn.kind(),
                Box::new(|| start_pool(Procspawn)),
            ),
        ],
        bars: vec![Bar {
            suffix: "",
            metric: 0,
            rivals: Rivals::Best(|_, kind| kind == Kind::Base),
            firm: Some(1.5),
            aim: Some(1.15),
        }],
    }
}
