use std::{collections::BTreeMap, fs};

use odf_disk::Disk;

use super::{
    fences::Growing,
    form::{BLOCK_HEADER_BYTES, EARLIER_FENCE_BYTES, FILTER_BLOCK_BYTES, MAGIC, MAX_FENCES_BYTES, MAX_FILTER_BYTES},
    *,
};
use crate::block::sha2_256;

const LABEL: Label = Label {
    identity: 7,
    first: 3,
    last: 4,
    generation: 9,
};

const FORMS: [Form; 4] = [Form::Filtered, Form::Shared, Form::Whole, Form::Short];

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
        let mut writer = Writer::begin(&self.disk, self.dir.path(), LABEL, entries.len() as u64).unwrap();
        for (key, value) in entries {
            writer.push(key, value).unwrap();
        }
        writer.publish().unwrap();
        Arc::new(self.open().unwrap())
    }

    /// As an earlier version wrote it.
    fn write_earlier(&self, form: Form, entries: &BTreeMap<Vec<u8>, Vec<u8>>) -> Arc<Run> {
        let (mut blocks, mut block, mut in_block) = (Vec::new(), Vec::new(), 0_u16);
        let (mut growing, mut short) = (Growing::default(), Vec::new());
        let (mut last, mut tombstones): (Option<&[u8]>, u64) = (None, 0);
        let close = |block: &mut Vec<u8>, count: u16| {
            let mut bytes = [&count.to_le_bytes()[..], block].concat();
            bytes.resize(BLOCK_BYTES - 4, 0);
            block.clear();
            [&crc32fast::hash(&bytes).to_le_bytes()[..], &bytes].concat()
        };
        for (key, value) in entries {
            let lens = [key.len(), value.len()].map(|len| (len as u16).to_le_bytes()).concat();
            let entry = [&lens[..], key, value].concat();
            if BLOCK_HEADER_BYTES + block.len() + entry.len() > BLOCK_BYTES {
                blocks.extend(close(&mut block, std::mem::take(&mut in_block)));
            }
            if in_block == 0 {
                assert!(growing.begin(last, key));
                let mut fence = [0; EARLIER_FENCE_BYTES];
                fence.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
                short.extend(fence);
            }
            block.extend(entry);
            in_block += 1;
            last = Some(key);
            tombstones += u64::from(value.is_empty());
        }
        if in_block > 0 {
            blocks.extend(close(&mut block, in_block));
            assert!(growing.end(last.unwrap()));
        }
        let fences = if form == Form::Short {
            short
        } else {
            growing.into_encoded()
        };
        let footer = Footer {
            form,
            label: LABEL,
            entries: entries.len() as u64,
            tombstones,
            blocks: (blocks.len() / BLOCK_BYTES) as u32,
            resident: crc32fast::hash(&fences),
        };
        fs::write(self.path(), [blocks, fences, footer.encode()].concat()).unwrap();
        Arc::new(self.open().unwrap())
    }

    /// As the version before this one wrote it.
    fn write_without_filter(&self, entries: &BTreeMap<Vec<u8>, Vec<u8>>) -> Arc<Run> {
        let run = self.write(entries);
        let bytes = fs::read(self.path()).unwrap();
        let (blocks, rest) = bytes.split_at(run.blocks as usize * BLOCK_BYTES);
        let (resident, footer) = rest.split_at(rest.len() - FOOTER_BYTES);
        let (_, filter) = Fences::decode(Form::Filtered, run.blocks, resident).unwrap();
        let fences = &resident[..resident.len() - filter.len()];
        let footer = Footer {
            form: Form::Shared,
            resident: crc32fast::hash(fences),
            ..Footer::decode(footer.try_into().unwrap()).unwrap()
        };
        fs::write(self.path(), [blocks, fences, &footer.encode()].concat()).unwrap();
        Arc::new(self.open().unwrap())
    }

    fn write_as(&self, form: Form, entries: &BTreeMap<Vec<u8>, Vec<u8>>) -> Arc<Run> {
        match form {
            Form::Filtered => self.write(entries),
            Form::Shared => self.write_without_filter(entries),
            Form::Whole | Form::Short => self.write_earlier(form, entries),
        }
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

/// Keys of every kind, over many blocks.
fn many() -> BTreeMap<Vec<u8>, Vec<u8>> {
    let hashes = (0..20_000_u32).map(|n| (sha2_256(&n.to_le_bytes()).to_bytes(), vec![n as u8; n as usize % 40]));
    // Many keys that begin alike, over several blocks.
    let alike = (0..3_000_u32).map(|n| ([&[0x12, 0x20], &[5; 20][..], &n.to_be_bytes()].concat(), vec![1]));
    let odd = [0, 1, 7, 8, 9, MAX_ENTRY_BYTES].map(|len| (vec![0xff; len], vec![]));
    // Some that end in zeros, and names of files.
    let zeros = (0..400).map(|len| (vec![0; len], vec![7; 20]));
    let names = (0..2_000_u32).map(|n| {
        let name = n.wrapping_mul(2_654_435_761);
        let path = format!("datasets/fed0100112233445566778899aabbccddeeff/data/f1620{name:08x}");
        (path.into_bytes(), n.to_be_bytes().to_vec())
    });
    hashes.chain(alike).chain(odd).chain(zeros).chain(names).collect()
}

#[test]
fn what_was_written_is_found_and_nothing_else() {
    let entries = many();
    for form in FORMS {
        let place = Place::new();
        let run = place.write_as(form, &entries);
        check(&run, &entries);
        assert!(run.blocks as usize > 3 * BLOCKS_AT_ONCE);
        assert_eq!(fs::metadata(place.path()).unwrap().len(), run.bytes());
        for absent in [&b""[..], b"\xff\xff\xff", &sha2_256(b"absent").to_bytes()] {
            assert_eq!(run.get(absent).unwrap().as_ref(), entries.get(absent));
        }
        assert_eq!(run.label, LABEL);
    }
}

#[test]
fn a_walk_over_a_part_shows_that_part() {
    let entries = many();
    let keys: Vec<&Vec<u8>> = entries.keys().collect();
    for form in FORMS {
        let place = Place::new();
        let run = place.write_as(form, &entries);
        let walked = |from: &[u8], to: Option<&[u8]>| -> Vec<Pair> {
            let walked: Result<_, StoreError> = run.cursor_between(from, to).collect();
            walked.unwrap()
        };
        for step in 0..300 {
            let begin = step * 7919 % keys.len();
            let end = (begin + [0, 1, 2, 40, 3000][step % 5]).min(keys.len() - 1);
            let (mut from, to) = (keys[begin].clone(), keys[end]);
            if step % 3 == 0 && begin < end {
                from.push(0);
            }
            let part = entries.range(from.clone()..to.clone());
            let part: Vec<Pair> = part.map(|(key, value)| (key.clone(), value.clone())).collect();
            assert_eq!(walked(&from, Some(to)), part, "{form:?}, from {begin} to {end}");
        }
        let behind = [0xff; MAX_ENTRY_BYTES + 1];
        assert_eq!(walked(&behind, None), []);
        assert_eq!(walked(&[], Some(&[])), []);
        let last = keys[keys.len() - 1];
        assert_eq!(walked(last, None), [(last.clone(), entries[last].clone())]);
        assert_eq!(walked(&[], None).len(), entries.len());
    }
}

#[test]
fn a_run_may_be_empty() {
    let place = Place::new();
    let none = BTreeMap::new();
    for form in FORMS {
        let run = place.write_as(form, &none);
        check(&run, &none);
        assert_eq!(run.get(b"k").unwrap(), None);
        assert_eq!(run.cursor_between(b"k", None).count(), 0);
    }
}

#[test]
fn runs_have_a_fixed_form() {
    let place = Place::new();
    let long = [9; 200];
    place.write(&BTreeMap::from([
        (b"ab".to_vec(), b"cde".to_vec()),
        (b"abc".to_vec(), b"cxe".to_vec()),
        (b"b".to_vec(), vec![]),
        (b"bb".to_vec(), long.to_vec()),
    ]));
    let bytes = fs::read(place.path()).unwrap();
    let expected = [
        &b"\x04\0"[..],
        b"\x02\x03abcde",
        b"\x02\x01\x01\x01\x01cx",
        b"\0\x01\0\0\0b",
        b"\x01\x01\0\xc8\x01\0b",
        &long,
    ]
    .concat();
    let end = 4 + expected.len();
    assert_eq!(bytes[4..end], expected);
    assert!(bytes[end..BLOCK_BYTES].iter().all(|byte| *byte == 0));
    assert_eq!(bytes[..4], crc32fast::hash(&bytes[4..BLOCK_BYTES]).to_le_bytes());
    let tail = &bytes[BLOCK_BYTES..];
    let (resident, footer) = tail.split_at(8 + FILTER_BLOCK_BYTES);
    let (fences, filter) = resident.split_at(8);
    assert_eq!(fences, *b"\x02\0ab\x02\0bb");
    let words = filter
        .as_chunks()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word).count_ones());
    assert!(
        words.clone().count() == 8 && words.clone().all(|bits| (1..=4).contains(&bits)),
        "{filter:?}"
    );
    assert_eq!(footer[..16], *MAGIC);
    let numbers = [7, 3, 4, 9, 4, 1].map(u64::to_le_bytes).concat();
    assert_eq!(footer[16..64], numbers);
    assert_eq!(footer[64..68], [1, 0, 0, 0]);
    assert_eq!(footer[68..72], crc32fast::hash(resident).to_le_bytes());
    assert_eq!(footer[72..], crc32fast::hash(&footer[..72]).to_le_bytes());
    assert_eq!(name_of(3, 0x1f), "0000000000000003-000000000000001f.run");
}

/// The bytes that earlier versions wrote.
#[test]
fn runs_of_earlier_versions_have_a_fixed_form() {
    for (form, magic, fences) in [
        (Form::Whole, b"index run v2\r\n\0\xf0", &b"\x02\0ab\x01\0b"[..]),
        (Form::Short, b"index run v1\r\n\0\xf0", b"ab\0\0\0\0\0\0"),
    ] {
        let place = Place::new();
        place.write_as(
            form,
            &BTreeMap::from([(b"ab".to_vec(), b"c".to_vec()), (b"b".to_vec(), vec![])]),
        );
        let bytes = fs::read(place.path()).unwrap();
        assert_eq!(bytes[4..18], *b"\x02\0\x02\0\x01\0abc\x01\0\0\0b");
        assert!(bytes[18..BLOCK_BYTES].iter().all(|byte| *byte == 0));
        assert_eq!(bytes[..4], crc32fast::hash(&bytes[4..BLOCK_BYTES]).to_le_bytes());
        let (found, footer) = bytes[BLOCK_BYTES..].split_at(fences.len());
        assert_eq!(found, fences);
        assert_eq!(footer[..16], *magic);
        assert_eq!(footer[68..72], crc32fast::hash(fences).to_le_bytes());
        assert_eq!(footer[72..], crc32fast::hash(&footer[..72]).to_le_bytes());
    }
}

/// What an append writes beside very many others is for the most part entries that are merged once more.
#[test]
fn what_keys_and_values_share_is_not_written_for_each() {
    let path = |n: u32| {
        let hash: String = sha2_256(&n.to_le_bytes())
            .to_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let dataset = "fed0101cca4e3913cabeab1ebc6b9292c73cf3892e478961f39c38a3ad79678ae1f0b";
        format!("datasets/{dataset}/data/f{hash}").into_bytes()
    };
    let entry_of = |n: u32| {
        let begin = [0, 1, 7, 0, 0, 0];
        let offset = u64::from(n.wrapping_mul(7919) % (64 << 20));
        [
            &begin[..],
            &offset.to_le_bytes(),
            &(300 + n % 900).to_le_bytes(),
            &3_u64.to_le_bytes(),
        ]
        .concat()
    };
    let numbers = 0..20_000_u32;
    let maps = [
        (
            "paths",
            numbers.clone().map(|n| (path(n), n.to_be_bytes().to_vec())).collect(),
            80,
        ),
        (
            "files",
            numbers.clone().map(|n| (n.to_be_bytes().to_vec(), path(n))).collect(),
            80,
        ),
        (
            "blocks",
            numbers
                .map(|n| (sha2_256(&n.to_be_bytes()).to_bytes(), entry_of(n)))
                .collect(),
            48,
        ),
    ];
    for (name, entries, most) in maps {
        let entries: BTreeMap<Vec<u8>, Vec<u8>> = entries;
        let place = Place::new();
        let run = place.write(&entries);
        check(&run, &entries);
        let each = run.bytes() / run.entries;
        assert!(each <= most, "{name}: {each} bytes an entry, {most} wanted");
    }
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
    for form in FORMS {
        damage_is_noticed(form);
    }
}

fn damage_is_noticed(form: Form) {
    let entries: BTreeMap<Vec<u8>, Vec<u8>> = (0..150_u32)
        .map(|n| (sha2_256(&n.to_le_bytes()).to_bytes(), vec![n as u8; 20]))
        .collect();
    let place = Place::new();
    place.write_as(form, &entries);
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

/// So that an index is made again by a version that cannot read it.
#[test]
fn a_run_of_a_later_version_is_damage() {
    let place = Place::new();
    place.write(&BTreeMap::from([(b"k".to_vec(), b"v".to_vec())]));
    let bytes = fs::read(place.path()).unwrap();
    let (before, footer) = bytes.split_at(bytes.len() - FOOTER_BYTES);
    let footer = &footer[..FOOTER_BYTES - 4];
    let later = [b"index run v5\r\n\0\xf0", &footer[MAGIC.len()..]].concat();
    for (footer, is_read) in [(footer, true), (&later, false)] {
        let check = crc32fast::hash(footer).to_le_bytes();
        fs::write(place.path(), [before, footer, &check].concat()).unwrap();
        match place.open() {
            Ok(_) => assert!(is_read),
            Err(error) => assert!(!is_read && matches!(error, StoreError::IndexDamaged)),
        }
    }
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
    let mut writer = Writer::begin(&place.disk, place.dir.path(), LABEL, 1).unwrap();
    writer.push(&[0; MAX_ENTRY_BYTES - 1], &[1]).unwrap();
    let refused = writer.push(&[1; MAX_ENTRY_BYTES], &[1]).unwrap_err();
    assert!(matches!(
        refused,
        StoreError::EntryTooLarge {
            limit: MAX_ENTRY_BYTES,
            ..
        }
    ));
    let footer = |form, blocks| Footer {
        form,
        label: LABEL,
        entries: 0,
        tombstones: 0,
        blocks,
        resident: 0,
    };
    let bytes = |form, blocks, body| footer(form, blocks).resident_bytes(body);
    let of_blocks = u64::from(MAX_BLOCKS) * BLOCK_BYTES as u64;
    let most = MAX_FENCES_BYTES as u64;
    assert_eq!(
        bytes(Form::Shared, MAX_BLOCKS, of_blocks + most),
        Some(MAX_FENCES_BYTES)
    );
    assert_eq!(bytes(Form::Shared, MAX_BLOCKS, of_blocks + most + 1), None);
    assert_eq!(bytes(Form::Shared, MAX_BLOCKS, of_blocks - 1), None);
    let with_filter = of_blocks + most + MAX_FILTER_BYTES as u64;
    assert!(bytes(Form::Filtered, MAX_BLOCKS, with_filter).is_some());
    assert_eq!(bytes(Form::Filtered, MAX_BLOCKS, with_filter + 1), None);
    let one_more = of_blocks + BLOCK_BYTES as u64;
    assert_eq!(bytes(Form::Shared, MAX_BLOCKS + 1, one_more + most), None);
    let short = EARLIER_FENCE_BYTES as u64 * u64::from(MAX_BLOCKS);
    assert!(bytes(Form::Short, MAX_BLOCKS, of_blocks + short).is_some());
    assert_eq!(bytes(Form::Short, MAX_BLOCKS, of_blocks + short + 1), None);
    assert_eq!(bytes(Form::Short, MAX_BLOCKS + 1, one_more + short + 8), None);
    for body in [0, u64::MAX] {
        assert_eq!(bytes(Form::Shared, 1, body), None);
    }
    let contradicts = Footer {
        tombstones: 1,
        ..footer(Form::Whole, 0)
    };
    let decoded = |footer: Footer| Footer::decode(&footer.encode().try_into().unwrap());
    assert_eq!(decoded(contradicts), None);
    for form in FORMS {
        assert_eq!(decoded(footer(form, 5)), Some(footer(form, 5)));
    }
}

/// Blocks that cannot be read show whether they are read.
#[test]
fn what_the_filter_rules_out_is_not_read_for() {
    let place = Place::new();
    let of = |number: u32| sha2_256(&number.to_le_bytes()).to_bytes();
    let run = place.write(&(0..5_000).map(|number| (of(number), vec![1])).collect());
    let mut bytes = fs::read(place.path()).unwrap();
    bytes[..run.blocks as usize * BLOCK_BYTES].fill(0xff);
    fs::write(place.path(), bytes).unwrap();
    let run = place.open().unwrap();
    assert!(run.get(&of(7)).is_err());
    let read = (5_000..15_000).filter(|number| run.get(&of(*number)).is_err()).count();
    assert!(read < 200, "{read} of 10,000");
}
