//! JSON as Go's `encoding/json` writes it.

use std::borrow::Cow;

fn is_escaped(c: char) -> bool {
    matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}')
}

/// `json`, a JSON text as serde_json writes it, as Go writes it: `<`, `>`, `&`, U+2028 and U+2029 are
/// escaped. They occur only inside strings: the rest of a JSON text is punctuation, digits and words.
pub fn as_go_writes(json: &str) -> Cow<'_, str> {
    if !json.contains(is_escaped) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_escaped(c) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_characters_are_escaped_and_all_others_stay() {
        assert_eq!(
            as_go_writes("[\"a<b>&é\u{2028}\u{2029}\"]"),
            "[\"a\\u003cb\\u003e\\u0026é\\u2028\\u2029\"]"
        );
        assert!(matches!(as_go_writes("{\"a.é\":1}"), Cow::Borrowed(_)));
    }
}
