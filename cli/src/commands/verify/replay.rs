//! Derivative datasets computed again, and what came of it in words, values and rows.

use std::ops::ControlFlow;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use odf::catalog::Entry;
use odf::dataset::{Change, Changed};
use odf::metadata::{DatasetId, Multihash};
use odf::transform::TransformError;
use odf::transform::replay::{self, Difference, ReplayError, Replayed, RowDifference};
use serde_json::{Value, json};

use crate::commands::diff;
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output::{self, Cell, Format, records};
use crate::session::Session;

/// A replay that did not come to the head.
pub(super) struct Failed {
    pub(super) failure: Failure,
    /// What the chain has, and what came of it.
    pub(super) difference: Option<Found>,
}

/// The first block that differs.
pub(super) struct Found {
    pub(super) cell: Cell,
    sequence: u64,
    hash: Multihash,
    rows: Option<RowDifference>,
}

/// Computes one dataset again.
pub(super) fn one(entry: &Entry, name: &str, session: &Session, io: &Io) -> Result<Replayed, Failed> {
    let failed = |failure: Failure| Failed {
        failure,
        difference: None,
    };
    let workspace = session.workspace().map_err(failed)?;
    let catalog = workspace.catalog();
    let dataset = catalog.open_entry(entry).map_err(|error| failed(error.into()))?;
    let (cancel, progress) = (io.cancel().clone(), io.progress().clone());
    let mut watch = |at: replay::Step| {
        progress.show(|| Step {
            text: format!(
                "computing {name} again: block {} of {}, {} rows",
                output::count(at.sequence),
                output::count(at.blocks),
                output::count(at.rows)
            ),
            done: at.sequence,
            total: Some(at.blocks),
        });
        match cancel.is_set() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    match replay::replay(&dataset, catalog, &mut watch) {
        Ok(replayed) => Ok(replayed),
        Err(ReplayError::Differs { sequence, hash, what }) => {
            let (cell, rows) = described(sequence, &hash, &what).map_err(failed)?;
            let error = ReplayError::Differs { sequence, hash, what };
            Err(Failed {
                failure: error.into(),
                difference: Some(Found {
                    cell,
                    sequence,
                    hash,
                    rows,
                }),
            })
        }
        Err(error) => Err(failed(error.into())),
    }
}

/// What is said of an input that is not here.
pub(super) fn missing(alias: Option<&str>, id: DatasetId) -> Failure {
    let alias = alias.map_or_else(|| id.to_string(), str::to_owned);
    ReplayError::Transform(TransformError::NoInput { alias, id }).into()
}

/// How much was computed again.
pub(super) fn cell(replayed: &Replayed) -> Cell {
    let Replayed {
        blocks, rows, by_hash, ..
    } = replayed;
    let value = json!({
        "blocks": blocks,
        "rows": rows,
        "byHash": by_hash,
        "reason": replayed.why.as_ref().map(ToString::to_string),
    });
    let counted = output::count(*blocks);
    match (blocks, by_hash) {
        (0, 0) => Cell::shown(Value::Null, "nothing to compute"),
        (_, 0) => Cell::shown(value, format_args!("{counted} blocks")),
        (0, by_hash) => Cell::shown(value, format_args!("{} by hash only", output::count(*by_hash))),
        (_, by_hash) => Cell::shown(
            value,
            format_args!("{counted} blocks, {} by hash only", output::count(*by_hash)),
        ),
    }
}

/// A difference for programs, and its rows.
fn described(sequence: u64, hash: &Multihash, what: &Difference) -> Result<(Cell, Option<RowDifference>), Failure> {
    let mut value = json!({ "block": sequence, "hash": hash.to_string(), "reason": what.to_string() });
    let kind = match what {
        Difference::Rows(rows) => {
            value["recorded"] = rows.recorded.into();
            value["computed"] = rows.computed.into();
            value["onlyRecorded"] = rows.only_recorded.into();
            value["onlyComputed"] = rows.only_computed.into();
            value["recordedRows"] = records::values(&rows.recorded_rows)?.into();
            value["computedRows"] = records::values(&rows.computed_rows)?.into();
            "rows"
        }
        Difference::Interval { .. } => "interval",
        Difference::Schema(_) => "schema",
        Difference::Watermark { .. } => "watermark",
        _ => "other",
    };
    value["kind"] = kind.into();
    let rows = match what {
        Difference::Rows(rows) => Some(rows.clone()),
        _ => None,
    };
    Ok((Cell::shown(value, "see below"), rows))
}

impl Failed {
    /// The word for it in the listing.
    pub(super) fn result(&self) -> &'static str {
        match (&self.difference, self.failure.kind()) {
            (Some(_), _) => "differs",
            (None, Kind::NotFound) => "input missing",
            (None, _) => "not computed",
        }
    }
}

impl Found {
    /// Writes the rows that one side lacks, if there are such.
    pub(super) fn show(&self, name: &str, io: &mut Io) -> Result<(), Failure> {
        let Some(rows) = &self.rows else { return Ok(()) };
        let (left, right) = (&rows.recorded_rows, &rows.computed_rows);
        if left.num_rows() + right.num_rows() == 0 {
            return Ok(());
        }
        let changed = Changed {
            rows: concat_batches(&left.schema(), [left, right])?,
            changes: [(Change::Retracted, left), (Change::Added, right)]
                .into_iter()
                .flat_map(|(change, rows)| std::iter::repeat_n(change, rows.num_rows()))
                .collect(),
        };
        io.line(format_args!(
            "\n{name}, metadata block {} ({}): rows with - are in the chain and do not come of its transform ({}), rows with + come \
             of it and are not in the chain ({})",
            self.sequence,
            self.hash,
            counted(rows.only_recorded, left),
            counted(rows.only_computed, right)
        ))?;
        let schema = diff::for_table(&changed.rows.schema());
        let table = diff::table(&changed, &schema)?;
        records::write(&schema, std::iter::once(Ok::<_, Failure>(table)), Format::Table, io)
    }
}

/// How many rows there are, and how many of them are shown.
fn counted(all: u64, shown: &RecordBatch) -> String {
    match shown.num_rows() as u64 == all {
        true => output::count(all),
        false => format!("{}, {} of them shown", output::count(all), shown.num_rows()),
    }
}
