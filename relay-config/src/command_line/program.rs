//! Where in a file the daemon is started: its commands, and which word of each is the daemon.

use super::words::{Word, separated_by_nul, shell_commands, unit_commands};
use crate::{Refusal, SourceFile};

/// Words that may be in front of a command.
const KEYWORDS: [&str; 12] =
    ["if", "then", "else", "elif", "do", "while", "until", "!", "{", "time", "exec", "-"];
/// Programs that start the program in their arguments.
const STARTERS: [&str; 34] = [
    "builtin",
    "capsh",
    "cgexec",
    "chpst",
    "chroot",
    "chrt",
    "command",
    "daemon",
    "docker",
    "doas",
    "dumb-init",
    "env",
    "envdir",
    "gosu",
    "ionice",
    "nice",
    "nohup",
    "nsenter",
    "numactl",
    "podman",
    "prlimit",
    "runuser",
    "s6-setuidgid",
    "setsid",
    "setuidgid",
    "softlimit",
    "start-stop-daemon",
    "stdbuf",
    "su",
    "su-exec",
    "sudo",
    "systemd-run",
    "taskset",
    "timeout",
];
const MORE_STARTERS: [&str; 2] = ["tini", "unshare"];
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "ksh", "zsh"];
/// Keys whose value is a command, in the files of supervisors: `command=buckyd …`, `command: buckyd …`.
const COMMAND_KEYS: [&str; 3] = ["command", "cmd", "entrypoint"];
/// How deep `sh -c` may be inside of `sh -c`.
const SHELLS_MOST: usize = 8;

/// A command of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Started {
    /// The daemon's path.
    pub(super) program: Word,
    /// What is behind it.
    pub(super) arguments: Vec<Word>,
}

/// All commands in `file` that start the daemon.
///
/// # Errors
/// [`Refusal`] for a quote without its end.
pub(super) fn started(file: &SourceFile) -> Result<Vec<Started>, Refusal> {
    let mut started = Vec::new();
    for command in commands(file)? {
        add(file, command, 0, &mut started)?;
    }
    Ok(started)
}

fn commands(file: &SourceFile) -> Result<Vec<Vec<Word>>, Refusal> {
    let text = file.text.as_str();
    if text.contains('\0') {
        return Ok(vec![separated_by_nul(text)]);
    }
    let is_unit = text.lines().any(|line| exec_start(line).is_some() || line.trim() == "[Service]");
    if is_unit {
        return of_unit(file);
    }
    let lists: Vec<Vec<Word>> = word_lists(text);
    if !lists.is_empty() {
        return Ok(lists);
    }
    shell_commands(file, text, None)
}

/// The commands of `ExecStart=`. An empty one takes back those before it.
fn of_unit(file: &SourceFile) -> Result<Vec<Vec<Word>>, Refusal> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < file.text.len() {
        let rest = &file.text[at..];
        let line = rest.lines().next().unwrap_or_default();
        let Some(value) = exec_start(line) else {
            at += rest.find('\n').map_or(rest.len(), |end| end + 1);
            continue;
        };
        let (commands, end) = unit_commands(file, at + value)?;
        if commands.is_empty() {
            found.clear();
        }
        found.extend(commands);
        at = end;
    }
    Ok(found)
}

/// Where the value of `ExecStart=` begins in a line.
fn exec_start(line: &str) -> Option<usize> {
    let (key, value) = line.split_once('=')?;
    (key.trim() == "ExecStart").then_some(line.len() - value.len())
}

/// The commands that are lists of words: `CMD ["buckyd", "-hash", …]` and `command: [buckyd, …]` on one line.
fn word_lists(text: &str) -> Vec<Vec<Word>> {
    let mut offset = 0;
    let mut lists = Vec::new();
    for line in text.split_inclusive('\n') {
        lists.extend(word_list(line, offset));
        offset += line.len();
    }
    lists
}

fn word_list(line: &str, offset: usize) -> Option<Vec<Word>> {
    let (key, list) = line.split_once('[')?;
    let key = key.trim().trim_start_matches('-').trim().trim_end_matches([':', '=']).trim_end();
    let key = key.to_ascii_lowercase();
    let list =
        list.trim_end().strip_suffix(']').filter(|_| COMMAND_KEYS.contains(&key.as_str()))?;
    let words = list.split(',').map(|word| word.trim().trim_matches(['"', '\'']));
    Some(words.map(|word| Word::plain(word, offset)).collect())
}

/// Adds the daemon that `words` start, also by way of a shell.
fn add(
    file: &SourceFile,
    words: Vec<Word>,
    depth: usize,
    started: &mut Vec<Started>,
) -> Result<(), Refusal> {
    let Some(head) = words.iter().position(|word| !is_before_command(&word.text)) else {
        return Ok(());
    };
    let name = name_of(&words[head].text);
    if name == "buckyd" {
        started.push(of(&words, head));
        return Ok(());
    }
    if SHELLS.contains(&name) && depth < SHELLS_MOST {
        let flag = words[head..].iter().position(|word| is_command_flag(&word.text));
        let Some(script) = flag.and_then(|flag| words.get(head + flag + 1)) else { return Ok(()) };
        for command in shell_commands(file, &script.text, Some(script.offset))? {
            add(file, command, depth + 1, started)?;
        }
        return Ok(());
    }
    if STARTERS.contains(&name) || MORE_STARTERS.contains(&name) {
        started.extend(by_starter(&words[head + 1..]));
    }
    Ok(())
}

/// The daemon in the arguments of a program that starts another. `buckyd` may also be a user or a group there; the
/// last one that still has arguments is started, as the others would have it for a node.
fn by_starter(words: &[Word]) -> Option<Started> {
    let is_daemon = |word: &Word| !word.text.contains('=') && name_of(&word.text) == "buckyd";
    let mut found: Option<Started> = None;
    for (at, _) in words.iter().enumerate().filter(|(_, word)| is_daemon(word)) {
        let is_value =
            found.as_ref().is_some_and(|before| super::is_value(&before.arguments, &words[at]));
        let next = of(words, at);
        if !is_value && (found.is_none() || !next.arguments.is_empty()) {
            found = Some(next);
        }
    }
    found
}

fn of(words: &[Word], program: usize) -> Started {
    let mut arguments = &words[program + 1..];
    // Behind it are the daemon's arguments, if a starter has its own in front.
    if let [first, rest @ ..] = arguments
        && first.text == "--"
    {
        arguments = rest;
    }
    Started { program: words[program].clone(), arguments: arguments.to_vec() }
}

/// A keyword, a key of a file, or an assignment.
fn is_before_command(word: &str) -> bool {
    if KEYWORDS.contains(&word) || word.strip_suffix(':').is_some_and(is_command_key) {
        return true;
    }
    let Some((key, value)) = word.split_once('=') else { return false };
    let is_name = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name && (value.is_empty() || !is_command_key(key))
}

fn is_command_key(key: &str) -> bool {
    COMMAND_KEYS.contains(&key.to_ascii_lowercase().as_str())
}

/// The name of the program in a word: without its folder, a key in front, and systemd's prefixes.
fn name_of(word: &str) -> &str {
    let path = match word.split_once('=') {
        Some((key, value)) if is_command_key(key) => value,
        _ => word,
    };
    let path = path.trim_start_matches(['-', '@', ':', '+', '!', '|']);
    path.rsplit('/').next().unwrap_or_default()
}

/// `-c`, also with other letters: `-ec`.
fn is_command_flag(word: &str) -> bool {
    let letters = word.strip_prefix('-').unwrap_or_default();
    letters.ends_with('c') && letters.bytes().all(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let started = started(&SourceFile::new("f", text)).expect("commands");
        let arguments = |one: &Started| {
            one.arguments.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
        };
        started.iter().map(arguments).collect()
    }

    #[test]
    fn the_daemon_is_found_wherever_it_is_started() {
        for text in [
            "buckyd -hash carbon a b",
            "/opt/x/buckyd -hash carbon a b",
            "A=1 B=c exec buckyd -hash carbon a b",
            "x && buckyd -hash carbon a b || y",
            "while true; do buckyd -hash carbon a b; done",
            "if [ -x /usr/bin/buckyd ]; then\n exec /usr/bin/buckyd -hash carbon a b\nfi",
            "exec chpst -u buckyd buckyd -hash carbon a b",
            "sudo -u buckyd /usr/bin/buckyd -hash carbon a b",
            "runuser -u buckyd -- buckyd -hash carbon a b",
            "daemon --user=buckyd /usr/bin/buckyd -hash carbon a b",
            "start-stop-daemon --start --exec /usr/bin/buckyd -- -hash carbon a b",
            "killall buckyd; buckyd -hash carbon a b",
            "pidof buckyd -s\nchown buckyd /x\nbuckyd -hash carbon a b",
            "sh -c 'exec buckyd -hash carbon a b'",
            "[program:x]\ncommand=/usr/bin/buckyd -hash carbon a b\nuser=buckyd",
            "services:\n  x:\n    command: buckyd -hash carbon a b",
            "    command: [\"buckyd\", \"-hash\", \"carbon\", \"a\", \"b\"]",
            "FROM x\nCMD [\"/usr/bin/buckyd\", \"-hash\", \"carbon\", \"a\", \"b\"]\n",
            "sh\0-c\0exec buckyd -hash carbon a b\0",
            "[Unit]\nDescription=the buckyd daemon\n[Service]\nUser=buckyd\n\
             ExecStartPre=/bin/chown buckyd /x\nExecStart=-/usr/bin/buckyd -hash carbon a b\n",
            "[Service]\nExecStart=buckyd c\nExecStart=\nExecStart=/bin/sh -c \"buckyd -hash carbon a b\"",
            "[Service]\nExecStart=buckyd -hash carbon \\\n # a comment\n a b",
        ] {
            assert_eq!(found(text), ["-hash carbon a b"], "{text}");
        }
    }

    #[test]
    fn what_only_names_the_daemon_starts_nothing() {
        for text in [
            "cluster buckyd carbon_ch a:2003=x b:2003=y;",
            "Description=buckyd for graphite",
            "LOG_DIR = /var/log/buckyd x",
            "install -d -o buckyd -g buckyd /var/lib/buckyd",
            "# buckyd a b",
            "echo buckyd a b",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_value_called_buckyd_is_no_second_daemon() {
        assert_eq!(found("sudo buckyd -node buckyd a b"), ["-node buckyd a b"]);
        assert_eq!(found("buckyd a:1=buckyd b:1=y"), ["a:1=buckyd b:1=y"]);
        assert_eq!(found("buckyd a\nbuckyd b"), ["a", "b"]);
    }
}
