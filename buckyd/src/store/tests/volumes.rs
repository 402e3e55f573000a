//! Folders below the prefix that are their own volumes: here the targets of links, on another file system if
//! there is one.

use std::os::unix::fs::symlink;

use super::*;
use crate::store::{Deleted, Volumes};

struct Node {
    volumes: Volumes,
    prefix: TempDir,
    disk: TempDir,
}

/// A node whose folder `stats` is a followed link to a disk.
fn node() -> Node {
    let (prefix, disk) = (tempfile::tempdir().unwrap(), disk());
    symlink(disk.path(), prefix.path().join("stats")).unwrap();
    let volumes = open(prefix.path(), &["stats"]);
    volumes.linked_at(Path::new("stats")).unwrap();
    Node { volumes, prefix, disk }
}

fn disk() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn open(prefix: &Path, follow: &[&str]) -> Volumes {
    let inventory = Arc::new(Inventory::new(prefix, Duration::from_secs(60)));
    let follow = follow.iter().map(PathBuf::from).collect();
    Volumes::open(prefix, None, follow, inventory, options()).unwrap()
}

fn heal(volumes: &Volumes, members: &[Member]) -> Vec<HealLine> {
    let mut batch = crate::store::HealBatch::new(volumes);
    members.iter().for_each(|member| batch.take(member));
    assert_eq!(batch.len(), members.len());
    batch.finish().0
}

#[test]
fn metrics_are_healed_read_deleted_and_buried_on_their_own_volumes() {
    let Node { volumes, prefix, disk } = node();
    let (one, other) = (whisper(&[60]), whisper(&[60, 120]));
    let names = ["a.x", "stats.b.y", "a.z", "stats.c", "statsx.d"];
    let members: Vec<Member> = names.iter().map(|name| member(name, &one)).collect();
    let healed = heal(&volumes, &members);
    let reported: Vec<&str> = healed.iter().map(|line| line.metric.as_str()).collect();
    assert_eq!(reported, names, "in the order in which they came");
    assert!(healed.iter().all(|line| line.outcome == HealOutcome::Created), "{healed:?}");
    assert!(disk.path().join("b/y.wsp").is_file() && disk.path().join("c.wsp").is_file());
    assert!(prefix.path().join("statsx/d.wsp").is_file());
    let filled = heal(&volumes, &[member("stats.c", &other), member("a.x", &other)]);
    assert!(filled.iter().all(|line| line.outcome == HealOutcome::Filled), "{filled:?}");

    let mut files = crate::store::FileReader::new(&volumes);
    let digest = |name_: &str, files: &mut crate::store::FileReader<'_>| {
        files.read(&name(name_)).unwrap().digest()
    };
    let owners = vec!["127.0.0.1:4242".parse().unwrap()];
    let metrics: Vec<DeleteMetric> = names
        .iter()
        .map(|text| DeleteMetric {
            name: name(text),
            digest: digest(text, &mut files),
            owners: owners.clone(),
            on_schema_difference: bucky_api::OnSchemaDifference::Keep,
            points_given_up: 0,
        })
        .collect();
    let mut sizes = volumes.sizes();
    assert_eq!(sizes.of("stats.b.y").unwrap(), one.len() as u64);
    let Deleted { lines, batches } =
        volumes.delete(&metrics, Duration::ZERO, OnCut::default()).unwrap();
    let reported: Vec<&str> = lines.iter().map(|line| line.metric.as_str()).collect();
    assert_eq!(reported, names);
    assert!(lines.iter().all(|line| line.outcome == DeleteOutcome::Deleted), "{lines:?}");
    assert_eq!(batches.iter().map(|(_, count)| count).sum::<u64>(), 5);
    let waiting = volumes.tombstone_batches().unwrap();
    assert_eq!(waiting.len(), batches.len());
    assert_eq!(fs::read_dir(disk.path().join(".bucky/tombstones")).unwrap().count(), 2);
    for (batch, _) in waiting {
        let tombstones = volumes.tombstones(&batch).unwrap();
        let confirmed: Vec<_> =
            tombstones.iter().map(|one| confirmed(one, one.digest, None)).collect();
        let outcomes = volumes.unlink_confirmed(&batch, &confirmed).unwrap();
        let is_unlinked = |outcome: &_| matches!(outcome, Ok(UnlinkOutcome::Unlinked));
        assert!(outcomes.iter().all(is_unlinked), "{outcomes:?}");
        assert!(volumes.close_batch(&batch).unwrap());
    }
    assert!(volumes.tombstone_batches().unwrap().is_empty());
    assert!(disk.path().exists() && !disk.path().join("b").exists(), "its root stays");
}

#[test]
fn a_volume_whose_link_leads_elsewhere_stops_all_writes() {
    let Node { volumes, prefix, disk } = node();
    let other = disk_with_file();
    volumes.check().unwrap();
    let link = prefix.path().join("stats");
    fs::remove_file(&link).unwrap();
    symlink(other.path(), &link).unwrap();
    let error = volumes.check().unwrap_err();
    assert!(error.to_string().contains("restart buckyd"), "{error}");
    let healed = heal(&volumes, &[member("stats.x", &whisper(&[60]))]);
    assert_eq!(healed[0].outcome, HealOutcome::Failed);
    assert!(!disk.path().join("x.wsp").exists() && !other.path().join("x.wsp").exists());
}

fn disk_with_file() -> TempDir {
    let disk = disk();
    fs::write(disk.path().join("there.wsp"), whisper(&[60])).unwrap();
    disk
}

/// With two names for one file, it could be moved onto itself and deleted.
#[test]
fn a_link_to_a_folder_that_is_served_already_is_not_a_volume() {
    let Node { volumes, prefix, disk } = node();
    fs::create_dir(disk.path().join("deep")).unwrap();
    fs::create_dir(prefix.path().join("a")).unwrap();
    for (link, target) in [
        ("again", disk.path().to_owned()),
        ("below", disk.path().join("deep")),
        ("own", prefix.path().join("a")),
        ("itself", prefix.path().to_owned()),
        ("above", prefix.path().parent().unwrap().to_owned()),
    ] {
        symlink(&target, prefix.path().join(link)).unwrap();
        let error = volumes.linked_at(Path::new(link)).err().expect("an alias");
        assert!(error.to_string().contains("serves"), "{link}: {error}");
    }
}

#[test]
fn a_link_is_followed_where_its_path_or_where_it_leads_is_allowed() {
    let (prefix, disk) = (tempfile::tempdir().unwrap(), disk());
    fs::create_dir(disk.path().join("stats")).unwrap();
    for (link, target) in [("one", "stats"), ("two", "."), ("gone", "nowhere")] {
        symlink(disk.path().join(target), prefix.path().join(link)).unwrap();
    }
    let followed = |allowed: &str| -> Vec<&str> {
        let volumes = open(prefix.path(), &[allowed]);
        ["one", "two", "gone"].into_iter().filter(|link| volumes.follows(Path::new(link))).collect()
    };
    assert_eq!(followed("one"), ["one"]);
    assert_eq!(followed(prefix.path().join("two").to_str().unwrap()), ["two"]);
    assert_eq!(followed(disk.path().to_str().unwrap()), ["one", "two"]);
    assert_eq!(followed(disk.path().join("stats").to_str().unwrap()), ["one"]);
    assert_eq!(followed("/nowhere/at/all"), [""; 0]);
}

#[test]
fn a_scan_lists_what_is_on_all_volumes_in_the_order_of_the_names() {
    let (prefix, disk) = (tempfile::tempdir().unwrap(), disk_with_file());
    fs::write(prefix.path().join("stats-a.wsp"), b"").unwrap();
    fs::write(prefix.path().join("z.wsp"), b"").unwrap();
    symlink(disk.path(), prefix.path().join("stats")).unwrap();
    let inventory = Arc::new(Inventory::new(prefix.path(), Duration::from_secs(60)));
    let follow = vec![PathBuf::from("stats")];
    let volumes = Volumes::open(prefix.path(), None, follow, inventory.clone(), options());
    let volumes = Arc::new(volumes.unwrap());
    inventory.scans(&volumes);
    for _ in 0..2 {
        let names = inventory.scanned_names();
        assert_eq!(names, ["stats-a", "stats.there", "z"]);
        assert_eq!(inventory.status().not_served, bucky_api::NotServed::default());
    }
    assert_eq!(volumes.others_room().len(), 1);
}

/// They would vanish from all lists silently.
#[test]
fn a_mount_over_metrics_is_not_served_until_the_restart() {
    let prefix = tempfile::tempdir().unwrap();
    for folder in ["stats/deep", "other"] {
        fs::create_dir_all(prefix.path().join(folder)).unwrap();
    }
    fs::write(prefix.path().join("stats/deep/x.wsp"), b"").unwrap();
    let inventory = Arc::new(Inventory::new(prefix.path(), Duration::from_secs(60)));
    let opened = Volumes::open(prefix.path(), None, vec![], inventory.clone(), options());
    let volumes = opened.unwrap();
    assert_eq!(inventory.scanned_names(), ["stats.deep.x"]);
    fs::remove_file(prefix.path().join("stats/deep/x.wsp")).unwrap();
    for _ in 0..2 {
        let error = volumes.mounted_at(Path::new("stats")).err().expect("metrics are hidden");
        assert!(
            error
                .to_string()
                .starts_with("something was mounted on stats and hides metrics there (1)"),
            "{error}"
        );
        assert_eq!(inventory.scanned_names(), [""; 0]);
    }
    volumes.mounted_at(Path::new("other")).unwrap();
}

/// A disk that is not mounted after a reboot: its folder is there, and empty.
#[test]
fn a_volume_that_is_missing_at_the_start_stops_all_writes_until_it_is_back() {
    let (prefix, place, disk) = (tempfile::tempdir().unwrap(), disk(), disk());
    let mount = place.path().join("mnt");
    symlink(disk.path(), &mount).unwrap();
    symlink(&mount, prefix.path().join("stats")).unwrap();
    drop({
        let volumes = open(prefix.path(), &["stats"]);
        volumes.linked_at(Path::new("stats")).unwrap();
        volumes
    });
    fs::remove_file(&mount).unwrap();
    fs::create_dir(&mount).unwrap();

    let volumes = open(prefix.path(), &["stats"]);
    let error = volumes.check().unwrap_err();
    let memory = prefix.path().join(".bucky/volumes");
    assert!(error.to_string().contains("its disk is not mounted"), "{error}");
    assert!(error.to_string().contains(&memory.display().to_string()), "{error}");
    assert!(volumes.check_open().is_ok(), "the rest can be listed");
    assert!(volumes.missing_at(Path::new("stats")).is_some());
    assert!(volumes.missing_at(Path::new("servers")).is_none());
    for metric in ["stats.x", "servers.x"] {
        let healed = heal(&volumes, &[member(metric, &whisper(&[60]))]);
        assert!(!healed[0].outcome.is_healed(), "{metric}: {healed:?}");
    }
    assert!(!prefix.path().join("servers").exists());
    assert_eq!(fs::read_dir(&mount).unwrap().count(), 0);

    fs::remove_dir(&mount).unwrap();
    symlink(disk.path(), &mount).unwrap();
    volumes.check().unwrap();
    assert!(volumes.missing_at(Path::new("stats")).is_none());
    volumes.linked_at(Path::new("stats")).unwrap();
    let healed = heal(&volumes, &[member("stats.x", &whisper(&[60]))]);
    assert_eq!(healed[0].outcome, HealOutcome::Created);
    assert!(disk.path().join("x.wsp").is_file());
}

/// A disk mounted on a folder of another disk: the outer one comes back first.
#[test]
fn a_volume_below_a_missing_one_is_missed_when_that_is_back() {
    let (prefix, place, disk) = (tempfile::tempdir().unwrap(), disk(), disk());
    let mount = place.path().join("mnt");
    symlink(disk.path(), &mount).unwrap();
    symlink(&mount, prefix.path().join("stats")).unwrap();
    open(prefix.path(), &["stats"]).linked_at(Path::new("stats")).unwrap();
    let memory = prefix.path().join(".bucky/volumes");
    let known = fs::read_to_string(&memory).unwrap() + "stats/deep\t/of/another/disk\n";
    fs::write(&memory, known).unwrap();
    fs::remove_file(&mount).unwrap();
    fs::create_dir(&mount).unwrap();
    let volumes = open(prefix.path(), &["stats"]);
    volumes.check().unwrap_err();

    fs::remove_dir(&mount).unwrap();
    fs::create_dir(disk.path().join("deep")).unwrap();
    symlink(disk.path(), &mount).unwrap();
    let error = volumes.check().unwrap_err();
    assert!(error.to_string().contains("stats/deep was a volume"), "{error}");
    let healed = heal(&volumes, &[member("stats.deep.x", &whisper(&[60]))]);
    assert!(!healed[0].outcome.is_healed(), "{healed:?}");
}

#[test]
fn a_volume_that_was_taken_away_on_purpose_is_forgotten() {
    let Node { volumes, prefix, disk } = node();
    drop(volumes);
    let (link, memory) = (prefix.path().join("stats"), prefix.path().join(".bucky/volumes"));
    assert!(fs::read_to_string(&memory).unwrap().starts_with("stats\t"));
    let other = disk_with_file();
    fs::remove_file(&link).unwrap();
    symlink(other.path(), &link).unwrap();
    open(prefix.path(), &["stats"]).check().unwrap();
    fs::remove_file(&link).unwrap();
    open(prefix.path(), &["stats"]).check().unwrap();
    // By its line in the file, if only the disk is gone.
    fs::create_dir(&link).unwrap();
    fs::write(&memory, "stats\t/\n").unwrap();
    open(prefix.path(), &[]).check().unwrap_err();
    fs::write(&memory, "").unwrap();
    open(prefix.path(), &[]).check().unwrap();
    drop(disk);
}

/// An operator may have created one for a test. The daemon must start anyway.
#[test]
fn a_record_of_volumes_that_is_a_fifo_blocks_no_start() {
    let prefix = tempfile::tempdir().unwrap();
    drop(open(prefix.path(), &[]));
    for name in ["volumes", "volumes.new"] {
        let path = prefix.path().join(".bucky").join(name);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
    }
    let disk = disk();
    symlink(disk.path(), prefix.path().join("stats")).unwrap();
    let volumes = open(prefix.path(), &["stats"]);
    volumes.linked_at(Path::new("stats")).unwrap();
    volumes.check().unwrap();
}
