//! The words of the setting `retention`.

use odf::retention::{Retention, Rule};
use toml::Value;

use super::duration::{duration_of, duration_text};

const WANTED: &str = "\"all\", a number of versions, \"announced>1m\", or ages are expected, such as 30d, or [\"1d\", \"30d/1h\", \"all/1d\"]: \
                      all of a day, one an hour of 30 days, one a day of the rest";
/// How many rules there may be at most.
const MAX_RULES: usize = 32;

/// Which older roots stay, as the setting says it.
///
/// # Errors
/// It says something else; the error says what was expected.
pub(super) fn read(value: &Value) -> Result<Retention, String> {
    let words: Vec<String> = match value {
        Value::String(text) => text.split(',').map(|word| word.trim().to_owned()).collect(),
        Value::Integer(_) => vec![value.to_string()],
        Value::Array(values) => values
            .iter()
            .map(|value| match value {
                Value::String(text) => Ok(text.trim().to_owned()),
                Value::Integer(_) => Ok(value.to_string()),
                _ => Err(WANTED),
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(WANTED.to_owned()),
    };
    if let [word] = words.as_slice() {
        if word == "all" {
            return Ok(Retention::All);
        }
        if let Some(limit) = word.strip_prefix("announced>") {
            return Ok(Retention::Announced(duration_of(limit.trim()).ok_or(WANTED)?));
        }
    }
    if words.is_empty() || words.len() > MAX_RULES {
        return Err(WANTED.to_owned());
    }
    let rules = words.iter().map(|word| rule(word).ok_or(WANTED));
    Ok(Retention::Kept(rules.collect::<Result<_, _>>()?))
}

fn rule(word: &str) -> Option<Rule> {
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        return word.parse().ok().map(Rule::Newest);
    }
    let Some((within, step)) = word.split_once('/') else {
        return duration_of(word).map(Rule::Within);
    };
    let within = match within.trim() {
        "all" => None,
        age => Some(duration_of(age)?),
    };
    let step = duration_of(step.trim())?;
    Some(Rule::Last { step, within })
}

/// The setting that says this.
pub(super) fn show(retention: &Retention) -> Value {
    match retention {
        Retention::All => Value::String("all".to_owned()),
        Retention::Announced(limit) => Value::String(format!("announced>{}", duration_text(*limit))),
        Retention::Kept(rules) => {
            let mut values: Vec<Value> = rules.iter().map(show_rule).collect();
            match values.len() {
                1 => values.remove(0),
                _ => Value::Array(values),
            }
        }
    }
}

fn show_rule(rule: &Rule) -> Value {
    match rule {
        Rule::Newest(count) => Value::Integer(i64::try_from(*count).unwrap_or(i64::MAX)),
        Rule::Within(age) => Value::String(duration_text(*age)),
        Rule::Last { step, within } => {
            let within = within.map_or_else(|| "all".to_owned(), duration_text);
            Value::String(format!("{within}/{}", duration_text(*step)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn each_form_is_read_and_shown_as_it_is_written() {
        let text = |text: &str| Value::String(text.to_owned());
        let list = |words: &[&str]| Value::Array(words.iter().map(|word| text(word)).collect());
        let of = |rules: &[Rule]| Retention::Kept(rules.to_vec());
        let day = HOUR * 24;
        let thinned = [
            Rule::Within(day),
            Rule::Last {
                step: HOUR,
                within: Some(day * 30),
            },
            Rule::Last {
                step: day,
                within: None,
            },
        ];
        for (value, wanted, shown) in [
            (text("all"), Retention::All, text("all")),
            (Value::Integer(3), of(&[Rule::Newest(3)]), Value::Integer(3)),
            (text("3"), of(&[Rule::Newest(3)]), Value::Integer(3)),
            (Value::Integer(0), of(&[Rule::Newest(0)]), Value::Integer(0)),
            (text("30d"), of(&[Rule::Within(day * 30)]), text("30d")),
            (text("announced>1m"), Retention::default(), text("announced>1m")),
            (
                text("announced>90s"),
                Retention::Announced(Duration::from_secs(90)),
                text("announced>90s"),
            ),
            (
                list(&["1d", "30d/1h", "all/1d"]),
                of(&thinned),
                list(&["1d", "30d/1h", "all/1d"]),
            ),
            (
                text("1d, 30d/1h,all/1d"),
                of(&thinned),
                list(&["1d", "30d/1h", "all/1d"]),
            ),
            (
                text("5, 1500ms"),
                of(&[Rule::Newest(5), Rule::Within(Duration::from_millis(1500))]),
                Value::Array(vec![Value::Integer(5), text("1500ms")]),
            ),
        ] {
            let read_back = read(&value);
            assert_eq!(read_back.as_ref(), Ok(&wanted), "{value}");
            assert_eq!(show(&wanted), shown, "{value}");
            assert_eq!(read(&shown), Ok(wanted), "{value}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for word in [
            "",
            "some",
            "-1",
            "1.5",
            "0d",
            "1d/",
            "/1h",
            "1d/0h",
            "1d/all",
            "announced",
            "announced>",
            "announced>0s",
            "all,3",
            "announced>1m,3",
            "3,",
            "99999999999999999999d",
            "99999999999999999999",
        ] {
            assert!(read(&Value::String(word.to_owned())).is_err(), "{word:?}");
        }
        for value in [
            Value::Boolean(true),
            Value::Integer(-1),
            Value::Array(Vec::new()),
            Value::Array(vec![Value::Boolean(true)]),
        ] {
            assert!(read(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn there_are_as_many_rules_as_may_be_and_no_more() {
        let rules = |count: usize| Value::Array((0..count).map(|_| Value::Integer(1)).collect());
        assert!(read(&rules(MAX_RULES)).is_ok());
        assert!(read(&rules(MAX_RULES + 1)).is_err());
    }
}
