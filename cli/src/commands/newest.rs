//! Whether what is here is the newest that was published: a change on top of something older would be another history, so that
//! every command asks which begins one by hand.

use odf::dataset::Dataset;
use odf::metadata::MergeStrategy;
use odf::publish::{PublishError, check_base};
use odf::pull::name_of;
use odf_node::ipns;

use super::dial::dial;
use super::rival::pull_of;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::session::Session;

/// What is to come on top of the newest block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Rows of a file, which are announced then.
    Publish,
    /// What somebody does by hand, and announces later.
    ByHand,
}

/// Whether a block would come on top of the newest one that the name of the dataset stands for: another machine may have
/// the key too. Nothing is looked up of a name that was never used, nor for each of many appends in a moment. `peers` are asked
/// besides those that are known.
///
/// # Errors
/// It would not.
pub(super) fn check_newest(
    dataset: &Dataset,
    peers: &[String],
    change: Change,
    session: &Session,
    io: &mut Io,
) -> Result<(), Failure> {
    let workspace = session.workspace()?;
    let Some(public) = name_of(&dataset.id()) else {
        return Ok(());
    };
    let known = ipns::status(workspace.store(), &public)?;
    let (undone, again) = match change {
        Change::Publish => ("no row was taken", "publish again"),
        Change::ByHand => ("nothing was changed", "run the command again"),
    };
    if change == Change::Publish && known.as_ref().is_some_and(|known| known.withdrawn) {
        // A file that is published every hour would undo it unseen.
        io.warn(format_args!(
            "{} was unpublished, and is published again by this",
            dataset.name()?
        ));
    }
    let is_used = known.is_some_and(|known| known.own || known.followed || known.withdrawn);
    let batched = session.is_lasting() && session.settings().batch.is_some();
    if peers.is_empty() && (batched || !is_used) {
        return Ok(());
    }
    dial(peers, session, io)?;
    let node = session.node()?;
    let checked = session.wait(io, async {
        Ok::<_, Failure>(check_base(workspace.local(), node, dataset, &public).await)
    })?;
    match checked {
        Err(PublishError::Diverged { .. }) => {
            let name = dataset.name()?;
            let pull = pull_of(dataset)?;
            Err(Failure::new(
                Kind::Refused,
                format!("{name} was changed elsewhere with the same key, and what is new there is not here; {undone}"),
            )
            .next(match dataset.state().merge_strategy() {
                // The next one would take it back, unasked: the file says that it is all there is.
                Some(MergeStrategy::Snapshot { .. }) if change == Change::Publish => format!(
                    "`{pull}` brings it here (where rows are here that are not there, `{pull} --rebase` puts them behind it). The \
                     file is taken as all there is, so it needs their rows before it is published again, or takes them back: \
                     `odfs diff {name}` shows what they did, `odfs export {name} FILE` writes a file with it"
                ),
                _ => format!(
                    "`{pull}` brings it here; where rows are here that are not there, `{pull} --rebase` puts them behind it; \
                     then {again}"
                ),
            }))
        }
        Err(PublishError::Unreadable { source, .. }) => {
            let name = dataset.name()?;
            let unread = Failure::from(*source);
            let reason = match io.in_terms() {
                true => format!(" ({})", unread.message()),
                false => String::new(),
            };
            Err(Failure::new(
                unread.kind(),
                format!(
                    "{name} was published elsewhere with the same key, and nobody in reach has what is new there{reason}; \
                     {undone}"
                ),
            )
            .next(match change {
                Change::Publish => {
                    "let a node run on the machine that published it, or name one that has it with --peer, and run the \
                     command again; --force publishes over it, and what is new there is lost"
                }
                Change::ByHand => {
                    "let a node run on the machine that published it, or name one that has it with --peer, and run the \
                     command again"
                }
            }))
        }
        checked => Ok(checked?),
    }
}
