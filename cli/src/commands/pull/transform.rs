//! Bringing a derivative dataset up to date: computing it from what is new in its inputs.

use std::ops::ControlFlow;

use odf::compact;
use odf::dataset::Dataset;
use odf::ingest::Effect;
use odf::metadata::DatasetId;
use odf::transform::{self, Planned, TransformError};
use odf::workspace::Growth;

use super::{PullArgs, open};
use crate::commands::approve::held_to;
use crate::commands::batch::committed;
use crate::commands::publish::watch;
use crate::failure::Failure;
use crate::io::Io;
use crate::output;
use crate::session::Session;

/// Computes one dataset; whether anything was new.
pub(super) fn one(id: &DatasetId, args: &PullArgs, session: &Session, io: &mut Io) -> Result<bool, Failure> {
    let mut dataset = open(id, session)?;
    let _turn = session.turn(&mut dataset, io)?;
    let name = dataset.name()?;
    let planned = plan(&mut dataset, args, session, io).map_err(|failure| failure.about(&name))?;
    // What is computed is what was planned, so that is what has to be approved.
    if matches!(planned, Planned::Ready(_)) {
        held_to(&dataset, args.all, session, io)?;
    }
    let growth = match planned {
        Planned::Ready(plan) => session
            .workspace()?
            .transform(
                &mut dataset,
                &plan,
                &session.settings().slice_options(),
                io.now()?,
                &mut watch(io),
            )
            .map_err(|error| Failure::from(error).about(&name))?,
        Planned::UpToDate => Growth::UpToDate(Effect::default()),
        Planned::NoSchema { input } => {
            io.say(format_args!(
                "{name}: its input {input} has no rows yet, so there is nothing to compute"
            ));
            Growth::UpToDate(Effect::default())
        }
    };
    match growth {
        Growth::UpToDate(_) => {
            io.line(format_args!("{name} is up to date"))?;
            Ok(false)
        }
        Growth::Grown(grown) => {
            committed(&dataset, session, io)?;
            io.line(format_args!(
                "{name}: updated to {} ({} block(s), {} row(s))",
                grown.new_head,
                grown.blocks.len(),
                output::count(grown.rows)
            ))?;
            Ok(true)
        }
    }
}

/// What there is to compute; drops what was computed before if that is wanted and an input was rewritten.
fn plan(dataset: &mut Dataset, args: &PullArgs, session: &Session, io: &mut Io) -> Result<Planned, Failure> {
    let catalog = session.workspace()?.catalog();
    match transform::plan(dataset, catalog) {
        Err(error @ TransformError::Diverged { .. }) if args.reset_derivatives_on_diverged_input => {
            io.say(format_args!("{error}; what was computed is dropped and computed anew"));
            reset(dataset, session, io)?;
            Ok(transform::plan(dataset, catalog)?)
        }
        planned => Ok(planned?),
    }
}

/// Drops the rows of a dataset and keeps what was declared.
fn reset(dataset: &mut Dataset, session: &Session, io: &Io) -> Result<(), Failure> {
    let options = compact::Options {
        keep_metadata_only: true,
        slice: session.settings().slice_options(),
        ..compact::Options::default()
    };
    compact::compact(
        session.workspace()?.datasets(),
        dataset,
        &options,
        io.now()?,
        &mut |_, _| ControlFlow::Continue(()),
    )?;
    Ok(())
}
