mod crowd;
mod searches;
mod widening;

use std::sync::Arc;

use super::receive::BAN;
use super::*;
use crate::block::RAW;
use crate::exchange::SessionStats;
use crate::exchange::message::{Presence, WantKind, WantlistEntry};
use crate::threads::lock;

const TIMES: Times = Times {
    answer: Duration::from_secs(5),
    search_after: Duration::from_secs(1),
    search_every: Duration::from_secs(60),
    search: Duration::from_secs(60),
    patience: Duration::from_secs(90),
};
const SESSION: SessionId = SessionId(1);

fn block(seed: usize) -> Block {
    sized(seed, 8)
}

fn sized(seed: usize, len: usize) -> Block {
    let mut data = vec![seed as u8; len.max(8)];
    data[..8].copy_from_slice(&(seed as u64).to_le_bytes());
    Block::new(RAW, data).unwrap()
}

/// A client, its clock, and what it has said to whom.
struct Bench {
    client: Client,
    now: Instant,
    stats: SharedSessionStats,
    results: HashMap<u64, Result<Block, FetchError>>,
    searches: Vec<Cid>,
    dials: Vec<PeerId>,
    closed: Vec<PeerId>,
    tickets: u64,
}

impl Bench {
    fn new() -> Self {
        let (now, stats) = (Instant::now(), Arc::default());
        let mut client = Client::new(TIMES);
        client.open(SESSION, Arc::clone(&stats), now);
        Self {
            client,
            now,
            stats,
            results: HashMap::new(),
            searches: Vec::new(),
            dials: Vec::new(),
            closed: Vec::new(),
            tickets: 0,
        }
    }

    fn peer(&mut self) -> PeerId {
        let peer = PeerId::random();
        self.client.connected(peer, self.now);
        peer
    }

    fn provider(&mut self) -> PeerId {
        let peer = self.peer();
        self.client.add_provider(SESSION, peer, self.now);
        peer
    }

    fn fetch(&mut self, block: &Block) -> u64 {
        self.tickets += 1;
        self.client.fetch(SESSION, Ticket(self.tickets), *block.cid(), self.now);
        self.tickets
    }

    /// Lets the client act; what it says to each peer.
    fn said(&mut self) -> HashMap<PeerId, Vec<WantlistEntry>> {
        self.client.drive(self.now);
        self.client.search_due(self.now);
        let mut said: HashMap<PeerId, Vec<WantlistEntry>> = HashMap::new();
        while let Some((peer, message)) = self.client.next_message() {
            assert!(message.blocks.is_empty() && !message.full);
            said.entry(peer).or_default().extend(message.entries);
            self.client.message_gone(&peer);
        }
        while let Some(action) = self.client.actions.pop_front() {
            match action {
                Action::Deliver(ticket, result) => assert!(self.results.insert(ticket.0, result).is_none()),
                Action::Dial(peer) => self.dials.push(peer),
                Action::NeedProviders(SESSION, cid) => self.searches.push(cid),
                Action::NeedProviders(..) => panic!("a search for another session"),
                Action::Disconnect(peer) => self.closed.push(peer),
            }
        }
        said
    }

    fn give(&mut self, peer: PeerId, blocks: &[Block]) -> Receipt {
        self.client.received(peer, blocks.to_vec(), Vec::new(), 0, self.now)
    }

    fn answer(&mut self, peer: PeerId, block: &Block, presence: Presence) {
        self.client
            .received(peer, Vec::new(), vec![(*block.cid(), presence)], 0, self.now);
    }

    fn pass(&mut self, time: Duration) -> HashMap<PeerId, Vec<WantlistEntry>> {
        let (mut all, end): (HashMap<_, Vec<_>>, _) = (HashMap::new(), self.now + time);
        while self.now < end {
            self.now += Duration::from_millis(100);
            for (peer, entries) in self.said() {
                all.entry(peer).or_default().extend(entries);
            }
        }
        all
    }

    /// Nothing is left of finished fetches.
    fn is_clean(&self) -> bool {
        let client = &self.client;
        let session = &client.sessions[&SESSION];
        client.wants.is_empty()
            && client.tickets.is_empty()
            && session.wants.is_empty()
            && session.stuck.is_empty()
            && client
                .peers
                .values()
                .all(|peer| peer.asks.is_empty() && (peer.open_blocks, peer.open_haves) == (0, 0))
    }
}

fn of_kind(entries: Option<&Vec<WantlistEntry>>, kind: WantKind) -> Vec<Cid> {
    let entries = entries.map(Vec::as_slice).unwrap_or_default();
    entries
        .iter()
        .filter(|entry| !entry.cancel && entry.kind == kind)
        .map(|entry| entry.cid)
        .collect()
}

fn wants(entries: Option<&Vec<WantlistEntry>>) -> Vec<Cid> {
    of_kind(entries, WantKind::Block)
}

fn haves(entries: Option<&Vec<WantlistEntry>>) -> Vec<Cid> {
    of_kind(entries, WantKind::Have)
}

fn cancels(entries: Option<&Vec<WantlistEntry>>) -> Vec<Cid> {
    let entries = entries.map(Vec::as_slice).unwrap_or_default();
    entries
        .iter()
        .filter(|entry| entry.cancel)
        .map(|entry| entry.cid)
        .collect()
}

#[test]
fn a_provider_is_asked_for_the_block_and_strangers_whether_they_have_it() {
    let mut bench = Bench::new();
    let (provider, stranger) = (bench.provider(), bench.peer());
    let wanted = block(1);
    let ticket = bench.fetch(&wanted);
    let said = bench.said();
    assert_eq!(wants(said.get(&provider)), [*wanted.cid()]);
    assert_eq!(haves(said.get(&stranger)), [*wanted.cid()]);
    assert!(said.values().flatten().all(|entry| entry.send_dont_have));

    let receipt = bench.give(provider, std::slice::from_ref(&wanted));
    assert_eq!(
        receipt,
        Receipt {
            blocks: 1,
            bytes: 8,
            ..Receipt::default()
        }
    );
    let said = bench.said();
    assert_eq!(cancels(said.get(&stranger)), [*wanted.cid()]);
    assert_eq!(said.get(&provider), None);
    assert_eq!(bench.results[&ticket], Ok(wanted));
    assert!(bench.is_clean());
    assert!(bench.searches.is_empty());
    let stats = lock(&bench.stats).clone();
    assert!(stats.last_from.is_some());
    assert_eq!(
        stats,
        SessionStats {
            blocks: 1,
            bytes: 8,
            providers: 1,
            last_from: stats.last_from,
            rate: stats.rate,
            ..SessionStats::default()
        }
    );
}

#[test]
fn a_stranger_that_has_the_block_is_asked_for_it_and_for_the_next() {
    let mut bench = Bench::new();
    let (stranger, other) = (bench.peer(), bench.peer());
    let (first, second) = (block(1), block(2));
    bench.fetch(&first);
    bench.said();
    bench.answer(stranger, &first, Presence::Have);
    assert_eq!(wants(bench.said().get(&stranger)), [*first.cid()]);
    bench.give(stranger, std::slice::from_ref(&first));
    bench.fetch(&second);
    let said = bench.said();
    assert_eq!(wants(said.get(&stranger)), [*second.cid()]);
    assert!(
        haves(said.get(&other)).is_empty(),
        "a session with a known source asks no strangers"
    );
}

#[test]
fn a_refusal_passes_the_want_on_and_a_cancel_is_sent_in_the_end() {
    let mut bench = Bench::new();
    let (a, b) = (bench.provider(), bench.provider());
    let wanted = block(1);
    let ticket = bench.fetch(&wanted);
    let said = bench.said();
    let (first, second) = if wants(said.get(&a)).is_empty() { (b, a) } else { (a, b) };
    bench.answer(first, &wanted, Presence::DontHave);
    assert_eq!(wants(bench.said().get(&second)), [*wanted.cid()]);
    bench.give(second, std::slice::from_ref(&wanted));
    assert_eq!(cancels(bench.said().get(&first)), [*wanted.cid()]);
    assert_eq!(bench.results[&ticket], Ok(wanted));
    assert!(bench.is_clean());
}

#[test]
fn a_silent_peer_is_passed_over_and_may_still_answer() {
    let mut bench = Bench::new();
    let (a, b) = (bench.provider(), bench.provider());
    let wanted = block(1);
    let ticket = bench.fetch(&wanted);
    let said = bench.said();
    let (silent, other) = if wants(said.get(&a)).is_empty() { (b, a) } else { (a, b) };
    bench.answer(other, &wanted, Presence::Have);
    assert!(wants(bench.pass(Duration::from_secs(4)).get(&other)).is_empty());
    assert_eq!(
        wants(bench.pass(Duration::from_millis(1500)).get(&other)),
        [*wanted.cid()]
    );
    bench.give(silent, std::slice::from_ref(&wanted));
    assert_eq!(cancels(bench.said().get(&other)), [*wanted.cid()]);
    assert_eq!(bench.results[&ticket], Ok(wanted.clone()));
    let receipt = bench.give(other, std::slice::from_ref(&wanted));
    assert_eq!((receipt.duplicates, receipt.unrequested), (1, 0));
    assert_eq!(lock(&bench.stats).duplicates, 1);
}

#[test]
fn a_slow_block_is_not_late_while_it_comes() {
    let mut bench = Bench::new();
    let (a, b) = (bench.provider(), bench.provider());
    let wanted = block(1);
    bench.fetch(&wanted);
    let said = bench.said();
    let (slow, other) = if wants(said.get(&a)).is_empty() { (b, a) } else { (a, b) };
    for _ in 0..20 {
        assert!(wants(bench.pass(Duration::from_millis(500)).get(&other)).is_empty());
        bench.client.heard(&slow, bench.now);
    }
}

#[test]
fn a_want_is_repeated_when_it_is_late_and_every_half_minute_after() {
    let mut bench = Bench::new();
    let provider = bench.provider();
    let wanted = block(1);
    bench.fetch(&wanted);
    bench.said();
    assert!(wants(bench.pass(Duration::from_millis(4900)).get(&provider)).is_empty());
    assert_eq!(
        wants(bench.pass(Duration::from_millis(300)).get(&provider)),
        [*wanted.cid()]
    );
    assert!(wants(bench.pass(Duration::from_secs(29)).get(&provider)).is_empty());
    assert_eq!(
        wants(bench.pass(Duration::from_secs(2)).get(&provider)),
        [*wanted.cid()]
    );
}

#[test]
fn when_a_peer_leaves_its_wants_go_to_another_and_it_is_dialled_again() {
    let mut bench = Bench::new();
    let leaver = bench.provider();
    let blocks: Vec<Block> = (0..10).map(block).collect();
    blocks.iter().for_each(|block| {
        bench.fetch(block);
    });
    assert_eq!(wants(bench.said().get(&leaver)).len(), 10);
    let other = bench.provider();
    bench.client.disconnected(&leaver, bench.now);
    let said = bench.said();
    assert_eq!(wants(said.get(&other)).len(), 10);
    assert!(!said.contains_key(&leaver));
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.dials, [leaver]);
}

#[test]
fn the_only_peer_that_is_lost_is_waited_for_though_the_next_dials_fail() {
    let mut bench = Bench::new();
    let only = bench.provider();
    let (first, second) = (block(1), block(2));
    bench.fetch(&first);
    bench.said();
    bench.give(only, std::slice::from_ref(&first));
    let ticket = bench.fetch(&second);
    bench.said();
    for lost in 1..=3 {
        match lost {
            1 => bench.client.disconnected(&only, bench.now),
            _ => bench.client.dial_failed(&only, bench.now),
        }
        let dials = bench.dials.len();
        for _ in 0..50 {
            bench.pass(Duration::from_millis(100));
            for _ in bench.searches.drain(..) {
                bench.client.found(SESSION, Vec::new(), bench.now);
            }
        }
        assert_eq!(bench.dials.len(), dials + 1, "dialled once after loss {lost}");
        assert!(!bench.results.contains_key(&ticket), "given up after loss {lost}");
    }
    bench.client.connected(only, bench.now);
    assert_eq!(wants(bench.said().get(&only)), [*second.cid()]);
    bench.give(only, std::slice::from_ref(&second));
    bench.said();
    assert!(bench.results[&ticket].is_ok() && bench.is_clean());
}

#[test]
fn a_lost_peer_that_stays_away_is_given_up_in_the_end() {
    let mut bench = Bench::new();
    let only = bench.provider();
    let ticket = bench.fetch(&block(1));
    bench.said();
    bench.client.disconnected(&only, bench.now);
    let began = bench.now;
    while !bench.results.contains_key(&ticket) && bench.now < began + Duration::from_secs(60) {
        bench.pass(Duration::from_millis(100));
        for peer in std::mem::take(&mut bench.dials) {
            bench.client.dial_failed(&peer, bench.now);
        }
        for _ in bench.searches.drain(..) {
            bench.client.found(SESSION, Vec::new(), bench.now);
        }
    }
    let took = bench.now - began;
    assert!(
        matches!(bench.results[&ticket], Err(FetchError::NotFound { .. })),
        "{took:?}"
    );
    // Five dials, at 1, 2, 4, 8 and 16 s.
    assert!(
        (Duration::from_secs(10)..Duration::from_secs(40)).contains(&took),
        "{took:?}"
    );
}

#[test]
fn two_fetches_of_one_block_ask_once_and_end_both() {
    let mut bench = Bench::new();
    let provider = bench.provider();
    let wanted = block(1);
    let tickets = [bench.fetch(&wanted), bench.fetch(&wanted)];
    assert_eq!(wants(bench.said().get(&provider)).len(), 1);
    bench.client.cancel(Ticket(tickets[0]));
    assert!(bench.said().is_empty());
    bench.give(provider, std::slice::from_ref(&wanted));
    bench.said();
    assert_eq!(bench.results.len(), 1);
    assert_eq!(bench.results[&tickets[1]], Ok(wanted));
    assert!(bench.is_clean());
}

#[test]
fn a_cancelled_fetch_is_withdrawn_and_one_never_sent_is_never_said() {
    let mut bench = Bench::new();
    let provider = bench.provider();
    let (sent, unsent) = (block(1), block(2));
    let ticket = bench.fetch(&sent);
    bench.said();
    let other = bench.fetch(&unsent);
    bench.client.drive(bench.now);
    bench.client.cancel(Ticket(ticket));
    bench.client.cancel(Ticket(other));
    let said = bench.said();
    assert_eq!(said.get(&provider).map(Vec::len), Some(1));
    assert_eq!(cancels(said.get(&provider)), [*sent.cid()]);
    assert!(bench.is_clean());
    // The answer crosses the cancel: no reason to be angry.
    let receipt = bench.give(provider, &[sent]);
    assert_eq!((receipt.duplicates, receipt.unrequested), (1, 0));
}

#[test]
fn closing_a_session_withdraws_its_wants_but_not_those_of_others() {
    let mut bench = Bench::new();
    let provider = bench.provider();
    let (own, shared) = (block(1), block(2));
    bench.fetch(&own);
    bench.fetch(&shared);
    let second = SessionId(2);
    bench.client.open(second, Arc::default(), bench.now);
    bench.client.fetch(second, Ticket(1000), *shared.cid(), bench.now);
    bench.said();
    bench.client.close(SESSION);
    assert_eq!(cancels(bench.said().get(&provider)), [*own.cid()]);
    bench.give(provider, std::slice::from_ref(&shared));
    bench.said();
    assert_eq!(bench.results[&1000], Ok(shared));
    assert!(bench.results.len() == 1 && bench.client.wants.is_empty() && bench.client.tickets.is_empty());
}

#[test]
fn blocks_that_nobody_asked_for_end_the_connection() {
    let mut bench = Bench::new();
    let (liar, honest) = (bench.provider(), bench.provider());
    let wanted = block(1);
    let ticket = bench.fetch(&wanted);
    bench.said();
    for seed in 0..MAX_UNREQUESTED - 1 {
        assert_eq!(bench.give(liar, &[block(1000 + seed as usize)]).unrequested, 1);
    }
    bench.said();
    assert!(bench.closed.is_empty());
    bench.client.received(liar, Vec::new(), Vec::new(), 1, bench.now);
    let said = bench.said();
    assert_eq!(bench.closed, [liar]);
    assert!(bench.client.is_banned(&liar, bench.now));
    assert!(!bench.client.is_banned(&liar, bench.now + BAN));
    assert!(!said.contains_key(&liar));
    bench.client.disconnected(&liar, bench.now);
    bench.give(honest, std::slice::from_ref(&wanted));
    bench.said();
    assert_eq!(bench.results[&ticket], Ok(wanted));
    bench.client.add_provider(SESSION, liar, bench.now);
    bench.said();
    assert!(bench.dials.is_empty());
}

#[test]
fn many_wants_go_in_few_messages_within_the_window() {
    let mut bench = Bench::new();
    let provider = bench.provider();
    let blocks: Vec<Block> = (0..5000).map(|seed| sized(seed, 1000)).collect();
    blocks.iter().for_each(|block| {
        bench.fetch(block);
    });
    let (mut rounds, mut most) = (0, 0);
    while bench.results.len() < blocks.len() {
        bench.now += Duration::from_millis(1);
        let said = bench.said();
        let asked = wants(said.get(&provider));
        let open = bench.client.peers.values().map(|peer| peer.open_blocks).max().unwrap();
        assert!(open <= peer::MAX_BLOCK_ASKS);
        most = most.max(open);
        let by_cid: HashMap<&Cid, &Block> = blocks.iter().map(|block| (block.cid(), block)).collect();
        let answer: Vec<Block> = asked.iter().map(|cid| by_cid[cid].clone()).collect();
        bench.give(provider, &answer);
        rounds += 1;
        assert!(rounds < 100, "{} of 5000 after {rounds} rounds", bench.results.len());
    }
    assert!(most > 500, "the window opened to {most} only");
    assert!(bench.is_clean());
}

#[test]
fn faster_peers_get_more() {
    let mut bench = Bench::new();
    let (fast, slow) = (bench.provider(), bench.provider());
    let len = 100_000;
    let blocks: Vec<Block> = (0..400).map(|seed| sized(seed, len)).collect();
    let by_cid: HashMap<Cid, Block> = blocks.iter().map(|block| (*block.cid(), block.clone())).collect();
    blocks.iter().for_each(|block| {
        bench.fetch(block);
    });
    let mut queues: HashMap<PeerId, VecDeque<Cid>> = HashMap::new();
    let mut counts: HashMap<PeerId, usize> = HashMap::new();
    let mut rounds = 0;
    while bench.results.len() < blocks.len() {
        rounds += 1;
        assert!(rounds < 2000, "{counts:?}");
        bench.now += Duration::from_millis(10);
        for (peer, entries) in bench.said() {
            let queue = queues.entry(peer).or_default();
            queue.retain(|cid| !entries.iter().any(|entry| entry.cancel && entry.cid == *cid));
            queue.extend(wants(Some(&entries)));
        }
        for (peer, per_round) in [(fast, 10), (slow, usize::from(rounds % 5 == 0))] {
            for _ in 0..per_round {
                if let Some(cid) = queues.get_mut(&peer).and_then(VecDeque::pop_front) {
                    *counts.entry(peer).or_insert(0) += 1;
                    bench.give(peer, &[by_cid[&cid].clone()]);
                }
            }
        }
    }
    assert!(counts[&fast] > 8 * counts[&slow], "{counts:?}");
    assert!(rounds < 80, "the slow peer held everything up: {rounds} rounds");
    assert!(bench.is_clean());
}

#[test]
fn a_peer_that_lacks_everything_is_no_longer_asked_first() {
    let mut bench = Bench::new();
    let (lacking, holder) = (bench.provider(), bench.provider());
    let mut refusals = 0;
    for seed in 0..400 {
        let wanted = block(seed);
        let ticket = bench.fetch(&wanted);
        let mut said = bench.said();
        while !bench.results.contains_key(&ticket) {
            if wants(said.get(&holder)).contains(wanted.cid()) {
                bench.give(holder, std::slice::from_ref(&wanted));
            } else if said.contains_key(&lacking) {
                refusals += 1;
                bench.answer(lacking, &wanted, Presence::DontHave);
            }
            said = bench.said();
        }
        bench.now += Duration::from_millis(1);
    }
    assert!(refusals <= 2 * MAX_REFUSALS, "{refusals}");
}

#[test]
fn a_peer_without_presences_is_only_asked_for_blocks() {
    let mut bench = Bench::new();
    let (old, provider) = (bench.peer(), bench.provider());
    bench.client.speaks(&old, false);
    bench.fetch(&block(1));
    let said = bench.said();
    assert!(!said.contains_key(&old));
    assert!(said.contains_key(&provider));
}
