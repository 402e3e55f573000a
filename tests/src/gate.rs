//! A gate before a daemon: bytes pass both ways until it holds a kind of request back, or is shut.
//!
//! With it a test stops a move at the very point it is about, without luck and without waiting for a time.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::wait;

/// Stands at one address and passes everything on to another.
#[derive(Debug)]
pub struct Gate {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Requests whose head begins so are held back.
    hold: Option<String>,
    /// How many are.
    held: usize,
    shut: bool,
    ended: bool,
    open: Vec<TcpStream>,
}

impl Gate {
    /// A gate at `addr` before the daemon at `target`.
    pub fn open(addr: SocketAddr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let shared = Arc::new(Shared { target, state: Mutex::default(), changed: Condvar::new() });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if of_thread.state().ended {
                    return;
                }
                // A connection that fails is its client's to report.
                let _ = of_thread.pass(stream);
            }
        });
        Self { addr, shared }
    }

    /// Where it stands.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on holds requests back whose first line begins with `start`, such as `POST /v1/delete`.
    pub fn hold(&self, start: &str) {
        self.shared.state().hold = Some(start.to_owned());
    }

    /// Waits until a request is held back.
    ///
    /// # Panics
    /// Where none comes.
    #[track_caller]
    pub fn wait_until_held(&self) {
        wait::until("a request is held at the gate", || self.shared.state().held > 0);
    }

    /// Lets through what is held back, and everything from now on.
    pub fn release(&self) {
        self.shared.state().hold = None;
        self.shared.changed.notify_all();
    }

    /// Breaks all connections and lets no new one through.
    pub fn shut(&self) {
        let mut state = self.shared.state();
        state.shut = true;
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections through again.
    pub fn reopen(&self) {
        self.shared.state().shut = false;
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.release();
        self.shut();
        self.shared.state().ended = true;
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.addr);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(self: &Arc<Self>, client: TcpStream) -> std::io::Result<()> {
        if self.state().shut {
            return Ok(());
        }
        let daemon = TcpStream::connect(self.target)?;
        client.set_nodelay(true)?;
        daemon.set_nodelay(true)?;
        self.state().open.extend([client.try_clone()?, daemon.try_clone()?]);
        let (from_client, to_client) = (client.try_clone()?, client);
        let (from_daemon, to_daemon) = (daemon.try_clone()?, daemon);
        let shared = Arc::clone(self);
        std::thread::spawn(move || copy(from_client, to_daemon, |chunk| shared.hold_back(chunk)));
        std::thread::spawn(move || copy(from_daemon, to_client, |_| {}));
        Ok(())
    }

    /// Waits while `chunk` begins a request that is to be held. A request's head begins a chunk: the client sends it
    /// only after the answer to the one before.
    fn hold_back(&self, chunk: &[u8]) {
        let mut state = self.state();
        let is_held = |state: &State| {
            state.hold.as_ref().is_some_and(|hold| chunk.starts_with(hold.as_bytes()))
        };
        if !is_held(&state) {
            return;
        }
        state.held += 1;
        while is_held(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.held -= 1;
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, mut before: impl FnMut(&[u8])) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        before(&buffer[..read]);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
