//! The place of a panic: that of the very panic which ended the task, whatever
//! else panicked on the way.

use std::panic::{catch_unwind, panic_any, resume_unwind};
use std::sync::Arc;
use std::thread;

use concurrent_futures::{Error, InlineExecutor, Panic, TaskOptions, ThreadPoolExecutor, promise};

/// Runs it when dropped.
struct InDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for InDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A word that the compiler does not put into a literal.
fn word(word: &str) -> &str {
    std::hint::black_box(word)
}

/// The panic that ends a task.
fn panic_of(task: impl FnOnce()) -> Panic {
    let (promise, future) = promise();
    promise.run(task);
    match future.exception() {
        Some(Error::Panicked(panic)) => panic,
        other => panic!("{other:?}"),
    }
}

/// The line of this file where a task panicked; 0: unknown.
fn line_of(task: impl FnOnce()) -> u32 {
    let panic = panic_of(task);
    let line = panic.location().map(|place| {
        let (_, place) = place.split_once("panics.rs:").unwrap();
        place.split(':').next().unwrap().parse().unwrap()
    });
    line.unwrap_or(0)
}

#[test]
fn a_panic_that_a_drop_catches_does_not_lend_its_place() {
    let catches = |words: &'static str| {
        InDrop(move || assert!(catch_unwind(|| panic_any(words.to_owned())).is_err()))
    };
    let other = line_of(|| {
        let _drop = catches("no disk");
        panic!("no paper");
    });
    assert_eq!(other, line!() - 2);
    let formatted = line_of(|| {
        let _drop = catches("no paper");
        panic!("no {}", word("paper"));
    });
    assert_eq!(formatted, line!() - 2);
    let many = line_of(|| {
        let _drop = (0..20).map(|_| catches("no paper")).collect::<Vec<_>>();
        panic!("no {}", word("paper"));
    });
    assert_eq!(many, line!() - 2);
}

/// The texts of literals are one and the same.
#[test]
fn a_literal_that_a_drop_panics_with_too_does_not_lend_its_place() {
    let line = line_of(|| {
        let _drop = InDrop(|| assert!(catch_unwind(|| panic!("no paper")).is_err()));
        panic!("no paper");
    });
    assert_eq!(line, line!() - 2);
}

#[test]
fn a_literal_that_was_caught_before_does_not_lend_its_place() {
    let nothing: Option<u8> = std::hint::black_box(None);
    let line = line_of(|| {
        for _ in 0..100 {
            assert!(catch_unwind(|| nothing.unwrap()).is_err());
        }
        nothing.unwrap();
    });
    assert_eq!(line, line!() - 2);
}

#[test]
fn what_panics_in_a_callback_or_a_task_inside_does_not_lend_its_place() {
    let callback = line_of(|| {
        let (promise, future) = promise::<()>();
        // They run while the task unwinds, and are more than it remembers.
        (0..100).for_each(|_| future.add_done_callback(|_| panic!("no paper")));
        let _drop = promise;
        panic!("no paper");
    });
    assert_eq!(callback, line!() - 2);
    let value = line_of(|| {
        let (promise, future) = promise();
        future.detach();
        let _drop = InDrop(|| promise.set_result(InDrop(|| panic!("no paper"))).unwrap());
        panic!("no paper");
    });
    assert_eq!(value, line!() - 2);
    let executor = Arc::new(ThreadPoolExecutor::with_max_workers(1).unwrap());
    let inner = Arc::clone(&executor);
    let outer = executor.spawn(move || {
        // Run by its own wait, on the stack of this one.
        let _drop = InDrop(|| {
            let future = inner.spawn(|| panic!("no paper")).unwrap();
            assert!(matches!(future.result(), Err(Error::Panicked(_))));
        });
        panic!("no paper");
    });
    let Some(Error::Panicked(panic)) = outer.unwrap().exception() else {
        panic!("it panics");
    };
    let line = format!("panics.rs:{}:", line!() - 5);
    assert!(panic.location().unwrap().contains(&line), "{panic}");
}

#[test]
fn a_panic_that_is_resumed_keeps_its_place_on_its_thread() {
    let line = line_of(|| {
        let payload = catch_unwind(|| panic!("no {}", word("paper"))).unwrap_err();
        assert!(catch_unwind(|| panic!("no {}", word("disk"))).is_err());
        resume_unwind(payload);
    });
    assert_eq!(line, line!() - 4);
    let any = line_of(|| {
        let payload = catch_unwind(|| panic_any(5_u8)).unwrap_err();
        assert!(catch_unwind(|| panic_any(5_u16)).is_err());
        resume_unwind(payload);
    });
    assert_eq!(any, line!() - 4);
    let described = line_of(|| {
        let payload = catch_unwind(|| panic!("no {}", word("paper"))).unwrap_err();
        Panic::from_payload(payload).resume()
    });
    assert_eq!(described, line!() - 3);
}

#[test]
fn a_panic_that_no_hook_saw_has_no_place() {
    let resumed = line_of(|| {
        assert!(catch_unwind(|| panic!("no {}", word("paper"))).is_err());
        resume_unwind(Box::new("no paper"))
    });
    assert_eq!(resumed, 0);
    let elsewhere = line_of(|| {
        assert!(catch_unwind(|| panic!("no {}", word("paper"))).is_err());
        let other = thread::spawn(|| panic!("no {}", word("paper")));
        resume_unwind(other.join().unwrap_err())
    });
    assert_eq!(elsewhere, 0);
    let later = {
        assert_ne!(line_of(|| panic!("no paper")), 0);
        line_of(|| resume_unwind(Box::new("no paper")))
    };
    assert_eq!(later, 0);
}

#[test]
fn a_panic_after_any_number_of_others_has_its_place() {
    let line = line_of(|| {
        for n in 0..1000 {
            assert!(catch_unwind(|| panic!("no {n}")).is_err());
        }
        panic!("no {}", word("luck"));
    });
    assert_eq!(line, line!() - 2);
}

/// The notes of the outer task are still there behind the inner one.
#[test]
fn an_inner_task_leaves_the_outer_one_its_place() {
    let line = line_of(|| {
        let payload = catch_unwind(|| panic!("no {}", word("paper"))).unwrap_err();
        assert_ne!(line_of(|| panic!("no {}", word("disk"))), 0);
        assert!(catch_unwind(|| panic!("no {}", word("ink"))).is_err());
        resume_unwind(payload);
    });
    assert_eq!(line, line!() - 5);
}

/// A task that runs inside another one, on the same thread, has its own name or none.
#[test]
fn a_panic_has_the_name_of_its_own_task() {
    let executor = ThreadPoolExecutor::builder()
        .max_workers(1)
        .build()
        .unwrap();
    let executor = Arc::new(executor);
    let inner = Arc::clone(&executor);
    let name_of = |error: Option<Error>| match error {
        Some(Error::Panicked(panic)) => panic.task().map(str::to_owned),
        other => panic!("{other:?}"),
    };
    let outer = move || {
        let fails = || panic!("it fails");
        let named = inner.with(TaskOptions::new().name("inner"));
        let (promise, promised) = promise();
        promise.run(fails);
        let mut names = vec![
            name_of(named.spawn(fails).unwrap().exception()),
            name_of(inner.spawn(fails).unwrap().exception()),
            name_of(
                InlineExecutor::new()
                    .unwrap()
                    .spawn(fails)
                    .unwrap()
                    .exception(),
            ),
            name_of(promised.exception()),
        ];
        inner
            .scope(|scope| {
                let of_scope = scope.spawn(fails)?;
                names.push(name_of(of_scope.exception()));
                Ok::<(), Error>(())
            })
            .unwrap();
        names
    };
    let view = executor.with(TaskOptions::new().name("outer"));
    let names = view.spawn(outer).unwrap().into_result().unwrap();
    let expected = [Some("inner".to_owned()), None, None, None, None];
    assert_eq!(names, expected);
    let outer = view.spawn(|| panic!("it fails too")).unwrap();
    assert_eq!(name_of(outer.exception()).as_deref(), Some("outer"));
}
