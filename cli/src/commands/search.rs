//! `odfs search`

use clap::Args;
use odf::metadata::DatasetKind;
use odf::search::{Found, Place, Words, search};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::io::Io;
use crate::output::{self, Cell, Format, Listing, OutputArgs};
use crate::session::Session;

/// Find datasets of the workspace by words
///
/// Looks at names, keywords, descriptions and columns. All words have to be found, as parts of words too, in capital letters or
/// not. Those come first that have the words in their names, then those with such keywords, descriptions, columns.
#[derive(Args, Debug)]
pub(crate) struct SearchArgs {
    /// The words
    #[arg(required = true, value_name = "TEXT")]
    text: Vec<String>,
    /// The most datasets to show
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    max_results: usize,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &SearchArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let words = Words::of(&args.text.join(" "));
    if words.is_empty() {
        return Err(Failure::usage("there are no words to look for").next("`odfs list` shows all datasets"));
    }
    let workspace = session.workspace()?;
    let catalog = workspace.catalog();
    let cancel = io.cancel().clone();
    let hits = search(catalog, &words, &mut || !cancel.is_set())?;
    io.check()?;
    let mut listing = Listing::new(&["Name", "ID", "Kind", "Records", "Found"])
        .in_words(&[
            ("ID", None),
            ("Kind", Some("From")),
            ("Records", Some("Rows written")),
            ("Found", Some("Found in")),
        ])
        .when_empty("no dataset here has all of that; fewer words find more, and `odfs list` shows all datasets");
    for hit in hits.iter().take(args.max_results) {
        let (kind, records) = match &hit.summary {
            Some(summary) => {
                let kind = match summary.kind {
                    DatasetKind::Root => "Root",
                    DatasetKind::Derivative => "Derivative",
                };
                (kind.into(), Cell::count(summary.totals.records))
            }
            None => (Value::Null.into(), Value::Null.into()),
        };
        let places: Vec<Value> = hit.found.iter().map(value).collect();
        let reasons: Vec<String> = hit.found.iter().map(in_words).collect();
        listing.row([
            hit.entry.label().into(),
            hit.entry.id.to_string().into(),
            kind,
            records,
            Cell::shown(places, reasons.join("; ")),
        ]);
    }
    let format = args.output.format(io);
    listing.write(format, io)?;
    if hits.len() > args.max_results && format == Format::Table {
        io.say(format_args!(
            "These are {} of {} datasets; -n shows more",
            output::count(args.max_results as u64),
            output::count(hits.len() as u64)
        ));
    }
    Ok(())
}

/// A place, as programs read it.
fn value(found: &Found) -> Value {
    let place = match found.place {
        Place::Name => "name",
        Place::Keyword => "keyword",
        Place::Description => "description",
        Place::Column => "column",
        Place::ColumnDescription => "columnDescription",
    };
    match &found.column {
        Some(column) => json!({ "in": place, "column": column, "text": found.text }),
        None => json!({ "in": place, "text": found.text }),
    }
}

/// A place, as people read it.
fn in_words(found: &Found) -> String {
    let text = &found.text;
    match (found.place, &found.column) {
        (Place::Name, _) => "name".to_owned(),
        (Place::Keyword, _) => format!("keyword {text}"),
        (Place::Description, _) => format!("description: {text}"),
        (Place::Column, _) => format!("column {text}"),
        (Place::ColumnDescription, column) => {
            format!("column {}: {text}", column.as_deref().unwrap_or_default())
        }
    }
}
