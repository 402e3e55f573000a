//! The relay's groups of rules: from 50 rules on, it first looks for the last word of their expressions.
//!
//! It takes the last letters of an expression for a text that every matching name has (`router_optimise`). That
//! is wrong for `stats|timers` and for `host[abc]`: names that match such a rule may not reach it.

/// From how many rules on the relay makes groups, unless it is started with another `-O`.
pub(super) const RULES_LEAST: usize = 50;
/// Shorter words make no group.
const WORD_LEAST: usize = 3;

/// The last word of `expression`, if the relay may take it for a part of every name that matches, and it is
/// none.
pub(super) fn misleading_word(expression: &str) -> Option<&str> {
    let bytes = expression.as_bytes();
    let is_word = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let mut depth = 0_usize;
    let mut end = bytes.len();
    // From the end: what is no letter, and what is in brackets.
    while let Some(last) = end.checked_sub(1).map(|last| bytes[last]) {
        if depth == 0 && is_word(last) {
            break;
        }
        match last {
            b')' => depth += 1,
            b'(' => depth = depth.saturating_sub(1),
            _ => {}
        }
        end -= 1;
    }
    let start =
        bytes[..end].iter().rposition(|byte| !is_word(*byte)).map_or(0, |before| before + 1);
    let is_optional = matches!(bytes.get(end), Some(b'*' | b'?' | b'{'));
    let is_escaped = start > 0 && bytes[start - 1] == b'\\';
    let in_set = bytes[..start].iter().rposition(|byte| *byte == b'[')
        > bytes[..start].iter().rposition(|byte| *byte == b']');
    let is_misleading = is_optional || is_escaped || in_set || has_alternatives(expression);
    (end - start >= WORD_LEAST && is_misleading).then(|| &expression[start..end])
}

/// Whether there is a `|` outside of all brackets.
fn has_alternatives(expression: &str) -> bool {
    let mut depth = 0_i32;
    expression.bytes().any(|byte| {
        depth += i32::from(byte == b'(') - i32::from(byte == b')');
        byte == b'|' && depth == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_word_that_a_matching_name_need_not_have_is_found() {
        let misleading = [
            ("stats|timers", "timers"),
            (r"^x\.host[abc]$", "abc"),
            ("[[:alpha:]]+$", "alpha"),
            ("counts*", "counts"),
            (r"a\bcpu", "bcpu"),
            (r"(a|b)|count$", "count"),
        ];
        for (expression, word) in misleading {
            assert_eq!(misleading_word(expression), Some(word), "{expression}");
        }
        let fine = [
            r"^stats\.",
            r"\.count$",
            "^(a|b)count",
            "count(a|b)?",
            "[ab]",
            "ab|cd",
            "",
            "(",
            "é",
            r"^stats\.([^.]+)\.(.*)$",
        ];
        for expression in fine {
            assert_eq!(misleading_word(expression), None, "{expression}");
        }
    }
}
