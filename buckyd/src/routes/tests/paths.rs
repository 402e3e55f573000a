//! Which path and which method reach which route.

use super::TestDaemon;
use super::wire::Request;

#[tokio::test]
async fn unclean_paths_are_redirected_before_anything_else_and_for_every_method() {
    let daemon = TestDaemon::start().await;
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
        for (path, location) in [
            ("/metrics//a", "/metrics/a"),
            ("/metrics/%2e%2e/hashring", "/hashring"),
            ("/metrics/a%2f..%2fb", "/metrics/b"),
            ("/metrics/..?x=1", "/?x=1"),
            ("/nowhere/.", "/nowhere"),
        ] {
            let answer = daemon.send(&Request::new(method, path)).await;
            assert_eq!((answer.status, answer.header("location")), (301, Some(location)), "{path}");
        }
    }
    let answer = daemon.send(&Request::new("HEAD", "/metrics/./a")).await;
    assert_eq!((answer.status, answer.header("location")), (301, Some("/metrics/a")));
}

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let daemon = TestDaemon::start().await;
    for path in ["/", "/hashring/", "/debug/pprof/", "/metricsx", "/v1"] {
        assert_eq!(daemon.get(path).await.error(), (404, "404 page not found"), "{path}");
    }
    let (status, text) = (400, "invalid URL escape \"%zz\"");
    assert_eq!(daemon.get("/metrics/%zz").await.error(), (status, text));
}

#[tokio::test]
async fn wrong_methods_and_missing_names_are_refused_as_in_the_contract() {
    let daemon = TestDaemon::start().await;
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
        let answer = daemon.send(&Request::new(method, "/metrics/")).await;
        assert_eq!(answer.error(), (400, "Metric name missing."), "{method}");
    }
    for method in ["PATCH", "OPTIONS", "PURGE"] {
        let answer = daemon.send(&Request::new(method, "/metrics/a")).await;
        assert_eq!(answer.error(), (400, "Bad method request."), "{method}");
    }
    for method in ["PUT", "DELETE", "PATCH"] {
        let answer = daemon.send(&Request::new(method, "/metrics")).await;
        assert_eq!(answer.error(), (400, "Bad request method."), "{method}");
        let answer = daemon.send(&Request::new(method, "/hashring")).await;
        assert_eq!(answer.error(), (400, "Bad Request."), "{method}");
    }
    assert_eq!(daemon.send(&Request::new("HEAD", "/metrics")).await.status, 400);
}

#[tokio::test]
async fn d31_names_that_would_mean_another_metrics_file_are_refused() {
    let daemon = TestDaemon::start().await;
    daemon.put("dot", b"x");
    daemon.put("a.b", b"x");
    for (name, said) in [
        (".dot", "begins with a dot"),
        ("a..b", "empty component"),
        ("a.b.", "empty component"),
        ("a.b/", "empty component"),
        ("...", "begins with a dot"),
        ("a%00b", "control character"),
        ("a%0Ab", "control character"),
        ("%ff", "not UTF-8"),
    ] {
        for method in ["GET", "DELETE"] {
            let answer = daemon.send(&Request::new(method, &format!("/metrics/{name}"))).await;
            let (status, text) = answer.error();
            assert_eq!(status, 400, "{name}");
            assert!(text.contains(said), "{name}: {text}");
        }
    }
    assert!(daemon.has("dot") && daemon.has("a.b"));
    for name in ["a.b", "a/b", "a%2fb", "a%2Eb"] {
        assert_eq!(daemon.get(&format!("/metrics/{name}")).await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn a_wrong_method_under_v1_is_refused_in_json_with_the_allowed_ones() {
    let daemon = TestDaemon::start().await;
    for (method, path, allowed) in [
        ("POST", "/v1/status", "GET,HEAD"),
        ("GET", "/v1/delete", "POST"),
        ("PUT", "/v1/archive", "GET,HEAD,POST"),
    ] {
        let answer = daemon.send(&Request::new(method, path)).await;
        assert_eq!((answer.status, answer.header("content-type")), (405, Some("application/json")));
        let mut found: Vec<&str> = answer.header("allow").unwrap().split(',').collect();
        found.sort_unstable();
        assert_eq!(found.join(","), allowed);
        let body: bucky_api::ErrorBody = serde_json::from_slice(&answer.body).unwrap();
        assert!(body.error.message.contains(method), "{body}");
    }
    assert_eq!(daemon.get("/v1/nowhere").await.status, 404);
    assert_eq!(daemon.get("/nowhere").await.status, 404);
}
