//! When providers are searched, and when a fetch is given up.

use super::*;

#[test]
fn with_nobody_to_ask_providers_are_searched_at_once() {
    let mut bench = Bench::new();
    let wanted = block(1);
    let ticket = bench.fetch(&wanted);
    bench.said();
    assert_eq!(bench.searches, [*wanted.cid()]);

    let provider = PeerId::random();
    bench.client.found(SESSION, vec![provider], bench.now);
    bench.said();
    assert_eq!(bench.dials, [provider]);
    assert!(bench.results.is_empty());
    bench.client.connected(provider, bench.now);
    assert_eq!(wants(bench.said().get(&provider)), [*wanted.cid()]);
    bench.give(provider, std::slice::from_ref(&wanted));
    bench.said();
    assert_eq!(bench.results[&ticket], Ok(wanted));
}

#[test]
fn when_strangers_are_silent_providers_are_searched_after_a_second() {
    let mut bench = Bench::new();
    let stranger = bench.peer();
    let wanted = block(1);
    bench.fetch(&wanted);
    assert_eq!(haves(bench.said().get(&stranger)), [*wanted.cid()]);
    bench.pass(Duration::from_millis(800));
    assert!(bench.searches.is_empty());
    bench.pass(Duration::from_millis(500));
    assert_eq!(bench.searches, [*wanted.cid()]);
}

#[test]
fn when_all_refuse_and_nobody_else_is_found_the_fetch_fails_with_the_count() {
    let mut bench = Bench::new();
    let (a, b, stranger) = (bench.provider(), bench.provider(), bench.peer());
    let wanted = block(1);
    let ticket = bench.fetch(&wanted);
    bench.said();
    for peer in [a, b, stranger, a, b] {
        bench.answer(peer, &wanted, Presence::DontHave);
        bench.said();
    }
    assert_eq!(bench.searches, [*wanted.cid()]);
    assert!(bench.results.is_empty());
    bench.client.found(SESSION, vec![a], bench.now);
    let said = bench.said();
    for peer in [a, b, stranger] {
        assert_eq!(
            cancels(said.get(&peer)),
            [*wanted.cid()],
            "a refusing peer keeps the want"
        );
    }
    let Err(FetchError::NotFound { cid, verdict }) = &bench.results[&ticket] else {
        panic!("{:?}", bench.results)
    };
    assert_eq!(
        (*cid, verdict.asked, verdict.refused, verdict.known, verdict.unreachable),
        (*wanted.cid(), 3, 3, 2, 0)
    );
    assert_eq!(verdict.to_string(), "asked 3 peers, 3 not having it");
    assert!(bench.is_clean());
}

#[test]
fn a_search_begun_earlier_does_not_speak_for_a_block_missed_later() {
    let mut bench = Bench::new();
    let provider = bench.provider();
    let (first, second) = (block(1), block(2));
    bench.fetch(&first);
    bench.said();
    bench.answer(provider, &first, Presence::DontHave);
    bench.said();
    assert_eq!(bench.searches, [*first.cid()]);

    bench.now += Duration::from_millis(50);
    let ticket = bench.fetch(&second);
    bench.said();
    bench.answer(provider, &second, Presence::DontHave);
    bench.said();
    assert_eq!(bench.searches.len(), 1, "one search at a time");
    bench.client.found(SESSION, Vec::new(), bench.now);
    bench.said();
    assert!(matches!(bench.results[&1], Err(FetchError::NotFound { .. })));
    assert_eq!(bench.searches, [*first.cid(), *second.cid()]);
    assert!(!bench.results.contains_key(&ticket));
    bench.client.found(SESSION, Vec::new(), bench.now);
    bench.said();
    assert!(matches!(bench.results[&ticket], Err(FetchError::NotFound { .. })));
    assert!(bench.is_clean());
}

#[test]
fn a_provider_found_while_the_search_goes_on_does_not_end_it() {
    let mut bench = Bench::new();
    let wanted = block(1);
    let ticket = bench.fetch(&wanted);
    bench.said();
    let first = bench.provider();
    bench.said();
    bench.answer(first, &wanted, Presence::DontHave);
    bench.said();
    assert!(bench.results.is_empty(), "the search may find another");
    let second = bench.provider();
    assert_eq!(wants(bench.said().get(&second)), [*wanted.cid()]);
    bench.give(second, std::slice::from_ref(&wanted));
    bench.said();
    assert_eq!(bench.results[&ticket], Ok(wanted));
}

#[test]
fn nothing_for_a_long_time_is_a_stall() {
    let mut bench = Bench::new();
    let _silent = bench.provider();
    let wanted = block(1);
    let ticket = bench.fetch(&wanted);
    bench.pass(TIMES.patience + Duration::from_secs(1));
    let Err(FetchError::Stalled { verdict, .. }) = &bench.results[&ticket] else {
        panic!("{:?}", bench.results)
    };
    assert_eq!((verdict.asked, verdict.silent, verdict.refused), (1, 1, 0));
    assert!(bench.is_clean());
}

#[test]
fn a_peer_that_speaks_no_bitswap_counts_as_unreachable() {
    let mut bench = Bench::new();
    let provider = bench.provider();
    let wanted = block(1);
    let ticket = bench.fetch(&wanted);
    bench.said();
    bench.client.mute(&provider);
    bench.said();
    bench.client.found(SESSION, vec![], bench.now);
    bench.said();
    let Err(FetchError::NotFound { verdict, .. }) = &bench.results[&ticket] else {
        panic!("{:?}", bench.results)
    };
    assert_eq!((verdict.known, verdict.unreachable), (1, 1));
}
