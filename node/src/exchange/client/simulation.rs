//! The fetching half against several serving halves, over a network that delays, loses, and disconnects.
//!
//! Whatever happens on the way, every fetch must end: with the block when somebody who stays has it, else with an
//! error; and nothing may be left behind.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use libp2p::PeerId;
use proptest::prelude::*;

use super::*;
use crate::block::RAW;
use crate::denylist::Denylist;
use crate::exchange::message::{Message, WantKind};
use crate::exchange::server::{Limits, Server};
use crate::exchange::session::Ticket;
use crate::exchange::wantlist::Wantlist;
use crate::store::{Blocks as _, MemoryStore};

const SESSION: SessionId = SessionId(1);
const STEP: Duration = Duration::from_millis(20);
const TIMES: Times = Times {
    answer: Duration::from_secs(5),
    search_after: Duration::from_secs(1),
    search_every: Duration::from_secs(10),
    search: Duration::from_secs(10),
    patience: Duration::from_secs(60),
};

/// One peer, as the dice made it.
#[derive(Debug, Clone)]
struct Nature {
    /// It has block `n` when bit `n % 16` is set.
    holds: u16,
    /// Known from the start, found by a search, or a stranger that happens to be connected.
    role: u8,
    /// Steps that a message takes, both ways.
    delay: usize,
    /// Every so many messages one is lost; none when zero.
    loses_every: usize,
    /// It leaves at this step and comes back a hundred steps later; it stays when zero.
    leaves_at: usize,
    /// It never answers.
    dead: bool,
}

struct Remote {
    nature: Nature,
    id: PeerId,
    server: Server,
    store: MemoryStore,
    to: VecDeque<(usize, Message)>,
    from: VecDeque<(usize, Message)>,
    messages: usize,
    connected: bool,
}

fn block(seed: usize) -> Block {
    let mut data = vec![seed as u8; 200 + 37 * seed % 3000];
    data[..8].copy_from_slice(&(seed as u64).to_le_bytes());
    Block::new(RAW, data).unwrap()
}

impl Remote {
    fn new(nature: Nature, blocks: &[Block]) -> Self {
        let store = MemoryStore::new();
        let held = blocks
            .iter()
            .enumerate()
            .filter(|(at, _)| nature.holds >> (at % 16) & 1 == 1);
        store
            .put(&held.map(|(_, block)| block.clone()).collect::<Vec<_>>())
            .unwrap();
        let limits = Limits {
            peer_bytes: 8000,
            total_bytes: 16_000,
            jobs: 2,
        };
        Self {
            nature,
            id: PeerId::random(),
            server: Server::new(limits),
            store,
            to: VecDeque::new(),
            from: VecDeque::new(),
            messages: 0,
            connected: false,
        }
    }

    fn is_lost(&mut self) -> bool {
        self.messages += 1;
        self.nature.loses_every > 0 && self.messages.is_multiple_of(self.nature.loses_every + 2)
    }

    /// The serving half reads what has arrived, and answers.
    fn serve(&mut self, client: PeerId, step: usize) {
        while self.to.front().is_some_and(|(at, _)| *at <= step) {
            let Some((_, message)) = self.to.pop_front() else { break };
            if !self.nature.dead {
                self.server
                    .wantlist(client, Wantlist::new(message.full, message.entries));
            }
        }
        while let Some(job) = self.server.next_job() {
            if let Some(outgoing) = self.server.finished(job.run(&self.store, &Denylist::default())) {
                self.server.sent(client, outgoing.id);
                if !self.is_lost() {
                    self.from.push_back((step + self.nature.delay, outgoing.message));
                }
            }
        }
    }
}

fn natures() -> impl Strategy<Value = Vec<Nature>> {
    let nature = (any::<u16>(), 0..3u8, 0..40usize, 0..8usize, 0..400usize, 0..10u8).prop_map(
        |(holds, role, delay, loses_every, leaves_at, dead)| Nature {
            holds,
            role,
            delay,
            loses_every,
            leaves_at: if leaves_at < 100 { leaves_at } else { 0 },
            dead: dead == 0,
        },
    );
    prop::collection::vec(nature, 1..6)
}

fn run(natures: Vec<Nature>, count: usize) -> Result<(), TestCaseError> {
    let blocks: Vec<Block> = (0..count).map(block).collect();
    let here = PeerId::random();
    let mut now = Instant::now();
    let mut client = Client::new(TIMES);
    client.open(SESSION, Default::default(), now);
    let mut remotes: Vec<Remote> = natures.into_iter().map(|nature| Remote::new(nature, &blocks)).collect();
    for remote in &mut remotes {
        if remote.nature.role == 2 {
            remote.connected = true;
            client.connected(remote.id, now);
        } else if remote.nature.role == 0 {
            client.add_provider(SESSION, remote.id, now);
        }
    }
    for (at, block) in blocks.iter().enumerate() {
        client.fetch(SESSION, Ticket(at as u64), *block.cid(), now);
    }
    let mut results: HashMap<u64, Result<Block, FetchError>> = HashMap::new();
    for step in 0..60_000 {
        now += STEP;
        client.drive(now);
        client.search_due(now);
        while let Some((peer, message)) = client.next_message() {
            client.message_gone(&peer);
            let remote = remotes.iter_mut().find(|remote| remote.id == peer).unwrap();
            prop_assert!(remote.connected, "a message to a peer that is not there");
            if !remote.is_lost() {
                remote.to.push_back((step + remote.nature.delay, message));
            }
        }
        while let Some(action) = client.actions.pop_front() {
            match action {
                Action::Deliver(ticket, result) => prop_assert!(results.insert(ticket.0, result).is_none()),
                Action::NeedProviders(id, _) => {
                    let found = remotes
                        .iter()
                        .filter(|remote| remote.nature.role == 1)
                        .map(|remote| remote.id);
                    client.found(id, found.collect(), now);
                }
                Action::Dial(peer) => {
                    let remote = remotes.iter_mut().find(|remote| remote.id == peer).unwrap();
                    let away = remote.nature.leaves_at > 0
                        && (remote.nature.leaves_at..remote.nature.leaves_at + 100).contains(&step);
                    if away {
                        client.dial_failed(&peer, now);
                    } else if !remote.connected {
                        remote.connected = true;
                        client.connected(peer, now);
                    }
                }
                Action::Disconnect(_) => prop_assert!(false, "nobody here misbehaves"),
            }
        }
        for remote in &mut remotes {
            if remote.connected && remote.nature.leaves_at > 0 && remote.nature.leaves_at == step {
                remote.connected = false;
                remote.to.clear();
                remote.from.clear();
                remote.server.disconnected(&here);
                client.disconnected(&remote.id, now);
            }
            if remote.connected {
                remote.serve(here, step);
            }
            while remote.from.front().is_some_and(|(at, _)| *at <= step) {
                let Some((_, message)) = remote.from.pop_front() else {
                    break;
                };
                let receipt = client.received(remote.id, message.blocks, message.presences, 0, now);
                prop_assert_eq!(receipt.unrequested, 0);
            }
        }
        if step % 100 == 0 && std::env::var("DBG").is_ok() {
            let session = &client.sessions[&SESSION];
            eprintln!(
                "step {step} results {} queue {} stuck {} search {:?} members {:?} quiet {:?}",
                results.len(),
                session.queue.len(),
                session.stuck.len(),
                session.search,
                session.members,
                now - session.last_progress
            );
            for (cid, want) in &client.wants {
                eprintln!(
                    "   {cid} holder {:?} told {:?} said {:?} queued {}",
                    want.holder, want.told, want.said, want.queued
                );
                for (no, peer) in &client.peers {
                    if let Some(ask) = peer.asks.get(cid) {
                        eprintln!("      {no:?} {:?} {ask:?} unresp {}", peer.link, peer.is_unresponsive());
                    }
                }
            }
        }
        if results.len() == count {
            break;
        }
    }
    prop_assert_eq!(results.len(), count, "some fetches never end");
    for (at, block) in blocks.iter().enumerate() {
        let sure = remotes.iter().any(|remote| {
            let nature = &remote.nature;
            !nature.dead && nature.leaves_at == 0 && nature.loses_every == 0 && nature.holds >> (at % 16) & 1 == 1
        });
        match &results[&(at as u64)] {
            Ok(fetched) => prop_assert_eq!(fetched, block),
            Err(error) => prop_assert!(!sure, "{error}, though a good peer has it"),
        }
    }
    client.drive(now + Duration::from_secs(1));
    let session = &client.sessions[&SESSION];
    prop_assert!(client.wants.is_empty() && client.tickets.is_empty());
    prop_assert!(session.wants.is_empty() && session.stuck.is_empty());
    for peer in client.peers.values() {
        prop_assert!(peer.asks.is_empty(), "{:?}", peer.asks);
        prop_assert_eq!((peer.open_blocks, peer.open_bytes, peer.open_haves), (0, 0, 0));
        prop_assert!(!peer.is_unresponsive());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn every_fetch_ends_and_leaves_nothing_behind(natures in natures(), count in 1..120usize) {
        run(natures, count)?;
    }
}

#[test]
fn one_good_peer_among_bad_ones_is_enough() {
    let nature = |holds, delay, loses_every, leaves_at, dead| Nature {
        holds,
        role: 0,
        delay,
        loses_every,
        leaves_at,
        dead,
    };
    let natures = vec![
        nature(u16::MAX, 3, 1, 0, false),
        nature(u16::MAX, 0, 0, 30, false),
        nature(0, 1, 0, 0, false),
        nature(u16::MAX, 0, 0, 0, true),
        nature(u16::MAX, 10, 0, 0, false),
    ];
    run(natures, 300).unwrap();
}

#[test]
fn a_presence_is_never_asked_of_a_peer_twice_at_once() {
    let mut client = Client::new(TIMES);
    let now = Instant::now();
    client.open(SESSION, Default::default(), now);
    let peers: Vec<PeerId> = (0..40).map(|_| PeerId::random()).collect();
    peers.iter().for_each(|peer| client.connected(*peer, now));
    for seed in 0..500 {
        client.fetch(SESSION, Ticket(seed), *block(seed as usize).cid(), now);
    }
    client.drive(now);
    let mut asked: HashMap<(PeerId, Cid), usize> = HashMap::new();
    while let Some((peer, message)) = client.next_message() {
        client.message_gone(&peer);
        for entry in message.entries {
            assert_eq!(entry.kind, WantKind::Have);
            *asked.entry((peer, entry.cid)).or_insert(0) += 1;
        }
    }
    assert!(asked.values().all(|times| *times == 1));
    for peer in peers {
        assert!(asked.keys().filter(|(of, _)| *of == peer).count() <= peer::MAX_HAVE_ASKS);
    }
}

#[test]
fn zz_debug() {
    let a = Nature {
        holds: 17024,
        role: 2,
        delay: 13,
        loses_every: 1,
        leaves_at: 0,
        dead: false,
    };
    let b = Nature {
        holds: 61829,
        role: 1,
        delay: 5,
        loses_every: 0,
        leaves_at: 0,
        dead: false,
    };
    run(vec![a, b], 30).unwrap();
}
