use std::task::Waker;

use super::*;

const RATE: u64 = 1_000_000;

fn lane(meter: &Meter) -> Arc<Mutex<Lane>> {
    Arc::new(Mutex::new(Lane::new(meter.clone())))
}

/// What streams carry that take all they may at each step of a clock, a millisecond each.
fn carried(streams: &mut [Pace], meter: &Meter, from: Instant, millis: u32) -> Vec<usize> {
    let mut all = vec![0; streams.len()];
    for step in 0..millis {
        let now = from + Duration::from_millis(step.into());
        // As long as anybody gets something.
        while streams.iter_mut().zip(&mut all).any(|(stream, carried)| {
            let mut lane = lock(&stream.lane);
            lane.waiting = 0;
            let share = lane.share(&mut stream.taken, now);
            stream.taken.bytes += share;
            lane.left -= share;
            if share > 0 {
                lane.next = meter.carried(share, now);
            }
            *carried += share;
            share > 0
        }) {}
    }
    all
}

#[test]
fn what_is_carried_in_a_time_is_what_the_rate_says() {
    for rate in [Bandwidth::LEAST.get(), RATE, 50_000_000] {
        let meter = Meter::new(rate);
        let mut stream = [Pace::new(&lane(&meter))];
        let from = meter.free_at();
        let [carried] = carried(&mut stream, &meter, from, 4000)[..] else {
            unreachable!()
        };
        let expected = usize::try_from(rate * 4).unwrap();
        let slack = meter.portion() * 2 + usize::try_from(rate / 10).unwrap();
        assert!(carried.abs_diff(expected) <= slack, "{rate}: {carried} bytes");
    }
}

#[test]
fn connections_have_equal_parts_however_many_streams_they_have() {
    let meter = Meter::new(RATE);
    let (one, many) = (lane(&meter), lane(&meter));
    let mut streams: Vec<Pace> = std::iter::once(Pace::new(&one))
        .chain((0..9).map(|_| Pace::new(&many)))
        .collect();
    let from = meter.free_at();
    let carried = carried(&mut streams, &meter, from, 4000);
    let (one, many) = (carried[0], carried[1..].iter().sum::<usize>());
    assert!(one.abs_diff(many) <= one / 20, "{one} and {many} bytes");
}

#[tokio::test]
async fn streams_of_one_connection_share_its_portion() {
    let meter = Meter::new(Bandwidth::LEAST.get());
    let lane = lane(&meter);
    let mut cx = Context::from_waker(Waker::noop());
    let mut greedy = Pace::new(&lane);
    let Poll::Ready(all) = greedy.poll_share(&mut cx) else {
        panic!("nobody else is there")
    };
    assert_eq!(all, meter.portion());
    while let Poll::Ready(share) = greedy.poll_share(&mut cx) {
        greedy.carried(share);
    }
    let mut others: Vec<Pace> = (0..3).map(|_| Pace::new(&lane)).collect();
    assert!(others.iter_mut().all(|other| other.poll_share(&mut cx).is_pending()));
    assert_eq!(lock(&lane).waiting, 4);
    // The next turn is for all four.
    let next = lock(&lane).next;
    tokio::time::sleep_until(next).await;
    let share = greedy.poll_share(&mut cx);
    assert_eq!(share, Poll::Ready(meter.portion() / 4));
    greedy.carried(meter.portion() / 4);
    assert!(greedy.poll_share(&mut cx).is_pending(), "others have their turn");
    drop(others);
    assert_eq!(lock(&lane).waiting, 1);
    drop(greedy);
    assert_eq!(lock(&lane).waiting, 0);
}

#[test]
fn a_new_connection_waits_for_what_was_said_before() {
    let meter = Meter::new(RATE);
    let now = meter.free_at();
    let free_at = meter.carried(100_000, now);
    assert_eq!(free_at, now + Duration::from_millis(100));
    let new = Lane::new(meter.clone()).share(&mut Taken::default(), now);
    assert_eq!(new, 0);
    // What was not said for an hour does not come in one go.
    let later = now + Duration::from_secs(3600);
    assert_eq!(
        meter.carried(100_000, later),
        later - CREDIT + Duration::from_millis(100)
    );
}

#[test]
fn what_is_less_than_the_least_counts_as_that_and_without_a_limit_nothing_is_between() {
    let least = Bandwidth::new(Some(NonZeroU64::MIN), None);
    assert_eq!(least.up.unwrap().rate, Bandwidth::LEAST.get());
    assert!(least.down.is_none());
    let none = Bandwidth::new(None, None);
    assert!(none.up.is_none() && none.down.is_none());
    assert_eq!(Meter::new(u64::MAX).portion() as u64, MOST_PORTION);
    assert_eq!(Meter::new(Bandwidth::LEAST.get()).portion() as u64, LEAST_PORTION);
}
