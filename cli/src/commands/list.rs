//! `odfs list`

use clap::Args;
use odf::catalog::Entry;
use odf::metadata::DatasetKind;
use odf::pull::name_of;
use serde_json::Value;

use crate::failure::Failure;
use crate::io::Io;
use crate::output::{self, Cell, Listing, OutputArgs};
use crate::session::Session;

/// List the datasets of the workspace
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
    let columns: &[&'static str] = if args.wide {
        &[
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
        &["Name", "Kind", "Pulled", "Records", "Size"]
    };
    let mut listing = Listing::new(columns)
        .when_empty("no datasets yet: `odfs publish FILE` makes one, `odfs pull NAME` fetches one");
    for entry in catalog.entries()? {
        listing.row(row(&entry, args.wide, session)?);
    }
    listing.write(args.output.format(io), io)
}

fn row(entry: &Entry, wide: bool, session: &Session) -> Result<Vec<Cell>, Failure> {
    let dataset = session.workspace()?.catalog().open_entry(entry)?;
    let state = dataset.state();
    let kind = match dataset.kind() {
        DatasetKind::Root => "Root",
        DatasetKind::Derivative => "Derivative",
    };
    let pulled = !dataset.remote_aliases()?.pull_aliases.is_empty();
    let kind = if pulled {
        format!("Remote({kind})")
    } else {
        kind.to_owned()
    };
    // The time of the newest block with data says when rows came last, here or where they were published.
    let updated = state.last_data_block.map(|block| block.system_time.datetime());
    let time = |at: Option<chrono::DateTime<chrono::Utc>>| match at {
        Some(at) => Cell::shown(
            at.to_rfc3339_opts(chrono::SecondsFormat::Micros, false),
            output::time(at),
        ),
        None => Value::Null.into(),
    };
    let name = entry.name.as_ref().map(|name| name.as_str().to_owned());
    let name = Cell::from(name.map_or(Value::Null, Value::String));
    let records = Cell::count(state.totals.records);
    let size = Cell::bytes(state.totals.data_bytes + state.totals.checkpoint_bytes);
    Ok(if wide {
        let head = dataset.head();
        vec![
            entry.id.to_string().into(),
            name,
            kind.into(),
            Cell::shown(head.to_string(), head.short()),
            time(updated),
            records,
            Cell::count(state.blocks()),
            size,
            time(state.watermark.map(|at| at.datetime())),
            name_of(&entry.id)
                .map_or(Value::Null, |name| name.to_string().into())
                .into(),
        ]
    } else {
        vec![name, kind.into(), time(updated), records, size]
    })
}
