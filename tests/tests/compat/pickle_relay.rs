//! `bucky pickle-relay` between senders of pickles and a receiver of lines.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bucky_tests::{Running, peer, wait};
use rustix::process::Signal;

use crate::PROGRAMS;

/// How long to wait for anything.
const LIMIT: Duration = Duration::from_secs(120);

/// Numbers the upstreams of this process.
static UPSTREAMS: AtomicU8 = AtomicU8::new(0);

/// A receiver of lines.
struct Upstream {
    listener: TcpListener,
}

impl Upstream {
    fn at(addr: SocketAddr) -> Self {
        // If another test starts a program at this moment, its child keeps a closed listener open until its
        // exec.
        let bind = || TcpListener::bind(addr).ok();
        Self { listener: wait::until_some("the upstream listens", bind) }
    }

    fn anywhere() -> Self {
        // An address that no client uses: so no other process gets its port while the relay is down.
        let number = UPSTREAMS.fetch_add(1, Ordering::Relaxed);
        let [.., high, low] = std::process::id().to_be_bytes();
        Self::at(SocketAddr::from(([127, 100 + number, high, low.max(1)], 0)))
    }

    fn addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next connection; it may be silent for at most [`LIMIT`].
    fn accept(&self) -> TcpStream {
        self.listener.set_nonblocking(true).unwrap();
        let (stream, _) = wait::until_some("the relay connects", || self.listener.accept().ok());
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// The lines of the next connection, as they arrive.
    fn lines(&self) -> Receiver<String> {
        let stream = self.accept();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        lines
    }
}

/// The next `count` lines.
fn take(lines: &Receiver<String>, count: usize) -> Vec<String> {
    (0..count).map(|_| lines.recv_timeout(LIMIT).unwrap()).collect()
}

/// A relay to `upstream`, and the address on which it listens.
fn relay(upstream: SocketAddr, flags: &[&str]) -> (Running, SocketAddr) {
    let mut command = Command::new(PROGRAMS.bucky);
    command.args(["pickle-relay", "-b", "127.0.0.1:0", "-i", "0"]).args(flags);
    command.arg(upstream.to_string());
    let running = Running::start(command);
    let addr = wait::until_some("the relay listens", || {
        let stderr = running.stderr();
        let line = stderr.lines().find_map(|line| line.strip_prefix("listening on "))?;
        // The line may not be complete yet.
        Some(line.split_once(", sending to ")?.0.to_owned())
    });
    (running, addr.parse().unwrap())
}

/// `[(name, (timestamp, value)), ...]` in protocol 2, after its length.
fn frame(datapoints: impl IntoIterator<Item = (String, i32, f64)>) -> Vec<u8> {
    let mut pickle = b"\x80\x02](".to_vec();
    for (name, timestamp, value) in datapoints {
        pickle.push(b'X');
        pickle.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
        pickle.extend(name.bytes());
        pickle.push(b'J');
        pickle.extend(timestamp.to_le_bytes());
        pickle.push(b'G');
        pickle.extend(value.to_be_bytes());
        pickle.extend(b"\x86\x86");
    }
    pickle.extend(b"e.");
    framed(&pickle)
}

fn framed(pickle: &[u8]) -> Vec<u8> {
    [&u32::try_from(pickle.len()).unwrap().to_be_bytes(), pickle].concat()
}

fn send(relay: SocketAddr, frames: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(relay).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(frames).unwrap();
    stream
}

/// Whether the relay closes this connection.
fn is_closed(mut stream: &TcpStream) -> bool {
    matches!(stream.read(&mut [0]), Ok(0) | Err(_))
}

/// Runs a script that writes frames to its standard output.
fn by_python(script: &str) -> Vec<u8> {
    let mut command = Command::new(peer::python());
    let output = command.args(["-c", script]).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{script}");
    output.stdout
}

/// D38, and every form in which a sender may write its list.
#[test]
fn pickles_of_every_protocol_become_lines() {
    let frames = by_python(
        r#"
import pickle, struct, sys
points = [
    ('int', (60, 5)), ('float', (60, 1.5)), ('big', (60, 2 ** 63)), ('negative', (60, -2 ** 40)), ('at.half', (60.5, 1)),
    ('nan', (60, float('nan'))), ('inf', (60, float('inf'))), ('caf\xe9.\u20ac', (60, 1)), ('text', (60, ' 7 ')), (' trimmed ', (60, 1)),
    ('dup', (60, 1)), ('dup', (60, 1)),
    ('a',), (), None, ('x', ()), ('x', (60,)), ('true', (60, True)), ('none', (60, None)), (b'bytes', (60, 1)),
    ('line\nline 1 60', (60, 1)), ('sp ace', (60, 1)), ('', (60, 1)), (7, (60, 1)), ('dict', {'t': 60}), ('nan.time', (float('nan'), 1)),
]
def lists(value):
    return [lists(v) for v in value] if isinstance(value, (tuple, list)) else value
def send(value, protocol):
    data = pickle.dumps(value, protocol=protocol)
    sys.stdout.buffer.write(struct.pack('>L', len(data)) + data)
for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
    for value in (points, tuple(points), lists(points)):
        send(value, protocol)
        send(None, protocol)
        send([('a',)], protocol)
"#,
    );
    let wanted = [
        "int 5 60",
        "float 1.500000000000 60",
        "big 9223372036854775808 60",
        "negative -1099511627776 60",
        "at.half 1 60.500000000000",
        "nan NaN 60",
        "inf +Inf 60",
        "café.€ 1 60",
        "text 7 60",
        "trimmed 1 60",
        "dup 1 60",
        "dup 1 60",
    ];
    let upstream = Upstream::anywhere();
    let (relay, addr) = relay(upstream.addr(), &[]);
    let stream = send(addr, &frames);
    let lines = upstream.lines();
    for round in 0..18 {
        assert_eq!(take(&lines, wanted.len()), wanted, "round {round}");
    }
    drop(stream);
    relay.signal(Signal::TERM);
    let ended = relay.finish().assert_code(0);
    assert!(lines.recv().is_err(), "nothing else came");
    for message in [
        "an entry is a sequence of 1",
        "bad pickle: it is not a list or tuple of datapoints, but None",
        "more of the same pickle",
    ] {
        assert!(ended.stderr.contains(message), "{message}: {ended}");
    }
}

/// The bytes of carbon's own client.
#[test]
fn pickles_of_carbons_own_sender_become_lines() {
    let frames = by_python(
        r#"
import sys
from carbon.client import CarbonPickleClientProtocol
class Collected(CarbonPickleClientProtocol):
    def __init__(self):
        pass
    class transport:
        @staticmethod
        def writeSequence(parts):
            sys.stdout.buffer.write(b''.join(parts))
        @staticmethod
        def write(data):
            sys.stdout.buffer.write(data)
Collected()._sendDatapointsNow([('carbon.a', (60, 1.25)), ('carbon.b;tag=x', (61, 2))])
"#,
    );
    let upstream = Upstream::anywhere();
    let (_relay, addr) = relay(upstream.addr(), &[]);
    let _stream = send(addr, &frames);
    assert_eq!(take(&upstream.lines(), 2), ["carbon.a 1.250000000000 60", "carbon.b;tag=x 2 61"]);
}

/// The upstream is killed repeatedly, each time with unread lines, and once for a longer time.
#[test]
fn an_upstream_that_is_killed_and_restarted_gets_every_line() {
    const FRAMES: usize = 200;
    const METRICS: usize = 100;
    let upstream = Upstream::anywhere();
    let addr = upstream.addr();
    let (_relay, relay) = relay(addr, &[]);
    let mut stream = TcpStream::connect(relay).unwrap();
    let sending = std::thread::spawn(move || {
        for number in 0..FRAMES {
            let point = |metric| (format!("m.f{number:03}.m{metric:03}"), 60, 1.0);
            stream.write_all(&frame((0..METRICS).map(point))).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        stream
    });
    let mut seen = BTreeSet::new();
    let mut upstream = Some(upstream);
    for round in 0..3 {
        let listening = upstream.take().unwrap_or_else(|| Upstream::at(addr));
        let stream = listening.accept();
        let mut lines = BufReader::with_capacity(256, stream).lines().map_while(Result::ok);
        for _ in 0..1500 * (round + 1) {
            seen.insert(lines.next().unwrap());
        }
        // Closed with lines in its buffers, and nothing listens for a while.
    }
    let listening = Upstream::at(addr);
    let lines = listening.lines();
    while seen.len() < FRAMES * METRICS {
        seen.insert(lines.recv_timeout(LIMIT).unwrap());
    }
    assert!(seen.iter().all(|line| line.ends_with(" 1.000000000000 60")), "no line is torn");
    drop(sending.join().unwrap());
}

/// `-q`: a sender with more lines than may wait is not read further, and nothing is dropped.
#[test]
fn a_full_queue_holds_its_senders_back_and_loses_nothing() {
    let addr = Upstream::anywhere().addr();
    let (relay, to) = relay(addr, &["-q", "50"]);
    let count = 40_000;
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_nonblocking(true).unwrap();
    let bytes: Vec<u8> = (0..count / 100)
        .flat_map(|number| {
            let name = |metric| format!("{}.f{number:03}.m{metric:02}", "long".repeat(60));
            frame((0..100).map(|metric| (name(metric), 60, 2.0)))
        })
        .collect();
    let mut rest = bytes.as_slice();
    let started = Instant::now();
    // The relay takes as much as its buffers hold, and then no more.
    let mut last = Instant::now();
    while !rest.is_empty() && last.elapsed() < Duration::from_secs(1) {
        if let Ok(written) = stream.write(rest) {
            rest = &rest[written..];
            last = Instant::now();
        } else {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    assert!(!rest.is_empty(), "all was taken after {:?}", started.elapsed());
    assert!(relay.peak_mib().unwrap() < 60, "{:?} MiB", relay.peak_mib());
    let upstream = Upstream::at(addr);
    let lines = upstream.lines();
    stream.set_nonblocking(false).unwrap();
    let rest = rest.to_vec();
    let sending = std::thread::spawn(move || stream.write_all(&rest).map(|()| stream).unwrap());
    let seen: BTreeSet<String> = take(&lines, count).into_iter().collect();
    assert_eq!(seen.len(), count);
    drop(sending.join().unwrap());
    relay.signal(Signal::INT);
    relay.finish().assert_code(0).assert_stderr_has("trying again every 1 s");
}

/// The Go relay ends at once, and loses its lines.
#[test]
fn at_its_end_the_relay_sends_what_waits_or_says_what_is_left() {
    let upstream = Upstream::anywhere();
    let (relay_one, to) = relay(upstream.addr(), &[]);
    let _stream = send(to, &frame([("last.words".to_owned(), 60, 3.0)]));
    let lines = upstream.lines();
    assert_eq!(take(&lines, 1), ["last.words 3.000000000000 60"]);
    relay_one.signal(Signal::INT);
    relay_one.finish().assert_code(0);

    let away = Upstream::anywhere().addr();
    let (relay_two, to) = relay(away, &["-p", "own", "-i", "1"]);
    let seven = frame((0..7).map(|n| (format!("m{n}"), 60, 3.0)));
    let _stream = send(to, &[seven, framed(b"bad")].concat());
    wait::until("all has come", || relay_two.stderr().contains("bad pickle"));
    wait::until("the upstream is missed", || relay_two.stderr().contains("trying again"));
    relay_two.signal(Signal::TERM);
    wait::until("the relay finishes", || relay_two.stderr().contains("press Ctrl-C again"));
    relay_two.signal(Signal::TERM);
    let ended = relay_two.finish().assert_code(1);
    assert!(ended.stderr.contains("not sent to"), "{ended}");
    assert!(!ended.stderr.contains(" 0 metrics were"), "{ended}");

    // Lines that a sender has written before the end are accepted, even if they were not read yet.
    let (relay_three, to) = relay(upstream.addr(), &[]);
    let lines = upstream.lines();
    let _stream = send(to, &frame([("first".to_owned(), 60, 3.0)]));
    take(&lines, 1);
    let many: Vec<u8> = (0..50).flat_map(|n| frame([(format!("late.m{n}"), 60, 3.0)])).collect();
    let _stream_two = send(to, &[frame([("second".to_owned(), 60, 3.0)]), many].concat());
    take(&lines, 1);
    relay_three.signal(Signal::TERM);
    relay_three.finish().assert_code(0);
    assert_eq!(take(&lines, 50).last().unwrap(), "late.m49 3.000000000000 60");
}

#[test]
fn pickles_that_are_too_long_and_senders_that_say_nothing_are_cut_off() {
    let upstream = Upstream::anywhere();
    let (relay, to) = relay(upstream.addr(), &["-x", "200", "-t", "1", "-d"]);
    let long = send(to, &framed(&[b'N'; 201]));
    assert!(is_closed(&long));
    let silent = send(to, b"\0\0");
    assert!(is_closed(&silent));
    let bad = [framed(b"no pickle"), frame([("after.bad".to_owned(), 60, 1.0)])].concat();
    let _stream = send(to, &bad);
    assert_eq!(take(&upstream.lines(), 1), ["after.bad 1.000000000000 60"], "the connection stays");
    relay.signal(Signal::INT);
    let ended = relay.finish().assert_code(0);
    for message in [
        "a pickle of 201 bytes; -x allows 200",
        "nothing received for 1 s (-t)",
        "bad pickle: byte 0 is 0x6e",
        "connected",
    ] {
        assert!(ended.stderr.contains(message), "{message}: {ended}");
    }
}

#[test]
fn the_relay_reports_that_senders_have_to_wait() {
    let (relay, to) = relay(Upstream::anywhere().addr(), &[]);
    let _all: Vec<_> = (0..256).map(|_| TcpStream::connect(to).unwrap()).collect();
    let is_reported =
        || relay.stderr().contains("256 senders are connected, which is the limit").then_some(());
    wait::until_some("the waiting is reported", is_reported);
}

#[test]
fn the_relay_sends_its_own_figures() {
    let upstream = Upstream::anywhere();
    let (_relay, to) = relay(upstream.addr(), &["-i", "1s", "-p", "own.relay"]);
    let _stream = send(to, &frame([("a".to_owned(), 60, 1.0), ("b".to_owned(), 60, 1.0)]));
    let lines = upstream.lines();
    // On a slow machine the first figures may be sent before the metrics, or while they are on their way.
    // Each figure must be possible at its time, and the last ones must cover all metrics.
    let mut others = BTreeSet::new();
    let mut counted = Vec::new();
    for turn in 0..100 {
        let figures = next_figures(&lines, &mut others);
        let value = |name: &str| {
            let name = format!("own.relay.{name}");
            figures.iter().find(|(key, _)| *key == name).unwrap_or_else(|| panic!("{figures:?}")).1
        };
        let counts = ["seenPickles", "seenMetrics", "sentMetrics", "queueLength"].map(value);
        // The figures of the earlier turns were sent as well.
        let in_the_end = [1, 2, 2 + 5 * turn, 0];
        assert!(counts.iter().zip(in_the_end).take(3).all(|(now, end)| *now <= end), "{counts:?}");
        assert!(value("systemMemory") > 1 << 20);
        counted.push(counts);
        if counts == in_the_end {
            assert_eq!(
                others.into_iter().collect::<Vec<_>>(),
                ["a 1.000000000000 60", "b 1.000000000000 60"]
            );
            return;
        }
    }
    panic!("the figures never covered all: {counted:?}");
}

/// The next complete set of the relay's own figures; other lines before its end go to `others`.
fn next_figures(lines: &Receiver<String>, others: &mut BTreeSet<String>) -> Vec<(String, u64)> {
    let mut figures = Vec::new();
    while figures.len() < 5 {
        let line = lines.recv_timeout(LIMIT).unwrap();
        if !line.starts_with("own.relay.") {
            others.insert(line);
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        assert!(words.len() == 3 && words[2].parse::<u64>().unwrap() > 1_700_000_000, "{line}");
        figures.push((words[0].to_owned(), words[1].parse().unwrap()));
    }
    figures
}

#[test]
fn arguments_that_cannot_work_are_refused_at_the_start() {
    let run = |args: &[&str]| {
        let mut command = Command::new(PROGRAMS.bucky);
        command.arg("pickle-relay").args(args);
        Running::start(command).finish()
    };
    run(&[]).assert_code(2);
    run(&["no-port"]).assert_code(2).assert_stderr_has("give HOST:PORT");
    run(&["-x", "0", "h:1"]).assert_code(2);
    run(&["-i", "60ns", "h:1"]).assert_code(2).assert_stderr_has("took nanoseconds for seconds");
    run(&["-p", "a b", "h:1"]).assert_code(2);
    run(&["-b", "2004", "h:1"]).assert_code(2);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    run(&["-b", &addr, "h:1"]).assert_code(1).assert_stderr_has("cannot listen on");
    run(&["-s", "30", "-q", "7", "-d=false", "-b", &addr, "h:1"]).assert_code(1);
}
