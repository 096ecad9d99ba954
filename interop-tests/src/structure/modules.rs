//! One file as the modules in it: what each defines, imports and names. Code for tests is left out.

use std::collections::BTreeSet;

use super::tokens::{Token, tokens};

/// One module as far as its own text goes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Module {
    /// Its name; nothing for the file's own.
    pub(super) name: String,
    /// The items it defines, modules aside.
    pub(super) defined: BTreeSet<String>,
    /// Modules declared with `mod name;`: each is a file of its own.
    pub(super) in_files: Vec<String>,
    /// Modules written out in place.
    pub(super) in_place: Vec<Module>,
    /// What `use` brings in, at whatever depth.
    pub(super) imports: Vec<Import>,
    /// Paths of two segments or more in the code.
    pub(super) paths: Vec<Vec<String>>,
    /// Words in the code that may name an item: no field, no method.
    pub(super) words: BTreeSet<String>,
}

/// One name of a `use`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) path: Vec<String>,
    /// Under which name; nothing for all names of `path`.
    pub(super) name: Option<String>,
    /// Brought in for others too.
    pub(super) is_shared: bool,
}

/// Reads the text of a file.
pub(super) fn module(text: &str) -> Module {
    let mut reader = Reader {
        tokens: tokens(text),
        at: 0,
    };
    let mut module = Module::default();
    reader.body(&mut module);
    module
}

/// Keywords that begin an item with a name behind them.
const ITEMS: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "const", "static", "union"];
/// Items that end with `;` even where they hold braces.
const STATEMENTS: [&str; 5] = ["use", "const", "static", "type", "let"];

struct Reader<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + ahead).copied()
    }

    fn word(&self, ahead: usize) -> Option<&'a str> {
        match self.peek(ahead) {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn is_sign(&self, ahead: usize, sign: char) -> bool {
        self.peek(ahead) == Some(Token::Sign(sign))
    }

    /// Reads up to the `}` that closes the module, or to the end.
    fn body(&mut self, module: &mut Module) {
        let mut depth = 0_usize;
        let mut is_shared = false;
        while let Some(token) = self.peek(0) {
            let shared_before = std::mem::take(&mut is_shared);
            match token {
                Token::Sign('#') => self.attributes(module),
                Token::Sign('{' | '(' | '[') => {
                    depth += 1;
                    self.at += 1;
                }
                Token::Sign('}') if depth == 0 => {
                    self.at += 1;
                    return;
                }
                Token::Sign('}' | ')' | ']') => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                }
                Token::Word("pub") => {
                    self.at += 1;
                    if self.is_sign(0, '(') && matches!(self.word(1), Some("crate" | "super" | "self" | "in")) {
                        self.skip_group();
                    }
                    is_shared = true;
                }
                Token::Word("use") if !self.is_sign(1, '<') => {
                    self.at += 1;
                    self.import(&mut Vec::new(), shared_before, &mut module.imports);
                }
                Token::Word("mod") if self.word(1).is_some() => self.module(module),
                Token::Word("macro_rules") if self.is_sign(1, '!') => {
                    self.at += 2;
                    module.defined.extend(self.word(0).map(str::to_owned));
                    self.at += 1;
                }
                Token::Word(keyword) if depth == 0 && ITEMS.contains(&keyword) => {
                    self.at += 1;
                    let name = match self.word(0) {
                        Some("mut") => self.word(1),
                        Some("fn" | "unsafe" | "async" | "extern") | None => None,
                        name => name,
                    };
                    module.defined.extend(name.map(str::to_owned));
                }
                Token::Word(_) => self.path(module),
                Token::Colons => {
                    // `<T as Trait>::Name`, `::outside::Name`: what follows belongs to nobody here.
                    self.at += 1;
                    while matches!(self.peek(0), Some(Token::Word(_) | Token::Colons)) {
                        self.at += 1;
                    }
                }
                // A field, a method, or the end of a range: only `..` may be followed by a name of an item.
                Token::Sign('.') if self.word(1).is_some() && !self.is_second_dot() => self.at += 2,
                Token::Text(_) | Token::Sign(_) => self.at += 1,
            }
        }
    }

    fn is_second_dot(&self) -> bool {
        self.at > 0 && self.tokens.get(self.at - 1) == Some(&Token::Sign('.'))
    }

    /// A word, or a path of several.
    fn path(&mut self, module: &mut Module) {
        let mut path = Vec::new();
        while let Some(word) = self.word(0) {
            path.push(word.to_owned());
            self.at += 1;
            if !(self.peek(0) == Some(Token::Colons) && self.word(1).is_some()) {
                break;
            }
            self.at += 1;
        }
        module.words.extend(path.first().cloned());
        if path.len() > 1 {
            module.paths.push(path);
        }
    }

    fn module(&mut self, parent: &mut Module) {
        let name = self.word(1).unwrap_or_default().to_owned();
        self.at += 2;
        if self.is_sign(0, '{') {
            self.at += 1;
            let mut child = Module {
                name,
                ..Module::default()
            };
            self.body(&mut child);
            parent.in_place.push(child);
        } else {
            parent.in_files.push(name);
        }
    }

    /// Attributes at this place. What stands under one for tests is skipped.
    fn attributes(&mut self, module: &mut Module) {
        let mut for_tests = false;
        while self.is_sign(0, '#') {
            self.at += 1;
            if self.is_sign(0, '!') {
                self.at += 1;
            }
            let from = self.at;
            self.skip_group();
            let content = &self.tokens[from.min(self.at)..self.at];
            for_tests |= is_for_tests(content);
            // `#[serde(with = "path::to::module")]`
            for token in content {
                if let Token::Text(text) = token
                    && text.contains("::")
                    && text
                        .split("::")
                        .all(|part| part.chars().all(|c| c.is_alphanumeric() || c == '_'))
                {
                    module.paths.push(text.split("::").map(str::to_owned).collect());
                }
            }
        }
        if for_tests {
            self.skip_item();
        }
    }

    /// From an opening bracket behind the one that closes it.
    fn skip_group(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.peek(0) {
            match token {
                Token::Sign('{' | '(' | '[') => depth += 1,
                Token::Sign('}' | ')' | ']') => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// Behind one item, statement, field or variant.
    fn skip_item(&mut self) {
        let mut words = (0..8)
            .filter_map(|ahead| self.word(ahead))
            .skip_while(|word| matches!(*word, "pub" | "crate" | "super" | "in"));
        let keyword = words.next();
        let is_statement = keyword.is_some_and(|word| STATEMENTS.contains(&word)) && words.next() != Some("fn");
        let is_item = keyword.is_some_and(|word| {
            ITEMS.contains(&word)
                || matches!(
                    word,
                    "mod" | "impl" | "use" | "async" | "unsafe" | "macro_rules" | "let"
                )
        });
        while let Some(token) = self.peek(0) {
            match token {
                Token::Sign('}' | ')' | ']') => return,
                Token::Sign(';') => {
                    self.at += 1;
                    return;
                }
                Token::Sign(',') if !is_item => {
                    self.at += 1;
                    return;
                }
                Token::Sign('{') if !is_statement => {
                    self.skip_group();
                    return;
                }
                Token::Sign('{' | '(' | '[') => self.skip_group(),
                _ => self.at += 1,
            }
        }
    }

    /// The tree behind `use`, up to its end.
    fn import(&mut self, path: &mut Vec<String>, is_shared: bool, imports: &mut Vec<Import>) {
        let depth = path.len();
        loop {
            match self.peek(0) {
                Some(Token::Word("as")) => {
                    let name = self.word(1).map(str::to_owned);
                    self.at += 2;
                    imports.push(Import {
                        path: path.clone(),
                        name,
                        is_shared,
                    });
                    break;
                }
                Some(Token::Word("self")) if depth > 0 && path.len() == depth => self.at += 1,
                Some(Token::Word(word)) => {
                    path.push(word.to_owned());
                    self.at += 1;
                }
                Some(Token::Colons) => self.at += 1,
                Some(Token::Sign('*')) => {
                    self.at += 1;
                    imports.push(Import {
                        path: path.clone(),
                        name: None,
                        is_shared,
                    });
                    break;
                }
                Some(Token::Sign('{')) => {
                    self.at += 1;
                    while self.peek(0).is_some() && !self.is_sign(0, '}') {
                        self.import(path, is_shared, imports);
                        if self.is_sign(0, ',') {
                            self.at += 1;
                        } else if !self.is_sign(0, '}') {
                            // Not Rust: go on rather than stand still.
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    break;
                }
                _ => {
                    imports.push(Import {
                        path: path.clone(),
                        name: path.last().cloned(),
                        is_shared,
                    });
                    break;
                }
            }
        }
        path.truncate(depth);
    }
}

/// `#[test]`, `#[cfg(test)]`, `#[cfg(all(test, …))]`; not `#[cfg(not(test))]`.
fn is_for_tests(content: &[Token<'_>]) -> bool {
    let words: Vec<&str> = content
        .iter()
        .filter_map(|token| match token {
            Token::Word(word) => Some(*word),
            _ => None,
        })
        .collect();
    match words.as_slice() {
        ["test"] => true,
        ["cfg", rest @ ..] => rest.contains(&"test") && !rest.contains(&"not"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(text: &str) -> Vec<(String, Option<String>, bool)> {
        let imports = module(text).imports.into_iter();
        imports
            .map(|import| (import.path.join("::"), import.name, import.is_shared))
            .collect()
    }

    #[test]
    fn imports_are_taken_apart() {
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(
            imports("use a::{self, b::{C, D as E}, f::*};\npub(crate) use super::g::H;\nfn i() { use j::K as _; }"),
            [
                ("a".into(), some("a"), false),
                ("a::b::C".into(), some("C"), false),
                ("a::b::D".into(), some("E"), false),
                ("a::f".into(), None, false),
                ("super::g::H".into(), some("H"), true),
                ("j::K".into(), some("_"), false),
            ]
        );
    }

    #[test]
    fn items_modules_and_paths_are_seen() {
        let read = module(
            "mod one;\npub(crate) mod two { use super::X; pub(super) fn inner() {} }\n\
             pub const fn f() -> one::A { crate::b::C::new(self.one.two) }\n\
             struct S { t: T }\nmacro_rules! m { () => { $crate::d::E } }\nstatic mut U: u8 = 1;",
        );
        assert_eq!(read.in_files, ["one"]);
        assert_eq!(read.in_place[0].name, "two");
        assert_eq!(read.in_place[0].imports[0].path, ["super", "X"]);
        assert_eq!(read.defined.iter().collect::<Vec<_>>(), ["S", "U", "f", "m"]);
        let paths: Vec<String> = read.paths.iter().map(|path| path.join("::")).collect();
        assert_eq!(paths, ["one::A", "crate::b::C::new", "crate::d::E"]);
        assert!(read.words.contains("T") && !read.words.contains("two"));
    }

    #[test]
    fn code_for_tests_is_left_out() {
        let read = module(
            "#[cfg(test)]\nmod tests;\n#[cfg(test)]\nuse a::{b, c};\nstruct S {\n#[cfg(test)]\nd: e::F,\ng: h::I }\n\
             impl S { #[cfg(test)]\npub(crate) const fn f<A, B>(a: A) { crate::n::o() } fn p() { crate::q::r() } }\n\
             #[cfg(not(test))]\nconst K: u8 = s::T;\n#[cfg(test)]\nmod more { use super::u; }\nuse v::W;",
        );
        assert!(read.in_files.is_empty() && read.in_place.is_empty());
        let paths: Vec<String> = read.paths.iter().map(|path| path.join("::")).collect();
        assert_eq!(paths, ["h::I", "crate::q::r", "s::T"]);
        assert_eq!(read.imports.len(), 1);
    }

    #[test]
    fn a_module_named_in_an_attribute_counts() {
        let read = module("struct S { #[serde(with = \"crate::a::b\")] c: D }");
        assert_eq!(read.paths, [["crate", "a", "b"]]);
    }
}
