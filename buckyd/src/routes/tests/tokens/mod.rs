//! Tokens at every route: what is refused, in which form, and that nothing was read or changed.

use std::net::SocketAddr;

use bucky_api::token::{Claims, Secret};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

mod peers;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A token that lasts forever, as users of the Go tool have them.
fn token(namespaces: &[&str], ops: &[&str]) -> String {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let claims = Claims { namespaces: words(namespaces), ops: words(ops), ..Claims::default() };
    let token = Secret::new(SECRET.as_bytes()).unwrap().sign(&claims).unwrap();
    String::from_utf8(token.reveal().to_vec()).unwrap()
}

/// A daemon with tokens, and with these metrics.
async fn daemon(flags: &[&str], metrics: &[&str]) -> TestDaemon {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), SECRET).unwrap();
    let mut all = vec!["-auth-jwt-secret-file", file.path().to_str().unwrap()];
    all.extend(flags);
    let prefix = tempfile::tempdir().unwrap();
    let path = prefix.path().to_owned();
    let daemon = TestDaemon::start_at(prefix, path, &all).await;
    for metric in metrics {
        daemon.put(metric, &crate::store::tests::whisper(&[120, 600]));
    }
    tokio::spawn(Arc::clone(&daemon.app.inventory).run());
    daemon.app.inventory.wait_for(1).await;
    daemon
}

/// The body as text, whatever it contains.
fn lossy(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

fn with(request: Request, token: &str) -> Request {
    request.header("X-Buckyd-Authorization", token)
}

fn json_request(path: &str, body: &serde_json::Value) -> Request {
    Request::new("POST", path)
        .header("Content-Type", "application/json")
        .body(body.to_string().as_bytes())
}

#[tokio::test]
async fn without_a_token_no_route_shows_or_does_anything() {
    let daemon = daemon(&[], &["app.a"]).await;
    let before = daemon.content("app.a");
    let words = "token contains an invalid number of segments";
    for request in [
        "GET /hashring",
        "POST /hashring",
        "GET /metrics",
        "POST /metrics",
        "HEAD /metrics",
        "PATCH /metrics",
        "HEAD /metrics/app.a",
        "GET /metrics/app.a",
        "GET /metrics/nope",
        "POST /metrics/app.a",
        "PUT /metrics/app.a",
        "DELETE /metrics/app.a",
        "POST /metrics/app.a?fetch_offload=true",
        "GET /v1",
        "GET /v1/status",
        "HEAD /v1/status",
        "GET /v1/metrics",
        "POST /v1/metrics",
        "GET /v1/misplaced",
        "GET /v1/archive",
        "POST /v1/archive",
        "POST /v1/heal",
        "POST /v1/heal?replace_corrupt=1",
        "POST /v1/pull",
        "POST /v1/confirm",
        "POST /v1/digests",
        "POST /v1/points",
        "POST /v1/delete",
        "GET /v1/nosuch",
        "DELETE /v1/status",
    ] {
        let (method, path) = request.split_once(' ').unwrap();
        let answer = daemon.send(&Request::new(method, path)).await;
        assert_eq!(answer.status, 403, "{request}");
        let text = answer.text();
        if method == "HEAD" {
            assert_eq!(text, "", "{request}");
        } else if path.starts_with("/v1") {
            assert!(
                text.contains(r#""code":"forbidden""#) && text.contains(words),
                "{request}: {text}"
            );
        } else {
            assert_eq!(text, format!("{words}\n"), "{request}");
            assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        }
    }
    assert_eq!(daemon.content("app.a"), before);
    // The same answer from every daemon, and from the Go tool's.
    for (request, status) in [
        ("GET /metrics//a", 301),
        ("GET /nosuch", 404),
        ("GET /metrics/", 400),
        ("PATCH /metrics/app.a", 400),
    ] {
        let (method, path) = request.split_once(' ').unwrap();
        assert_eq!(daemon.send(&Request::new(method, path)).await.status, status, "{request}");
    }
}

/// The table of section 7 of the contract, over the wire.
#[tokio::test]
async fn each_operation_opens_its_methods_and_no_others() {
    for (op, opened) in [
        ("read", &["HEAD", "GET"][..]),
        ("update", &["POST"]),
        ("replace", &["PUT"]),
        ("delete", &["DELETE"]),
        ("*", &["HEAD", "GET", "POST", "PUT", "DELETE"]),
    ] {
        let daemon = daemon(&[], &["app.a"]).await;
        for method in ["HEAD", "GET", "POST", "PUT", "DELETE"] {
            for (namespace, fits) in [("app.*", true), ("web.*", false), ("app", false)] {
                let request = Request::new(method, "/metrics/app.a");
                let answer = daemon.send(&with(request, &token(&[namespace], &[op]))).await;
                let is_open = fits && opened.contains(&method);
                assert_eq!(answer.status != 403, is_open, "{op} {method} {namespace}");
                if answer.status == 403 && method != "HEAD" {
                    let word = match method {
                        "GET" => "read",
                        "POST" => "update",
                        "PUT" => "replace",
                        _ => "delete",
                    };
                    let text = match fits {
                        false => "token has no access to the metric/namespace\n".to_owned(),
                        true => format!(
                            "token doesn't have {word} permission for the metric/namespace\n"
                        ),
                    };
                    assert_eq!(answer.text(), text);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_list_needs_the_one_character_and_the_ring_any_good_token() {
    let daemon = daemon(&[], &["app.a"]).await;
    for (namespace, ops, status) in [
        ("*", "read", 200),
        ("**", "read", 200),
        ("?", "read", 200),
        ("[*]", "read", 200),
        ("\\*", "*", 200),
        ("app.*", "read", 403),
        ("*", "update", 403),
    ] {
        let token = token(&[namespace], &[ops]);
        for path in
            ["/metrics", "/v1/metrics", "/v1/misplaced", "/v1/archive", "/v1/metrics?count=1"]
        {
            let answer = daemon.send(&with(Request::new("GET", path), &token)).await;
            assert_eq!(answer.status, status, "{namespace} {ops} {path}: {}", lossy(&answer));
        }
        for path in ["/hashring", "/v1/status"] {
            let answer = daemon.send(&with(Request::new("GET", path), &token)).await;
            assert_eq!(answer.status, 200, "{namespace} {ops} {path}");
        }
    }
    // A caller who may only see names does not get the files either.
    let request = with(Request::new("GET", "/v1/archive"), &token(&["?"], &["read"]));
    let answer = lossy(&daemon.send(&request).await);
    assert!(answer.contains(r#""problem":"forbidden""#) && !answer.contains("app/a.wsp\0"));
}

/// D10: `[^s]*` does not keep the Go tool's caller from `secret.x`, which `.secret.x` reaches too.
#[tokio::test]
async fn d10_no_spelling_of_a_name_gets_by_its_pattern() {
    let daemon = daemon(&[], &["secret.x", "app.a"]).await;
    let before = daemon.content("secret.x");
    let token = token(&["[^s]*"], &["*"]);
    for path in [
        "secret.x",
        ".secret.x",
        "%2esecret.x",
        "secret/x",
        "secret%2fx",
        "..secret.x",
        "%73ecret.x",
        "secret.x.",
        "/secret.x",
        "a/../secret.x",
        "secret..x",
    ] {
        for method in ["GET", "DELETE", "PUT"] {
            let request = with(Request::new(method, &format!("/metrics/{path}")), &token);
            let status = daemon.send(&request).await.status;
            assert!(matches!(status, 301 | 400 | 403), "{method} {path}: {status}");
        }
    }
    assert_eq!(daemon.content("secret.x"), before);
    // A name that it may see can have any spelling.
    for path in ["app.a", "app/a", "app%2fa"] {
        let request = with(Request::new("GET", &format!("/metrics/{path}")), &token);
        assert_eq!(daemon.send(&request).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn the_names_in_a_body_are_checked_one_by_one() {
    let daemon = daemon(&[], &["app.a", "web.b"]).await;
    let names = json!({"metrics": ["app.a", "web.b"]});
    let archive = daemon
        .send(&with(json_request("/v1/archive", &names), &token(&["app.*"], &["read"])))
        .await;
    assert_eq!(archive.status, 200);
    let text = lossy(&archive);
    assert!(text.contains("app/a.wsp") && !text.contains("web/b.wsp"));
    assert!(text.contains(
        r#""metrics":1,"left_out":[{"metric":"web.b","problem":"forbidden","reason":"token has no"#
    ));

    let slots = json!({"metrics": [{"name": "app.a"}, {"name": "web.b"}]});
    let confirm = daemon
        .send(&with(json_request("/v1/confirm", &slots), &token(&["app.*"], &["read"])))
        .await;
    let confirm = confirm.text();
    assert!(
        confirm.contains(r#"{"metric":"web.b","outcome":"unreadable","reason":"token has no"#),
        "{confirm}"
    );
    assert!(!confirm.contains(r#"{"metric":"app.a","outcome":"unreadable""#), "{confirm}");

    let digests = json!({"metrics": ["app.a", "web.b"], "now": 1, "settled": 1});
    let digests = with(json_request("/v1/digests", &digests), &token(&["app.*"], &["read"]));
    let digests = daemon.send(&digests).await;
    let digests = digests.text();
    assert!(digests.contains(r#"{"metric":"app.a","found":"whole""#), "{digests}");
    let denied =
        r#"{"metric":"web.b","found":"unread","problem":"forbidden","reason":"token has no"#;
    assert!(digests.contains(denied), "{digests}");

    for (metric, found) in [
        ("app.a", r#"{"found":"points""#),
        ("web.b", r#"{"found":"unread","problem":"forbidden","reason":"token has no"#),
    ] {
        let points = json!({"metric": metric, "seconds_per_point": 60, "first": 60, "slots": 1,
            "now": 1, "latest": 1});
        let points = with(json_request("/v1/points", &points), &token(&["app.*"], &["read"]));
        let points = daemon.send(&points).await;
        assert!(points.text().starts_with(found), "{}", points.text());
    }

    let stat = with(json_request("/v1/metrics", &names), &token(&["app.*"], &["read"]));
    let stat = daemon.send(&stat).await;
    let stat = stat.text();
    assert!(
        stat.contains(r#"{"metric":"web.b","bytes":0,"mtime":0,"reason":"token has no"#),
        "{stat}"
    );
    assert!(stat.contains(r#"{"metric":"app.a","bytes""#), "{stat}");

    // A heal with both metrics stores only the one that the caller may store.
    let both = with(json_request("/v1/archive", &names), &token(&["*"], &["read"]));
    let both = daemon.send(&both).await.body;
    fs::remove_file(daemon.path("app.a")).unwrap();
    fs::remove_file(daemon.path("web.b")).unwrap();
    let heal = Request::new("POST", "/v1/heal").body(&both);
    let lines = daemon.send(&with(heal, &token(&["app.*"], &["update"]))).await;
    let lines = lines.text();
    assert!(lines.contains(r#"{"metric":"app.a","outcome":"created""#), "{lines}");
    assert!(lines.contains(r#""metric":"web.b","outcome":"refused""#), "{lines}");
    assert!(lines.contains(r#""problem":"forbidden""#), "{lines}");
    assert!(daemon.has("app.a") && !daemon.has("web.b"));

    // Replacing takes its own permission.
    fs::write(daemon.path("app.a"), b"corrupt").unwrap();
    let file = fs::File::options().write(true).open(daemon.path("app.a")).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).unwrap();
    let replace = || Request::new("POST", "/v1/heal?replace_corrupt=1").body(&both);
    let refused = daemon.send(&with(replace(), &token(&["*"], &["update"]))).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(daemon.content("app.a"), b"corrupt");
    let done = daemon.send(&with(replace(), &token(&["*"], &["update", "replace"]))).await;
    let done = done.text();
    assert!(done.contains(r#"{"metric":"app.a","outcome":"replaced""#), "{done}");
}

#[tokio::test]
async fn where_one_metric_may_not_be_deleted_none_is() {
    let daemon = daemon(&[], &["app.a", "web.b"]).await;
    let digest = |metric: &str| bucky_whisper::Digest::of(&daemon.content(metric)).to_string();
    let request = |owner: &str| {
        let of =
            |metric: &str| json!({"name": metric, "digest": digest(metric), "owners": [owner]});
        json_request("/v1/delete", &json!({"metrics": [of("app.a"), of("web.b")]}))
    };
    let refused = daemon.send(&with(request("a"), &token(&["app.*"], &["delete"]))).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("web.b: token has no access"), "{}", refused.text());
    // An owner that could not be asked later would keep its tombstone forever.
    let refused = daemon.send(&with(request("stranger"), &token(&["*"], &["delete"]))).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("--peer stranger:4242"), "{}", refused.text());
    assert!(daemon.has("app.a") && daemon.has("web.b"));
    let done = daemon.send(&with(request("a"), &token(&["*"], &["delete"]))).await;
    let done = done.text();
    assert_eq!(done.matches(r#""outcome":"deleted""#).count(), 2, "{done}");
}

#[tokio::test]
async fn a_further_secret_is_taken_and_a_foreign_one_is_not() {
    let further = tempfile::NamedTempFile::new().unwrap();
    fs::write(further.path(), "fedcba9876543210fedcba9876543210\n").unwrap();
    let daemon =
        daemon(&["--auth-jwt-accept-secret-file", further.path().to_str().unwrap()], &[]).await;
    let claims =
        Claims { namespaces: vec!["*".into()], ops: vec!["*".into()], ..Claims::default() };
    for (secret, status) in [("fedcba9876543210fedcba9876543210", 200), ("another", 403)] {
        let token = Secret::new(secret.as_bytes()).unwrap().sign(&claims).unwrap();
        let token = String::from_utf8(token.reveal().to_vec()).unwrap();
        let answer = daemon.send(&with(Request::new("GET", "/metrics"), &token)).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}

#[tokio::test]
async fn a_refusal_comes_before_the_body() {
    let daemon = daemon(&[], &[]).await;
    for path in ["/metrics/app.a", "/v1/heal", "/v1/pull", "/metrics"] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
        let mut stream = tokio::net::TcpStream::connect(daemon.addr).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        let read = tokio::time::timeout(Duration::from_secs(60), stream.read_exact(&mut start));
        read.await.expect("an answer while the body is not there").unwrap();
        assert_eq!(&start, b"HTTP/1.1 403", "{path}");
    }
}
