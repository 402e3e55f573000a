//! The commands in a shell script, a unit of systemd, a list of words (`CMD ["buckyd", …]`) or
//! `/proc/PID/cmdline`, and their words.

use crate::{Refusal, RefusalKind, SourceFile};

/// A word, and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) offset: usize,
    /// Where a variable or a command in it begins, whose value the file does not have.
    pub(super) variable: Option<usize>,
}

impl Word {
    /// A word as it is.
    pub(super) fn plain(text: &str, offset: usize) -> Self {
        Self { text: text.to_owned(), offset, variable: None }
    }
}

/// The commands of the shell text in `text`, without comments and redirections.
///
/// `base` is the place of all its words, if it is itself one word of a file; otherwise `text` is the file's.
///
/// # Errors
/// [`Refusal`] for a quote without its end.
pub(super) fn shell_commands(
    file: &SourceFile,
    text: &str,
    base: Option<usize>,
) -> Result<Vec<Vec<Word>>, Refusal> {
    let mut cutter = Cutter::new(file, text, base, Syntax::Shell);
    cutter.shell()?;
    Ok(cutter.commands)
}

/// The words of `/proc/PID/cmdline`.
pub(super) fn separated_by_nul(text: &str) -> Vec<Word> {
    let mut offset = 0;
    let mut words = Vec::new();
    for part in text.trim_end_matches(['\0', '\n']).split('\0') {
        words.push(Word::plain(part, offset));
        offset += part.len() + 1;
    }
    words
}

/// The words of the value of `ExecStart=` that begins at `at` in `file`, and where the next line begins.
///
/// A backslash at the end of a line continues it; lines of comments in between are left out. A `;` of its own
/// separates two commands, which only units of one shot may have. There are no other operators, and `#` begins no
/// comment (systemd.service(5), systemd.syntax(7)).
///
/// # Errors
/// [`Refusal`] for a quote without its end.
pub(super) fn unit_commands(
    file: &SourceFile,
    at: usize,
) -> Result<(Vec<Vec<Word>>, usize), Refusal> {
    let mut cutter = Cutter::new(file, &file.text, None, Syntax::Unit);
    cutter.at = at;
    cutter.unit_value()?;
    Ok((cutter.commands, cutter.at))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    Shell,
    Unit,
}

struct Cutter<'f> {
    file: &'f SourceFile,
    text: &'f str,
    base: Option<usize>,
    syntax: Syntax,
    at: usize,
    words: Vec<Word>,
    commands: Vec<Vec<Word>>,
}

impl<'f> Cutter<'f> {
    fn new(file: &'f SourceFile, text: &'f str, base: Option<usize>, syntax: Syntax) -> Self {
        Self { file, text, base, syntax, at: 0, words: Vec::new(), commands: Vec::new() }
    }

    fn rest(&self) -> &'f str {
        &self.text[self.at..]
    }

    fn next(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn end_command(&mut self) {
        if !self.words.is_empty() {
            self.commands.push(std::mem::take(&mut self.words));
        }
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r']).len();
    }

    /// The length of a backslash that joins the next line, with the end of its line.
    fn continuation(&self) -> Option<usize> {
        ["\\\n", "\\\r\n"].iter().find(|end| self.rest().starts_with(**end)).map(|end| end.len())
    }

    fn shell(&mut self) -> Result<(), Refusal> {
        loop {
            self.skip_blanks();
            if let Some(length) = self.continuation() {
                self.at += length;
                continue;
            }
            let Some(next) = self.next() else { break };
            match next {
                '#' => self.skip_line(),
                '&' if self.rest().starts_with("&>") => self.redirection()?,
                '>' | '<' => self.redirection()?,
                '\n' | ';' | '|' | '&' | '(' | ')' => {
                    self.at += 1;
                    self.end_command();
                }
                _ => self.word()?,
            }
        }
        self.end_command();
        Ok(())
    }

    fn unit_value(&mut self) -> Result<(), Refusal> {
        loop {
            self.skip_blanks();
            if let Some(length) = self.continuation() {
                self.at += length;
                self.skip_comments();
                continue;
            }
            let is_separator = self.rest().starts_with(';')
                && self.rest()[1..].chars().next().is_none_or(char::is_whitespace);
            match self.next() {
                None => break,
                Some('\n') => {
                    self.at += 1;
                    break;
                }
                Some(_) if is_separator => {
                    self.at += 1;
                    self.end_command();
                }
                Some(_) => self.word()?,
            }
        }
        self.end_command();
        Ok(())
    }

    /// Skips lines of comments, which may stand between the lines of one value.
    fn skip_comments(&mut self) {
        loop {
            let rest = self.rest();
            if !rest.trim_start_matches([' ', '\t']).starts_with(['#', ';']) {
                return;
            }
            self.skip_line();
            if self.next() == Some('\n') {
                self.at += 1;
            }
        }
    }

    /// Skips to the end of the line, which is left.
    fn skip_line(&mut self) {
        self.at += self.rest().find('\n').unwrap_or(self.rest().len());
    }

    /// Skips `>FILE`, `>>FILE`, `2>&1` and the like.
    fn redirection(&mut self) -> Result<(), Refusal> {
        let operator = self.rest().trim_start_matches(['<', '>', '&', '|']);
        self.at += self.rest().len() - operator.len();
        self.skip_blanks();
        if self.next().is_some_and(|next| !"\n;|&<>()".contains(next)) {
            self.word()?;
            self.words.pop();
        }
        Ok(())
    }

    fn word(&mut self) -> Result<(), Refusal> {
        let begin = self.at;
        let place = |at: usize| self.base.unwrap_or(at);
        let mut word = Word::plain("", place(begin));
        let mut quote: Option<char> = None;
        let (mut at, mut is_bare) = (self.at, true);
        while let Some(c) = self.text[at..].chars().next() {
            let next = self.text[at + c.len_utf8()..].chars().next();
            let closes = c == ')' && self.syntax == Syntax::Shell && !word.text.contains('(');
            if quote.is_none() && (closes || self.ends_word(c, &self.text[at..])) {
                break;
            }
            match (quote, c) {
                (None, '\'' | '"') => (quote, is_bare) = (Some(c), false),
                (Some(open), c) if open == c => quote = None,
                (None | Some('"'), '\\') => {
                    if let Some(next) = next {
                        word.text.push(next);
                        at += next.len_utf8();
                    }
                    is_bare = false;
                }
                (_, '%') if self.syntax == Syntax::Unit && next == Some('%') => {
                    word.text.push('%');
                    at += 1;
                }
                (_, '%') if self.syntax == Syntax::Unit => {
                    word.variable.get_or_insert(place(at));
                    word.text.push(c);
                }
                (None | Some('"'), '$' | '`') => {
                    word.variable.get_or_insert(place(at));
                    word.text.push(c);
                }
                _ => word.text.push(c),
            }
            at += c.len_utf8();
        }
        if quote.is_some() {
            return Err(Refusal {
                kind: RefusalKind::Syntax,
                place: self.file.place(place(begin)),
                message: "a quote begins here and does not end".to_owned(),
            });
        }
        self.at = at;
        // The number of a file in `2>&1`.
        let is_number = is_bare && word.text.bytes().all(|byte| byte.is_ascii_digit());
        let redirects = self.syntax == Syntax::Shell && self.rest().starts_with(['<', '>']);
        if !(is_number && redirects) {
            self.words.push(word);
        }
        Ok(())
    }

    /// Whether a word ends before `c`, outside of quotes. `rest` begins with it.
    fn ends_word(&self, c: char, rest: &str) -> bool {
        let is_joined = rest.starts_with("\\\n") || rest.starts_with("\\\r\n");
        match self.syntax {
            Syntax::Shell => is_joined || " \t\r\n;|&<>".contains(c),
            Syntax::Unit => is_joined || " \t\r\n".contains(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(commands: &[Vec<Word>]) -> Vec<String> {
        let texts = |words: &Vec<Word>| {
            words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join("|")
        };
        commands.iter().map(texts).collect()
    }

    fn shell(text: &str) -> Vec<String> {
        let file = SourceFile::new("f", text);
        joined(&shell_commands(&file, &file.text, None).expect("words"))
    }

    fn unit(text: &str) -> (Vec<String>, usize) {
        let (commands, end) = unit_commands(&SourceFile::new("f", text), 0).expect("words");
        (joined(&commands), end)
    }

    #[test]
    fn words_are_cut_as_a_shell_cuts_them() {
        assert_eq!(
            shell("a 'b c' \"d\\\"e\" f\\ g # h\ni \\\n  j; k\n"),
            ["a|b c|d\"e|f g", "i|j", "k"]
        );
        assert_eq!(shell("a && b || (c | d) &\n# e\nf=g;h"), ["a", "b", "c", "d", "f=g", "h"]);
    }

    #[test]
    fn redirections_are_no_words() {
        assert_eq!(shell("a b 2>&1 | c"), ["a|b", "c"]);
        assert_eq!(shell("a >x b 2>>/log c <y d &>z e 1> w"), ["a|b|c|d|e"]);
        assert_eq!(shell("a b2>x '2'>y"), ["a|b2|2"]);
        assert_eq!(shell("a >"), ["a"]);
    }

    #[test]
    fn a_units_value_has_no_operators_and_comments_only_as_lines() {
        let value = "a 'b c' \\\n  # d\n; e\n  f 2>&1 # g \\\n h\nNext=x";
        assert_eq!(unit(value), (vec!["a|b c|f|2>&1|#|g|h".to_owned()], value.len() - 6));
        assert_eq!(unit("a ; b;c").0, ["a", "b;c"]);
    }

    #[test]
    fn a_variable_is_marked_and_an_open_quote_refused() {
        let file = SourceFile::new("f", "a $B '$c' \"x${d}\" %i");
        let variables = |words: &[Word]| -> Vec<Option<usize>> {
            words.iter().map(|word| word.variable).collect()
        };
        let marked = shell_commands(&file, &file.text, None).expect("words");
        assert_eq!(variables(&marked[0]), [None, Some(2), None, Some(12), None]);
        let (marked, _) = unit_commands(&SourceFile::new("f", "a %%b %i"), 0).expect("words");
        assert_eq!(variables(&marked[0]), [None, None, Some(6)]);
        assert_eq!(marked[0][1].text, "%b");
        let file = SourceFile::new("f", "a\nb 'c");
        let refusal = shell_commands(&file, &file.text, None).expect_err("refused");
        assert_eq!(refusal.to_string(), "f:2:3: a quote begins here and does not end [syntax]");
    }

    #[test]
    fn nul_separates_the_words_of_a_process() {
        let words = separated_by_nul("a\0b c\0\0");
        assert_eq!(joined(&[words]), ["a|b c"]);
    }
}
