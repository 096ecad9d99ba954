//! What another machine published with the same key, not knowing of what was published here: nobody else tells.

use chrono::{DateTime, Utc};
use odf::dataset::Dataset;
use odf::pull::{id_of, name_of};
use odf_node::block::Cid;
use odf_node::ipns::{self, NameStatus};

use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;

/// What is to be said of a name, if another machine published other rows under it that are not here. That they came here by
/// now is noted.
///
/// # Errors
/// What is kept cannot be read or written.
pub(super) fn sentence(status: &NameStatus, session: &Session, io: &Io) -> Result<Option<String>, Failure> {
    let Some(rival) = &status.rival else {
        return Ok(None);
    };
    let workspace = session.workspace()?;
    let own = id_of(&status.name).map(|id| workspace.catalog().by_id(&id));
    let Some(dataset) = own.transpose()?.flatten() else {
        return Ok(None);
    };
    let root = rival
        .value
        .strip_prefix("/ipfs/")
        .and_then(|cid| cid.parse::<Cid>().ok());
    let owner = dataset.id().to_string();
    if root.is_some_and(|root| workspace.store().is_pinned(&owner, &root)) {
        match session.running_node() {
            Some(node) => session.wait(io, node.names().forget_rival(&status.name))?,
            None => ipns::forget_rival(workspace.store(), &status.name)?,
        }
        return Ok(None);
    }
    let name = dataset.name()?;
    let next = match (rival.leads, root) {
        (true, _) => format!(
            "`{}` brings them here, or tells what to do where both changed",
            pull_of(&dataset)?
        ),
        (false, Some(root)) => format!(
            "others get those of this machine: `odfs pull ipfs://{root} --as {name}-there` brings theirs beside it, `odfs push \
             {name} --force` leaves them behind"
        ),
        (false, None) => format!("`odfs push {name} --force` leaves them behind"),
    };
    Ok(Some(format!(
        "{name}: another machine published other rows with the same key, heard of at {} UTC; {next}",
        DateTime::<Utc>::from(rival.heard).format("%Y-%m-%d %H:%M")
    )))
}

/// The command that brings what the name of a dataset made here leads to.
///
/// # Errors
/// The dataset cannot be read.
pub(super) fn pull_of(dataset: &Dataset) -> Result<String, Failure> {
    let public = name_of(&dataset.id()).filter(|_| dataset.state().polling_source.is_some());
    Ok(match public {
        // By its name it would ask its source.
        Some(public) => format!("odfs pull ipns://{public}"),
        None => format!("odfs pull {}", dataset.name()?),
    })
}
