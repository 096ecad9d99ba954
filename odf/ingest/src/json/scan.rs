//! Cuts a JSON document into the objects of its one array, holding one of them at a time.
//!
//! The scanner only finds where values begin and end; each object's text is checked by the real parser afterwards.

use std::io::{BufRead, BufReader, Take};

use super::text::RECORD_SEPARATOR;
use crate::source::{Input, MAX_COLUMN_NAME_BYTES, MAX_ROW_BYTES, Problem, Source, SourceError, shorten};

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    /// Between the members of the outer object; true when one was seen already.
    Members(bool),
    /// Between the elements of the rows' array; true when one was seen already.
    Rows(bool),
    End,
}

/// How many members of a document without rows are named, in which there may be some.
const MAX_NAMED: usize = 5;

/// The objects of a document's array.
pub(super) struct Elements {
    source: Source,
    input: BufReader<Take<Box<dyn Input>>>,
    /// The members that lead to the rows, from the outside in; none if any array of objects will do.
    path: Vec<String>,
    /// How many of them lie around the scanner.
    inside: usize,
    /// The member in which rows were found.
    found: Option<String>,
    /// The first members of the document that are objects, where any array of objects will do.
    objects: Vec<String>,
    /// The array of rows is the document itself.
    bare: bool,
    state: State,
    /// What the document must have as its `type`, and has not had so far.
    wanted: Option<&'static str>,
    line: u64,
    consumed: u64,
}

impl Elements {
    /// `path` has the names of the members around the rows, with dots between them.
    pub(super) fn new(source: &Source, input: BufReader<Take<Box<dyn Input>>>, path: Option<&str>) -> Elements {
        Elements {
            source: source.clone(),
            input,
            path: path.map_or_else(Vec::new, |path| path.split('.').map(str::to_owned).collect()),
            inside: 0,
            found: None,
            objects: Vec::new(),
            bare: false,
            state: State::Start,
            wanted: None,
            line: 1,
            consumed: 0,
        }
    }

    /// The same of a document that must have this `type`, written as JSON.
    pub(super) fn of_type(self, wanted: &'static str) -> Elements {
        Elements {
            wanted: Some(wanted),
            ..self
        }
    }

    pub(super) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Puts the text of the next object into `text` and says on which line it begins.
    pub(super) fn next(&mut self, text: &mut Vec<u8>) -> Result<Option<u64>, SourceError> {
        loop {
            match self.state {
                State::Start => self.begin()?,
                State::Members(some) => self.member(some)?,
                State::Rows(some) => match self.after_blanks()? {
                    Some(b']') => {
                        self.bump()?;
                        self.state = if self.bare { State::End } else { State::Members(true) };
                    }
                    Some(b',') if some => {
                        self.bump()?;
                        return self.object(text).map(Some);
                    }
                    Some(_) if !some => return self.object(text).map(Some),
                    Some(_) => return Err(self.syntax("a comma or `]` is missing here")),
                    None => return Err(self.syntax("the document ends within its array")),
                },
                State::End => {
                    return match self.after_blanks()? {
                        None => Ok(None),
                        Some(_) => Err(self.syntax("there is text after the end of the document")),
                    };
                }
            }
        }
    }

    fn begin(&mut self) -> Result<(), SourceError> {
        if self.peek()? == Some(0xef) {
            for expected in [0xef, 0xbb, 0xbf] {
                if self.bump()? != Some(expected) {
                    return Err(self.source.error(Problem::NotUtf8("")));
                }
            }
        }
        match self.after_blanks()? {
            None => Err(self.source.error(Problem::Empty)),
            Some(b'[') => {
                if !self.path.is_empty() {
                    let path = self.path.join(".");
                    return Err(self.syntax(&format!("an object with an array `{path}` is wanted, not an array")));
                }
                self.bump()?;
                self.bare = true;
                self.state = State::Rows(false);
                Ok(())
            }
            Some(b'{') => {
                self.bump()?;
                self.state = State::Members(false);
                Ok(())
            }
            Some(RECORD_SEPARATOR) => {
                Err(self.syntax("a sequence of texts, not one document (--format ndjson, or ndgeojson for features)"))
            }
            Some(_) => Err(self.syntax("neither a JSON array nor an object; is it NDJSON? (--format ndjson)")),
        }
    }

    fn member(&mut self, some: bool) -> Result<(), SourceError> {
        match self.after_blanks()? {
            Some(b'}') => {
                self.bump()?;
                if self.inside > 0 {
                    self.inside -= 1;
                    self.state = State::Members(true);
                    return Ok(());
                }
                self.state = State::End;
                return match &self.found {
                    Some(_) if self.wanted.is_some() => {
                        Err(self.syntax("the document does not say that it is a FeatureCollection"))
                    }
                    Some(_) => Ok(()),
                    None if self.path.is_empty() && self.objects.is_empty() => {
                        Err(self.syntax("the document has no array of objects"))
                    }
                    None if self.path.is_empty() => {
                        let within: Vec<String> = self.objects.iter().map(|name| format!("`{name}`")).collect();
                        Err(self.syntax(&format!(
                            "no member of the document is an array of objects; where one lies further in, as it may in {}, its \
                             place is said with dots: --member {}.NAME",
                            within.join(", "),
                            self.objects.first().map_or("MEMBER", String::as_str)
                        )))
                    }
                    None => Err(self.syntax(&format!("the document has no array `{}`", self.path.join(".")))),
                };
            }
            Some(b',') if some => {
                self.bump()?;
                self.after_blanks()?;
            }
            Some(b'"') if !some => {}
            Some(_) => return Err(self.syntax("a member of an object is wanted here")),
            None => return Err(self.syntax("the document ends within its object")),
        }
        let mut key = Vec::new();
        if self.peek()? != Some(b'"') {
            return Err(self.syntax("the name of a member is wanted here"));
        }
        self.value(Some(&mut key), MAX_COLUMN_NAME_BYTES)?;
        let key: String = serde_json::from_slice(&key).map_err(|e| self.syntax(&format!("not a JSON string: {e}")))?;
        if self.after_blanks()? != Some(b':') {
            return Err(self.syntax("a colon is missing here"));
        }
        self.bump()?;
        self.state = State::Members(true);
        let begins = self.after_blanks()?;
        let on_path = self.path.get(self.inside).is_some_and(|wanted| *wanted == key);
        if on_path && self.inside + 1 < self.path.len() && begins == Some(b'{') {
            self.bump()?;
            self.inside += 1;
            self.state = State::Members(false);
            return Ok(());
        }
        if let Some(wanted) = self.wanted
            && self.inside == 0
            && key == "type"
        {
            let mut kind = Vec::new();
            self.value(Some(&mut kind), MAX_COLUMN_NAME_BYTES)?;
            self.wanted = (kind != wanted.as_bytes()).then_some(wanted);
            return Ok(());
        }
        let may_be_rows = self.path.is_empty() || on_path && self.inside + 1 == self.path.len();
        if !may_be_rows || begins != Some(b'[') {
            if self.path.is_empty() && begins == Some(b'{') && self.objects.len() < MAX_NAMED {
                self.objects.push(key);
            }
            return self.value(None, usize::MAX);
        }
        self.bump()?;
        if self.path.is_empty() && !matches!(self.after_blanks()?, Some(b'{')) {
            // Not rows: skip the rest of this array.
            return self.rest_of_array();
        }
        if let Some(first) = &self.found {
            let both = format!("both `{first}` and `{key}` are arrays of objects; say which one holds the rows");
            return Err(self.syntax(&both));
        }
        self.found = Some(key);
        self.state = State::Rows(false);
        Ok(())
    }

    fn object(&mut self, text: &mut Vec<u8>) -> Result<u64, SourceError> {
        self.state = State::Rows(true);
        let first = self.after_blanks()?;
        let line = self.line;
        text.clear();
        if first.is_none() {
            return Err(self.syntax("the document ends within its array"));
        }
        if first != Some(b'{') {
            return Err(self.syntax("an element of the array is not an object"));
        }
        self.value(Some(text), MAX_ROW_BYTES)?;
        Ok(line)
    }

    fn rest_of_array(&mut self) -> Result<(), SourceError> {
        loop {
            match self.after_blanks()? {
                Some(b']') => {
                    self.bump()?;
                    return Ok(());
                }
                Some(b',') => {
                    self.bump()?;
                }
                Some(_) => self.value(None, usize::MAX)?,
                None => return Err(self.syntax("the document ends within an array")),
            }
        }
    }

    /// Passes over one value, keeping its text if asked to. Stops right behind it.
    fn value(&mut self, mut keep: Option<&mut Vec<u8>>, limit: usize) -> Result<(), SourceError> {
        let mut depth = 0usize;
        let mut in_string = false;
        let mut escaped = false;
        let mut begun = false;
        loop {
            let Some(byte) = self.peek()? else {
                return if begun && depth == 0 && !in_string {
                    Ok(())
                } else {
                    Err(self.syntax("the document ends within a value"))
                };
            };
            let ends_scalar = matches!(byte, b',' | b']' | b'}' | b':') || byte.is_ascii_whitespace();
            if !in_string && depth == 0 && ends_scalar {
                return if begun {
                    Ok(())
                } else {
                    Err(self.syntax("a value is missing here"))
                };
            }
            self.bump()?;
            begun = true;
            if let Some(text) = keep.as_deref_mut() {
                if text.len() >= limit {
                    let problem = Problem::TooLarge {
                        limit,
                        unit: "bytes for one row or name",
                        hint: "",
                    };
                    return Err(self.source.error_at(self.line, None, problem));
                }
                text.push(byte);
            }
            if in_string {
                if escaped {
                    escaped = false;
                } else if byte == b'\\' {
                    escaped = true;
                } else if byte == b'"' {
                    in_string = false;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                continue;
            }
            match byte {
                b'"' => in_string = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }

    fn after_blanks(&mut self) -> Result<Option<u8>, SourceError> {
        while let Some(byte) = self.peek()? {
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.bump()?;
        }
        Ok(None)
    }

    fn peek(&mut self) -> Result<Option<u8>, SourceError> {
        match self.input.fill_buf() {
            Ok(buffer) => Ok(buffer.first().copied()),
            Err(error) => Err(self.source.error(Problem::Io(error))),
        }
    }

    fn bump(&mut self) -> Result<Option<u8>, SourceError> {
        let byte = self.peek()?;
        if let Some(byte) = byte {
            self.input.consume(1);
            self.consumed += 1;
            if byte == b'\n' {
                self.line += 1;
            }
        }
        Ok(byte)
    }

    fn syntax(&self, what: &str) -> SourceError {
        self.source
            .error_at(self.line, None, Problem::Syntax(shorten_message(what)))
    }
}

/// Keeps a message with a name from the file within bounds.
fn shorten_message(what: &str) -> String {
    const LONGEST: usize = 300;
    if what.len() <= LONGEST {
        what.to_owned()
    } else {
        shorten(what)
    }
}
