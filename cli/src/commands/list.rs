//! `odfs list`

use std::collections::HashSet;

use clap::Args;
use odf::catalog::{self, Entry};
use odf::dataset::Summary;
use odf::metadata::{DatasetId, DatasetKind};
use odf::pull::{id_of, name_of};
use odf_node::ipns;
use serde_json::Value;

use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output::{self, Cell, Format, Listing, OutputArgs};
use crate::session::Session;

/// List the datasets of the workspace
///
/// The rows are all that were ever written, corrections and retractions among them; `odfs export` writes those that hold now.
/// Damaged ones are among them, with what is wrong as far as it is known: `odfs verify` looks at every byte, `odfs repair`
/// mends them.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Show ids, newest blocks, up to when rows are complete, and the names to pull by too
    #[arg(short, long)]
    wide: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &ListArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let catalog = session.workspace()?.catalog();
    let format = args.output.format(io);
    let copies = session.workspace()?.copies().listing()?;
    let withdrawn = ipns::withdrawn(session.workspace()?.store())?;
    let withdrawn: HashSet<DatasetId> = withdrawn.iter().filter_map(id_of).collect();
    let listed: Vec<Listed> = catalog
        .listing()?
        .into_iter()
        .map(|found| Listed::of(found, false, session))
        .chain(copies.into_iter().map(|found| Listed::of(found, true, session)))
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
    let is_withdrawn = |entry: &Entry| withdrawn.contains(&entry.id);
    let tell_withdrawn = format != Format::Table || listed.iter().any(|listed| is_withdrawn(&listed.entry));
    if tell_withdrawn {
        columns.push("Unpublished");
    }
    let mut listing = Listing::new(&columns)
        .in_words(&[
            ("Kind", Some("From")),
            ("Pulled", Some("Updated")),
            ("Records", Some("Rows written")),
            ("Head", Some("Newest block")),
            ("Watermark", Some("Complete until")),
            ("IPNS", Some("Name to pull by")),
            ("Unpublished", Some("Announced")),
        ])
        .when_empty("no datasets yet: `odfs publish FILE` makes one, `odfs pull ADDRESS` fetches one");
    for listed in listed {
        let is_withdrawn = is_withdrawn(&listed.entry) && !listed.copy;
        let mut cells = listed.row(args.wide);
        if listed.no_room {
            io.warn(format_args!(
                "{}: the disk is full, so peers are not served its newest rows yet, which are here. Free some space, and run any \
                 command again",
                listed.entry.label()
            ));
        }
        if let Some(reason) = &listed.damaged {
            io.say(format_args!("{} is damaged: {reason}", listed.entry.label()));
        }
        if tell_damage {
            cells.push(match listed.damaged {
                Some(reason) => Cell::shown(reason, "damaged"),
                None => Value::Null.into(),
            });
        }
        if tell_withdrawn {
            cells.push(Cell::shown(is_withdrawn, if is_withdrawn { "no longer" } else { "-" }));
        }
        listing.row(cells);
    }
    listing.write(format, io)
}

/// A dataset with what can be told of it.
struct Listed {
    entry: Entry,
    summary: Option<Summary>,
    pulled: bool,
    /// It is a copy, to be looked at.
    copy: bool,
    damaged: Option<String>,
    /// The disk was too full to make of it what peers are served.
    no_room: bool,
}

impl Listed {
    fn of(found: catalog::Listed, copy: bool, session: &Session) -> Result<Self, Failure> {
        let catalog::Listed {
            entry,
            summary,
            aliases,
        } = found;
        let mut damaged = entry.damaged.clone();
        let mut note = |reason: String| {
            damaged.get_or_insert(reason);
        };
        let summary = match summary {
            Ok(summary) => Some(summary),
            Err(error) => {
                let text = error.to_string();
                let failure = Failure::from(error);
                // That is not about this dataset.
                if failure.kind() == Kind::DiskFull {
                    return Err(failure);
                }
                note(text);
                None
            }
        };
        if entry.name.is_none() {
            note("its name cannot be read; `odfs rename DATASET NAME` gives it one".to_owned());
        }
        let (mut pulled, mut no_room) = (false, false);
        if let Some(summary) = &summary {
            match aliases {
                Ok(aliases) => {
                    pulled = !aliases.pull_aliases.is_empty() && session.workspace()?.key_of(&entry.id).is_none()
                }
                Err(error) => note(error.to_string()),
            }
            match session.workspace()?.local().behind(&entry.id, &summary.head) {
                Some(behind) if !copy && behind.is_full => no_room = true,
                Some(behind) if !copy => {
                    let reason = behind.reason;
                    note(format!("what peers are served of it is not at its head: {reason}"));
                }
                _ => {}
            }
        }
        Ok(Self {
            entry,
            summary,
            pulled,
            copy,
            damaged,
            no_room,
        })
    }

    /// Without what a damaged dataset does not tell.
    fn row(&self, wide: bool) -> Vec<Cell> {
        let null = || Cell::from(Value::Null);
        let summary = self.summary.as_ref();
        let kind = summary.map(|summary| match (summary.kind, self.pulled) {
            _ if self.copy => Cell::term("Copy", "copy"),
            (DatasetKind::Root, false) => Cell::term("Root", "here"),
            (DatasetKind::Derivative, false) => Cell::term("Derivative", "computed here"),
            (DatasetKind::Root, true) => Cell::term("Remote(Root)", "pulled"),
            (DatasetKind::Derivative, true) => Cell::term("Remote(Derivative)", "pulled"),
        });
        let kind = kind.unwrap_or_else(null);
        let name = self.entry.name.as_ref().map(|name| name.as_str().to_owned());
        let name = Cell::from(name.map_or(Value::Null, Value::String));
        let updated = time(summary.and_then(|summary| Some(summary.updated()?.datetime())));
        let records = summary.map_or_else(null, |summary| Cell::count(summary.totals.records));
        let size = summary.map_or_else(null, |summary| {
            Cell::bytes(summary.totals.data_bytes + summary.totals.checkpoint_bytes)
        });
        if !wide {
            return vec![name, kind, updated, records, size];
        }
        vec![
            self.entry.id.to_string().into(),
            name,
            kind,
            summary.map_or_else(null, |summary| {
                Cell::shown(summary.head.to_string(), summary.head.short())
            }),
            updated,
            records,
            summary.map_or_else(null, |summary| Cell::count(summary.blocks())),
            size,
            time(summary.and_then(|summary| summary.watermark).map(|at| at.datetime())),
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
