//! `odfs ipfs repo`

use clap::Subcommand;

use crate::failure::Failure;
use crate::io::Io;
use crate::output;
use crate::session::Session;

/// Work with the block store
#[derive(Subcommand, Debug)]
pub(crate) enum RepoCommand {
    /// Remove blocks that nothing pinned needs, and data files that no history needs, and give their space back
    Gc,
    /// Print figures of the store
    Stat,
}

pub(super) fn run(command: &RepoCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let workspace = session.workspace()?;
    match command {
        RepoCommand::Gc => {
            let report = workspace.collect_garbage()?;
            if report.removed_files > 0 {
                let files = output::count(report.removed_files);
                io.say(format_args!("removed {files} data file(s) that no history needs"));
            }
            for missing in &report.missing {
                io.say(format_args!(
                    "block {}, which {} needs: {}{}; fetch it again (`odfs pull`, `odfs ipfs pin add`) or give up the pin",
                    missing.cid,
                    missing.owner,
                    missing.reason,
                    if missing.was_here { ", and what it may have linked to is kept" } else { "" }
                ));
            }
            io.line(format_args!(
                "removed {} block(s), {}; {} freed on disk; {} block(s) are kept by {} pin(s)",
                output::count(report.removed_blocks),
                output::bytes(report.removed_bytes),
                output::bytes(report.freed_bytes),
                output::count(report.kept_blocks),
                output::count(report.pins)
            ))
        }
        RepoCommand::Stat => {
            let stats = workspace.store().stats()?;
            let size = stats.pack_bytes + stats.file_bytes + stats.index_bytes;
            let path = session.root().display().to_string();
            let rows = [
                ("NumObjects:", stats.blocks.to_string()),
                ("RepoSize:", size.to_string()),
                ("RepoPath:", path),
            ];
            rows.iter()
                .try_for_each(|(name, value)| io.line(format_args!("{name:<11} {value}")))
        }
    }
}
