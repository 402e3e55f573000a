//! `bucky token`: creates a token, or shows what one permits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bucky_api::chain;
use bucky_api::clock::unix_now;
use bucky_api::token::{
    Claims, Grant, LIST, Operation, Pattern, Secret, TOKEN_LIMIT_BYTES, Token, TokenError, payload,
};
use clap::ArgGroup;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::short_file::read_short_file;
use crate::args::units::time as read_time;
use crate::outcome::{Outcome, UsageError};
use crate::output::{Output, human_duration};

/// The word for a token that is valid until the secret is changed.
const NEVER: &str = "never";
/// The longest file of a secret that buckyd reads.
const SECRET_LIMIT_BYTES: usize = 64 * 1024;

/// Arguments of `bucky token`.
#[derive(clap::Args)]
#[command(
    about = "Create a token for daemons with -auth-jwt-secret-file, or show one",
    long_about = "Create a token for daemons with -auth-jwt-secret-file and print it, or show what a token \
                  permits.\n\n\
                  Namespaces are patterns of whole names: * is any run of characters, ? any one character, \
                  [a-c] and [^a] one of a class, \\x is x itself. To list metrics, which most commands do, a \
                  token needs a namespace that matches the character *, as * does. Operations are read (see \
                  names and points), update (create and fill), replace, delete, or * for all.",
    group(ArgGroup::new("what").required(true).multiple(true).args(["secret_file", "show"])),
    after_help = "Examples:\n\
        \x20 bucky token --secret-file secret --namespaces 'app.*' --ops read\n\
        \x20 bucky token --show token.txt"
)]
pub(crate) struct Args {
    /// File with the secret of the daemons; with --show, it is used to check the signature
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Patterns of the metrics that the token is valid for, separated by commas
    ///
    /// `\,` is a comma inside a pattern. May be given several times.
    #[arg(
        long,
        value_name = "PATTERN,...",
        required_unless_present = "show",
        conflicts_with = "show"
    )]
    namespaces: Vec<String>,
    /// What the token permits, separated by commas: read, update, replace, delete, or * for all
    #[arg(long, value_name = "OP,...", required_unless_present = "show", conflicts_with = "show")]
    ops: Vec<String>,
    /// How long the token is valid, such as 90s, 30m, 1h, 7d or never
    ///
    /// With `never` it is valid until the secret changes.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = expiry, conflicts_with = "show")]
    expires: Expiry,
    /// Show what the token in this file permits; exit with 1 if it is not valid
    ///
    /// `-` is standard input.
    #[arg(long, value_name = "FILE")]
    show: Option<PathBuf>,
}

/// When a token expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    After(Duration),
    Never,
}

fn expiry(text: &str) -> Result<Expiry, String> {
    if text == NEVER {
        return Ok(Expiry::Never);
    }
    let days: Option<u64> = text.strip_suffix('d').and_then(|days| days.parse().ok());
    let time = match days.and_then(|days| days.checked_mul(86_400)) {
        Some(seconds) => Duration::from_secs(seconds),
        None => read_time(text)?,
    };
    match time {
        Duration::ZERO => {
            Err(format!("a token that is valid for 0 s is useless (try 1h, or {NEVER:?})"))
        }
        time => Ok(Expiry::After(time)),
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args, output: &Arc<Output>) -> anyhow::Result<Outcome> {
    let secret = args.secret_file.as_deref().map(secret).transpose()?;
    let now = u64::from(unix_now());
    match (&args.show, secret) {
        (Some(path), secret) => show(path, secret.as_ref(), now, output),
        (None, Some(secret)) => {
            let token = make(args, &secret, now)?;
            output.data_line(String::from_utf8_lossy(token.reveal()))?;
            if secret.is_short() {
                output.say("bucky: the secret is shorter than 32 bytes; for a better one: openssl rand -base64 32");
            }
            Ok(Outcome::Done)
        }
        (None, None) => Err(UsageError::because("give --secret-file FILE, which signs the token")),
    }
}

fn secret(path: &Path) -> anyhow::Result<Secret> {
    let content = read_short_file(path, SECRET_LIMIT_BYTES).map_err(|error| {
        UsageError::because(format!("--secret-file {}: {error}", path.display()))
    })?;
    Secret::new(&content)
        .map_err(|error| UsageError::because(format!("--secret-file {}: {error}", path.display())))
}

fn make(args: &Args, secret: &Secret, now: u64) -> anyhow::Result<Token> {
    let namespaces: Vec<String> = args.namespaces.iter().flat_map(|text| split(text)).collect();
    for pattern in &namespaces {
        check_pattern(pattern)
            .map_err(|error| UsageError::because(format!("--namespaces: {error}")))?;
    }
    let ops: Vec<String> = args.ops.iter().flat_map(|text| split(text)).collect();
    for op in ops.iter().filter(|op| *op != "*") {
        let known = op.parse::<Operation>();
        known.map_err(|error| UsageError::because(format!("--ops: {error}")))?;
    }
    let expires = match args.expires {
        Expiry::Never => None,
        Expiry::After(time) => Some(now.saturating_add(time.as_secs()) as f64),
    };
    let issued_at = Some(now as f64);
    let claims = Claims { namespaces, ops, issued_at, not_before: None, expires };
    secret.sign(&claims).map_err(|error| UsageError::because(format!("not a valid token: {error}")))
}

/// The parts of a list with commas. A backslash protects the next character, as it does in patterns.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut is_escaped = false;
    for c in text.chars() {
        if c == ',' && !is_escaped {
            parts.push(String::new());
            continue;
        }
        is_escaped = c == '\\' && !is_escaped;
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

fn check_pattern(text: &str) -> Result<(), String> {
    text.parse::<Pattern>().map_err(|error| error.to_string())?;
    match text {
        "" => Err("a pattern is empty and would match nothing".to_owned()),
        _ if text.contains('/') => Err(format!(
            "the pattern {text:?} has a /, which no metric name has, and would match nothing"
        )),
        _ => Ok(()),
    }
}

fn show(
    path: &Path,
    secret: Option<&Secret>,
    now: u64,
    output: &Output,
) -> anyhow::Result<Outcome> {
    let in_context =
        |error: String| UsageError::because(format!("--show {}: {error}", path.display()));
    let content =
        read_short_file(path, TOKEN_LIMIT_BYTES).map_err(|error| in_context(error.to_string()))?;
    let token = Token::parse(&content).map_err(|error| in_context(error.to_string()))?;
    let claims = payload(token.reveal()).map_err(|error| in_context(chain(&error)))?;
    let grant = match secret {
        Some(secret) => Grant::verify(token.reveal(), std::slice::from_ref(secret), now).map(Some),
        None => Ok(None),
    };
    output.data_text(text(&claims, &grant, now))?;
    Ok(outcome(&claims, &grant, now))
}

/// Whether a token with these claims is valid now, as far as that was checked.
fn outcome(claims: &Claims, grant: &Result<Option<Grant>, TokenError>, now: u64) -> Outcome {
    match claims.check_time(now).is_ok() && grant.is_ok() {
        true => Outcome::Done,
        false => Outcome::SomeFailed,
    }
}

fn text(claims: &Claims, grant: &Result<Option<Grant>, TokenError>, now: u64) -> String {
    let mut text = String::new();
    for pattern in &claims.namespaces {
        let note = match check_pattern(pattern) {
            Err(_) => "  (matches nothing)",
            Ok(()) if pattern.parse::<Pattern>().is_ok_and(|pattern| pattern.matches(LIST)) => {
                "  (and lists)"
            }
            Ok(()) => "",
        };
        text.push_str(&format!("namespace: {}{note}\n", pattern.escape_debug()));
    }
    let ops: Vec<String> = claims.ops.iter().map(|op| op.escape_debug().to_string()).collect();
    text.push_str(&format!("ops: {}\n", ops.join(", ")));
    for (word, seconds) in [("issued", claims.issued_at), ("not before", claims.not_before)] {
        if let Some(seconds) = seconds {
            text.push_str(&format!("{word}: {}\n", moment(seconds, now)));
        }
    }
    let expires = claims.expires.map_or_else(|| NEVER.to_owned(), |seconds| moment(seconds, now));
    let signature = match grant {
        Ok(None) => "not checked (give --secret-file FILE)".to_owned(),
        Ok(Some(_)) => "good".to_owned(),
        Err(error) => error.to_string(),
    };
    text.push_str(&format!("expires: {expires}\nsignature: {signature}\n"));
    text
}

/// A moment, and how far away it is.
fn moment(seconds: f64, now: u64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "beyond the range it is not a moment")]
    let at = OffsetDateTime::from_unix_timestamp(seconds as i64).ok();
    let Some(at) = at.and_then(|at| at.format(&Rfc3339).ok()) else {
        return format!("{seconds} s after 1970");
    };
    let away = human_duration(Duration::from_secs_f64((seconds - now as f64).abs().min(1e12)));
    let side = if seconds < now as f64 { format!("{away} ago") } else { format!("in {away}") };
    format!("{at} ({side})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_parts_patterns_unless_it_is_meant() {
        assert_eq!(split("a.*,b.*"), ["a.*", "b.*"]);
        assert_eq!(split("a\\,b,c\\\\,d"), ["a\\,b", "c\\\\", "d"]);
        assert_eq!(split(" read , update "), ["read", "update"]);
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_refused() {
        for text in ["", "app.[a", "[]", "a\\", "app/*"] {
            assert!(check_pattern(text).is_err(), "{text}");
        }
        for text in ["*", "app.*", "{a,b}", "[^z]?", "\\*"] {
            assert_eq!(check_pattern(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_token_has_an_end_unless_that_is_asked_for() {
        assert_eq!(expiry("1h"), Ok(Expiry::After(Duration::from_secs(3600))));
        assert_eq!(expiry("7d"), Ok(Expiry::After(Duration::from_secs(7 * 86_400))));
        assert_eq!(expiry("never"), Ok(Expiry::Never));
        for text in ["0", "0s", "-1h", "", "soon", "1.5h"] {
            assert!(expiry(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_whose_time_is_over_or_has_not_come_is_not_good() {
        let claims =
            Claims { not_before: Some(1000.0), expires: Some(2000.0), ..Claims::default() };
        // With the tolerance for clock differences.
        for (now, good) in [(0, false), (969, false), (970, true), (2029, true), (2030, false)] {
            assert_eq!(outcome(&claims, &Ok(None), now) == Outcome::Done, good, "{now}");
        }
        let forged = outcome(&claims, &Err(TokenError::Signature), 1500);
        assert_eq!(forged, Outcome::SomeFailed);
    }

    #[test]
    fn a_token_is_shown_line_by_line() {
        let claims = Claims {
            namespaces: vec!["app.*".into(), "*".into(), "[".into()],
            ops: vec!["read".into(), "update".into()],
            issued_at: Some(1_795_353_600.0),
            not_before: None,
            expires: Some(1_795_357_200.0),
        };
        insta::assert_snapshot!(text(&claims, &Err(TokenError::Signature), 1_795_355_400), @r"
        namespace: app.*
        namespace: *  (and lists)
        namespace: [  (matches nothing)
        ops: read, update
        issued: 2026-11-22T13:20:00Z (30m00s ago)
        expires: 2026-11-22T14:20:00Z (in 30m00s)
        signature: signature is invalid
        ");
        let everlasting = text(&Claims { expires: Some(1e300), ..Claims::default() }, &Ok(None), 0);
        assert!(everlasting.contains("s after 1970"), "{everlasting}");
    }
}
