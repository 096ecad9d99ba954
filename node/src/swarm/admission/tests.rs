use super::seats::{
    FAIR_PER_GROUP, Full, GRACE, IDENTIFY_WITHIN, IDLE_MARGIN, Limits, MAX_LEAVING, MAX_NEIGHBOURS_PER_GROUP,
    MAX_PER_PEER, Seats,
};
use super::*;

const IDLE: Duration = Duration::from_secs(60);

/// Seats, and a clock that is put forward by hand.
struct Hall {
    seats: Seats,
    now: Instant,
    next: usize,
}

impl Hall {
    fn new(total: usize, inbound: usize) -> Self {
        let limits = Limits {
            total,
            inbound,
            idle: IDLE,
        };
        Self {
            seats: Seats::new(limits),
            now: Instant::now(),
            next: 1,
        }
    }

    /// Somebody from 5.`group`.0.0/16 comes in. Returns the connection and the one that went for it.
    fn comes(&mut self, group: u8) -> Result<(ConnectionId, Option<ConnectionId>), Full> {
        self.connects(PeerId::random(), group, true)
    }

    fn connects(
        &mut self,
        peer: PeerId,
        group: u8,
        inbound: bool,
    ) -> Result<(ConnectionId, Option<ConnectionId>), Full> {
        let group = ip_group(&format!("/ip4/5.{group}.0.1/tcp/1").parse().unwrap());
        let goes = self.seats.ask(&peer, group, inbound, self.now)?;
        if let Some((_, goes)) = goes {
            self.seats.send_away(goes);
            self.seats.leave(&goes);
        }
        let id = ConnectionId::new_unchecked(self.next);
        self.next += 1;
        self.seats.sit(id, peer, group, inbound, self.now);
        Ok((id, goes.map(|(_, id)| id)))
    }
}

#[test]
fn a_crowd_from_one_network_makes_room_for_everybody_else() {
    let mut hall = Hall::new(96, 72);
    let crowd: Vec<_> = (0..72).map(|_| hall.comes(1).unwrap().0).collect();
    // Nobody of the crowd is idle yet, and there is a seat all the same.
    for other in 2..20 {
        let (_, gone) = hall.comes(other).unwrap();
        assert!(crowd.contains(&gone.unwrap()), "{other}");
    }
    // More of the crowd find none that is not their own.
    hall.now += GRACE;
    let (_, gone) = hall.comes(1).unwrap();
    assert!(crowd.contains(&gone.unwrap()));
    crowd.iter().for_each(|id| hall.seats.used(id, hall.now));
    let newest: Vec<_> = (0..200)
        .filter_map(|_| hall.comes(1).ok())
        .filter_map(|(_, gone)| gone)
        .collect();
    assert!(newest.is_empty(), "{newest:?}");
}

#[test]
fn a_crowd_does_not_push_out_those_who_are_few() {
    let mut hall = Hall::new(96, 72);
    let honest: Vec<_> = (2..12).map(|group| hall.comes(group).unwrap().0).collect();
    hall.now += GRACE * 3;
    for _ in 0..500 {
        if let Ok((_, Some(gone))) = hall.comes(1) {
            assert!(!honest.contains(&gone));
        }
        hall.now += Duration::from_millis(500);
    }
}

#[test]
fn among_equals_the_one_unused_for_longest_goes_and_nobody_in_use() {
    let mut hall = Hall::new(8, 6);
    let seated: Vec<_> = (1..=6).map(|group| hall.comes(group).unwrap().0).collect();
    assert_eq!(hall.comes(7).unwrap_err(), Full::Everywhere(6), "everybody is new");
    hall.now += GRACE;
    hall.seats.used(&seated[0], hall.now);
    seated.iter().for_each(|id| hall.seats.identified(id));
    hall.now += GRACE / 2;
    hall.seats.used(&seated[1], hall.now - GRACE * 2);
    let (_, gone) = hall.comes(7).unwrap();
    assert_eq!(gone, Some(seated[1]));
    // Who never said what it speaks goes before those who did, and who is in a routing table goes last.
    let mut hall = Hall::new(4, 3);
    let peers: Vec<_> = (0..3).map(|_| PeerId::random()).collect();
    let ids: Vec<_> = (1..)
        .zip(&peers)
        .map(|(group, peer)| hall.connects(*peer, group, true).unwrap().0)
        .collect();
    hall.seats.identified(&ids[0]);
    hall.seats.identified(&ids[1]);
    hall.seats.set_table([peers[0]].into());
    hall.now += GRACE;
    let order: Vec<_> = (7..10).map(|group| hall.comes(group).map(|(_, gone)| gone)).collect();
    assert_eq!(order, [ids[2], ids[1], ids[0]].map(|id| Ok(Some(id))));
}

#[test]
fn strangers_do_not_end_what_we_dialled_and_our_dials_end_what_is_idle() {
    let mut hall = Hall::new(4, 3);
    let dialled: Vec<_> = (1..=3)
        .map(|group| hall.connects(PeerId::random(), group, false).unwrap().0)
        .collect();
    let (stranger, _) = hall.comes(4).unwrap();
    hall.seats.used(&stranger, hall.now + GRACE);
    hall.now += GRACE;
    assert_eq!(hall.comes(5).unwrap_err(), Full::Everywhere(3));
    let (_, gone) = hall.connects(PeerId::random(), 6, false).unwrap();
    assert!(dialled.contains(&gone.unwrap()));
}

#[test]
fn whom_the_user_named_is_neither_counted_nor_sent_away() {
    let mut hall = Hall::new(4, 3);
    let named = PeerId::random();
    hall.seats.name(named);
    let (id, _) = hall.connects(named, 1, true).unwrap();
    (0..3).for_each(|_| assert_eq!(hall.comes(1).unwrap().1, None));
    hall.now += IDLE * 2;
    assert!(!hall.seats.overdue(hall.now).iter().any(|(_, other)| *other == id));
    for _ in 0..10 {
        assert_ne!(hall.comes(1).unwrap().1, Some(id));
        hall.now += GRACE;
    }
    hall.seats.forget(&named);
    assert!(hall.seats.overdue(hall.now).iter().any(|(_, other)| *other == id));
}

#[test]
fn silence_has_a_deadline_and_so_has_idleness() {
    let mut hall = Hall::new(96, 72);
    let (silent, _) = hall.comes(1).unwrap();
    let (idle, _) = hall.comes(1).unwrap();
    let (busy, _) = hall.comes(1).unwrap();
    let neighbour = PeerId::random();
    let (near, _) = hall.connects(neighbour, 2, true).unwrap();
    [idle, busy, near].iter().for_each(|id| hall.seats.identified(id));
    assert!(hall.seats.welcome(neighbour));
    let overdue = |hall: &Hall| -> Vec<_> { hall.seats.overdue(hall.now).into_iter().map(|(_, id)| id).collect() };
    hall.now += IDENTIFY_WITHIN - Duration::from_millis(1);
    assert!(overdue(&hall).is_empty());
    hall.seats.used(&busy, hall.now);
    hall.now += Duration::from_millis(1);
    assert_eq!(overdue(&hall), [silent]);
    hall.seats.leave(&silent);
    hall.now += IDLE + IDLE_MARGIN - IDENTIFY_WITHIN;
    assert_eq!(overdue(&hall), [idle]);
}

#[test]
fn one_over_each_limit() {
    let mut hall = Hall::new(96, 72);
    let peer = PeerId::random();
    assert!((0..MAX_PER_PEER).all(|_| hall.connects(peer, 1, true).is_ok()));
    assert_eq!(hall.connects(peer, 1, true).unwrap_err(), Full::ByPeer);

    let mut hall = Hall::new(96, 72);
    let neighbours: Vec<_> = (0..MAX_NEIGHBOURS_PER_GROUP + 1).map(|_| PeerId::random()).collect();
    assert!(neighbours.iter().all(|peer| hall.connects(*peer, 1, true).is_ok()));
    let welcome = neighbours.iter().filter(|peer| hall.seats.welcome(**peer)).count();
    assert_eq!(welcome, MAX_NEIGHBOURS_PER_GROUP);

    // As many as its part: nobody of a group that is no larger is sent away while in use.
    let mut hall = Hall::new(2 * FAIR_PER_GROUP, FAIR_PER_GROUP);
    assert!((0..FAIR_PER_GROUP).all(|_| hall.comes(1).is_ok()));
    assert!(hall.comes(2).is_err());
    let mut hall = Hall::new(2 * FAIR_PER_GROUP, FAIR_PER_GROUP + 1);
    assert!((0..FAIR_PER_GROUP + 1).all(|_| hall.comes(1).is_ok()));
    assert!(hall.comes(2).unwrap().1.is_some());

    // Those on their way out still have their sockets.
    let mut hall = Hall::new(96, 72);
    let crowd: Vec<_> = (0..72).map(|_| hall.comes(1).unwrap().0).collect();
    crowd.iter().take(MAX_LEAVING).for_each(|id| hall.seats.send_away(*id));
    (0..MAX_LEAVING).for_each(|_| assert_eq!(hall.comes(2).unwrap().1, None));
    assert_eq!(hall.comes(3).unwrap_err(), Full::Everywhere(72));
}

#[tokio::test]
async fn handshakes_under_way_are_limited_for_each_network_and_in_all() {
    let mut admission = Admission::new(96, IDLE, None);
    let here: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
    let mut next = 0;
    let mut arrives = |admission: &mut Admission, group: usize| {
        next += 1;
        let remote = format!("/ip4/5.{group}.0.1/tcp/1").parse().unwrap();
        admission
            .handle_pending_inbound_connection(ConnectionId::new_unchecked(next), &here, &remote)
            .is_ok()
    };
    assert!((0..MAX_PENDING_PER_GROUP).all(|_| arrives(&mut admission, 0)));
    assert!(!arrives(&mut admission, 0));
    // A dozen that take all that they are given leave some to the next one.
    for group in 1..12 {
        assert!(arrives(&mut admission, group), "{group}");
        while arrives(&mut admission, group) {}
    }
    let mut group = 30;
    while admission.arriving.len() < MAX_PENDING_INBOUND && group < 256 {
        arrives(&mut admission, group);
        group += 1;
    }
    assert_eq!(admission.arriving.len(), MAX_PENDING_INBOUND);
    assert!(!arrives(&mut admission, 255));

    let dial = |admission: &mut Admission, id: usize| {
        admission
            .handle_pending_outbound_connection(ConnectionId::new_unchecked(id), None, &[], Endpoint::Dialer)
            .is_ok()
    };
    assert!((0..MAX_PENDING_OUTBOUND).all(|id| dial(&mut admission, id)));
    assert!(!dial(&mut admission, MAX_PENDING_OUTBOUND));
}
