//! HTTP in bytes: a client library would hide or correct details.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than any answer of a test takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// A request, on its own connection.
#[derive(Clone)]
pub(super) struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    pub(super) fn new(method: &str, path: &str) -> Self {
        Self { line: format!("{method} {path} HTTP/1.1"), headers: Vec::new(), body: None }
    }

    /// Adds a header, or replaces the one of that name.
    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self
    }

    pub(super) fn body(mut self, body: &[u8]) -> Self {
        self.body = Some(body.to_vec());
        self.header("Content-Length", &body.len().to_string())
    }

    /// A form, sent in chunks as the Go client does.
    pub(super) fn chunked_form(mut self, form: &str) -> Self {
        let mut body = Vec::new();
        for chunk in form.as_bytes().chunks(1 << 20) {
            body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        self.body = Some(body);
        self.header("Transfer-Encoding", "chunked").header("Content-Type", bucky_api::go::FORM)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes =
            format!("{}\r\nHost: test\r\nConnection: close\r\n", self.line).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// The answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The name of a header as it was spelled.
    pub(super) fn spelling(&self, name: &str) -> Option<&str> {
        let mut names = self.headers.iter().map(|(name, _)| name.as_str());
        names.find(|other| other.eq_ignore_ascii_case(name))
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Status and text. The text must be one plain line.
    pub(super) fn error(&self) -> (u16, &str) {
        assert_eq!(self.header("content-type"), Some("text/plain; charset=utf-8"), "{self:?}");
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"), "{self:?}");
        let line = self.text().strip_suffix('\n').unwrap();
        assert!(!line.contains('\n') && !line.is_empty(), "{line:?}");
        (self.status, line)
    }
}

/// Sends `request` and reads the answer to the end of the connection.
pub(super) async fn exchange(addr: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    // The daemon may answer and close the connection before everything is sent.
    let send = async {
        let _ = writer.write_all(request).await;
        std::future::pending::<()>().await;
    };
    let mut bytes = Vec::new();
    let receive = async {
        let _ = reader.read_to_end(&mut bytes).await;
    };
    tokio::time::timeout(PATIENCE, async {
        tokio::select! { () = send => {}, () = receive => {} }
    })
    .await
    .expect("the daemon answers");
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Answer {
    let end = find(bytes, b"\r\n\r\n").expect("an answer with a head");
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let rest = &bytes[end + 4..];
    let mut answer = Answer { status, headers, body: Vec::new() };
    answer.body =
        if answer.header("transfer-encoding").is_some() { dechunk(rest) } else { rest.to_vec() };
    answer
}

fn dechunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = find(rest, b"\r\n").expect("a whole answer");
        let len = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if len == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + len]);
        rest = &rest[end + 4 + len..];
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
