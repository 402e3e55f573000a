//! HTTP/1.1 on the wire: heads, bodies, chunks.

use std::io::{self, BufRead, Read};

/// A request or an answer as it was received.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// The first line, without its end.
    pub(super) start: String,
    /// The headers, in the order in which they were received.
    pub(super) headers: Vec<(String, String)>,
    /// The body, without chunk framing.
    pub(super) body: Vec<u8>,
}

impl Message {
    /// The value of a header; its name is compared without letter case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The words of the first line.
    pub(super) fn words(&self) -> [&str; 3] {
        let mut words = self.start.splitn(3, ' ');
        std::array::from_fn(|_| words.next().unwrap_or_default())
    }
}

/// Reads one message, or `None` if the other side has closed. An answer to HEAD has no body, even if its head
/// announces one.
pub(super) fn read(stream: &mut impl BufRead, is_to_head: bool) -> io::Result<Option<Message>> {
    let Some(start) = line(stream)? else { return Ok(None) };
    let mut headers = Vec::new();
    loop {
        let line = line(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| bad(&line))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut message = Message { start, headers, body: Vec::new() };
    if !is_to_head {
        message.body = body(stream, &message)?;
    }
    Ok(Some(message))
}

fn body(stream: &mut impl BufRead, message: &Message) -> io::Result<Vec<u8>> {
    if let Some(coding) = message.header("transfer-encoding") {
        return if coding == "chunked" { chunks(stream) } else { Err(bad(coding)) };
    }
    let Some(len) = message.header("content-length") else { return Ok(Vec::new()) };
    let len: u64 = len.parse().map_err(|_| bad(len))?;
    let mut body = Vec::new();
    stream.take(len).read_to_end(&mut body)?;
    if body.len() as u64 == len { Ok(body) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn chunks(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = u64::from_str_radix(&size, 16).map_err(|_| bad(&size))?;
        let before = body.len() as u64;
        stream.take(size).read_to_end(&mut body)?;
        let end = line(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if body.len() as u64 - before != size || !end.is_empty() {
            return Err(bad("a chunk of another length than it says"));
        }
        if size == 0 {
            return Ok(body);
        }
    }
}

fn line(stream: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    stream.read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let Some(text) = bytes.strip_suffix(b"\r\n") else {
        return Err(bad(&String::from_utf8_lossy(&bytes)));
    };
    Ok(Some(String::from_utf8_lossy(text).into_owned()))
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP: {what:?}"))
}

/// `body` as a single chunk.
pub(super) fn chunked(body: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(body.len() + 32);
    if !body.is_empty() {
        framed.extend(format!("{:x}\r\n", body.len()).bytes());
        framed.extend(body);
        framed.extend(b"\r\n");
    }
    framed.extend(b"0\r\n\r\n");
    framed
}
