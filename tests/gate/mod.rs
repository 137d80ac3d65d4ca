//! The gate: where tasks stop until the test lets them go, in whatever process
//! they run.

use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
#[cfg(unix)]
use std::{env, fs};

/// The variable that names the folder of `ci/cluster`, both here and where its tasks run.
#[cfg(unix)]
const CLUSTER: &str = "CONCURRENT_FUTURES_TEST_CLUSTER";

/// No wait in a test is longer than this.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A task that says it runs, and returns `answer` when the gate opens.
pub(crate) fn hold((port, answer): (u16, i64)) -> i64 {
    pass(port);
    answer
}

/// Says at the gate that the task runs; returns when the gate opens.
pub(crate) fn pass(port: u16) {
    let mut gate = connect(port).expect("the gate listens");
    // A signal ends a read that has a limit, whatever its handler says.
    let end = loop {
        match gate.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            end => break end,
        }
    };
    let end = end.expect("the gate opens in time");
    assert_eq!(end, 0, "the gate opens by closing the connection");
}

fn connect(port: u16) -> io::Result<Box<dyn Read>> {
    // A task elsewhere may have a network of its own, in which the port is that of another
    // program, and shares files with the test.
    #[cfg(unix)]
    if let Some(file) = file(port) {
        let gate = UnixStream::connect(file)?;
        gate.set_read_timeout(Some(LIMIT))?;
        return Ok(Box::new(gate));
    }
    let gate = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    gate.set_read_timeout(Some(LIMIT))?;
    Ok(Box::new(gate))
}

/// The socket of a gate for tasks that have a network of their own.
#[cfg(unix)]
fn file(port: u16) -> Option<PathBuf> {
    let folder = PathBuf::from(env::var_os(CLUSTER)?);
    Some(folder.join(format!("gate-{port}")))
}

/// A gate at which tasks stop until the test lets them go, in whatever process they
/// run.
pub(crate) struct Gate {
    port: u16,
    arrivals: mpsc::Receiver<Box<dyn Send>>,
    held: Vec<Box<dyn Send>>,
    made: Instant,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (sender, arrivals) = mpsc::channel::<Box<dyn Send>>();
        #[cfg(unix)]
        if let Some(file) = file(port) {
            // The port may have had a gate before. The file is removed with its folder.
            let _ = fs::remove_file(&file);
            let listener = UnixListener::bind(file).expect("the folder is there");
            let sender = sender.clone();
            thread::spawn(move || {
                while let Ok((task, _)) = listener.accept() {
                    let _ = sender.send(Box::new(task));
                }
            });
        }
        // Goes on when the gate is open: then there is no receiver, which lets each
        // task that still comes go at once.
        thread::spawn(move || {
            while let Ok((task, _)) = listener.accept() {
                let _ = sender.send(Box::new(task));
            }
        });
        Self {
            port,
            arrivals,
            held: Vec::new(),
            made: Instant::now(),
        }
    }

    /// Returns the port by which tasks find it.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Waits until `tasks` more tasks run.
    pub(crate) fn wait_for(&mut self, tasks: usize) {
        for n in 0..tasks {
            match self.arrivals.recv_timeout(LIMIT) {
                Ok(task) => self.held.push(task),
                Err(_) => panic!("{n} of {tasks} tasks came to the gate"),
            }
        }
    }

    /// Lets the oldest held task go.
    pub(crate) fn release_one(&mut self) {
        drop(self.held.remove(0));
    }

    /// Lets all tasks go, those that come later too.
    pub(crate) fn open(self) {}
}

impl Drop for Gate {
    /// Tasks give up waiting in the end, which may free a test that hangs.
    fn drop(&mut self) {
        assert!(
            thread::panicking() || self.made.elapsed() < LIMIT,
            "it hung"
        );
    }
}
