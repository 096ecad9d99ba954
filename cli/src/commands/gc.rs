//! `odfs gc`

use clap::Args;
use odf_node::store::GcReport;
use serde_json::json;

use crate::failure::Failure;
use crate::io::Io;
use crate::output::{self, Format, OutputArgs};
use crate::session::Session;

/// Give back the space of what nothing needs
///
/// That is what was fetched or added and is neither kept (`odfs pin`) nor part of a dataset, and data files that no history
/// has. It can run beside everything else.
#[derive(Args, Debug)]
pub(crate) struct GcArgs {
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &GcArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let report = collect(session, io)?;
    if args.output.format(io) == Format::Table {
        return io.line(sentence(&report));
    }
    io.object(&json!({
        "removedBlocks": report.removed_blocks,
        "removedBytes": report.removed_bytes,
        "removedFiles": report.removed_files,
        "freedBytes": report.freed_bytes,
        "keptBlocks": report.kept_blocks,
        "pins": report.pins,
        "missing": report.missing.iter().map(|missing| missing.cid.to_string()).collect::<Vec<_>>(),
    }))
}

/// Collects garbage, and says what is not as it should be.
///
/// # Errors
/// The store fails; nothing that is needed is gone.
pub(super) fn collect(session: &Session, io: &mut Io) -> Result<GcReport, Failure> {
    let report = session.workspace()?.collect_garbage()?;
    if report.removed_files > 0 {
        let files = output::count(report.removed_files);
        io.say(format_args!("removed {files} data file(s) that no history needs"));
    }
    for missing in &report.missing {
        io.say(format_args!(
            "block {}, which {} needs: {}{}; fetch it again (`odfs pull`, `odfs pin add`) or give up the pin",
            missing.cid,
            missing.owner,
            missing.reason,
            if missing.was_here {
                ", and what it may have linked to is kept"
            } else {
                ""
            }
        ));
    }
    Ok(report)
}

/// What came of it.
pub(super) fn sentence(report: &GcReport) -> String {
    format!(
        "removed {} block(s), {}; {} freed on disk; {} block(s) are kept by {} pin(s)",
        output::count(report.removed_blocks),
        output::bytes(report.removed_bytes),
        output::bytes(report.freed_bytes),
        output::count(report.kept_blocks),
        output::count(report.pins)
    )
}
