//! What is to be said of how a table was read: what the dataset has settled before, and a header that may be a row.

use odf::dataset::Dataset;
use odf::ingest::source::Format;
use odf::metadata::ReadStep;

use crate::commands::input::{Input, SourceArgs};
use crate::failure::Failure;
use crate::io::Io;

/// Says which of the arguments are otherwise than what the dataset has settled: they do not change that. `of_types` are the
/// flags that types are found out by, and whether they were said.
pub(super) fn say_recorded(
    args: &SourceArgs,
    of_types: [(&str, bool); 2],
    dataset: &Dataset,
    io: &mut Io,
) -> Result<(), Failure> {
    let name = dataset.name()?;
    let mut once = |flag: &str, asked: &str, recorded: &str| {
        io.say(format_args!(
            "{flag} {asked} holds for this reading alone: {name} stays with {recorded}, and is read so without {flag}"
        ));
    };
    match dataset.state().push_source().map(|source| &source.read) {
        Some(ReadStep::Csv(csv)) => {
            let recorded = csv.separator.as_deref().unwrap_or(",");
            if let Some(asked) = args.separator().map(|asked| char::from(asked).to_string())
                && asked != recorded
            {
                once("--separator", &format!("{asked:?}"), &format!("{recorded:?}"));
            }
        }
        Some(ReadStep::Json { sub_path, .. }) => {
            if let Some(asked) = args.member()
                && Some(asked) != sub_path.as_deref()
            {
                once(
                    "--member",
                    asked,
                    sub_path.as_deref().unwrap_or("the only array of objects"),
                );
            }
        }
        _ => {}
    }
    let has_schema = dataset.state().schema.is_some();
    for (flag, is_said) in of_types {
        if is_said && has_schema {
            io.say(format_args!(
                "{flag} is for finding out types, and {name} has its types: nothing of it changes by that"
            ));
        }
    }
    Ok(())
}

/// Says that the first line of a new dataset's table became the names of its columns, where that looks like a row, and that a
/// line became one column, where something else separates several.
pub(super) fn say_header(input: &Input, dataset: &Dataset, io: &mut Io) {
    let source = input.source();
    if source.format() != Format::Csv || !source.options().header {
        return;
    }
    let schema = dataset.state().schema.as_ref().and_then(|event| event.schema.as_ref());
    let fields = schema.map(|schema| schema.fields.as_slice()).unwrap_or_default();
    let vocabulary = dataset.state().vocabulary();
    let system = [
        &vocabulary.offset_column,
        &vocabulary.operation_type_column,
        &vocabulary.system_time_column,
        &vocabulary.event_time_column,
    ];
    let mut own = fields.iter().filter(|field| !system.contains(&&field.name));
    if let (Some(only), None) = (own.next(), own.next())
        && let Some(separator) = other_separator(&only.name)
    {
        io.say(format_args!(
            "Each line of {0} became one value, of the column `{1}`: if `{separator}` separates columns, \
             `odfs publish {0} --separator '{separator}' --as new` makes a dataset with them",
            source.name(),
            only.name
        ));
    }
    if let Some(field) = fields.iter().find(|field| looks_like_a_value(&field.name)) {
        io.say(format_args!(
            "The first line of {0} became the names of the columns, and `{1}` looks like a value: if that line is a row, \
             `odfs publish {0} --no-header --as new` makes a dataset with it",
            source.name(),
            field.name
        ));
    }
}

/// What may separate columns of a line that was taken for one value.
fn other_separator(line: &str) -> Option<char> {
    line.chars().find(|c| ";|,".contains(*c))
}

/// Whether the name of a column is a number or begins with a date.
fn looks_like_a_value(name: &str) -> bool {
    let date = name.get(..10).unwrap_or_default();
    let begins = name.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
    (begins && name.parse::<f64>().is_ok()) || date.parse::<chrono::NaiveDate>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_dates_are_no_names() {
        for value in ["1", "-2.5", "2024-01-02", "2024-01-02T03:04:05Z", "1e3"] {
            assert!(looks_like_a_value(value), "{value}");
        }
        for name in ["id", "inf", "nan", "2nd", "-", "column_1", "2024-01-xx"] {
            assert!(!looks_like_a_value(name), "{name}");
        }
    }
}
