//! Files that are not valid Whisper files, or are cut off: at the source, at the owner, and with
//! `--replace-corrupt`.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{CrashPoint, Launch, Node, TestCluster, soak, tree, wait};
use bucky_whisper::Image;

use crate::cluster;

/// Damaged files made from the valid file `sound`, each with a word for what is wrong.
fn damages(sound: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let patched = |at: usize, bytes: &[u8]| {
        let mut content = sound.to_vec();
        content[at..at + bytes.len()].copy_from_slice(bytes);
        content
    };
    vec![
        ("empty", Vec::new()),
        ("cut-header", sound[..20].to_vec()),
        ("cut", sound[..sound.len() - 1].to_vec()),
        ("text", b"no Whisper file, and longer than a header would be".to_vec()),
        ("no-archives", patched(12, &0u32.to_be_bytes())),
        ("many-archives", patched(12, &u32::MAX.to_be_bytes())),
        ("beyond-end", patched(16, &0x7fff_0000u32.to_be_bytes())),
        ("no-step", patched(20, &0u32.to_be_bytes())),
        ("huge-count", patched(24, &u32::MAX.to_be_bytes())),
        ("aggregation", patched(0, &77u32.to_be_bytes())),
    ]
}

fn sound() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let metric = "m".parse().unwrap();
    bucky_tests::metrics::write(folder.path(), &metric, &MINUTES, &minutes(now(), [1.0, 2.0]));
    std::fs::read(folder.path().join("m.wsp")).unwrap()
}

/// Writes a file whose last write is an hour ago.
fn put_old(node: &Node, metric: &str, content: &[u8]) {
    node.put(metric, content);
    let file = File::options().write(true).open(node.path(metric)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
}

/// The files that a node keeps aside.
fn kept(node: &Node) -> Vec<PathBuf> {
    let replaced = node.prefix().join(".bucky/replaced");
    let folders = std::fs::read_dir(replaced).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        folders.map(|folder| folder.join("old")).filter(|old| old.exists()).collect();
    files.sort();
    files
}

#[test]
fn a_source_that_is_no_complete_whisper_file_is_named_with_the_reason_and_never_deleted() {
    let mut cluster = cluster(2).lay();
    let sound = sound();
    let damaged: Vec<(String, Vec<u8>)> = damages(&sound)
        .into_iter()
        .map(|(what, content)| (cluster.name_owned_by(1, &format!("bad.{what}")), content))
        .collect();
    for (name, content) in &damaged {
        cluster.node(0).put(name, content);
    }
    // Carbon serves a file with bytes after its last archive, so it is moved, byte for byte.
    let trailing = cluster.name_owned_by(1, "trailing");
    let long = [&sound[..], b"something behind the end"].concat();
    cluster.node(0).put(&trailing, &long);
    cluster.start();
    for args in [&["rebalance"][..], &["rebalance", "--replace-corrupt"]] {
        let mut run = cluster.bucky(args).assert_code(1);
        let source = cluster.node(0).addr();
        for (name, _) in &damaged {
            run = run.assert_stderr_has(&format!("{name}: {source}: "));
        }
        run.assert_stderr_has("archive count at byte 12 is 0")
            .assert_stderr_has("behind the file's end");
        for (name, content) in &damaged {
            assert_eq!(&std::fs::read(cluster.node(0).path(name)).unwrap(), content, "{name}");
            assert!(!cluster.node(1).has(name), "{name} was made at its owner");
        }
    }
    assert_eq!(std::fs::read(cluster.node(1).path(&trailing)).unwrap(), long);
    assert!(!cluster.node(0).has(&trailing));
    assert_eq!(kept(cluster.node(1)), [""; 0].map(PathBuf::from));
    cluster.wait_until_no_tombstones();
    let run = cluster.bucky(&["verify"]).assert_code(1);
    run.assert_stdout_has(&format!("{} metrics with files that are corrupt", damaged.len()));
}

#[test]
fn a_corrupt_file_at_its_owner_is_replaced_only_on_demand_and_kept_aside() {
    let mut cluster = cluster(2).lay();
    let sound = sound();
    let mut damaged: Vec<(String, Vec<u8>)> = Vec::new();
    for (what, content) in damages(&sound) {
        let name = cluster.name_owned_by(1, &format!("bad.{what}"));
        cluster.node(0).put(&name, &sound);
        put_old(cluster.node(1), &name, &content);
        damaged.push((name, content));
    }
    let [compressed, both] = ["compressed", "both"].map(|stem| cluster.name_owned_by(1, stem));
    cluster.node(0).put(&compressed, &sound);
    put_old(cluster.node(1), &compressed, b"whisper_compressed, and what go-carbon makes of it");
    cluster.node(0).put(&both, &sound[..100]);
    put_old(cluster.node(1), &both, b"corrupt here, too; nothing sound is known of it");
    cluster.start();

    let owner = cluster.node(1).addr();
    let mut run = cluster.bucky(&["rebalance"]).assert_code(1);
    for (name, content) in &damaged {
        run = run.assert_stderr_has(&format!("{name}: {owner}: "));
        assert_eq!(&std::fs::read(cluster.node(1).path(name)).unwrap(), content, "{name}");
        assert!(cluster.node(0).has(name));
    }
    cluster.bucky(&["verify"]).assert_code(1).assert_stdout_has("rebalance -h");

    let mut run = cluster.bucky(&["rebalance", "--replace-corrupt"]).assert_code(1);
    for (name, _) in &damaged {
        run = run.assert_stderr_has(&format!("{name}: {owner}: its corrupt file was replaced"));
    }
    run.assert_stderr_has("remove its folder when you no longer need it")
        .assert_stderr_has(&format!("{} replaced a corrupt file", damaged.len()))
        .assert_stderr_has(&format!("{compressed}: {owner}: "))
        .assert_stderr_has(&format!("{both}: {}: ", cluster.node(0).addr()));
    cluster.wait_until_no_tombstones();
    let mut old: Vec<Vec<u8>> =
        kept(cluster.node(1)).iter().map(|path| std::fs::read(path).unwrap()).collect();
    let mut expected: Vec<Vec<u8>> = damaged.iter().map(|(_, content)| content.clone()).collect();
    old.sort();
    expected.sort();
    assert_eq!(old, expected, "what was replaced is not all kept");
    for (name, _) in &damaged {
        assert_eq!(std::fs::read(cluster.node(1).path(name)).unwrap(), sound, "{name}");
    }
    let mut left = vec![compressed.clone(), both.clone()];
    left.sort();
    assert_eq!(cluster.node(0).metrics(), left);
    assert!(std::fs::read(cluster.node(1).path(&compressed)).unwrap().starts_with(b"whisper_comp"));
    assert!(std::fs::read(cluster.node(1).path(&both)).unwrap().starts_with(b"corrupt here"));
    let status = cluster.get(1, "/v1/status").json();
    assert_eq!(status["replaced"]["files"], damaged.len(), "{status}");
    let note = format!("{} corrupt files were replaced and kept in .bucky/replaced", damaged.len());
    cluster.bucky(&["servers"]).assert_stderr_has(&note);
    cluster.assert_nothing_unexpected();
}

/// A file that cannot be read may be valid: nothing replaces it.
#[test]
fn an_owners_file_that_cannot_be_read_is_not_taken_for_corrupt() {
    let mut cluster = cluster(2).lay();
    let sound = sound();
    let name = cluster.name_owned_by(1, "locked");
    cluster.node(0).put(&name, &sound);
    put_old(cluster.node(1), &name, b"nobody but its owner knows what this is");
    let path = cluster.node(1).path(&name);
    std::fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    cluster.node_mut(1).launch(Launch::WithoutRootCapabilities);
    cluster.start();
    let run = cluster.bucky(&["rebalance", "--replace-corrupt"]).assert_code(1);
    run.assert_stderr_has(&name).assert_stderr_has("Permission denied");
    assert_eq!(std::fs::read(&path).unwrap(), b"nobody but its owner knows what this is");
    assert_eq!(std::fs::read(cluster.node(0).path(&name)).unwrap(), sound);
    assert_eq!(kept(cluster.node(1)), [""; 0].map(PathBuf::from));
    let run = cluster.bucky(&["verify"]).assert_code(1);
    run.assert_stdout_has("1 metric with files that cannot be read");
}

/// Killed before each call that replaces a corrupt file: after a restart either the old or the new file is in
/// place, the old one is never lost, and running the command again succeeds.
#[test]
fn an_owner_that_is_killed_while_it_replaces_a_corrupt_file_loses_neither() {
    let calls = [("linkat", 1), ("renameat2", 1), ("fsync", 3), ("fsync", 4), ("unlinkat", 1)];
    let more = [
        ("renameat", 1),
        ("renameat2", 2),
        ("mkdirat", 1),
        ("write", 2),
        ("fsync", 1),
        ("fsync", 2),
        ("fsync", 5),
        ("fsync", 6),
        ("unlinkat", 2),
        ("openat2", 3),
        ("flock", 1),
        ("flock", 2),
    ];
    let all: Vec<(&str, u32)> = if soak::rounds(0, 1) == 1 {
        calls.iter().chain(&more).copied().collect()
    } else {
        calls.to_vec()
    };
    let mut kills = 0;
    for (call, number) in &all {
        kills += usize::from(replace_with_a_kill(call, *number));
    }
    assert!(kills * 2 >= all.len(), "killed in {kills} of {} runs only", all.len());
    soak::record("replacing corrupt files", all.len(), &format!("{kills} kills"), 0);
}

fn replace_with_a_kill(call: &str, number: u32) -> bool {
    const OLD: &[u8] = b"the corrupt file, which must not be lost";
    let mut cluster = cluster(2).lay();
    let sound = sound();
    let bad = cluster.name_owned_by(1, "bad");
    cluster.node(0).put(&bad, &sound);
    put_old(cluster.node(1), &bad, OLD);
    cluster.start();
    let point = CrashPoint::set(cluster.node(1), call, number);
    let mut run = cluster.start_bucky(&["rebalance", "--replace-corrupt"]);
    let mut has_crashed = false;
    wait::until(&format!("a crash before {call} {number}, or the end"), || {
        has_crashed = cluster.node_mut(1).has_ended();
        has_crashed || !run.is_running()
    });
    drop(point);
    if has_crashed {
        cluster.node_mut(1).kill();
        let there = std::fs::read(cluster.node(1).path(&bad)).unwrap();
        assert!(there == OLD || there == sound, "{call} {number}: neither is in place");
        cluster.node_mut(1).start();
        assert!(cluster.node(0).has(&bad) || Image::parse(&there).is_ok());
        let _ = run.finish();
        cluster.bucky(&["rebalance", "-f", "--replace-corrupt"]).assert_code(0);
    } else {
        run.finish().assert_code(0);
    }
    cluster.wait_until_no_tombstones();
    assert_eq!(std::fs::read(cluster.node(1).path(&bad)).unwrap(), sound, "{call} {number}");
    let kept: Vec<Vec<u8>> =
        kept(cluster.node(1)).iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert_eq!(kept, [OLD], "{call} {number}");
    let aside = tree::marks(&cluster.node(1).prefix().join(".bucky/replaced"));
    assert_eq!(
        aside.len(),
        4,
        "{call} {number}: more is left than a folder with two files: {aside:?}"
    );
    cluster.assert_nothing_unexpected();
    assert_in_order(&cluster);
    has_crashed
}

#[track_caller]
fn assert_in_order(cluster: &TestCluster) {
    cluster.bucky(&["verify"]).assert_code(0).assert_stdout_has("all in place");
}
