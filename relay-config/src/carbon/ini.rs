//! Files of Python's `configparser`, read to the letter (CPython 3.11, `RawConfigParser._read`): its
//! sections, keys and values, and where in the file each part of a value stands.

use std::collections::{HashMap, HashSet};

use super::python::{is_space, strip};
use crate::{Place, Refusal, RefusalKind, SourceFile};

/// The section whose keys all others inherit.
pub(crate) const DEFAULT: &str = "DEFAULT";

/// A file that could be read.
#[derive(Clone, Debug)]
pub(crate) struct Ini<'f> {
    file: &'f SourceFile,
    /// The keys that all sections inherit, in lower case.
    defaults: HashMap<String, Value>,
    /// In the order of the file.
    sections: Vec<Section>,
    /// The positions of the sections, by name.
    by_name: HashMap<String, usize>,
}

/// A section.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// Its name, as written.
    pub(crate) name: String,
    /// Where its header begins.
    pub(crate) offset: usize,
    keys: HashMap<String, Value>,
}

/// A key's value, and where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Value {
    /// Its text; lines are joined by newlines.
    pub(crate) text: String,
    /// Where the key begins in the file.
    pub(crate) key_offset: usize,
    /// Pieces of the text: where each begins in the text, and in the file; ascending.
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    text: usize,
    file: usize,
    /// Whether the text goes on in the file as in the value. Otherwise all of it stands for one place.
    is_literal: bool,
}

impl Value {
    /// An empty value of the key at `key_offset`.
    pub(crate) fn of_key(key_offset: usize) -> Self {
        Self { key_offset, ..Self::default() }
    }

    /// Adds `text`, which stands in the file at `offset`.
    pub(crate) fn push(&mut self, text: &str, offset: usize) {
        self.pieces.push(Piece { text: self.text.len(), file: offset, is_literal: true });
        self.text.push_str(text);
    }

    /// Adds `text`, which the file has elsewhere; it is shown at `offset`.
    pub(crate) fn push_from_elsewhere(&mut self, text: &str, offset: usize) {
        self.pieces.push(Piece { text: self.text.len(), file: offset, is_literal: false });
        self.text.push_str(text);
    }

    /// Where the byte `at` of the text stands in the file.
    pub(crate) fn offset(&self, at: usize) -> usize {
        let next = self.pieces.partition_point(|piece| piece.text <= at);
        match next.checked_sub(1).and_then(|index| self.pieces.get(index)) {
            Some(piece) if piece.is_literal => piece.file + (at - piece.text),
            Some(piece) => piece.file,
            None => self.key_offset,
        }
    }
}

impl<'f> Ini<'f> {
    /// Reads `file`.
    ///
    /// # Errors
    /// [`Refusal`], for what `configparser` raises.
    pub(crate) fn parse(file: &'f SourceFile) -> Result<Self, Refusal> {
        let mut reader = Reader::new(file);
        for (offset, line) in lines(&file.text) {
            reader.line(offset, line)?;
        }
        reader.finish()
    }

    /// The sections in the order of the file, without the default one.
    pub(crate) fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The section `name`.
    pub(crate) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.get(*self.by_name.get(name)?)
    }

    /// The value of `key`, in lower case, in `section` or inherited from the default section.
    pub(crate) fn get<'s>(&'s self, section: &'s Section, key: &str) -> Option<&'s Value> {
        section.keys.get(key).or_else(|| self.defaults.get(key))
    }

    /// The keys of `section` and those that it inherits, in the order of the file.
    pub(crate) fn keys<'s>(&'s self, section: &'s Section) -> Vec<(&'s str, &'s Value)> {
        let inherited =
            self.defaults.iter().filter(|(key, _)| !section.keys.contains_key(key.as_str()));
        let mut keys: Vec<(&str, &Value)> = section
            .keys
            .iter()
            .chain(inherited)
            .map(|(key, value)| (key.as_str(), value))
            .collect();
        keys.sort_by_key(|(_, value)| value.key_offset);
        keys
    }

    /// The place of the byte at `offset`.
    pub(crate) fn place(&self, offset: usize) -> Place {
        self.file.place(offset)
    }
}

/// The lines with their offsets. Python ends a line at `\n`, `\r\n` and `\r`.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let rest = text.get(offset..).filter(|rest| !rest.is_empty())?;
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let newline = match rest.get(end..) {
            Some(rest) if rest.starts_with("\r\n") => 2,
            Some("") | None => 0,
            Some(_) => 1,
        };
        let begin = offset;
        offset += end + newline;
        Some((begin, &rest[..end]))
    })
}

/// The state between two lines.
struct Reader<'f> {
    ini: Ini<'f>,
    /// The section that keys belong to: an index, or `None` for the default section.
    at: Option<At>,
    /// The key whose value may go on.
    open: Option<String>,
    indent: usize,
    /// Keys that were given, to refuse one that is given twice.
    given: HashSet<(Option<usize>, String)>,
    /// The first line that is neither a section nor a key.
    bad_line: Option<Refusal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Default,
    Section(usize),
}

impl<'f> Reader<'f> {
    fn new(file: &'f SourceFile) -> Self {
        Self {
            ini: Ini {
                file,
                defaults: HashMap::new(),
                sections: Vec::new(),
                by_name: HashMap::new(),
            },
            at: None,
            open: None,
            indent: 0,
            given: HashSet::new(),
            bad_line: None,
        }
    }

    fn refuse(&self, kind: RefusalKind, offset: usize, message: String) -> Refusal {
        Refusal { kind, place: self.ini.file.place(offset), message }
    }

    fn line(&mut self, offset: usize, line: &str) -> Result<(), Refusal> {
        let value = strip(line);
        let begin = offset + line.find(|c| !is_space(c)).unwrap_or(0);
        if value.starts_with(['#', ';']) {
            return Ok(());
        }
        if value.is_empty() {
            if let Some(open) = self.open_value() {
                // An empty line inside a value belongs to it, and counts if more of the value follows.
                open.push("\n", offset);
            }
            return Ok(());
        }
        let indent = line.chars().take_while(|c| is_space(*c)).count();
        if indent > self.indent
            && let Some(open) = self.open_value()
        {
            open.push("\n", begin);
            open.push(value, begin);
            return Ok(());
        }
        self.indent = indent;
        if let Some(name) = header(value) {
            return self.section(name, begin);
        }
        let Some(at) = self.at else {
            return Err(self.refuse(
                RefusalKind::Syntax,
                begin,
                format!("{value:?} is before the first [section]"),
            ));
        };
        self.key(at, value, begin)
    }

    fn open_value(&mut self) -> Option<&mut Value> {
        let key = self.open.as_ref()?;
        match self.at? {
            At::Default => self.ini.defaults.get_mut(key),
            At::Section(index) => self.ini.sections.get_mut(index)?.keys.get_mut(key),
        }
    }

    fn section(&mut self, name: &str, offset: usize) -> Result<(), Refusal> {
        self.open = None;
        if name == DEFAULT {
            self.at = Some(At::Default);
            return Ok(());
        }
        if let Some(first) = self.ini.section(name) {
            let line = self.ini.file.place(first.offset).line;
            let message = format!("section [{name}] is already on line {line}; join the two");
            return Err(self.refuse(RefusalKind::DuplicateSection, offset, message));
        }
        self.at = Some(At::Section(self.ini.sections.len()));
        let section = Section { name: name.to_owned(), offset, keys: HashMap::new() };
        self.ini.by_name.insert(name.to_owned(), self.ini.sections.len());
        self.ini.sections.push(section);
        Ok(())
    }

    fn key(&mut self, at: At, line: &str, offset: usize) -> Result<(), Refusal> {
        let Some(delimiter) = line.find(['=', ':']) else {
            self.bad_line(offset, format!("{line:?} has no `=` or `:`"));
            return Ok(());
        };
        let (key, value) = (strip(&line[..delimiter]).to_lowercase(), &line[delimiter + 1..]);
        if key.is_empty() {
            self.bad_line(offset, format!("{line:?} has no key"));
        }
        let section = match at {
            At::Default => None,
            At::Section(index) => Some(index),
        };
        if !self.given.insert((section, key.clone())) {
            let message =
                format!("{} is given twice in this section; leave one out", key.to_uppercase());
            return Err(self.refuse(RefusalKind::DuplicateKey, offset, message));
        }
        let mut read = Value::of_key(offset);
        let begin = value.find(|c| !is_space(c)).unwrap_or(value.len());
        read.push(strip(value), offset + delimiter + 1 + begin);
        let keys = match section {
            None => Some(&mut self.ini.defaults),
            Some(index) => self.ini.sections.get_mut(index).map(|section| &mut section.keys),
        };
        if let Some(keys) = keys {
            keys.insert(key.clone(), read);
        }
        self.open = Some(key);
        Ok(())
    }

    /// Python reads on, and raises the error at the end of the file.
    fn bad_line(&mut self, offset: usize, message: String) {
        let refusal = self.refuse(RefusalKind::Syntax, offset, message);
        self.bad_line.get_or_insert(refusal);
    }

    fn finish(mut self) -> Result<Ini<'f>, Refusal> {
        if let Some(refusal) = self.bad_line {
            return Err(refusal);
        }
        let sections = self.ini.sections.iter_mut().flat_map(|section| section.keys.values_mut());
        for value in self.ini.defaults.values_mut().chain(sections) {
            let length = value.text.trim_end_matches(is_space).len();
            value.text.truncate(length);
        }
        Ok(self.ini)
    }
}

/// The name in `[name]`; anything may follow the last bracket.
fn header(line: &str) -> Option<&str> {
    let name = line.strip_prefix('[')?;
    let end = name.rfind(']')?;
    Some(&name[..end]).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, section: &str, key: &str) -> Option<String> {
        let file = SourceFile::new("f", text);
        let ini = Ini::parse(&file).unwrap_or_else(|refusal| panic!("{refusal}"));
        let section = ini.section(section)?;
        ini.get(section, key).map(|value| value.text.clone())
    }

    fn refusal(text: &str) -> String {
        let file = SourceFile::new("f", text);
        Ini::parse(&file).map(|_| ()).expect_err("refused").to_string()
    }

    #[test]
    fn keys_are_in_any_case_and_both_separators_count() {
        let text = "[DEFAULT]\nd = 1\n[a] ; x\nKey = v = w\nother: x:y\r\nNone =\n[b]\nd=2";
        assert_eq!(value(text, "a", "key").as_deref(), Some("v = w"));
        assert_eq!(value(text, "a", "other").as_deref(), Some("x:y"));
        assert_eq!(value(text, "a", "none").as_deref(), Some(""));
        assert_eq!(value(text, "a", "d").as_deref(), Some("1"));
        assert_eq!(value(text, "b", "d").as_deref(), Some("2"));
    }

    #[test]
    fn indented_lines_go_on_and_comment_lines_are_left_out() {
        let text = "[a]\nk =\n  1,\n  # no\n ; no\n\n  2\nl = 3 ; stays\n   m = 4\n";
        assert_eq!(value(text, "a", "k").as_deref(), Some("\n1,\n\n2"));
        assert_eq!(value(text, "a", "l").as_deref(), Some("3 ; stays\nm = 4"));
        assert_eq!(value(text, "a", "m"), None);
    }

    #[test]
    fn each_byte_of_a_value_has_its_place() {
        let text = "[a]\nk = x,\n  yz\n";
        let file = SourceFile::new("f", text);
        let ini = Ini::parse(&file).expect("a file");
        let value = ini.get(ini.section("a").expect("a section"), "k").expect("a value");
        assert_eq!(value.text, "x,\nyz");
        let places: Vec<String> =
            [0, 1, 3, 4].iter().map(|at| ini.place(value.offset(*at)).to_string()).collect();
        assert_eq!(places, ["f:2:5", "f:2:6", "f:3:3", "f:3:4"]);
    }

    #[test]
    fn what_python_raises_is_refused_with_its_line() {
        let cases = [
            ("k = 1\n[a]\n", "f:1:1: \"k = 1\" is before the first [section] [syntax]"),
            (
                "[a]\n\n[a]\n",
                "f:3:1: section [a] is already on line 1; join the two [duplicate-section]",
            ),
            (
                "[a]\nk=1\nK=2\n",
                "f:3:1: K is given twice in this section; leave one out [duplicate-key]",
            ),
            ("[a]\nk\n[b]\n", "f:2:1: \"k\" has no `=` or `:` [syntax]"),
            ("[a]\n= 1\n", "f:2:1: \"= 1\" has no key [syntax]"),
            (
                "[DEFAULT]\nk=1\n[DEFAULT]\nk=2",
                "f:4:1: K is given twice in this section; leave one out [duplicate-key]",
            ),
        ];
        for (text, said) in cases {
            assert_eq!(refusal(text), said);
        }
    }
}
