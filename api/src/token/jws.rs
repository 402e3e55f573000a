//! The form of a token: three segments of base64. The last is an HMAC-SHA-256 of the first two (RFC 7515,
//! compact).
//!
//! The header does not choose the algorithm: if it does not say HS256, the token is refused. The claims are
//! read only after the signature was verified.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use super::{Claims, ClaimsError, TOKEN_LIMIT_BYTES, Token, TokenTextError};

/// The header of every token that is made here: `{"alg":"HS256","typ":"JWT"}`.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
/// A secret that is shorter than the hash gives less safety than the hash could (RFC 7518, section 3.2).
const SHORT_BYTES: usize = 32;

/// The key that signs tokens. It is never shown.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// The secret is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is empty or only white space, which protects nothing")]
pub struct SecretError;

/// Why a token is refused. The texts are the Go tool's if it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three segments, or no token at all.
    #[error("token contains an invalid number of segments")]
    Segments,
    /// A scheme stands before the token.
    #[error("tokenstring should not contain 'bearer '")]
    Bearer,
    /// Longer than any token.
    #[error("token has more than {TOKEN_LIMIT_BYTES} bytes")]
    TooLong,
    /// A segment is not base64 for URLs, without padding.
    #[error("illegal base64 data at input byte {0}")]
    Base64(usize),
    /// The first segment is not a JSON object.
    #[error("the header of the token is not a JSON object")]
    Header,
    /// The header asks for something that is not supported (RFC 7515, section 4.1.11).
    #[error("the header of the token has crit, which is not supported")]
    Critical,
    /// No algorithm is named.
    #[error("signing method (alg) is unspecified.")]
    NoAlgorithm,
    /// It is not signed.
    #[error("'none' signature type is not allowed")]
    Unsigned,
    /// It is signed with a secret, but by another hash.
    #[error("signing method {0} is not supported; sign with HS256")]
    OtherHash(&'static str),
    /// It is signed with a key pair.
    #[error("key is of invalid type")]
    PublicKey,
    /// An unknown algorithm.
    #[error("signing method (alg) is unavailable.")]
    UnknownAlgorithm,
    /// It is signed with another secret, or it was changed.
    #[error("signature is invalid")]
    Signature,
    /// The claims cannot be read.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// It has expired.
    #[error("token is expired")]
    Expired,
    /// It is not valid yet.
    #[error("token is not valid yet")]
    NotYet,
}

impl Secret {
    /// The secret in the content of a file, without the white space around it.
    ///
    /// # Errors
    /// [`SecretError`] if nothing is left.
    pub fn new(content: &[u8]) -> Result<Self, SecretError> {
        let trimmed = without_space_around(content);
        if trimmed.is_empty() { Err(SecretError) } else { Ok(Self(trimmed.to_vec())) }
    }

    /// Whether it is shorter than it should be. Anyone who has a token can try secrets until one fits.
    pub fn is_short(&self) -> bool {
        self.0.len() < SHORT_BYTES
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// [`TokenTextError::TooLong`] if no daemon would read it.
    pub fn sign(&self, claims: &Claims) -> Result<Token, TokenTextError> {
        let mut text = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(claims.to_json()));
        let signature = self.mac(text.as_bytes()).finalize().into_bytes();
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        Token::parse(text.as_bytes())
    }

    /// Whether `signature` is the signature of `signed`. The comparison takes constant time.
    fn has_signed(&self, signed: &[u8], signature: &[u8]) -> bool {
        self.mac(signed).verify_slice(signature).is_ok()
    }

    fn mac(&self, signed: &[u8]) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104)")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes any key");
        mac.update(signed);
        mac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// `content` without the Unicode white space at its ends, as the Go tool trims it, even if the rest is not
/// UTF-8, such as a secret of random bytes. One byte more or less would make another secret from the same
/// file.
fn without_space_around(content: &[u8]) -> &[u8] {
    let is_space = |bytes: &[u8]| {
        let mut chars = std::str::from_utf8(bytes).unwrap_or_default().chars();
        chars.next().is_some_and(char::is_whitespace) && chars.next().is_none()
    };
    let mut rest = content;
    loop {
        let lengths = 1..=rest.len().min(3);
        let split_first = |len| rest.split_at_checked(len).filter(|(head, _)| is_space(head));
        let split_last = |len: usize| {
            let (head, tail) = rest.split_at_checked(rest.len().checked_sub(len)?)?;
            is_space(tail).then_some((tail, head))
        };
        let split = lengths.clone().find_map(split_first);
        match split.or_else(|| lengths.clone().find_map(split_last)) {
            Some((_, without)) => rest = without,
            None => return rest,
        }
    }
}

/// The claims of `token`, which must be signed with one of `secrets`. Its times are not checked.
pub(super) fn verified(token: &[u8], secrets: &[Secret]) -> Result<Claims, TokenError> {
    let Segments { signed, payload, signature } = Segments::of(token)?;
    // All secrets are tried, so that the time taken does not reveal which one fits.
    let fits =
        secrets.iter().fold(false, |fits, secret| secret.has_signed(signed, &signature) | fits);
    if !fits {
        return Err(TokenError::Signature);
    }
    Ok(Claims::parse(&payload)?)
}

/// The claims of `token` without a check of its signature. They can be shown, and must not be trusted.
///
/// # Errors
/// [`TokenError`].
pub fn payload(token: &[u8]) -> Result<Claims, TokenError> {
    Ok(Claims::parse(&Segments::of(token)?.payload)?)
}

/// The parts of a token.
struct Segments<'a> {
    signed: &'a [u8],
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Segments<'a> {
    fn of(token: &'a [u8]) -> Result<Self, TokenError> {
        if token.len() > TOKEN_LIMIT_BYTES {
            return Err(TokenError::TooLong);
        }
        let mut segments = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(TokenError::Segments);
        };
        if token.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer ")) {
            return Err(TokenError::Bearer);
        }
        check_header(&decode(header)?)?;
        Ok(Self {
            signed: token.get(..header.len() + 1 + payload.len()).unwrap_or_default(),
            payload: decode(payload)?,
            signature: decode(signature)?,
        })
    }
}

fn decode(segment: &[u8]) -> Result<Vec<u8>, TokenError> {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| {
        // The first letter outside the alphabet. If there is none, the end is incomplete.
        let at = segment.iter().position(|byte| !is_letter(byte));
        TokenError::Base64(at.unwrap_or(segment.len()))
    })
}

fn check_header(header: &[u8]) -> Result<(), TokenError> {
    let Ok(Value::Object(header)) = serde_json::from_slice(header) else {
        return Err(TokenError::Header);
    };
    if header.contains_key("crit") {
        return Err(TokenError::Critical);
    }
    let Some(Value::String(algorithm)) = header.get("alg") else {
        return Err(TokenError::NoAlgorithm);
    };
    Err(match algorithm.as_str() {
        "HS256" => return Ok(()),
        "HS384" => TokenError::OtherHash("HS384"),
        "HS512" => TokenError::OtherHash("HS512"),
        "none" => TokenError::Unsigned,
        "RS256" | "RS384" | "RS512" | "ES256" | "ES384" | "ES512" | "PS256" | "PS384" | "PS512"
        | "EdDSA" => TokenError::PublicKey,
        _ => TokenError::UnknownAlgorithm,
    })
}
