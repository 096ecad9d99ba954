//! Who has a seat, and who goes for whom.

use super::*;

const ROOM: Room = Room {
    all: 8,
    network: 4,
    one: 3,
    many: 6,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Seats of a client until one is refused.
fn all_of(shares: &Shares, from: &str) -> (Vec<Seat>, Full) {
    let mut seats = Vec::new();
    loop {
        match shares.take(ip(from)) {
            Ok(seat) => seats.push(seat),
            Err(full) => return (seats, full),
        }
    }
}

fn wait(seat: &Seat) {
    lock(&seat.state.activity).stalled = Instant::now().checked_sub(STALLED_AFTER);
}

#[test]
fn a_client_and_its_network_have_so_many_and_no_more() {
    let shares = Shares::new(ROOM, &[ip("10.0.0.9")]);
    let (one, full) = all_of(&shares, "8.8.0.1");
    assert_eq!((one.len(), full), (ROOM.one, Full::Own));
    let (beside, full) = all_of(&shares, "8.8.0.2");
    assert_eq!((beside.len(), full), (ROOM.network - ROOM.one, Full::Own));
    assert_eq!(all_of(&shares, "9.9.9.9").0.len(), ROOM.one);
    drop((one, beside));
    assert_eq!(shares.taken(), 0);
    for many in ["127.0.0.1", "::1", "10.0.0.9"] {
        assert_eq!(all_of(&shares, many).0.len(), ROOM.many, "{many}");
    }
    assert_eq!(all_of(&shares, "127.0.0.2").0.len(), ROOM.one);
}

#[test]
fn who_only_waits_for_its_client_makes_room_for_the_same_client() {
    let shares = Shares::new(ROOM, &[]);
    let (seats, _) = all_of(&shares, "8.8.0.1");
    assert!(shares.take(ip("8.8.0.1")).is_err());
    wait(&seats[1]);
    assert!(shares.spare(ip("8.8.0.1")).is_none() && !seats[1].is_cut());
    let more = shares.take(ip("8.8.0.1")).unwrap();
    assert_eq!([0, 1, 2].map(|n| seats[n].is_cut()), [false, true, false]);
    // Who took a little in between is spared no more than one that works.
    wait(&seats[0]);
    seats[0].moved();
    assert!(shares.take(ip("8.8.0.1")).is_err());
    // And what is idle goes before what waits.
    wait(&seats[0]);
    seats[2].enter(Phase::Idle);
    let last = shares.take(ip("8.8.0.1")).unwrap();
    assert_eq!([0, 1, 2].map(|n| seats[n].is_cut()), [false, true, true]);
    assert_eq!(shares.taken(), ROOM.one);
    drop((seats, more, last));
    assert_eq!(shares.taken(), 0);
}

#[test]
fn where_all_is_taken_whoever_has_most_makes_room() {
    let shares = Shares::new(ROOM, &[]);
    let mut seats = Vec::new();
    for n in 0..ROOM.all {
        seats.push(
            shares
                .take(ip(&format!("8.8.0.{n}")))
                .or_else(|_| shares.take(ip("9.9.0.1"))),
        );
        if n >= ROOM.network + ROOM.one {
            seats.push(shares.take(ip("7.7.0.1")));
        }
    }
    let seats: Vec<Seat> = seats.into_iter().flatten().collect();
    assert_eq!((seats.len(), shares.taken()), (ROOM.all, ROOM.all));
    // Nobody is waiting for anything: the network with four seats gives the oldest of them to one with none.
    let new = shares.take(ip("6.6.0.1")).unwrap();
    assert!(seats[0].is_cut() && seats.iter().filter(|seat| seat.is_cut()).count() == 1);
    // Nobody has far more now than this one would have with a second seat.
    assert_eq!(shares.take(ip("6.6.0.1")).err(), Some(Full::All));
    wait(&seats[1]);
    let second = shares.take(ip("6.6.0.1")).unwrap();
    assert!(seats[1].is_cut());
    drop(second);
    drop(new);
}

#[test]
fn questions_that_share_a_connection_stall_each_by_itself() {
    let shares = Shares::new(ROOM, &[]);
    let seat = shares.take(ip("8.8.0.1")).unwrap();
    seat.share();
    let stalls = || {
        let activity = lock(&seat.state.activity);
        (activity.longest_stalled().is_some(), activity.all_stalled().is_some())
    };
    let phase = || lock(&seat.state.activity).phase;
    let (one, other) = (seat.begin(), seat.begin());
    seat.offers(one);
    assert_eq!(stalls(), (true, false));
    seat.offers(other);
    assert_eq!(stalls(), (true, true));
    seat.takes(one);
    assert_eq!(stalls(), (true, false));
    seat.end(other);
    assert_eq!((stalls(), phase()), ((false, false), Phase::Work));
    // What comes meanwhile is the head of nothing.
    seat.end(one);
    seat.heard();
    assert_eq!(phase(), Phase::Idle);
}

#[test]
fn whoever_takes_back_one_question_too_many_loses_the_seat() {
    let shares = Shares::new(ROOM, &[]);
    let seat = shares.take(ip("8.8.0.1")).unwrap();
    (0..MAX_TAKEN_BACK).for_each(|_| seat.taken_back());
    seat.answers();
    (0..MAX_TAKEN_BACK).for_each(|_| seat.taken_back());
    assert!(!seat.is_cut());
    seat.taken_back();
    assert!(seat.is_cut());
}

#[tokio::test]
async fn whoever_has_a_seat_hears_that_it_was_cut() {
    let shares = Shares::new(ROOM, &[]);
    let seat = Arc::new(shares.take(ip("8.8.0.1")).unwrap());
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let seat = Arc::clone(&seat);
            tokio::spawn(async move { seat.cut().await })
        })
        .collect();
    tokio::task::yield_now().await;
    seat.enter(Phase::Idle);
    assert!(shares.cut_any() && seat.is_cut() && !shares.cut_any());
    for waiting in waiting {
        waiting.await.unwrap();
    }
    seat.cut().await;
}

#[test]
fn a_client_is_of_the_network_that_is_said() {
    let shares = Shares::new(ROOM, &[]);
    let from = network(ip("8.8.0.1"));
    let taken: Vec<_> = (0..ROOM.network)
        .map(|n| shares.take_in(ip(&format!("fd00::{n}")), from))
        .collect();
    assert!(taken.iter().all(Result::is_ok));
    assert_eq!(shares.take_in(ip("fd00::9"), from).err(), Some(Full::Own));
    assert_eq!(shares.take(ip("8.8.0.1")).err(), Some(Full::Own));
    assert!(shares.take(ip("fd00::9")).is_ok());
}
