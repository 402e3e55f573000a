//! The Go `buckyd` over a folder: its socket, and what a test can observe.

use std::io::{BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bucky_ring::{Ring, RingDocument};

use super::list::List;
use super::{routes, wire};
use crate::{Node, TestCluster};

/// A daemon of the Go tool; it stops when this is dropped.
///
/// # Panics
/// When it is dropped, if a client has sent a request that the real daemon refuses.
#[derive(Debug)]
pub struct GoDaemon {
    addr: SocketAddr,
    shared: Arc<DaemonShared>,
}

/// The state that all its connections share.
#[derive(Debug)]
pub(super) struct DaemonShared {
    /// The folder with the files.
    pub(super) prefix: PathBuf,
    /// The answer to `GET /hashring`.
    pub(super) ring: String,
    /// The list of metrics.
    pub(super) list: Mutex<List>,
    requests: Mutex<Vec<String>>,
    refused: Mutex<Vec<String>>,
    open: Mutex<Vec<TcpStream>>,
    ended: AtomicBool,
    ahead_seconds: AtomicI64,
}

impl GoDaemon {
    /// Starts in place of a node's daemon, which must not run: at its address, over its files, with the
    /// cluster's ring.
    pub fn instead_of(cluster: &TestCluster, node: usize) -> Self {
        let node: &Node = cluster.node(node);
        Self::start(node.addr, node.host(), node.prefix(), cluster.ring())
    }

    /// Starts at any address, over any folder.
    pub fn start(addr: SocketAddr, name: &str, prefix: PathBuf, ring: &Ring) -> Self {
        let listener = TcpListener::bind(addr).unwrap_or_else(|error| panic!("{addr}: {error}"));
        let shared = Arc::new(DaemonShared {
            prefix,
            ring: ring_json(name, ring),
            list: Mutex::default(),
            requests: Mutex::default(),
            refused: Mutex::default(),
            open: Mutex::default(),
            ended: AtomicBool::new(false),
            ahead_seconds: AtomicI64::new(0),
        });
        let daemon = Self { addr: listener.local_addr().unwrap(), shared };
        let shared = Arc::clone(&daemon.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.ended.load(Ordering::Acquire) {
                    return;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        daemon
    }

    /// Sets its clock `ahead_seconds` ahead of the machine's; behind it if negative. Only its answers show
    /// it: it compares no times.
    pub fn set_clock(&self, ahead_seconds: i64) {
        self.shared.ahead_seconds.store(ahead_seconds, Ordering::Release);
    }

    /// `HOST:PORT`.
    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// `METHOD PATH` of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        locked(&self.shared.requests).clone()
    }

    /// The requests that the daemon has refused so far; they are then forgotten.
    pub fn take_refused(&self) -> Vec<String> {
        std::mem::take(&mut locked(&self.shared.refused))
    }

    /// Stops it, and waits until its address is free.
    pub fn stop(self) {
        drop(self);
    }

    fn end(&self) {
        self.shared.ended.store(true, Ordering::Release);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.addr);
        // Do not try to listen on its address as a check: a program started by another test would inherit the
        // socket.
        let refused = || TcpStream::connect(self.addr).is_err();
        crate::wait::until("the Go daemon has ended", refused);
        for stream in locked(&self.shared.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for GoDaemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.ended.store(true, Ordering::Release);
            let _ = TcpStream::connect(self.addr);
            return;
        }
        self.end();
        let refused = self.take_refused();
        assert!(refused.is_empty(), "{} refused: {refused:#?}", self.addr);
    }
}

impl DaemonShared {
    /// Answers request after request. If a client disconnects or sends something that is not HTTP, its
    /// connection is closed.
    fn serve(&self, stream: TcpStream) {
        let Ok(mut writer) = stream.try_clone() else { return };
        if let Ok(stream) = stream.try_clone() {
            locked(&self.open).push(stream);
        }
        let mut reader = BufReader::new(stream);
        loop {
            let request = match wire::read(&mut reader, false) {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(error) => {
                    if error.kind() == std::io::ErrorKind::InvalidData {
                        self.refuse(format!("400 Bad Request: {error}"));
                    }
                    return;
                }
            };
            locked(&self.requests).push(request.start.replace(" HTTP/1.1", ""));
            let reply = routes::answer(self, &request);
            if reply.is_refusal {
                let text = String::from_utf8_lossy(&reply.body).into_owned();
                self.refuse(format!("{}: {} {text}", request.start, reply.status));
            }
            let is_head = request.start.starts_with("HEAD ");
            if writer.write_all(&reply.into_bytes(is_head, self.now())).is_err() {
                return;
            }
        }
    }

    /// The time by the daemon's clock.
    fn now(&self) -> SystemTime {
        let ahead = self.ahead_seconds.load(Ordering::Acquire);
        let span = Duration::from_secs(ahead.unsigned_abs());
        if ahead < 0 { SystemTime::now() - span } else { SystemTime::now() + span }
    }

    fn refuse(&self, what: String) {
        locked(&self.refused).push(what);
    }
}

/// The Go tool's four keys, without ours.
fn ring_json(name: &str, ring: &Ring) -> String {
    let document = RingDocument::from_spec(name, ring.spec());
    let nodes: Vec<String> = document
        .nodes
        .iter()
        .map(|node| {
            let (server, instance) = (&node.server, &node.instance);
            format!(r#"{{"Server":"{server}","Port":{},"Instance":"{instance}"}}"#, node.port)
        })
        .collect();
    let (nodes, algo, replicas) = (nodes.join(","), &document.algo, document.replicas);
    format!(r#"{{"Name":"{name}","Nodes":[{nodes}],"Algo":"{algo}","Replicas":{replicas}}}"#)
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
