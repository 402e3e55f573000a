//! What a token says: its claims, written and read.

use serde_json::{Map, Value, json};

use super::{LEEWAY_SECONDS, TokenError};

/// The claims that are used. Times are Unix seconds, with fractions if the signer wrote some.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims {
    /// Patterns of names.
    pub namespaces: Vec<String>,
    /// Names of operations; `*` means all.
    pub ops: Vec<String>,
    /// When it was signed. It is shown, and has no effect.
    pub issued_at: Option<f64>,
    /// The time from which it is valid.
    pub not_before: Option<f64>,
    /// The time until which it is valid. `None` means forever.
    pub expires: Option<f64>,
}

/// Why claims cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// Not a JSON object.
    #[error("the claims of the token are not a JSON object")]
    NotAnObject,
    /// A claim of a wrong type.
    #[error("claim {claim} of the token is {found}, not {wanted}")]
    BadType {
        /// The claim.
        claim: &'static str,
        /// The type it has.
        found: &'static str,
        /// The type it must have.
        wanted: &'static str,
    },
    /// The same claim in two spellings: which one counts would be undefined.
    #[error("claim {0} occurs more than once in the token")]
    Twice(&'static str),
}

impl Claims {
    /// Reads the payload of a token. Names of claims match in any letter case, as in the Go tool. Other
    /// claims are ignored.
    ///
    /// # Errors
    /// [`ClaimsError`].
    pub fn parse(payload: &[u8]) -> Result<Self, ClaimsError> {
        let Ok(Value::Object(object)) = serde_json::from_slice(payload) else {
            return Err(ClaimsError::NotAnObject);
        };
        Ok(Self {
            namespaces: strings(&object, "namespaces")?,
            ops: strings(&object, "ops")?,
            issued_at: seconds(&object, "iat")?,
            not_before: seconds(&object, "nbf")?,
            expires: seconds(&object, "exp")?,
        })
    }

    /// The payload of a token.
    pub fn to_json(&self) -> String {
        let mut object = json!({ "namespaces": self.namespaces, "ops": self.ops });
        let times = [("iat", self.issued_at), ("nbf", self.not_before), ("exp", self.expires)];
        for (claim, seconds) in times {
            let Some(seconds) = seconds else { continue };
            // Whole seconds are written without a fraction, because some readers accept nothing else.
            #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
            let value = match seconds.fract() == 0.0 && seconds.abs() < 9e15 {
                true => json!(seconds as i64),
                false => json!(seconds),
            };
            object[claim] = value;
        }
        object.to_string()
    }

    /// Whether the token is valid at `now` (Unix seconds), with a tolerance of [`LEEWAY_SECONDS`].
    ///
    /// # Errors
    /// [`TokenError::Expired`] or [`TokenError::NotYet`].
    pub fn check_time(&self, now: u64) -> Result<(), TokenError> {
        let (now, leeway) = (now as f64, LEEWAY_SECONDS as f64);
        if self.expires.is_some_and(|expires| now >= expires + leeway) {
            return Err(TokenError::Expired);
        }
        if self.not_before.is_some_and(|not_before| now + leeway < not_before) {
            return Err(TokenError::NotYet);
        }
        Ok(())
    }
}

/// The claim `name`. `None` if it is absent or `null`.
fn find<'a>(
    object: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a Value>, ClaimsError> {
    let mut found = object.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
    let first = found.next().map(|(_, value)| value);
    if found.next().is_some() {
        return Err(ClaimsError::Twice(name));
    }
    Ok(first.filter(|value| !value.is_null()))
}

fn strings(object: &Map<String, Value>, claim: &'static str) -> Result<Vec<String>, ClaimsError> {
    let bad =
        |value| ClaimsError::BadType { claim, found: kind(value), wanted: "an array of strings" };
    let Some(value) = find(object, claim)? else { return Ok(Vec::new()) };
    let values = value.as_array().ok_or_else(|| bad(value))?;
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(ClaimsError::BadType {
            claim,
            found: "an array with something else",
            wanted: "an array of strings",
        }),
    };
    values.iter().map(text).collect()
}

fn seconds(object: &Map<String, Value>, claim: &'static str) -> Result<Option<f64>, ClaimsError> {
    let Some(value) = find(object, claim)? else { return Ok(None) };
    let bad = || ClaimsError::BadType { claim, found: kind(value), wanted: "a number of seconds" };
    value.as_f64().map(Some).ok_or_else(bad)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
