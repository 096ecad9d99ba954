//! `odfs list`

use clap::Args;
use odf::catalog::Entry;
use odf::dataset::Dataset;
use odf::metadata::DatasetKind;
use odf::pull::name_of;
use serde_json::Value;

use crate::failure::Failure;
use crate::io::Io;
use crate::output::{self, Cell, Format, Listing, OutputArgs};
use crate::session::Session;

/// List the datasets of the workspace
///
/// Damaged ones are among them, with what is wrong as far as it is known: `odfs verify` looks at every byte, `odfs repair`
/// mends them.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Show ids, heads, blocks, watermarks and IPNS names too
    #[arg(short, long)]
    wide: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &ListArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let catalog = session.workspace()?.catalog();
    let format = args.output.format(io);
    let listed: Vec<Listed> = catalog
        .entries()?
        .into_iter()
        .map(|entry| Listed::of(entry, session))
        .collect::<Result<_, _>>()?;
    let mut columns: Vec<&'static str> = if args.wide {
        vec![
            "ID",
            "Name",
            "Kind",
            "Head",
            "Pulled",
            "Records",
            "Blocks",
            "Size",
            "Watermark",
            "IPNS",
        ]
    } else {
        vec!["Name", "Kind", "Pulled", "Records", "Size"]
    };
    // People need no column that says nothing; programs need the same ones always.
    let tell_damage = format != Format::Table || listed.iter().any(|listed| listed.damaged.is_some());
    if tell_damage {
        columns.push("Damaged");
    }
    let mut listing = Listing::new(&columns)
        .when_empty("no datasets yet: `odfs publish FILE` makes one, `odfs pull NAME` fetches one");
    for listed in listed {
        let mut cells = listed.row(args.wide);
        if let Some(reason) = &listed.damaged {
            io.say(format_args!("{} is damaged: {reason}", listed.entry.label()));
        }
        if tell_damage {
            cells.push(match listed.damaged {
                Some(reason) => Cell::shown(reason, "damaged"),
                None => Value::Null.into(),
            });
        }
        listing.row(cells);
    }
    listing.write(format, io)
}

/// A dataset with what can be told of it.
struct Listed {
    entry: Entry,
    dataset: Option<Dataset>,
    pulled: bool,
    damaged: Option<String>,
}

impl Listed {
    fn of(entry: Entry, session: &Session) -> Result<Self, Failure> {
        let workspace = session.workspace()?;
        let mut damaged = entry.damaged.clone();
        let mut note = |reason: String| {
            damaged.get_or_insert(reason);
        };
        let dataset = workspace.catalog().open_entry(&entry);
        let dataset = dataset.map_err(|error| note(error.to_string())).ok();
        if entry.name.is_none() {
            note("its name cannot be read; `odfs rename` gives it one".to_owned());
        }
        let aliases = dataset.as_ref().map(Dataset::remote_aliases).transpose();
        let aliases = aliases.unwrap_or_else(|error| {
            note(error.to_string());
            None
        });
        if let Some(reason) = dataset.as_ref().and_then(|dataset| workspace.local().behind(dataset)) {
            note(format!("what peers are served of it is not at its head: {reason}"));
        }
        Ok(Self {
            entry,
            dataset,
            pulled: aliases.is_some_and(|aliases| !aliases.pull_aliases.is_empty()),
            damaged,
        })
    }

    /// Without what a damaged dataset does not tell.
    fn row(&self, wide: bool) -> Vec<Cell> {
        let null = || Cell::from(Value::Null);
        let state = self.dataset.as_ref().map(Dataset::state);
        let kind = self.dataset.as_ref().map(|dataset| {
            let kind = match dataset.kind() {
                DatasetKind::Root => "Root",
                DatasetKind::Derivative => "Derivative",
            };
            if self.pulled {
                format!("Remote({kind})")
            } else {
                kind.to_owned()
            }
        });
        let kind = Cell::from(kind.map_or(Value::Null, Value::String));
        let name = self.entry.name.as_ref().map(|name| name.as_str().to_owned());
        let name = Cell::from(name.map_or(Value::Null, Value::String));
        // The time of the newest block with data says when rows came last, here or where they were published.
        let updated = time(state.and_then(|state| Some(state.last_data_block.as_ref()?.system_time.datetime())));
        let records = state.map_or_else(null, |state| Cell::count(state.totals.records));
        let size = state.map_or_else(null, |state| {
            Cell::bytes(state.totals.data_bytes + state.totals.checkpoint_bytes)
        });
        if !wide {
            return vec![name, kind, updated, records, size];
        }
        let head = self.dataset.as_ref().map(Dataset::head);
        vec![
            self.entry.id.to_string().into(),
            name,
            kind,
            head.map_or_else(null, |head| Cell::shown(head.to_string(), head.short())),
            updated,
            records,
            state.map_or_else(null, |state| Cell::count(state.blocks())),
            size,
            time(state.and_then(|state| state.watermark).map(|at| at.datetime())),
            name_of(&self.entry.id)
                .map_or(Value::Null, |name| name.to_string().into())
                .into(),
        ]
    }
}

fn time(at: Option<chrono::DateTime<chrono::Utc>>) -> Cell {
    match at {
        Some(at) => Cell::shown(
            at.to_rfc3339_opts(chrono::SecondsFormat::Micros, false),
            output::time(at),
        ),
        None => Value::Null.into(),
    }
}
