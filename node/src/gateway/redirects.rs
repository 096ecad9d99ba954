//! `_redirects`: what a site has to say about paths that it does not have.
//!
//! Spec: <https://specs.ipfs.tech/http-gateways/web-redirects-file/>. Asked only where content has an origin of its own.

use std::sync::Arc;

use axum::http::StatusCode;

use super::asking::{Asking, Rooted};
use super::file;
use super::question::Question;
use super::refusal::Refusal;
use super::source::Source;
use crate::percent::encode;

/// The most bytes that such a file may have.
pub(super) const MAX_FILE_BYTES: u64 = 64 << 10;
const NAME: &str = "_redirects";

/// What is to be done about a path that is not there.
pub(super) enum Instead {
    /// Another place is to be asked.
    Elsewhere(StatusCode, String),
    /// Content of the site is the answer, with this status.
    Content(StatusCode, String),
}

/// What the site says about the path of a question; nothing if it does not say anything.
///
/// # Errors
/// 500 for a file that is malformed or too large; its blocks cannot be had.
pub(super) async fn instead<S: Source>(
    asking: &Arc<Asking<S>>,
    rooted: &Rooted,
    question: &Question,
) -> Result<Option<Instead>, Refusal> {
    let way = match asking.resolve(rooted.cid, &format!("{}{NAME}", rooted.base)).await {
        Ok(way) => way,
        Err(refusal) if refusal.is_no_such_path() => return Ok(None),
        Err(refusal) => return Err(refusal),
    };
    let bytes = file::beginning(asking, way.resolved.cid, MAX_FILE_BYTES + 1).await?;
    let malformed = |why: String| {
        let reason = format!("could not parse {NAME}: {why}");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, reason)
    };
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(malformed(format!(
            "redirects file size cannot exceed {MAX_FILE_BYTES} bytes"
        )));
    }
    let text = String::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8".to_owned()))?;
    rule_for(&text, &question.inner_path).map_err(malformed)
}

/// The first rule that fits a path. All of the file is read, so that what is wrong with it is seen at once.
fn rule_for(text: &str, path: &str) -> Result<Option<Instead>, String> {
    let mut found = None;
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line
            .split_whitespace()
            .take_while(|word| !word.starts_with('#'))
            .collect();
        let (from, to, status) = match words[..] {
            [] => continue,
            [from, to] => (from, to, "301"),
            [from, to, status] => (from, to, status),
            _ => return Err(format!("line {} is not FROM TO [STATUS]", number + 1)),
        };
        let status = match status {
            "200" | "301" | "302" | "303" | "307" | "308" | "404" | "410" | "451" => status.parse().ok(),
            _ => None,
        };
        let status = status.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or_else(|| format!("line {}: unsupported redirect status", number + 1))?;
        let elsewhere = to.starts_with("http://") || to.starts_with("https://");
        let leads_nowhere = !(to.starts_with('/') || elsewhere && status.is_redirection());
        if !from.starts_with('/') || leads_nowhere {
            return Err(format!("line {}: paths begin with a slash", number + 1));
        }
        if found.is_some() {
            continue;
        }
        let Some(caught) = fitting(from, path) else { continue };
        found = Some(match status.is_redirection() {
            true => Instead::Elsewhere(status, filled(to, &caught, encode)),
            false => Instead::Content(status, filled(to, &caught, str::to_owned)),
        });
    }
    Ok(found)
}

/// What the placeholders of a pattern stand for, if it fits a path.
fn fitting<'a>(pattern: &'a str, path: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
    let mut caught = Vec::new();
    let mut rest = path.trim_matches('/');
    let mut wanted = pattern
        .trim_matches('/')
        .split('/')
        .filter(|segment| !segment.is_empty())
        .peekable();
    while let Some(segment) = wanted.next() {
        if segment == "*" {
            if wanted.peek().is_some() {
                return None;
            }
            caught.push(("splat", rest));
            return Some(caught);
        }
        let (first, after) = rest.split_once('/').unwrap_or((rest, ""));
        match segment.strip_prefix(':') {
            Some(name) if !first.is_empty() => caught.push((name, first)),
            _ if segment == first => {}
            _ => return None,
        }
        rest = after;
    }
    rest.is_empty().then_some(caught)
}

/// A target with its placeholders filled in.
fn filled(to: &str, caught: &[(&str, &str)], write: impl Fn(&str) -> String) -> String {
    let fill = |segment: &str| {
        let found = segment
            .strip_prefix(':')
            .and_then(|name| caught.iter().find(|(known, _)| *known == name));
        match found {
            Some((_, value)) => value.split('/').map(&write).collect::<Vec<_>>().join("/"),
            None => segment.to_owned(),
        }
    };
    to.split('/').map(fill).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, path: &str) -> Result<(u16, String), String> {
        Ok(match rule_for(text, path)? {
            None => (0, String::new()),
            Some(Instead::Elsewhere(status, to) | Instead::Content(status, to)) => (status.as_u16(), to),
        })
    }

    #[test]
    fn the_first_rule_that_fits_is_taken() {
        let text = "# a comment\r\n/one /1.html\r\n\n/posts/:year/:title /a/:title/:year 302 # why\n\
                    /s/* https://e.example/:splat 308\n/gone/* /410.html 410\n/*/x /never 200\n/* /index.html 200\n";
        for (path, status, to) in [
            ("one", 301, "/1.html"),
            ("one/", 301, "/1.html"),
            ("posts/2022/a b", 302, "/a/a%20b/2022"),
            ("posts/2022", 200, "/index.html"),
            ("s/x/y", 308, "https://e.example/x/y"),
            ("s", 308, "https://e.example/"),
            ("gone/z", 410, "/410.html"),
            ("", 200, "/index.html"),
        ] {
            assert_eq!(told(text, path), Ok((status, to.to_owned())), "{path}");
        }
        assert_eq!(told("/a /b", "c"), Ok((0, String::new())));
    }

    #[test]
    fn a_file_that_is_wrong_anywhere_is_of_no_use() {
        for text in [
            "/a /b 301!",
            "/a /b 500",
            "/a",
            "/a /b 301 x",
            "a /b",
            "/a b",
            "/a https://e.example 200",
        ] {
            assert!(told(&format!("/x /y\n{text}\n"), "x").is_err(), "{text}");
        }
    }
}
