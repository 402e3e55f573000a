//! Digests that nodes report of their own files: which are believed, and which are not and lead to a
//! comparison of contents.

use super::*;

/// Like [`node`], with a route for digests that answers correctly.
fn with_digests(host: &'static str, files: &[(&str, Vec<u8>)]) -> Node {
    answering(host, files, |lines| Reply::lines(&lines))
}

/// Like [`with_digests`], with the answers changed by `answer`.
fn answering(
    host: &'static str,
    files: &[(&str, Vec<u8>)],
    answer: impl Fn(Vec<DigestLine>) -> Reply + Send + Sync + 'static,
) -> Node {
    Node { digests: Some(Box::new(answer)), ..node(host, files) }
}

/// Makes the node fail if it is asked for contents.
fn never_sends(mut node: Node) -> Node {
    node.hook = Box::new(|_| Some(Reply::status(400)));
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_one_content_or_with_the_same_points_are_not_sent() {
    let hosts = ["127.0.71.1", "127.0.71.2"];
    let [same, other] = [name_of(&hosts, 1), format!("b.{}", name_of(&hosts, 1))];
    let ring = Ring::new(document(&hosts).to_spec().unwrap()).unwrap();
    let owner = ring.owners(&other).next().unwrap();
    let changed = |value: f64| {
        let mut content = file(&[1, 2, 3]);
        let at = content.len() - 8;
        content[at..].copy_from_slice(&value.to_be_bytes());
        content
    };
    let files = |value| vec![(same.as_str(), file(&[1, 2])), (other.as_str(), changed(value))];
    let nodes = [with_digests(hosts[0], &files(1.0)), with_digests(hosts[1], &files(2.0))];
    let seed = cluster(nodes.map(never_sends).into()).await;
    let (outcome, data, people) = verify(&seed, &["-j"]).await;
    assert_eq!(outcome, Outcome::SomeFailed, "{data}{people}");
    let report: serde_json::Value = serde_json::from_str(&data).unwrap();
    let reported: Vec<(&str, &str, &str)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| ["kind", "metric", "node"].map(|key| one[key].as_str().unwrap()).into())
        .collect();
    let stray = |owner: usize| format!("{}:{}", hosts[1 - owner], seed.port());
    let expected =
        [("misplaced", same.as_str(), &*stray(1)), ("misplaced", other.as_str(), &*stray(owner))];
    assert_eq!(reported, expected, "{data}");
    let summary = &report["summary"];
    assert_eq!([&summary["copies"], &summary["points"]], [4, 14], "{data}");
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_differ_are_sent_and_compared_point_by_point() {
    let hosts = ["127.0.72.1", "127.0.72.2"];
    let name = name_of(&hosts, 1);
    let nodes = vec![
        with_digests(hosts[0], &[(&name, file(&[1, 2, 9]))]),
        with_digests(hosts[1], &[(&name, file(&[1]))]),
    ];
    let (outcome, data, people) = verify(&cluster(nodes).await, &["-j"]).await;
    assert_eq!(outcome, Outcome::SomeFailed, "{data}{people}");
    let report: serde_json::Value = serde_json::from_str(&data).unwrap();
    assert_eq!(report["findings"][1]["kind"], "lacks", "{data}");
    assert_eq!(report["findings"][1]["points"], 2, "{data}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_the_route_is_read_and_so_are_its_neighbours() {
    let hosts = ["127.0.73.1", "127.0.73.2"];
    let name = name_of(&hosts, 1);
    let nodes = vec![
        with_digests(hosts[0], &[(&name, file(&[1, 2]))]),
        node(hosts[1], &[(&name, file(&[1]))]),
    ];
    let (outcome, data, people) = verify(&cluster(nodes).await, &["-j"]).await;
    assert_eq!(outcome, Outcome::SomeFailed, "{data}{people}");
    assert!(data.contains("\"kind\":\"lacks\""), "{data}");
}

/// An answer that is short, empty, or about something else proves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_something_else_is_never_taken_for_agreement() {
    let spoilt: [fn(Vec<DigestLine>) -> Vec<DigestLine>; 4] = [
        |_| Vec::new(),
        |mut lines| {
            lines.pop();
            lines
        },
        |mut lines| {
            lines.iter_mut().for_each(|line| line.metric = "app.else".parse().unwrap());
            lines
        },
        |mut lines| {
            lines.extend_from_within(..);
            lines
        },
    ];
    for (number, spoil) in spoilt.into_iter().enumerate() {
        let host = ["127.0.74.1", "127.0.74.2", "127.0.74.3", "127.0.74.4"][number];
        let files = [("app.a", file(&[1])), ("app.b", file(&[1]))];
        let only = answering(host, &files, move |lines| Reply::lines(&spoil(lines)));
        let (outcome, data, people) =
            verify(&cluster(vec![only]).await, &["--away-timeout", "1"]).await;
        assert_eq!(outcome, Outcome::Unhealthy, "{number}: {data}{people}");
        assert!(!data.contains("all in place"), "{number}: {data}");
        assert!(people.contains(host), "{number}: {people}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_copy_in_place_is_read_by_its_node_and_found_corrupt_there() {
    let mut damaged = file(&[1]);
    damaged.truncate(300);
    let only =
        never_sends(with_digests("127.0.75.1", &[("app.a", damaged), ("app.b", file(&[1]))]));
    let (outcome, data, people) = verify(&cluster(vec![only]).await, &[]).await;
    assert_eq!(outcome, Outcome::SomeFailed, "{data}{people}");
    assert!(data.contains("app.a: not a valid Whisper file: archive 0"), "{data}");
    assert!(data.contains("1 in place, 1 not"), "{data}");
}
