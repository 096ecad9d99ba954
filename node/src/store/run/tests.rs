use std::{collections::BTreeMap, fs};

use super::*;
use crate::block::sha2_256;

const LABEL: Label = Label {
    identity: 7,
    first: 3,
    last: 4,
    generation: 9,
};

struct Place {
    dir: tempfile::TempDir,
    disk: Disk,
    guard: Guard,
}

impl Place {
    fn new() -> Self {
        let (dir, disk) = (tempfile::tempdir().unwrap(), Disk::new());
        let guard = Guard::new(&disk, dir.path(), &dir.path().join("damaged"), 0);
        Self { dir, disk, guard }
    }

    fn write(&self, entries: &BTreeMap<Vec<u8>, Vec<u8>>) -> Arc<Run> {
        let mut writer = Writer::begin(&self.disk, self.dir.path(), LABEL).unwrap();
        for (key, value) in entries {
            writer.push(key, value).unwrap();
        }
        writer.publish().unwrap();
        Arc::new(self.open().unwrap())
    }

    fn open(&self) -> Result<Run, StoreError> {
        Run::open(&self.guard, self.dir.path(), LABEL.identity, LABEL.first, LABEL.last)
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join(name_of(LABEL.first, LABEL.last))
    }
}

fn check(run: &Arc<Run>, entries: &BTreeMap<Vec<u8>, Vec<u8>>) {
    for (key, value) in entries {
        assert_eq!(run.get(key).unwrap().as_ref(), Some(value));
        // What lies just before and behind a key is not there.
        let mut behind = key.clone();
        behind.push(0);
        let before = key.split_last().map(|(_, before)| before.to_vec()).unwrap_or_default();
        for other in [behind, before] {
            assert_eq!(run.get(&other).unwrap().as_ref(), entries.get(&other));
        }
    }
    let walked: Result<Vec<Pair>, StoreError> = run.cursor().collect();
    let all: Vec<Pair> = entries
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    assert_eq!(walked.unwrap(), all);
    assert_eq!(run.entries, entries.len() as u64);
    assert_eq!(
        run.tombstones,
        entries.values().filter(|value| value.is_empty()).count() as u64
    );
}

#[test]
fn what_was_written_is_found_and_nothing_else() {
    let hashes = (0..20_000_u32).map(|n| (sha2_256(&n.to_le_bytes()).to_bytes(), vec![n as u8; n as usize % 40]));
    // Many keys that begin alike, over several blocks.
    let alike = (0..3_000_u32).map(|n| ([&[0x12, 0x20], &[5; 20][..], &n.to_be_bytes()].concat(), vec![1]));
    let odd = [0, 1, 7, 8, 9, MAX_ENTRY_BYTES].map(|len| (vec![0xff; len], vec![]));
    let place = Place::new();
    let entries = hashes.chain(alike).chain(odd).collect();
    let run = place.write(&entries);
    check(&run, &entries);
    assert!(run.blocks as usize > 3 * BLOCKS_AT_ONCE);
    assert_eq!(fs::metadata(place.path()).unwrap().len(), run.bytes());
    for absent in [&b""[..], b"\xff\xff\xff", &sha2_256(b"absent").to_bytes()] {
        assert_eq!(run.get(absent).unwrap().as_ref(), entries.get(absent));
    }
    assert_eq!(run.label, LABEL);
}

#[test]
fn a_run_may_be_empty() {
    let place = Place::new();
    let none = BTreeMap::new();
    check(&place.write(&none), &none);
    assert_eq!(place.open().unwrap().get(b"k").unwrap(), None);
}

#[test]
fn runs_have_a_fixed_form() {
    let place = Place::new();
    place.write(&BTreeMap::from([
        (b"ab".to_vec(), b"c".to_vec()),
        (b"b".to_vec(), vec![]),
    ]));
    let bytes = fs::read(place.path()).unwrap();
    assert_eq!(bytes[4..17], *b"\x02\0\x02\0\x01\0abc\x01\0\0\0");
    assert_eq!(bytes[17], b'b');
    assert!(bytes[18..BLOCK_BYTES].iter().all(|byte| *byte == 0));
    assert_eq!(bytes[..4], crc32fast::hash(&bytes[4..BLOCK_BYTES]).to_le_bytes());
    let tail = &bytes[BLOCK_BYTES..];
    assert_eq!(tail[..8], *b"ab\0\0\0\0\0\0");
    assert_eq!(tail[8..24], *MAGIC);
    let numbers = [7, 3, 4, 9, 2, 1].map(u64::to_le_bytes).concat();
    assert_eq!(tail[24..72], numbers);
    assert_eq!(tail[72..76], [1, 0, 0, 0]);
    assert_eq!(tail[76..80], crc32fast::hash(&tail[..8]).to_le_bytes());
    assert_eq!(tail[80..], crc32fast::hash(&tail[8..80]).to_le_bytes());
    assert_eq!(name_of(3, 0x1f), "0000000000000003-000000000000001f.run");
}

#[test]
fn names_that_are_none_of_ours_are_none() {
    assert_eq!(folds_of(&name_of(1, u64::MAX)), Some((1, u64::MAX)));
    for name in [
        "",
        ".run",
        "-.run",
        "1-2.run",
        "000000000000000A-000000000000000b.run",
        "+000000000000001-0000000000000002.run",
        "0000000000000001-0000000000000002.run~",
        ".pending-0000000000000001-0000000000000002.run",
    ] {
        assert_eq!(folds_of(name), None, "{name}");
    }
}

/// Whatever single byte is wrong, and wherever the file is cut: an error that says so, or the right values.
#[test]
fn damage_is_noticed_wherever_it_is() {
    let entries: BTreeMap<Vec<u8>, Vec<u8>> = (0..150_u32)
        .map(|n| (sha2_256(&n.to_le_bytes()).to_bytes(), vec![n as u8; 20]))
        .collect();
    let place = Place::new();
    place.write(&entries);
    let whole = fs::read(place.path()).unwrap();
    assert!(whole.len() > 2 * BLOCK_BYTES);
    let tail = whole.len() - 2 * BLOCK_BYTES;
    let noticed = |bytes: &[u8]| {
        fs::write(place.path(), bytes).unwrap();
        let _ = fs::remove_file(place.dir.path().join("damaged"));
        let run = match place.open() {
            Err(error) => return matches!(error, StoreError::IndexDamaged),
            Ok(run) => Arc::new(run),
        };
        let mut noticed = false;
        for (key, value) in &entries {
            match run.get(key) {
                Err(StoreError::IndexDamaged) => noticed = true,
                found => assert_eq!(found.unwrap().as_ref(), Some(value)),
            }
        }
        noticed && run.cursor().any(|entry| entry.is_err()) && place.dir.path().join("damaged").exists()
    };
    for at in (0..whole.len()).filter(|at| at % 61 == 0 || whole.len() - at <= tail) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        assert!(noticed(&bytes), "byte {at} of {}", whole.len());
    }
    for len in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
        assert!(noticed(&whole[..len]), "cut to {len}");
    }
    assert!(noticed(&[&whole[..], &whole[..]].concat()));
    assert!(!noticed(&whole));
}

#[test]
fn a_run_of_another_index_or_name_is_damage() {
    let place = Place::new();
    place.write(&BTreeMap::new());
    let open = |identity, first, last| Run::open(&place.guard, place.dir.path(), identity, first, last);
    assert!(open(7, 3, 4).is_ok());
    fs::copy(place.path(), place.dir.path().join(name_of(3, 5))).unwrap();
    for (identity, first, last) in [(8, 3, 4), (7, 3, 5), (7, 1, 2)] {
        assert!(matches!(open(identity, first, last), Err(StoreError::IndexDamaged)));
    }
}

#[test]
fn limits() {
    let place = Place::new();
    let mut writer = Writer::begin(&place.disk, place.dir.path(), LABEL).unwrap();
    writer.push(&[0; MAX_ENTRY_BYTES - 1], &[1]).unwrap();
    let refused = writer.push(&[1; MAX_ENTRY_BYTES], &[1]).unwrap_err();
    assert!(matches!(
        refused,
        StoreError::EntryTooLarge {
            limit: MAX_ENTRY_BYTES,
            ..
        }
    ));
    let len = |blocks: u64| blocks * (BLOCK_BYTES + FENCE_BYTES) as u64 + FOOTER_BYTES as u64;
    assert_eq!(blocks_of(len(MAX_BLOCKS.into())), Some(MAX_BLOCKS));
    for wrong in [0, len(0) - 1, len(1) + 1, len(u64::from(MAX_BLOCKS) + 1), u64::MAX] {
        assert_eq!(blocks_of(wrong), None, "{wrong}");
    }
}
