//! Many peers, and peers that say much.

use super::super::peer::MAX_DUPLICATES;
use super::*;

#[test]
fn a_thousand_strangers_do_not_slow_a_fetch() {
    let mut bench = Bench::new();
    let strangers: Vec<PeerId> = (0..1000).map(|_| bench.peer()).collect();
    let provider = bench.provider();
    let wanted: Vec<Block> = (0..2000).map(block).collect();
    let began = Instant::now();
    for chunk in wanted.chunks(100) {
        let tickets: Vec<u64> = chunk.iter().map(|block| bench.fetch(block)).collect();
        bench.said();
        bench.give(provider, chunk);
        bench.said();
        assert!(tickets.iter().all(|ticket| bench.results[ticket].is_ok()));
    }
    let fetched = began.elapsed();
    // What nobody has: strangers are asked, and the clock ticks.
    for at in 0..1000 {
        bench.fetch(&block(10_000 + at));
    }
    let mut asked = 0;
    for _ in 0..40 {
        for (peer, entries) in bench.pass(Duration::from_millis(100)) {
            asked += usize::from(strangers.contains(&peer));
            for entry in entries.iter().filter(|entry| !entry.cancel && peer == provider) {
                let presence = vec![(entry.cid, Presence::DontHave)];
                bench.client.received(peer, Vec::new(), presence, 0, bench.now);
            }
        }
    }
    assert!(asked > 0);
    let all = began.elapsed();
    // Some 30 ms and 150 ms of an optimized build, ten times as much of one that is not.
    assert!(
        fetched < Duration::from_secs(2) && all < Duration::from_secs(20),
        "{fetched:?} and {all:?}"
    );
}

#[test]
fn of_a_peer_that_is_shut_out_the_rest_of_a_message_is_not_looked_at() {
    let mut bench = Bench::new();
    let liar = bench.provider();
    bench.fetch(&block(0));
    bench.said();
    let unasked: Vec<Block> = (100..1000).map(block).collect();
    let receipt = bench.give(liar, &unasked);
    bench.said();
    assert_eq!(receipt.unrequested, u64::from(MAX_UNREQUESTED));
    assert_eq!(bench.closed, [liar]);
}

#[test]
fn a_block_may_come_again_but_not_for_ever() {
    let mut bench = Bench::new();
    let peer = bench.provider();
    let wanted = block(1);
    bench.fetch(&wanted);
    bench.said();
    assert_eq!(bench.give(peer, std::slice::from_ref(&wanted)).blocks, 1);
    for _ in 0..MAX_DUPLICATES {
        assert_eq!(bench.give(peer, std::slice::from_ref(&wanted)).duplicates, 1);
    }
    let receipt = bench.give(peer, std::slice::from_ref(&wanted));
    assert_eq!((receipt.duplicates, receipt.unrequested), (0, 1));
    // Asked for once more, it may come again.
    bench.fetch(&wanted);
    bench.said();
    assert_eq!(bench.give(peer, std::slice::from_ref(&wanted)).blocks, 1);
    assert_eq!(bench.give(peer, std::slice::from_ref(&wanted)).duplicates, 1);
}

#[test]
fn only_presences_that_were_asked_for_count_as_answers() {
    let mut bench = Bench::new();
    let peer = bench.peer();
    bench.fetch(&block(1));
    bench.said();
    let presences = (0..100).map(|seed| (*block(seed).cid(), Presence::DontHave)).collect();
    let receipt = bench.client.received(peer, Vec::new(), presences, 0, bench.now);
    assert_eq!(receipt.answers, 1);
    let again = vec![(*block(1).cid(), Presence::DontHave)];
    assert_eq!(bench.client.received(peer, Vec::new(), again, 0, bench.now).answers, 0);
}
