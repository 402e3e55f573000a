use super::help::runnable;
use super::*;
use crate::args::heading;
use crate::outcome::Outcome;

fn read(args: &[&str]) -> Result<Command, String> {
    parse(args.iter().map(OsString::from)).map_err(|stop| match stop.outcome {
        Outcome::Done => format!("asked: {}", stop.data),
        _ => format!("mistake: {}", stop.message),
    })
}

/// The name of a command: one word, or a group and its member.
fn words(name: &str) -> Vec<OsString> {
    name.split(' ').map(OsString::from).collect()
}

fn mistake(args: &[&str]) -> String {
    let text = read(args).err().unwrap_or_else(|| panic!("{args:?} was taken"));
    text.strip_prefix("mistake: ").unwrap_or_else(|| panic!("{args:?}: {text}")).to_owned()
}

#[test]
fn the_definition_holds_together() {
    definition().debug_assert();
}

/// D20: the Go tool takes flags after an argument for arguments, and then asks localhost.
#[test]
fn flags_count_before_and_after_arguments_with_one_dash_or_two() {
    for args in [
        ["list", "-h", "a:4343", "app.a", "-j"],
        ["list", "app.a", "-j", "--host", "a:4343"],
        ["list", "app.a", "--json", "-host", "a:4343"],
    ] {
        let Ok(Command::List(list)) = read(&args) else { panic!("{args:?}") };
        assert_eq!(list.cluster.host().unwrap().to_string(), "a:4343");
        assert!(list.json && list.select.names == ["app.a"]);
    }
}

/// D24: the Go tool exits 0 after an unknown command.
#[test]
fn an_unknown_command_is_a_mistake_with_a_suggestion() {
    let text = mistake(&["lsit", "-h", "A"]);
    assert_eq!(
        text,
        "bucky: unknown command: lsit; did you mean list?\n`bucky help` lists all commands."
    );
    // "heal" is like it too, and less so.
    assert!(mistake(&["rebalanc"]).contains("; did you mean rebalance?\n"));
    assert!(mistake(&["xyzzy"]).starts_with("bucky: unknown command: xyzzy\n"));
    assert!(mistake(&[]).contains("give a command"));
    assert!(mistake(&["-v", "list"]).contains("before the command"));
}

#[test]
fn help_is_asked_for_in_every_way_but_h_with_a_command() {
    for args in [
        &["help"][..],
        &["--help"],
        &["-help"],
        &["-h"],
        &["help", "list"],
        &["list", "--help"],
        &["list", "-help"],
    ] {
        assert!(read(args).err().unwrap().starts_with("asked: "), "{args:?}");
    }
    for command in ["list", "rebalance"] {
        assert_eq!(
            mistake(&[command, "-h"]),
            format!("bucky: -h is --host and needs HOST[:PORT]; for help: bucky help {command}")
        );
    }
    assert!(mistake(&["list", "-t"]).contains("--timeout"));
    assert!(matches!(read(&["-version"]), Ok(Command::Version)));
    assert!(read(&["fill", "-h"]).err().unwrap().contains("bucky-fill"));
}

#[test]
fn help_lists_the_commands_sorted_with_usage_and_description() {
    let stop = help(&[], HelpDetail::Short);
    let lines: Vec<&str> = stop.data.lines().collect();
    let names: Vec<&str> =
        lines.iter().step_by(2).map(|line| line.split(' ').next().unwrap()).collect();
    assert!(names.is_sorted() && names.len() > 10, "{names:?}");
    let list = lines.iter().position(|line| line.starts_with("list ")).unwrap();
    assert_eq!(lines[list], "list [OPTIONS] [METRIC]...");
    assert_eq!(lines[list + 1], "\tList metrics");
    assert!(stop.message.contains("Usage: ") && stop.message.contains("130 stopped"));
}

#[test]
fn help_of_a_command_has_its_title_with_the_version_its_usage_its_text_and_its_flags() {
    let stop = help(&words("locate"), HelpDetail::Short);
    assert_eq!((stop.outcome, stop.message.as_str()), (Outcome::Done, ""));
    let title = concat!("bucky locate, version ", env!("CARGO_PKG_VERSION"));
    assert!(stop.data.starts_with(&format!("{title}\n\nUsage: bucky locate ")), "{}", stop.data);
    let usage = stop.data.find("Usage: ").unwrap();
    let text = stop.data.find("Show which nodes own metrics").unwrap();
    let flags = stop.data.find("--timeout").unwrap();
    assert!(usage < text && text < flags, "{}", stop.data);
}

/// The short help has what most people need; the long one explains every flag.
#[test]
fn help_is_short_unless_all_of_it_is_asked_for() {
    let text = |args: &[&str]| {
        let text = read(args).err().unwrap();
        text.strip_prefix("asked: ").unwrap_or_else(|| panic!("{args:?}: {text}")).to_owned()
    };
    let short = text(&["help", "rebalance"]);
    assert!(short.contains("--bandwidth") && !short.contains("--graphite-endpoint"), "{short}");
    assert!(short.contains("bucky help rebalance --all"), "{short}");
    let all = text(&["help", "rebalance", "--all"]);
    assert!(all.contains("--graphite-endpoint") && all.contains("Exit codes: "), "{all}");
    for args in [&["help", "-all", "rebalance"][..], &["rebalance", "--help"]] {
        assert_eq!(text(args), all, "{args:?}");
    }
}

#[test]
fn the_groups_of_flags_have_one_order_in_the_help_of_all_commands() {
    let mut seen = 0;
    for (name, _) in runnable() {
        for detail in [HelpDetail::Short, HelpDetail::All] {
            let text = help(&words(&name), detail).data;
            let positions = heading::ORDER.map(|heading| text.find(&format!("\n{heading}:\n")));
            let positions: Vec<usize> = positions.into_iter().flatten().collect();
            assert!(positions.is_sorted(), "{text}");
            seen += positions.len();
        }
    }
    assert!(seen > 100, "only {seen} groups were found");
}

/// What is the default of one command is not that of another.
#[test]
fn help_says_whether_a_command_keeps_its_sources() {
    let short = |command: &str| help(&words(command), HelpDetail::Short).data;
    let (delete, keep) =
        ("Delete each source when all its owners have it on disk", "Keep the sources");
    let text = |command| short(command).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text("rebalance").contains(&format!("{delete} (default)")));
    assert!(!text("rebalance").contains(&format!("{keep} (default)")));
    for command in ["copy", "backfill2"] {
        assert!(text(command).contains(&format!("{keep} (default)")), "{command}");
        assert!(!text(command).contains(&format!("{delete} (default)")), "{command}");
    }
}

/// `-h` and `-s` are accepted by all commands, as by the Go tool's.
#[test]
fn help_leaves_out_the_host_where_it_has_no_effect() {
    for (command, shown) in [("copy", false), ("backfill2", false), ("list", true)] {
        let text = help(&words(command), HelpDetail::All).data;
        assert_eq!((text.contains("--host"), text.contains("--single")), (shown, shown), "{text}");
        assert!(text.contains("--timeout"), "{text}");
    }
    assert!(read(&["copy", "--src", "a", "--dst", "b", "-h", "c", "-s"]).is_ok());
}

#[test]
fn every_command_has_an_example_and_all_exit_codes() {
    for (name, _) in runnable().into_iter().filter(|(name, _)| name != "version") {
        let short = help(&words(&name), HelpDetail::Short).data;
        let examples = short.split("Examples:\n").nth(1).unwrap_or_default();
        assert!(examples.contains(&format!("bucky {name} ")), "{short}");
        let all = help(&words(&name), HelpDetail::All).data;
        assert!(all.contains("Exit codes: 0 "), "{all}");
        // A relay that was asked to stop has done what it should.
        assert!(all.contains("130 stopped ") || name == "pickle-relay", "{all}");
        let codes = all.find("Exit codes: ").map(|at| &all[at..]).unwrap_or_default();
        assert!(codes.lines().all(|line| line.len() <= 80), "{codes}");
        assert!(examples.lines().all(|line| line.chars().count() <= 80), "{examples}");
    }
}

#[test]
fn help_of_no_command_says_so_and_is_a_mistake() {
    let stop = help(&words("lits"), HelpDetail::All);
    assert_eq!((stop.outcome, stop.data.as_str()), (Outcome::Usage, "Unknown sub-command.\n"));
    assert!(stop.message.contains("did you mean list?"), "{}", stop.message);
}

#[test]
fn a_group_of_commands_is_one_word_and_its_members_are_the_next() {
    let Ok(Command::Ring(_)) = read(&["ring", "from", "-explain", "carbon.conf"]) else { panic!() };
    assert!(mistake(&["ring"]).ends_with("bucky: give a command of bucky ring"));
    assert_eq!(
        mistake(&["ring", "form", "carbon.conf"]),
        "bucky: unknown command: ring form; did you mean from?\n`bucky help` lists all commands."
    );
    for args in [&["help", "ring"][..], &["ring", "--help"]] {
        let text = read(args).err().unwrap();
        assert!(text.starts_with("asked: ") && text.contains("\n  from "), "{args:?}: {text}");
    }
    for args in [&["help", "ring", "from"][..], &["ring", "from", "--help"]] {
        let text = read(args).err().unwrap();
        assert!(text.contains("Usage: bucky ring from [OPTIONS] <FILE>"), "{args:?}: {text}");
    }
    let stop = help(&words("ring form"), HelpDetail::All);
    assert_eq!((stop.outcome, stop.data.as_str()), (Outcome::Usage, "Unknown sub-command.\n"));
    assert!(stop.message.contains("did you mean from?"), "{}", stop.message);
}

/// D32: with `-w 0`, the Go tool hangs, or does nothing and exits 0.
#[test]
fn fewer_than_one_worker_are_refused() {
    for workers in ["0", "-1", "x", "99999999999999999999"] {
        assert!(mistake(&["rebalance", "-w", workers]).contains("--workers"), "{workers}");
        assert!(mistake(&["du", "-w", workers, "a"]).contains("--workers"), "{workers}");
    }
}

/// D37: with `-t 0`, the Go tool waits for ever.
#[test]
fn waiting_for_ever_is_refused() {
    assert!(mistake(&["list", "-t", "0"]).contains("--timeout"));
    assert!(mistake(&["list", "-t", "-5"]).contains("--timeout"));
}

#[test]
fn a_switch_set_to_false_is_not_taken_for_its_default() {
    let Ok(Command::Rebalance(args)) = read(&["rebalance", "-delete=false"]) else { panic!() };
    assert!(args.sync.no_delete);
    let Ok(Command::Rebalance(args)) = read(&["rebalance", "-delete"]) else { panic!() };
    assert!(!args.sync.no_delete);
    let Ok(Command::Inconsistent(args)) = read(&["inconsistent", "-filter-cache-metrics=false"])
    else {
        panic!()
    };
    assert!(args.local.no_filter_cache_metrics);
}

#[test]
fn of_a_flag_that_is_given_twice_the_last_counts() {
    let args = ["list", "-h", "a", "-j", "-host", "b", "-t", "1", "-timeout=2", "-j=false"];
    let Ok(Command::List(list)) = read(&args) else { panic!() };
    assert_eq!((list.cluster.host().unwrap().to_string().as_str(), list.json), ("b:4242", false));
    assert_eq!(list.cluster.timeout, 2);
    for (flags, keeps) in [
        (["-delete=false", "-delete"], false),
        (["-delete", "-no-delete"], true),
        (["-no-delete", "-delete=true"], false),
    ] {
        let Ok(Command::Rebalance(args)) = read(&["rebalance", flags[0], flags[1]]) else {
            panic!("{flags:?}")
        };
        assert_eq!(args.sync.no_delete, keeps, "{flags:?}");
    }
}

#[test]
fn a_switch_takes_all_of_gos_words_for_yes_and_no() {
    for (word, is_yes) in ["1", "t", "T", "true", "TRUE", "True"]
        .map(|word| (word, true))
        .into_iter()
        .chain(["0", "f", "F", "false", "FALSE", "False"].map(|word| (word, false)))
    {
        let Ok(Command::List(list)) = read(&["list", &format!("-single={word}")]) else {
            panic!("{word}")
        };
        assert_eq!(list.cluster.single, is_yes, "{word}");
    }
    assert!(mistake(&["list", "-s=maybe"]).contains("invalid boolean value \"maybe\" for -s"));
}

/// A flag that is declared with a parser of Rust's numbers fails here: use `bucky_flags::integer`. Lengths
/// (BYTES) have units and are not numbers.
#[test]
fn every_flag_that_takes_a_number_takes_it_as_go_writes_it() {
    use std::any::TypeId;
    let numbers = [
        TypeId::of::<i32>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<i64>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
        TypeId::of::<std::num::NonZeroU32>(),
    ];
    let (mut flags, mut refusals) = (0, Vec::new());
    for (name, command) in runnable() {
        let takes_number = |arg: &&clap::Arg| {
            let parsed = arg.get_value_parser().type_id();
            let is_length = arg
                .get_value_names()
                .is_some_and(|names| names.iter().any(|name| *name == "BYTES"));
            !arg.is_positional()
                && !is_length
                && arg.get_action().takes_values()
                && numbers.iter().any(|number| parsed == *number)
        };
        for arg in command.get_arguments().filter(takes_number) {
            let flag = match (arg.get_long(), arg.get_short()) {
                (Some(long), _) => format!("--{long}"),
                (None, short) => format!("-{}", short.unwrap()),
            };
            for number in ["0x10", "0b10000", "1_6", "020"] {
                let words = ["bucky".into()].into_iter().chain(words(&name));
                let words = words.chain([format!("{flag}={number}").into()]);
                let refused = definition().try_get_matches_from(words).err();
                let is_refused = refused.as_ref().is_some_and(|error| {
                    matches!(
                        error.kind(),
                        clap::error::ErrorKind::ValueValidation
                            | clap::error::ErrorKind::InvalidValue
                    )
                });
                if is_refused {
                    refusals.push(format!("{name} {flag} {number}"));
                }
            }
            flags += 1;
        }
    }
    assert_eq!(refusals, Vec::<String>::new());
    assert!(flags > 30, "only {flags} were looked at");
}

#[test]
fn an_unknown_flag_is_named_whole() {
    assert!(mistake(&["list", "-nosuch"]).contains("--nosuch"));
}
