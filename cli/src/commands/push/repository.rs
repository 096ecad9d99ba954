//! Pushing to repositories.

use std::path::Path;

use odf::dataset::Dataset;
use odf::place::Place;
use odf::repository::files::{self, Pushed};
use odf::repository::smart::{self, Endpoint};
use serde_json::json;
use url::Url;

use super::{PushArgs, remember};
use crate::commands::announce::ReportFormat;
use crate::commands::transfer::Watch;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output;
use crate::session::Session;

/// Brings a place up to date with the dataset, and remembers it.
pub(super) fn push(
    dataset: &Dataset,
    place: &Place,
    args: &PushArgs,
    session: &Session,
    io: &mut Io,
) -> Result<(), Failure> {
    let watch = Watch::new(io);
    let pushed = match place {
        Place::Files(dir) => to_directory(dataset, dir, args.force, &watch)?,
        Place::Http(url) => return Err(read_only(url)),
        Place::Smart(url) => {
            let endpoint = Endpoint::new(url, session.repositories().token_for(place)?);
            let endpoint = endpoint.through(io.environment().proxy().as_ref());
            smart::push(dataset, &endpoint, args.visibility.into(), args.force, &|at| {
                watch.hear(at)
            })?
        }
        Place::Ipfs(_) => {
            return Err(Failure::new(Kind::Refused, format!("odfs cannot push to {place}"))
                .next("push to ipns://KEY or file:///DIRECTORY"));
        }
    };
    if !args.no_alias {
        remember(dataset, place, session)?;
    }
    report(dataset, place, pushed, &watch, args, io)
}

fn to_directory(dataset: &Dataset, dir: &Path, force: bool, watch: &Watch) -> Result<Pushed, Failure> {
    Ok(files::push(dataset, dir, force, &|at| watch.hear(at))?)
}

fn read_only(url: &Url) -> Failure {
    Failure::new(
        Kind::Refused,
        format!("{url} can only be read: plain HTTP has no way to write a dataset"),
    )
    .next(format!(
        "if the server speaks kamu's protocol, push to odf+{url}; else push to its directory with file:///"
    ))
}

fn report(
    dataset: &Dataset,
    place: &Place,
    pushed: Pushed,
    watch: &Watch,
    args: &PushArgs,
    io: &mut Io,
) -> Result<(), Failure> {
    let (name, head) = (dataset.name()?, dataset.head());
    if args.report.output == ReportFormat::Json {
        let (old_head, blocks) = match pushed {
            Pushed::UpToDate => (Some(*head), 0),
            Pushed::Updated { old_head, blocks } => (old_head, blocks),
        };
        let report = json!({
            "dataset": name.as_str(),
            "id": dataset.id().to_string(),
            "to": place.to_string(),
            "head": head.to_string(),
            "oldHead": old_head.map(|head| head.to_string()),
            "blocks": blocks,
        });
        return io.line(serde_json::to_string_pretty(&report).map_err(std::io::Error::from)?);
    }
    match pushed {
        Pushed::UpToDate => io.line(format_args!("{place} is up to date with {name}")),
        Pushed::Updated { blocks, .. } => {
            io.line(format_args!("Pushed {name} to {place}: {head} ({blocks} block(s))"))?;
            io.say(format_args!("{} of data sent", output::bytes(watch.bytes())));
            Ok(())
        }
    }
}
