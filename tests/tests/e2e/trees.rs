//! Trees that have changed under a daemon, or that it does not own alone: another folder at the prefix, two
//! daemons over the same files, links and names that are not served.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use bucky_tests::http::Http;
use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{Launch, TestCluster, tree, wait};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cluster;

fn write(cluster: &TestCluster, node: usize, metric: &str) {
    cluster.node(node).write(metric, &MINUTES, &minutes(now(), [1.0, 2.0]));
}

fn status(cluster: &TestCluster, node: usize) -> Value {
    cluster.get(node, "/v1/status").assert_status(200).json()
}

/// Like a disk that is mounted on the prefix after the start, or a link that is exchanged: the daemon has the
/// old folder open, and all other processes see the new one.
#[test]
fn another_folder_at_the_prefix_stops_all_writes_until_the_restart() {
    let mut cluster = cluster(2).start();
    let metric = cluster.name_owned_by(1, "moved.in");
    write(&cluster, 0, &metric);
    let (prefix, before) = (cluster.node(1).prefix(), cluster.path("before"));
    std::fs::rename(&prefix, &before).unwrap();
    std::fs::create_dir(&prefix).unwrap();

    let reason = status(&cluster, 1)["read_only"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("restart buckyd"), "{reason:?}");
    let servers = cluster.bucky(&["servers"]).assert_code(3).assert_stderr_has("restart buckyd");
    servers.assert_stderr_has("read-only");
    cluster.bucky(&["rebalance", "-f"]).assert_code(3).assert_stderr_has("restart buckyd");
    // Other commands that ask the daemon itself do not get further.
    let from = cluster.node(0).addr();
    let pulled = cluster.post_json(1, "/v1/pull", &json!({ "from": from, "metrics": [metric] }));
    assert!(pulled.text().contains("restart buckyd"), "{}", pulled.text());
    let asked = json!({ "metrics": [{ "name": metric, "slots": [] }] });
    cluster.post_json(1, "/v1/confirm", &asked).assert_status(500);
    assert!(cluster.node(0).has(&metric), "the source stays");
    let lies = |folder: &Path| !tree::metrics(folder).is_empty();
    assert!(!lies(&prefix) && !lies(&before), "nothing was written to either folder");

    cluster.node_mut(1).stop();
    cluster.node_mut(1).start();
    cluster.bucky(&["rebalance", "-f"]).assert_code(0);
    assert_eq!(cluster.node(1).metrics(), [metric]);
}

#[test]
fn a_source_whose_prefix_is_another_folder_deletes_nothing() {
    let cluster = cluster(2).start();
    let metric = cluster.name_owned_by(1, "moved.out");
    write(&cluster, 0, &metric);
    let (prefix, before) = (cluster.node(0).prefix(), cluster.path("before"));
    std::fs::rename(&prefix, &before).unwrap();
    std::fs::create_dir(&prefix).unwrap();
    let owner = cluster.node(1).addr();
    let body =
        json!({ "metrics": [{ "name": metric, "digest": "0".repeat(32), "owners": [owner] }] });
    let answer = cluster.post_json(0, "/v1/delete", &body);
    assert!(answer.text().contains("restart buckyd"), "{}", answer.text());
    let url = format!("http://{}/metrics/{metric}", cluster.node(0).addr());
    let deleted = Http::new().send(Method::DELETE, &url, &[], Vec::new()).unwrap();
    assert_eq!(deleted.status, 500);
    // After the folder is put back, everything is as before.
    std::fs::remove_dir(&prefix).unwrap();
    std::fs::rename(&before, &prefix).unwrap();
    assert!(status(&cluster, 0).get("read_only").is_none());
    assert!(cluster.node(0).has(&metric));
    cluster.bucky(&["rebalance", "-f"]).assert_code(0);
    assert!(cluster.node(1).has(&metric));
}

/// For any state folder: the second of two daemons does not start, nor does one above or below.
#[test]
fn two_daemons_never_serve_the_same_files() {
    let mut cluster = cluster(5).lay();
    let served = cluster.node(0).prefix();
    std::fs::create_dir_all(served.join("a/b")).unwrap();
    let (link, state) = (cluster.path("link"), cluster.path("state"));
    symlink(&served, &link).unwrap();
    cluster.node_mut(0).start();
    let above = served.parent().unwrap().to_owned();
    let attempts = [(1, &served), (2, &link), (3, &served.join("a/b")), (4, &above)];
    for (node, prefix) in attempts {
        let second = cluster.node_mut(node);
        second.flag("-p", prefix.to_str().unwrap());
        if node != 2 {
            second.flag("--state-dir", state.to_str().unwrap());
        }
        second.start_unready();
        wait::until("the second daemon has ended", || second.has_ended());
        assert!(second.log().contains("another buckyd already serves"), "{}", second.log());
    }
}

/// The files that a drained node keeps are reported by kind, and the node is not called empty.
#[test]
fn a_drained_node_with_files_that_are_not_served_is_not_empty() {
    let mut cluster = cluster(2).in_ring(1).lay();
    let (prefix, disk) = (cluster.node(1).prefix(), cluster.path("disk2"));
    write(&cluster, 1, "servers.cpu");
    std::fs::create_dir_all(disk.join("deep")).unwrap();
    std::fs::copy(cluster.node(1).path("servers.cpu"), disk.join("deep/s.wsp")).unwrap();
    symlink(&disk, prefix.join("stats")).unwrap();
    symlink("/nowhere/at/all", prefix.join("servers/gone")).unwrap();
    symlink("cpu.wsp", prefix.join("servers/cpu2.wsp")).unwrap();
    std::fs::write(prefix.join(OsStr::from_bytes(b"latin\xe9.wsp")), b"").unwrap();
    cluster.start();
    let drained = cluster.node(1).addr();

    let found = &status(&cluster, 1)["inventory"]["not_served"];
    let counted = ["linked_folders", "linked_files", "dangling_links", "unusable"];
    assert_eq!(counted.map(|kind| found[kind].as_u64()), [Some(1); 4], "{found}");
    let run = cluster.bucky(&["rebalance", &drained]).assert_code(1);
    let run = run.assert_stderr_has("is not empty: 1 link to a folder is not followed");
    run.assert_stderr_has("list --not-served");
    assert_eq!(cluster.node(0).metrics(), ["servers.cpu"], "what is served has moved");
    // Nothing is left to move, but the node is still not empty.
    cluster.bucky(&["rebalance", &drained]).assert_code(1).assert_stderr_has("is not empty");
    cluster.wait_until_no_tombstones();
    let verified = cluster.bucky(&["verify", "--drained", &drained]).assert_code(1);
    let verified = verified.assert_stdout_has("1 link to a folder is not followed");
    assert!(!verified.stdout.contains("all in place."), "{verified}");
    let listed = cluster.bucky(&["list", "--not-served", "-s", "-h", &drained]).assert_code(0);
    let listed = listed.assert_stdout_has(&format!("linked_folder: stats ({})", disk.display()));
    // The files behind the other link have moved.
    let listed = listed.assert_stdout_has("dangling_link: servers/gone (/nowhere/at/all)");
    listed
        .assert_stdout_has("dangling_link: servers/cpu2.wsp (cpu.wsp)")
        .assert_stdout_has("unusable_name: latin");
    let json = cluster.bucky(&["list", "--not-served", "-j", "-s", "-h", &drained]).assert_code(0);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json.as_array().map(Vec::len), Some(4), "{json}");
    // A node of the ring is not refused for this, but it is reported and verified as it is.
    symlink(&disk, cluster.node(0).prefix().join("stats")).unwrap();
    cluster.bucky(&["rebalance", "-f"]).assert_code(0).assert_stderr_has("that do not take part");
    cluster.bucky(&["servers"]).assert_code(0).assert_stderr_has("not served: 1 link to a folder");
    cluster
        .bucky(&["verify"])
        .assert_code(1)
        .assert_stdout_has("1 link to a folder is not followed");
}

/// If the series of such a file is unknown, it stays: a drain without a message would leave it behind.
#[test]
fn a_drained_node_with_files_named_by_a_hash_is_not_empty() {
    let mut cluster = cluster(2).in_ring(1).lay();
    let hashed = format!("_tagged.abc.def.{}", "0123456789abcdef".repeat(4));
    write(&cluster, 1, &hashed);
    cluster.start();
    let drained = cluster.node(1).addr();
    let run = cluster.bucky(&["rebalance", &drained]).assert_code(1);
    run.assert_stderr_has("is not empty: 1 tagged file is named by the hash");
    cluster.bucky(&["verify", "--drained", &drained]).assert_code(1);
    let listed = cluster.bucky(&["list", "--not-served", "-s", "-h", &drained]).assert_code(0);
    listed.assert_stdout_has("unplaceable: _tagged/abc/def/0123");
    assert!(cluster.node(1).has(&hashed));
}

/// A folder that a link below the prefix leads to: on another file system, if there is one.
fn disk() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[test]
fn linked_folders_that_may_be_followed_take_part_in_a_move_on_their_own_disks() {
    let mut cluster = cluster(2).in_ring(1).flag("--follow", "stats").lay();
    let disks = [disk(), disk()];
    for (node, disk) in cluster.nodes().iter().zip(&disks) {
        std::fs::create_dir_all(node.prefix()).unwrap();
        symlink(disk.path(), node.prefix().join("stats")).unwrap();
    }
    for name in ["servers.cpu", "stats.a", "stats.deep.b", "stats.deep.c"] {
        write(&cluster, 1, name);
    }
    write(&cluster, 0, "stats.deep.c");
    cluster.start();
    let drained = cluster.node(1).addr();
    let volumes = &status(&cluster, 1)["volumes"];
    assert_eq!(volumes[0]["path"], "stats", "{volumes}");
    let plan = cluster.bucky(&["rebalance", "--no-op", &drained]).assert_code(0);
    plan.assert_stdout_has("stats");
    cluster.bucky(&["rebalance", &drained]).assert_code(0);
    cluster.wait_until_no_tombstones();
    cluster
        .bucky(&["verify", "--drained", &drained])
        .assert_code(0)
        .assert_stdout_has("all in place");
    let files = |disk: &tempfile::TempDir| {
        tree::metrics(disk.path()).into_iter().map(|name| name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(files(&disks[0]), ["a", "deep.b", "deep.c"], "on the disk that the link leads to");
    assert_eq!(files(&disks[1]), [""; 0]);
    assert!(!disks[1].path().join("deep").exists(), "empty folders go, the volume stays");
    assert!(disks[1].path().join(".bucky").is_dir());
    cluster.bucky(&["servers"]).assert_code(0).assert_stderr_has("stats/");
    // The daemon does the same at its next start.
    cluster.node_mut(0).stop();
    cluster.node_mut(0).start();
    cluster
        .bucky(&["list", "-f"])
        .assert_stdout("servers.cpu\nstats.a\nstats.deep.b\nstats.deep.c\n");
}

#[test]
fn files_on_a_mount_below_the_prefix_are_found_and_take_part() {
    let mut cluster = cluster(2).lay();
    let names = cluster.names_owned_by(1, "stats.in", 6);
    for node in 0..2 {
        cluster.node_mut(node).launch(Launch::WithDiskBelow("stats"));
    }
    cluster.start();
    for name in &names {
        write(&cluster, 0, name);
    }
    let plain = cluster.name_owned_by(1, "servers");
    write(&cluster, 0, &plain);
    cluster.bucky(&["rebalance", "-f"]).assert_code(0);
    cluster.wait_until_no_tombstones();
    cluster.bucky(&["verify"]).assert_code(0).assert_stdout_has("all in place");
    assert!(names.iter().all(|name| cluster.node(1).has(name) && !cluster.node(0).has(name)));
    assert!(cluster.node(1).has(&plain));
    let deleted = cluster.bucky(&["delete", "-noconfirm", &names[0]]);
    deleted.assert_code(0);
    assert!(!cluster.node(1).has(&names[0]));
}

/// Like a reboot with a missing line in /etc/fstab: the folder of the mount exists, but is empty.
#[test]
fn a_disk_that_is_not_mounted_at_the_next_start_is_missed() {
    let mut cluster = cluster(2).lay();
    cluster.node_mut(1).launch(Launch::WithDiskBelow("stats"));
    cluster.start();
    let metric = cluster.name_owned_by(1, "stats.in");
    write(&cluster, 0, &metric);
    cluster.bucky(&["list", "-f"]).assert_code(0);

    cluster.node_mut(1).stop();
    cluster.node_mut(1).launch(Launch::default());
    cluster.node_mut(1).start();
    let reason = status(&cluster, 1)["read_only"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("its disk is not mounted"), "{reason:?}");
    cluster.bucky(&["servers"]).assert_code(3).assert_stderr_has("its disk is not mounted");
    cluster.bucky(&["rebalance", "-f"]).assert_code(3).assert_stderr_has("its disk is not mounted");
    assert!(cluster.node(0).has(&metric) && !cluster.node(1).has(&metric));
    let listed = cluster.bucky(&["list", "--not-served"]);
    listed.assert_stderr_has("stats");

    cluster.node_mut(1).stop();
    cluster.node_mut(1).launch(Launch::WithDiskBelow("stats"));
    cluster.node_mut(1).start();
    cluster.bucky(&["rebalance", "-f"]).assert_code(0);
    assert!(!cluster.node(0).has(&metric) && cluster.node(1).has(&metric));
}
