//! Parameters of the Go tool's routes, from the query and from a form in the body.
//!
//! They are read strictly: what cannot be read is an error. The Go daemon treats it as absent. So a list of
//! metrics that is damaged or too long means all metrics, even if they are to be deleted.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, header, request::Parts};
use bucky_api::go::FORM;
use bytes::Bytes;

use super::answer::PlainAnswer;
use super::path::{self, BadEscape};
use crate::http::body::{self, BodyError, HeldBody};
use crate::memory::{Budget, Share};

/// The most parameters. A request has at most four, and each takes many times its length in memory.
const PARAMETERS_MOST: usize = 1000;
const MULTIPART: &str = "multipart/form-data";

/// Why parameters cannot be read.
#[derive(Debug, thiserror::Error)]
enum FormError {
    /// A `%` that is not followed by two digits.
    #[error("{part} cannot be read: {source}")]
    Escape { part: &'static str, source: BadEscape },
    /// A `;`, which some readers take for a separator and others for a part of the value.
    #[error("{part} cannot be read: invalid semicolon separator; write it as %3B")]
    Semicolon { part: &'static str },
    /// Bytes that are not UTF-8.
    #[error("{part} cannot be read: it is not UTF-8")]
    NotUtf8 { part: &'static str },
    /// More than any request has.
    #[error("{part} cannot be read: it has more than {PARAMETERS_MOST} parameters")]
    TooMany { part: &'static str },
    /// A malformed multipart body.
    #[error("the multipart body cannot be read: {0}")]
    Multipart(#[from] multer::Error),
    /// A body of a type that has no parameters.
    #[error("cannot read parameters from a body of type {found:?}; send {FORM} or {MULTIPART}")]
    Type { found: String },
}

impl From<FormError> for PlainAnswer {
    fn from(error: FormError) -> Self {
        // The messages contain their sources: they are one line either way.
        Self::bad_request(error)
    }
}

/// How many times the length of its body a form takes in memory: as it arrived, as a part, and as a
/// parameter.
const READ_TIMES: u64 = 3;

/// The parameters of a request. Those of the body come before those of the query.
#[derive(Debug, Default)]
pub(super) struct Form {
    parameters: Vec<(String, String)>,
    share: Share,
}

impl Form {
    /// The parameters of the query alone.
    pub(super) fn of_query(query: Option<&str>) -> Result<Self, PlainAnswer> {
        let parameters = parse(query.unwrap_or_default().as_bytes(), "the query")?;
        Ok(Self { parameters, share: Share::default() })
    }

    /// The parameters of the query and the body. Only the body of a POST or PUT is read, at most
    /// `limit_bytes`. A body that is not a form must be empty.
    pub(super) async fn read(
        request: Request,
        limit_bytes: usize,
        budget: &Budget,
    ) -> Result<Self, FormBodyError> {
        let (parts, body) = request.into_parts();
        let mut form = of_body(&parts, body, limit_bytes, budget).await?;
        form.parameters.append(&mut Self::of_query(parts.uri.query())?.parameters);
        Ok(form)
    }

    /// The share of the memory for its parameters, to be held as long as they are.
    pub(super) fn take_share(&mut self) -> Share {
        std::mem::take(&mut self.share)
    }

    /// The value of `name`. The first one counts.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Moves the value of `name` out of the form. It may be long.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let parameter = self.parameters.iter_mut().find(|(key, _)| key == name);
        parameter.map(|(_, value)| std::mem::take(value))
    }
}

/// Why there is no form: the body did not arrive, or its content is invalid.
#[derive(Debug)]
pub(super) enum FormBodyError {
    Body(BodyError),
    Content(PlainAnswer),
}

impl From<FormError> for FormBodyError {
    fn from(error: FormError) -> Self {
        Self::Content(error.into())
    }
}

impl From<PlainAnswer> for FormBodyError {
    fn from(answer: PlainAnswer) -> Self {
        Self::Content(answer)
    }
}

impl From<FormBodyError> for PlainAnswer {
    fn from(error: FormBodyError) -> Self {
        match error {
            FormBodyError::Body(error) => error.into(),
            FormBodyError::Content(answer) => answer,
        }
    }
}

async fn of_body(
    parts: &Parts,
    body: Body,
    limit_bytes: usize,
    budget: &Budget,
) -> Result<Form, FormBodyError> {
    if !matches!(parts.method, Method::POST | Method::PUT) {
        return Ok(Form::default());
    }
    let content_type = content_type(&parts.headers);
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let is_multipart = media_type.eq_ignore_ascii_case(MULTIPART);
    if is_multipart || media_type.eq_ignore_ascii_case(FORM) {
        let held = body::read(body, limit_bytes, budget).await.map_err(FormBodyError::Body)?;
        let HeldBody { bytes, mut share } = held;
        let more = budget.share(bytes.len() as u64 * (READ_TIMES - 1)).await;
        share.add(more.map_err(|error| FormBodyError::Body(BodyError::NoMemory(error)))?);
        let parameters = if is_multipart {
            parse_multipart(bytes, &content_type).await?
        } else {
            parse(&bytes, "the form")?
        };
        return Ok(Form { parameters, share });
    }
    match body::read(body, 0, budget).await {
        Ok(_) => Ok(Form::default()),
        Err(BodyError::TooLong { .. }) => Err(FormError::Type { found: content_type }.into()),
        Err(error) => Err(FormBodyError::Body(error)),
    }
}

fn content_type(headers: &HeaderMap) -> String {
    headers
        .get(header::CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .unwrap_or_default()
}

/// The pairs of `name=value&name=value`. `part` names the source of the text in errors.
fn parse(text: &[u8], part: &'static str) -> Result<Vec<(String, String)>, FormError> {
    let pairs = text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    if pairs.clone().nth(PARAMETERS_MOST).is_some() {
        return Err(FormError::TooMany { part });
    }
    pairs
        .map(|pair| {
            if pair.contains(&b';') {
                return Err(FormError::Semicolon { part });
            }
            let split = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = pair.split_at(split);
            let value = value.strip_prefix(b"=").unwrap_or_default();
            Ok((unescape(name, part)?, unescape(value, part)?))
        })
        .collect()
}

fn unescape(text: &[u8], part: &'static str) -> Result<String, FormError> {
    let decoded = path::decode_form(text).map_err(|source| FormError::Escape { part, source })?;
    String::from_utf8(decoded).map_err(|_| FormError::NotUtf8 { part })
}

async fn parse_multipart(
    bytes: Vec<u8>,
    content_type: &str,
) -> Result<Vec<(String, String)>, FormError> {
    let boundary = multer::parse_boundary(content_type)?;
    let whole = Bytes::from(bytes);
    let stream = futures_util::stream::once(async { Ok::<_, std::convert::Infallible>(whole) });
    let mut multipart = multer::Multipart::new(stream, boundary);
    let mut pairs = Vec::new();
    while let Some(field) = multipart.next_field().await? {
        if pairs.len() == PARAMETERS_MOST {
            return Err(FormError::TooMany { part: "the multipart body" });
        }
        let name = field.name().unwrap_or_default().to_owned();
        let value = String::from_utf8(field.bytes().await?.into())
            .map_err(|_| FormError::NotUtf8 { part: "the multipart body" })?;
        pairs.push((name, value));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, content_type: &str, query: &str, body: &str) -> Request {
        Request::builder()
            .method(method)
            .uri(format!("/metrics{query}"))
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::from(body.to_owned()))
            .unwrap()
    }

    async fn read(request: Request) -> Result<Form, String> {
        let budget = crate::memory::Memory::new(96 << 20).receiving;
        Form::read(request, 1000, &budget).await.map_err(|error| match error {
            FormBodyError::Body(error) => error.to_string(),
            FormBodyError::Content(answer) => format!("{answer:?}"),
        })
    }

    #[tokio::test]
    async fn the_body_goes_before_the_query_and_the_first_value_counts() {
        for content_type in [FORM, "Application/X-www-form-urlencoded; charset=utf-8"] {
            let request =
                request(Method::POST, content_type, "?a=1&b=2", "a=3&a=4&c=%20x+y%2B&d&&=e");
            let mut form = read(request).await.unwrap();
            assert_eq!(form.get("a"), Some("3"));
            assert_eq!(form.get("b"), Some("2"));
            assert_eq!(form.take("c").as_deref(), Some(" x y+"));
            assert_eq!((form.get("d"), form.get("e")), (Some(""), None));
        }
        let get = read(request(Method::GET, FORM, "?a=1", "a=3")).await.unwrap();
        assert_eq!(get.get("a"), Some("1"));
    }

    #[tokio::test]
    async fn a_multipart_form_is_read_as_any_other() {
        let body =
            "--XX\r\nContent-Disposition: form-data; name=\"list\"\r\n\r\n[\"a;%b\"]\r\n--XX--\r\n";
        let content_type = "multipart/form-data; boundary=XX";
        let form = read(request(Method::POST, content_type, "?list=x", body)).await.unwrap();
        assert_eq!(form.get("list"), Some("[\"a;%b\"]"));
        for cut in [body.len() - 8, body.len() - 20, 10] {
            let cut = request(Method::POST, content_type, "", &body[..cut]);
            assert!(read(cut).await.unwrap_err().contains("multipart"));
        }
        let without = request(Method::POST, "multipart/form-data", "", body);
        assert!(read(without).await.unwrap_err().contains("multipart"));
    }

    #[tokio::test]
    async fn d1_an_unreadable_parameter_is_an_error_and_never_an_absent_one() {
        for (content_type, query, body, said) in [
            (FORM, "", "list=%zz", "invalid URL escape \\\"%zz\\\""),
            (FORM, "?list=%5", "", "the query cannot be read"),
            (FORM, "?list=a;b", "", "semicolon"),
            (FORM, "", "a=1;list=2", "semicolon"),
            (FORM, "", "list=%ff", "not UTF-8"),
            ("application/json", "", "[\"a\"]", "application/json"),
            ("", "", "list=x", "cannot read parameters"),
        ] {
            let error = read(request(Method::POST, content_type, query, body)).await.unwrap_err();
            assert!(error.contains(said), "{body}: {error}");
        }
        for (query, body) in [("?", "x&".repeat(1001)), ("?a", "x".into())] {
            let query = format!("{query}{}", "&x=y".repeat(1001));
            let many = request(Method::POST, FORM, &query, &body[..body.len().min(900)]);
            assert!(read(many).await.unwrap_err().contains("more than 1000 parameters"));
        }
        let long = request(Method::POST, FORM, "", &"x".repeat(1001));
        assert!(read(long).await.unwrap_err().contains("more than 1000 bytes"));
        let empty = request(Method::POST, "application/json", "?a=1", "");
        assert_eq!(read(empty).await.unwrap().get("a"), Some("1"));
    }
}
