//! A gate before a daemon: bytes pass both ways until it holds a kind of request back, is cut or shut, or
//! changes the answers.
//!
//! With a gate a test stops a move at an exact point, without chance or a fixed time, and simulates what
//! networks and failing daemons do to a connection.

mod answer;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

pub use self::answer::Fault;
use self::answer::{ChangedChunk, PassingAnswer};
use crate::wait;

/// Listens on one address and passes everything on to another.
#[derive(Debug)]
pub struct Gate {
    addr: SocketAddr,
    shared: Arc<GateShared>,
}

/// The direction in which nothing passes. Connections stay open, and new ones are accepted. What is sent
/// waits, as in a network that loses packets, and arrives late when the gate is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Neither direction passes.
    Both,
    /// Only what clients send to the daemon waits.
    Requests,
    /// Only what the daemon sends waits.
    Answers,
}

#[derive(Debug)]
struct GateShared {
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Requests whose head begins with this text are held back.
    hold: Option<String>,
    /// How many requests are held back.
    held: usize,
    cut: Option<Cut>,
    shut: bool,
    /// Whether the gate has stopped listening.
    refusing: bool,
    ended: bool,
    spoils: Vec<PlannedFault>,
    spoiled: usize,
    answered_bytes: u64,
    open: Vec<TcpStream>,
}

/// The fault for the next answers of a kind.
#[derive(Debug)]
struct PlannedFault {
    /// The beginning of the requests.
    start: String,
    fault: Fault,
    /// How many more answers get the fault.
    times: usize,
}

impl Gate {
    /// A gate at `addr` before the daemon at `target`.
    pub fn open(addr: SocketAddr, target: SocketAddr) -> Self {
        let shared =
            Arc::new(GateShared { target, state: Mutex::default(), changed: Condvar::new() });
        let gate = Self { addr, shared };
        gate.listen();
        gate
    }

    fn listen(&self) {
        let listener = TcpListener::bind(self.addr).unwrap();
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (ended, refusing) = {
                    let state = shared.state();
                    (state.ended, state.refusing)
                };
                if ended || refusing {
                    return;
                }
                // If a connection fails, its client reports it.
                let _ = shared.pass(stream);
            }
        });
    }

    /// The address of the gate.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on holds back requests whose first line begins with `start`, such as `POST /v1/delete`.
    pub fn hold(&self, start: &str) {
        self.shared.state().hold = Some(start.to_owned());
    }

    /// Waits until a request is held back.
    ///
    /// # Panics
    /// If none arrives.
    #[track_caller]
    pub fn wait_until_held(&self) {
        wait::until("a request is held at the gate", || self.shared.state().held > 0);
    }

    /// Passes the requests that were held back, and everything from now on.
    pub fn release(&self) {
        self.shared.state().hold = None;
        self.shared.changed.notify_all();
    }

    /// Breaks all connections, and each new one immediately.
    pub fn shut(&self) {
        let mut state = self.shared.state();
        state.shut = true;
        state.break_all();
    }

    /// Breaks all connections and stops listening until it is [reopened](Self::reopen), like a host whose
    /// daemon is down.
    pub fn refuse(&self) {
        self.shared.state().refusing = true;
        self.wake();
        let refused = || TcpStream::connect(self.addr).is_err();
        wait::until("the gate refuses connections", refused);
        self.shared.state().break_all();
    }

    /// Passes connections again.
    pub fn reopen(&self) {
        let mut state = self.shared.state();
        state.shut = false;
        if std::mem::replace(&mut state.refusing, false) {
            drop(state);
            self.listen();
        }
    }

    /// Passes nothing in this direction until the gate is mended.
    pub fn cut(&self, cut: Cut) {
        self.shared.state().cut = Some(cut);
    }

    /// Passes everything that has waited, and everything from now on.
    pub fn mend(&self) {
        self.shared.state().cut = None;
        self.shared.changed.notify_all();
    }

    /// Changes the answers to the next `times` requests that begin with `start`.
    pub fn spoil(&self, start: &str, fault: Fault, times: usize) {
        self.shared.state().spoils.push(PlannedFault { start: start.to_owned(), fault, times });
    }

    /// Changes no more answers.
    pub fn stop_spoiling(&self) {
        self.shared.state().spoils.clear();
    }

    /// How many answers were changed.
    pub fn spoiled(&self) -> usize {
        self.shared.state().spoiled
    }

    /// How many bytes of answers have passed.
    pub fn answered_bytes(&self) -> u64 {
        self.shared.state().answered_bytes
    }

    /// Wakes the thread that waits for connections.
    fn wake(&self) {
        let _ = TcpStream::connect(self.addr);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.ended = true;
        state.hold = None;
        state.break_all();
        drop(state);
        self.shared.changed.notify_all();
        self.wake();
    }
}

impl State {
    fn break_all(&mut self) {
        for stream in self.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn is_cut(&self, direction: Cut) -> bool {
        !self.ended && self.cut.is_some_and(|cut| cut == Cut::Both || cut == direction)
    }

    /// The state for the answer to a request that begins with `chunk`, or `None` if `chunk` does not begin a
    /// request.
    fn answer_to(&mut self, chunk: &[u8]) -> Option<PassingAnswer> {
        let is_head = ["GET /", "POST /", "PUT /", "HEAD /", "DELETE /"]
            .iter()
            .any(|start| chunk.starts_with(start.as_bytes()));
        let spoil = self.spoils.iter_mut().find(|spoil| chunk.starts_with(spoil.start.as_bytes()));
        let spoil = spoil.filter(|spoil| spoil.times > 0);
        let fault = spoil.map(|spoil| {
            spoil.times -= 1;
            self.spoiled += 1;
            spoil.fault.clone()
        });
        is_head.then(|| PassingAnswer::new(fault))
    }
}

impl GateShared {
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
        let both = [client.try_clone()?, daemon.try_clone()?];
        {
            let mut state = self.state();
            // The gate was shut in between, and has broken the connections that it knew.
            if state.shut || state.ended {
                return Ok(());
            }
            state.open.extend(both);
        }
        let (from_client, to_client) = (client.try_clone()?, client);
        let (from_daemon, to_daemon) = (daemon.try_clone()?, daemon);
        let answer = Arc::new(Mutex::new(PassingAnswer::new(None)));
        let (shared, of_request) = (Arc::clone(self), Arc::clone(&answer));
        std::thread::spawn(move || shared.pass_requests(from_client, to_daemon, &of_request));
        let shared = Arc::clone(self);
        std::thread::spawn(move || shared.pass_answers(from_daemon, to_client, &answer));
        Ok(())
    }

    /// A request's head begins a chunk, because the client sends it only after the previous answer.
    fn pass_requests(&self, mut from: TcpStream, mut to: TcpStream, answer: &Mutex<PassingAnswer>) {
        let mut buffer = [0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let chunk = &buffer[..read];
            self.hold_back(chunk);
            self.wait_while(|state| state.is_cut(Cut::Requests));
            if let Some(next) = self.state().answer_to(chunk) {
                *answer.lock().unwrap_or_else(PoisonError::into_inner) = next;
            }
            if to.write_all(chunk).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    fn pass_answers(&self, mut from: TcpStream, mut to: TcpStream, answer: &Mutex<PassingAnswer>) {
        let mut buffer = [0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            self.wait_while(|state| state.is_cut(Cut::Answers));
            let spoiled =
                answer.lock().unwrap_or_else(PoisonError::into_inner).spoil(&buffer[..read]);
            let passed = match spoiled {
                ChangedChunk::Pass(bytes) => to.write_all(&bytes).is_ok(),
                ChangedChunk::Dribble { at_once, slowly, pause } => {
                    to.write_all(&at_once).is_ok()
                        && slowly.iter().all(|byte| {
                            std::thread::sleep(pause);
                            !self.state().ended && to.write_all(&[*byte]).is_ok()
                        })
                }
                ChangedChunk::Break(bytes) => {
                    let _ = to.write_all(&bytes);
                    false
                }
            };
            self.state().answered_bytes += read as u64;
            if !passed {
                let _ = from.shutdown(Shutdown::Both);
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    /// Waits while `chunk` begins a request that must be held back.
    fn hold_back(&self, chunk: &[u8]) {
        let is_held = |state: &State| {
            state.hold.as_ref().is_some_and(|hold| chunk.starts_with(hold.as_bytes()))
        };
        if is_held(&self.state()) {
            self.state().held += 1;
            self.wait_while(is_held);
            self.state().held -= 1;
        }
    }

    fn wait_while(&self, mut is_so: impl FnMut(&State) -> bool) {
        let mut state = self.state();
        while is_so(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
