//! A gate before a daemon: bytes pass both ways until it holds a kind of request back, is cut or shut, or spoils the
//! answers.
//!
//! With it a test stops a move at the very point it is about, without luck and without waiting for a time, and does to a
//! connection what networks and failing daemons do.

mod answer;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

pub use self::answer::Fault;
use self::answer::{Answer, Spoiled};
use crate::wait;

/// Stands at one address and passes everything on to another.
#[derive(Debug)]
pub struct Gate {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

/// In which direction nothing passes. Connections stay open, and new ones are taken; what is sent waits, as it does in
/// a network that loses packets, and comes late once the gate is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Neither.
    Both,
    /// What others send to the daemon.
    Requests,
    /// What the daemon sends.
    Answers,
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
    cut: Option<Cut>,
    shut: bool,
    /// Nobody listens.
    refusing: bool,
    ended: bool,
    spoils: Vec<Spoil>,
    spoiled: usize,
    answered_bytes: u64,
    open: Vec<TcpStream>,
}

/// What is done to the next answers of a kind.
#[derive(Debug)]
struct Spoil {
    /// How the requests begin.
    start: String,
    fault: Fault,
    /// To how many of them.
    times: usize,
}

impl Gate {
    /// A gate at `addr` before the daemon at `target`.
    pub fn open(addr: SocketAddr, target: SocketAddr) -> Self {
        let shared = Arc::new(Shared { target, state: Mutex::default(), changed: Condvar::new() });
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
                // A connection that fails is its client's to report.
                let _ = shared.pass(stream);
            }
        });
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

    /// Breaks all connections, and each new one as soon as it is there.
    pub fn shut(&self) {
        let mut state = self.shared.state();
        state.shut = true;
        state.break_all();
    }

    /// Breaks all connections and listens no more, until it is [reopened](Self::reopen): as a host whose daemon is down.
    pub fn refuse(&self) {
        self.shared.state().refusing = true;
        self.wake();
        let refused = || TcpStream::connect(self.addr).is_err();
        wait::until("the gate refuses connections", refused);
        self.shared.state().break_all();
    }

    /// Lets connections through again.
    pub fn reopen(&self) {
        let mut state = self.shared.state();
        state.shut = false;
        if std::mem::replace(&mut state.refusing, false) {
            drop(state);
            self.listen();
        }
    }

    /// Lets nothing pass in this direction until it is mended.
    pub fn cut(&self, cut: Cut) {
        self.shared.state().cut = Some(cut);
    }

    /// Lets pass what has waited, and everything from now on.
    pub fn mend(&self) {
        self.shared.state().cut = None;
        self.shared.changed.notify_all();
    }

    /// Spoils the answers to the next `times` requests that begin with `start`.
    pub fn spoil(&self, start: &str, fault: Fault, times: usize) {
        self.shared.state().spoils.push(Spoil { start: start.to_owned(), fault, times });
    }

    /// Spoils no more answers.
    pub fn stop_spoiling(&self) {
        self.shared.state().spoils.clear();
    }

    /// How many answers were spoiled.
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

    /// What is to be done to the answer to a request that begins with `chunk`; none where that begins no request.
    fn answer_to(&mut self, chunk: &[u8]) -> Option<Answer> {
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
        is_head.then(|| Answer::new(fault))
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
        let both = [client.try_clone()?, daemon.try_clone()?];
        {
            let mut state = self.state();
            // It was shut meanwhile, and has broken all that it knew of.
            if state.shut || state.ended {
                return Ok(());
            }
            state.open.extend(both);
        }
        let (from_client, to_client) = (client.try_clone()?, client);
        let (from_daemon, to_daemon) = (daemon.try_clone()?, daemon);
        let answer = Arc::new(Mutex::new(Answer::new(None)));
        let (shared, of_request) = (Arc::clone(self), Arc::clone(&answer));
        std::thread::spawn(move || shared.pass_requests(from_client, to_daemon, &of_request));
        let shared = Arc::clone(self);
        std::thread::spawn(move || shared.pass_answers(from_daemon, to_client, &answer));
        Ok(())
    }

    /// A request's head begins a chunk: the client sends it only after the answer to the one before.
    fn pass_requests(&self, mut from: TcpStream, mut to: TcpStream, answer: &Mutex<Answer>) {
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

    fn pass_answers(&self, mut from: TcpStream, mut to: TcpStream, answer: &Mutex<Answer>) {
        let mut buffer = [0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            self.wait_while(|state| state.is_cut(Cut::Answers));
            let spoiled =
                answer.lock().unwrap_or_else(PoisonError::into_inner).spoil(&buffer[..read]);
            let passed = match spoiled {
                Spoiled::Pass(bytes) => to.write_all(&bytes).is_ok(),
                Spoiled::Dribble { at_once, slowly, pause } => {
                    to.write_all(&at_once).is_ok()
                        && slowly.iter().all(|byte| {
                            std::thread::sleep(pause);
                            !self.state().ended && to.write_all(&[*byte]).is_ok()
                        })
                }
                Spoiled::Break(bytes) => {
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

    /// Waits while `chunk` begins a request that is to be held.
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
