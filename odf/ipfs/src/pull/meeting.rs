//! Meeting those whom a ticket names.

use std::time::Duration;

use odf_node::PeerId;
use odf_node::peer::{DialError, Node};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::ticket::{Contact, Ticket};

/// How long they are waited for before others are asked. They are dialled on meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

/// Dials all whom a ticket names, at all of their addresses at once, and gives whoever answers first: with that one connected a
/// pull can be [`near`](super::PullOptions::freshness).
///
/// # Errors
/// Nobody answered in time; why the last did not, as far as that is known.
pub async fn meet(node: &Node, ticket: &Ticket) -> Result<PeerId, Option<DialError>> {
    let mut dials: JoinSet<_> = ticket
        .contacts()
        .iter()
        .cloned()
        .map(|Contact { peer, addresses }| {
            let node = node.clone();
            async move { node.dial_any(peer, addresses).await }
        })
        .collect();
    let mut failed = None;
    let first = timeout(PATIENCE, async {
        while let Some(dialled) = dials.join_next().await {
            match dialled {
                Ok(Ok(peer)) => return Some(peer),
                Ok(Err(error)) => failed = Some(error),
                Err(_) => {}
            }
        }
        None
    });
    let met = first.await.ok().flatten();
    dials.detach_all();
    met.ok_or(failed)
}
