//! Peers that turn out to have what a session fetches while it is fetching.

use super::*;

/// Fetches `count` blocks of 256 KiB, of which at most 64 at once, from a provider that gives one every 10 ms; `other` has
/// them too and gives as fast, if it is asked. How many came from each.
fn share(bench: &mut Bench, provider: PeerId, other: PeerId, count: usize) -> [usize; 2] {
    let blocks: Vec<Block> = (0..count).map(|seed| sized(seed, 256 << 10)).collect();
    let named: HashMap<Cid, Block> = blocks.iter().map(|block| (*block.cid(), block.clone())).collect();
    let peers = [provider, other];
    let (mut queues, mut given) = ([VecDeque::new(), VecDeque::new()], [0, 0]);
    let (mut begun, mut done) = (0, 0);
    for _ in 0..100 * count {
        while begun < count && begun - done < 64 {
            bench.fetch(&blocks[begun]);
            begun += 1;
        }
        let said = bench.said();
        for (peer, queue) in peers.iter().zip(&mut queues) {
            let entries = said.get(peer);
            for cid in haves(entries) {
                bench.answer(*peer, &named[&cid], Presence::Have);
            }
            queue.extend(wants(entries));
            let gone = cancels(entries);
            queue.retain(|cid| !gone.contains(cid));
        }
        for ((peer, queue), given) in peers.iter().zip(&mut queues).zip(&mut given) {
            if let Some(cid) = queue.pop_front() {
                bench.give(*peer, &[named[&cid].clone()]);
                *given += 1;
            }
        }
        bench.said();
        done = bench.results.len();
        if done == count {
            break;
        }
        bench.now += Duration::from_millis(10);
    }
    assert_eq!(done, count);
    given
}

#[test]
fn whoever_says_too_late_that_it_has_the_first_block_shares_the_work_soon() {
    let mut bench = Bench::new();
    let (quick, late) = (bench.peer(), bench.peer());
    let root = block(1 << 20);
    bench.fetch(&root);
    assert_eq!(haves(bench.said().get(&quick)), [*root.cid()]);
    bench.answer(quick, &root, Presence::Have);
    assert_eq!(wants(bench.said().get(&quick)), [*root.cid()]);
    bench.give(quick, std::slice::from_ref(&root));
    bench.said();
    // The answer crosses the cancel, and is about something that nobody wants any more.
    bench.answer(late, &root, Presence::Have);
    bench.results.clear();
    let [first, second] = share(&mut bench, quick, late, 512);
    assert!(second * 3 > first, "{first} and {second}");
}

#[test]
fn whoever_connects_in_the_middle_shares_what_is_left() {
    let mut bench = Bench::new();
    let provider = bench.provider();
    // Long enough for the questions to be as seldom as they become.
    for seed in 0..100 {
        let block = block(seed << 20);
        bench.fetch(&block);
        bench.said();
        bench.give(provider, std::slice::from_ref(&block));
        bench.now += Duration::from_secs(1);
    }
    bench.said();
    bench.results.clear();
    let other = bench.peer();
    let [first, second] = share(&mut bench, provider, other, 4096);
    assert!(second * 3 > first, "{first} and {second}");
}

#[test]
fn peers_that_have_nothing_are_asked_less_and_less_often() {
    let mut bench = Bench::new();
    let provider = bench.provider();
    let stranger = bench.peer();
    let mut asked = 0;
    for seed in 0..600 {
        let block = block(seed);
        bench.fetch(&block);
        let said = bench.said();
        for cid in haves(said.get(&stranger)) {
            assert_eq!(cid, *block.cid());
            bench.answer(stranger, &block, Presence::DontHave);
            asked += usize::from(seed >= 16);
        }
        bench.give(provider, std::slice::from_ref(&block));
        bench.said();
        bench.now += Duration::from_millis(100);
    }
    // At 0.1 s, 0.3 s, … and then every 10 s of a minute.
    assert!((5..=14).contains(&asked), "{asked}");
    assert!(bench.is_clean());
}
