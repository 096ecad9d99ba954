use super::*;

fn connected(latency: Option<Duration>) -> Connected {
    Connected {
        info: PeerInfo {
            peer: PeerId::random(),
            addresses: Vec::new(),
            agent: None,
            dialled_by_us: true,
            latency,
        },
        connections: HashMap::new(),
        relayed: HashSet::new(),
        dialled: None,
        claims: (0, Instant::now()),
        waiting: Vec::new(),
    }
}

#[test]
fn a_peer_stays_up_for_as_long_as_its_announcement_takes() {
    let wait = |latencies: &[Option<u64>]| {
        let at = Instant::now();
        let peers = latencies.iter().map(|latency| {
            let latency = latency.map(Duration::from_millis);
            (PeerId::random(), connected(latency))
        });
        let state = State {
            announced_at: Some(at),
            peers: peers.collect(),
            ..State::default()
        };
        state.announced_until().unwrap() - at
    };
    assert!(State::default().announced_until().is_none(), "nothing was announced");
    assert_eq!(wait(&[]), FLUSH_AT_LEAST);
    assert_eq!(
        wait(&[Some(1), Some(30)]),
        FLUSH_AT_LEAST + FLUSH_ROUND_TRIPS * Duration::from_millis(30)
    );
    assert_eq!(wait(&[Some(1), Some(5000)]), FLUSH);
    assert_eq!(wait(&[Some(1), None]), FLUSH, "it may be far away");
}
