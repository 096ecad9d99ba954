//! `odfs ipfs pin`

use std::time::Duration;

use clap::Subcommand;
use odf_node::fetch::Fetcher;
use odf_node::store::Pin;

use super::path::IpfsPath;
use super::source::{Source, whole_block};
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output;
use crate::session::Session;

/// Who pins what these commands keep.
pub(in crate::commands) const PIN_OWNER: &str = "ipfs";

/// Keep content from being collected as garbage
#[derive(Subcommand, Debug)]
pub(crate) enum PinCommand {
    /// Fetch content with everything below it, and keep it
    Add {
        /// Paths to the content: /ipfs/CID/…, /ipns/NAME/… or CID/…
        #[arg(required = true, value_name = "IPFS_PATH")]
        paths: Vec<IpfsPath>,
    },
    /// List what is kept, that of datasets included
    Ls,
    /// Stop keeping content
    Rm {
        /// Paths to the content
        #[arg(required = true, value_name = "IPFS_PATH")]
        paths: Vec<IpfsPath>,
    },
}

pub(super) fn run(command: &PinCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let store = session.workspace()?.store();
    match command {
        PinCommand::Add { paths } => {
            for path in paths {
                let hold = store.hold();
                let mut source = Source::new(session)?;
                let cid = whole_block(&source.resolve(path, io)?, path)?;
                let fetcher = Fetcher::new(store.clone(), Some(session.node()?.exchange().session()));
                let (watched, progress) = (fetcher.clone(), io.progress().clone());
                session.wait(io, async {
                    let work = fetcher.dag(cid);
                    tokio::pin!(work);
                    let mut tick = tokio::time::interval(Duration::from_millis(200));
                    loop {
                        tokio::select! {
                            done = &mut work => return done.map_err(Failure::from),
                            _ = tick.tick() => progress.show(|| {
                                let done = watched.fetched();
                                let text = format!("{} blocks, {}", output::count(done.blocks), output::bytes(done.bytes));
                                Step { text, ..Step::default() }
                            }),
                        }
                    }
                })?;
                store.pin(PIN_OWNER, &cid)?;
                store.flush()?;
                drop(hold);
                session.added(&[cid]);
                io.line(format_args!("pinned {cid} recursively"))?;
            }
            Ok(())
        }
        PinCommand::Ls => {
            let mut pins: Vec<Pin> = store.pins(None)?;
            pins.sort_by_key(|pin| pin.cid.to_string());
            pins.dedup_by_key(|pin| pin.cid);
            pins.into_iter()
                .try_for_each(|pin| io.line(format_args!("{} recursive", pin.cid)))
        }
        PinCommand::Rm { paths } => {
            for path in paths {
                let mut source = Source::new(session)?;
                let cid = whole_block(&source.resolve(path, io)?, path)?;
                if !store.unpin(PIN_OWNER, &cid)? {
                    return Err(
                        Failure::new(Kind::NotFound, format!("{cid} is not pinned or pinned indirectly"))
                            .next("`odfs delete DATASET` gives up what a dataset keeps"),
                    );
                }
                io.line(format_args!("unpinned {cid}"))?;
            }
            store.flush()?;
            Ok(())
        }
    }
}
