//! Other programs that a move meets: go-carbons that report how full their caches are, and a carbon that
//! receives lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// go-carbons on some hosts, on one port.
#[derive(Debug)]
pub struct GoCarbons {
    port: u16,
    listening: Vec<Listening>,
    caches: Vec<Arc<Mutex<GoCarbonCache>>>,
}

#[derive(Debug, Default)]
struct GoCarbonCache {
    size: u64,
    limit: u64,
    asked: usize,
}

/// A carbon's line receiver, with the whole text of each connection.
#[derive(Debug)]
pub struct LineReceiver {
    listening: Listening,
    texts: Arc<Mutex<Vec<String>>>,
}

/// A listener whose thread ends when this is dropped.
#[derive(Debug)]
struct Listening {
    addr: SocketAddr,
    ended: Arc<Mutex<bool>>,
}

impl GoCarbons {
    /// Starts one on each of `hosts`, with an empty cache of 100 points.
    pub fn start(hosts: &[&str]) -> Self {
        for _ in 0..20 {
            let first = TcpListener::bind((hosts[0], 0)).unwrap();
            let port = first.local_addr().unwrap().port();
            let others = hosts[1..].iter().map(|host| TcpListener::bind((*host, port)));
            let Ok(others) = others.collect::<Result<Vec<TcpListener>, _>>() else { continue };
            let caches: Vec<Arc<Mutex<GoCarbonCache>>> = hosts
                .iter()
                .map(|_| {
                    Arc::new(Mutex::new(GoCarbonCache { limit: 100, ..GoCarbonCache::default() }))
                })
                .collect();
            let listeners = [first].into_iter().chain(others);
            let listening = listeners.zip(&caches).map(|(listener, cache)| {
                let cache = Arc::clone(cache);
                Listening::start(listener, move |stream| answer(stream, &cache))
            });
            return Self { port, listening: listening.collect(), caches };
        }
        panic!("no port is free on all of {hosts:?}");
    }

    /// Their port.
    pub fn port(&self) -> String {
        self.port.to_string()
    }

    /// Sets how many points are in the cache of carbon `number`, in the order of the hosts.
    pub fn fill(&self, number: usize, size: u64) {
        lock(&self.caches[number]).size = size;
    }

    /// How many times it was asked.
    pub fn asked(&self, number: usize) -> usize {
        lock(&self.caches[number]).asked
    }

    /// Stops listening.
    pub fn end(&mut self, number: usize) {
        self.listening[number].end();
    }
}

/// Answers like go-carbon's carbonserver.
fn answer(mut stream: TcpStream, cache: &Mutex<GoCarbonCache>) {
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let _headers = lines.take_while(|line| !line.is_empty()).count();
    let (status, body) = if first == "GET /admin/info HTTP/1.1" {
        let mut cache = lock(cache);
        cache.asked += 1;
        let GoCarbonCache { size, limit, .. } = *cache;
        ("200 OK", format!(r#"{{"cache":{{"size":{size},"limit":{limit}}}}}"#))
    } else {
        ("404 Not Found", String::new())
    };
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
}

impl LineReceiver {
    /// Starts a receiver on this host.
    pub fn start(host: &str) -> Self {
        let texts = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&texts);
        let listener = TcpListener::bind((host, 0)).unwrap();
        let listening = Listening::start(listener, move |mut stream| {
            let mut text = String::new();
            if stream.read_to_string(&mut text).is_ok() && !text.is_empty() {
                lock(&taken).push(text);
            }
        });
        Self { listening, texts }
    }

    /// The address on which it listens.
    pub fn addr(&self) -> String {
        self.listening.addr.to_string()
    }

    /// The texts received so far, one for each connection.
    pub fn texts(&self) -> Vec<String> {
        lock(&self.texts).clone()
    }

    /// The values of one figure, in the order in which they were received.
    pub fn values(&self, name: &str) -> Vec<f64> {
        self.stamped(name).into_iter().map(|(_, value)| value).collect()
    }

    /// The values of one figure with their times, in Unix seconds.
    pub fn stamped(&self, name: &str) -> Vec<(u32, f64)> {
        let texts = self.texts();
        let lines = texts.iter().flat_map(|text| text.lines());
        let values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let stamped = values.map(|rest| rest.split_once(' ').unwrap());
        stamped.map(|(value, time)| (time.parse().unwrap(), value.parse().unwrap())).collect()
    }
}

impl Listening {
    fn start(listener: TcpListener, serve: impl Fn(TcpStream) + Send + 'static) -> Self {
        let ended = Arc::new(Mutex::new(false));
        let this = Self { addr: listener.local_addr().unwrap(), ended: Arc::clone(&ended) };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if *lock(&ended) {
                    return;
                }
                serve(stream);
            }
        });
        this
    }

    fn end(&mut self) {
        *lock(&self.ended) = true;
        // Wakes the thread that waits for connections.
        if let Ok(stream) = TcpStream::connect(self.addr) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
