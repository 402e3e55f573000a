//! POST with `fetch_offload=true`: the daemon fetches the metric itself.

use bucky_tests::{GoDaemon, TestCluster, tree};
use serde_json::Value;

use super::{Daemon, plain_error, text_of};
use crate::cluster;

/// A daemon of ours, and a source of the Go tool.
fn with_go_source() -> (Daemon, GoDaemon) {
    let mut cluster = cluster(2).lay();
    let prefix = cluster.node(1).prefix();
    std::fs::create_dir_all(&prefix).unwrap();
    cluster.node_mut(0).start();
    let source = GoDaemon::instead_of(&cluster, 1);
    (Daemon::of(cluster), source)
}

fn form(cluster: &TestCluster, metric: &str) -> String {
    format!(
        "metric={metric}&no_encoding=false&server={}",
        cluster.node(1).addr().replace(':', "%3A")
    )
}

const REQUEST: &str =
    "POST /metrics/wrong.b?fetch_offload=true\nContent-Type: application/x-www-form-urlencoded\n\n";

#[test]
fn a_metric_is_fetched_from_a_daemon_of_the_go_tool_and_the_answer_says_how_long_it_took() {
    let (daemon, source) = with_go_source();
    let content = daemon.lay("wrong.b");
    let at_source = daemon.cluster.node(1).path("wrong.b");
    std::fs::create_dir_all(at_source.parent().unwrap()).unwrap();
    std::fs::rename(daemon.path("wrong.b"), &at_source).unwrap();
    for done in [["Download", "Copy"].as_slice(), &["Download", "Dump", "Fill"]] {
        let answer = daemon.answer(&format!("{REQUEST}{}", form(&daemon.cluster, "wrong.b")));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let timings: Value =
            serde_json::from_str(answer.text().strip_suffix('\n').unwrap()).unwrap();
        for key in ["Download", "Dump", "Fill", "Compress", "Copy"] {
            assert_eq!(timings[key].as_u64().unwrap() > 0, done.contains(&key), "{timings}");
        }
        assert_eq!(std::fs::read(daemon.path("wrong.b")).unwrap(), content);
    }
    // Ours: before the fetch, the source is asked which store it is.
    let asked = source.requests();
    assert!(asked.iter().any(|request| request.starts_with("GET /metrics/wrong.b")), "{asked:?}");
    // The fields may be in the query too.
    let query = form(&daemon.cluster, "wrong.b");
    let answer = daemon.answer(&format!("POST /metrics/copy?fetch_offload=true&{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    // `fetch_offload` must be exactly `true`, and in the query.
    let answer = daemon.answer(&REQUEST.replace("true", "1"));
    assert_eq!(
        text_of(&answer),
        plain_error("400 Bad Request", "Content-Type must be application/octet-stream.")
    );
}

#[test]
fn d3_a_fetch_that_fails_is_the_sources_fault_and_changes_nothing() {
    let (daemon, _source) = with_go_source();
    let there = daemon.lay("wrong.b");
    let cluster = &daemon.cluster;
    cluster.node(1).put("short", &[0; 28]);
    cluster.node(1).put("junk", &[7; 148]);
    let marks = tree::marks(&cluster.node(0).prefix());
    let nobody = "metric=m&server=127.0.0.1:1".to_owned();
    for (body, status, said) in [
        (form(cluster, "nope"), "404 Not Found", "Error fetching metric: metric not found"),
        (form(cluster, "short"), "400 Bad Request", "Whisper data in request too small."),
        // Ours: junk is not stored (D45).
        (form(cluster, "junk"), "400 Bad Request", "Malformed whisper data: "),
        (
            "metric=m".to_owned(),
            "400 Bad Request",
            "Error fetching metric: http: no Host in request URL",
        ),
        (form(cluster, ""), "400 Bad Request", "Error fetching metric: "),
        (nobody, "400 Bad Request", "Error fetching metric: cannot reach 127.0.0.1:1 "),
    ] {
        for method in ["POST", "PUT"] {
            for name in ["wrong.b", "new.one"] {
                let request = REQUEST.replace("POST", method).replace("wrong.b", name);
                let answer = daemon.answer(&format!("{request}{body}"));
                let text = answer.text();
                assert_eq!(
                    text_of(&answer),
                    plain_error(status, text.trim_end()),
                    "{method} {body}"
                );
                assert!(text.starts_with(said), "{method} {body}: {text}");
            }
        }
    }
    bucky_tests::cluster::assert_untouched(&marks, &cluster.node(0).prefix());
    assert_eq!(std::fs::read(daemon.path("wrong.b")).unwrap(), there);
}

/// `curl -X PUT 'B/metrics/m?fetch_offload=true' -d server=B -d metric=m` makes the Go daemon delete m.
#[test]
fn d3_d29_a_metric_is_never_fetched_from_the_store_itself() {
    let daemon = Daemon::start();
    let there = daemon.lay("m");
    let own = daemon.cluster.node(0).addr();
    let alias = daemon.cluster.alias_of(0);
    for server in [own, alias.addr().to_string()] {
        for method in ["POST", "PUT"] {
            let request = REQUEST.replace("POST", method).replace("wrong.b", "m");
            let answer = daemon.answer(&format!("{request}server={server}&metric=m"));
            assert_eq!(answer.status, 400);
            assert!(answer.text().contains("this same store"), "{}", answer.text());
        }
    }
    assert_eq!(std::fs::read(daemon.path("m")).unwrap(), there);
}
