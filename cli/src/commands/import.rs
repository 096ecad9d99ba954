//! `odfs import`

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use clap::Args;
use odf::bundle::Bundle;
use odf::dataset::DatasetName;
use odf::pull::{Address, id_of};
use odf_node::ipns::Freshness;
use serde_json::json;

use super::announce::ReportArgs;
use super::car::{self, Opened};
use super::pull;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output;
use crate::session::Session;

/// Take a dataset out of a file that `odfs bundle` made; no network is needed
///
/// All of it is checked against the key of its owner. It is here then as if it had been pulled: `odfs node` serves it to whoever
/// asks, on the local network or beyond, and keeps its name alive once it is on-line.
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// The file; `-` for standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Name for the dataset here [default: what it is called where the bundle was made]
    #[arg(long = "as", value_name = "NAME")]
    name: Option<DatasetName>,
    /// Make the local dataset like that of the bundle, also if it is ahead or went another way: local blocks that the other
    /// lacks are dropped, after it was said how many they are, and asked; without a terminal --yes is needed
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    report: ReportArgs,
}

pub(super) fn run(args: &ImportArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    args.report.begin(io);
    let mut car = Opened::new(&args.file, io).map_err(|failure| match failure.kind() {
        Kind::BadInput => not_one(&args.file, &args.file.display().to_string()),
        _ => failure,
    })?;
    let first = car.reader.block().map_err(|error| car.failed(error))?;
    let none = || not_one(&args.file, &car.what);
    let first = first
        .filter(|first| car.reader.roots() == [*first.cid()])
        .ok_or_else(none)?;
    let bundle = Bundle::read(&first).map_err(|error| match error {
        odf::bundle::BundleError::NotOne(_) => none(),
        error => Failure::from(error).about(&car.what),
    })?;
    let name = bundle.record.name();
    let address = Address::Name(name);
    let workspace = session.workspace()?;
    let hold = workspace.store().hold();
    car::take(&mut car, workspace.store(), io)?;

    let names = session.node()?.names();
    let is_expired = bundle.record.is_expired(SystemTime::now());
    let known = session.wait(io, async {
        names.take(bundle.record.clone()).await?;
        Ok::<_, Failure>(names.resolve(&name, Freshness::Cached).await?)
    })?;
    let mut is_new = false;
    // One that was signed anew may say the same.
    if known.record.value() == bundle.record.value() {
        if known.expired {
            let until = output::time(DateTime::<Utc>::from(bundle.record.valid_until()));
            io.warn(format_args!(
                "what the owner signed was to hold until {until}: there may be something newer, and the name is kept alive once \
                 the owner signs it anew"
            ));
        }
        let carried = pull::carried(&address, &bundle.label, args.name.clone(), args.force, session, io);
        is_new = carried.map_err(|failure| match failure.kind() {
            Kind::Unreachable => Failure::new(
                Kind::NotFound,
                format!("{} is not whole: {}", car.what, failure.message()),
            )
            .next(format!(
                "get the file again; or `odfs pull {address}` asks others for all of it"
            )),
            _ => failure,
        })?;
    } else {
        let (here, there) = (known.record.sequence(), bundle.record.sequence());
        let what = format!(
            "{} is of number {there} of {name}, and number {here} is known here",
            car.what
        );
        if id_of(&name)
            .map(|id| workspace.catalog().by_id(&id))
            .transpose()?
            .flatten()
            .is_none()
        {
            return Err(Failure::new(Kind::Refused, what).next(format!(
                "`odfs pull {address}` brings what is newer, once somebody who has it can be reached"
            )));
        }
        io.line(format_args!("{what}: nothing was changed"))?;
    }
    drop(hold);
    let id = id_of(&name);
    let dataset = id.map(|id| workspace.catalog().by_id(&id)).transpose()?.flatten();
    let label = dataset.map(|dataset| dataset.name()).transpose()?;
    args.report.object(io, || {
        json!({
            "dataset": label.map(|label| label.to_string()),
            "id": id.map(|id| id.to_string()),
            "name": name.to_string(),
            "sequence": bundle.record.sequence(),
            "root": bundle.root.to_string(),
            "expired": is_expired,
            "updated": is_new,
        })
    })
}

/// A file of something else.
fn not_one(file: &Path, what: &str) -> Failure {
    Failure::new(Kind::BadInput, format!("{what} is no bundle that `odfs bundle` made")).next(format!(
        "`odfs car import {}` takes the blocks of any CAR, and `odfs publish` rows",
        file.display()
    ))
}
