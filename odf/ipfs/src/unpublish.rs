//! The end of a publication, as far as it can end: this peer announces the dataset no longer. What others have stays theirs,
//! and the last record of the name is good until it ends.

use std::time::SystemTime;

use odf_dataset::{Dataset, Sharing};
use odf_metadata::DatasetId;
use odf_node::block::Cid;
use odf_node::ipns::Name;
use odf_node::peer::Node;
use odf_node::store::{Store, StoreError};

use crate::Local;
use crate::announce::beside_entities;
use crate::publish::PublishError;
use crate::pull;
use crate::retention::entities;
use crate::standing;

/// What was taken back.
#[derive(Debug, Clone)]
pub struct Unpublished {
    /// The names that were withdrawn, each with when its last record ends, if that has one.
    pub names: Vec<(Name, Option<SystemTime>)>,
    /// Whether everybody may still read the dataset from here, because its owner said so.
    pub shared: bool,
}

/// Stops announcing a dataset: `names`, those of them that were published or followed here, are not kept alive any more, its
/// roots are not announced, and only who may read it otherwise is shown it. Done twice, it does the same.
///
/// In an order in which a sudden stop leaves less announced than before, and nothing that a second run would miss: the note
/// of who may read it, the names, the schedule of announcements. The numbers of the records are remembered, so that the next
/// publication has greater ones. Durable when this returns.
///
/// # Errors
/// The store or the note cannot be written; a part may be done.
pub async fn unpublish(
    local: &Local,
    node: &Node,
    dataset: &Dataset,
    names: &[Name],
) -> Result<Unpublished, PublishError> {
    let (here, id) = (dataset.clone(), dataset.id());
    let shared = pull::blocking(move || match here.sharing()? {
        Some(Sharing::Shared) => Ok(true),
        _ => here.set_sharing(Sharing::Stopped).map(|()| false),
    });
    let shared = shared.await.map_err(|_| PublishError::Stopped)??;
    let mut withdrawn = Vec::new();
    for name in names {
        if let Some(status) = node.names().withdraw(name).await? {
            withdrawn.push((*name, status.valid_until));
        }
    }
    let store = local.store().clone();
    let roots = pull::blocking(move || {
        standing::clear_due(&store, &id);
        announced(&store, &id)
    });
    let roots = roots.await.map_err(|_| PublishError::Stopped)??;
    node.routing().unprovide(roots).await?;
    let store = local.store().clone();
    let flushed = pull::blocking(move || store.flush());
    flushed.await.map_err(|_| PublishError::Stopped)??;
    Ok(Unpublished {
        names: withdrawn,
        shared,
    })
}

/// What may be announced of a dataset: of each root that is pinned for it, what is provided when it is published.
fn announced(store: &Store, id: &DatasetId) -> Result<Vec<Cid>, StoreError> {
    let mut cids = beside_entities(store, id)?;
    for pin in store.pins(Some(&id.to_string()))? {
        cids.extend(entities(store, &pin.cid)?);
    }
    Ok(cids)
}
