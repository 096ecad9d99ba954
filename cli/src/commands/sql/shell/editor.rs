//! What helps with typing: where a statement ends, and names that can stand at a place.

use std::cell::RefCell;
use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};
use serde_json::Value;

/// How long names that were asked for are taken to be those that there are.
const FRESH: Duration = Duration::from_secs(10);

/// Words that statements are made of.
const WORDS: [&str; 44] = [
    "select",
    "from",
    "where",
    "group by",
    "order by",
    "having",
    "limit",
    "offset",
    "join",
    "left join",
    "on",
    "using",
    "with",
    "as",
    "and",
    "or",
    "not",
    "in",
    "is null",
    "is not null",
    "like",
    "between",
    "case",
    "when",
    "then",
    "else",
    "end",
    "distinct",
    "union all",
    "except",
    "intersect",
    "over",
    "partition by",
    "desc",
    "count(*)",
    "sum(",
    "avg(",
    "min(",
    "max(",
    "to_table('",
    "as_of('",
    "describe",
    "show tables",
    "explain",
];

/// The helper of the line editor.
#[derive(Default)]
pub(super) struct Assistant {
    names: RefCell<Option<(Instant, Vec<String>)>>,
    columns: RefCell<HashMap<String, Vec<String>>>,
}

impl Assistant {
    /// The names of the datasets that are here.
    fn names(&self) -> Vec<String> {
        let mut names = self.names.borrow_mut();
        match &*names {
            Some((asked, names)) if asked.elapsed() < FRESH => names.clone(),
            _ => {
                let found = ask(&["list", "--output", "json"], "Name");
                *names = Some((Instant::now(), found.clone()));
                found
            }
        }
    }

    /// The columns of the datasets that a text names.
    fn columns(&self, text: &str) -> Vec<String> {
        let mut columns = self.columns.borrow_mut();
        let named = self.names().into_iter().filter(|name| text.contains(name.as_str()));
        let each = named.flat_map(|name| {
            let describe = format!("describe \"{name}\"");
            let asked = || ask(&["sql", "--output", "json", "--command", &describe], "column_name");
            columns.entry(name.clone()).or_insert_with(asked).clone()
        });
        each.collect()
    }
}

/// One member of each object that an odfs command lists; nothing if that goes wrong.
fn ask(words: &[&str], member: &str) -> Vec<String> {
    let answer = std::env::current_exe().ok().and_then(|program| {
        let mut command = Command::new(program);
        command
            .args(words)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()
    });
    let listed = answer.and_then(|answer| serde_json::from_slice::<Vec<Value>>(&answer.stdout).ok());
    let text = |object: Value| object.get(member).and_then(Value::as_str).map(str::to_owned);
    listed.into_iter().flatten().filter_map(text).collect()
}

/// Whether a name needs no quotes.
fn is_plain(name: &str) -> bool {
    let mut signs = name.chars();
    let first = signs
        .next()
        .is_some_and(|sign| sign.is_ascii_alphabetic() || sign == '_');
    first && signs.all(|sign| sign.is_ascii_alphanumeric() || sign == '_' || sign == '.')
}

/// Where the word begins that ends at the end of a text.
fn word_of(text: &str) -> usize {
    let is_part = |sign: char| sign.is_alphanumeric() || "_.-@\"\\".contains(sign);
    text.trim_end_matches(is_part).len()
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let before = line.get(..at).unwrap_or(line);
        let start = word_of(before);
        let typed = before.get(start..).unwrap_or_default();
        let wanted = typed.trim_start_matches('"').to_lowercase();
        let fits = |name: &&String| name.to_lowercase().starts_with(&wanted);
        let quoted = |name: &String| match is_plain(name) && !typed.starts_with('"') {
            true => name.clone(),
            false => format!("\"{}\"", name.replace('"', "\"\"")),
        };
        let names = self.names();
        let mut found: Vec<String> = names.iter().filter(fits).map(quoted).collect();
        found.extend(self.columns(line).iter().filter(fits).map(quoted));
        if !typed.starts_with('"') && !typed.is_empty() {
            let words = WORDS.iter().filter(|word| word.starts_with(&wanted));
            found.extend(words.map(|word| (*word).to_owned()));
        }
        found.sort();
        found.dedup();
        Ok((start, found))
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match is_complete(context.input()) {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

impl Hinter for Assistant {
    type Hint = String;
}

impl Highlighter for Assistant {}

impl Helper for Assistant {}

/// Whether what was typed can be done: nothing, a word for the shell, or statements to their last semicolon.
fn is_complete(text: &str) -> bool {
    let text = text.trim();
    let is_word = text.starts_with('\\') || ["exit", "quit", "help"].contains(&text);
    text.is_empty() || is_word || (text.ends_with(';') && !is_within_quotes(text))
}

/// Whether the end of a text is within quotes.
fn is_within_quotes(text: &str) -> bool {
    let mut open = None;
    for sign in text.chars() {
        match open {
            Some(quote) if quote == sign => open = None,
            None if sign == '\'' || sign == '"' => open = Some(sign),
            _ => {}
        }
    }
    open.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_with_its_semicolon() {
        for text in [
            "",
            "  ",
            "\\d",
            "\\d name",
            "select 1;",
            "select ';';",
            "quit",
            "select 1;\nselect 2; ",
        ] {
            assert!(is_complete(text), "{text}");
        }
        for text in ["select 1", "select ';", "select \";", "select 1;\nselect 2"] {
            assert!(!is_complete(text), "{text}");
        }
    }

    #[test]
    fn names_that_are_no_words_of_sql_are_quoted() {
        for name in ["a", "a_1", "org.example.a"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["a-b", "1a", "", "a b", "ä"] {
            assert!(!is_plain(name), "{name}");
        }
        assert_eq!(word_of("select * from org.ex"), 14);
        assert_eq!(word_of("select \"a-"), 7);
        assert_eq!(word_of("select "), 7);
    }
}
