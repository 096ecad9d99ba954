//! The journal of pins, read again, damaged, and cut.

use std::{collections::BTreeSet, fs};

use super::*;
use crate::block::{Block, RAW};

fn pin(owner: &str, seed: u8) -> Pin {
    let cid = *Block::new(RAW, vec![seed]).unwrap().cid();
    Pin {
        owner: owner.to_owned(),
        cid,
    }
}

fn insert(pins: &Pins, pin: &Pin) {
    pins.insert(&pin.owner, &[pin.cid]).unwrap();
}

fn open(path: &Path) -> (Pins, u64) {
    Pins::open(&Disk::new(), path).unwrap()
}

#[test]
fn the_journal_is_the_truth_and_a_damaged_line_is_no_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pins");
    let (pins, _) = open(&path);
    for n in 0..3 {
        insert(&pins, &pin("a long owner", n));
        insert(&pins, &pin("a long owner", n));
    }
    assert!(pins.remove(&pin("a long owner", 1)).unwrap());
    assert!(!pins.remove(&pin("a long owner", 1)).unwrap());
    let kept = [pin("a long owner", 0), pin("a long owner", 2)];
    let mut expected = kept.to_vec();
    expected.sort();
    assert_eq!(open(&path).0.list(None), expected);
    let text = fs::read(&path).unwrap();

    // Cut within the owner's name, which must not become another owner.
    let cut = text.iter().rposition(|byte| *byte == b'\t').unwrap() - 2;
    fs::write(&path, &text[..cut]).unwrap();
    let (pins, unreadable) = open(&path);
    assert_eq!((pins.len(), unreadable), (3, 1));
    insert(&pins, &pin("new", 9));
    let (pins, unreadable) = open(&path);
    assert_eq!((pins.len(), unreadable), (4, 1), "the next line stands alone");

    let mut holed = text.clone();
    let first = HEADER.len();
    holed[first..first + 30].fill(0);
    fs::write(&path, &holed).unwrap();
    let (pins, unreadable) = open(&path);
    assert_eq!((pins.list(None), unreadable), (vec![kept[1].clone()], 1));
}

#[test]
fn the_trail_is_another_one_when_a_line_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pins");
    let (pins, _) = open(&path);
    let mut trails = vec![pins.trail()];
    for n in 0..4 {
        insert(&pins, &pin("a", n));
        trails.push(pins.trail());
    }
    assert!(pins.remove(&pin("a", 2)).unwrap());
    trails.push(pins.trail());
    assert_eq!(open(&path).0.trail(), pins.trail(), "it follows from the file");
    let mut different = trails.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), trails.len(), "another one after each change");
    // Without the last line, cut off or zeros, it is the one before; without another line it is one that never was.
    let text = fs::read(&path).unwrap();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let before = text.len() - lines[lines.len() - 1].len();
    for tail in [Vec::new(), vec![0; text.len() - before]] {
        fs::write(&path, [&text[..before], &tail[..]].concat()).unwrap();
        assert_eq!(open(&path).0.trail(), trails[trails.len() - 2]);
    }
    for lost in 1..lines.len() - 1 {
        let rest = lines.iter().enumerate().filter(|(at, _)| *at != lost);
        fs::write(&path, rest.flat_map(|(_, line)| line.to_vec()).collect::<Vec<u8>>()).unwrap();
        assert!(!trails.contains(&open(&path).0.trail()), "line {lost}");
    }
}

#[test]
fn the_pins_of_one_owner_are_found_among_those_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let (pins, _) = open(&dir.path().join("pins"));
    let old = *Block::new_v0(vec![1]).unwrap().cid();
    for owner in ["a", "b", "bb", "c"] {
        for n in 0..3 {
            insert(&pins, &pin(owner, n));
        }
        pins.insert(owner, &[old]).unwrap();
    }
    for owner in ["", "a", "b", "bb", "c", "d"] {
        let mut all = pins.list(None);
        all.retain(|pin| pin.owner == owner);
        assert_eq!(all.len(), if ["", "d"].contains(&owner) { 0 } else { 4 });
        assert!(all.iter().all(|pin| pins.contains(pin)) && !pins.contains(&pin(owner, 9)));
        assert_eq!(pins.list(Some(owner)), all, "{owner:?}");
    }
}

/// So many pins that the journal is written anew with the last of them.
const MANY: u64 = JOURNAL_SLACK_LINES + JOURNAL_SLACK_LINES / (SLACK_PART - 1) + 1;

/// A journal that was written anew with pins of 40 owners, and some changes behind.
fn long(path: &Path) -> Pins {
    let (pins, _) = open(path);
    for n in 0..MANY {
        insert(&pins, &pin(&format!("owner {}", n % 40), (n / 40) as u8));
    }
    assert_eq!(pins.state().known.changes.len(), 0, "written anew");
    assert!(pins.remove(&pin("owner 7", 3)).unwrap());
    insert(&pins, &pin("owner 7", 200));
    insert(&pins, &pin("another", 1));
    assert!(pins.remove(&pin("another", 1)).unwrap());
    assert!(pins.remove(&pin("owner 8", 0)).unwrap());
    insert(&pins, &pin("owner 8", 0));
    pins
}

#[test]
fn a_journal_that_was_written_anew_says_the_same_as_its_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pins");
    let pins = long(&path);
    let mut expected: BTreeSet<Pin> = (0..MANY)
        .map(|n| pin(&format!("owner {}", n % 40), (n / 40) as u8))
        .collect();
    expected.remove(&pin("owner 7", 3));
    expected.insert(pin("owner 7", 200));
    let expected: Vec<Pin> = expected.into_iter().collect();
    let (again, unreadable) = open(&path);
    assert_eq!((again.state().known.sorted.pins, unreadable), (MANY, 0));
    for pins in [&pins, &again] {
        assert_eq!(pins.list(None), expected);
        assert_eq!(pins.len(), expected.len());
        for owner in (0..40)
            .map(|n| format!("owner {n}"))
            .chain(["owner".into(), "another".into(), "p".into()])
        {
            let of: Vec<&Pin> = expected.iter().filter(|pin| pin.owner == owner).collect();
            assert_eq!(pins.list(Some(&owner)).iter().collect::<Vec<_>>(), of, "{owner}");
            for n in 0..=255 {
                let pin = pin(&owner, n);
                assert_eq!(pins.contains(&pin), of.contains(&&pin), "{owner} {n}");
            }
        }
    }
    assert_eq!(again.trail(), pins.trail());
}

#[test]
fn damage_in_what_was_written_anew_costs_the_lines_that_it_is_in() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pins");
    let pins = long(&path);
    let (all, text) = (pins.list(None), fs::read(&path).unwrap());
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    // The line that tells of the part, and one that is in it.
    let part: usize = lines[..2].iter().map(|line| line.len()).sum();
    let within = lines[..500].iter().map(|line| line.len()).sum::<usize>() + 5;
    for (at, lost) in [(part - 3, 0), (within, 1)] {
        let mut damaged = text.clone();
        damaged[at] ^= 1;
        fs::write(&path, damaged).unwrap();
        let (pins, unreadable) = open(&path);
        assert_eq!(all.len() - pins.len(), lost);
        // The line that tells of the part says nothing now.
        assert_eq!(unreadable, 1 + lost as u64);
        assert!(pins.list(None).iter().all(|pin| all.contains(pin)));
    }
    // Every line that is lost is missed.
    for lost in [1, 2, 600, lines.len() - 1] {
        let rest = lines.iter().enumerate().filter(|(at, _)| *at != lost);
        fs::write(&path, rest.flat_map(|(_, line)| line.to_vec()).collect::<Vec<u8>>()).unwrap();
        assert_ne!(open(&path).0.trail(), pins.trail(), "line {lost}");
    }
}

#[test]
fn a_line_that_could_not_be_written_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pins");
    let recorder = odf_disk::crash::Recorder::new(dir.path());
    let (pins, _) = Pins::open(&Disk::with(recorder.clone()), &path).unwrap();
    insert(&pins, &pin("a", 1));
    recorder.set_refusal(odf_disk::crash::Refusal::Once(0), std::io::ErrorKind::StorageFull);
    assert!(matches!(pins.remove(&pin("a", 1)), Err(StoreError::Full { .. })));
    assert_eq!(pins.list(None), [pin("a", 1)], "memory says what the journal says");
    insert(&pins, &pin("b", 1));
    assert_eq!(open(&path).0.list(None), [pin("a", 1), pin("b", 1)]);
}

#[test]
fn many_roots_are_one_write_and_those_that_are_there_no_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pins");
    let recorder = odf_disk::crash::Recorder::new(dir.path());
    let (pins, _) = Pins::open(&Disk::with(recorder.clone()), &path).unwrap();
    let roots: Vec<Cid> = (0..200).map(|n| pin("a", n).cid).collect();
    let before = recorder.calls();
    pins.insert("a", &roots).unwrap();
    pins.insert("a", &roots).unwrap();
    assert_eq!((recorder.calls() - before, pins.len()), (1, 200));
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1 + 200);
    assert_eq!(open(&path).0.list(None), pins.list(None));
}

#[test]
fn a_journal_of_the_old_form_is_taken_over_and_a_long_one_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pins");
    let kept = pin("an owner", 1);
    fs::write(&path, format!("+ {0} an owner\n+ {0} x\nnonsense\n- {0} x", kept.cid)).unwrap();
    let (pins, unreadable) = open(&path);
    assert_eq!((pins.list(None), unreadable), (vec![kept.clone()], 1));
    for n in 0..JOURNAL_SLACK_LINES {
        insert(&pins, &pin("x", n as u8));
        pins.remove(&pin("x", n as u8)).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap().lines().count() as u64 <= JOURNAL_SLACK_LINES + 4);
    assert_eq!(open(&path).0.list(None), [kept]);
}

#[test]
fn many_at_once_agree_with_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pins");
    let (pins, _) = open(&path);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let pins = &pins;
            scope.spawn(move || {
                for n in 0..600_u32 {
                    let one = pin("shared", (n % 7) as u8);
                    if (n + thread) % 2 == 0 {
                        insert(pins, &one);
                    } else {
                        pins.remove(&one).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(open(&path).0.list(None), pins.list(None));
}

#[test]
fn a_name_stays_with_its_pin_and_one_byte_over_the_limit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pins");
    let (pins, _) = open(&path);
    let names = [
        "plain",
        "",
        "two words",
        "a\tb\nc %25%",
        "\u{fc}\0\u{7f}",
        &"n".repeat(MAX_PIN_NAME_BYTES),
    ];
    let named: Vec<Pin> = (0..).zip(names).map(|(n, _)| pin("a", n)).collect();
    let check = |pins: &Pins, names: &[&str]| {
        for (pin, name) in named.iter().zip(names) {
            assert_eq!(pins.name(pin).as_deref(), Some(*name));
        }
        assert_eq!(pins.name(&pin("b", 0)), None);
        let mut listed = pins.names("a");
        let of = named.iter().zip(names).filter(|(_, name)| !name.is_empty());
        let mut expected: Vec<(Cid, String)> = of.map(|(pin, name)| (pin.cid, (*name).to_owned())).collect();
        listed.sort();
        expected.sort();
        assert_eq!(listed, expected);
        assert_eq!((pins.len(), pins.list(Some("a")).len()), (named.len(), named.len()));
    };
    for (pin, name) in named.iter().zip(names) {
        pins.insert_named("a", &[pin.cid], name).unwrap();
    }
    check(&pins, &names);
    check(&open(&path).0, &names);
    // Who only wants it kept says nothing of its name; who names it anew does, and a name goes with its pin.
    let before = fs::read(&path).unwrap();
    pins.insert("a", &[named[0].cid]).unwrap();
    pins.insert_named("a", &[named[2].cid], "two words").unwrap();
    assert_eq!(fs::read(&path).unwrap(), before, "nothing has changed");
    pins.insert_named("a", &[named[0].cid], "other").unwrap();
    pins.insert_named("a", &[named[2].cid], "").unwrap();
    assert!(pins.remove(&named[3]).unwrap());
    insert(&pins, &named[3]);
    let after = ["other", "", "", "", names[4], names[5]];
    check(&pins, &after);
    let (pins, unreadable) = open(&path);
    assert_eq!(unreadable, 0);
    check(&pins, &after);
    let too_long = pins.insert_named("a", &[named[0].cid], &"n".repeat(MAX_PIN_NAME_BYTES + 1));
    assert!(matches!(too_long, Err(StoreError::PinNameTooLong { bytes: 256, .. })));
    // Written anew, it is the same.
    let mut state = pins.state();
    state.known = state.known.write_anew(&Disk::new(), &path).unwrap();
    drop(state);
    check(&pins, &after);
    check(&open(&path).0, &after);
    assert!(pins.contains(&named[0]) && !pins.contains(&pin("a\tother", 0)));
}
