//! `bucky servers`: each node, its state, and whether all agree.
//!
//! Standard output has only what the Go tool prints, for the scripts that read it. The table and the findings
//! are for people, on standard error. `-j` has everything for programs.

mod json;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bucky_api::{DaemonAddr, InventoryState, InventoryStatus, Status};
use bucky_ring::{Node, Ring};

use self::json::to_json;
use crate::args::clock::ClockArgs;
use crate::args::cluster::{ClusterArgs, discover};
use crate::args::heading;
use crate::args::relay_file::RelayFileArgs;
use crate::cluster::{Answer, Cluster, ClusterFinding, Member, notes};
use crate::former;
use crate::outcome::Outcome;
use crate::output::{Output, Table, human_bytes, human_count, human_duration};

/// Arguments of `bucky servers`.
#[derive(clap::Args)]
#[command(
    about = "Show the state of each node, and whether all nodes agree",
    long_about = "Show the state of each node: whether it answers, its version, whether its ring is the same \
                  as that of -h, its metrics, disk space, the age of its list of metrics, deleted sources \
                  that wait to be confirmed, and clocks that differ. The exit code is 3 unless all nodes are up and agree.",
    after_help = "Examples:\n\
        \x20 bucky servers -h graphite-1\n\
        \x20 bucky servers -h graphite-1 graphite-9\n\
        \x20     also show a node that is being drained",
    after_long_help = "Exit codes: 0 all nodes are up and agree, 1 the output could not be written,\n\
        2 wrong usage, 3 not all nodes are up and agree, 130 stopped by Ctrl-C.",
    mut_arg("max_clock_difference", |arg| arg.help("Report clocks that differ by more than this"))
)]
pub(crate) struct Args {
    #[command(flatten)]
    clocks: ClockArgs,
    /// Print a JSON object
    #[arg(short = 'j', long, help_heading = heading::OUTPUT)]
    json: bool,
    #[command(flatten)]
    relay_file: RelayFileArgs,
    /// More nodes to show, such as one that is being drained
    #[arg(value_name = "HOST:PORT")]
    others: Vec<DaemonAddr>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs the command.
pub(crate) async fn run(args: Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let ring_of_relay = args.relay_file.read(output).await?;
    let mut cluster = discover(&args.cluster, output).await?;
    if let Some(due) = ring_of_relay {
        due.judge(&mut cluster)?;
    }
    cluster.judge_clocks(SystemTime::now().into(), args.clocks.max_clock_difference);
    let ring = cluster.ring()?;
    let others = former::ask_others(cluster.client(), &args.others).await;
    cluster.findings.extend(others.iter().filter_map(ClusterFinding::away));
    let former = former::sentences(&cluster, &args.others).await;
    if args.json {
        output.data_line(to_json(&cluster, &ring, &others, &former))?;
    } else {
        output.data_text(go_lines(&cluster, &ring))?;
        output.flush()?;
        output.say(format_args!("\n{}", table(&cluster, &others)));
        version_line(&cluster, &others).iter().for_each(|line| output.say(line));
        output.say(format_args!("Ring: {}", ring.spec().summary()));
        for line in remarks(&cluster, &ring, &others, &former) {
            output.say(line);
        }
    }
    if !cluster.is_healthy() {
        output.flush()?;
        output.say("Cluster is inconsistent.");
    }
    Ok(cluster.outcome())
}

/// What the Go tool prints, byte for byte, except for rings that it does not know.
fn go_lines(cluster: &Cluster, ring: &Ring) -> String {
    let hosts = cluster.members.iter().map(|member| format!("\t{}\n", member.addr().host()));
    format!(
        "Buckd daemons are using port: {}\nHashing algorithm: {}\nNumber of replicas: {}\nFound these servers:\n{}\n\
         Is cluster healthy: {}\n",
        cluster.seed.port(),
        ring_line(ring),
        ring.spec().replication_factor,
        hosts.collect::<String>(),
        cluster.is_healthy(),
    )
}

fn ring_line(ring: &Ring) -> String {
    let spec = ring.spec();
    if let Some(buckets) = ring.buckets() {
        let hosts =
            buckets.iter().filter_map(|node| ring.nodes().get(*node as usize)).map(Node::host);
        let hosts = hosts.enumerate().map(|(bucket, host)| format!("\t{bucket:3}:{host}"));
        return format!("{}:{}", spec.algorithm, hosts.collect::<String>());
    }
    let nodes = ring.nodes().iter().map(|node| {
        format!(" {}:{}={}", node.host(), node.port(), node.instance().unwrap_or("None"))
    });
    format!(
        "[{}: {} nodes, 100 replicas, {} ring members{}]",
        spec.algorithm,
        ring.nodes().len(),
        ring.nodes().len() * 100,
        nodes.collect::<String>()
    )
}

/// The version of all daemons that answered, if it is the same and none of them is the Go tool's.
fn common_version<'a>(cluster: &'a Cluster, others: &'a [Member]) -> Option<&'a str> {
    let answered = || cluster.members.iter().chain(others).filter(|member| member.is_there());
    let first = answered().next()?.status()?.version.as_str();
    let is_first = |member: &Member| member.status().is_some_and(|it| it.version == first);
    answered().all(is_first).then_some(first)
}

/// The line below a table without the column of versions.
fn version_line(cluster: &Cluster, others: &[Member]) -> Option<String> {
    let version = common_version(cluster, others)?;
    let all_there = cluster.members.iter().chain(others).all(Member::is_there);
    let answer = if all_there { "" } else { " that answer" };
    Some(format!("All nodes{answer} run buckyd {version}."))
}

/// A row for each node and volume. If all nodes have one version, [`version_line`] says it, and the table
/// fits into 80 columns.
fn table(cluster: &Cluster, others: &[Member]) -> Table {
    let titles =
        ["NODE", "STATE", "VERSION", "RING", ">METRICS", ">USED", ">FREE", "LIST", ">TOMBSTONES"];
    let shows_versions = common_version(cluster, others).is_none();
    let shown = titles.iter().filter(|title| shows_versions || **title != "VERSION");
    let mut table = Table::new(&shown.copied().collect::<Vec<_>>());
    let mut add = |mut cells: Vec<String>| {
        if !shows_versions {
            cells.remove(2);
        }
        table.row(cells);
    };
    for member in cluster.members.iter().chain(others) {
        let mut cells = vec![member.addr().to_string()];
        cells.extend(match &member.answer {
            Answer::Away { state, .. } => {
                [state.word(), "-", "-", "-", "-", "-", "-", "-"].map(str::to_owned)
            }
            Answer::Go { .. } => {
                let ring = ring_word(cluster, member);
                ["up", "buckytools", ring, "-", "-", "-", "-", "-"].map(str::to_owned)
            }
            Answer::V1 { status, .. } => [
                if status.read_only.is_empty() { "up" } else { "read-only" }.to_owned(),
                status.version.clone(),
                ring_word(cluster, member).to_owned(),
                status.metrics.map_or_else(|| "-".to_owned(), human_count),
                human_bytes(used(status)),
                human_bytes(status.disk.free_bytes),
                list_text(&status.inventory),
                tombstones_text(status),
            ],
        });
        add(cells);
        for volume in member.status().into_iter().flat_map(|status| &status.volumes) {
            let used = volume.disk.total_bytes.saturating_sub(volume.disk.free_bytes);
            let (used, free) = (human_bytes(used), human_bytes(volume.disk.free_bytes));
            let path = format!("  {}/", volume.path);
            add([&path, "", "", "", "", &used, &free, "", ""].map(str::to_owned).to_vec());
        }
    }
    table
}

fn used(status: &Status) -> u64 {
    status.disk.total_bytes.saturating_sub(status.disk.free_bytes)
}

fn ring_word(cluster: &Cluster, member: &Member) -> &'static str {
    if !cluster.members.iter().any(|other| other.addr() == member.addr()) {
        return "no member";
    }
    let differs = cluster.findings.iter().any(|finding| match finding {
        ClusterFinding::OtherRing { addr, .. } | ClusterFinding::BadRing { addr, .. } => {
            addr == member.addr()
        }
        _ => false,
    });
    if differs { "differs" } else { "same" }
}

/// The age of the list of metrics, and its state unless it is ready.
fn list_text(inventory: &InventoryStatus) -> String {
    let word = match inventory.state {
        InventoryState::FirstScan => "first scan",
        InventoryState::Ready => "ready",
        InventoryState::Rescan => "rescan",
        InventoryState::Failed => "failed",
    };
    let age = inventory.age_seconds.map(|age| human_duration(Duration::from_secs(age)));
    match age {
        Some(age) if inventory.state == InventoryState::Ready => age,
        Some(age) => format!("{word}, {age}"),
        None => word.to_owned(),
    }
}

fn tombstones_text(status: &Status) -> String {
    let tombstones = &status.tombstones;
    if tombstones.waiting == 0 {
        return "0".to_owned();
    }
    let oldest = human_duration(Duration::from_secs(tombstones.oldest_seconds));
    format!("{}, {oldest}", human_count(tombstones.waiting))
}

/// Findings, notes about the nodes, and warnings about the ring: one a line.
fn remarks(cluster: &Cluster, ring: &Ring, others: &[Member], former: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in &cluster.findings {
        match finding {
            ClusterFinding::OtherRing { addr, differences } => {
                lines.extend(
                    differences.iter().map(|difference| format!("{addr}: ring: {difference}")),
                );
            }
            finding => lines.push(finding.to_string()),
        }
    }
    for member in cluster.members.iter().chain(others) {
        let noted = notes(&cluster.document, member);
        lines.extend(noted.into_iter().map(|note| format!("{}: {note}", member.addr())));
    }
    lines.extend(ring.warnings().into_iter().map(|warning| format!("ring: {warning}")));
    lines.extend_from_slice(former);
    if !lines.is_empty() {
        lines.insert(0, String::new());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Absence;
    use crate::cluster::test_cluster::{document, go, member, status, v1};

    fn cluster(members: Vec<Member>) -> Cluster {
        let document = document(&["127.0.3.1:2003=a", "127.0.3.2:2003=b", "127.0.3.3:2003=c"]);
        Cluster::from_answers(document, members)
    }

    fn text(cluster: &Cluster) -> String {
        let ring = cluster.ring().unwrap();
        let remarks = remarks(cluster, &ring, &[], &[]).join("\n");
        let version = version_line(cluster, &[]).map_or_else(String::new, |line| line + "\n");
        let line = format!("Ring: {}\n", ring.spec().summary());
        format!("{}\n{}\n{version}{line}{remarks}", go_lines(cluster, &ring), table(cluster, &[]))
    }

    #[test]
    fn a_jump_ring_is_shown_bucket_by_bucket() {
        let line = |nodes: &[&str]| {
            let mut document = document(nodes);
            document.algo = "jump_fnv1a".into();
            ring_line(&Ring::new(document.to_spec().unwrap()).unwrap())
        };
        let shown = line(&["127.0.3.1:2003=a", "127.0.3.2:2003=b", "127.0.3.3:2003=c"]);
        assert_eq!(shown, "jump_fnv1a:\t  0:127.0.3.1\t  1:127.0.3.2\t  2:127.0.3.3");
        // The contract's example: `1=10 2=2 3=1` gives 3,1,2.
        assert_eq!(line(&["n1=10", "n2=2", "n3=1"]), "jump_fnv1a:\t  0:n3\t  1:n1\t  2:n2");
    }

    #[test]
    fn a_healthy_cluster_is_shown_as_the_go_tool_shows_it_and_more() {
        let ring = document(&["127.0.3.1:2003=a", "127.0.3.2:2003=b", "127.0.3.3:2003=c"]);
        let cluster = cluster(vec![
            member("127.0.3.1", v1(&ring, "127.0.3.1", "s1")),
            member("127.0.3.2", v1(&ring, "127.0.3.2", "s2")),
            member("127.0.3.3", go(&ring, "127.0.3.3")),
        ]);
        insta::assert_snapshot!(text(&cluster));
        assert_eq!(cluster.outcome(), Outcome::Done);
    }

    /// Terminals have 80 columns. What all nodes share is a sentence below the table.
    #[test]
    fn a_table_of_nodes_with_one_version_fits_into_80_columns() {
        let ring = document(&["10.185.135.1:2003=a", "10.185.135.2:2003=b"]);
        let answer = |host: &str, version: &str| {
            let mut status = status(host, host);
            status.version = version.to_owned();
            status.disk = bucky_api::DiskStatus {
                total_bytes: 252 << 30,
                free_bytes: 58 << 30,
                ..status.disk
            };
            status.tombstones.waiting = 166;
            status.tombstones.oldest_seconds = 16;
            Answer::V1 { document: ring.clone(), status: Box::new(status) }
        };
        let cluster = |versions: [&str; 2]| {
            let hosts = ["10.185.135.1", "10.185.135.2"];
            let member = |(host, version)| member(host, answer(host, version));
            let members = hosts.into_iter().zip(versions).map(member).collect();
            Cluster::from_answers(ring.clone(), members)
        };
        let same = cluster(["0.1.0", "0.1.0"]);
        let text = table(&same, &[]).to_string();
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert!(!text.contains("VERSION") && !text.contains("0.1.0"), "{text}");
        assert_eq!(version_line(&same, &[]).unwrap(), "All nodes run buckyd 0.1.0.");
        let away = Answer::Away { state: Absence::Down, reason: "refused".into() };
        let others = [member("10.185.135.9", away)];
        assert_eq!(
            version_line(&same, &others).unwrap(),
            "All nodes that answer run buckyd 0.1.0."
        );
        let upgrade = cluster(["0.1.0", "0.2.0"]);
        let text = table(&upgrade, &[]).to_string();
        assert!(text.contains("VERSION") && text.contains("0.2.0"), "{text}");
        assert_eq!(version_line(&upgrade, &[]), None);
    }

    #[test]
    fn the_age_of_a_list_is_shown_with_its_state_unless_it_is_ready() {
        let list = |state, age_seconds| {
            list_text(&InventoryStatus { state, age_seconds, ..status("a", "s").inventory })
        };
        assert_eq!(list(InventoryState::Ready, Some(46)), "46s");
        assert_eq!(list(InventoryState::Rescan, Some(46)), "rescan, 46s");
        assert_eq!(list(InventoryState::Failed, Some(46)), "failed, 46s");
        assert_eq!(list(InventoryState::FirstScan, None), "first scan");
    }

    /// D4: with a member down, the Go tool panics and never prints `healthy: false`.
    #[test]
    fn whatever_does_not_agree_is_shown_node_by_node() {
        let ring = document(&["127.0.3.1:2003=a", "127.0.3.2:2003=b", "127.0.3.3:2003=c"]);
        let other = document(&["127.0.3.1:2003=a", "127.0.3.2:2004=b", "127.0.3.3:2003=x"]);
        let mut odd = status("web7", "s1");
        odd.inventory.unplaceable = 3;
        odd.tombstones.waiting = 12;
        odd.tombstones.oldest_seconds = 61;
        odd.tombstones.held = vec![bucky_api::HeldTombstones {
            count: 12,
            reason: "owner 127.0.3.2:4242 is down".into(),
        }];
        let cluster = cluster(vec![
            member("127.0.3.1", Answer::V1 { document: ring.clone(), status: Box::new(odd) }),
            member("127.0.3.2", v1(&other, "127.0.3.2", "s2")),
            member(
                "127.0.3.3",
                Answer::Away { state: Absence::Down, reason: "cannot reach 127.0.3.3:4242".into() },
            ),
        ]);
        insta::assert_snapshot!(text(&cluster));
        assert_eq!(cluster.outcome(), Outcome::Unhealthy);
        let json = to_json(&cluster, &cluster.ring().unwrap(), &[], &[]);
        assert_eq!(json["healthy"], false);
        assert_eq!(json["nodes"][2]["reachable"], false);
        assert_eq!(json["nodes"][1]["differences"][0], "node 2: port 2003, there 2004");
    }
}
