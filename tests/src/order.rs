//! Whether recordings of a move show the durable order: nothing is confirmed before it is durable, and no
//! source is deleted before its owner's copy is durable.
//!
//! The rules are those of `docs/internals/safety-steps.md`. For a new file: its content is synced, then it is
//! linked or renamed into place, then the folder that has its name is synced, and the parent of each new
//! folder; then the owner answers. For a filled file: the points written to it are synced, then the owner
//! answers. At the source: a tombstone's manifest and both folders above it are synced before the rename.

use std::path::{Path, PathBuf};

use bucky_whisper::MetricName;

use crate::strace::{Act, Call, Moment, Recording};

/// How an owner got all of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// As a new file.
    Created,
    /// By a fill of the existing file.
    Filled,
}

/// When an owner's copy was durable: the return of the last sync that it needed, which must come before the
/// answer.
///
/// # Errors
/// What is missing or out of order, in words.
pub fn durable_at(
    recording: &Recording,
    prefix: &Path,
    metric: &MetricName,
    arrival: Arrival,
) -> Result<Moment, String> {
    let path = prefix.join(metric.relative_path());
    let outcome = match arrival {
        Arrival::Created => "created",
        Arrival::Filled => "filled",
    };
    let words = format!(r#"\"metric\":\"{metric}\",\"outcome\":\"{outcome}\""#);
    let is_answer = |act: &Act| matches!(act, Act::Send(text) if text.contains(&words));
    let answer = find(recording, is_answer).ok_or(format!("{metric}: no answer says {outcome}"))?;
    let history = History { recording, metric, answer };
    let mut durable = match arrival {
        Arrival::Filled => {
            let written = history.last_write(&path)?;
            history.synced(written, &path, "what was filled")?
        }
        Arrival::Created => history.created(&path)?,
    };
    for folder in path.ancestors().skip(1).take_while(|folder| *folder != prefix) {
        let is_made = |act: &Act| matches!(act, Act::MakeFolder(made) if made == folder);
        for made in all(recording, is_made).filter(|made| made.ended < answer.began) {
            let above = folder.parent().unwrap_or(prefix);
            let what = format!("the new folder {}", folder.display());
            durable = durable.max(history.synced(made.ended, above, &what)?);
        }
    }
    Ok(durable)
}

/// When a source was renamed to its tombstone. Its manifest must be durable by then.
///
/// # Errors
/// What is missing or out of order, in words.
pub fn renamed_at(
    recording: &Recording,
    prefix: &Path,
    metric: &MetricName,
) -> Result<Moment, String> {
    let path = prefix.join(metric.relative_path());
    let is_rename = |act: &Act| matches!(act, Act::Rename { from, .. } if *from == path);
    let rename = find(recording, is_rename).ok_or(format!("{metric}: no tombstone was made"))?;
    let Act::Rename { to, .. } = &rename.act else { unreachable!("it was looked for") };
    let batch = to.parent().unwrap_or(prefix);
    let manifest = batch.join("manifest");
    let history = History { recording, metric, answer: rename };
    let written = history.last_write(&manifest)?;
    history.synced(written, &manifest, "the manifest")?;
    history.synced(written, batch, "the manifest's folder")?;
    let is_made = |act: &Act| matches!(act, Act::MakeFolder(made) if made == batch);
    let made = find(recording, is_made).ok_or(format!("{metric}: who made {batch:?}?"))?;
    history.synced(made.ended, batch.parent().unwrap_or(prefix), "the batch's folder")?;
    Ok(rename.began)
}

/// What happened to a metric before the call `answer`.
struct History<'r> {
    recording: &'r Recording,
    metric: &'r MetricName,
    answer: &'r Call,
}

impl History<'_> {
    fn created(&self, path: &PathBuf) -> Result<Moment, String> {
        let is_rename = |act: &Act| matches!(act, Act::Rename { to, .. } if to == path);
        let rename = find(self.recording, is_rename)
            .ok_or_else(|| format!("{}: nothing was put in place", self.metric))?;
        let Act::Rename { from, .. } = &rename.act else { unreachable!("it was looked for") };
        let written = self.last_write(from)?;
        let content = History { answer: rename, ..*self };
        content.synced(written, from, "the content, before it had its name,")?;
        let folder = path.parent().unwrap_or(path);
        self.synced(rename.ended, folder, "the name")
    }

    /// When the last write to `path` before the answer returned.
    fn last_write(&self, path: &Path) -> Result<Moment, String> {
        let is_write = |act: &Act| matches!(act, Act::Write(to) if to == path);
        let writes = all(self.recording, is_write).filter(|call| call.began < self.answer.began);
        let last = writes.map(|call| call.ended).max();
        last.ok_or_else(|| format!("{}: nothing was written to {}", self.metric, path.display()))
    }

    /// The return of the first sync of `path`, or of everything, that began after `since`. It must come
    /// before the answer.
    fn synced(&self, since: Moment, path: &Path, what: &str) -> Result<Moment, String> {
        let is_sync = |act: &Act| match act {
            Act::Sync(synced) => synced == path,
            Act::SyncAll(synced) => path.starts_with(synced),
            _ => false,
        };
        let syncs = all(self.recording, is_sync).filter(|call| since < call.began);
        let first = syncs.map(|call| call.ended).min();
        first.filter(|ended| *ended < self.answer.began).ok_or_else(|| {
            format!("{}: {what} was not synced in time ({})", self.metric, path.display())
        })
    }
}

fn all(recording: &Recording, is_it: impl Fn(&Act) -> bool) -> impl Iterator<Item = &Call> {
    recording.calls().iter().filter(move |call| call.is_ok && is_it(&call.act))
}

fn find(recording: &Recording, is_it: impl Fn(&Act) -> bool) -> Option<&Call> {
    all(recording, is_it).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an owner does for `a.b` below `/w`, one call a line.
    const CREATED: [&str; 7] = [
        r#"write(9</w/a/#17>(deleted), "", 1) = 1"#,
        r#"syncfs(3</w>) = 0"#,
        r#"mkdirat(3</w>, "a", 0755) = 0"#,
        r#"linkat(9</w/a/#17>(deleted), "", 5</w/a>, "b.wsp", AT_EMPTY_PATH) = 0"#,
        r#"fsync(5</w/a>) = 0"#,
        r#"fsync(3</w>) = 0"#,
        r#"writev(7<TCP:[a->b]>, [{iov_base="{\"metric\":\"a.b\",\"outcome\":\"created\"", iov_len=9}], 1) = 9"#,
    ];
    const DELETED: [&str; 6] = [
        r#"mkdirat(3</w/.bucky/tombstones>, "t", 0755) = 0"#,
        r#"write(4</w/.bucky/tombstones/t/manifest>, "{}", 2) = 2"#,
        r#"fsync(4</w/.bucky/tombstones/t/manifest>) = 0"#,
        r#"fsync(5</w/.bucky/tombstones/t>) = 0"#,
        r#"fsync(3</w/.bucky/tombstones>) = 0"#,
        r#"renameat(6</w/a>, "b.wsp", 5</w/.bucky/tombstones/t>, "0") = 0"#,
    ];

    fn recording<'l>(lines: impl Iterator<Item = &'l str>) -> Recording {
        let lines = lines.enumerate();
        let text = lines.map(|(number, line)| format!("1 1.{:06} {line}\n", number * 10));
        Recording::parse(&text.collect::<String>()).unwrap()
    }

    fn arrived<'l>(lines: impl Iterator<Item = &'l str>) -> Result<u64, String> {
        let metric = "a.b".parse().unwrap();
        let durable = durable_at(&recording(lines), Path::new("/w"), &metric, Arrival::Created);
        durable.map(|moment| moment.micros)
    }

    fn without<'l>(lines: &'l [&'l str], left_out: usize) -> impl Iterator<Item = &'l str> {
        let kept = lines.iter().enumerate().filter(move |(number, _)| *number != left_out);
        kept.map(|(_, line)| *line)
    }

    #[test]
    fn a_new_file_needs_every_one_of_its_steps() {
        assert_eq!(arrived(CREATED.into_iter()), Ok(1_000_050));
        for (left_out, said) in [
            (0, "nothing was written"),
            (1, "the content, before it had its name, was not synced"),
            (3, "nothing was put in place"),
            (4, "the name was not synced"),
            (5, "the new folder /w/a was not synced"),
            (6, "no answer"),
        ] {
            let error = arrived(without(&CREATED, left_out)).unwrap_err();
            assert!(error.contains(said), "{left_out}: {error}");
        }
        let failed =
            CREATED.map(|line| line.replace("fsync(5</w/a>) = 0", "fsync(5</w/a>) = -1 EIO"));
        assert!(arrived(failed.iter().map(String::as_str)).is_err(), "a sync that failed is none");
        let mut late = CREATED;
        late.swap(5, 6);
        assert!(arrived(late.into_iter()).is_err(), "the answer came first");
    }

    #[test]
    fn a_new_file_with_a_temporary_name_needs_them_too() {
        let mut renamed = CREATED;
        renamed[0] = r#"write(9</w/.bucky/tmp/0>, "", 1) = 1"#;
        renamed[3] = r#"renameat2(4</w/.bucky/tmp>, "0", 5</w/a>, "b.wsp", RENAME_NOREPLACE) = 0"#;
        assert_eq!(arrived(renamed.into_iter()), Ok(1_000_050));
        assert!(arrived(without(&renamed, 1)).is_err());
    }

    #[test]
    fn a_fill_is_synced_before_the_answer() {
        let lines = [
            r#"pwrite64(9</w/a/b.wsp>, "", 12, 28) = 12"#,
            r#"syncfs(3</w>) = 0"#,
            r#"writev(7<TCP:[a->b]>, [{iov_base="{\"metric\":\"a.b\",\"outcome\":\"filled\"", iov_len=9}], 1) = 9"#,
        ];
        let filled = |lines: &mut dyn Iterator<Item = &str>| {
            let metric = "a.b".parse().unwrap();
            durable_at(&recording(lines), Path::new("/w"), &metric, Arrival::Filled)
        };
        assert!(filled(&mut lines.into_iter()).is_ok());
        for left_out in 0..3 {
            assert!(filled(&mut without(&lines, left_out)).is_err(), "{left_out}");
        }
    }

    #[test]
    fn a_tombstone_needs_its_story_first() {
        let renamed = |lines: &mut dyn Iterator<Item = &str>| {
            renamed_at(&recording(lines), Path::new("/w"), &"a.b".parse().unwrap())
        };
        assert_eq!(renamed(&mut DELETED.into_iter()).unwrap().micros, 1_000_050);
        for left_out in 0..6 {
            assert!(renamed(&mut without(&DELETED, left_out)).is_err(), "{left_out}");
        }
    }
}
