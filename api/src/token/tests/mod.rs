//! The tables of the contract, and what the Go tool accepts that is refused here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use self::patterns::matches;
use super::*;

mod patterns;

const NOW: u64 = 1_795_353_600;

fn secret() -> Secret {
    Secret::new(b" a secret of more than thirty-two bytes \n").unwrap()
}

/// A token with this header and this payload and a valid signature.
fn token(header: &str, payload: &str) -> Vec<u8> {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let key = b"a secret of more than thirty-two bytes";
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(signed.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{signed}.{signature}").into_bytes()
}

fn verify(token: &[u8]) -> Result<Grant, TokenError> {
    Grant::verify(token, &[secret()], NOW)
}

/// D10: the Go tool skips a malformed pattern without a message.
#[test]
fn d10_a_malformed_pattern_matches_nothing_and_a_refusal_names_it() {
    for (pattern, said) in [
        ("app.[a", "without ]"),
        ("[]", "empty"),
        ("[]a]", "empty"),
        ("[^]", "empty"),
        ("app\\", "backslash"),
        ("[a-]", "empty"),
        ("[-a]", "no character on one side"),
        ("[a\\", "without ]"),
        ("[", "without ]"),
    ] {
        let error = pattern.parse::<Pattern>().unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert!(!matches(pattern, "app.a") && !matches(pattern, pattern));
    }
    let claims = Claims {
        namespaces: vec!["app.[a".into(), "b.*".into()],
        ops: vec!["read".into()],
        ..Claims::default()
    };
    let grant = Grant::of(&claims);
    assert_eq!(grant.may(Operation::Read, "b.x"), Ok(()), "later patterns still count");
    let text = grant.may(Operation::Read, "app.a").unwrap_err().to_string();
    let said = "token has no access to the metric/namespace (its pattern \"app.[a\" is malformed";
    assert!(text.starts_with(said), "{text}");
}

#[test]
fn operations_are_exact_and_the_star_is_all_of_them() {
    let grant = |ops: &[&str]| {
        Grant::of(&Claims {
            namespaces: vec!["*".into()],
            ops: ops.iter().map(|op| (*op).to_owned()).collect(),
            ..Claims::default()
        })
    };
    for operation in OPERATIONS {
        assert_eq!(grant(&["*"]).may(operation, "a"), Ok(()));
        assert_eq!(grant(&[operation.as_str()]).may(operation, "a"), Ok(()));
        let denied = grant(&["Read", "UPDATE", "write", ""]).may(operation, "a").unwrap_err();
        let text = format!("token doesn't have {operation} permission for the metric/namespace");
        assert_eq!(denied.to_string(), text);
        assert_eq!(operation.as_str().parse(), Ok(operation));
    }
    assert!(grant(&["read"]).may(Operation::Update, "a").is_err());
    assert!(grant(&[]).has(Operation::Read).is_err());
    assert!("write".parse::<Operation>().is_err());
}

#[test]
fn a_token_of_the_go_tools_users_is_taken() {
    for header in [r#"{"alg":"HS256","typ":"JWT"}"#, r#"{"alg":"HS256"}"#] {
        for payload in [
            r#"{"namespaces":["app.*"],"ops":["read"]}"#,
            r#"{"NAMESPACES":["app.*"],"Ops":["read"],"sub":"x","iat":1,"aud":["y"]}"#,
        ] {
            let grant = verify(&token(header, payload)).unwrap();
            assert_eq!(grant.may(Operation::Read, "app.x"), Ok(()), "{header} {payload}");
            assert!(grant.may(Operation::Read, "b.x").is_err());
            assert!(grant.may(Operation::Delete, "app.x").is_err());
        }
    }
    let nothing = verify(&token(r#"{"alg":"HS256"}"#, r#"{"namespaces":null}"#)).unwrap();
    assert!(nothing.may(Operation::Read, "a").is_err());
}

#[test]
fn an_invalid_token_is_refused_in_the_go_tools_words() {
    let good = r#"{"namespaces":["*"],"ops":["*"]}"#;
    let header = r#"{"alg":"HS256"}"#;
    let with = |alg: &str| token(&format!("{{\"alg\":{alg}}}"), good);
    let whole = token(header, good);
    let mut changed = token(header, good);
    let last = changed.len() - 5;
    changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
    let mut bearer = b"Bearer ".to_vec();
    bearer.extend(&whole);
    let mut unsigned = whole.clone();
    let dot = unsigned.iter().rposition(|byte| *byte == b'.').unwrap();
    unsigned.truncate(dot + 1);
    let mut padded = whole.clone();
    padded.push(b'=');
    for (token, said) in [
        (Vec::new(), "token contains an invalid number of segments"),
        (b"a.b".to_vec(), "token contains an invalid number of segments"),
        (b"a.b.c.d".to_vec(), "token contains an invalid number of segments"),
        (b"..".to_vec(), "the header of the token is not a JSON object"),
        (b"!a.b.c".to_vec(), "illegal base64 data at input byte 0"),
        (padded, "illegal base64 data at input byte 43"),
        (bearer, "tokenstring should not contain 'bearer '"),
        (changed, "signature is invalid"),
        (unsigned, "signature is invalid"),
        (with("\"none\""), "'none' signature type is not allowed"),
        (with("\"RS256\""), "key is of invalid type"),
        (with("\"ES384\""), "key is of invalid type"),
        (with("\"XX\""), "signing method (alg) is unavailable."),
        (with("\"hs256\""), "signing method (alg) is unavailable."),
        (with("1"), "signing method (alg) is unspecified."),
        (token("{}", good), "signing method (alg) is unspecified."),
        (token("[]", good), "the header of the token is not a JSON object"),
        (token(r#"{"alg":"HS256","crit":["b64"]}"#, good), "the header of the token has crit"),
        (token(header, "[]"), "the claims of the token are not a JSON object"),
        (token(header, r#"{"namespaces":"*"}"#), "claim namespaces of the token is a string"),
        (token(header, r#"{"ops":[1]}"#), "claim ops of the token is an array with something else"),
        (token(header, r#"{"ops":[],"Ops":["*"]}"#), "claim ops occurs more than once"),
        (vec![b'a'; TOKEN_LIMIT_BYTES + 1], "token has more than"),
    ] {
        let error = verify(&token).unwrap_err().to_string();
        assert!(error.starts_with(said), "{error:?} for {said:?}");
    }
    assert!(Grant::verify(&whole, &[], NOW).is_err());
}

/// The Go tool accepts them. Here the algorithm is fixed.
#[test]
fn other_hashes_than_that_of_hs256_are_refused_and_the_text_says_what_to_do() {
    for alg in ["HS384", "HS512"] {
        let header = format!(r#"{{"alg":"{alg}"}}"#);
        let error = verify(&token(&header, r#"{"namespaces":["*"],"ops":["*"]}"#)).unwrap_err();
        let said = format!("signing method {alg} is not supported; sign with HS256");
        assert_eq!(error.to_string(), said);
    }
}

/// D10: the Go tool's tokens never expire.
#[test]
fn d10_a_token_has_its_time() {
    let at = |times: &str| {
        let payload = format!(r#"{{"namespaces":["*"],"ops":["*"]{times}}}"#);
        verify(&token(r#"{"alg":"HS256"}"#, &payload)).map(drop)
    };
    for (times, result) in [
        (String::new(), Ok(())),
        (r#","exp":1"#.into(), Err(TokenError::Expired)),
        (format!(r#","exp":{}"#, NOW + 1), Ok(())),
        (format!(r#","exp":{}.5"#, NOW + 1), Ok(())),
        (format!(r#","exp":{}"#, NOW - LEEWAY_SECONDS + 1), Ok(())),
        (format!(r#","exp":{}"#, NOW - LEEWAY_SECONDS), Err(TokenError::Expired)),
        (format!(r#","nbf":{}"#, NOW), Ok(())),
        (format!(r#","nbf":{}"#, NOW + LEEWAY_SECONDS), Ok(())),
        (format!(r#","nbf":{}"#, NOW + LEEWAY_SECONDS + 1), Err(TokenError::NotYet)),
        (r#","exp":1e300"#.into(), Ok(())),
        (r#","exp":-1"#.into(), Err(TokenError::Expired)),
        (r#","exp":null"#.into(), Ok(())),
    ] {
        assert_eq!(at(&times), result, "{times}");
    }
    for times in [r#","exp":"1""#, r#","nbf":true"#, r#","exp":[]"#] {
        assert!(matches!(at(times), Err(TokenError::Claims(_))), "{times}");
    }
}

#[test]
fn a_token_made_here_is_taken_here_and_by_a_second_secret() {
    let claims = Claims {
        namespaces: vec!["a,b.*".into()],
        ops: vec!["update".into()],
        issued_at: Some(NOW as f64),
        expires: Some((NOW + 60) as f64),
        ..Claims::default()
    };
    let json = r#"{"exp":1795353660,"iat":1795353600,"namespaces":["a,b.*"],"ops":["update"]}"#;
    assert_eq!(claims.to_json(), json);
    let made = secret().sign(&claims).unwrap();
    let other = Secret::new(b"another").unwrap();
    assert_eq!(Grant::verify(made.reveal(), &[secret()], NOW), Ok(Grant::of(&claims)));
    assert!(Grant::verify(made.reveal(), &[other.clone(), secret()], NOW).is_ok());
    assert_eq!(Grant::verify(made.reveal(), &[other], NOW), Err(TokenError::Signature));
    assert_eq!(payload(made.reveal()), Ok(claims));
}

/// The values of RFC 7515, appendix A.1.
#[test]
fn the_example_of_the_standard_has_a_good_signature() {
    let key = URL_SAFE_NO_PAD.decode(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    );
    let token = b"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
        dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let secret = Secret::new(&key.unwrap()).unwrap();
    assert!(Grant::verify(token, std::slice::from_ref(&secret), 1_300_819_379).is_ok());
    assert_eq!(Grant::verify(token, &[secret], 1_300_900_000), Err(TokenError::Expired));
}

/// D10: an empty secret file turns the Go tool's tokens off.
#[test]
fn d10_a_blank_secret_is_refused_and_a_short_one_is_reported() {
    for blank in ["", " \n\t", "\u{a0}\u{2028}"] {
        assert_eq!(Secret::new(blank.as_bytes()).err(), Some(SecretError), "{blank:?}");
    }
    assert!(Secret::new(b"short").unwrap().is_short());
    assert!(!secret().is_short());
    assert!(Secret::new(&[0xff; 32]).is_ok_and(|secret| !secret.is_short()));
}

/// The Go daemon also trims Unicode white space around bytes that are not text. With another secret from the
/// same file, the reason why tokens are refused would be hard to find.
#[test]
fn white_space_around_a_secret_of_random_bytes_is_not_part_of_it() {
    let claims = Claims { ops: vec!["read".into()], ..Claims::default() };
    let signed = |secret: &[u8]| Secret::new(secret).unwrap().sign(&claims).unwrap();
    for spaced in [
        &b"\x0b\xff\x00\xfe\x0b"[..],
        b"\n\t \xff\x00\xfe\x0c\r\n",
        b"\xc2\x85\xff\x00\xfe\xc2\xa0",
        b"\xe2\x80\x83\xff\x00\xfe\xe3\x80\x80\n",
    ] {
        assert!(signed(spaced) == signed(b"\xff\x00\xfe"), "{spaced:?}");
    }
    // Bytes that are white space only in other encodings.
    for other in [&b"\xa0\xff\x00\xfe"[..], b"\xff\x00\xfe\x85", b"\xff\x00\xfe\x1f"] {
        assert!(signed(other) != signed(b"\xff\x00\xfe"), "{other:?}");
    }
    assert!(signed("\u{3000}geheim \u{b}".as_bytes()) == signed(b"geheim"));
    assert!(Secret::new("\u{b}\u{2003}\n".as_bytes()).is_err());
}

#[test]
fn neither_tokens_nor_secrets_are_shown() {
    let token = Token::parse(b" abc.def.ghi\n").unwrap();
    assert_eq!(token.reveal(), b"abc.def.ghi");
    let client = crate::Client::new(crate::Timeouts::default()).unwrap().with_token(token.clone());
    let shown = format!(
        "{token:?} {:?} {:?} {client:?} {:?}",
        token.header(),
        Secret::new(b"xyzzy").unwrap(),
        client.daemon("a".parse().unwrap())
    );
    assert!(!shown.contains("abc") && !shown.contains("xyzzy"), "{shown}");
}

#[test]
fn a_text_that_cannot_be_a_token_is_refused_without_being_shown() {
    for (text, error) in [
        ("", TokenTextError::Empty),
        (" \n", TokenTextError::Empty),
        ("Bearer a.b.c", TokenTextError::BadCharacter),
        ("a.b.c\na.b.c", TokenTextError::BadCharacter),
        ("a.b.é", TokenTextError::BadCharacter),
    ] {
        assert_eq!(Token::parse(text.as_bytes()), Err(error), "{text:?}");
    }
    let long = vec![b'a'; TOKEN_LIMIT_BYTES + 1];
    assert_eq!(Token::parse(&long), Err(TokenTextError::TooLong));
}

proptest! {
    #[test]
    fn no_text_makes_a_pattern_or_a_token_panic(text in any::<String>(), name in any::<String>()) {
        if let Ok(pattern) = text.parse::<Pattern>() {
            let _ = pattern.matches(&name);
        }
        let _ = verify(text.as_bytes());
        let parts = token(&text, &name);
        let _ = verify(&parts);
    }
}
