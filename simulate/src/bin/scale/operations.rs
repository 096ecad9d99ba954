//! What is done among the peers: keys looked up, announced and found, names published and resolved, each by another peer.

use std::time::Duration;

use futures::StreamExt as _;
use libp2p::identity::Keypair;
use odf_node::block::{Cid, RAW, sha2_256};
use odf_node::ipns::{Freshness, Name, PublishOptions};
use odf_node::peer::Node;
use odf_node::routing::Network as Dht;
use tokio::time::{Instant, sleep, timeout};

use crate::crowd::Crowd;
use crate::report::Cost;

/// Operations under way at the same time.
const AT_ONCE: usize = 8;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Walks that nobody waits for any more go on, and are counted: they have ended when none ends for so long, or after so long.
const QUIET: Duration = Duration::from_secs(1);
const END_OF_WALKS: Duration = Duration::from_secs(15);

/// A key, and who said to have what it stands for.
pub(crate) struct Announced {
    cid: Cid,
    by: Node,
}

/// A name and what it stands for.
pub(crate) struct Published {
    name: Name,
    value: String,
    by: Node,
}

/// Does all of `work`, some at a time. Gives what came of each that succeeded, and the cost.
async fn measure<T>(
    crowd: &Crowd,
    what: &'static str,
    work: impl IntoIterator<Item = impl Future<Output = Option<T>>>,
) -> (Vec<T>, Cost) {
    let before = crowd.walked();
    let timed = work.into_iter().map(|one| async move {
        let began = Instant::now();
        let done = timeout(PATIENCE, one).await.ok().flatten();
        (done, began.elapsed())
    });
    let all: Vec<_> = futures::stream::iter(timed.collect::<Vec<_>>())
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let (began, mut so_far) = (Instant::now(), None);
    while so_far != Some(crowd.walked()) && began.elapsed() < END_OF_WALKS {
        so_far = Some(crowd.walked());
        sleep(QUIET).await;
    }
    let times = all.iter().map(|(_, took)| *took).collect();
    let count = all.len();
    let done: Vec<T> = all.into_iter().filter_map(|(done, _)| done).collect();
    let cost = Cost::of(what, (count, done.len()), times, (before, crowd.walked()));
    (done, cost)
}

fn key(text: &str) -> Vec<u8> {
    sha2_256(text.as_bytes()).to_bytes()
}

/// Looks up random keys: that succeeds where the peer is found that really is the closest.
pub(crate) async fn look_up(crowd: &Crowd, count: usize, what: &'static str) -> Cost {
    let work = (0..count).map(|number| async move {
        let key = key(&format!("{what} {number}"));
        let (asks, closest) = (crowd.somebody(None), crowd.closest(&key)?);
        let found = asks.routing().closest(Dht::Wan, &key).await.ok()??;
        // Nobody is told that it is itself among them.
        let is_it = asks.peer_id() == closest || found.iter().any(|peer| peer.peer == closest);
        is_it.then_some(())
    });
    measure(crowd, what, work.collect::<Vec<_>>()).await.1
}

/// Announces new keys.
pub(crate) async fn announce(crowd: &Crowd, count: usize) -> (Vec<Announced>, Cost) {
    let work = (0..count).map(|number| async move {
        let (by, cid) = (crowd.somebody(None), Cid::new_v1(RAW, sha2_256(&number.to_be_bytes())));
        let announced = by.provide(vec![cid]).await.ok()?;
        (announced.reached == 1).then_some(Announced { cid, by })
    });
    measure(crowd, "provide", work.collect::<Vec<_>>()).await
}

/// Finds who announced them.
pub(crate) async fn find(crowd: &Crowd, announced: &[Announced], what: &'static str) -> Cost {
    let work = announced.iter().map(|Announced { cid, by }| async move {
        let mut found = crowd.somebody(Some(by)).routing().providers(cid);
        while let Some(provider) = found.recv().await {
            if provider.peer == by.peer_id() {
                return Some(());
            }
        }
        None
    });
    measure(crowd, what, work.collect::<Vec<_>>()).await.1
}

/// Publishes new names.
pub(crate) async fn publish(crowd: &Crowd, count: usize) -> (Vec<Published>, Cost) {
    let work = (0..count).map(|number| async move {
        let (by, key) = (crowd.somebody(None), Keypair::generate_ed25519());
        let value = format!("/ipfs/{}", Cid::new_v1(RAW, sha2_256(&number.to_be_bytes())));
        let options = PublishOptions::default();
        let enough = options.enough.min(crowd.members.len() - 1);
        let published = by.names().publish(&key, &value, options).await.ok()?;
        let name = published.name;
        (published.holders >= enough).then_some(Published { name, value, by })
    });
    measure(crowd, "name publish", work.collect::<Vec<_>>()).await
}

/// Asks what they stand for.
pub(crate) async fn resolve(crowd: &Crowd, names: &[Published], what: &'static str) -> Cost {
    let work = names.iter().map(|Published { name, value, by }| async move {
        let asks = crowd.somebody(Some(by));
        let resolved = asks.names().resolve(name, Freshness::Network).await.ok()?;
        (resolved.value == *value).then_some(())
    });
    measure(crowd, what, work.collect::<Vec<_>>()).await.1
}
