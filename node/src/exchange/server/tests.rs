use super::job::INLINE_BYTES;
use super::*;
use crate::block::{self, Block, MAX_BLOCK_BYTES, RAW};
use crate::denylist::Denylist;
use crate::exchange::message::{MAX_FRAME_BYTES, Version, WantlistEntry};
use crate::store::{Blocks as _, MemoryStore};

const LIMITS: Limits = Limits {
    peer_bytes: 2 << 20,
    total_bytes: 8 << 20,
    jobs: 8,
};

fn block(seed: usize, len: usize) -> Block {
    let mut data = vec![seed as u8; len.max(8)];
    data[..8].copy_from_slice(&(seed as u64).to_le_bytes());
    Block::new(RAW, data).unwrap()
}

fn want(block: &Block) -> WantlistEntry {
    WantlistEntry {
        cid: *block.cid(),
        priority: 1,
        cancel: false,
        kind: WantKind::Block,
        send_dont_have: true,
    }
}

fn have(block: &Block) -> WantlistEntry {
    WantlistEntry {
        kind: WantKind::Have,
        ..want(block)
    }
}

fn cancel(block: &Block) -> WantlistEntry {
    WantlistEntry {
        cancel: true,
        ..want(block)
    }
}

struct Bench {
    server: Server,
    store: MemoryStore,
    denylist: Denylist,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self {
            server: Server::new(limits),
            store: MemoryStore::new(),
            denylist: Denylist::default(),
        }
    }

    fn wantlist(&mut self, peer: PeerId, entries: Vec<WantlistEntry>, full: bool) {
        self.server.wantlist(peer, Wantlist::new(full, entries));
    }

    fn put(&mut self, blocks: &[Block]) {
        self.store.put(blocks).unwrap();
        self.server.blocks_added(blocks.iter().map(Block::cid));
    }

    /// Runs all work that may begin now, without confirming what is sent.
    fn run(&mut self) -> Vec<Outgoing> {
        let mut sent = Vec::new();
        loop {
            let jobs: Vec<Job> = std::iter::from_fn(|| self.server.next_job()).collect();
            if jobs.is_empty() {
                return sent;
            }
            for job in jobs {
                sent.extend(self.server.finished(job.run(&self.store, &self.denylist)));
            }
        }
    }

    /// Runs and confirms until nothing moves.
    fn drain(&mut self) -> Vec<Outgoing> {
        let mut all = Vec::new();
        loop {
            let sent = self.run();
            if sent.is_empty() {
                return all;
            }
            for outgoing in sent {
                self.server.sent(outgoing.peer, outgoing.id);
                all.push(outgoing);
            }
        }
    }

    fn is_clean(&self) -> bool {
        let server = &self.server;
        let lists = (server.epochs.len(), server.line.len(), server.reading.len());
        server.peers.is_empty()
            && server.waiting.is_empty()
            && lists == (0, 0, 0)
            && (server.bytes, server.wants, server.jobs) == (0, 0, 0)
    }
}

fn cids(sent: &[Outgoing]) -> Vec<Cid> {
    sent.iter()
        .flat_map(|outgoing| &outgoing.message.blocks)
        .map(|block| *block.cid())
        .collect()
}

fn presences(sent: &[Outgoing]) -> Vec<(Cid, Presence)> {
    sent.iter()
        .flat_map(|outgoing| outgoing.message.presences.clone())
        .collect()
}

#[test]
fn answers_follow_the_kind_of_the_question() {
    let (mut bench, peer) = (Bench::new(LIMITS), PeerId::random());
    let (small, large, missing) = (block(1, INLINE_BYTES), block(2, INLINE_BYTES + 1), block(3, 9));
    bench.put(&[small.clone(), large.clone()]);
    bench.wantlist(peer, vec![have(&small), have(&large), have(&missing)], false);
    let sent = bench.drain();
    assert_eq!(cids(&sent), [*small.cid()]);
    assert_eq!(
        presences(&sent),
        [(*large.cid(), Presence::Have), (*missing.cid(), Presence::DontHave)]
    );

    bench.wantlist(peer, vec![want(&large)], false);
    assert_eq!(cids(&bench.drain()), [*large.cid()]);
    let silent = WantlistEntry {
        send_dont_have: false,
        ..want(&block(4, 9))
    };
    bench.wantlist(peer, vec![silent], false);
    assert!(bench.drain().is_empty());
    assert_eq!(bench.server.wants(), 2);
}

#[test]
fn what_every_peer_has_is_served_from_an_empty_store() {
    let (mut bench, peer) = (Bench::new(LIMITS), PeerId::random());
    let empty = Block::new(RAW, &b""[..]).unwrap();
    bench.wantlist(peer, vec![want(&empty)], false);
    assert_eq!(cids(&bench.drain()), [*empty.cid()]);
}

#[test]
fn a_block_that_arrives_later_is_pushed_once() {
    let (mut bench, peer) = (Bench::new(LIMITS), PeerId::random());
    let (first, second, third) = (block(1, 10), block(2, 5000), block(3, 10));
    bench.wantlist(peer, vec![want(&first), have(&second), want(&third)], false);
    assert_eq!(presences(&bench.drain()).len(), 3);
    bench.wantlist(peer, vec![cancel(&third)], false);
    bench.put(&[first.clone(), second.clone(), third]);
    let sent = bench.drain();
    assert_eq!(
        (cids(&sent), presences(&sent)),
        (vec![*first.cid()], vec![(*second.cid(), Presence::Have)])
    );
    bench.put(&[first, second]);
    assert!(bench.drain().is_empty());
    bench.server.disconnected(&peer);
    assert!(bench.is_clean());
}

#[test]
fn a_block_is_pushed_to_whoever_names_it_by_another_codec() {
    let (mut bench, peer) = (Bench::new(LIMITS), PeerId::random());
    let raw = block(1, 10);
    let node = Cid::new_v1(block::DAG_PB, *raw.cid().hash());
    let both = vec![
        want(&raw),
        WantlistEntry {
            cid: node,
            ..want(&raw)
        },
    ];
    bench.wantlist(peer, both, false);
    bench.drain();
    bench.wantlist(peer, vec![cancel(&raw)], false);
    bench.put(&[raw]);
    assert_eq!(cids(&bench.drain()), [node]);
}

#[test]
fn a_block_that_arrives_while_it_is_looked_up_is_not_missed() {
    for named in [true, false] {
        let (mut bench, peer) = (Bench::new(LIMITS), PeerId::random());
        let late = block(1, 10);
        bench.wantlist(peer, vec![want(&late)], false);
        let found = bench.server.next_job().unwrap().run(&bench.store, &bench.denylist);
        bench.store.put(std::slice::from_ref(&late)).unwrap();
        if named {
            bench.server.blocks_added([late.cid()]);
        } else {
            bench.server.anything_added();
        }
        assert!(bench.server.finished(found).is_none());
        assert_eq!(cids(&bench.drain()), [*late.cid()]);
    }
}

#[test]
fn a_full_wantlist_replaces_the_old_one() {
    let (mut bench, peer) = (Bench::new(LIMITS), PeerId::random());
    let (old, new) = (block(1, 10), block(2, 10));
    bench.wantlist(peer, vec![want(&old)], false);
    bench.drain();
    bench.wantlist(peer, vec![want(&new)], true);
    bench.put(&[old, new.clone()]);
    assert_eq!(cids(&bench.drain()), [*new.cid()]);
}

#[test]
fn higher_priority_goes_first() {
    let (mut bench, peer) = (Bench::new(LIMITS), PeerId::random());
    let blocks: Vec<Block> = (0..4).map(|seed| block(seed, 10)).collect();
    bench.put(&blocks);
    let priorities = [5, -1, 7, 5];
    let entries = blocks
        .iter()
        .zip(priorities)
        .map(|(block, priority)| WantlistEntry {
            priority,
            ..want(block)
        })
        .collect();
    bench.wantlist(peer, entries, false);
    let order: Vec<Cid> = [2, 0, 3, 1].map(|at: usize| *blocks[at].cid()).into();
    assert_eq!(cids(&bench.drain()), order);
}

#[test]
fn a_cancel_stops_what_is_being_read() {
    let (mut bench, peer) = (Bench::new(LIMITS), PeerId::random());
    let wanted = block(1, 10);
    bench.put(std::slice::from_ref(&wanted));
    bench.wantlist(peer, vec![want(&wanted)], false);
    let found = bench.server.next_job().unwrap().run(&bench.store, &bench.denylist);
    bench.wantlist(peer, vec![cancel(&wanted)], false);
    assert!(bench.server.finished(found).is_none());
    bench.server.disconnected(&peer);
    assert!(bench.is_clean());
}

#[test]
fn a_question_raised_to_a_want_while_it_is_read_gets_the_block() {
    let (mut bench, peer) = (Bench::new(LIMITS), PeerId::random());
    let wanted = block(1, 5000);
    bench.put(std::slice::from_ref(&wanted));
    bench.wantlist(peer, vec![have(&wanted)], false);
    let found = bench.server.next_job().unwrap().run(&bench.store, &bench.denylist);
    bench.wantlist(peer, vec![want(&wanted)], false);
    assert!(bench.server.finished(found).is_none());
    assert_eq!(cids(&bench.drain()), [*wanted.cid()]);
}

#[test]
fn a_flood_of_wants_keeps_the_highest() {
    let (mut bench, peer) = (Bench::new(LIMITS), PeerId::random());
    let blocks: Vec<Block> = (0..3 * MAX_WANTS_PER_PEER).map(|seed| block(seed, 8)).collect();
    let entries = blocks
        .iter()
        .enumerate()
        .map(|(at, block)| WantlistEntry {
            priority: at as i32,
            ..want(block)
        })
        .collect::<Vec<_>>();
    for full in [false, true] {
        bench.wantlist(peer, entries.clone(), full);
        assert_eq!(bench.server.wants(), MAX_WANTS_PER_PEER);
        assert_eq!(bench.server.peers[&peer].ranks.len(), MAX_WANTS_PER_PEER);
        assert!(
            bench.server.peers[&peer]
                .wants
                .contains_key(blocks[3 * MAX_WANTS_PER_PEER - 1].cid())
        );
    }
    // One of the lowest priority finds no place; what is known may be said again.
    bench.wantlist(
        peer,
        vec![want(&block(99_999, 8)), entries[3 * MAX_WANTS_PER_PEER - 1].clone()],
        false,
    );
    assert_eq!(bench.server.wants(), MAX_WANTS_PER_PEER);
    assert!(!bench.server.peers[&peer].wants.contains_key(block(99_999, 8).cid()));
    bench.server.disconnected(&peer);
    assert!(bench.is_clean());
}

#[test]
fn messages_stay_below_the_frame_limit() {
    let (mut bench, peer) = (
        Bench::new(Limits {
            peer_bytes: usize::MAX,
            ..LIMITS
        }),
        PeerId::random(),
    );
    let mut blocks: Vec<Block> = (0..5).map(|seed| block(seed, MAX_BLOCK_BYTES)).collect();
    blocks.extend((5..40).map(|seed| block(seed, 200_000)));
    blocks.extend((40..900).map(|seed| block(seed, 100)));
    bench.put(&blocks);
    // The worst order: a message that is nearly full when the largest block comes.
    let entries = blocks.iter().enumerate().map(|(at, block)| WantlistEntry {
        priority: (at * 7 % 900) as i32,
        ..want(block)
    });
    bench.wantlist(peer, entries.collect(), false);
    let sent = bench.drain();
    assert_eq!(cids(&sent).len(), blocks.len());
    for outgoing in &sent {
        let len: usize = outgoing
            .message
            .encode(Version::V1_2)
            .iter()
            .map(|segment| segment.len())
            .sum();
        assert!(len <= MAX_FRAME_BYTES, "{len}");
        assert!(!outgoing.message.blocks.is_empty());
    }
}

#[test]
fn a_peer_that_takes_nothing_holds_little() {
    let (mut bench, peer) = (Bench::new(LIMITS), PeerId::random());
    let blocks: Vec<Block> = (0..50).map(|seed| block(seed, 1 << 20)).collect();
    bench.put(&blocks);
    bench.wantlist(peer, blocks.iter().map(want).collect(), false);
    let sent = bench.run();
    let slack = JOBS_PER_PEER << 20;
    assert!(
        bench.server.bytes <= LIMITS.peer_bytes + slack,
        "{}",
        bench.server.bytes
    );
    assert!(bench.run().is_empty());
    for outgoing in sent {
        bench.server.sent(peer, outgoing.id);
    }
    assert!(!bench.run().is_empty());
}

#[test]
fn all_peers_together_hold_no_more_than_the_total() {
    let mut bench = Bench::new(LIMITS);
    let blocks: Vec<Block> = (0..4).map(|seed| block(seed, 1 << 20)).collect();
    bench.put(&blocks);
    for _ in 0..100 {
        bench.wantlist(PeerId::random(), blocks.iter().map(want).collect(), false);
    }
    bench.run();
    assert!(
        bench.server.bytes <= LIMITS.total_bytes + (LIMITS.jobs << 20),
        "{}",
        bench.server.bytes
    );
}

#[test]
fn peers_take_turns() {
    let mut bench = Bench::new(Limits {
        jobs: 1,
        peer_bytes: usize::MAX,
        total_bytes: usize::MAX,
    });
    let blocks: Vec<Block> = (0..20).map(|seed| block(seed, 1 << 20)).collect();
    bench.put(&blocks);
    let (greedy, modest) = (PeerId::random(), PeerId::random());
    bench.wantlist(greedy, blocks.iter().map(want).collect(), false);
    bench.wantlist(modest, vec![want(&blocks[0])], false);
    let order: Vec<PeerId> = bench.run().iter().map(|outgoing| outgoing.peer).collect();
    assert!(order.iter().position(|peer| *peer == modest).unwrap() <= 2, "{order:?}");
}

#[test]
fn what_was_lost_is_sent_again_but_not_for_ever() {
    let (mut bench, peer) = (Bench::new(LIMITS), PeerId::random());
    let wanted = block(1, 10);
    bench.put(std::slice::from_ref(&wanted));
    bench.wantlist(peer, vec![want(&wanted)], false);
    let mut times = 0;
    while let Some(outgoing) = bench.run().pop() {
        bench.server.lost(peer, outgoing.id);
        times += 1;
        assert!(times < 100);
    }
    assert_eq!(times, MAX_FAILURES + 1);
    assert!(bench.is_clean());

    bench.wantlist(peer, vec![want(&wanted)], false);
    assert_eq!(bench.run().len(), 1);
    bench.server.rerouted(peer);
    assert_eq!(cids(&bench.drain()), [*wanted.cid()]);
}

#[test]
fn a_peer_that_leaves_while_its_blocks_are_read_gets_nothing() {
    let (mut bench, peer) = (Bench::new(LIMITS), PeerId::random());
    let wanted = block(1, 10);
    bench.put(std::slice::from_ref(&wanted));
    bench.wantlist(peer, vec![want(&wanted)], false);
    let found = bench.server.next_job().unwrap().run(&bench.store, &bench.denylist);
    bench.server.disconnected(&peer);
    bench.wantlist(peer, vec![want(&wanted)], false);
    assert!(bench.server.finished(found).is_none());
    assert_eq!(cids(&bench.drain()), [*wanted.cid()]);
    bench.server.disconnected(&peer);
    assert!(bench.is_clean());
}

#[test]
fn peers_that_take_nothing_leave_room_for_one_that_does() {
    let mut bench = Bench::new(LIMITS);
    let blocks: Vec<Block> = (0..8).map(|seed| block(seed, 256 << 10)).collect();
    bench.put(&blocks);
    for _ in 0..8 {
        bench.wantlist(PeerId::random(), blocks.iter().map(want).collect(), false);
    }
    bench.run();
    assert!(bench.server.bytes < LIMITS.total_bytes, "{}", bench.server.bytes);
    let honest = PeerId::random();
    bench.wantlist(honest, blocks.iter().map(want).collect(), false);
    let mut got = 0;
    loop {
        let sent = bench.run();
        if sent.is_empty() {
            break;
        }
        for outgoing in sent.into_iter().filter(|outgoing| outgoing.peer == honest) {
            got += outgoing.message.blocks.len();
            bench.server.sent(honest, outgoing.id);
        }
    }
    assert_eq!(got, blocks.len());
}

#[test]
fn who_asks_for_little_goes_before_those_who_ask_for_much() {
    let mut bench = Bench::new(Limits { jobs: 1, ..LIMITS });
    let greedy: Vec<PeerId> = (0..8).map(|_| PeerId::random()).collect();
    let absent: Vec<Block> = (0..MAX_WANTS_PER_PEER).map(|seed| block(seed, 8)).collect();
    for peer in &greedy {
        bench.wantlist(*peer, absent.iter().map(want).collect(), false);
    }
    // Each has had a turn.
    for _ in &greedy {
        let found = bench.server.next_job().unwrap().run(&bench.store, &bench.denylist);
        bench.server.finished(found);
    }
    let modest = PeerId::random();
    bench.wantlist(modest, vec![want(&block(99_999, 8))], false);
    let next = bench.server.next_job().unwrap();
    assert_eq!(next.peer(), modest);
    let found = next.run(&bench.store, &bench.denylist);
    bench.server.finished(found);
    // It does not get every turn by asking again.
    let turns = (0..1000).map(|at| {
        bench.wantlist(modest, vec![want(&block(100_000 + at, 8))], false);
        let job = bench.server.next_job().unwrap();
        let peer = job.peer();
        let found = job.run(&bench.store, &bench.denylist);
        bench.server.finished(found);
        peer
    });
    assert!(turns.filter(|peer| *peer != modest).count() > 0);
}

#[test]
fn one_over_the_wants_of_all_costs_the_peer_with_most() {
    let mut bench = Bench::new(LIMITS);
    bench.server.max_wants = 1000;
    let (rich, poor) = (PeerId::random(), PeerId::random());
    let wants = |range: std::ops::Range<usize>| range.map(|seed| want(&block(seed, 8))).collect::<Vec<_>>();
    bench.wantlist(rich, wants(0..1000), false);
    bench.wantlist(rich, wants(1000..1001), false);
    assert_eq!(bench.server.peers[&rich].wants.len(), 1000);
    bench.wantlist(poor, wants(0..1), false);
    assert_eq!(bench.server.peers[&poor].wants.len(), 1);
    assert_eq!(bench.server.peers[&rich].wants.len(), 1000 - MAX_GIVEN_UP);
    // What was asked first stays.
    assert!(bench.server.peers[&rich].wants.contains_key(block(0, 8).cid()));
    bench.wantlist(poor, wants(0..1000), false);
    let shares = [rich, poor].map(|peer| bench.server.peers[&peer].wants.len());
    assert!(shares.iter().all(|share| (490..=510).contains(share)), "{shares:?}");
    assert!(bench.server.wants() <= 1000);
    bench.server.disconnected(&rich);
    bench.server.disconnected(&poor);
    assert!(bench.is_clean());
}

#[test]
fn a_block_wanted_under_every_codec_is_forgotten_and_found_under_each() {
    let (mut bench, peer) = (Bench::new(LIMITS), PeerId::random());
    let wanted = block(1, 10);
    let names = (0..MAX_WANTS_PER_PEER as u64).map(|codec| WantlistEntry {
        cid: Cid::new_v1(codec, *wanted.cid().hash()),
        ..want(&wanted)
    });
    let names: Vec<_> = names.collect();
    bench.wantlist(peer, names.clone(), false);
    bench.drain();
    let half = names.iter().step_by(2).map(|entry| WantlistEntry {
        cancel: true,
        ..entry.clone()
    });
    bench.wantlist(peer, half.collect(), false);
    bench.put(&[wanted]);
    assert_eq!(cids(&bench.drain()).len(), names.len() / 2);
    assert_eq!(bench.server.wants(), 0);
    bench.server.disconnected(&peer);
    assert!(bench.is_clean());
}

#[test]
fn a_block_that_is_added_costs_the_same_however_many_peers_there_are() {
    let mut bench = Bench::new(LIMITS);
    let absent: Vec<Block> = (0..64).map(|seed| block(seed, 8)).collect();
    for _ in 0..1000 {
        bench.wantlist(PeerId::random(), absent.iter().map(want).collect(), false);
    }
    bench.drain();
    // Somebody is always being read for.
    bench.wantlist(PeerId::random(), vec![want(&block(99_999, 8))], false);
    let _job = bench.server.next_job().unwrap();
    let others: Vec<Cid> = (1_000_000..1_100_000).map(|seed| *block(seed, 8).cid()).collect();
    let began = std::time::Instant::now();
    bench.server.blocks_added(&others);
    let taken = began.elapsed();
    // A tenth of that in an optimized build; a look at every peer for each block takes ten times as long there.
    assert!(taken < std::time::Duration::from_secs(2), "{taken:?}");
}

#[test]
fn what_is_denied_is_answered_like_what_is_missing() {
    let (mut bench, peer) = (Bench::new(LIMITS), PeerId::random());
    let [shown, denied, known_of] = [1, 2, 3].map(|seed| block(seed, 100));
    bench.put(&[shown.clone(), denied.clone(), known_of.clone()]);
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("test.deny");
    std::fs::write(&list, format!("/ipfs/{}\n/ipfs/{}\n", denied.cid(), known_of.cid())).unwrap();
    bench.denylist = Denylist::open(&[list]).unwrap();
    bench.wantlist(peer, vec![want(&shown), want(&denied), have(&known_of)], false);
    let sent = bench.drain();
    assert_eq!(cids(&sent), [*shown.cid()]);
    let said = sent.iter().flat_map(|outgoing| &outgoing.message.presences);
    assert!(said.clone().count() == 2 && said.clone().all(|(_, said)| *said == Presence::DontHave));
}
