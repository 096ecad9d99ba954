use super::*;

fn at(text: &str) -> Vec<Multiaddr> {
    vec![text.parse().unwrap()]
}

/// The `n`th address of its own IP group.
fn public(n: usize) -> Vec<Multiaddr> {
    at(&format!("/ip4/{}.{}.1.1/tcp/4001", 20 + n / 200, n % 200))
}

fn empty() -> (Remembered, Table) {
    let table = Table::in_memory();
    (Remembered::open(&table, None, &Clock::system()), table)
}

fn len(remembered: &Remembered) -> usize {
    lock(&remembered.shared.kept).peers.len()
}

#[test]
fn who_answered_is_there_again_after_a_restart() {
    let (remembered, table) = empty();
    let (one, other) = (PeerId::random(), PeerId::random());
    remembered.answered(one, &at("/ip4/192.168.1.7/tcp/4001"), true, Instant::now());
    remembered.answered(other, &public(1), false, Instant::now());
    remembered.answered(PeerId::random(), &at("/dns4/example.org/tcp/1"), false, Instant::now());
    remembered.write_out();

    let again = Remembered::open(&table, None, &Clock::system());
    assert_eq!(len(&again), 2);
    assert!(again.is_named(&one) && !again.is_named(&other));
    let none = HashSet::new();
    assert_eq!(
        again.choose(Network::Lan, 8, &none),
        [(one, at("/ip4/192.168.1.7/tcp/4001"))]
    );
    assert_eq!(again.choose(Network::Wan, 8, &none), [(other, public(1))]);
    assert!(again.choose(Network::Wan, 8, &HashSet::from([other])).is_empty());
    assert!(lock(&again.shared.kept).reached > 0);
}

#[test]
fn no_network_of_addresses_fills_it_and_neither_do_all_together() {
    let (remembered, _) = empty();
    for port in 0..=MAX_PER_GROUP {
        remembered.answered(
            PeerId::random(),
            &at(&format!("/ip4/93.184.1.1/tcp/{}", 1 + port)),
            false,
            Instant::now(),
        );
    }
    assert_eq!(len(&remembered), MAX_PER_GROUP);
    for n in 0..=MAX_WAN {
        remembered.answered(PeerId::random(), &public(n), false, Instant::now());
    }
    assert_eq!(len(&remembered), MAX_WAN);
    // Newcomers took the places of those who had more than their part, and of nobody else.
    let kept = lock(&remembered.shared.kept);
    let crowd = kept
        .peers
        .values()
        .filter(|peer| peer.group() == ip_group(&at("/ip4/93.184.1.1/tcp/1")[0]));
    assert!((1..=2).contains(&crowd.count()));
    drop(kept);
    for n in 0..=MAX_LAN {
        remembered.answered(
            PeerId::random(),
            &at(&format!("/ip4/10.0.0.{n}/tcp/1")),
            false,
            Instant::now(),
        );
    }
    assert_eq!(len(&remembered), MAX_WAN + MAX_LAN);
}

#[test]
fn who_was_silent_makes_room() {
    let table = Table::in_memory();
    let now = Arc::new(Mutex::new(1_800_000_000));
    let time = Arc::clone(&now);
    let remembered = Remembered::open(&table, None, &Clock::from_fn(move || from_unix(*lock(&time))));
    let peers: Vec<PeerId> = (0..MAX_LAN).map(|_| PeerId::random()).collect();
    for (n, peer) in peers.iter().enumerate() {
        remembered.answered(*peer, &at(&format!("/ip4/10.0.0.{n}/tcp/1")), false, Instant::now());
    }
    *lock(&now) += STALE + 1;
    for peer in &peers[1..] {
        remembered.alive(peer, Instant::now());
    }
    let newcomer = PeerId::random();
    remembered.answered(newcomer, &at("/ip4/10.0.1.1/tcp/1"), false, Instant::now());
    let kept = lock(&remembered.shared.kept);
    assert!(kept.peers.contains_key(&newcomer) && !kept.peers.contains_key(&peers[0]));
    assert_eq!(kept.peers.len(), MAX_LAN);
}

#[test]
fn failures_count_while_others_answer_and_in_the_end_a_peer_leaves() {
    let (remembered, table) = empty();
    let (gone, there) = (PeerId::random(), PeerId::random());
    let mut now = Instant::now();
    remembered.answered(gone, &public(1), false, now);
    remembered.answered(there, &public(2), false, now);
    // Without any network nobody is at fault.
    now += HEARD_BEFORE;
    for _ in 0..3 * MAX_FAILURES {
        now += FAILURES_APART;
        remembered.failed(gone, now);
    }
    assert_eq!(len(&remembered), 2);
    // It comes to light after the failure that others are there.
    for _ in 0..MAX_FAILURES - 1 {
        now += FAILURES_APART;
        remembered.failed(gone, now);
        remembered.failed(gone, now);
        now += HEARD_AFTER / 2;
        remembered.alive(&there, now);
    }
    assert_eq!(len(&remembered), 2);
    let chosen = remembered.choose(Network::Wan, 1, &HashSet::new());
    assert_eq!(chosen[0].0, there, "who failed comes last");
    now += FAILURES_APART;
    remembered.alive(&there, now);
    remembered.failed(gone, now);
    assert_eq!(len(&remembered), 1);
    remembered.write_out();
    assert_eq!(len(&Remembered::open(&table, None, &Clock::system())), 1);
}

#[test]
fn no_more_failures_wait_than_there_is_room_for() {
    let (remembered, _) = empty();
    let (peer, now) = (PeerId::random(), Instant::now());
    remembered.answered(peer, &public(1), false, now);
    for _ in 0..=MAX_WAITING {
        remembered.failed(peer, now + HEARD_BEFORE);
    }
    assert_eq!(lock(&remembered.shared.kept).waiting.len(), MAX_WAITING);
}

#[test]
fn a_handful_is_of_different_groups() {
    let (remembered, _) = empty();
    for port in 1..=4 {
        remembered.answered(
            PeerId::random(),
            &at(&format!("/ip4/93.184.1.1/tcp/{port}")),
            false,
            Instant::now(),
        );
    }
    remembered.answered(PeerId::random(), &public(1), false, Instant::now());
    remembered.answered(PeerId::random(), &public(2), false, Instant::now());
    let chosen = remembered.choose(Network::Wan, 3, &HashSet::new());
    let groups: HashSet<_> = chosen.iter().map(|(_, addresses)| ip_group(&addresses[0])).collect();
    assert_eq!((chosen.len(), groups.len()), (3, 3));
    assert_eq!(remembered.choose(Network::Wan, 99, &HashSet::new()).len(), 6);
}

#[test]
fn what_is_no_entry_is_forgotten() {
    let table = Table::in_memory();
    let key = |peer: PeerId| [&[PEER], &peer.to_bytes()[..]].concat();
    let good = {
        let (remembered, table) = empty();
        remembered.answered(PeerId::random(), &public(1), false, Instant::now());
        remembered.write_out();
        table.scan_prefix(&[PEER]).next().unwrap().unwrap().1
    };
    assert!(decode(&good, u64::MAX).is_some());
    for end in 0..good.len() {
        assert!(decode(&good[..end], u64::MAX).is_none(), "{end}");
    }
    let mut several = good[..10].to_vec();
    (0..=MAX_ADDRESSES).for_each(|_| several.extend_from_slice(&good[10..]));
    let long = vec![0; MAX_ENTRY_BYTES + 1];
    let mut name = good[..10].to_vec();
    let dns: Multiaddr = "/dns4/example.org/tcp/1".parse().unwrap();
    name.extend_from_slice(&u16::try_from(dns.len()).unwrap().to_be_bytes());
    name.extend_from_slice(dns.as_ref());
    for bad in [several, long, name, vec![0xff; 20]] {
        assert!(decode(&bad, u64::MAX).is_none());
        table.insert(&key(PeerId::random()), &bad).unwrap();
    }
    table.insert(b"Pnobody", &good).unwrap();
    table.insert(&[REACHED], b"short").unwrap();
    let remembered = Remembered::open(&table, None, &Clock::system());
    assert_eq!(len(&remembered), 0);
    remembered.write_out();
    assert_eq!(table.scan_prefix(&[PEER]).count(), 1, "what has no id stays");
    // As many entries as nobody wrote.
    for n in 0..2 * MAX_READ {
        let mut entry = good[..10].to_vec();
        let address = &public(n % 400)[0];
        entry.extend_from_slice(&u16::try_from(address.len()).unwrap().to_be_bytes());
        entry.extend_from_slice(address.as_ref());
        table.insert(&key(PeerId::random()), &entry).unwrap();
    }
    assert!(len(&Remembered::open(&table, None, &Clock::system())) <= MAX_WAN);
}

#[test]
fn those_of_one_private_network_are_strangers_in_every_other() {
    let table = Table::in_memory();
    let [one, other] = [NetworkKey::generate(), NetworkKey::generate()];
    let peers = [None, Some(&one), Some(&other)].map(|key| {
        let (remembered, peer) = (Remembered::open(&table, key, &Clock::system()), PeerId::random());
        remembered.answered(peer, &public(1), false, Instant::now());
        remembered.write_out();
        peer
    });
    for (key, peer) in [None, Some(&one), Some(&other)].into_iter().zip(peers) {
        let again = Remembered::open(&table, key, &Clock::system());
        assert_eq!(again.choose(Network::Wan, 8, &HashSet::new()), [(peer, public(1))]);
        assert!(lock(&again.shared.kept).reached > 0);
    }
}
