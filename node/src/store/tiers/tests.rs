use std::{collections::BTreeMap, fs};

use super::*;

const LIMITS: Limits = Limits { recent: 4, fan_in: 2 };

struct Place {
    dir: tempfile::TempDir,
    disk: Disk,
    guard: Guard,
    db: sled::Db,
}

impl Place {
    fn new() -> Self {
        let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::new());
        let guard = Guard::new(&disk, dir.path(), &dir.path().join("damaged"), 0);
        let db = sled::Config::new().temporary(true).open().unwrap();
        Self { dir, disk, guard, db }
    }

    fn runs(&self) -> PathBuf {
        self.dir.path().join("map")
    }

    fn open(&self, limits: Limits) -> Result<Tiers, StoreError> {
        let tree = |name| self.db.open_tree(name).unwrap();
        self.open_after(tree("recent"), &tree("meta"), u64::MAX, limits)
    }

    fn open_after(
        &self,
        recent: sled::Tree,
        meta: &sled::Tree,
        flushed: u64,
        limits: Limits,
    ) -> Result<Tiers, StoreError> {
        let place = (&self.guard, &self.disk, self.dir.path());
        Tiers::open(place, "map", recent, meta, flushed, limits)
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.runs()).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn put(tiers: &Tiers, key: u32, value: Option<&[u8]>) {
    let change = |_: Option<&[u8]>| value.map_or(Change::Removed, |value| Change::Value(value.to_vec()));
    tiers.update(&key.to_be_bytes(), change).unwrap();
}

fn get(tiers: &Tiers, key: u32) -> Option<Vec<u8>> {
    tiers.get(&key.to_be_bytes()).unwrap().map(|value| value.to_vec())
}

fn fold(tiers: &Tiers) -> bool {
    let fold = tiers.begin_fold(1).unwrap();
    fold.is_some_and(|fold| fold.finish(1).unwrap())
}

fn number(key: &[u8]) -> u32 {
    u32::from_be_bytes(key.try_into().unwrap())
}

fn content(tiers: &Tiers) -> Vec<(u32, Vec<u8>)> {
    let all = tiers.range(&[], None).map(Result::unwrap);
    all.map(|(key, value)| (number(&key), value)).collect()
}

/// The entries from one key on, those before another.
fn part(tiers: &Tiers, from: u32, to: u32) -> Vec<(u32, Vec<u8>)> {
    let part = tiers.range(&from.to_be_bytes(), Some(&to.to_be_bytes()));
    part.map(Result::unwrap)
        .map(|(key, value)| (number(&key), value))
        .collect()
}

/// Says that it is enough when it goes, also if a test fails: the threads beside it would go on for ever.
struct Enough<'a>(&'a AtomicBool);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Numbers that look like chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

#[test]
fn the_same_as_a_map_in_memory() {
    for seed in 0..8 {
        let (place, mut chance, mut model) = (Place::new(), Chance(seed), BTreeMap::new());
        let mut tiers = place.open(LIMITS).unwrap();
        let mut most_runs = 0;
        for step in 0..3_000_u32 {
            let key = chance.below(200) as u32;
            match chance.below(16) {
                0..=8 => {
                    put(&tiers, key, Some(&step.to_le_bytes()));
                    model.insert(key, step.to_le_bytes().to_vec());
                }
                9..=11 => {
                    put(&tiers, key, None);
                    model.remove(&key);
                }
                12 => drop(fold(&tiers)),
                13 if step % 7 == 0 => drop(tiers.reclaim().unwrap()),
                14 if step % 5 == 0 => {
                    tiers.note_count().unwrap();
                    drop(tiers);
                    tiers = place.open(LIMITS).unwrap();
                }
                _ => {}
            }
            assert_eq!(get(&tiers, key), model.get(&key).cloned(), "seed {seed}, step {step}");
            most_runs = most_runs.max(tiers.runs().len());
            let (from, to) = (chance.below(200) as u32, chance.below(200) as u32);
            let expected = model
                .range(from..to.max(from))
                .map(|(key, value)| (*key, value.clone()));
            assert_eq!(
                part(&tiers, from, to),
                expected.collect::<Vec<_>>(),
                "seed {seed}, step {step}"
            );
            if step % 100 == 0 {
                assert_eq!(content(&tiers), model.clone().into_iter().collect::<Vec<_>>());
            }
        }
        while fold(&tiers) {}
        assert_eq!(content(&tiers), model.into_iter().collect::<Vec<_>>());
        assert!(most_runs > 2 && most_runs < 12, "{most_runs}");
        assert!(tiers.count.load(Ordering::Relaxed) < 4 && tiers.recent.len() < 4);
        assert_eq!(place.names().len(), tiers.runs().len(), "nothing is left over");
    }
}

#[test]
fn no_update_is_lost_while_entries_are_folded_and_merged() {
    const THREADS: u64 = 4;
    const FOLDS: u32 = 20;
    let place = Place::new();
    let tiers = place.open(LIMITS).unwrap();
    let (is_enough, made) = (AtomicBool::new(false), AtomicI64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (tiers, is_enough, made) = (&tiers, &is_enough, &made);
            scope.spawn(move || {
                let mut chance = Chance(thread);
                while !is_enough.load(Ordering::Relaxed) {
                    let key = (chance.below(12) as u32).to_be_bytes();
                    tiers
                        .update(&key, |known| {
                            let known = known.map_or(0, |known| u64::from_le_bytes(known.try_into().unwrap()));
                            Change::Value((known + 1).to_le_bytes().to_vec())
                        })
                        .unwrap();
                    made.fetch_add(1, Ordering::Relaxed);
                    // What was there once is never missed.
                    assert!(tiers.get(&key).unwrap().is_some());
                }
            });
        }
        let mut folds = 0;
        while folds < FOLDS {
            folds += u32::from(fold(&tiers));
        }
        is_enough.store(true, Ordering::Relaxed);
    });
    let counts = content(&tiers);
    let count = |count: &[u8]| u64::from_le_bytes(count.try_into().unwrap());
    let sum: u64 = counts.iter().map(|(_, value)| count(value)).sum();
    assert_eq!(sum, made.load(Ordering::Relaxed) as u64);
}

#[test]
fn an_entry_that_changed_since_it_was_scanned_stays_in_the_tree() {
    let place = Place::new();
    let tiers = place.open(LIMITS).unwrap();
    (0..6).for_each(|key| put(&tiers, key, Some(b"old")));
    let scanned = tiers.begin_fold(1).unwrap().unwrap();
    assert!(tiers.begin_fold(1).unwrap().is_none(), "one at a time");
    put(&tiers, 1, Some(b"new"));
    put(&tiers, 2, None);
    put(&tiers, 9, Some(b"new"));
    assert!(scanned.finish(1).unwrap());
    assert_eq!(tiers.recent.len(), 3);
    assert_eq!(tiers.count.load(Ordering::Relaxed), 3);
    let expected = [(0, "old"), (1, "new"), (3, "old"), (4, "old"), (5, "old"), (9, "new")];
    assert_eq!(
        content(&tiers),
        expected.map(|(key, value)| (key, value.as_bytes().to_vec()))
    );
    assert_eq!(get(&tiers, 2), None);
}

#[test]
fn tombstones_go_with_the_oldest_run_only() {
    let place = Place::new();
    let tiers = place.open(Limits { fan_in: 3, ..LIMITS }).unwrap();
    let counts = || {
        let runs = tiers.runs();
        runs.iter().map(|run| (run.entries, run.tombstones)).collect::<Vec<_>>()
    };
    // Nothing is below the first.
    (0..6).for_each(|key| put(&tiers, key, Some(b"x")));
    (4..6).for_each(|key| put(&tiers, key, None));
    assert!(fold(&tiers));
    assert_eq!(counts(), [(4, 0)]);
    (0..4).for_each(|key| put(&tiers, key, None));
    assert!(fold(&tiers));
    assert_eq!(counts(), [(4, 0), (4, 4)]);
    assert_eq!(content(&tiers), []);
    assert!(tiers.reclaim().unwrap());
    assert_eq!(
        counts(),
        [(0, 0)],
        "a run without entries keeps the numbers of the folds"
    );
    assert!(!tiers.reclaim().unwrap());
    drop(tiers);
    let tiers = place.open(LIMITS).unwrap();
    assert_eq!(content(&tiers), []);
    // What was never there leaves nothing.
    put(&tiers, 77, None);
    assert_eq!(tiers.recent.len(), 0);
}

#[test]
fn whoever_walks_may_change_the_map_and_fold_it() {
    let place = Place::new();
    let tiers = place.open(LIMITS).unwrap();
    (0..10).for_each(|key| put(&tiers, key, Some(b"x")));
    assert!(fold(&tiers));
    (5..15).for_each(|key| put(&tiers, key, Some(b"y")));
    let (mut seen, mut folds) = (Vec::new(), 0);
    for entry in tiers.range(&[], None) {
        let (key, value) = entry.unwrap();
        seen.push((number(&key), value));
        folds += usize::from(fold(&tiers));
        tiers.update(&key, |_| Change::Removed).unwrap();
    }
    let value = |key| if key < 5 { b"x".to_vec() } else { b"y".to_vec() };
    assert_eq!(seen, (0..15).map(|key| (key, value(key))).collect::<Vec<_>>());
    assert!(folds > 2, "{folds}");
    assert_eq!(content(&tiers), []);
}

#[test]
fn a_walk_misses_nothing_while_others_change_and_fold_the_map() {
    const KEYS: u32 = 60;
    const WALKS: u32 = 1000;
    let place = Place::new();
    let tiers = place.open(LIMITS).unwrap();
    // Every third stays as it is, every third changes, and the rest comes and goes.
    (0..KEYS).for_each(|key| put(&tiers, key, Some(&0_u64.to_le_bytes())));
    let (is_enough, folds) = (AtomicBool::new(false), AtomicI64::new(0));
    std::thread::scope(|scope| {
        let (tiers, is_enough, folds) = (&tiers, &is_enough, &folds);
        let _ends = Enough(is_enough);
        scope.spawn(move || {
            let (mut chance, mut step) = (Chance(3), 0_u64);
            while !is_enough.load(Ordering::Relaxed) {
                step += 1;
                let key = chance.below(KEYS.into()) as u32 / 3 * 3;
                put(tiers, key + 1, Some(&step.to_le_bytes()));
                let is_there = chance.below(2) == 0;
                put(tiers, key + 2, is_there.then_some(&step.to_le_bytes()));
            }
        });
        scope.spawn(move || {
            while !is_enough.load(Ordering::Relaxed) {
                if fold(tiers) && folds.fetch_add(1, Ordering::Relaxed) % 8 == 7 {
                    tiers.reclaim().unwrap();
                }
            }
        });
        let mut last = [0_u64; KEYS as usize];
        let mut walk = 0;
        while walk < WALKS || folds.load(Ordering::Relaxed) < 20 {
            walk += 1;
            let (from, to) = (walk % 7 * 3, KEYS - walk % 5 * 3);
            let seen = part(tiers, from, to);
            assert!(seen.is_sorted_by(|(before, _), (key, _)| before < key), "{seen:?}");
            let keys: Vec<u32> = seen.iter().map(|(key, _)| *key).collect();
            for key in (from..to).filter(|key| key % 3 < 2) {
                assert!(keys.contains(&key), "walk {walk} misses {key}: {keys:?}");
            }
            for (key, value) in seen {
                let value = u64::from_le_bytes(value.try_into().unwrap());
                let before = std::mem::replace(&mut last[key as usize], value);
                assert!(
                    before <= value,
                    "walk {walk}: {key} is as it was before the walk before"
                );
            }
        }
    });
}

#[test]
fn damage_ends_a_walk() {
    let place = three_runs();
    let tiers = place.open(LIMITS).unwrap();
    let run = place.runs().join(run::name_of(2, 2));
    let mut bytes = fs::read(&run).unwrap();
    bytes[9] ^= 1;
    fs::write(&run, bytes).unwrap();
    let walked: Vec<_> = tiers.range(&[], None).collect();
    assert!(walked.last().unwrap().is_err() && walked.iter().filter(|entry| entry.is_err()).count() == 1);
}

#[test]
fn a_large_tree_is_folded_little_by_little() {
    let place = Place::new();
    // From before entries were counted, and before there were runs.
    let tree = place.db.open_tree("recent").unwrap();
    for key in 0..100_u32 {
        tree.insert(key.to_be_bytes(), b"x").unwrap();
    }
    for counted in [None, Some(4)] {
        let meta = place.db.open_tree("meta").unwrap();
        if let Some(counted) = counted {
            set_number(&place.guard, &meta, "map: recent", counted).unwrap();
        }
        let tiers = place.open_after(tree.clone(), &meta, 1, LIMITS).unwrap();
        let before = tree.len();
        assert!(fold(&tiers));
        assert_eq!(tree.len(), before - LIMITS.recent * FOLD_MAX);
    }
    let tiers = place.open(LIMITS).unwrap();
    put(&tiers, 100, Some(b"x"));
    (101..104).for_each(|key| put(&tiers, key, Some(b"x")));
    while fold(&tiers) {}
    assert!(tree.len() < LIMITS.recent, "what was not counted is found");
    assert_eq!(content(&tiers).len(), 104);
}

#[test]
fn without_room_only_those_who_flush_try_to_fold() {
    let mut place = Place::new();
    place.guard = Guard::new(
        &place.disk,
        place.dir.path(),
        &place.dir.path().join("damaged"),
        u64::MAX,
    );
    let tiers = place.open(LIMITS).unwrap();
    (0..100).for_each(|key| put(&tiers, key, Some(b"x")));
    let begun = tiers.begin_overdue_fold(8).unwrap().unwrap();
    assert!(!begun.finish(1).unwrap(), "there is no room");
    assert!(tiers.begin_overdue_fold(8).unwrap().is_none());
    let begun = tiers.begin_fold(1).unwrap().unwrap();
    assert!(!begun.finish(1).unwrap());
    assert_eq!(content(&tiers).len(), 100);
}

#[test]
fn a_merge_waits_for_enough_of_about_the_same_size() {
    let limits = Limits { recent: 10, fan_in: 3 };
    let due = |entries: &[u64]| {
        let sizes: Vec<(u64, u64)> = entries.iter().map(|entries| (*entries, 1)).collect();
        due_for_merge(&sizes, limits)
    };
    assert_eq!(due(&[]), None);
    assert_eq!(due(&[10, 10]), None);
    assert_eq!(due(&[10, 29, 5]), Some(0));
    assert_eq!(due(&[30, 10, 10]), None);
    assert_eq!(due(&[30, 10, 10, 10]), Some(1));
    assert_eq!(due(&[90, 30, 30, 30]), Some(1));
    assert_eq!(due(&[90, 30, 30, 10]), None);
    assert_eq!(due(&[90, 10, 30, 10]), None);
    assert_eq!(
        due(&[90, 30, 10, 30, 30, 10]),
        Some(1),
        "smaller ones go with those they are among"
    );
    let large = [(10, MERGE_BLOCKS), (10, 1), (10, 1)];
    assert_eq!(due_for_merge(&large, limits), None, "too much for one stop");
}

/// Three runs, which are not merged, and the tree that was open with them.
fn three_runs() -> Place {
    let place = Place::new();
    let tiers = place.open(Limits { fan_in: 9, ..LIMITS }).unwrap();
    for round in 0..3 {
        (round * 4..round * 4 + 4).for_each(|key| put(&tiers, key, Some(b"x")));
        assert!(fold(&tiers));
    }
    assert_eq!(place.names(), [1, 2, 3].map(|number| run::name_of(number, number)));
    place
}

#[test]
fn a_run_that_is_missing_or_too_many_is_damage() {
    let damaged = |harm: &dyn Fn(&Path)| {
        let place = three_runs();
        harm(&place.runs());
        let opened = place.open(LIMITS);
        matches!(opened.map(|_| ()), Err(StoreError::IndexDamaged)) && place.dir.path().join("damaged").exists()
    };
    let name = |first, last| run::name_of(first, last);
    for number in 1..=3 {
        assert!(
            damaged(&|runs| fs::remove_file(runs.join(name(number, number))).unwrap()),
            "{number}"
        );
    }
    assert!(damaged(&|runs| fs::remove_dir_all(runs).unwrap()));
    for (first, last) in [(5, 5), (3, 4), (0, 0), (2, 1), (4, 3), (4, u64::MAX), (4, 4)] {
        let copy = |runs: &Path| {
            fs::copy(runs.join(name(1, 1)), runs.join(name(first, last))).unwrap();
        };
        assert!(damaged(&copy), "{first} to {last}");
    }
    // Of the same folds of another index.
    assert!(damaged(&|runs| {
        let other = three_runs();
        fs::copy(other.runs().join(name(2, 2)), runs.join(name(2, 2))).unwrap();
    }));
    assert!(!damaged(&|runs| fs::write(runs.join("notes.txt"), b"?").unwrap()));
    // sled without its memory of them.
    let place = three_runs();
    place.db.open_tree("meta").unwrap().clear().unwrap();
    assert!(matches!(place.open(LIMITS).map(|_| ()), Err(StoreError::IndexDamaged)));
    // A flush that sled does not know of.
    let place = three_runs();
    let tree = |name| place.db.open_tree(name).unwrap();
    let opened = place.open_after(tree("recent"), &tree("meta"), 0, LIMITS);
    assert!(matches!(opened.map(|_| ()), Err(StoreError::IndexDamaged)));
}

#[test]
fn what_a_merge_left_goes_and_links_are_not_followed() {
    let place = three_runs();
    let aside = place.dir.path().join("aside");
    fs::create_dir(&aside).unwrap();
    for name in place.names() {
        fs::copy(place.runs().join(&name), aside.join(&name)).unwrap();
    }
    let tiers = place.open(Limits { fan_in: 3, ..LIMITS }).unwrap();
    (12..16).for_each(|key| put(&tiers, key, Some(b"x")));
    assert!(fold(&tiers));
    assert_eq!(place.names(), [run::name_of(1, 4)]);
    drop(tiers);
    for number in 1..=3 {
        let name = run::name_of(number, number);
        fs::copy(aside.join(&name), place.runs().join(&name)).unwrap();
    }
    fs::write(place.runs().join(".pending-x.run"), b"half").unwrap();
    let tiers = place.open(LIMITS).unwrap();
    assert_eq!(content(&tiers).len(), 16);
    assert_eq!(place.names(), [run::name_of(1, 4)]);
    drop(tiers);

    let elsewhere = place.dir.path().join("elsewhere");
    fs::rename(place.runs(), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.runs()).unwrap();
    assert!(matches!(place.open(LIMITS).map(|_| ()), Err(StoreError::Io { .. })));
}
