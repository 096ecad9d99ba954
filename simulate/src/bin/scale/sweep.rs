//! Very many keys of one peer, told to all others region by region.

use std::fmt;
use std::time::Duration;

use odf_node::block::{Cid, RAW, sha2_256};
use odf_node::peer::Node;
use odf_node::store::{Store, StoreOptions};
use tokio::time::{Instant, sleep};

use crate::crowd::{Crowd, resident};

/// Keys that are put into the schedule in one call.
const AT_ONCE: usize = 50_000;
/// How often it is looked how far it is.
const LOOK: Duration = Duration::from_millis(500);
/// Of so many keys one is looked for afterwards.
const SAMPLES: usize = 200;

/// What a sweep has cost.
pub(crate) struct Swept {
    keys: usize,
    scheduled: Duration,
    took: Duration,
    walks: u64,
    regions: u64,
    /// Messages of walks, and keys that were told, once for each peer.
    questions: u64,
    told: u64,
    schedule_bytes: u64,
    found: usize,
    sampled: usize,
}

impl Swept {
    /// How many of the keys that were looked for afterwards were found, and how many those are.
    pub(crate) fn found(&self) -> (usize, usize) {
        (self.found, self.sampled)
    }
}

impl fmt::Display for Swept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            r#"{{"keys":{},"scheduled_s":{:.1},"took_s":{:.1},"regions":{},"walks":{},"questions":{},"told":{},"memory_mib":{:.1},"sampled":{},"found":{}}}"#,
            self.keys,
            self.scheduled.as_secs_f64(),
            self.took.as_secs_f64(),
            self.regions,
            self.walks,
            self.questions,
            self.told,
            self.schedule_bytes as f64 / f64::from(1 << 20),
            self.sampled,
            self.found,
        )
    }
}

fn cid(number: usize) -> Cid {
    Cid::new_v1(RAW, sha2_256(format!("swept {number}").as_bytes()))
}

/// One more peer, with its schedule on a disk, tells of so many keys.
pub(crate) async fn sweep(crowd: &mut Crowd, keys: usize) -> Result<Swept, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let store = Store::open(dir.path(), StoreOptions::default()).map_err(|error| error.to_string())?;
    let builder = Node::builder(&store).map_err(|error| error.to_string())?;
    let node = crowd.join(builder).await?;
    let (began, before) = (Instant::now(), resident());
    let mut first = 0;
    while first < keys {
        let some = (first..keys.min(first + AT_ONCE)).map(cid).collect();
        let scheduled = node.routing().provide_later(some).await;
        scheduled.map_err(|error| error.to_string())?;
        first += AT_ONCE;
    }
    let (scheduled, schedule_bytes) = (began.elapsed(), resident().saturating_sub(before));
    let done = loop {
        let provided = node.routing().provided().await.map_err(|error| error.to_string())?;
        if provided.waiting == 0 {
            break provided.done;
        }
        sleep(LOOK).await;
    };
    let took = began.elapsed();
    let questions = node.routing().walked().messages;
    let (mut found, mut sampled) = (0, 0);
    for number in (0..keys).step_by((keys / SAMPLES).max(1)) {
        let asks = crowd.somebody(Some(&node));
        let key = cid(number);
        let search = asks.routing().find_providers(&key, 1, Duration::from_secs(30));
        let providers = search.await.unwrap_or_default();
        found += usize::from(providers.iter().any(|provider| provider.peer == node.peer_id()));
        sampled += 1;
    }
    Ok(Swept {
        keys,
        scheduled,
        took,
        walks: done.walks,
        regions: done.regions,
        questions,
        told: done.messages,
        schedule_bytes,
        found,
        sampled,
    })
}
