//! The program's own panic hook, beside the one that the crate chains.
//!
//! In a process of its own: a hook is the whole process's.

use std::sync::atomic::{AtomicUsize, Ordering};

use concurrent_futures::{Error, InlineExecutor, ThreadPoolExecutor, promise};

use crate::LIMIT;
use crate::alone::passes;

static SEEN: AtomicUsize = AtomicUsize::new(0);

#[test]
fn the_programs_hook_sees_each_panic_once() {
    const NAME: &str = concat!(module_path!(), "::the_programs_hook_sees_each_panic_once");
    passes(NAME, see_each_panic_once);
}

fn see_each_panic_once() {
    std::panic::set_hook(Box::new(|_| {
        SEEN.fetch_add(1, Ordering::Relaxed);
    }));
    // Each of these might chain a hook.
    for n in 1..=3 {
        let executor = ThreadPoolExecutor::new().expect("the defaults are fine");
        let inline = InlineExecutor::new().expect("it never fails");
        let (_promise, _future) = promise::<u8>();
        let future = executor.submit(|n: usize| assert_eq!(n, 0), n);
        let exception = future.expect("it is open").exception_timeout(LIMIT);
        let Ok(Some(Error::Panicked(panic))) = exception else {
            panic!("{exception:?}");
        };
        assert!(
            panic
                .location()
                .is_some_and(|place| place.contains("hook.rs"))
        );
        assert!(
            inline
                .spawn(|| ())
                .expect("it is open")
                .exception()
                .is_none()
        );
        assert_eq!(SEEN.load(Ordering::Relaxed), n);
    }
    // Python's test_init_exception_in_func: the cause is on stderr, by the hook.
    let executor = ThreadPoolExecutor::builder()
        .initializer(|()| -> () { panic!("no licence") }, ())
        .build()
        .expect("the defaults are fine");
    let future = executor.spawn(|| ()).expect("it is open");
    let exception = future.exception_timeout(LIMIT);
    assert!(matches!(exception, Ok(Some(Error::Broken(_)))));
    executor.shutdown();
    assert_eq!(SEEN.load(Ordering::Relaxed), 4);
    // One that the program sets later, without handing on, takes the places away.
    let (sees, future) = promise::<u8>();
    sees.run(|| {
        let caught = std::panic::catch_unwind(|| panic!("no licence"));
        std::panic::set_hook(Box::new(|_| ()));
        std::panic::resume_unwind(caught.expect_err("it panics"))
    });
    let (blind, last) = promise::<u8>();
    blind.run(|| panic!("no licence"));
    let places = [future, last].map(|future| match future.exception() {
        Some(Error::Panicked(panic)) => panic.location().is_some(),
        other => panic!("{other:?}"),
    });
    assert_eq!(places, [true, false]);
}
