//! `/metrics`: the list.

use bucky_tests::go::Body;
use bucky_tests::wait;

use super::{Daemon, error, plain_error, row, text_of};
use crate::cluster;

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// Ours: a list is always sent in chunks; the Go daemon sends a length below 2 KiB.
fn list(names: &str) -> String {
    format!("200 OK\nContent-Type: application/json\nTransfer-Encoding: chunked\n\n{names}")
}

fn with_metrics() -> Daemon {
    let daemon = Daemon::of(cluster(1).lay());
    for name in ["a", "a.one", "a.two", "a-b", "sys.é<&>"] {
        daemon.lay(name);
    }
    let Daemon { mut cluster, .. } = daemon;
    cluster.start();
    Daemon::of(cluster)
}

#[test]
fn the_list_its_filters_and_its_refusals_are_those_of_the_contract() {
    let daemon = with_metrics();
    // Ours: sorted by the bytes of the names; the Go daemon uses the order of its walk.
    let all = r#"["a","a-b","a.one","a.two","sys.é\u003c\u0026\u003e"]"#;
    let form = "POST /metrics\nContent-Type: application/x-www-form-urlencoded";
    daemon.assert_rows(&[
        row("GET /metrics", list(all)),
        row("POST /metrics", list(all)),
        row("GET /metrics?force=", list(all)),
        row("GET /metrics?nosuch=1", list(all)),
        row("GET /metrics?regex=%5Ea%5C.", list(r#"["a.one","a.two"]"#)),
        row("GET /metrics?regex=wo", list(r#"["a.two"]"#)),
        row("GET /metrics?regex=nothing", list("[]")),
        row("GET /metrics?regex=one&regex=two", list(r#"["a.one"]"#)),
        row("GET /metrics?list=%5B%22a.one%22%5D&regex=two", list("[]")),
        // The body of a GET is not read.
        row(
            "GET /metrics\nContent-Type: application/x-www-form-urlencoded\n\nregex=one",
            list(all),
        ),
        error("PUT /metrics", "400 Bad Request", "Bad request method."),
        error("DELETE /metrics", "400 Bad Request", "Bad request method."),
        error("OPTIONS /metrics", "400 Bad Request", "Bad request method."),
    ]);
    for (body, expected) in [
        (r#"list=["a.two","a.two","a","no.such",null]"#, r#"["a","a.two"]"#),
        ("list=[]", "[]"),
        ("list=null", "[]"),
        (r#"regex=^a$&list=["a","a.two"]"#, r#"["a"]"#),
        (r#"list=%5B%22sys.%C3%A9%3C%26%3E%22%5D"#, r#"["sys.é\u003c\u0026\u003e"]"#),
    ] {
        assert_eq!(text_of(&daemon.answer(&format!("{form}\n\n{body}"))), list(expected), "{body}");
        let charset = format!("{form}; charset=utf-8\n\n{body}");
        assert_eq!(text_of(&daemon.answer(&charset)), list(expected), "{body}");
    }
    // The body takes precedence over the query.
    let both =
        "POST /metrics?regex=two\nContent-Type: application/x-www-form-urlencoded\n\nregex=one";
    assert_eq!(text_of(&daemon.answer(both)), list(r#"["a.one"]"#));
    let multipart = "POST /metrics\nContent-Type: multipart/form-data; boundary=X\n\n\
                     --X\r\nContent-Disposition: form-data; name=\"list\"\r\n\r\n[\"a\"]\r\n--X--\r\n";
    assert_eq!(text_of(&daemon.answer(multipart)), list(r#"["a"]"#));
    assert_eq!(daemon.client.ask("HEAD", "/metrics", &[], None).status, 400);
    let long = [("Content-Length", "167772160")];
    let answer = daemon.client.ask("POST", "/metrics", &long, None);
    assert!(answer.text() == "Query larger than 160MiB\n" && answer.status == 400, "{answer:?}");
}

#[test]
fn bad_parameters_are_reported_in_a_line_of_text() {
    let daemon = with_metrics();
    for (parameters, said) in [
        ("regex=(", "error parsing regexp: "),
        ("regex=(?=a)", "error parsing regexp: "),
        // Ours: the error has other words.
        ("list=[", "list= is not a JSON array of strings: "),
        ("list={\"a\":1}", "list= is not a JSON array of strings: "),
        ("list=[1]", "list= is not a JSON array of strings: "),
        // Ours: for the Go daemon each of these is a request for all metrics (D1, D47).
        ("list=%zz", "invalid URL escape \"%zz\""),
        ("regex=a;b", "semicolon"),
        ("regex=", "regex= is empty"),
        ("list=", "list= is empty"),
    ] {
        let form = [FORM, ("Accept-Encoding", "gzip")];
        let by_form =
            daemon.client.ask("POST", "/metrics", &form, Some(Body::Chunked(parameters.into())));
        let escaped = parameters.replace(['{', '"', '}', '['], "%5B");
        let by_query = daemon.client.ask("GET", &format!("/metrics?{escaped}"), &[], None);
        for answer in [by_form, by_query] {
            let text = answer.text();
            assert_eq!(
                text_of(&answer),
                plain_error("400 Bad Request", text.trim_end()),
                "{parameters}"
            );
            assert!(text.contains(said) || parameters.contains('{'), "{parameters}: {text}");
        }
    }
    // Ours: a body of another type would mean all metrics too.
    let other = "POST /metrics\nContent-Type: application/json\n\n[\"a\"]";
    assert_eq!(daemon.answer(other).status, 400);
}

/// The transcript of the contract, including its `202`.
#[test]
fn the_list_request_of_the_go_client_is_answered_as_recorded() {
    let mut cluster = cluster(1).lay();
    let prefix = cluster.node(0).prefix();
    for folder in 0..60 {
        let folder = prefix.join(format!("many/f{folder}"));
        std::fs::create_dir_all(&folder).unwrap();
        for file in 0..100 {
            std::fs::write(folder.join(format!("m{file}.wsp")), b"").unwrap();
        }
    }
    let client = bucky_tests::GoClient::of(cluster.node(0).addr());
    let form = "list=%5B%22many.f7.m8%22%2C%22sp+ace%3F%5Cu0026%2B%25%22%5D";
    let ask = || {
        let headers = [FORM, ("Accept-Encoding", "gzip")];
        client.try_ask("POST", "/metrics", &headers, Some(Body::Chunked(form.into()))).ok()
    };
    // The scan may be over before it can be observed. Then it is started again.
    wait::until("a daemon is met in its first scan", || {
        cluster.node_mut(0).start_unready();
        let first = wait::until_some("the daemon answers", ask);
        let was_unready = first.status == 202;
        if was_unready {
            assert_eq!(text_of(&first), plain_error("202 Accepted", "Cache update in progress."));
        }
        let last =
            wait::until_some("there is a list", || ask().filter(|answer| answer.status != 202));
        assert_eq!(text_of(&last), list(r#"["many.f7.m8"]"#));
        assert!(cluster.node_mut(0).stop().success());
        was_unready
    });
}

/// With `-timeout -1` the Go daemon answers 202 forever; with an outdated list it answers 202 until the next
/// list is built.
#[test]
fn d37_a_list_that_is_too_old_serves_while_the_next_is_made() {
    let daemon = Daemon::of(cluster(1).flag("-timeout", "-1").start());
    daemon.lay("new");
    for _ in 0..20 {
        assert_eq!(daemon.client.ask("GET", "/metrics", &[], None).status, 200);
    }
    wait::until("there is a new list", || {
        text_of(&daemon.client.ask("GET", "/metrics", &[], None)) == list(r#"["new"]"#)
    });
}

/// The Go daemon's list changes only with its next scan, so that metrics are moved again after a move.
#[test]
fn d18_uploads_and_deletes_are_in_the_list_at_once_and_force_waits_for_the_new_one() {
    let daemon = Daemon::start();
    let content = daemon.lay("one");
    let stat = super::stat("two", content.len(), 0);
    let stat = stat.replace("\"Encoding\":0", "\"Encoding\":1");
    daemon.client.post("two", &stat, bucky_tests::go::frame(&content)).assert_status(200);
    assert_eq!(text_of(&daemon.client.ask("GET", "/metrics", &[], None)), list(r#"["two"]"#));
    assert_eq!(
        text_of(&daemon.client.ask("GET", "/metrics?force=0", &[], None)),
        list(r#"["one","two"]"#)
    );
    daemon.client.delete("two").assert_status(200);
    assert_eq!(text_of(&daemon.client.ask("GET", "/metrics", &[], None)), list(r#"["one"]"#));
}
