//! `odfs ipfs repo`

use clap::Subcommand;
use odf_node::block::{Cid, RAW};
use serde::Serialize;
use serde_json::json;

use super::call::{Call, go_bytes};
use super::version::REPO;
use crate::commands::gc;
use crate::commands::repo::check;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output;

/// Work with the block store
#[derive(Subcommand, Debug)]
pub(crate) enum RepoCommand {
    /// Remove blocks that nothing pinned needs, and data files that no history needs, and give their space back
    Gc {
        /// Print CIDs only
        #[arg(long, short)]
        quiet: bool,
        /// Print nothing
        #[arg(long)]
        silent: bool,
        /// Taken for Kubo's sake; what could not be read is always told
        #[arg(long, hide = true)]
        stream_errors: bool,
    },
    /// Print figures of the store
    Stat {
        /// The size only
        #[arg(short, long)]
        size_only: bool,
        /// Sizes in units of 1000
        #[arg(short = 'H', long)]
        human: bool,
    },
    /// Read every block, and check that it is what its CID says
    Verify,
    /// Print the form of the repository that Kubo has at this release
    Version {
        /// The number only
        #[arg(short, long)]
        quiet: bool,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Stat {
    repo_size: u64,
    storage_max: u64,
    num_objects: u64,
    repo_path: String,
    version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SizeStat {
    repo_size: u64,
    storage_max: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Verified {
    msg: String,
    progress: u64,
}

pub(super) fn run(command: &RepoCommand, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    match command {
        RepoCommand::Gc { quiet, silent, .. } => collect(*quiet, *silent, call, io),
        RepoCommand::Stat { size_only, human } => stat(*size_only, *human, call, io),
        RepoCommand::Verify => verify(call, io),
        RepoCommand::Version { quiet } => {
            let text = match quiet {
                true => format!("fs-repo@{REPO}"),
                false => format!("ipfs repo version fs-repo@{REPO}"),
            };
            call.answer(&Version { version: REPO }, text, io)
        }
    }
}

fn collect(quiet: bool, silent: bool, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let report = gc::collect(call.session, io)?;
    if silent {
        return Ok(());
    }
    for hash in &report.removed {
        // What goes is a block, whatever CIDs named it.
        let key = call.cid(&Cid::new_v1(RAW, *hash));
        let text = match quiet {
            true => key.clone(),
            false => format!("removed {key}"),
        };
        call.answer(&json!({ "Key": { "/": key } }), text, io)?;
    }
    let unnamed = report.removed_blocks - report.removed.len() as u64;
    if unnamed > 0 {
        io.say(format_args!("and {} more", output::count(unnamed)));
    }
    io.say(gc::sentence(&report));
    Ok(())
}

/// What is said of the most that the store may have where there is no limit but the disk.
const NO_LIMIT: u64 = 0;

fn stat(size_only: bool, human: bool, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let store = call.session.workspace()?.store();
    let stats = store.stats()?;
    let size = stats.pack_bytes + stats.file_bytes + stats.index_bytes;
    let stat = Stat {
        repo_size: size,
        storage_max: store.max_bytes().unwrap_or(NO_LIMIT),
        num_objects: stats.blocks,
        repo_path: call.session.root().display().to_string(),
        version: format!("fs-repo@{REPO}"),
    };
    if size_only && call.is_json() {
        let sizes = SizeStat {
            repo_size: stat.repo_size,
            storage_max: stat.storage_max,
        };
        return call.answer(&sizes, "", io);
    }
    let bytes = |count: u64| match human {
        true => go_bytes(count),
        false => count.to_string(),
    };
    let sizes = [
        ("RepoSize:", bytes(stat.repo_size)),
        ("StorageMax:", bytes(stat.storage_max)),
    ];
    let rows = [
        ("NumObjects:", stat.num_objects.to_string()),
        sizes[0].clone(),
        sizes[1].clone(),
        ("RepoPath:", stat.repo_path.clone()),
        ("Version:", stat.version.clone()),
    ];
    let rows: &[(&str, String)] = if size_only { &sizes } else { &rows };
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:<11} {value}")).collect();
    call.answer(&stat, lines.join("\n"), io)
}

fn verify(call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let checked = check(call.session.workspace()?.store(), io)?;
    let done = checked.blocks;
    let mut bad: Vec<_> = checked.bad.iter().map(|bad| bad.cid).collect();
    bad.dedup();
    for cid in &bad {
        let msg = format!("block {} was corrupt", call.cid(cid));
        let told = msg.clone();
        call.answer(&Verified { msg, progress: 0 }, told, io)?;
    }
    if bad.is_empty() {
        let msg = "verify complete, all blocks validated.".to_owned();
        let told = msg.clone();
        return call.answer(&Verified { msg, progress: done }, told, io);
    }
    Err(
        Failure::new(Kind::Integrity, "verify complete, some blocks were corrupt")
            .next("they are not served any more: `odfs repo verify --heal` gets them again"),
    )
}
