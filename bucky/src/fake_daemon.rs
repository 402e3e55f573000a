//! A daemon for tests that answers as the test wants, over a real socket.

use std::collections::BTreeMap;
use std::sync::Arc;

use bucky_api::DaemonAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The path without its query.
    pub(crate) fn route(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// A parameter of the query, still encoded.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let query = self.path.split_once('?')?.1;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into() }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: b"so the test wants it".to_vec() }
    }

    pub(crate) fn lines<T: serde::Serialize>(lines: &[T]) -> Self {
        let lines = lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n");
        Self::ok(lines.collect::<String>())
    }
}

/// Starts a daemon that answers with `handler`, and returns its address.
pub(crate) async fn daemon(
    handler: impl Fn(Request) -> Reply + Send + Sync + 'static,
) -> DaemonAddr {
    daemon_at("127.0.0.1:0", handler).await
}

/// Starts a daemon at this address; port 0 means any.
pub(crate) async fn daemon_at(
    address: &str,
    handler: impl Fn(Request) -> Reply + Send + Sync + 'static,
) -> DaemonAddr {
    let listener = TcpListener::bind(address).await.unwrap();
    let local = listener.local_addr().unwrap();
    let addr = DaemonAddr::new(&local.ip().to_string(), local.port()).unwrap();
    let handler = Arc::new(handler);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handler = Arc::clone(&handler);
            tokio::spawn(async move { serve(stream, handler.as_ref()).await });
        }
    });
    addr
}

async fn serve(stream: TcpStream, handler: &(impl Fn(Request) -> Reply + ?Sized)) {
    let mut stream = BufReader::new(stream);
    let Some(request) = read_request(&mut stream).await else { return };
    let is_head = request.method == "HEAD";
    let reply = handler(request);
    let mut head = format!(
        "HTTP/1.1 {} x\r\nconnection: close\r\ncontent-length: {}\r\n",
        reply.status,
        reply.body.len()
    );
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    if !is_head {
        let _ = stream.write_all(&reply.body).await;
    }
    let _ = stream.flush().await;
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let body = if headers.contains_key("transfer-encoding") {
        read_chunks(stream).await?
    } else {
        let len = headers.get("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
        let mut body = vec![0; len];
        stream.read_exact(&mut body).await.ok()?;
        body
    };
    Some(Request { method, path, headers, body })
}

async fn read_chunks(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let len = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; len + 2];
        stream.read_exact(&mut chunk).await.ok()?;
        body.extend_from_slice(&chunk[..len]);
        if len == 0 {
            return Some(body);
        }
    }
}
