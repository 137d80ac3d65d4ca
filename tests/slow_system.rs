//! A machine on which it takes a while to start a thread, or to give memory back.

#![cfg(target_os = "linux")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use concurrent_futures::ThreadPoolExecutor;

/// `true` while the start of a thread takes longer for the one that starts it.
static STARTS_ARE_SLOW: AtomicBool = AtomicBool::new(false);

type Main = extern "C" fn(*mut c_void) -> *mut c_void;
type Create = unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    Main,
    *mut c_void,
) -> libc::c_int;

/// Stands before the C library's.
///
/// # Safety
///
/// That of the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    main: Main,
    argument: *mut c_void,
) -> libc::c_int {
    // SAFETY: a name that ends with a NUL.
    let real = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr()) };
    // SAFETY: it has this type.
    let real = unsafe { std::mem::transmute::<*mut c_void, Create>(real) };
    // SAFETY: the caller's duties are the same.
    let created = unsafe { real(thread, attributes, main, argument) };
    if STARTS_ARE_SLOW.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(300));
    }
    created
}

/// The new worker was quicker than the thread that started it, which had not yet said
/// that there is one more: no worker looked at what the worker's task submitted.
#[test]
fn a_task_that_a_new_workers_first_task_waits_for_gets_a_worker() {
    let executor = Arc::new(ThreadPoolExecutor::with_max_workers(4).unwrap());
    let (gate, closed) = mpsc::channel::<()>();
    let first = executor.spawn(move || closed.recv()).unwrap();
    while !first.running() {
        std::thread::yield_now();
    }
    let other = Arc::clone(&executor);
    STARTS_ARE_SLOW.store(true, Ordering::Relaxed);
    let parent = executor.spawn(move || {
        let (sender, receiver) = mpsc::channel();
        let child = other.spawn(move || sender.send(())).unwrap();
        let came = receiver.recv_timeout(Duration::from_secs(10)).is_ok();
        child.detach();
        came
    });
    STARTS_ARE_SLOW.store(false, Ordering::Relaxed);
    assert!(
        parent.unwrap().into_result().unwrap(),
        "it was never started"
    );
    drop(gate);
    assert!(first.into_result().unwrap().is_err());
}

/// The size of a block that is slow to be freed.
const LARGE: usize = 100_000;

static FREES_ARE_SLOW: AtomicBool = AtomicBool::new(false);

struct Slow;

// SAFETY: hands everything to the system's allocator unchanged.
unsafe impl GlobalAlloc for Slow {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's duties are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if layout.size() >= LARGE && FREES_ARE_SLOW.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_micros(500));
        }
        // SAFETY: the caller's duties are the same.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Slow = Slow;

/// Cancelled tasks had left the queue and were not yet subtracted: three queued tasks
/// counted as none, and the third got no worker though the pool might have one more.
#[test]
fn a_task_gets_a_worker_while_cancelled_ones_are_swept_out() {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let workers = AtomicUsize::new(0);
    let wait_as_second_or_third = move |()| {
        if (1..3).contains(&workers.fetch_add(1, Ordering::Relaxed)) {
            let _ = gate.lock().unwrap().recv();
        }
    };
    let executor = ThreadPoolExecutor::builder()
        .max_workers(4)
        .initializer(wait_as_second_or_third, ())
        .build();
    let executor = Arc::new(executor.unwrap());
    let (end, closed) = mpsc::channel::<()>();
    let (sender, receiver) = mpsc::channel();
    let other = Arc::clone(&executor);
    let first = executor.spawn(move || {
        sender.send(other.spawn(|| ()).unwrap()).unwrap();
        drop(other);
        let _ = closed.recv();
    });
    // In the first worker's own deque: no other worker comes across it below.
    let last = receiver.recv().unwrap();
    for _ in 0..255 {
        let large = executor.submit(|large: [u8; LARGE]| large[0], [0; LARGE]);
        assert!(large.unwrap().cancel());
    }
    FREES_ARE_SLOW.store(true, Ordering::Relaxed);
    let sweeping = thread::spawn(move || last.cancel());
    while executor.stats().cancelled != 256 {
        thread::yield_now();
    }
    thread::sleep(Duration::from_millis(5));
    let met = [(); 2].map(|()| mpsc::channel());
    let [(one, one_met), (two, two_met)] = met;
    let wait = |met: mpsc::Receiver<()>| {
        executor
            .spawn(move || met.recv_timeout(Duration::from_secs(10)).is_ok())
            .unwrap()
    };
    let waiting = [wait(one_met), wait(two_met)];
    let third = executor.spawn(move || one.send(()).is_ok() && two.send(()).is_ok());
    for _ in 0..2 {
        open.send(()).unwrap();
    }
    assert!(sweeping.join().unwrap());
    for task in waiting {
        assert!(task.into_result().unwrap(), "the third was never started");
    }
    assert!(third.unwrap().into_result().unwrap());
    drop((open, end));
    first.unwrap().into_result().unwrap();
}
