//! Templates in sources: `${{ env.NAME || 'default' }}` stands for the value of a variable.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// The longest text that a template may become. Longer than any URL or header a server takes.
pub const MAX_TEMPLATE_BYTES: usize = 64 << 10;

/// Why a template cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// What stands between the braces is not understood.
    #[error("`{token}` in the template `${{{{{template}}}}}` is neither env.NAME, a number nor a text in 'quotes'")]
    Token {
        /// What is not understood.
        token: String,
        /// The whole of what stands between the braces.
        template: String,
    },
    /// No variable has a value, and there is no default.
    #[error("no value for the template `${{{{{template}}}}}`")]
    NoValue {
        /// What stands between the braces.
        template: String,
        /// The variables that were looked up.
        variables: Vec<String>,
    },
    /// The values are too long.
    #[error("the template `{0}` becomes longer than {MAX_TEMPLATE_BYTES} bytes")]
    TooLong(String),
}

/// Whether a text has templates, whatever is in them.
pub(super) fn is_template(text: &str) -> bool {
    found_in(text).next().is_some()
}

/// The variables that the templates of a text name.
pub(super) fn variables(text: &str) -> impl Iterator<Item = &str> {
    let tokens = found_in(text)
        .filter_map(|found| found.get(1))
        .flat_map(|inner| inner.as_str().split("||"));
    tokens.filter_map(|token| match parse(token.trim()) {
        Some(Token::Variable(name)) => Some(name),
        _ => None,
    })
}

/// Every template of a text; the first group is what stands between the braces.
fn found_in(text: &str) -> impl Iterator<Item = Captures<'_>> {
    // Patterns of our own, which a test compiles.
    static TEMPLATE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\$\{\{([^}]*)\}\}").ok());
    TEMPLATE.iter().flat_map(move |regex| regex.captures_iter(text))
}

enum Token<'a> {
    Variable(&'a str),
    Literal(&'a str),
}

/// Fills in every template of `text`. `||` gives alternatives: the first that has a value counts. Values are not looked
/// at again, so a variable cannot hold a template.
pub(super) fn expand(text: &str, variables: &dyn Fn(&str) -> Option<String>) -> Result<String, TemplateError> {
    let mut out = String::new();
    let mut at = 0;
    for found in found_in(text) {
        let (Some(whole), Some(inner)) = (found.get(0), found.get(1)) else {
            continue;
        };
        out.push_str(text.get(at..whole.start()).unwrap_or_default());
        out.push_str(&value(inner.as_str(), variables)?);
        at = whole.end();
    }
    out.push_str(text.get(at..).unwrap_or_default());
    if out.len() > MAX_TEMPLATE_BYTES {
        return Err(TemplateError::TooLong(text.chars().take(100).collect()));
    }
    Ok(out)
}

fn value(template: &str, variables: &dyn Fn(&str) -> Option<String>) -> Result<String, TemplateError> {
    let tokens = template
        .split("||")
        .map(|token| {
            parse(token.trim()).ok_or_else(|| TemplateError::Token {
                token: token.trim().to_owned(),
                template: template.to_owned(),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let found = tokens.iter().find_map(|token| match token {
        Token::Variable(name) => variables(name),
        Token::Literal(text) => Some((*text).to_owned()),
    });
    found.ok_or_else(|| TemplateError::NoValue {
        template: template.to_owned(),
        variables: tokens
            .iter()
            .filter_map(|token| match token {
                Token::Variable(name) => Some((*name).to_owned()),
                Token::Literal(_) => None,
            })
            .collect(),
    })
}

fn parse(token: &str) -> Option<Token<'_>> {
    if let Some(name) = token.strip_prefix("env.") {
        let valid = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        return valid.then_some(Token::Variable(name));
    }
    let quoted = token.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    if let Some(text) = quoted.filter(|text| !text.contains('\'')) {
        // Blanks at the ends are lost, as in kamu.
        return Some(Token::Literal(text.trim()));
    }
    is_number(token).then_some(Token::Literal(token))
}

fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    match text.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "KEY" => Some("k1".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${{ env.KEY }}".to_owned()),
            "LONG" => Some("x".repeat(MAX_TEMPLATE_BYTES)),
            _ => None,
        }
    }

    #[test]
    fn templates_are_filled_in() {
        for (text, filled) in [
            ("http://x/", "http://x/"),
            ("http://x/?key=${{ env.KEY }}&y=1", "http://x/?key=k1&y=1"),
            ("${{env.KEY}}-${{ env.NONE || env.KEY }}", "k1-k1"),
            ("${{ env.NONE || 'a default' }}", "a default"),
            ("${{ env.NONE || -1.5 }}", "-1.5"),
            ("${{ env.EMPTY || 'x' }}", ""),
            ("${{ env.NESTED }}", "${{ env.KEY }}"),
            ("${ env.KEY } {{ env.KEY }} $", "${ env.KEY } {{ env.KEY }} $"),
            ("é${{ env.KEY }}é", "ék1é"),
        ] {
            assert_eq!(expand(text, &lookup).as_deref(), Ok(filled), "{text}");
        }
    }

    #[test]
    fn templates_and_their_variables_are_seen_before_they_are_filled_in() {
        let text = "https://x/${{ env.A || env.B || 'c' }}?${{env.D}}";
        assert_eq!(variables(text).collect::<Vec<_>>(), ["A", "B", "D"]);
        // Without a variable it is a template all the same: it may hide what the text becomes.
        assert!(is_template(text) && is_template("${{ 'file:///etc/passwd' }}") && is_template("${{ ? }}"));
        assert_eq!(variables("${{ 'file:///etc/passwd' }}").count(), 0);
        assert!(!is_template("${ env.A } {{ env.A }}"));
    }

    #[test]
    fn what_cannot_be_filled_in_is_told() {
        assert_eq!(
            expand("${{ env.NONE || env.NOR-THIS }}", &lookup),
            Err(TemplateError::NoValue {
                template: " env.NONE || env.NOR-THIS ".to_owned(),
                variables: vec!["NONE".to_owned(), "NOR-THIS".to_owned()],
            })
        );
        for text in [
            "${{ KEY }}",
            "${{ env. }}",
            "${{ env.K Y }}",
            "${{}}",
            "${{ 'a' 'b' }}",
            "${{ 1. }}",
        ] {
            assert!(
                matches!(expand(text, &lookup), Err(TemplateError::Token { .. })),
                "{text}"
            );
        }
        assert_eq!(expand("${{ env.LONG }}", &lookup).unwrap().len(), MAX_TEMPLATE_BYTES);
        assert!(matches!(
            expand("+${{ env.LONG }}", &lookup),
            Err(TemplateError::TooLong(_))
        ));
        let text = expand("${{ x }}", &lookup).unwrap_err().to_string();
        assert!(text.contains("`${{ x }}`"), "{text}");
    }
}
