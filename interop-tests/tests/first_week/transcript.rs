//! What a person types and sees, as a text that is compared with the one that lies beside the tests.
//!
//! Commands run on a terminal of [`COLUMNS`] columns. Lines that come on standard error stand behind those of standard output
//! and begin with `| `. What differs from run to run is replaced by a word of its kind and, where it matters which one it is, a
//! number: `NAME1` is the same name wherever it stands, and `HASH2` the same block.

use std::fs;

use interop_tests::process::Finished;
use interop_tests::terminal::{self, Messages};
use interop_tests::{Failure, Node, Outcome, Workspace, repository};

use crate::next_steps::Followed;

/// How wide the terminal of a person is.
const COLUMNS: u16 = 100;
/// The first year that no date in the tables of the tests has.
const FIRST_YEAR: &str = "2026";
/// Shortest prefixes of ids and hashes, in characters, that are taken for some.
const MIN_ID: usize = 8;

/// Somebody with a workspace.
pub(super) struct Person {
    pub(super) name: &'static str,
    pub(super) workspace: Workspace,
    /// Their node, while it runs.
    node: Option<Node>,
}

impl Person {
    pub(super) fn new(name: &'static str) -> Outcome<Person> {
        Ok(Person {
            name,
            workspace: Workspace::new()?,
            node: None,
        })
    }

    /// The address of their node.
    pub(super) fn address(&self) -> Outcome<&str> {
        let node = self.node.as_ref().ok_or("no node runs")?;
        Ok(&node.address)
    }
}

/// What was typed and seen so far.
pub(super) struct Transcript {
    file: &'static str,
    text: String,
    ids: Vec<(Kind, String)>,
    /// Folders and what they are called.
    folders: Vec<(String, String)>,
    followed: Followed,
}

/// What is numbered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Hash,
    Dataset,
    Peer,
    Content,
    Ticket,
}

impl Kind {
    /// The kind of a word of letters and digits, and the part of it that tells it from others.
    fn of(word: &str) -> Option<(Kind, &str)> {
        let is_id = |rest: &str| rest.len() >= MIN_ID && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_hex = |rest: &str| rest.len() >= MIN_ID && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
        let after = |prefix: &str| word.strip_prefix(prefix);
        if let Some(rest) = after("k51").filter(|rest| is_id(rest)) {
            // All names begin with the same letters.
            return Some((Kind::Name, rest.strip_prefix("qzi5uqu5d").unwrap_or(rest)));
        }
        if let Some(rest) = after("odfs1").filter(|rest| is_id(rest)) {
            return Some((Kind::Ticket, rest));
        }
        if let Some(rest) = after("12D3KooW").filter(|rest| is_id(rest)) {
            return Some((Kind::Peer, rest));
        }
        if let Some(rest) = after("bafy").filter(|rest| is_id(rest)) {
            return Some((Kind::Content, rest));
        }
        if let Some(rest) = after("fed01").filter(|rest| is_hex(rest)) {
            return Some((Kind::Dataset, rest));
        }
        let rest = after("f1620").unwrap_or(word);
        // Eight are what listings show; there may be no letter among them.
        let has_both =
            rest.bytes().any(|byte| byte.is_ascii_digit()) && rest.bytes().any(|byte| byte.is_ascii_lowercase());
        (is_hex(rest) && (rest.len() == MIN_ID || has_both)).then_some((Kind::Hash, rest))
    }

    fn word(self) -> &'static str {
        match self {
            Kind::Name => "NAME",
            Kind::Hash => "HASH",
            Kind::Dataset => "DATASET",
            Kind::Peer => "PEER",
            Kind::Content => "CONTENT",
            Kind::Ticket => "TICKET",
        }
    }
}

impl Transcript {
    /// A text that is compared with the file of this name.
    pub(super) fn new(file: &'static str, title: &str) -> Transcript {
        Transcript {
            file,
            text: format!("# {title}\n"),
            ids: Vec::new(),
            folders: Vec::new(),
            followed: Followed::default(),
        }
    }

    /// Says what somebody has in mind.
    pub(super) fn note(&mut self, text: &str) {
        self.text.push_str(&format!("\n# {text}\n"));
    }

    /// Writes a file of that person, and shows it.
    pub(super) fn write(&mut self, person: &Person, name: &str, content: &str) -> Outcome {
        person.workspace.write(name, content)?;
        self.typed(person, &format!("cat {name}"));
        self.text.push_str(content);
        Ok(())
    }

    /// Shows a file of that person.
    pub(super) fn show(&mut self, person: &Person, name: &str) -> Outcome {
        let content = fs::read_to_string(person.workspace.path().join(name))?;
        self.typed(person, &format!("cat {name}"));
        let content = self.plain(&content);
        self.text.push_str(&content);
        Ok(())
    }

    /// Hands a file over.
    pub(super) fn hand(&mut self, from: &Person, name: &str, to: &Person) -> Outcome {
        fs::copy(from.workspace.path().join(name), to.workspace.path().join(name))?;
        self.typed(from, &format!("cp {name} ~/{}/", to.name));
        Ok(())
    }

    /// Starts the node of that person in the background.
    pub(super) fn start_node(&mut self, person: &mut Person) -> Outcome {
        person.node = Some(person.workspace.node()?);
        self.typed(person, "odfs node &");
        Ok(())
    }

    /// Stops the node of that person.
    pub(super) fn stop_node(&mut self, person: &mut Person) -> Outcome {
        if let Some(node) = person.node.take() {
            let ended = node.stop()?;
            self.typed(person, "kill -INT %1");
            self.seen("", &ended.stderr);
        }
        Ok(())
    }

    /// Runs `odfs LINE`, which must succeed.
    pub(super) fn odfs(&mut self, person: &Person, line: &str) -> Outcome<Finished> {
        self.run(person, line, "")?.success()
    }

    /// Runs `odfs LINE`, which must be refused with this exit code, and say how to go on.
    pub(super) fn refused(&mut self, person: &Person, line: &str, code: i32) -> Outcome<Finished> {
        let refused = self.run(person, line, "")?.refusal()?;
        if refused.code() != Some(code) {
            return Err(refused.failure(&format!("should end with {code}")));
        }
        if !["Next: ", "tip: "].iter().any(|way| refused.stderr.contains(way)) {
            return Err(refused.failure("names no next step"));
        }
        Ok(refused)
    }

    /// Runs `odfs LINE` as cron and scripts do: without a terminal.
    pub(super) fn unattended(&mut self, person: &Person, line: &str) -> Outcome<Finished> {
        let ended = person.workspace.run(words(line)?)?;
        self.ended(person, line, ended)
    }

    /// Runs `odfs LINE` with these answers typed, and then what it names as next steps, each on a copy of the workspace as it
    /// is then.
    pub(super) fn run(&mut self, person: &Person, line: &str, answers: &str) -> Outcome<Finished> {
        let words = words(line)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut ended = terminal::run(&person.workspace, COLUMNS, Messages::Apart, &words, answers)?;
        // A terminal shows an answer behind its question.
        ended.stderr = ended.stderr.replacen("[y/N] ", &format!("[y/N] {answers}"), 1);
        if let Some(rest) = ended.stdout.strip_prefix(answers.as_bytes()) {
            ended.stdout = rest.to_vec();
        }
        self.ended(person, line, ended)
    }

    fn ended(&mut self, person: &Person, line: &str, ended: Finished) -> Outcome<Finished> {
        self.typed(person, &format!("odfs {line}"));
        self.seen(&String::from_utf8_lossy(&ended.stdout), &ended.stderr);
        match ended.code() {
            Some(0) => {}
            Some(code) => self.text.push_str(&format!("(exit {code})\n")),
            None => return Err(ended.failure("was ended from outside")),
        }
        if ended.stderr.contains("Next: ") {
            if person.node.is_some() {
                self.followed.follow(&person.workspace, &ended)?;
            } else {
                let saved = person.workspace.save()?;
                let followed = self.followed.follow(&person.workspace, &ended);
                person.workspace.restore(&saved)?;
                followed?;
            }
        }
        Ok(ended)
    }

    fn typed(&mut self, person: &Person, line: &str) {
        let path = person.workspace.path().display().to_string();
        if !self.folders.iter().any(|(known, _)| *known == path) {
            self.folders.push((path, format!("~/{}", person.name)));
        }
        let line = self.plain(line);
        self.text.push_str(&format!("\n{}$ {line}\n", person.name));
    }

    fn seen(&mut self, stdout: &str, stderr: &str) {
        let stdout = self.plain(stdout.trim_end());
        if !stdout.is_empty() {
            self.text.push_str(&format!("{stdout}\n"));
        }
        let stderr = self.plain(stderr.trim_end());
        for line in stderr.lines() {
            self.text.push_str(format!("| {line}").trim_end());
            self.text.push('\n');
        }
    }

    /// A text with what differs from run to run replaced.
    fn plain(&mut self, text: &str) -> String {
        let mut text = text.replace('\r', "");
        for (path, name) in &self.folders {
            text = text.replace(path, name);
        }
        let mut plain = String::new();
        for line in text.split_inclusive('\n') {
            plain.push_str(&self.plain_line(line));
        }
        plain
    }

    fn plain_line(&mut self, line: &str) -> String {
        let mut plain = String::new();
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let is_table = line.starts_with('│');
            if let Some((width, word)) = time(rest, is_table).or_else(|| port(rest)).or_else(|| duration(rest)) {
                plain.push_str(&padded(is_table, word, width));
                rest = &rest[width..];
                continue;
            }
            let width = rest
                .find(|letter: char| !letter.is_ascii_alphanumeric())
                .unwrap_or(rest.len());
            if width == 0 {
                plain.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
            let (word, behind) = rest.split_at(width);
            if let Some((kind, shortened)) = shortened(word, behind) {
                let known = self
                    .ids
                    .iter()
                    .find(|known| known.0 == kind && known.1.ends_with(shortened));
                let word = match known.map(|(_, id)| id.clone()) {
                    Some(id) => self.number(kind, &id),
                    None => format!("{}…", kind.word()),
                };
                let width = width + shortened.len();
                plain.push_str(&padded(is_table, &word, width + 1));
                rest = &rest[width + '…'.len_utf8()..];
                continue;
            }
            match Kind::of(word) {
                Some((kind, id)) => {
                    let word = self.number(kind, id);
                    plain.push_str(&padded(is_table, &word, width));
                }
                None => plain.push_str(word),
            }
            rest = behind;
        }
        plain
    }

    /// The word for an id that may be shortened.
    fn number(&mut self, kind: Kind, id: &str) -> String {
        // Listings show the end of a hash.
        let is_part = |long: &str, short: &str| long.starts_with(short) || long.ends_with(short);
        let is_same = |known: &(Kind, String)| known.0 == kind && (is_part(&known.1, id) || is_part(id, &known.1));
        let at = self.ids.iter().position(is_same).unwrap_or_else(|| {
            self.ids.push((kind, id.to_owned()));
            self.ids.len() - 1
        });
        if self.ids[at].1.len() < id.len() {
            self.ids[at].1 = id.to_owned();
        }
        let number = self.ids[..=at].iter().filter(|known| known.0 == kind).count();
        format!("{}{number}", kind.word())
    }

    /// Compares the text with the file, or writes it there if that is wanted.
    pub(super) fn end(self) -> Outcome {
        let path = repository().join("interop-tests/tests/first_week").join(self.file);
        if std::env::var_os("ODFS_BLESS").is_some() {
            return Ok(fs::write(path, self.text)?);
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if expected == self.text {
            return Ok(());
        }
        let mut lines = expected.lines().zip(self.text.lines()).enumerate();
        let differs = lines.find(|(_, (before, now))| before != now);
        let shown = differs.map_or_else(
            || "one of them goes on".to_owned(),
            |(at, (before, now))| format!("line {}\n- {before}\n+ {now}", at + 1),
        );
        Err(Failure::new(format!(
            "what is seen is not what {} has; read it, and run ODFS_BLESS=1 cargo test -p interop-tests first_week if it is right\n{shown}\n--- now\n{}",
            path.display(),
            self.text
        )))
    }
}

/// The end of an id that a narrow terminal shows as `word`, `…` and that.
fn shortened<'a>(word: &str, behind: &'a str) -> Option<(Kind, &'a str)> {
    let kind = match word {
        "f" => Kind::Dataset,
        _ if word.starts_with("k51") => Kind::Name,
        _ => return None,
    };
    let end = behind.strip_prefix('…')?;
    let width = end.bytes().take_while(u8::is_ascii_alphanumeric).count();
    (width > 0).then_some((kind, &end[..width]))
}

/// The word in place of something `width` characters wide: as wide where columns stand below each other.
fn padded(is_table: bool, word: &str, width: usize) -> String {
    match is_table {
        true => format!("{word:<width$}"),
        false => word.to_owned(),
    }
}

/// A date of today or later, with its time if there is one, at the beginning of `text`: its width, and the word for it. In a
/// table the time may stand in a line of its own.
fn time(text: &str, is_table: bool) -> Option<(usize, &'static str)> {
    let like = |pattern: &str, text: &str| {
        text.len() >= pattern.len()
            && pattern.bytes().zip(text.bytes()).all(|(wanted, found)| match wanted {
                b'0' => found.is_ascii_digit(),
                _ => wanted == found,
            })
    };
    if is_table && like("00:00 ", text) {
        return Some((5, "TIME"));
    }
    if !like("0000-00-00", text) || &text[..FIRST_YEAR.len()] < FIRST_YEAR {
        return None;
    }
    let rest = text.get(10..)?;
    if !like("T00:00", rest) && !like(" 00:00", rest) {
        return Some((10, "DATE"));
    }
    let more = rest[6..]
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.' | b'Z'));
    Some((16 + more.count(), "TIME"))
}

/// The port in an address on this machine.
fn port(text: &str) -> Option<(usize, &'static str)> {
    for before in ["127.0.0.1:", "127.0.0.1/tcp/", "127.0.0.1/udp/"] {
        if let Some(rest) = text.strip_prefix(before) {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let word = match before {
                "127.0.0.1:" => "127.0.0.1:PORT",
                "127.0.0.1/tcp/" => "127.0.0.1/tcp/PORT",
                _ => "127.0.0.1/udp/PORT",
            };
            return (digits > 0).then_some((before.len() + digits, word));
        }
    }
    None
}

/// How long ago something was, at the beginning of `text`.
fn duration(text: &str) -> Option<(usize, &'static str)> {
    let is_number = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let digits = text.bytes().take_while(is_number).count();
    let unit = text[digits..].strip_prefix(' ')?.split(' ').next()?;
    let is_ago = text[digits + 1 + unit.len()..].starts_with(" ago");
    (digits > 0 && is_ago).then_some((digits + 1 + unit.len(), "SOME TIME"))
}

/// The words of a line, as a shell takes them: `'…'` is one.
fn words(line: &str) -> Outcome<Vec<String>> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    match line.matches('\'').count() % 2 {
        0 => Ok(words),
        _ => Err(Failure::new(format!("a quote is open: {line}"))),
    }
}

#[test]
fn only_what_differs_is_replaced() {
    let mut seen = Transcript::new("none.txt", "none");
    let hash = "f16205e7a1c0b2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9";
    let text = format!("Updated to {hash} at 2026-11-27T13:35:40.123Z, see c6d7e8f9, of 2024-01-01 and 1234567 rows\n");
    assert_eq!(
        seen.plain(&text),
        "Updated to HASH1 at TIME, see HASH1, of 2024-01-01 and 1234567 rows\n"
    );
    assert_eq!(
        seen.plain("http://127.0.0.1:8080/ipns/k51qzi5uqu5dabcdefgh1 until 2026-12-01"),
        "http://127.0.0.1:PORT/ipns/NAME1 until DATE"
    );
}
