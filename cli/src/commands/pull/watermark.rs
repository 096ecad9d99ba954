//! `odfs pull --set-watermark`: says by hand how far the rows of a dataset are complete.

use odf::metadata::{DatasetKind, Timestamp};
use odf::workspace::Growth;

use super::{PullArgs, Tally};
use crate::commands::batch::committed;
use crate::commands::owner::pulled_from;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::session::Session;

/// Appends the watermark to the one dataset that is named.
pub(super) fn set(args: &PullArgs, watermark: Timestamp, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let [target] = args.targets.as_slice() else {
        return Err(Failure::usage("--set-watermark is for one dataset"));
    };
    if target.contains('%') {
        return Err(Failure::usage("--set-watermark is for one dataset, not for a pattern"));
    }
    let mut dataset = session.workspace()?.catalog().find(target)?;
    let name = dataset.name()?;
    if let Some(alias) = pulled_from(&dataset, session)? {
        return Err(Failure::new(
            Kind::Refused,
            format!("{name} is pulled from {alias}; until when it is complete is said there"),
        )
        .next(format!("update it with `odfs pull {name}`")));
    }
    if dataset.kind() == DatasetKind::Derivative {
        return Err(Failure::new(
            Kind::Refused,
            format!("{name} is derivative: until when it is complete follows from its inputs"),
        )
        .next("use --set-watermark on its inputs, then pull it"));
    }
    let mut tally = Tally::default();
    match session.workspace()?.set_watermark(&mut dataset, watermark, io.now()?)? {
        Growth::UpToDate(_) => {
            let current = dataset.state().watermark.map(|time| time.to_string());
            io.line(format_args!(
                "{name} is up to date; it is complete until {}",
                current.unwrap_or_default()
            ))?;
            tally.count(false);
        }
        Growth::Grown(grown) => {
            committed(&dataset, session, io)?;
            io.line(format_args!("{name}: complete until {watermark} ({})", grown.new_head))?;
            tally.count(true);
        }
    }
    tally.tell(io);
    Ok(())
}
