//! Tests of the texts of errors.

use std::time::Duration;

use super::*;

fn death(end: End, task: Option<&str>, ran_for: Option<Duration>) -> String {
    let moment = ran_for.map_or(Moment::Sent, Moment::Running);
    worker_died(end, task, moment, 1).to_string()
}

fn worker_died(end: End, task: Option<&str>, moment: Moment, times_begun: u32) -> Error {
    Error::WorkerDied(WorkerDeath::new(DeathParts {
        pid: 7,
        place: None,
        end,
        task: task.map(Arc::from),
        moment,
        note: None,
        times_begun,
        loss: Loss::Retries,
    }))
}

fn thumb() -> TaskEnd {
    TaskEnd::new(TaskEndParts {
        task: Some("thumb".into()),
        pid: Some(7),
        ran_for: Some(Duration::from_millis(2500)),
        limit: Some(Duration::from_secs(2)),
    })
}

#[test]
fn a_task_without_retries_left_says_how_often_it_was_begun() {
    let died = |times| worker_died(End::Exited(3), None, Moment::Running(Duration::ZERO), times);
    let text = died(3).to_string();
    assert!(
        text.contains("begun 3 times") && !text.contains("set `retries`"),
        "{text}"
    );
    assert!(died(1).to_string().contains("set `retries`"));
    assert!(died(0).to_string().contains("did not run"));
}

#[test]
fn a_broken_pool_says_what_broke_it_and_that_a_new_one_is_needed() {
    let panic = || Error::Panicked(Panic::from_payload(Box::new("ouch")));
    let died = || worker_died(End::Exited(3), None, Moment::Initializing, 0);
    let full = io::Error::from(io::ErrorKind::OutOfMemory);
    let undecoded = Error::Decode(CodecError::new(Side::Worker, "Shape", "no corners", false));
    let starts = BrokenPart::Starts {
        workers: 5,
        look_at: "the initializer",
    };
    for (cause, part, what) in [
        (
            panic(),
            BrokenPart::Initializer,
            "broken, its initializer panicked: ouch; mend",
        ),
        (
            Error::other("no licence"),
            BrokenPart::Initializer,
            "broken, its initializer failed: no licence; mend",
        ),
        (
            undecoded,
            BrokenPart::Initializer,
            "broken, the argument of its initializer did not arrive: a value of the type Shape",
        ),
        (
            died(),
            BrokenPart::Policy,
            "`OnWorkerDeath::BreakPool` has it when a worker dies: the worker process 7 exited \
             with code 3 in its initializer; make",
        ),
        (
            died(),
            starts,
            "the worker process 7 exited with code 3 in its initializer; look at the initializer",
        ),
        (
            Error::Spawn(Arc::new(full)),
            BrokenPart::Start,
            "broken, no worker could be started (out of memory); ask for fewer",
        ),
        // An executor of another crate creates this error, so the part that broke is
        // unknown.
        (
            panic(),
            BrokenPart::Unknown,
            "broken, the task panicked: ouch; mend",
        ),
    ] {
        let text = cause.broken(part).to_string();
        let lower = text.to_lowercase();
        assert!(lower.contains(&what.to_lowercase()), "{text}");
        assert!(
            text.contains("make a new pool") && !text.contains("retries"),
            "{text}"
        );
    }
}

#[test]
fn a_start_that_failed_is_advised_by_what_is_short() {
    let text = |error: io::Error| Error::Spawn(Arc::new(error)).to_string();
    let short = text(io::ErrorKind::WouldBlock.into());
    assert!(
        short.contains("fewer workers") && short.contains("`ulimit -u`"),
        "{short}"
    );
    let refused = text(io::ErrorKind::PermissionDenied.into());
    assert!(!refused.contains("fewer workers"), "{refused}");
    let found = StartFailure::wrap(
        io::ErrorKind::NotFound.into(),
        "it is gone".to_owned(),
        "bring it back",
    );
    assert_eq!(found.kind(), io::ErrorKind::NotFound);
    assert_eq!(
        text(found),
        "no worker could be started: it is gone; bring it back"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_shortage_of_descriptors_is_not_said_to_be_one_of_workers() {
    let full = io::Error::from_raw_os_error(libc::EMFILE);
    let text = Error::Spawn(Arc::new(full)).to_string();
    assert!(
        text.contains("`ulimit -n`") && !text.contains("workers,"),
        "{text}"
    );
}

#[test]
fn an_operation_that_does_not_fit_says_what_to_do_in_that_state() {
    for (state, to_do) in [
        (State::Pending, "wait for it first"),
        (State::Running, "wait for it first"),
        (State::Finished, "set it once"),
        (State::Cancelled, "ask `Promise::start` first"),
    ] {
        let text = Error::InvalidState(state).to_string();
        assert!(text.contains(to_do), "{text}");
    }
}

#[test]
fn a_lost_task_is_told_why_it_is_not_begun_again() {
    for (loss, times_begun, to_do) in [
        (Loss::Policy, 1, "choose `OnWorkerDeath::FailTask`"),
        (Loss::Ended, 1, "submit it to a new one if it may run twice"),
        (
            Loss::Ended,
            0,
            "the task did not run, for the pool was broken",
        ),
        (
            Loss::Unread(3),
            1,
            "3 workers ended while they read its argument: give it a smaller",
        ),
    ] {
        let parts = DeathParts {
            pid: 7,
            place: None,
            end: End::Exited(3),
            task: None,
            moment: Moment::Sent,
            note: None,
            times_begun,
            loss,
        };
        let text = Error::WorkerDied(WorkerDeath::new(parts)).to_string();
        assert!(text.contains(to_do) && !text.contains("retries"), "{text}");
    }
}

#[test]
fn a_death_says_who_how_and_under_what() {
    let second = Some(Duration::from_secs(1));
    let text = death(End::Signalled("SIGSEGV".to_owned()), Some("thumb"), second);
    assert!(
        text.starts_with("the worker process 7 was ended by SIGSEGV 1.0s into the task thumb;"),
        "{text}"
    );
    let text = death(End::Exited(3), None, second);
    assert!(
        text.contains("7 exited with code 3 1.0s into the task;"),
        "{text}"
    );
    let text = death(End::Signalled("signal 40".to_owned()), None, None);
    assert!(
        text.contains("ended by signal 40 before the task began;"),
        "{text}"
    );
}

#[test]
fn each_message_says_what_happened_and_what_to_do() {
    let codec = CodecError::new(Side::Worker, "Shape", "no corners", false);
    for (error, what, to_do) in [
        (
            Error::TimeLimit(thumb()),
            "limit of 2s ended the task thumb in the worker process 7, after 2.5s;",
            "allow it more",
        ),
        (
            Error::Killed(thumb()),
            "a kill ended the task thumb in the worker process 7, after 2.5s;",
            "submit it again",
        ),
        (Error::Encode(codec.clone()), "no corners", "mend its"),
        (
            Error::Decode(codec),
            "Shape could not be decoded in the worker",
            "must read",
        ),
        (
            Error::unsupported("no processes here"),
            "no processes",
            "here",
        ),
    ] {
        let text = error.to_string();
        assert!(text.contains(what) && text.contains(to_do), "{text}");
    }
}

/// The type is not to blame for a shortage of memory.
#[test]
fn a_value_for_which_there_was_no_memory_is_not_said_to_be_read_wrongly() {
    let why = "there is no memory for its 9 bytes".to_owned();
    let error = CodecError::new(Side::Parent, "String", why, true);
    assert_eq!(
        Error::Decode(error).to_string(),
        "a value of the type String could not be decoded here: there is no memory for its 9 \
         bytes; free memory, or send the value in parts"
    );
}
