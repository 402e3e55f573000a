//! A daemon that attacks the client: for any answer, the client ends by itself, in bounded memory, and names
//! the daemon.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use bucky_tests::{Finished, Running, soak, wait};

use crate::cluster;

/// The memory limit of the client: an answer of 64 MiB, as text and as values, and the program itself.
const CLIENT_MIB: u64 = 300;
/// The time limit of the client. Usually it takes seconds, but machines are slow at times.
const CLIENT_TIME: Duration = Duration::from_secs(120);

/// Answers like a daemon, except on one route.
struct Liar {
    addr: SocketAddr,
}

impl Liar {
    /// `honest` are the other answers, by the beginning of their routes; `piece` is sent repeatedly.
    fn start(
        ip: IpAddr,
        honest: Vec<(&'static str, String)>,
        route: &'static str,
        piece: Vec<u8>,
    ) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        // Ends with the test's process; each connection ends with the client.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (honest, piece) = (honest.clone(), piece.clone());
                std::thread::spawn(move || answer(stream, &honest, route, &piece));
            }
        });
        Self { addr }
    }
}

fn answer(
    mut stream: TcpStream,
    honest: &[(&str, String)],
    route: &str,
    piece: &[u8],
) -> Option<()> {
    stream.set_read_timeout(Some(CLIENT_TIME)).ok()?;
    let mut buffer = [0; 64 * 1024];
    loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        let head = String::from_utf8_lossy(&buffer[..read]).into_owned();
        let path = head.split(' ').nth(1)?;
        if path.starts_with(route) {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").ok()?;
            loop {
                stream.write_all(piece).ok()?;
            }
        }
        let body = honest.iter().find(|(known, _)| path.starts_with(known));
        let (status, body) = body.map_or(("404 Not Found", ""), |(_, body)| ("200 OK", body));
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(head.as_bytes()).ok()?;
    }
}

/// Runs the client to its end, and returns its peak memory and its result.
fn run(mut client: Running) -> (u64, Finished) {
    let mut peak = 0;
    wait::until("the client has ended", || {
        peak = peak.max(client.peak_mib().unwrap_or(0));
        !client.is_running()
    });
    (peak, client.finish())
}

#[test]
fn answers_without_end_or_with_huge_lines_end_the_client_with_a_message() {
    let cluster = cluster(1).start();
    let ring = cluster.get(0, "/hashring").json().to_string();
    let status = cluster.get(0, "/v1/status").json().to_string();
    let honest = vec![("/hashring", ring), ("/v1/status", status)];
    let ip = cluster.node(0).addr().parse::<SocketAddr>().unwrap().ip();
    let blank = vec![b' '; 256 << 10];
    let names = b"m.a\n".repeat(64 << 10);
    let long = [vec![b'x'; 500 << 10], b"\n".to_vec()].concat();
    let misplaced = b"{\"metric\":\"m.a\",\"owners\":[\"a\"]}\n".repeat(8 << 10);
    let nodes = b"{\"Server\":\"\"},".repeat(16 << 10);
    let mut peak_of_all = 0;
    for (route, piece, command) in [
        ("/hashring", blank.clone(), &["servers"][..]),
        ("/hashring", [b"{\"Nodes\":[".to_vec(), nodes].concat(), &["servers"]),
        ("/v1/status", blank.clone(), &["servers"]),
        ("/v1/metrics", blank.clone(), &["list"]),
        ("/v1/metrics", names, &["list"]),
        ("/v1/metrics", long, &["list"]),
        ("/v1/misplaced", blank, &["rebalance"]),
        ("/v1/misplaced", misplaced, &["rebalance"]),
    ] {
        let liar = Liar::start(ip, honest.clone(), route, piece);
        let client = cluster.start_bucky_at(&liar.addr.to_string(), command);
        let (peak, ended) = run(client);
        assert!(matches!(ended.code, Some(1 | 3)), "{route}: {ended}");
        assert!(peak < CLIENT_MIB, "{route}: {peak} MiB were in memory");
        peak_of_all = peak_of_all.max(peak);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        let why =
            ["more than", "more lines than", "out of order"].iter().any(|why| said.contains(why));
        assert!(why && said.contains(&format!("{}", liar.addr)), "{route}: {ended}");
        assert!(ended.took < CLIENT_TIME, "{route}: {ended}");
    }
    // A client that refuses at once ends before its memory is sampled.
    assert!(peak_of_all > 0, "no client was looked at");
    soak::record(&format!("a hostile daemon: the client's peak {peak_of_all} MiB"), 8, "runs", 0);
}
