//! The words of carbon-c-relay's configuration, cut as its own lexer cuts them (`conffile.l` of 3.9).
//!
//! That lexer has states. Which words are keywords, and whether a text is possible at all, depends on the
//! state, and each keyword leads to another one. Of several patterns that match, the longest counts, and of
//! equally long ones the first.

use super::keywords::{
    State::{self, Ag, IdCl, Initial, St},
    digits,
};
use crate::{Refusal, RefusalKind, SourceFile};

/// The longest text in quotes: 1,023 bytes (`string_buf`).
const QUOTED_MOST_BYTES: usize = 1023;

/// A piece of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) what: What,
    /// Where it begins.
    pub(super) offset: usize,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A word of the grammar, or `=` or `*`.
    Keyword(&'static str),
    /// `percentile50`: its number.
    Percentile(String),
    /// A text of an operator's.
    Text {
        text: String,
        is_quoted: bool,
    },
    /// Digits, as written.
    Number(String),
    /// `;`
    Semicolon,
    /// A character that is not possible here.
    Unexpected(char),
    End,
}

/// Cuts a file into tokens.
pub(super) struct Lexer<'f> {
    file: &'f SourceFile,
    at: usize,
    state: State,
    /// The state after a text.
    after_text: State,
}

impl<'f> Lexer<'f> {
    pub(super) fn new(file: &'f SourceFile) -> Self {
        Self { file, at: 0, state: Initial, after_text: Initial }
    }

    /// The next token.
    ///
    /// # Errors
    /// [`Refusal`] for a text in quotes that the relay refuses, or reads otherwise than it looks.
    pub(super) fn next(&mut self) -> Result<Token, Refusal> {
        self.skip();
        let offset = self.at;
        let rest = &self.file.text[offset..];
        let Some(first) = rest.chars().next() else {
            return Ok(Token { what: What::End, offset });
        };
        let text_length = if self.state.takes_text() { plain_text(rest) } else { 0 };
        let number_length = if matches!(self.state, IdCl | Ag | St) { digits(rest) } else { 0 };
        if let Some((keyword, length)) = self.state.keyword(rest)
            && length >= text_length
        {
            self.at += length;
            self.state = keyword.2.unwrap_or(self.state);
            self.after_text = keyword.3.unwrap_or(self.after_text);
            let what = match keyword.1 {
                "percentile" => What::Percentile(rest["percentile".len()..length].to_owned()),
                word => What::Keyword(word),
            };
            return Ok(Token { what, offset });
        }
        if first == '"' && self.state.takes_text() {
            let text = self.quoted()?;
            self.state = self.after_text;
            return Ok(Token { what: What::Text { text, is_quoted: true }, offset });
        }
        if number_length > 0 && number_length >= text_length {
            self.at += number_length;
            return Ok(Token { what: What::Number(rest[..number_length].to_owned()), offset });
        }
        if text_length > 0 {
            self.at += text_length;
            self.state = self.after_text;
            let text = rest[..text_length].to_owned();
            return Ok(Token { what: What::Text { text, is_quoted: false }, offset });
        }
        self.at += first.len_utf8();
        if first == ';' {
            self.state = Initial;
            return Ok(Token { what: What::Semicolon, offset });
        }
        Ok(Token { what: What::Unexpected(first), offset })
    }

    /// Skips white space, and comments that end with a newline.
    fn skip(&mut self) {
        loop {
            let rest = &self.file.text[self.at..];
            let white = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
            self.at += white;
            let rest = &rest[white..];
            if !rest.starts_with('#') {
                return;
            }
            match rest.find('\n') {
                Some(end) => self.at += end + 1,
                None => return,
            }
        }
    }

    /// The text in the quotes that begin here.
    fn quoted(&mut self) -> Result<String, Refusal> {
        let begin = self.at;
        let refuse =
            |kind, message: String| Refusal { kind, place: self.file.place(begin), message };
        let syntax = |message: &str| refuse(RefusalKind::Syntax, message.to_owned());
        let mut text = String::new();
        let mut rest = self.file.text[begin + 1..].char_indices();
        let mut begins_piece = true;
        while let Some((at, c)) = rest.next() {
            match c {
                '"' if text.is_empty() => return Err(syntax("a text in quotes is empty")),
                '"' => {
                    self.at = begin + 1 + at + 1;
                    return Ok(text);
                }
                '\n' => break,
                // The lexer takes the rest of the line for a comment, and the text goes on in the next line.
                '#' if begins_piece => {
                    return Err(refuse(
                        RefusalKind::BadInstance,
                        "a text in quotes begins with #: carbon-c-relay takes the rest of the line for a \
                         comment, and the text goes on in the next line; write it without #"
                            .to_owned(),
                    ));
                }
                '\\' => {
                    begins_piece = true;
                    match rest.next() {
                        Some((_, escaped)) if escaped != '\n' => text.push(escaped),
                        _ => break,
                    }
                }
                '\0' => return Err(syntax("a text in quotes contains a NUL byte")),
                c => {
                    begins_piece = false;
                    text.push(c);
                }
            }
            if text.len() > QUOTED_MOST_BYTES {
                return Err(syntax("a text in quotes is longer than 1023 bytes"));
            }
        }
        Err(syntax("a text in quotes does not end on its line"))
    }
}

/// How many bytes at the beginning of `rest` are a text without quotes.
fn plain_text(rest: &str) -> usize {
    let belongs = |c: char| c.is_ascii_alphanumeric() || "[](){}|\\^?*$&%<>:/,._+-".contains(c);
    let mut length = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
    // A backslash before a blank joins what follows.
    while length > 1 && rest[..length].ends_with('\\') && rest[length..].starts_with(' ') {
        let next = &rest[length + 1..];
        let more = next.find(|c| !belongs(c)).unwrap_or(next.len());
        if more == 0 {
            break;
        }
        length += 1 + more;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens of `text`, in short: keywords in capitals, texts in brackets, numbers bare.
    fn tokens(text: &str) -> String {
        let file = SourceFile::new("f", text);
        let mut lexer = Lexer::new(&file);
        let mut shown = Vec::new();
        loop {
            match lexer.next() {
                Ok(Token { what: What::End, .. }) => return shown.join(" "),
                Ok(token) => shown.push(match token.what {
                    What::Keyword(word) => word.to_uppercase(),
                    What::Percentile(number) => format!("PERCENTILE{number}"),
                    What::Text { text, is_quoted: false } => format!("[{text}]"),
                    What::Text { text, is_quoted: true } => format!("<{text}>"),
                    What::Number(number) => number,
                    What::Semicolon => ";".to_owned(),
                    What::Unexpected(c) => format!("?{c}"),
                    What::End => unreachable!("handled above"),
                }),
                Err(refusal) => return format!("{} !{refusal}", shown.join(" ")),
            }
        }
    }

    #[test]
    fn a_word_is_a_keyword_only_where_the_grammar_expects_it_and_nothing_longer_matches() {
        assert_eq!(
            tokens("cluster cluster carbon_ch replication 2 dynamic tcp tcp:1 tcp=tcpx;"),
            "CLUSTER [cluster] CARBON_CH REPLICATION 2 DYNAMIC TCP [tcp:1] TCP = [tcpx] ;"
        );
        assert_eq!(
            tokens("match * ^a validate x else log route using \\1 send to a stop;"),
            "MATCH * [^a] VALIDATE [x] ELSE LOG ROUTE USING [\\1] SEND TO [a] STOP ;"
        );
        assert_eq!(
            tokens(
                "aggregate a every 10 seconds compute percentile95 write to b compute min write to c;"
            ),
            "AGGREGATE [a] EVERY 10 SECONDS COMPUTE PERCENTILE95 WRITE TO [b] COMPUTE MIN WRITE TO [c] ;"
        );
        assert_eq!(tokens("cluster a any_of useall b;"), "CLUSTER [a] ANY_OF USEALL [b] ;");
    }

    #[test]
    fn digits_are_a_number_unless_more_follows() {
        assert_eq!(
            tokens("cluster a carbon_ch b=007 c=1a d=\"007\" 10.0.0.1=2;"),
            "CLUSTER [a] CARBON_CH [b] = 007 [c] = [1a] [d] = <007> [10.0.0.1] = 2 ;"
        );
    }

    #[test]
    fn texts_may_be_quoted_or_joined_by_a_backslash() {
        assert_eq!(
            tokens("cluster a carbon_ch \"b\\\"\\\\c\"=x\\ y z\\;"),
            "CLUSTER [a] CARBON_CH <b\"\\c> = [x\\ y] [z\\] ;"
        );
        let cases = [
            ("\"\"", "!f:1:21: a text in quotes is empty [syntax]"),
            ("\"a", "!f:1:21: a text in quotes does not end on its line [syntax]"),
            ("\"a\n\"", "!f:1:21: a text in quotes does not end on its line [syntax]"),
            ("\"#1\"\n", "!f:1:21: a text in quotes begins with #"),
            ("\"\\a#1\"\n", "!f:1:21: a text in quotes begins with #"),
            ("\"a#1\" # b\n", "<a#1>"),
        ];
        for (text, said) in cases {
            let shown = tokens(&format!("cluster a carbon_ch {text}"));
            assert!(shown.contains(said), "{text}: {shown}");
        }
        let long = |n| tokens(&format!("cluster a carbon_ch \"{}\"", "x".repeat(n)));
        assert!(long(1023).ends_with("x>") && long(1024).contains("longer than 1023"));
    }

    #[test]
    fn a_comment_needs_its_newline() {
        assert_eq!(tokens("cluster a#b\ncarbon_ch b;#c\n"), "CLUSTER [a] CARBON_CH [b] ;");
        assert_eq!(tokens("#"), "?#");
    }
}
