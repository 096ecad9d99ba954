//! `odfs repo token`

use std::str::FromStr;

use chrono::TimeDelta;
use clap::{Subcommand, builder::PossibleValuesParser, builder::TypedValueParser as _};
use odf::metadata::Timestamp;
use odf::repository::server::{Rights, TokenEntry, Verb};
use serde_json::Value;

use crate::failure::Failure;
use crate::io::Io;
use crate::output::{Cell, Listing, OutputArgs};
use crate::session::Session;

/// Let others push to this workspace, or read what is not shared, while `odfs node` runs
///
/// Everybody may read what is shared (`odfs share`). For the rest, and for pushing, one of these tokens is needed: `odfs
/// repo add NAME odf+http://HOST:PORT --token -` with odfs, `kamu login http://HOST:PORT --access-token TOKEN` with kamu. A
/// token is for some datasets and some verbs. What is done with it is written down: `odfs repo log`.
#[derive(Subcommand, Debug)]
pub(crate) enum TokenCommand {
    /// Make a token and print it; it is shown only now
    Add {
        /// Who or what will use it
        label: String,
        /// For which datasets: names, or patterns with % for any text; may be repeated
        #[arg(long = "dataset", value_name = "PATTERN", default_value = "%")]
        datasets: Vec<String>,
        /// What it allows: pull (read, which the others include), push (add to what is here), create (bring what
        /// is new), rewrite (replace history, as `push --force` does)
        #[arg(long = "can", value_name = "VERBS", value_delimiter = ',', default_value = "pull,push,create",
              value_parser = verbs())]
        verbs: Vec<Verb>,
        /// Until when: a time from now such as 30d or 12h, a moment (RFC 3339), or `never`
        #[arg(long, value_name = "TIME", default_value = "90d")]
        expires: Expiry,
    },
    /// List the tokens by their labels, with what they are for
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Make tokens worthless, from this moment on
    #[command(visible_alias = "rm")]
    Delete {
        /// Their labels
        #[arg(required = true)]
        labels: Vec<String>,
    },
}

fn verbs() -> impl clap::builder::TypedValueParser<Value = Verb> {
    PossibleValuesParser::new(Verb::ALL.map(Verb::word)).try_map(|word| Verb::from_str(&word))
}

/// When a token expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// So long from now.
    In(TimeDelta),
    /// Then.
    At(Timestamp),
    /// When it is deleted.
    Never,
}

impl FromStr for Expiry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self::Never);
        }
        if let Ok(time) = text.parse() {
            return Ok(Self::At(time));
        }
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = text.strip_suffix(unit).and_then(|number| number.parse::<i64>().ok());
        let span = number.filter(|number| *number > 0).and_then(|number| match unit {
            "m" => TimeDelta::try_minutes(number),
            "h" => TimeDelta::try_hours(number),
            "d" => TimeDelta::try_days(number),
            "w" => TimeDelta::try_weeks(number),
            _ => None,
        });
        let wanted =
            "a time from now such as 30d, 12h or 90m is expected, a moment such as 2027-01-01T00:00:00Z, or never";
        span.map(Self::In).ok_or_else(|| wanted.to_owned())
    }
}

impl Expiry {
    /// The moment; nothing for never.
    fn after(self, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
        let then = match self {
            Self::Never => return Ok(None),
            Self::At(then) => Some(then),
            Self::In(span) => now
                .datetime()
                .checked_add_signed(span)
                .and_then(|then| then.try_into().ok()),
        };
        let to_come = then.filter(|then| *then > now).ok_or_else(|| {
            Failure::usage("the token would have expired already").next("name a time to come, such as 30d")
        })?;
        Ok(Some(to_come))
    }
}

pub(super) fn run(command: &TokenCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let tokens = session.tokens();
    match command {
        TokenCommand::Add {
            label,
            datasets,
            verbs,
            expires,
        } => {
            let now = io.now()?;
            let mut verbs = verbs.clone();
            verbs.sort_unstable();
            verbs.dedup();
            let rights = Rights {
                datasets: datasets.clone(),
                verbs,
                expires: expires.after(now)?,
            };
            let may = in_words(&rights);
            let token = tokens.add(label, rights, now)?;
            io.say(format_args!("Keep it, it cannot be shown again. Whoever has it {may}."));
            io.line(token)
        }
        TokenCommand::List { output } => {
            let mut listing = Listing::new(&["Label", "Added", "Datasets", "Can", "Expires"])
                .when_empty("no tokens yet, so nobody can push here: `odfs repo token add LABEL` makes one");
            for entry in tokens.list()? {
                listing.row(row(entry, io.now()?));
            }
            listing.write(output.format(io), io)
        }
        TokenCommand::Delete { labels } => {
            for label in labels {
                tokens.delete(label)?;
                io.say(format_args!("Deleted {label}"));
            }
            Ok(())
        }
    }
}

fn row(entry: TokenEntry, now: Timestamp) -> [Cell; 5] {
    let TokenEntry {
        label, added, rights, ..
    } = entry;
    let list = |words: Vec<String>| {
        let shown = words.join(", ");
        Cell::shown(Value::from(words), shown)
    };
    let expires = match rights.expires {
        None => Cell::shown(Value::Null, "never"),
        Some(time) if rights.have_expired(now) => Cell::shown(time.to_string(), format!("{time} (expired)")),
        Some(time) => time.to_string().into(),
    };
    [
        label.into(),
        added.to_string().into(),
        list(rights.datasets),
        list(rights.verbs.iter().map(Verb::to_string).collect()),
        expires,
    ]
}

/// What the holder of a token may do.
fn in_words(rights: &Rights) -> String {
    let verbs: Vec<&str> = rights.verbs.iter().map(|verb| verb.word()).collect();
    let datasets = match rights.datasets.as_slice() {
        [all] if all == "%" => "every dataset".to_owned(),
        some => some.join(", "),
    };
    let until = rights.expires.map(|time| format!(" until {time}")).unwrap_or_default();
    format!("may {} {datasets} at this node{until}", verbs.join(", "))
}

pub(super) fn log(limit: usize, output: OutputArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let pushes = session
        .pushes()
        .list()
        .map_err(|error| Failure::from(error).about("the log of pushes"))?;
    let mut listing = Listing::new(&[
        "Time", "Token", "From", "Verb", "Dataset", "Blocks", "Head", "Old Head", "ID", "Failed",
    ])
    .when_empty("nobody has pushed here yet");
    let skipped = pushes.len().saturating_sub(limit);
    for pushed in pushes.into_iter().skip(skipped).rev() {
        let null = || Cell::from(Value::Null);
        listing.row([
            pushed.time.to_string().into(),
            pushed.token.into(),
            pushed.from.map_or_else(null, |from| from.to_string().into()),
            pushed.verb.word().into(),
            pushed.dataset.into(),
            Cell::count(pushed.blocks),
            Cell::shown(pushed.head.to_string(), pushed.head.short()),
            pushed
                .old_head
                .map_or_else(null, |head| Cell::shown(head.to_string(), head.short())),
            pushed.id.to_string().into(),
            pushed.failed.map_or_else(null, Into::into),
        ]);
    }
    listing.write(output.format(io), io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    #[test]
    fn expiry_is_a_span_or_a_moment() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let then = |text: &str| text.parse::<Expiry>().unwrap().after(now).unwrap().unwrap().to_string();
        assert_eq!("never".parse::<Expiry>().unwrap().after(now).unwrap(), None);
        assert_eq!(then("30d"), "2026-02-01T03:04:05Z");
        assert_eq!(then("90m"), "2026-01-02T04:34:05Z");
        assert_eq!(then("2027-01-01T00:00:00Z"), "2027-01-01T00:00:00Z");
        for bad in [
            "",
            "d",
            "0d",
            "-1d",
            "1y",
            "30",
            "tomorrow",
            "99999999999999999999d",
            "9223372036854775807w",
        ] {
            assert!(bad.parse::<Expiry>().is_err(), "{bad}");
        }
        for past in ["2026-01-02T03:04:05Z", "2000-01-01T00:00:00Z", "4000000d"] {
            assert_eq!(
                past.parse::<Expiry>().unwrap().after(now).unwrap_err().kind(),
                Kind::Usage,
                "{past}"
            );
        }
    }
}
