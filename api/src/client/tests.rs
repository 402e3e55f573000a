//! The client's limits against daemons that are slow or stop answering.

use bytes::Bytes;

use super::*;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The time limit for a daemon. The steps below that must be in time take less than half of it, because a
/// busy machine is slow.
const SHORT: Duration = Duration::from_secs(2);

/// A daemon that answers its one request with these pieces, each after a pause in milliseconds, and then
/// sends nothing more.
async fn answering(pieces: &'static [(u64, &'static str)]) -> Daemon {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string().parse().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        for (millis, piece) in pieces {
            tokio::time::sleep(Duration::from_millis(*millis)).await;
            stream.write_all(piece.as_bytes()).await.unwrap();
        }
        std::future::pending::<()>().await;
    });
    client().daemon(addr)
}

fn client() -> Client {
    let upload = SHORT.saturating_mul(4);
    let timeouts = Timeouts { connect: SHORT, answer: SHORT, idle: SHORT, upload, away: SHORT };
    Client::new(timeouts).unwrap()
}

/// A daemon that answers 200, and then sends `piece` again and again, with a pause of `millis` before each.
async fn endless(millis: u64, piece: &'static [u8]) -> Daemon {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string().parse().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
        let mut is_read = stream.write_all(head).await.is_ok();
        while is_read {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            is_read = stream.write_all(piece).await.is_ok();
        }
    });
    client().daemon(addr)
}

#[tokio::test]
async fn only_routes_that_take_long_are_waited_for_longer() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let late: &[_] = &[(4000, HEAD)];
    let heal = async {
        let stream = futures_util::stream::once(async { Ok(Bytes::from_static(b"tar")) });
        let heal = answering(late).await.heal(Encoding::Identity, stream).await.unwrap();
        assert!(heal.collect::<crate::HealLine>().await.unwrap().is_empty());
    };
    let fill = async {
        let (content, stat) = (Bytes::from_static(b"content"), crate::go::MetricStat::default());
        answering(late).await.go_fill("a", &stat, content).await.unwrap();
    };
    let ring = async {
        let error = answering(late).await.hashring().await.unwrap_err();
        assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
    };
    tokio::join!(heal, fill, ring);
}

#[tokio::test]
async fn an_answer_that_stops_times_out_and_says_so() {
    let daemon = answering(&[
        (0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (50, "5\r\na.b\nc\r\n"),
    ]);
    let mut lines = daemon.await.metrics(&[]).await.unwrap();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "a.b");
    let error = crate::chain(&lines.next_line().await.unwrap_err());
    assert!(error.contains("only 5 bytes in"), "{error}");
}

#[tokio::test]
async fn a_refusal_whose_explanation_never_ends_is_a_refusal() {
    let daemon = answering(&[(0, "HTTP/1.1 503 No\r\nContent-Length: 99\r\n\r\nbusy")]);
    let error = daemon.await.hashring().await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::SERVICE_UNAVAILABLE), "{error:?}");
}

#[tokio::test]
async fn signs_of_life_alone_are_not_waited_on_for_ever() {
    let daemon = endless(50, b"\n").await;
    let error = daemon.metrics(&[]).await.unwrap().next_line().await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
}

#[tokio::test]
async fn a_line_that_comes_byte_by_byte_is_not_waited_on_for_ever() {
    let daemon = endless(50, b"x").await;
    let lines = daemon.metrics(&[]).await.unwrap();
    let begun = std::time::Instant::now();
    let error = crate::chain(&lines.collect::<crate::MetricLine>().await.unwrap_err());
    assert!(error.contains("bytes in"), "{error}");
    assert!(begun.elapsed() < SHORT * 4, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn lines_that_never_end_are_refused() {
    let line = b"{\"metric\":\"a\",\"owners\":[]}\n";
    let daemon = endless(0, line).await;
    let lines = daemon.misplaced(&MisplacedQuery::default()).await.unwrap();
    let error = lines.collect_at_most::<crate::MisplacedLine>(5).await.unwrap_err();
    assert!(error.to_string().contains("the request's limit of 5") && !error.may_pass(), "{error}");
}

/// A hundred thousand lines of a megabyte would be a hundred gigabytes.
#[tokio::test]
async fn lines_that_are_too_long_together_are_refused() {
    let line: &'static [u8] = Box::leak(Box::new([[b' '; 512 << 10].as_slice(), b"7\n"].concat()));
    let lines = endless(0, line).await.metrics(&[]).await.unwrap();
    let error = lines.collect::<u32>().await.unwrap_err();
    assert!(error.to_string().contains("together") && !error.may_pass(), "{error}");
    let lines = endless(0, &[b' '; 64 << 10]).await.metrics(&[]).await.unwrap();
    let error = lines.collect::<u32>().await.unwrap_err();
    assert!(crate::chain(&error).contains("a line of more than") && !error.may_pass(), "{error}");
}

/// A proxy between a daemon and its client can answer 503, too.
#[tokio::test]
async fn a_refusal_has_the_code_that_the_daemon_gave() {
    const BUSY: &str = "HTTP/1.1 503 No\r\nContent-Length: 38\r\n\r\n{\"error\":{\"code\":\"busy\",\"message\":\"\"}}";
    const LATER: &str = "HTTP/1.1 503 No\r\nContent-Length: 38\r\n\r\n{\"error\":{\"code\":\"late\",\"message\":\"\"}}";
    const PROXY: &str = "HTTP/1.1 503 No\r\nContent-Length: 6\r\n\r\n<html>";
    let cases: [(&'static [(u64, &'static str)], _); 3] = [
        (&[(0, BUSY)], Some(crate::ErrorCode::Busy)),
        (&[(0, LATER)], Some(crate::ErrorCode::Internal)),
        (&[(0, PROXY)], None),
    ];
    for (pieces, code) in cases {
        assert_eq!(answering(pieces).await.hashring().await.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn an_unreachable_daemon_is_named_once_and_with_the_cause() {
    // Nothing listens there. While the socket is held, no other process can.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = held.local_addr().unwrap().to_string();
    let daemon = client().daemon(addr.parse().unwrap());
    let text = crate::chain(&daemon.hashring().await.unwrap_err());
    assert_eq!(text.matches(&addr).count(), 1, "{text}");
    assert!(text.contains("onnection refused") && !text.contains("error sending"), "{text}");
}

/// Every piece comes in time, but the whole answer never does.
#[tokio::test]
async fn files_that_come_byte_by_byte_are_not_waited_on_for_ever() {
    let daemon = endless(40, b"x").await;
    let begun = std::time::Instant::now();
    let (_, mut stream) = daemon.archive(Vec::new(), Encoding::Identity).await.unwrap();
    let mut bytes = 0;
    let error = loop {
        match stream.next().await.unwrap() {
            Ok(piece) => bytes += piece.len(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, BodyError::TooSlow { bytes: told, .. } if told == bytes), "{error}");
    assert!(begun.elapsed() < SHORT * 10, "{:?}", begun.elapsed());
}

/// The reader may take any time for the pieces.
#[tokio::test]
async fn a_slow_reader_is_not_taken_for_a_slow_daemon() {
    let daemon = endless(0, &[7; 64]).await;
    let (_, mut stream) = daemon.archive(Vec::new(), Encoding::Identity).await.unwrap();
    for _ in 0..5 {
        stream.next().await.unwrap().unwrap();
        tokio::time::sleep(SHORT / 2).await;
    }
}

#[tokio::test]
async fn a_short_answer_that_comes_too_slowly_times_out() {
    let daemon = answering(&[
        (0, "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n"),
        (700, "{"),
        (700, "\""),
        (700, "N"),
        (700, "a"),
        (700, "m"),
        (700, "e"),
    ]);
    let begun = std::time::Instant::now();
    let error = daemon.await.hashring().await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    assert!(begun.elapsed() < SHORT * 4, "{:?}", begun.elapsed());
}

/// A daemon that deletes sends signs of life. Without them the client does not wait ten minutes.
#[tokio::test]
async fn a_delete_is_waited_for_as_long_as_there_are_signs_of_life_and_no_longer() {
    let delete = DeleteRequest { metrics: Vec::new(), rest_seconds: 0, salvage: false };
    let alive = answering(&[
        (0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (800, "1\r\n\n\r\n"),
        (800, "1\r\n\n\r\n"),
        (800, "1\r\n\n\r\n"),
        (800, "0\r\n\r\n"),
    ]);
    let lines = alive.await.delete(&delete).await.unwrap();
    assert!(lines.collect::<crate::DeleteLine>().await.unwrap().is_empty());
    let begun = std::time::Instant::now();
    let error = answering(&[]).await.delete(&delete).await.err().unwrap();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    assert!(begun.elapsed() < SHORT * 3, "{:?}", begun.elapsed());
}

/// D9: the Go daemon follows redirects, with its token.
#[tokio::test]
async fn d9_a_token_goes_with_every_request_and_never_to_the_target_of_a_redirect() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = elsewhere.local_addr().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string().parse().unwrap();
    let heard = tokio::spawn(async move {
        let mut heard = Vec::new();
        for _ in 0..4 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let bytes = stream.read(&mut request).await.unwrap();
            heard.push(String::from_utf8_lossy(&request[..bytes]).into_owned());
            let answer = format!(
                "HTTP/1.1 307 See\r\nLocation: http://{location}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        heard
    });
    let daemon = client().with_token(Token::parse(b"a.b.c").unwrap()).daemon(addr);
    assert_eq!(daemon.hashring().await.unwrap_err().status().unwrap().as_u16(), 307);
    assert_eq!(daemon.metrics(&[]).await.err().unwrap().status().unwrap().as_u16(), 307);
    assert_eq!(daemon.go_stat("x").await.unwrap_err().status().unwrap().as_u16(), 307);
    assert_eq!(daemon.go_delete("x").await.unwrap_err().status().unwrap().as_u16(), 307);
    for request in heard.await.unwrap() {
        assert!(request.contains("x-buckyd-authorization: a.b.c\r\n"), "{request}");
    }
    let followed = tokio::time::timeout(Duration::from_millis(50), elsewhere.accept()).await;
    assert!(followed.is_err(), "the redirect was followed");
}

#[tokio::test]
async fn a_refused_token_is_a_lasting_error_that_names_the_daemon_and_says_what_was_sent() {
    const REFUSAL: &[(u64, &str)] = &[(0, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")];
    let without = answering(REFUSAL).await.hashring().await.unwrap_err();
    assert!(without.to_string().contains("no token was sent"), "{without}");
    let daemon = answering(REFUSAL).await;
    let daemon = client().with_token(Token::parse(b"a.b.c").unwrap()).daemon(daemon.addr().clone());
    let with = daemon.go_stat("x").await.unwrap_err();
    assert!(with.to_string().starts_with(&daemon.addr().to_string()), "{with}");
    assert!(with.to_string().contains("the token does not allow it"), "{with}");
    assert!(!with.may_pass() && !format!("{with:?}").contains("a.b.c"));
}

/// A token is for daemons. Anyone who reads it has its rights.
#[tokio::test]
async fn the_carbon_beside_a_daemon_gets_no_token() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let bytes = stream.read(&mut request).await.unwrap();
        let body = r#"{"cache":{"size":1,"limit":2}}"#;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&request[..bytes]).to_lowercase()
    });
    let daemon = client().with_token(Token::parse(b"a.b.c").unwrap());
    let daemon = daemon.daemon(DaemonAddr::new("127.0.0.1", 1).unwrap());
    let cache = daemon.carbon_beside(port).carbon_cache().await.unwrap();
    assert!(cache.is_full(0.5));
    let heard = heard.await.unwrap();
    assert!(heard.starts_with("get /admin/info ") && !heard.contains("authorization"), "{heard}");
}
