//! Tests of the messages that a worker sends about its tasks.

use std::sync::Arc;

use serde::Serialize;

use super::*;
use crate::process::transport::{ParentEnd, Rings, ends};
use crate::process::wire::assembler::Assembler;
use crate::process::wire::call::{Call, task_frame};
use crate::process::wire::frame::Frame;
use crate::process::wire::message::Request;
use crate::sys::channel::{self, Channel};

/// A worker that runs the tasks which the test gives it, and the parent's end of its
/// transport.
struct Told {
    answers: Answers,
    parent: ParentEnd,
}

impl Told {
    fn new(is_shared: bool) -> Self {
        let (ours, theirs) = channel::pair().unwrap();
        let (rings, file) = Rings::create().unwrap();
        let opened = Rings::open(&file, rings.key()).unwrap();
        let channel = Arc::new(Channel::new(theirs));
        let (sender, _) = ends(channel, is_shared.then_some(opened), None, 0);
        let output = Output::Direct(sender);
        Self {
            answers: Answers::new(None, output, Origin::current()),
            parent: ParentEnd::new(ours, is_shared.then_some(rings)),
        }
    }

    /// Runs a task, and returns the kinds of the messages about it. Checks that the task
    /// has begun, as far as the parent knows, before the parent has a part of the answer.
    fn run<T: Serialize + 'static>(&mut self, f: fn(usize) -> T, length: usize) -> Vec<Kind> {
        let frame = task_frame(Call::one(f).unwrap(), &length).unwrap();
        let (_, frame) = Frame::only(&frame).unwrap();
        let Ok(Request::Task(_, work)) = Request::of(frame) else {
            panic!("it is a task");
        };
        self.answers.start(7);
        self.answers.answer(7, work);
        let mut messages = Assembler::new();
        let mut kinds = Vec::new();
        loop {
            while let Some(frame) = messages.next().unwrap() {
                assert_eq!(frame.task, 7);
                kinds.push(frame.kind);
            }
            let has_begun = kinds.first() == Some(&Kind::Started);
            assert!(has_begun || messages.is_between_frames());
            match self.parent.receive_now(messages.spare_buffer().unwrap()) {
                Ok(count) => messages.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return kinds,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn text(length: usize) -> String {
    "x".repeat(length)
}

fn numbers(length: usize) -> Vec<u64> {
    vec![7; length]
}

/// The parent, which is awake, learns from the shared memory that the task has begun. If a
/// part of an answer arrived before the parent knows this, it would kill the worker.
#[test]
fn a_worker_says_that_it_begins_a_task_only_before_a_long_answer() {
    let mut shared = Told::new(true);
    let short = [Kind::Returned];
    let long = [Kind::Started, Kind::Returned];
    let mut lengths = Vec::new();
    for length in (0..5000).step_by(7) {
        let kinds = shared.run(text, length);
        assert!(kinds == short || kinds == long, "{length}: {kinds:?}");
        lengths.push(kinds.len());
    }
    assert!(lengths.is_sorted());
    assert_eq!((lengths[0], lengths[4000 / 7]), (1, 1));
    assert_eq!(lengths.last(), Some(&2));
    assert_eq!(shared.run(numbers, 0), short);
    assert_eq!(shared.run(numbers, 10_000), long);
    assert_eq!(shared.run(text, 1), short);
    assert_eq!(Told::new(false).run(text, 1), long);
}

#[test]
fn a_worker_tells_a_parent_that_sleeps_that_it_begins_a_task() {
    let mut told = Told::new(true);
    assert!(told.parent.arm());
    assert_eq!(told.run(text, 1), [Kind::Started, Kind::Returned]);
    assert_eq!(told.run(text, 1), [Kind::Returned]);
}
