//! Keys that somebody tells others of at this moment. The schedule has them as due until that is done, and is to leave them alone.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use crate::threads::lock;

/// All of them. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Claims(Arc<Mutex<HashSet<Vec<u8>>>>);

/// A key that is claimed for as long as this lives.
pub(super) struct Claim {
    claims: Claims,
    pub(super) key: Vec<u8>,
    /// Not one that somebody else had claimed before.
    is_first: bool,
}

impl Claims {
    /// Claims keys. Whoever waits for one to be told tells it, even if somebody else does so already.
    pub(super) fn claim(&self, keys: impl IntoIterator<Item = Vec<u8>>) -> Vec<Claim> {
        let claim = |key: Vec<u8>| Claim {
            claims: self.clone(),
            is_first: lock(&self.0).insert(key.clone()),
            key,
        };
        keys.into_iter().map(claim).collect()
    }

    /// Whether nobody tells of `key`.
    pub(super) fn leave(&self, key: &[u8]) -> bool {
        !lock(&self.0).contains(key)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_first {
            lock(&self.claims.0).remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use libp2p::PeerId;
    use tokio::sync::{mpsc, watch};

    use crate::block::{Cid, RAW, sha2_256};
    use crate::clock::Clock;
    use crate::routing::command::{Command, Walk};
    use crate::routing::records::Records;
    use crate::routing::schedule::Schedule;
    use crate::routing::{Expected, Routers, Routing, Signs, Strategy, TableSizes};
    use crate::store::{MemoryStore, Table};

    #[tokio::test]
    async fn what_is_being_announced_is_not_announced_by_the_schedule_as_well() {
        let (sender, mut commands) = mpsc::channel(8);
        let (_sizes, sizes) = watch::channel(TableSizes { lan: 0, wan: 1 });
        let (_signs, signs) = watch::channel(Signs::default());
        let (clock, local) = (Clock::system(), PeerId::random());
        let schedule = Schedule::open(Table::in_memory(), clock.clone());
        let records = Records::open(&Table::in_memory(), &schedule, local, &clock);
        let announced = (std::sync::Arc::new(MemoryStore::default()) as _, Strategy::default());
        let expected = Expected { lan: false, wan: true };
        let routing = Routing::new(
            sender,
            sizes,
            (schedule, records),
            announced,
            local,
            (expected, signs),
            Routers::default(),
        );
        let mut next = async || match commands.recv().await {
            Some(Command::Walk {
                walk: Walk::Announce { key, reply },
                ..
            }) => (key, reply),
            _ => panic!("an announcement is expected"),
        };
        let cid = |text: &str| Cid::new_v1(RAW, sha2_256(text.as_bytes()));
        let asked = tokio::spawn({
            let routing = routing.clone();
            async move { routing.provide(vec![cid("asked")], Duration::from_secs(60)).await }
        });
        let (key, reply) = next().await;
        assert_eq!(key, cid("asked").hash().to_bytes());
        tokio::spawn(routing.clone().run_schedule());
        routing.provide_later(vec![cid("later")]).await.unwrap();
        let (key, _reply) = next().await;
        assert_eq!(key, cid("later").hash().to_bytes(), "the other one is under way");
        reply.send(true).unwrap();
        assert_eq!(asked.await.unwrap().unwrap().reached, 1);
        assert_eq!(routing.claims.0.lock().unwrap().len(), 1);
    }
}
