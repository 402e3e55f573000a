//! `GET` and `POST /metrics`: the list of metrics, as the Go tool asks for it.
//!
//! A request that cannot be read is refused. It is never taken for one without parameters, which would mean
//! all metrics. While there is no list, the answer is 202 and the client asks again, unless go-carbon's list
//! of files (`-cache_path`) replaces it. During a rescan the old list is served. `force` has its own module.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::routing::any;
use bucky_api::go::NOT_READY_BODY;
use bucky_api::paths;
use bucky_whisper::Digest;
use regex::Regex;
use serde::de::DeserializeSeed;

use super::answer::PlainAnswer;
use super::force::OwedScans;
use super::form::{Form, FormBodyError};
use super::json_array::JsonArray;
use super::names::ListedNames;
use crate::app::App;
use crate::blocking::{BodyWriter, blocking};
use crate::http::body::BodyError;
use crate::http::{lines, query};
use crate::inventory::{Inventory, List, Span};
use crate::memory::Budget;
use crate::transfers::{NoPermit, Permit, Transfers};

/// A body must be shorter than this.
const BODY_LIMIT_BYTES: u64 = 160 * 1024 * 1024;
/// How long a forced request waits for its scan. It is less than the Go client waits for an answer (30 s).
const SCAN_WAIT: Duration = Duration::from_secs(20);
/// The number of folders that the scan could not read. Files below them are not in the list.
const UNREADABLE_HEADER: &str = "x-bucky-unreadable-folders";

pub(super) fn routes() -> Router<Arc<App>> {
    let owed = Arc::new(OwedScans::default());
    let answer = move |State(app): State<Arc<App>>, request: Request| {
        let owed = Arc::clone(&owed);
        async move { answer(app, &owed, request).await }
    };
    Router::new().route(paths::METRICS, any(answer))
}

async fn answer(
    app: Arc<App>,
    owed: &OwedScans,
    request: Request,
) -> Result<Response, PlainAnswer> {
    if !matches!(*request.method(), Method::GET | Method::POST) {
        return Err(PlainAnswer::bad_request("Bad request method."));
    }
    if request.body().size_hint().lower() >= BODY_LIMIT_BYTES {
        return Err(too_long());
    }
    let is_post = *request.method() == Method::POST;
    let mut form = read_form(request, &app.memory.receiving).await?;
    // Held until the answer is sent, because the request's list is in memory until then.
    let share = form.take_share();
    // After the body, so that a slow sender holds no permit.
    let list_permit = match is_post {
        true => Some(app.transfers.receive_list().await.map_err(no_permit)?),
        false => None,
    };
    let mut question = Question::of(form)?;
    let list = if question.force {
        forced_list(&app.inventory, owed, question.digest(), SCAN_WAIT).await?
    } else {
        current_list(&app.inventory).await?
    };
    let regex = question.compile(&app.transfers).await?;
    let permit = app.transfers.answer().await.map_err(no_permit)?;
    let work = move || -> Result<_, PlainAnswer> {
        let wanted = question.wanted(&list, regex)?;
        Ok((wanted, list, app.inventory.status().unreadable_folders))
    };
    let (wanted, list, unreadable) = blocking(work).await??;
    let mut response = lines::stream(permit, "application/json", move |writer| {
        let _held = (list_permit, share);
        wanted.write(&list, writer)
    });
    if unreadable > 0 {
        response.headers_mut().insert(UNREADABLE_HEADER, HeaderValue::from(unreadable));
    }
    Ok(response)
}

/// The Go client asks again only after a 202.
fn no_permit(error: NoPermit) -> PlainAnswer {
    match error {
        NoPermit::InUse { .. } | NoPermit::NotInTime { .. } => in_progress(),
        NoPermit::Stopping | NoPermit::Panicked(_) => error.into(),
    }
}

async fn read_form(request: Request, budget: &Budget) -> Result<Form, PlainAnswer> {
    let limit = usize::try_from(BODY_LIMIT_BYTES - 1).unwrap_or(usize::MAX);
    Form::read(request, limit, budget).await.map_err(|error| match error {
        FormBodyError::Body(BodyError::TooLong { .. }) => too_long(),
        FormBodyError::Body(BodyError::NoMemory(_)) => in_progress(),
        error => error.into(),
    })
}

fn too_long() -> PlainAnswer {
    PlainAnswer::bad_request("Query larger than 160MiB")
}

/// The parameters of a request.
struct Question {
    regex: Option<String>,
    /// A JSON array of names.
    list: Option<String>,
    force: bool,
}

impl Question {
    /// An empty regular expression or list is refused. The Go daemon ignores it, which means all metrics.
    fn of(mut form: Form) -> Result<Self, PlainAnswer> {
        let (regex, list) = (form.take("regex"), form.take("list"));
        for (name, value) in [("regex", &regex), ("list", &list)] {
            if value.as_deref() == Some("") {
                return Err(PlainAnswer::bad_request(format!(
                    "{name}= is empty: it would match every metric; leave the parameter out to ask for all"
                )));
            }
        }
        let force = form.get("force").is_some_and(|force| !force.is_empty());
        Ok(Self { regex, list, force })
    }

    /// Equal questions have equal digests.
    fn digest(&self) -> Digest {
        let mut text = Vec::new();
        for part in [&self.regex, &self.list] {
            text.push(u8::from(part.is_some()));
            let digest = Digest::of(part.as_deref().unwrap_or_default().as_bytes());
            text.extend_from_slice(digest.to_string().as_bytes());
        }
        Digest::of(&text)
    }

    /// The compiled regular expression, and its permit.
    async fn compile(
        &mut self,
        transfers: &Transfers,
    ) -> Result<Option<(Regex, Permit)>, PlainAnswer> {
        let Some(text) = self.regex.take() else { return Ok(None) };
        let permit = transfers.pattern().await.map_err(no_permit)?;
        let regex = transfers.compile(move || query::compile_regex(&text)).await;
        let regex = regex.map_err(no_permit)?.map_err(|error| {
            // The last line says what is wrong. The lines before it only point at the place.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            let last = last.strip_prefix("error: ").unwrap_or(last);
            PlainAnswer::bad_request(format!("error parsing regexp: {last}"))
        })?;
        Ok(Some((regex, permit)))
    }

    /// Which names of `list` are in the answer. Requested names that are not in it are dropped as they are
    /// read, so a request takes no more memory than its text and what it finds.
    fn wanted(
        self,
        list: &List,
        regex: Option<(Regex, Permit)>,
    ) -> Result<SelectedNames, PlainAnswer> {
        let Some(json) = self.list else { return Ok(SelectedNames { regex, names: None }) };
        let mut reader = serde_json::Deserializer::from_str(&json);
        let names = ListedNames(list).deserialize(&mut reader);
        let names = names.and_then(|names| reader.end().map(|()| names)).map_err(|error| {
            PlainAnswer::bad_request(format!("list= is not a JSON array of strings: {error}"))
        })?;
        Ok(SelectedNames { regex, names: Some(names) })
    }
}

/// The list, or a provisional one, or the answer that the scan runs.
async fn current_list(inventory: &Arc<Inventory>) -> Result<List, PlainAnswer> {
    let inventory = Arc::clone(inventory);
    blocking(move || inventory.list_or_provisional().ok_or_else(|| not_ready(&inventory))).await?
}

/// The list of a scan that began after `question` was first asked.
async fn forced_list(
    inventory: &Arc<Inventory>,
    owed: &OwedScans,
    question: Digest,
    wait: Duration,
) -> Result<List, PlainAnswer> {
    let scan = owed.owed(question, Instant::now()).unwrap_or_else(|| inventory.request());
    if tokio::time::timeout(wait, inventory.wait_for(scan)).await.is_err() {
        owed.owe(question, scan, Instant::now());
        return Err(in_progress());
    }
    owed.settle(question);
    let inventory = Arc::clone(inventory);
    blocking(move || inventory.list_of(scan).ok_or_else(|| not_ready(&inventory))).await?
}

/// Why there is no list: the scan runs, or it failed. In the second case a 202 would be repeated forever.
fn not_ready(inventory: &Inventory) -> PlainAnswer {
    match inventory.status().problem.as_str() {
        "" => in_progress(),
        problem => PlainAnswer::internal(format!("there is no list of metrics: {problem}")),
    }
}

fn in_progress() -> PlainAnswer {
    PlainAnswer::new(StatusCode::ACCEPTED, NOT_READY_BODY.trim_end())
}

/// The names in the answer.
struct SelectedNames {
    regex: Option<(Regex, Permit)>,
    /// The names that were requested and exist.
    names: Option<BTreeSet<String>>,
}

impl SelectedNames {
    fn write(&self, list: &List, writer: &mut BodyWriter) -> io::Result<()> {
        let mut array = JsonArray::new(writer);
        array.begin()?;
        match &self.names {
            Some(names) => {
                let mut wanted = names.iter().filter(|name| self.matches(name));
                wanted.try_for_each(|name| array.push(name))?;
            }
            None => {
                let ended = list.walk(Span::default(), |name| {
                    if !self.matches(name) {
                        return ControlFlow::Continue(());
                    }
                    array.push(name).map_or_else(ControlFlow::Break, ControlFlow::Continue)
                });
                ended.break_value().map_or(Ok(()), Err)?;
            }
        }
        array.end()
    }

    fn matches(&self, name: &str) -> bool {
        self.regex.as_ref().is_none_or(|(regex, _)| regex.is_match(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(regex: Option<&str>, list: Option<&str>) -> Question {
        Question { regex: regex.map(Into::into), list: list.map(Into::into), force: false }
    }

    #[test]
    fn only_equal_questions_have_equal_digests() {
        let questions = [
            question(None, None),
            question(Some("a"), None),
            question(None, Some("a")),
            question(Some("a"), Some("a")),
            question(Some("b"), None),
        ];
        let digests: BTreeSet<_> = questions.iter().map(Question::digest).collect();
        assert_eq!(digests.len(), questions.len());
        assert_eq!(questions[1].digest(), question(Some("a"), None).digest());
    }

    async fn list_of(names: &[&str]) -> List {
        let prefix = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| {
            std::fs::write(prefix.path().join(name).with_extension("wsp"), b"").unwrap();
        });
        let inventory = Arc::new(Inventory::new(prefix.path(), Duration::from_secs(60)));
        let scanner = tokio::spawn(Arc::clone(&inventory).run());
        inventory.wait_for(1).await;
        scanner.abort();
        inventory.list().unwrap()
    }

    #[tokio::test]
    async fn a_list_is_an_array_of_names_and_nothing_else() {
        let list = list_of(&["a", "b", "c"]).await;
        let names = |text| {
            let wanted = question(None, Some(text)).wanted(&list, None);
            wanted.map(|wanted| wanted.names.unwrap())
        };
        // A name that does not exist is not kept, however often it is requested.
        let wanted = names(r#"["b","\u0061","b",null,"x"]"#).unwrap();
        assert_eq!(wanted, ["a", "b"].map(String::from).into());
        assert!(names("[]").unwrap().is_empty());
        assert!(names("null").unwrap().is_empty());
        for bad in ["{}", "[1]", "[\"a\"", "x", "[\"a\"] x", "\"a\""] {
            assert_eq!(names(bad).unwrap_err().status(), 400, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_bad_regular_expression_is_explained_in_one_line() {
        let (_stop, stopping) = tokio::sync::watch::channel(false);
        let transfers = Transfers::new(1, stopping);
        let error = question(Some("("), None).compile(&transfers).await.err().unwrap();
        assert!(format!("{error:?}").contains("error parsing regexp: unclosed group"), "{error:?}");
    }

    #[tokio::test]
    async fn d18_a_forced_list_is_never_older_than_the_question_and_a_retry_starts_no_second_scan()
    {
        let prefix = tempfile::tempdir().unwrap();
        let inventory = Arc::new(Inventory::new(prefix.path(), Duration::from_secs(60)));
        let owed = OwedScans::default();
        let question = Digest::of(b"question");
        let short = Duration::from_millis(5);
        // No scanner runs, so the scan never ends, however often it is requested.
        for _ in 0..3 {
            let answer = forced_list(&inventory, &owed, question, short).await;
            assert_eq!(answer.err().unwrap().status(), StatusCode::ACCEPTED);
        }
        assert_eq!(owed.owed(question, Instant::now()), Some(1));
        std::fs::write(prefix.path().join("new.wsp"), b"").unwrap();
        let scanner = tokio::spawn(Arc::clone(&inventory).run());
        let long = Duration::from_secs(30);
        let list = forced_list(&inventory, &owed, question, long).await.unwrap();
        assert!(list.contains("new"));
        assert!(inventory.list_of(2).is_none(), "the retry was answered from the scan it was owed");
        // Requested again, it is a new question.
        std::fs::write(prefix.path().join("newer.wsp"), b"").unwrap();
        let list = forced_list(&inventory, &owed, question, long).await.unwrap();
        assert!(list.contains("newer"));
        scanner.abort();
    }

    #[tokio::test]
    async fn d22_a_prefix_that_cannot_be_read_is_an_error_and_not_an_empty_list_nor_202_for_ever() {
        let inventory =
            Arc::new(Inventory::new(std::path::Path::new("/nowhere/at/all"), Duration::ZERO));
        let scanner = tokio::spawn(Arc::clone(&inventory).run());
        inventory.wait_for(1).await;
        let plain = current_list(&inventory).await.err().unwrap();
        let owed = OwedScans::default();
        let forced = forced_list(&inventory, &owed, Digest::of(b""), Duration::from_secs(30)).await;
        for answer in [plain, forced.err().unwrap()] {
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert!(format!("{answer:?}").contains("/nowhere/at/all"));
        }
        scanner.abort();
    }
}
