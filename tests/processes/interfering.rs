//! Tasks that take from their worker what it works with: its descriptors, its
//! threads, its limits, its standing with the system.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::thread;

use concurrent_futures::{Error, MapOptions, ProcessPoolExecutor, Transport};
use rustix::io::Errno;
use rustix::process::{
    Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, setrlimit, waitid,
};

use crate::fixture::*;
use crate::refusing::do_instead;

/// Closes what a program may think is its own, as daemons and sandboxes do.
fn close_all_from_3() {
    for number in 3..4096 {
        // SAFETY: the worker's own code is the last one that minds.
        unsafe { libc::close(number) };
    }
}

/// A task: asks its parent to trace its thread, and then does what `then` says.
fn be_traced(then: String) {
    // SAFETY: asks the parent to trace this thread; the other arguments are not read.
    assert_eq!(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) }, 0);
    match &*then {
        "linger" => {
            keep_all_descriptors_open();
            linger(());
        }
        "abort" => std::process::abort(),
        // The checks for such a task have become rare by then.
        "exit" => {
            thread::sleep(std::time::Duration::from_millis(1600));
            std::process::exit(3);
        }
        "exit, and keep all open" => {
            keep_all_descriptors_open();
            std::process::exit(3);
        }
        _ => {}
    }
}

/// Starts a process that keeps the worker's connection open after the worker's end.
fn keep_all_descriptors_open() {
    // SAFETY: the child makes system calls, and nothing else.
    if unsafe { libc::fork() } == 0 {
        // SAFETY: a number; ends the child by a signal.
        unsafe { libc::alarm(5) };
        for output in [1, 2] {
            // SAFETY: what reads the test's output shall not wait for this process.
            unsafe { libc::close(output) };
        }
        loop {
            // SAFETY: takes nothing.
            unsafe { libc::pause() };
        }
    }
}

/// A task: closes the descriptors, and opens sockets in their place. What is
/// sent to one of them is noted in the file.
fn open_sockets_instead(file: String) {
    close_all_from_3();
    let file = File::create(file).unwrap();
    for _ in 0..400 {
        let (mine, mut peer) = UnixStream::pair().unwrap();
        let mut file = file.try_clone().unwrap();
        // The peer is read elsewhere; `mine` has a number that was another's.
        let _ = mine.into_raw_fd();
        let small = thread::Builder::new().stack_size(64 << 10);
        let reads = small.spawn(move || std::io::copy(&mut peer, &mut file));
        drop(reads.unwrap());
    }
}

/// A task: closes the descriptors, and opens files in their place.
fn open_files_instead(file: String) {
    close_all_from_3();
    for _ in 0..900 {
        let _ = File::options()
            .append(true)
            .create(true)
            .open(&file)
            .unwrap()
            .into_raw_fd();
    }
}

/// A task: puts another socket on every number of a socket. What it is sent
/// comes back, as if it were the next request.
fn duplicate_over(file: String) {
    let (mine, peer) = UnixStream::pair().unwrap();
    let own = [mine.as_raw_fd(), peer.as_raw_fd()];
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let entry = entry.unwrap();
        let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let target = fs::read_link(entry.path()).unwrap_or_default();
        if target.to_string_lossy().starts_with("socket:") && !own.contains(&number) {
            // SAFETY: both numbers are open; the worker minds, as above.
            unsafe { libc::dup2(mine.as_raw_fd(), number) };
        }
    }
    let mut peer = peer;
    let _ = mine.into_raw_fd();
    thread::spawn(move || std::io::copy(&mut peer, &mut File::create(file).unwrap()));
}

/// A task: closes the descriptors, and nothing more.
fn close_descriptors(_: String) {
    close_all_from_3();
}

/// A task: leaves a thread behind that closes the descriptors when it is told to, and last
/// its connection to who tells it.
fn close_descriptors_later(port: u16) {
    let mut told = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    thread::spawn(move || {
        told.read_exact(&mut [0]).unwrap();
        let last = told.into_raw_fd();
        for number in (3..4096).filter(|number| *number != last).chain([last]) {
            // SAFETY: the worker's own code is the last one that minds.
            unsafe { libc::close(number) };
        }
    });
}

/// A task: closes the descriptors, and never ends.
fn close_descriptors_and_linger((): ()) {
    close_all_from_3();
    linger(());
}

/// A task: shuts down every socket there is.
fn shut_sockets_down(_: String) {
    for number in 3..4096 {
        // SAFETY: takes any numbers.
        unsafe { libc::shutdown(number, libc::SHUT_RDWR) };
    }
}

/// A task: closes the standard descriptors.
fn close_standard_descriptors((): ()) {
    for number in 0..3 {
        // SAFETY: nothing that this task calls uses them.
        unsafe { libc::close(number) };
    }
}

/// A task: the kernel ends its thread, and nothing but that.
fn end_thread(how: String) {
    match &*how {
        // As libseccomp's SCMP_ACT_KILL: "the thread will be terminated".
        "seccomp" => {
            do_instead(libc::SYS_getpriority, libc::SECCOMP_RET_KILL_THREAD);
            // SAFETY: asks for a number; forbidden.
            unsafe { libc::syscall(libc::SYS_getpriority, 0, 0) };
        }
        "strict seccomp" => {
            // SAFETY: from here on the thread may read, write and end.
            unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) };
        }
        "exit" => {
            // SAFETY: ends the thread, whose values are not dropped.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        }
        "pthread_exit" => {
            // SAFETY: ends the thread.
            unsafe { libc::pthread_exit(std::ptr::null_mut()) };
        }
        _ => unreachable!("{how}"),
    }
}

/// A task: ends the thread that the worker began with.
pub(crate) fn end_main_thread((): ()) {
    extern "C" fn end(_signal: libc::c_int) {
        // SAFETY: a signal handler may make system calls.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    let handler = end as extern "C" fn(libc::c_int) as usize;
    // SAFETY: a function that may be one.
    unsafe { libc::signal(libc::SIGUSR2, handler) };
    let process = i64::from(std::process::id());
    // SAFETY: takes numbers.
    unsafe { libc::syscall(libc::SYS_tgkill, process, process, libc::SIGUSR2) };
    while !fs::read_to_string("/proc/self/stat")
        .unwrap()
        .contains(") Z ")
    {
        thread::yield_now();
    }
}

/// A task: has no descriptor open any more from now on.
fn lower_the_limit_of_descriptors((): ()) {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Nofile, none).unwrap();
}

/// A task: notes its item, and forks if it is the second one. Waits for the child, which
/// comes back from this function too.
fn note_and_fork((item, path): (u8, String)) {
    let mut notes = File::options().append(true).open(path).unwrap();
    notes.write_all(&[b'0' + item]).unwrap();
    if item == 1 {
        // SAFETY: the child only returns.
        let child = unsafe { libc::fork() };
        assert_ne!(child, -1);
        if child > 0 {
            // SAFETY: no status is asked for.
            let waited = unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
            assert_eq!(waited, child);
        }
    }
}

/// A task: what a daemon does first.
fn become_a_daemon((): ()) {
    // SAFETY: the first process ends at once, and the second goes on alone.
    if unsafe { libc::fork() } > 0 {
        std::process::exit(0);
    }
    rustix::process::setsid().unwrap();
}

/// A task: changes what its worker has from the system, as far as it may.
fn change_the_process((): ()) {
    let _ = rustix::process::setsid();
    rustix::process::chdir("/").unwrap();
    // Only root may do these.
    let _ = rustix::process::chroot("/proc");
    // SAFETY: takes numbers.
    unsafe { libc::unshare(libc::CLONE_FILES | libc::CLONE_FS | libc::CLONE_NEWNS) };
    // SAFETY: as above.
    unsafe { libc::setuid(65534) };
}

/// A task: has each signal that may be ignored be so.
fn ignore_signals((): ()) {
    for signal in 1..32 {
        // SAFETY: a disposition without a function; refused for two of them.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

alone! {
    fn a_task_that_becomes_a_daemon_fails_alone() {
        let executor = pool(1);
        let future = executor.submit(become_a_daemon, ()).unwrap();
        assert_eq!(death(&future).exit_code(), Some(0));
        assert_goes_on(&executor);
    }

    fn a_task_may_change_the_session_root_folder_and_user_of_its_worker() {
        let executor = pool(1);
        let own = *value(&executor.submit(pid, ()).unwrap());
        value(&executor.submit(change_the_process, ()).unwrap());
        value(&executor.submit(ignore_signals, ()).unwrap());
        assert_goes_on(&executor);
        assert_eq!(only_worker(&executor), own);
    }

    /// It hung: the answer went into the task's own socket or file.
    fn a_task_that_closes_descriptors_and_opens_its_own_fails_alone() {
        let executor = pool_by_socket(1);
        let tasks: [fn(String); 5] = [
            open_sockets_instead,
            open_files_instead,
            duplicate_over,
            close_descriptors,
            shut_sockets_down,
        ];
        for (number, task) in tasks.into_iter().enumerate() {
            let file = scratch_file(&format!("not-an-answer-{number}"));
            let _ = fs::remove_file(&file);
            // Which the worker was idle before; each begins as it may.
            assert_goes_on(&executor);
            let future = executor.submit(task, file.display().to_string()).unwrap();
            let text = death(&future).to_string();
            assert!(text.contains("closed the descriptor"), "{number}: {text}");
            let strayed = fs::read(&file).unwrap_or_default();
            let _ = fs::remove_file(&file);
            assert_eq!(strayed, b"", "{number}: what was the parent's");
        }
        assert_goes_on(&executor);
    }

    /// The worker cannot say that it begins the task, and the pool begins it again.
    fn a_task_runs_once_though_a_thread_has_closed_the_descriptors_of_its_idle_worker() {
        let file = scratch_file("begun-once");
        for executor in [pool_by_socket(1), pool(1)] {
            let _ = fs::remove_file(&file);
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            value(&executor.submit(close_descriptors_later, port).unwrap());
            let (mut thread, _) = listener.accept().unwrap();
            thread.set_read_timeout(Some(LIMIT)).unwrap();
            thread.write_all(b".").unwrap();
            // The worker may have noticed already, and have ended.
            let _ = thread.read(&mut [0]);
            value(&executor.submit(note, file.display().to_string()).unwrap());
            assert_eq!(fs::read(&file).unwrap().len(), 1);
            assert_goes_on(&executor);
        }
        fs::remove_file(&file).unwrap();
    }

    /// The worker has words for that, and must not wait until they are read.
    fn a_task_that_closes_descriptors_fails_though_the_error_output_is_full() {
        let (_reads, writes) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        while rustix::io::write(&writes, &[b'.'; 4096]).is_ok() {}
        let flags = rustix::fs::OFlags::empty();
        rustix::fs::fcntl_setfl(&writes, flags).unwrap();
        let own = rustix::io::dup(rustix::stdio::stderr()).unwrap();
        rustix::stdio::dup2_stderr(&writes).unwrap();
        let executor = pool_by_socket(1);
        let future = executor.submit(close_descriptors, String::new()).unwrap();
        let ended = future.exception_timeout(LIMIT);
        rustix::stdio::dup2_stderr(own).unwrap();
        assert!(matches!(ended, Ok(Some(Error::WorkerDied(_)))), "{ended:?}");
        assert_goes_on(&executor);
    }

    /// The kernel answers a longer file by a signal, which ended the program. Workers share
    /// no memory then.
    fn a_limit_of_the_size_of_files_is_no_end_of_the_program() {
        let most = getrlimit(Resource::Fsize).maximum;
        let limit = Rlimit { current: Some(50_000), maximum: most };
        setrlimit(Resource::Fsize, limit).unwrap();
        assert_goes_on(&pool(2));
    }

    /// The pool has its memory for offers already, but none for a worker.
    fn a_worker_for_which_there_is_no_memory_is_reaped() {
        let shared = ProcessPoolExecutor::builder().transport(Transport::Shared);
        let executor = shared.max_workers(1).build().unwrap();
        let most = getrlimit(Resource::Fsize).maximum;
        let limit = Rlimit { current: Some(50_000), maximum: most };
        setrlimit(Resource::Fsize, limit).unwrap();
        let future = executor.submit(double, 1).unwrap();
        let why = future.exception_timeout(LIMIT).unwrap();
        assert!(matches!(why, Some(Error::Broken(_))), "{why:?}");
        let any_child = waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        assert_eq!(any_child.unwrap_err(), Errno::CHILD);
    }

    fn a_chunk_whose_item_forks_runs_each_item_once() {
        let path = std::env::temp_dir().join(format!("notes-{}", std::process::id()));
        fs::write(&path, "").unwrap();
        let executor = pool(1);
        let items = (0..4).map(|item| (item, path.to_str().unwrap().to_owned()));
        let chunks = MapOptions::new().chunk_size(4);
        let done = executor.map_with(chunks, note_and_fork, items).unwrap();
        assert_eq!(done.filter(Result::is_ok).count(), 4);
        let notes = fs::read_to_string(&path).unwrap();
        fs::remove_file(path).unwrap();
        assert_eq!(notes, "0123");
        assert_goes_on(&executor);
    }

    fn a_task_that_closes_descriptors_and_goes_on_can_be_killed() {
        let executor = pool(1);
        let future = executor.submit(close_descriptors_and_linger, ()).unwrap();
        wait_until_running(&future);
        assert!(future.kill());
        assert!(format!("{:?}", error(&future)).starts_with("Killed"));
        assert_goes_on(&executor);
    }

    /// The kernel does not report the end of a process while its parent has to reap a thread
    /// that it traces, and stops such a thread at each signal.
    fn a_task_that_asks_to_be_traced_holds_up_no_result_and_no_shutdown() {
        for (then, ends) in [
            ("return", ""),
            ("return, and be killed", ""),
            ("linger", "a kill ended the task"),
            ("abort", "SIGABRT"),
            ("exit", "exited with code 3"),
            ("exit, and keep all open", "exited with code 3"),
        ] {
            let executor = pool(1);
            let future = executor.submit(be_traced, then.to_owned()).unwrap();
            if then == "linger" {
                wait_until_running(&future);
                assert!(future.kill());
            }
            let end = future.exception_timeout(LIMIT).unwrap();
            let end = end.map(|error| error.to_string()).unwrap_or_default();
            assert!(end.contains(ends) && !end.contains("the pool ended it, for its conn"), "{end}");
            assert_eq!(end.is_empty(), ends.is_empty());
            match then {
                "return, and be killed" => executor.kill_workers(),
                _ => assert_goes_on(&executor),
            }
        }
    }

    /// A pool breaks if five workers in a row do not start.
    fn an_initializer_that_asks_to_be_traced_and_aborts_breaks_the_pool() {
        let builder = ProcessPoolExecutor::builder().initializer(be_traced, "abort".to_owned());
        let executor = builder.build().unwrap();
        let future = executor.submit(double, 4).unwrap();
        let end = future.exception_timeout(LIMIT).unwrap();
        assert!(matches!(end, Some(Error::Broken(_))), "{end:?}");
    }

    fn a_task_that_closes_the_standard_descriptors_takes_nothing_from_its_worker() {
        let executor = pool(1);
        let own = *value(&executor.submit(pid, ()).unwrap());
        value(&executor.submit(close_standard_descriptors, ()).unwrap());
        assert_goes_on(&executor);
        assert_eq!(only_worker(&executor), own);
    }

    /// It hung: the worker lived on without the thread that ran its tasks.
    fn a_task_whose_thread_alone_is_ended_fails_alone() {
        let executor = pool_by_socket(1);
        for how in ["seccomp", "strict seccomp", "exit", "pthread_exit"] {
            let future = executor.submit(end_thread, how.to_owned()).unwrap();
            let death = death(&future);
            let signal = match how {
                // Strict seccomp forbids to read the CPU's clock too.
                "strict seccomp" => "SIGSEGV",
                // The C library aborts rather than unwind through Rust's frames.
                _ => "SIGABRT",
            };
            let is_told = death.to_string().contains("thread") || death.signal() == Some(signal);
            assert!(is_told, "{how}: {death}");
            assert_goes_on(&executor);
        }
    }

    /// The thread that the worker began with runs no task.
    fn a_task_that_ends_the_main_thread_of_its_worker_has_its_answer() {
        let executor = pool(1);
        value(&executor.submit(end_main_thread, ()).unwrap());
        assert_goes_on(&executor);
        assert_eq!(executor.stats().replaced, 0);
    }

    /// It ended the worker with code 0, some time later.
    fn a_worker_with_no_descriptor_to_open_goes_on() {
        let executor = ProcessPoolExecutor::builder()
            .max_workers(1)
            .initializer(lower_the_limit_of_descriptors, ())
            .build()
            .unwrap();
        for _ in 0..3 {
            let own = *value(&executor.submit(pid, ()).unwrap());
            // A thread that sleeps in it wakes, and checks again if its wait is over.
            send(own, Signal::INT);
            assert_goes_on(&executor);
        }
        assert_eq!(executor.stats().replaced, 0);
    }
}
