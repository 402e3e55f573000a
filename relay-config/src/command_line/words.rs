//! The words of a command line, in a shell script, a unit of systemd, or `/proc/PID/cmdline`.

use crate::{Refusal, RefusalKind, SourceFile};

/// A word, and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) offset: usize,
    /// Where a variable or a command in it begins, whose value the file does not have.
    pub(super) variable: Option<usize>,
}

/// The command lines in `file`: each line with its continuations, without comments.
///
/// # Errors
/// [`Refusal`] for a quote without its end.
pub(super) fn lines(file: &SourceFile) -> Result<Vec<Vec<Word>>, Refusal> {
    if file.text.contains('\0') {
        return Ok(vec![separated_by_nul(&file.text)]);
    }
    let mut lines = Vec::new();
    let mut at = 0;
    while at < file.text.len() {
        let mut cutter = Cutter { file, at, words: Vec::new() };
        cutter.line()?;
        at = cutter.at;
        lines.push(cutter.words);
    }
    Ok(lines)
}

fn separated_by_nul(text: &str) -> Vec<Word> {
    let mut offset = 0;
    let mut words = Vec::new();
    for part in text.trim_end_matches(['\0', '\n']).split('\0') {
        words.push(Word { text: part.to_owned(), offset, variable: None });
        offset += part.len() + 1;
    }
    words
}

struct Cutter<'f> {
    file: &'f SourceFile,
    at: usize,
    words: Vec<Word>,
}

impl Cutter<'_> {
    fn rest(&self) -> &str {
        &self.file.text[self.at..]
    }

    /// Cuts one line, with the lines that continue it.
    fn line(&mut self) -> Result<(), Refusal> {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start_matches([' ', '\t', '\r']).len();
            self.at += blanks;
            let rest = self.rest();
            match rest.chars().next() {
                None => return Ok(()),
                Some('\n') => {
                    self.at += 1;
                    return Ok(());
                }
                // A comment, at the beginning of a line or of a word; and what ends a command in a shell.
                Some('#' | '|' | '&' | '>' | '<') => return self.skip_line(),
                Some(';') => return self.skip_line(),
                Some(_) if is_continuation(rest) => {
                    self.at += 1 + usize::from(rest[1..].starts_with('\r')) + 1
                }
                Some(_) => self.word()?,
            }
        }
    }

    fn skip_line(&mut self) -> Result<(), Refusal> {
        let length = self.rest().find('\n').map_or(self.rest().len(), |end| end + 1);
        self.at += length;
        Ok(())
    }

    fn word(&mut self) -> Result<(), Refusal> {
        let begin = self.at;
        let mut word = Word { text: String::new(), offset: begin, variable: None };
        let mut quote: Option<char> = None;
        while let Some(c) = self.rest().chars().next() {
            let rest = self.rest();
            let next = rest[c.len_utf8()..].chars().next();
            match (quote, c) {
                (None, ' ' | '\t' | '\r' | '\n' | '|' | '&' | '>' | '<') => break,
                (None, ';') if next.is_none_or(|next| next.is_whitespace()) => break,
                (None, '\\') if is_continuation(rest) => break,
                (None, '\'' | '"') => quote = Some(c),
                (Some(open), c) if open == c => quote = None,
                (None | Some('"'), '\\') => {
                    if let Some(next) = next {
                        word.text.push(next);
                        self.at += next.len_utf8();
                    }
                }
                (None | Some('"'), '$' | '`') => {
                    word.variable.get_or_insert(self.at);
                    word.text.push(c);
                }
                _ => word.text.push(c),
            }
            self.at += c.len_utf8();
        }
        if quote.is_some() {
            return Err(Refusal {
                kind: RefusalKind::Syntax,
                place: self.file.place(begin),
                message: "a quote begins here and does not end".to_owned(),
            });
        }
        self.words.push(word);
        Ok(())
    }
}

/// Whether a backslash here joins the next line.
fn is_continuation(rest: &str) -> bool {
    rest.starts_with("\\\n") || rest.starts_with("\\\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let lines = lines(&SourceFile::new("f", text)).expect("words");
        let texts = lines
            .iter()
            .filter(|line| !line.is_empty())
            .map(|line| line.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join("|"));
        texts.collect()
    }

    #[test]
    fn words_are_cut_as_a_shell_cuts_them() {
        assert_eq!(
            shown("a 'b c' \"d\\\"e\" f\\ g # h\ni \\\n  j; k\n"),
            ["a|b c|d\"e|f g", "i|j"]
        );
        assert_eq!(shown("a>x\nb | c\n# d\n; e\nf=g;h"), ["a", "b", "f=g;h"]);
        assert_eq!(shown("a\0b c\0\0"), ["a|b c"]);
    }

    #[test]
    fn a_variable_is_marked_and_an_open_quote_refused() {
        let marked = lines(&SourceFile::new("f", "a $B '$c' \"x${d}\"")).expect("words");
        let variables: Vec<Option<usize>> = marked[0].iter().map(|word| word.variable).collect();
        assert_eq!(variables, [None, Some(2), None, Some(12)]);
        let refusal = lines(&SourceFile::new("f", "a\nb 'c")).expect_err("refused");
        assert_eq!(refusal.to_string(), "f:2:3: a quote begins here and does not end [syntax]");
    }
}
