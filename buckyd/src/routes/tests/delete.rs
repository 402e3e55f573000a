//! DELETE of a metric.

use crate::store::MetricList;
use std::fs;

use super::wire::Request;
use super::{TestDaemon, whisper};

fn delete(metric: &str) -> Request {
    Request::new("DELETE", &format!("/metrics/{metric}"))
}

#[tokio::test]
async fn a_deleted_metric_is_gone_from_the_disk_and_from_the_list_with_its_empty_folders() {
    let daemon = TestDaemon::start().await;
    daemon.put("a.b.c", &whisper(&[1]));
    daemon.put("a.x", &whisper(&[1]));
    daemon.app.inventory.fresh().await;
    let answer = daemon.send(&delete("a.b.c")).await;
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("0")));
    assert_eq!(answer.header("content-type"), None);
    assert!(!daemon.prefix.path().join("a/b").exists() && daemon.has("a.x"));
    assert!(!daemon.lists("a.b.c") && daemon.lists("a.x"));
    assert_eq!(daemon.send(&delete("a.b.c")).await.error(), (404, "Metric not found."));
}

#[tokio::test]
async fn d5_the_prefix_itself_is_never_removed_however_it_is_spelled() {
    for spelled in ["p1/p2/store/", "p1/p2/./store", "p1/../p1/p2/store"] {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("p1/p2/store");
        fs::create_dir_all(store.join("a")).unwrap();
        fs::write(store.join("a/b.wsp"), whisper(&[1])).unwrap();
        let path = folder.path().join(spelled);
        // The daemon's own files are elsewhere: here they would keep the prefix from being empty.
        let state = folder.path().join("p1/state");
        let flags = ["-state-dir", state.to_str().unwrap()];
        let daemon = TestDaemon::start_at(folder, path, &flags).await;
        assert_eq!(daemon.send(&delete("a.b")).await.status, 200, "{spelled}");
        assert!(store.is_dir() && !store.join("a").exists(), "{spelled}");
    }
}

#[tokio::test]
async fn d6_nothing_is_reached_through_a_linked_folder_and_the_link_stays() {
    let daemon = TestDaemon::start().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let content = whisper(&[1]);
    fs::write(elsewhere.path().join("o.wsp"), &content).unwrap();
    let link = daemon.prefix.path().join("linkdir");
    std::os::unix::fs::symlink(elsewhere.path(), &link).unwrap();
    for request in [
        delete("linkdir.o"),
        Request::new("GET", "/metrics/linkdir.o"),
        super::upload("PUT", "linkdir.o", &whisper(&[2])),
        super::upload("POST", "linkdir.o", &whisper(&[2])),
        super::upload("POST", "linkdir.new", &whisper(&[2])),
        super::upload("PUT", "linkdir.new", &whisper(&[2])),
    ] {
        let answer = daemon.send(&request).await;
        let (status, text) = answer.error();
        assert_eq!(status, 400, "{text}");
        assert!(text.contains("link"), "{text}");
    }
    assert!(link.is_symlink());
    assert_eq!(fs::read(elsewhere.path().join("o.wsp")).unwrap(), content);
    assert!(!elsewhere.path().join("new.wsp").exists());
    assert_eq!(daemon.leftovers(), 0);
}

#[tokio::test]
async fn d40_an_upload_beside_a_delete_of_the_same_metric_is_complete_and_listed_or_gone() {
    let daemon = TestDaemon::start().await;
    let (old, new) = (whisper(&[1, 2]), whisper(&[3, 4, 5]));
    let delete = delete("d.m");
    for round in 0..90 {
        if round % 2 == 0 {
            daemon.put("d.m", &old);
        }
        let method = if round % 3 == 0 { "PUT" } else { "POST" };
        let post = super::upload(method, "d.m", &new);
        let (deleted, posted) = tokio::join!(daemon.send(&delete), daemon.send(&post));
        assert!([200, 404].contains(&deleted.status), "{deleted:?}");
        if posted.status != 200 {
            // It was deleted before it was durable. The client must not hear that it exists, and must try
            // again.
            let (status, text) = posted.error();
            assert_eq!((status, posted.header("retry-after")), (503, Some("1")), "{text}");
            assert!(text.contains("another process deleted") && deleted.status == 200, "{text}");
        }
        if daemon.has("d.m") {
            assert!(super::fine_points(&daemon.content("d.m")) >= 3);
            assert!(daemon.lists("d.m"), "round {round}");
        }
    }
}

#[tokio::test]
async fn d40_a_metric_that_was_created_again_while_it_was_deleted_stays_in_the_list() {
    let daemon = TestDaemon::start().await;
    daemon.put("m", &whisper(&[1]));
    let metric = "m".parse().unwrap();
    // Created and listed between the removal of its file and the removal of its name.
    daemon.app.inventory.added(&metric);
    daemon.app.store.unlist(&metric);
    assert!(daemon.lists("m"));
    fs::remove_file(daemon.path("m")).unwrap();
    daemon.app.store.unlist(&metric);
    assert!(!daemon.lists("m"));
}
