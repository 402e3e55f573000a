//! Malicious tars: nothing outside the prefix is touched, and no announced length is trusted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bucky_tests::cluster::assert_untouched;
use bucky_tests::metrics::{MINUTES, minutes, now};
use bucky_tests::{TestCluster, tree};

use super::{exchange, request};
use crate::cluster;

const BLOCK: usize = 512;
/// Eight gibibytes, the greatest number in the octal digits of a header.
const LARGEST: u64 = 0o77_777_777_777;

/// A member of a tar, with any header.
#[derive(Clone)]
pub(super) struct Evil<'a> {
    pub(super) kind: u8,
    pub(super) name: &'a [u8],
    pub(super) link: &'a [u8],
    pub(super) size: u64,
    pub(super) content: &'a [u8],
}

impl<'a> Evil<'a> {
    pub(super) fn file(name: &'a [u8], content: &'a [u8]) -> Self {
        Self { kind: b'0', name, link: b"", size: content.len() as u64, content }
    }

    pub(super) fn add_to(&self, tar: &mut Vec<u8>) {
        let mut header = [0; BLOCK];
        header[..self.name.len()].copy_from_slice(self.name);
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{:011o}", self.size).as_bytes());
        header[156] = self.kind;
        header[157..157 + self.link.len()].copy_from_slice(self.link);
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        tar.extend_from_slice(&header);
        tar.extend_from_slice(self.content);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    }
}

pub(super) fn add_report(tar: &mut Vec<u8>, metrics: usize) {
    let report = format!("{{\"metrics\":{metrics},\"left_out\":[]}}");
    Evil::file(b".bucky-report.json", report.as_bytes()).add_to(tar);
    tar.resize(tar.len() + 2 * BLOCK, 0);
}

/// A PAX record with the name of the following member.
fn pax(name: &[u8]) -> Vec<u8> {
    let record = [b" path=", name, b"\n"].concat();
    // The length includes itself.
    let len = (record.len() + 1..).find(|len| len.to_string().len() + record.len() == *len);
    [len.unwrap().to_string().as_bytes(), &record].concat()
}

/// A daemon, and beside its prefix a folder with a metric's file that it must not touch.
struct Scene {
    cluster: TestCluster,
    beside: PathBuf,
    marks: BTreeMap<PathBuf, tree::Mark>,
    file: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let cluster = cluster(1).lay();
        let prefix = cluster.node(0).prefix();
        let beside = prefix.parent().unwrap().join("beside");
        std::fs::create_dir_all(&beside).unwrap();
        std::fs::create_dir_all(&prefix).unwrap();
        cluster.node(0).write("m.known", &MINUTES, &minutes(now(), [1.0, 2.0]));
        let file = std::fs::read(cluster.node(0).path("m.known")).unwrap();
        std::fs::write(beside.join("x.wsp"), &file).unwrap();
        std::os::unix::fs::symlink(&beside, prefix.join("link")).unwrap();
        std::os::unix::fs::symlink(beside.join("x.wsp"), prefix.join("linked.wsp")).unwrap();
        let mut scene = Self { cluster, beside, marks: BTreeMap::new(), file };
        scene.cluster.start();
        scene.marks = tree::marks(&scene.beside);
        scene
    }

    /// Sends `members` between two valid ones, and checks that the answer contains `said`.
    #[track_caller]
    fn heal(&self, what: &str, members: &[Evil<'_>], said: &str) {
        let mut tar = Vec::new();
        Evil::file(b"m/known.wsp", &self.file).add_to(&mut tar);
        members.iter().for_each(|member| member.add_to(&mut tar));
        Evil::file(b"m/after.wsp", &self.file).add_to(&mut tar);
        add_report(&mut tar, 2 + members.len());
        let raw = exchange(self.cluster.node(0), &request("POST /v1/heal", &[], &tar));
        assert_eq!(raw.status, 200, "{what}: {}", raw.text);
        assert!(raw.text.contains(said), "{what}: {}", raw.text);
        assert!(raw.text.contains("\"unchanged\""), "{what}: the member before it was healed");
        self.assert_nothing_happened(what);
    }

    #[track_caller]
    fn assert_nothing_happened(&self, what: &str) {
        assert_untouched(&self.marks, &self.beside);
        let node = self.cluster.node(0);
        assert_eq!(std::fs::read(node.path("m.known")).unwrap(), self.file, "{what}");
        let prefix = node.prefix();
        let unexpected_files: Vec<_> = tree::unexpected_files(&prefix)
            .into_iter()
            .filter(|path| !path.starts_with(prefix.join("link")) && !path.ends_with("linked.wsp"))
            .collect();
        assert!(unexpected_files.is_empty(), "{what}: {unexpected_files:?}");
        let known = ["m.known", "m.after"];
        for metric in tree::metrics(&prefix.join("m")) {
            let name = format!("m.{metric}");
            assert!(known.contains(&name.as_str()), "{what}: {name}");
        }
    }
}

#[test]
fn members_that_lead_elsewhere_or_are_no_files_are_refused_and_nothing_is_touched() {
    let scene = Scene::new();
    let file = scene.file.as_slice();
    let refused = "bad_archive";
    for (kind, what) in [
        (b'1', "a hard link"),
        (b'2', "a symbolic link"),
        (b'3', "a device"),
        (b'4', "a device"),
        (b'6', "a FIFO"),
        (b'S', "a sparse file"),
        (b'V', "of an unknown kind"),
        (b'K', "of an unknown kind"),
    ] {
        let member =
            Evil { kind, name: b"m/x.wsp", link: b"../../beside/x.wsp", size: 0, content: b"" };
        scene.heal(what, &[member], what);
    }
    for name in [
        &b"/etc/x.wsp"[..],
        b"../beside/x.wsp",
        b"m/../../beside/x.wsp",
        b"..",
        b".bucky/tmp/x.wsp",
        b".bucky/tombstones/x.wsp",
        b"m/.hidden.wsp",
        b"m/a.b.wsp",
        b"m/x",
        b"m/\xff.wsp",
        b"m/a\nb.wsp",
        b".wsp",
    ] {
        let what = String::from_utf8_lossy(name).into_owned();
        scene.heal(&what, &[Evil::file(name, file)], refused);
        let record = pax(name);
        let header = Evil { kind: b'x', ..Evil::file(b"pax", &record) };
        scene.heal(&format!("{what} by PAX"), &[header, Evil::file(b"m/ok.wsp", file)], refused);
        let long = Evil { kind: b'L', ..Evil::file(b"././@LongLink", name) };
        scene.heal(&format!("{what} by GNU"), &[long, Evil::file(b"m/ok.wsp", file)], refused);
    }
    let record = pax(b"m/a\0b.wsp");
    let header = Evil { kind: b'x', ..Evil::file(b"pax", &record) };
    scene.heal("a NUL", &[header, Evil::file(b"m/ok.wsp", file)], refused);
}

#[test]
fn links_below_the_prefix_are_not_followed_by_any_route() {
    let scene = Scene::new();
    let node = scene.cluster.node(0);
    for name in ["link.x", "link.new", "linked"] {
        let path = format!("{}.wsp", name.replace('.', "/"));
        let mut tar = Vec::new();
        Evil::file(path.as_bytes(), &scene.file).add_to(&mut tar);
        add_report(&mut tar, 1);
        let raw = exchange(node, &request("POST /v1/heal", &[], &tar));
        assert!(raw.text.contains("bad_path"), "{name}: {}", raw.text);
        let stat = format!("{{\"Size\":{}}}", scene.file.len());
        let headers = [("Content-Type", "application/octet-stream"), ("X-Metric-Stat", &*stat)];
        for method in ["GET", "PUT", "POST", "DELETE"] {
            let is_upload = matches!(method, "PUT" | "POST");
            let body = if is_upload { scene.file.as_slice() } else { b"" };
            let raw =
                exchange(node, &request(&format!("{method} /metrics/{name}"), &headers, body));
            assert_eq!(raw.status, 400, "{method} {name}: {}", raw.text);
        }
        let json = format!("{{\"metrics\":[\"{name}\"]}}");
        let json_type = [("Content-Type", "application/json")];
        let raw = exchange(node, &request("POST /v1/archive", &json_type, json.as_bytes()));
        assert!(raw.text.contains("bad_path"), "{name}: {}", raw.text);
        let digest = bucky_whisper::Digest::of(&scene.file);
        let json = format!(
            "{{\"metrics\":[{{\"name\":\"{name}\",\"digest\":\"{digest}\",\"owners\":[\"a:1\"]}}]}}"
        );
        let raw = exchange(node, &request("POST /v1/delete", &json_type, json.as_bytes()));
        assert!(raw.text.contains("failed"), "{name}: {}", raw.text);
        scene.assert_nothing_happened(name);
        assert!(node.prefix().join("linked.wsp").is_symlink());
    }
}

/// No announced length is trusted, or decides how much is reserved.
#[test]
fn impossible_lengths_reserve_nothing() {
    let scene = Scene::new();
    for (what, kind, said) in [
        // It may have any length, since it is written to the disk as it arrives: so it ends with its bytes.
        ("a file", b'0', "cut_off"),
        ("PAX records", b'x', "too_large"),
        ("global PAX records", b'g', "too_large"),
        ("a name", b'L', "too_large"),
    ] {
        let name = b"m/x.wsp";
        let member = Evil { kind, name, link: b"", size: LARGEST, content: b"" };
        scene.heal(what, &[member], said);
    }
    let mut header = scene.file.clone();
    // Four thousand million points in the only archive.
    header[24..28].copy_from_slice(&u32::MAX.to_be_bytes());
    let mut tar = Vec::new();
    Evil::file(b"n/points.wsp", &header).add_to(&mut tar);
    add_report(&mut tar, 1);
    let node = scene.cluster.node(0);
    let raw = exchange(node, &request("POST /v1/heal", &[], &tar));
    assert!(raw.text.contains("source_damaged"), "{}", raw.text);
    assert!(!node.has("n.points"));
    assert!(super::peak_mib(node) < 100, "{} MiB", super::peak_mib(node));
}

/// If two members have the same name, the second one finds the first one in place, and fills it.
#[test]
fn a_metric_that_comes_twice_in_one_tar_has_the_points_of_both() {
    let cluster = cluster(1).start();
    let node = cluster.node(0);
    let at = now();
    let files = [minutes(at, [1.0, 2.0]), minutes(at - 600, [3.0])].map(|points| {
        node.write("made", &MINUTES, &points);
        let file = std::fs::read(node.path("made")).unwrap();
        std::fs::remove_file(node.path("made")).unwrap();
        (file, points)
    });
    let mut tar = Vec::new();
    files.iter().for_each(|(file, _)| Evil::file(b"twice.wsp", file).add_to(&mut tar));
    add_report(&mut tar, 2);
    let raw = exchange(node, &request("POST /v1/heal", &[], &tar));
    assert!(raw.text.contains("\"created\"") && raw.text.contains("\"filled\""), "{}", raw.text);
    let bytes = std::fs::read(node.path("twice")).unwrap();
    let image = bucky_whisper::Image::parse(&bytes).unwrap();
    let archive = image.archive(0).unwrap();
    for point in files.iter().flat_map(|(_, points)| points) {
        assert_eq!(archive.valid(point.timestamp, at), Some(point.value));
    }
    cluster.assert_nothing_unexpected();
}
