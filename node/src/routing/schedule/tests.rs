use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use super::*;

fn schedule(table: &Table, now: &Arc<AtomicU64>) -> Schedule {
    let now = Arc::clone(now);
    let clock = Clock::from_fn(move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed)));
    Schedule::open(table.clone(), clock)
}

#[test]
fn what_waits_survives_a_restart() {
    let (table, now) = (Table::in_memory(), Arc::new(AtomicU64::new(1_000_000)));
    let first = schedule(&table, &now);
    first.add([&b"a"[..], b"b", b"c"]).unwrap();
    assert_eq!((first.due(10, |_| true).unwrap().len(), first.waiting()), (3, 3));
    first.told([&b"a"[..]]).unwrap();
    first.put_off([&b"b"[..]], RETRY_INTERVAL).unwrap();

    let second = schedule(&table, &now);
    assert_eq!(second.due(10, |_| true).unwrap(), [b"c".to_vec()]);
    assert!(second.contains(b"a"));
    assert_eq!((second.len(), second.waiting()), (3, 2));
    now.fetch_add(RETRY_INTERVAL.as_secs(), Ordering::Relaxed);
    assert_eq!(second.due(10, |_| true).unwrap(), [b"c".to_vec(), b"b".to_vec()]);
    assert_eq!(second.due(1, |_| true).unwrap().len(), 1);
    let all = Prefix::of(&[0; 32], 0);
    assert_eq!(second.due_within(&all, 10, |_| true).unwrap().len(), 2);
    second.told([&b"b"[..], b"c"]).unwrap();
    assert_eq!(second.waiting(), 0);
}

/// Every key that a lap comes to, with the time of each, as long as `until` has not come.
fn sweep(schedule: &Schedule, now: &AtomicU64, until: u64) -> Vec<(Vec<u8>, u64)> {
    let mut swept = Vec::new();
    while let Some((key, wait)) = schedule.next().unwrap() {
        let time = now.load(Ordering::Relaxed) + wait.as_secs();
        if time >= until {
            break;
        }
        now.store(time, Ordering::Relaxed);
        let region = Prefix::of(&place_of(&key), 3);
        let stretch = schedule.stretch(&region, 7, |_| true).unwrap();
        assert!(stretch.keys.len() <= 7 && stretch.keys[0].1 == key);
        schedule.swept(&stretch).unwrap();
        swept.extend(stretch.keys.into_iter().map(|(_, key)| (key, time)));
    }
    swept
}

fn keys(count: u32) -> Vec<Vec<u8>> {
    (0..count).map(|n| n.to_be_bytes().to_vec()).collect()
}

#[test]
fn each_key_is_told_again_once_a_lap_and_the_work_is_spread_over_it() {
    const START: u64 = 1_800_000_123;
    let (table, now) = (Table::in_memory(), Arc::new(AtomicU64::new(START)));
    let mut all = keys(1000);
    let first = schedule(&table, &now);
    first.add(all.iter().map(Vec::as_slice)).unwrap();
    first.told(all.iter().map(Vec::as_slice)).unwrap();
    let mut swept = sweep(&first, &now, START + LAP / 3);
    // The process ends and begins again, in the middle of it.
    swept.extend(sweep(&schedule(&table, &now), &now, START + LAP));
    let hours = 1 + swept.iter().map(|(_, time)| (time - START) / 3600).max().unwrap();
    assert!(hours >= 20, "all was done in {hours} h");
    let mut found: Vec<_> = swept.into_iter().map(|(key, _)| key).collect();
    let before = found.len();
    found.sort_unstable();
    found.dedup();
    all.sort_unstable();
    assert!(before <= 1060, "{before}: it begins the next lap by an hour at most");
    assert_eq!(found, all);
}

#[test]
fn a_peer_that_was_away_catches_up_with_one_lap() {
    const START: u64 = 1_800_000_123;
    let (table, now) = (Table::in_memory(), Arc::new(AtomicU64::new(START)));
    let all = keys(300);
    let first = schedule(&table, &now);
    first.add(all.iter().map(Vec::as_slice)).unwrap();
    first.told(all.iter().map(Vec::as_slice)).unwrap();
    let back = START + 10 * LAP;
    now.store(back, Ordering::Relaxed);
    let second = schedule(&table, &now);
    assert!(second.behind().unwrap() > Duration::from_secs(LAP / 2));
    let swept = sweep(&second, &now, back + 1);
    assert!((300..=330).contains(&swept.len()), "{}", swept.len());
    assert_eq!(second.behind().unwrap(), Duration::ZERO);
}

#[test]
fn a_lap_that_only_neighbours_heard_of_is_begun_anew_once() {
    let (table, now) = (Table::in_memory(), Arc::new(AtomicU64::new(1_800_000_123)));
    let schedule = schedule(&table, &now);
    schedule.add([&b"a"[..]]).unwrap();
    schedule.told([&b"a"[..]]).unwrap();
    let all = Prefix::of(&[0; 32], 0);
    let due = |now: &AtomicU64| {
        let (_, wait) = schedule.next().unwrap().unwrap();
        now.fetch_add(wait.as_secs(), Ordering::Relaxed);
        schedule.stretch(&all, 9, |_| true).unwrap()
    };
    schedule.swept(&due(&now)).unwrap();
    schedule.owe().unwrap();
    assert!(schedule.next().unwrap().unwrap().1 > Duration::from_secs(LAP / 2));
    schedule.sweep_again_if_owed().unwrap();
    assert_eq!(schedule.next().unwrap().unwrap().1, Duration::ZERO);
    schedule.swept(&due(&now)).unwrap();
    schedule.sweep_again_if_owed().unwrap();
    assert!(schedule.next().unwrap().unwrap().1 > Duration::from_secs(LAP / 2));
}

#[test]
fn what_is_not_here_any_more_is_told_no_more() {
    let (table, now) = (Table::in_memory(), Arc::new(AtomicU64::new(1_800_000_123)));
    let schedule = schedule(&table, &now);
    let all = keys(10);
    schedule.add(all.iter().map(Vec::as_slice)).unwrap();
    now.fetch_add(LAP, Ordering::Relaxed);
    let everywhere = Prefix::of(&[0; 32], 0);
    let stretch = schedule.stretch(&everywhere, 99, |key| key[3] % 2 == 0).unwrap();
    assert!(stretch.keys.iter().all(|(_, key)| key[3] % 2 == 0));
    schedule.swept(&stretch).unwrap();
    schedule.stretch(&everywhere, 99, |key| key[3] % 2 == 0).unwrap();
    assert_eq!((schedule.len(), schedule.waiting()), (5, 5));
}

#[test]
fn what_an_earlier_version_wrote_is_told_when_it_is_due_and_swept_from_then_on() {
    let (table, now) = (Table::in_memory(), Arc::new(AtomicU64::new(1_000_000)));
    let due = 1_000_500_u64.to_be_bytes();
    table.insert(b"kold", &due).unwrap();
    table.insert(&[b"d", &due[..], b"old"].concat(), b"").unwrap();
    let schedule = schedule(&table, &now);
    assert!(schedule.contains(b"old") && schedule.due(9, |_| true).unwrap().is_empty());
    now.fetch_add(500, Ordering::Relaxed);
    assert_eq!(schedule.due(9, |_| true).unwrap(), [b"old".to_vec()]);
    schedule.told([&b"old"[..]]).unwrap();
    assert_eq!(schedule.next().unwrap().unwrap().0, b"old");
}

#[test]
fn failures_are_retried_when_somebody_appears_but_fresh_announcements_are_not() {
    let (table, now) = (Table::in_memory(), Arc::new(AtomicU64::new(1_000_000)));
    let schedule = schedule(&table, &now);
    schedule.add([&b"a"[..], b"b"]).unwrap();
    schedule.put_off([&b"a"[..]], RETRY_INTERVAL).unwrap();
    schedule.told([&b"b"[..]]).unwrap();
    assert!(schedule.due(10, |_| true).unwrap().is_empty());
    schedule.retry_now(10).unwrap();
    assert_eq!(schedule.due(10, |_| true).unwrap(), [b"a".to_vec()]);
}

#[test]
fn more_keys_than_change_in_one_step_are_all_there_and_a_key_twice_is_one() {
    let (table, now) = (Table::in_memory(), Arc::new(AtomicU64::new(1_000_000)));
    let schedule = schedule(&table, &now);
    let keys: Vec<Vec<u8>> = (0..=KEYS_AT_ONCE).map(|n| n.to_be_bytes().to_vec()).collect();
    let twice = keys.iter().chain(&keys).map(Vec::as_slice);
    schedule.add(twice).unwrap();
    assert_eq!(
        (
            schedule.len(),
            schedule.due(1000, |_| true).unwrap().len(),
            schedule.waiting()
        ),
        (keys.len(), keys.len(), keys.len())
    );
    now.fetch_add(1, Ordering::Relaxed);
    schedule.add([&keys[0][..], &keys[0]]).unwrap();
    // Of each its place and two for that it waits; and how far the sweep is.
    assert_eq!(table.scan_prefix(b"").count(), 3 * keys.len() + 1);
}

#[test]
fn what_is_removed_stays_removed() {
    let (table, now) = (Table::in_memory(), Arc::new(AtomicU64::new(1_000_000)));
    let schedule = schedule(&table, &now);
    schedule.add([&b"a"[..]]).unwrap();
    schedule.remove([&b"a"[..]]).unwrap();
    schedule.told([&b"a"[..]]).unwrap();
    schedule.put_off([&b"a"[..]], RETRY_INTERVAL).unwrap();
    assert!(!schedule.contains(b"a"));
    assert!(schedule.due(10, |_| true).unwrap().is_empty() && schedule.next().unwrap().is_none());
    assert_eq!((table.scan_prefix(b"").count(), schedule.waiting()), (1, 0));
}

#[test]
fn keys_that_several_change_at_once_are_counted_once() {
    let table = Table::in_memory();
    let schedule = schedule(&table, &Arc::new(AtomicU64::new(1_000_000)));
    let keys = keys(200);
    let all = || keys.iter().map(Vec::as_slice);
    for _ in 0..20 {
        schedule.add(all()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| schedule.told(all()).unwrap());
                scope.spawn(|| schedule.remove(all()).unwrap());
            }
        });
        assert_eq!((schedule.waiting(), schedule.len()), (0, 0));
    }
}

#[test]
fn keys_that_are_not_wanted_take_nobodys_place() {
    let schedule = schedule(&Table::in_memory(), &Arc::new(AtomicU64::new(1_000_000)));
    let keys: Vec<[u8; 1]> = (0..50).map(|number| [number]).collect();
    schedule.add(keys.iter().map(|key| &key[..])).unwrap();
    let is_wanted = |key: &[u8]| key[0] >= 40;
    let all = Prefix::of(&[0; 32], 0);
    assert_eq!(schedule.due(5, is_wanted).unwrap().len(), 5);
    assert_eq!(schedule.due(50, is_wanted).unwrap().len(), 10);
    assert_eq!(schedule.due_within(&all, 5, is_wanted).unwrap().len(), 5);
    assert_eq!(schedule.due_within(&all, 50, is_wanted).unwrap().len(), 10);
}
