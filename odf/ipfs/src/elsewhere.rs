//! Whether what a name stands for is anywhere else than here: only then may this machine be off.
//!
//! A name that others keep alive says nothing of the rows that it leads to. So others are looked for who give them, and what
//! was found is remembered in the index of the store, by name: it counts for as long as the name stands for the same.

mod challenge;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use odf_node::block::Cid;
use odf_node::ipns::{Name, NameStatus};
use odf_node::peer::Node;
use odf_node::store::{Store, StoreError};
use tokio::task::JoinSet;

use crate::Local;
use crate::pull::blocking;

pub use challenge::{Copies, challenge};

/// Table of who was seen to have what names stand for.
const SEEN: &str = "odf.elsewhere";
/// How long it counts that another peer was seen to have something.
pub const SEEN_COUNTS: Duration = Duration::from_secs(48 * 3600);
/// Names that others are looked for at the same time.
const MAX_AT_ONCE: usize = 16;

/// When another peer was last seen to have what the name stands for; nothing if none ever was, or too long ago.
///
/// # Errors
/// The index cannot be read.
pub fn seen(store: &Store, status: &NameStatus, now: SystemTime) -> Result<Option<SystemTime>, StoreError> {
    let Some(root) = root_of(status) else {
        return Ok(None);
    };
    let saved = store.table(SEEN)?.get(&key(&status.name))?;
    let saved: Option<(Cid, u64)> = saved.and_then(|bytes| serde_ipld_dagcbor::from_slice(&bytes).ok());
    Ok(saved
        .filter(|(of, _)| *of == root)
        .and_then(|(_, at)| UNIX_EPOCH.checked_add(Duration::from_secs(at)))
        // A time to come is that of a clock that was wrong then or is now: nothing to rely on.
        .filter(|at| now.duration_since(*at).is_ok_and(|age| age < SEEN_COUNTS)))
}

/// Looks for other peers that have what own names stand for, for at most `patience`, and remembers which were found. What
/// cannot be remembered counts as not found.
pub async fn look(local: &Local, node: &Node, names: &[NameStatus], patience: Duration) {
    let mut looks = JoinSet::new();
    // Another one is the first each time, so that none is left out for ever where there are more than there is time for.
    let first = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos()
        % names.len().max(1) as u128;
    let (later, sooner) = names.split_at(first as usize);
    let search = async {
        for status in sooner.iter().chain(later).filter(|status| status.own) {
            let Some(root) = root_of(status) else { continue };
            if looks.len() >= MAX_AT_ONCE {
                looks.join_next().await;
            }
            let (node, store, name) = (node.clone(), local.store().clone(), status.name);
            looks.spawn(async move {
                if node.find_giver(&root, patience).await.is_none() {
                    return;
                }
                let noted = blocking(move || remember(&store, &name, root)).await;
                if !matches!(noted, Ok(Ok(()))) {
                    tracing::debug!(%name, "who has what it stands for is not remembered");
                }
            });
        }
        while looks.join_next().await.is_some() {}
    };
    // Over the time is as not found.
    let _ = tokio::time::timeout(patience, search).await;
}

/// Forgets who has what a name stands for. What cannot be removed says nothing of a name that stands for something else.
pub fn forget(store: &Store, name: &Name) {
    let removed = store.table(SEEN).and_then(|table| table.remove(&key(name)));
    if let Err(error) = removed {
        tracing::debug!(%name, %error, "who has what it stood for stays remembered");
    }
}

fn remember(store: &Store, name: &Name, root: Cid) -> Result<(), StoreError> {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // A CID and an integer have no way to fail.
    let bytes = serde_ipld_dagcbor::to_vec(&(root, at.as_secs())).unwrap_or_default();
    store.table(SEEN)?.insert(&key(name), &bytes)
}

fn root_of(status: &NameStatus) -> Option<Cid> {
    let path = status.value.as_ref()?.strip_prefix("/ipfs/")?;
    path.split('/').next()?.parse().ok()
}

fn key(name: &Name) -> Vec<u8> {
    name.peer_id().to_bytes()
}
