//! The limits of the client, held against daemons that are slow or fall silent.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SHORT: Duration = Duration::from_millis(150);

/// A daemon that answers its one request with these pieces, each after so many milliseconds, and then says no more.
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
    let timeouts =
        Timeouts { connect: SHORT, answer: SHORT, idle: SHORT, upload: SHORT.saturating_mul(20) };
    Client::new(timeouts).unwrap().daemon(addr)
}

#[tokio::test]
async fn an_answer_that_takes_long_to_begin_is_waited_for_where_that_is_its_nature() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let late: &[_] = &[(600, HEAD)];
    let content = Bytes::from_static(b"content");
    let stream = futures_util::stream::once(async { Ok(Bytes::from_static(b"tar")) });
    let heal = answering(late).await.heal(Encoding::Identity, stream).await.unwrap();
    assert!(heal.collect::<crate::HealLine>().await.unwrap().is_empty());
    let delete = DeleteRequest { metrics: Vec::new() };
    answering(late).await.delete(&delete).await.unwrap();
    let stat = crate::go::MetricStat::default();
    answering(late).await.go_fill("a", &stat, content).await.unwrap();
    let error = answering(late).await.hashring().await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_falls_silent_is_given_up_and_says_so() {
    let daemon = answering(&[
        (0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (50, "5\r\na.b\nc\r\n"),
    ]);
    let mut lines = daemon.await.metrics(&[]).await.unwrap();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "a.b");
    let error = crate::chain(&lines.next_line().await.unwrap_err());
    assert!(error.contains("nothing came for"), "{error}");
}

#[tokio::test]
async fn a_refusal_whose_explanation_never_ends_is_a_refusal() {
    let daemon = answering(&[(0, "HTTP/1.1 503 No\r\nContent-Length: 99\r\n\r\nbusy")]);
    let error = daemon.await.hashring().await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::SERVICE_UNAVAILABLE), "{error:?}");
}
