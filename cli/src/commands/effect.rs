//! What new rows did to those that were there, in words: how many came, changed and went, and which were not taken.

use odf::dataset::Dataset;
use odf::ingest::{Effect, IngestError, Options, Retracting};
use odf::metadata::{DatasetKind, MergeStrategy, Multihash};
use odf::workspace::TakeError;

use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output;
use crate::session::Session;

/// `2 added, 1 corrected, 3 retracted`, without what did not happen; never nothing.
pub(super) fn in_words(effect: &Effect) -> String {
    let Effect {
        added,
        corrected,
        retracted,
        other,
        ..
    } = *effect;
    let parts = [
        (added, "added"),
        (corrected, "corrected"),
        (retracted, "retracted"),
        (other, "with an operation of their own"),
    ];
    let parts = parts.iter().filter(|(rows, _)| *rows > 0);
    let words: Vec<String> = parts
        .map(|(rows, what)| format!("{} {what}", output::count(*rows)))
        .collect();
    match words.is_empty() {
        true => "none added, corrected or retracted".to_owned(),
        false => words.join(", "),
    }
}

/// Adds what programs want to know of it to an object.
pub(super) fn into_json(effect: &Effect, object: &mut serde_json::Value) {
    object["added"] = effect.added.into();
    object["corrected"] = effect.corrected.into();
    object["retracted"] = effect.retracted.into();
    object["passedOver"] = effect.passed_over.into();
}

/// Sums up what several files did.
pub(super) fn add(sum: &mut Effect, effect: &Effect) {
    sum.added += effect.added;
    sum.corrected += effect.corrected;
    sum.retracted += effect.retracted;
    sum.other += effect.other;
    sum.passed_over += effect.passed_over;
}

/// Says that more than half of the rows went, where nobody was asked. `before` is the head that has them still.
pub(super) fn say_drastic(dataset: &Dataset, effect: &Effect, before: Option<&Multihash>, io: &mut Io) {
    let (true, Some(before)) = (effect.is_drastic(), before) else {
        return;
    };
    let name = label(dataset);
    io.warn(format_args!(
        "Attention: {} of the {} rows of {name} were retracted, because what was read lacks them. If it was cut short: \
         `odfs reset {name} {before}` sets {name} back to what it was",
        output::count(effect.retracted),
        output::count(effect.held)
    ));
}

/// Says how many rows a ledger passed over that have other values than it has, and what takes them. `table` is what the user
/// called the file.
pub(super) fn say_passed_over(
    dataset: &Dataset,
    effect: &Effect,
    table: &str,
    session: &Session,
    io: &mut Io,
) -> Result<(), Failure> {
    let rows = effect.passed_over;
    if rows == 0 {
        return Ok(());
    }
    io.warn(match rows {
        1 => "1 row has a key that is there already, with other values; a ledger keeps what is there, so it was not taken"
            .to_owned(),
        _ => format!(
            "{} rows have keys that are there already, with other values; a ledger keeps what is there, so they were not \
             taken",
            output::count(rows)
        ),
    });
    let name = label(dataset);
    let state = dataset.state();
    let has_query = state.push_source().is_some_and(|source| source.preprocess.is_some());
    let is_own = session.workspace()?.key_of(&dataset.id()).is_some()
        && dataset.remote_aliases()?.pull_aliases.is_empty()
        && state.kind == DatasetKind::Root;
    io.warn(match state.merge_strategy() {
        Some(MergeStrategy::Ledger { primary_key }) if is_own && !has_query && state.push_sources.len() == 1 => {
            let (table, key) = (quoted(table), quoted(&primary_key.join(",")));
            let publish = format!("odfs publish {table} --name {name} --primary-key {key}");
            format!(
                "Next: `{publish} --merge upsert` takes them as corrections, now and from now on; with `--merge snapshot` what \
                 the file lacks is retracted too"
            )
        }
        _ if !is_own => format!("Next: correct them where {name} comes from, then `odfs pull {name}`"),
        _ => format!(
            "Next: `odfs log {name} -o yaml` shows its AddPushSource; write it into a file, as a MetadataEvent, with the merge \
             UpsertStream in place of Ledger, and `odfs alter {name} -f FILE` has them taken as corrections"
        ),
    });
    Ok(())
}

/// Whether rows may go: asks where a snapshot would retract more than half of those that hold, or a file undo what was done
/// since it was published, and has the options allow it then.
///
/// # Errors
/// The answer is no, or there is nobody to ask, or the error is another one. Nothing was taken.
pub(super) fn may_go(error: TakeError, table: &str, options: &mut Options, io: &mut Io) -> Result<(), Failure> {
    match &error {
        TakeError::Ingest(IngestError::Superseded { effect, .. }) => {
            let what = format!("{error} ({})", in_words(effect));
            if !io.terminal().input {
                return Err(Failure::new(Kind::Refused, format!("{what}; nothing was taken"))
                    .next(format!("correct {table} and publish it then; --yes takes it as it is")));
            }
            io.say(format_args!("{what}."));
            io.confirm("Take it back?")?;
            options.superseded = None;
            Ok(())
        }
        TakeError::Ingest(IngestError::Drastic { effect, gone, .. }) => {
            options.retracting = may_retract(&error, effect, gone, table, io)?;
            Ok(())
        }
        _ => Err(error.into()),
    }
}

fn may_retract(
    error: &TakeError,
    effect: &Effect,
    gone: &[String],
    table: &str,
    io: &mut Io,
) -> Result<Retracting, Failure> {
    if !io.terminal().input {
        return Err(Failure::new(
            Kind::Refused,
            format!("{error}; that is more than half, and nothing was taken"),
        )
        .next(format!(
            "see whether {table} is whole; --yes takes it as it is, and --merge upsert takes its rows and retracts \
                 nothing"
        )));
    }
    io.say(format_args!(
        "{table} lacks {} of the {} rows that are there:",
        output::count(effect.retracted),
        output::count(effect.held)
    ));
    for row in gone {
        io.say(format_args!("  {row}"));
    }
    let more = effect.retracted.saturating_sub(gone.len() as u64);
    if more > 0 && !gone.is_empty() {
        io.say(format_args!("  and {} more", output::count(more)));
    }
    io.confirm(if effect.retracted == 1 {
        "Retract it?"
    } else {
        "Retract them?"
    })?;
    Ok(Retracting::Agreed(effect.retracted))
}

fn label(dataset: &Dataset) -> String {
    dataset
        .name()
        .map_or_else(|_| dataset.id().to_string(), |name| name.to_string())
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./,:@%+=".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_happen_is_left_out_and_nothing_is_said_too() {
        let effect = Effect {
            added: 1200,
            retracted: 1,
            ..Effect::default()
        };
        assert_eq!(in_words(&effect), format!("{} added, 1 retracted", output::count(1200)));
        assert_eq!(in_words(&Effect::default()), "none added, corrected or retracted");
    }

    #[test]
    fn words_that_a_shell_would_take_apart_are_quoted() {
        assert_eq!(quoted("a/b-1.csv"), "a/b-1.csv");
        assert_eq!(quoted("my file.csv"), "'my file.csv'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
