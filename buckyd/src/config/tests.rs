//! Tables of command lines.

use super::*;
use bucky_ring::Algorithm;

fn parse_words(words: &[&str]) -> Result<Config, ConfigError> {
    Config::parse(words.iter().map(OsString::from))
}

fn parse(line: &str) -> Result<Config, ConfigError> {
    parse_words(&line.split_whitespace().collect::<Vec<_>>())
}

fn warns(config: &Config, said: &str) -> bool {
    config.warnings.iter().any(|warning| warning.contains(said))
}

#[test]
fn a_line_written_for_the_go_daemon_is_read() {
    let config = parse(
        "-b 0.0.0.0:4343 -node a -hash jump_fnv1a -replicas 1 -p /w -t /tmp -sparse=true -timeout 60 -mtime -compressed \
         -pprof= -pyroscope=http://p:4040 -cache_path= a:2003=x b:2003=y",
    )
    .unwrap();
    assert_eq!(config.bind.to_string(), "0.0.0.0:4343");
    assert_eq!(config.node, "a");
    assert_eq!(config.ring.spec().algorithm, Algorithm::JumpFnv1a);
    assert_eq!(config.files.prefix, PathBuf::from("/w"));
    assert!(config.files.sparse && config.files.set_mtime);
    assert_eq!(
        (config.files.list_max_age, config.files.file_list),
        (Duration::from_secs(60), None)
    );
    let nodes: Vec<String> = config.ring.spec().nodes.iter().map(ToString::to_string).collect();
    assert_eq!(nodes, ["a:2003=x", "b:2003=y"]);
}

#[test]
fn every_spelling_of_a_flag_means_the_same() {
    for line in [
        "-p /w a",
        "-p=/w a",
        "--p /w a",
        "--p=/w a",
        "-prefix /w a",
        "-prefix=/w a",
        "--prefix /w a",
        "--prefix=/w a",
        "a -p /w",
        "-p /other -p /w a",
        "-p /w -- a",
    ] {
        let config = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(config.files.prefix, PathBuf::from("/w"), "{line}");
        assert_eq!(config.ring.spec().nodes.len(), 1, "{line}");
    }
    for (line, sparse) in [
        ("-sparse a", true),
        ("--sparse a", true),
        ("-sparse=1 a", true),
        ("-sparse=t a", true),
        ("-sparse=TRUE a", true),
        ("-sparse=false a", false),
        ("-sparse=F a", false),
        ("-sparse -sparse=0 a", false),
        ("a", false),
    ] {
        assert_eq!(parse(line).unwrap().files.sparse, sparse, "{line}");
    }
    for line in ["-b :1 a", "-bind :1 a", "--b=:1 a"] {
        assert_eq!(parse(line).unwrap().bind, Bind::Every(1), "{line}");
    }
    for line in ["-cache_path /f a", "a --cache_path=/f"] {
        assert_eq!(parse(line).unwrap().files.file_list, Some("/f".into()), "{line}");
    }
    for line in ["-n x a", "-node x a"] {
        assert_eq!(parse(line).unwrap().node, "x", "{line}");
    }
    for line in ["-t /tmp a", "-tmpdir /tmp a"] {
        assert!(warns(&parse(line).unwrap(), "-tmpdir has no effect"), "{line}");
    }
}

#[test]
fn defaults_are_the_go_daemons_except_for_the_address() {
    let config = parse("a").unwrap();
    let spec = config.ring.spec();
    assert_eq!((spec.algorithm, spec.replication_factor), (Algorithm::Carbon, 1));
    assert_eq!(config.files.prefix, PathBuf::from("/opt/graphite/storage/whisper"));
    assert_eq!(config.files.list_max_age, Duration::from_secs(3600));
    assert!(!config.files.sparse && !config.files.set_mtime);
    // The Go daemon looks for go-carbon's list in its default place without a flag.
    assert_eq!(config.files.file_list, None);
    assert_eq!(config.node, rustix::system::uname().nodename().to_string_lossy());
    assert_eq!(config.bind.to_string(), "127.0.0.1:4242");
}

#[test]
fn numbers_are_read_as_go_reads_them() {
    for (text, seconds) in [("60", 60), ("0x10", 16), ("010", 8), ("1_000", 1000), ("-1", 0)] {
        let config = parse(&format!("-timeout {text} a")).unwrap();
        assert_eq!(config.files.list_max_age, Duration::from_secs(seconds), "{text}");
    }
    let config = parse("-replicas 0x2 a b").unwrap();
    assert_eq!(config.ring.spec().replication_factor, 2);
}

#[test]
fn d20_flags_behind_the_nodes_are_flags() {
    let config = parse("a:2003 b:2003 -hash fnv1a -node a").unwrap();
    assert_eq!(config.ring.spec().nodes.len(), 2);
    assert_eq!(config.ring.spec().algorithm, Algorithm::Fnv1a);
    // After a lone `--` all arguments are nodes, and a node's name cannot begin with a dash.
    let error = parse("a -- -hash fnv1a").unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("-hash"), "{error}");
}

#[test]
fn nodes_are_read_as_the_go_daemon_reads_them() {
    for (text, server, port, instance) in [
        ("a", "a", 0, None),
        ("a:2003", "a", 2003, None),
        ("a:2003=x", "a", 2003, Some("x")),
        ("a=x", "a", 0, Some("x")),
        ("a:=x", "a", 0, Some("x")),
        ("a=b=c", "a", 0, Some("b=c")),
        ("a:0x10", "a", 16, None),
        ("a:1_000", "a", 1000, None),
        ("[::1]:4242", "::1", 4242, None),
    ] {
        let config = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let node = &config.ring.spec().nodes[0];
        assert_eq!((node.host(), node.port(), node.instance()), (server, port, instance), "{text}");
    }
}

#[test]
fn nodes_and_hashes_are_taken_as_people_paste_them() {
    let typed = parse("-hash fnv1a -relay carbon a:2003=x b:2003=y").unwrap().ring;
    for words in [
        &["-hash", "fnv1a_ch", "-relay", "carbon", "a:2003:x, b:2003:y"][..],
        &["-hash", "fnv1a_ch", "-relay", "carbon", "a:2003:x,", "b:2003:y"],
        &["-hash", "fnv1a", "-relay", "carbon", "a:2003:x", "b:2003=y"],
    ] {
        assert_eq!(parse_words(words).unwrap().ring.spec(), typed.spec(), "{words:?}");
    }
    let error = parse_words(&["a=x,b=y"]).unwrap_err().to_string();
    assert!(error.contains("separate nodes by blanks: a=x b=y"), "{error}");
}

#[test]
fn d49_an_invalid_node_is_refused_and_named() {
    for text in [
        "a:b",
        "a:2003:x:y",
        "a:-1",
        "a:99999999999999999999",
        "a:99999999",
        "a:010",
        "::1",
        "",
        ":",
        "=x",
    ] {
        let error = parse_words(&[text]).unwrap_err();
        assert_eq!(error.exit_code(), 1, "{text}");
        assert!(error.to_string().starts_with(&format!("node {text:?}: ")), "{error}");
    }
}

#[test]
fn an_invalid_setting_is_refused_with_the_flag_and_the_go_daemons_exit_code() {
    for (line, exit_code, said) in [
        ("", 1, "You must have at least 1 node in your hash ring"),
        ("-hash md5 a", 1, "-hash"),
        ("-replicas 3 a b", 1, "the ring"),
        ("-replicas -1 a b", 2, "value out of range"),
        ("-replicas 0 a b", 2, "--replicas"),
        ("-replicas abc a b", 2, "parse error"),
        ("-timeout 99999999999999999999 a", 2, "value out of range"),
        ("-b nowhere a", 1, "-bind: \"nowhere\" has no port"),
        ("-b 127.0.0.1:99999 a", 1, "99999"),
        ("-nosuch a", 2, "--nosuch"),
        ("-p", 2, "--prefix"),
        ("-sparse=maybe a", 2, "invalid boolean value \"maybe\" for -sparse"),
        ("-lock-timeout -1 a", 1, "--lock-timeout"),
        ("-max-transfers 0 a", 2, "1 to 1024"),
        ("-auth-jwt-secret-file /no/file a", 1, "-auth-jwt-secret-file: /no/file: No such file"),
        ("-auth-jwt-secret-file= a", 2, "--auth-jwt-secret-file"),
        ("-auth-jwt-secret-file /dev/null a", 1, "/dev/null: it is empty or only white space"),
        ("-auth-jwt-secret-file / a", 1, "Is a directory"),
        ("--auth-jwt-accept-secret-file /dev/zero a", 1, "/dev/zero: it has more than 65536 bytes"),
        ("--peer a:b a", 1, "--peer"),
        ("-help", 0, "Usage"),
        ("--help", 0, "Usage"),
        ("-h", 0, "Usage"),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), exit_code, "{line}: {error}");
        assert!(error.to_string().contains(said), "{line}: {error}");
    }
}

#[test]
fn flags_without_effect_are_reported_at_start() {
    for flag in ["-pprof localhost:6060", "-pyroscope http://p", "-tmpdir /tmp", "-compressed"] {
        let name = flag.split(' ').next().unwrap();
        let config = parse(&format!("{flag} a")).unwrap();
        let said: Vec<_> = config.warnings.iter().filter(|said| said.contains("effect")).collect();
        assert!(matches!(&said[..], [said] if said.starts_with(name)), "{said:?}");
    }
    // Turning off a feature that does not exist needs no warning.
    let quiet = parse("-pprof= -pyroscope= -relay buckytools -node a a").unwrap();
    assert_eq!(quiet.warnings, [] as [String; 0]);
}

#[test]
fn who_can_reach_the_daemon_is_said_at_start() {
    let ring = |line: &str| parse(line).unwrap().ring;
    let warned = |addr: &str, line: &str| exposure(addr.parse().unwrap(), &ring(line), false);
    assert!(warned("0.0.0.0:4242", "a").unwrap().contains("without authentication"));
    assert!(warned("[::]:4242", "127.0.0.1").unwrap().contains("without authentication"));
    assert!(warned("127.0.0.1:4242", "graphite-1").unwrap().contains("-bind IP:PORT"));
    assert!(warned("[::ffff:127.0.0.1]:4242", "graphite-1").unwrap().contains("-bind IP:PORT"));
    assert_eq!(warned("127.0.0.1:4242", "127.0.0.1 localhost [::1]"), None);
    assert_eq!(exposure("0.0.0.0:4242".parse().unwrap(), &ring("a"), true), None);
}

#[test]
fn a_ring_without_a_relay_is_said_to_be_that_of_buckytools() {
    let said = "computed as buckytools computes it";
    assert!(warns(&parse("-hash fnv1a a=x").unwrap(), said));
    assert!(!warns(&parse("-hash mmh3 a=x").unwrap(), said), "only carbon has it");
    for relay in ["buckytools", "carbon", "carbon-c-relay"] {
        assert!(!warns(&parse(&format!("-relay {relay} a=x")).unwrap(), said), "{relay}");
    }
}

#[test]
fn the_ring_may_come_from_the_relays_file_and_then_from_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("carbon.conf");
    let text = "[relay]\nRELAY_METHOD = consistent-hashing\nREPLICATION_FACTOR = 2\n\
                DESTINATIONS = a:2004:x, b:2004:x, c:2004:x\n";
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let config = parse_words(&["--ring-from", path, "-node", "a"]).unwrap();
    let typed = parse("-relay carbon -replicas 2 -diverse-replicas a:2004=x b:2004=x c:2004=x");
    assert_eq!(config.ring.spec(), typed.unwrap().ring.spec());
    assert_eq!(config.ring_file.unwrap().path.to_str(), Some(path));
    for more in ["a:1", "-hash=carbon", "-relay=carbon", "-replicas=2", "-diverse-replicas"] {
        let error = parse_words(&["--ring-from", path, more]).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{more}: {error}");
    }
    let error =
        parse_words(&["--ring-from", path, "--section", "relay:b"]).unwrap_err().to_string();
    assert!(error.starts_with("--ring-from: ") && error.contains("--section relay"), "{error}");
    std::fs::write(path, "[relay]\nDESTINATIONS = a:1:x\n").unwrap();
    let error = parse_words(&["--ring-from", path]).unwrap_err().to_string();
    assert!(error.contains("carbon.conf:1:1: RELAY_METHOD is rules"), "{error}");
}

#[test]
fn aggregation_rules_are_a_part_of_the_ring() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aggregation-rules.conf");
    std::fs::write(&path, "# all\nall.<m> (60) = sum hosts.*.<m>\n").unwrap();
    let path = path.to_str().unwrap();
    let words = ["-relay", "carbon", "--aggregation-rules", path, "a:1=x", "b:1=x"];
    let ring = parse_words(&words).unwrap().ring;
    assert_eq!(ring.aggregates("hosts.h1.cpu"), ["all.cpu"]);
    std::fs::write(path, "all (60) = sum\n").unwrap();
    let error = parse_words(&words).unwrap_err().to_string();
    assert!(error.contains("aggregation-rules.conf: line 1 of the aggregation rules"), "{error}");
    let refused = parse_words(&["--aggregation-rules", path, "a:1=x"]);
    assert!(refused.is_err());
}

/// The reader of command lines cannot depend on this crate, so it has a list of its own.
#[test]
fn the_flags_are_those_that_the_reader_of_command_lines_knows() {
    let command = Args::command();
    let declared = |takes_values: bool| -> Vec<String> {
        let mut declared: Vec<String> = command
            .get_arguments()
            .filter(|arg| !arg.is_positional() && arg.get_action().takes_values() == takes_values)
            .flat_map(|arg| {
                let longs = arg.get_long_and_visible_aliases().unwrap_or_default();
                let hidden = arg.get_all_aliases().unwrap_or_default();
                let short = arg.get_short().map(String::from);
                longs.into_iter().chain(hidden).map(str::to_owned).chain(short).collect::<Vec<_>>()
            })
            .collect();
        declared.sort();
        declared.dedup();
        declared
    };
    assert_eq!(declared(true), bucky_relay_config::FLAGS_WITH_VALUE.map(str::to_owned));
    assert_eq!(declared(false), bucky_relay_config::FLAGS_WITHOUT_VALUE.map(str::to_owned));
}
