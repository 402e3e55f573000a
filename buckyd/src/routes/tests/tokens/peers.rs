//! D9: which hosts get a token of this daemon, and for what.

use super::*;

/// Listens, and returns what a client sends.
async fn listening() -> (SocketAddr, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = vec![0; 4096];
        let bytes = stream.read(&mut heard).await.unwrap();
        heard.truncate(bytes);
        let redirect =
            "HTTP/1.1 307 See\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(redirect.as_bytes()).await.unwrap();
        heard
    });
    (addr, heard)
}

/// D9: the Go daemon sends a token with all rights to any host that the caller names.
#[tokio::test]
async fn d9_a_host_that_is_not_configured_gets_no_token_and_no_request() {
    let daemon = daemon(&[], &[]).await;
    let (addr, heard) = listening().await;
    let all = token(&["*"], &["*"]);
    let offload = Request::new("POST", "/metrics/app.x?fetch_offload=true")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(format!("server={addr}&metric=app.x").as_bytes());
    let refused = daemon.send(&with(offload, &all)).await;
    assert_eq!(refused.status, 400);
    let text = refused.text();
    assert!(
        text.starts_with(&format!(
            "Error fetching metric: {addr} is not a member of this daemon's ring"
        )),
        "{text}"
    );
    let pull = json_request("/v1/pull", &json!({"from": addr.to_string(), "metrics": ["app.x"]}));
    let refused = daemon.send(&with(pull, &all)).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains(&format!("--peer {addr}")), "{}", refused.text());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!heard.is_finished(), "no client came");
    heard.abort();
}

/// D9: the Go daemon's token opens every namespace, and it follows redirects.
#[tokio::test]
async fn d9_a_configured_host_gets_a_token_for_that_metric_that_lasts_minutes() {
    let (addr, heard) = listening().await;
    let daemon = daemon(&["--peer", &addr.to_string()], &[]).await;
    let offload = Request::new("POST", "/metrics/app.x?fetch_offload=true")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(format!("server={addr}&metric=web.y").as_bytes());
    let caller = token(&["app.*", "web.*"], &["update", "read"]);
    let answer = daemon.send(&with(offload, &caller)).await;
    assert_eq!(answer.status, 400, "the source's redirect is not followed: {}", answer.text());
    let heard = String::from_utf8(heard.await.unwrap()).unwrap();
    let sent =
        heard.lines().find_map(|line| line.strip_prefix("x-buckyd-authorization: ")).unwrap();
    let claims = bucky_api::token::payload(sent.trim().as_bytes()).unwrap();
    assert_eq!(
        (claims.namespaces, claims.ops),
        (vec!["web.y".to_owned()], vec!["read".to_owned()])
    );
    let left = claims.expires.unwrap() - f64::from(unix_now());
    assert!((200.0..=300.0).contains(&left), "{left}");
    assert_ne!(sent.trim(), caller);
}

/// D9: with a token for its own metrics, a caller could copy another's metric and read it there.
#[tokio::test]
async fn d9_a_caller_who_may_not_read_the_source_copies_nothing_from_it() {
    let (addr, heard) = listening().await;
    let daemon = daemon(&["--peer", &addr.to_string()], &[]).await;
    let mine = token(&["app.*"], &["*"]);
    for source in ["other.x", ".other.x", "other/x"] {
        let offload = Request::new("POST", "/metrics/app.x?fetch_offload=true")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(format!("server={addr}&metric={source}").as_bytes());
        let status = daemon.send(&with(offload, &mine)).await.status;
        assert!(matches!(status, 400 | 403), "{source}: {status}");
    }
    let pull = |metric: &str| {
        json_request("/v1/pull", &json!({"from": addr.to_string(), "metrics": [metric]}))
    };
    assert_eq!(daemon.send(&with(pull("other.x"), &mine)).await.status, 403);
    let unread = token(&["*"], &["update"]);
    assert_eq!(daemon.send(&with(pull("app.x"), &unread)).await.status, 403);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!heard.is_finished(), "the source was not even asked");
    heard.abort();
}
