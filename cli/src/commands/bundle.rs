//! `odfs bundle`

use clap::Args;
use odf::bundle::Bundle;
use odf_node::ipns;
use serde_json::json;

use super::announce::{ReportArgs, ReportFormat};
use super::car::Sink;
use super::ipfs::source::Source;
use super::ticket::address_of;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output;
use crate::session::Session;

/// Write a dataset to one file that can be carried: its data, its history, and what its owner signed
///
/// `odfs import FILE` takes it on a machine without a network, and checks all of it against the key of the owner. What is in it
/// is what was published last. The file is a CAR, so that `ipfs dag import` takes it too.
#[derive(Args, Debug)]
pub(crate) struct BundleArgs {
    /// Name or id of a dataset that was published here, or pulled by its name
    dataset: String,
    /// Where to; `-` for standard output
    #[arg(value_name = "FILE|-")]
    to: String,
    /// Write over a file that is there
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    report: ReportArgs,
}

pub(super) fn run(args: &BundleArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let as_json = args.report.output == ReportFormat::Json;
    if args.to == "-" && as_json {
        return Err(
            Failure::usage("-o json is a report on standard output, where the bundle goes").next("name a file"),
        );
    }
    let workspace = session.workspace()?;
    let dataset = workspace.catalog().find(&args.dataset)?;
    let label = dataset.name()?;
    let address = address_of(&dataset, session)?;
    let record = match address.name() {
        Some(name) => ipns::record(workspace.store(), name)?,
        None => None,
    };
    let record = record.ok_or_else(|| {
        Failure::new(
            Kind::NotFound,
            format!("{label} is here by its content alone: nobody signed a name for it that could be carried"),
        )
        .next(format!(
            "`odfs pull` it by its name; or `odfs car export {address} FILE` writes its blocks"
        ))
    })?;
    let bundle = Bundle::new(label.clone(), record)?;
    let first = bundle.block()?;
    let mut sink = Sink::open(&args.to, args.force, io)?;
    // Nothing of it is collected while it is read.
    let _hold = workspace.store().hold();
    let written = sink.write(bundle.root, Some(&first), &mut Source::new(session)?, io)?;
    sink.finish(io)?;
    let name = bundle.record.name();
    if args.to != "-" && !as_json {
        io.say(format_args!(
            "{label} with all of its history, as {name} has it: {} in {} block(s)",
            output::bytes(written.bytes),
            output::count(written.blocks)
        ));
        io.say(format_args!("`odfs import {}` takes it on any machine", args.to));
    }
    args.report.object(io, || {
        json!({
            "dataset": label.as_str(),
            "id": dataset.id().to_string(),
            "name": name.to_string(),
            "sequence": bundle.record.sequence(),
            "root": bundle.root.to_string(),
            "to": args.to,
            "blocks": written.blocks,
            "bytes": written.bytes,
        })
    })
}
