//! The index of a chain beside the chain: it says the same, or nothing.

use super::super::index::{FILE, MIN_BLOCKS, Record};
use super::super::reading::ChainReader;
use super::*;
use crate::verify::{Depth, verify};
use crate::{Datasets, NoMirror};
use odf_metadata::codec::EncodedBlock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Blocks behind those that [`make`] makes, so that there is an index.
const MORE: usize = 2 * MIN_BLOCKS as usize;

/// What a header and a record take up.
const HEADER: usize = 64;
const RECORD: usize = 144;

/// The time of all blocks but the first, which must not go backwards.
fn late() -> Timestamp {
    time(1_000_000)
}

/// Changes a dataset that others open meanwhile: whoever opens it finishes a history that is being replaced, and has the
/// lock for that.
fn when_free(mut change: impl FnMut() -> Result<(), DatasetError>) {
    loop {
        match change() {
            Err(DatasetError::Busy { .. }) => std::thread::yield_now(),
            done => return done.unwrap(),
        }
    }
}

fn infos(dataset: &mut Dataset, from: usize, count: usize) {
    let events = (from..from + count).map(|n| info(&n.to_string())).collect();
    dataset.append_events(events, late(), None).unwrap();
}

fn grow(dataset: &mut Dataset, from: u64, to: u64) {
    let (slice, event) = rows(dataset.disk(), &dataset.data_dir(), from, to);
    dataset.append_events(vec![event], late(), Some(slice)).unwrap();
}

/// A dataset long enough to have an index, with some slices, and the path of its index, which is made.
fn long(dir: &Path) -> (Dataset, std::path::PathBuf) {
    let mut dataset = make(&open(dir));
    infos(&mut dataset, 0, MORE);
    grow(&mut dataset, 3, 5);
    infos(&mut dataset, MORE, 3);
    grow(&mut dataset, 5, 6);
    let path = dataset.dir().join(FILE);
    assert!(!path.exists(), "nobody wanted it");
    agree(&dataset);
    assert!(path.exists());
    (dataset, path)
}

/// Whatever can be asked is answered as the chain from its beginning says.
fn agree(dataset: &Dataset) {
    let chain: Vec<StoredBlock> = dataset.blocks_after(None).unwrap().map(Result::unwrap).collect();
    let forwards: Vec<StoredBlock> = dataset.blocks().unwrap().map(Result::unwrap).collect();
    assert_eq!(forwards, chain);
    let mut backwards: Vec<StoredBlock> = dataset.blocks().unwrap().rev().map(Result::unwrap).collect();
    backwards.reverse();
    assert_eq!(backwards, chain);
    let every = (chain.len() / 23).max(1);
    for (sequence, stored) in chain
        .iter()
        .enumerate()
        .step_by(every)
        .chain(chain.iter().enumerate().last())
    {
        assert_eq!(
            dataset.block_by_hash(stored.block.hash()).unwrap().as_ref(),
            Some(stored)
        );
        assert_eq!(
            dataset.block_by_sequence(sequence as u64).unwrap().as_ref(),
            Some(stored)
        );
    }
    let names: Vec<(Multihash, BlockPlace)> = chain
        .iter()
        .map(|stored| (*stored.block.hash(), stored.place))
        .collect();
    let from = chain.len() / 3;
    let found: Vec<(Multihash, BlockPlace)> = dataset.names_from(from as u64).unwrap().map(Result::unwrap).collect();
    assert_eq!(found, names[from..]);
    let mut reader = ChainReader::of(dataset).unwrap();
    for (sequence, (hash, _)) in (0..).zip(&names) {
        assert_eq!(reader.hash(sequence).unwrap(), *hash);
    }
    assert_eq!(dataset.block_by_hash(&Multihash::sha3_256(b"other")).unwrap(), None);
    assert_eq!(dataset.block_by_sequence(chain.len() as u64).unwrap(), None);
    let slices: Vec<DataSlice> = chain
        .iter()
        .filter_map(|stored| stored.block.block().event.new_data().cloned())
        .collect();
    assert_eq!(dataset.slices().unwrap(), slices);
    check_complete(dataset);
}

/// How many records are in a file.
fn records(path: &Path) -> usize {
    (fs::metadata(path).unwrap().len() as usize - HEADER) / RECORD
}

#[test]
fn a_short_chain_has_no_index_and_an_append_goes_on_with_that_of_a_long_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut dataset = make(&open(dir.path()));
    let path = dataset.dir().join(FILE);
    infos(&mut dataset, 0, MIN_BLOCKS as usize - 1 - 3);
    agree(&dataset);
    assert!(!path.exists(), "one too few");
    infos(&mut dataset, MIN_BLOCKS as usize, 1);
    agree(&dataset);
    assert_eq!(records(&path), MIN_BLOCKS as usize);
    // From now on each append writes its own records, and one read says so without the chain.
    for n in 0..70 {
        infos(&mut dataset, 1000 + 10 * n, 1 + n % 3);
        assert_eq!(records(&path) as u64, dataset.state().blocks());
    }
    agree(&dataset);
}

#[test]
fn what_is_new_is_read_without_the_rest_of_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let (mut dataset, path) = long(dir.path());
    let places = dataset.places().unwrap();
    let (newest, slices) = (
        dataset.block_by_sequence(places.len() as u64 - 1).unwrap(),
        dataset.slices().unwrap(),
    );
    // Nothing of the older blocks, nor of their records, is there any more.
    let first_kept = places.len() - 20;
    let whole_chain = fs::read(dataset.chain_path()).unwrap();
    let mut chain = whole_chain.clone();
    chain[..places[first_kept].offset as usize - 4].fill(0);
    fs::write(dataset.chain_path(), chain).unwrap();
    let (whole, lost) = (fs::read(&path).unwrap(), first_kept - first_kept % 64);
    assert_eq!(dataset.slices().unwrap(), slices, "the blocks are not read for them");
    let mut index = whole.clone();
    index[HEADER..HEADER + lost * RECORD].fill(0);
    fs::write(&path, &index).unwrap();

    let shown: Vec<StoredBlock> = dataset.blocks().unwrap().rev().take(5).map(Result::unwrap).collect();
    assert_eq!(shown.first(), newest.as_ref());
    for stored in &shown {
        assert_eq!(
            dataset.block_by_hash(stored.block.hash()).unwrap().as_ref(),
            Some(stored)
        );
    }
    assert_eq!(offsets(&dataset, 1), [5]);
    assert_eq!(dataset.lacking(Some(10)).unwrap(), []);
    grow(&mut dataset, 6, 8);
    assert_eq!(offsets(&dataset, 3), [5, 6, 7]);
    assert_eq!(records(&path) as u64, dataset.state().blocks());

    // What was asked for was not made good behind anybody's back, and can be.
    let mut chain = fs::read(dataset.chain_path()).unwrap();
    chain[..whole_chain.len()].copy_from_slice(&whole_chain);
    fs::write(dataset.chain_path(), chain).unwrap();
    agree(&dataset);
}

#[test]
fn an_index_that_is_older_newer_torn_or_of_another_dataset_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let (mut dataset, path) = long(dir.path());
    let older = fs::read(&path).unwrap();
    infos(&mut dataset, 5000, 40);
    grow(&mut dataset, 6, 9);
    agree(&dataset);
    let whole = fs::read(&path).unwrap();
    assert!(whole.starts_with(&older) && whole.len() > older.len());

    let elsewhere = tempfile::tempdir().unwrap();
    let other = {
        let catalog = open(elsewhere.path());
        let staged = catalog
            .stage(DatasetId::from_public_key([8; 32]), &"d".parse().unwrap())
            .unwrap();
        let events = (0..dataset.state().blocks() - 1)
            .map(|n| info(&n.to_string()))
            .collect();
        let (other, _) = staged.install_events(DatasetKind::Root, events, time(0), None).unwrap();
        agree(&other);
        fs::read(other.dir().join(FILE)).unwrap()
    };
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        bytes
    };
    let end = whole.len();
    let mut cases = vec![
        ("none", Vec::new()),
        ("older", older.clone()),
        ("older and torn", older[..older.len() - 7].to_vec()),
        ("of another dataset", other.clone()),
        (
            "with the header of another",
            with(&|bytes| bytes[..HEADER].copy_from_slice(&other[..HEADER])),
        ),
        (
            "with records of another",
            with(&|bytes| bytes[end - RECORD..].copy_from_slice(&other[other.len() - RECORD..])),
        ),
        ("longer", with(&|bytes| bytes.extend([7; 3 * RECORD + 5]))),
        ("shorter by a part", whole[..end - 1].to_vec()),
        ("only a header", whole[..HEADER].to_vec()),
        ("less than a header", whole[..HEADER - 1].to_vec()),
        ("zeros", vec![0; end]),
        (
            "with two records in each other's place",
            with(&|bytes| {
                let (one, two) = (HEADER + 10 * RECORD, HEADER + 11 * RECORD);
                let first = bytes[one..two].to_vec();
                bytes.copy_within(two..two + RECORD, one);
                bytes[two..two + RECORD].copy_from_slice(&first);
            }),
        ),
    ];
    // Pages that did not reach the medium, at the end, in the middle, at the beginning.
    for page in [0, 4096, 8192, end / 4096 * 4096] {
        cases.push((
            "with a hole",
            with(&|bytes| bytes[page..(page + 4096).min(end)].fill(0)),
        ));
    }
    for byte in [8, HEADER - 1, HEADER, HEADER + 40, end - RECORD, end - 1] {
        cases.push(("with a flipped bit", with(&|bytes| bytes[byte] ^= 4)));
    }
    for (what, bytes) in cases {
        fs::write(&path, bytes).unwrap();
        println!("{what}");
        agree(&dataset);
        agree(&open(dir.path()).find("d").unwrap());
    }
    fs::remove_file(&path).unwrap();
    agree(&dataset);
    assert_eq!(fs::read(&path).unwrap(), whole, "it follows from the chain");

    // A history that was put back by hand under an index that knows more.
    let kept = dataset.places().unwrap()[200];
    let head = *dataset.block_by_sequence(200).unwrap().unwrap().block.hash();
    let chain = fs::read(dataset.chain_path()).unwrap();
    fs::write(dataset.chain_path(), &chain[..kept.end() as usize]).unwrap();
    fs::write(dataset.dir().join("refs/head"), head.to_string()).unwrap();
    let mut back = open(dir.path()).find("d").unwrap();
    assert_eq!(back.state().blocks(), 201);
    let shown: Vec<StoredBlock> = back.blocks().unwrap().rev().take(3).map(Result::unwrap).collect();
    assert_eq!(*shown[0].block.hash(), head);
    infos(&mut back, 9000, 2);
    assert!(!path.exists(), "it knew of other blocks");
    let again: Vec<StoredBlock> = back.blocks().unwrap().map(Result::unwrap).collect();
    let chain: Vec<StoredBlock> = back.blocks_after(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(again, chain);
}

#[test]
fn history_that_is_written_again_takes_the_index_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut dataset, path) = long(dir.path());
    let old = fs::read(&path).unwrap();
    let stale = dataset.clone();
    let from = dataset.state().blocks() - 50;
    dataset
        .replace(from, &Vec::<EncodedBlock>::new(), &mut |_, _| Ok(false))
        .unwrap();
    assert!(!path.exists());
    infos(&mut dataset, 7000, 60);
    agree(&dataset);
    // The index of the history before, put back as somebody who reads an old handle could.
    fs::write(&path, &old).unwrap();
    agree(&dataset);
    let new = fs::read(&path).unwrap();
    // Whoever still holds the old history reads what it can, which costs the new one its index at most.
    for stored in stale.blocks().unwrap() {
        if stored.is_err() {
            break;
        }
    }
    agree(&dataset);
    assert_eq!(fs::read(&path).unwrap(), new);
}

#[test]
fn the_index_of_another_history_is_replaced_and_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let (mut dataset, path) = long(dir.path());
    let old = fs::read(&path).unwrap();
    let from = dataset.state().blocks() - 50;
    dataset
        .replace(from, &Vec::<EncodedBlock>::new(), &mut |_, _| Ok(false))
        .unwrap();
    let head = HEADER + (from as usize - 1) * RECORD;
    let mut torn = old.clone();
    torn[head..head + RECORD].fill(0);
    // Somebody who reads while history is written again can make the index of the one before once more. Whatever a power cut
    // brings back of that file must be all of it, or none.
    for (name, index, appended) in [("torn", torn, 0), ("whole", old, 1)] {
        let kept = dir.path().join(name);
        fs::write(&path, &index).unwrap();
        fs::hard_link(&path, &kept).unwrap();
        if appended > 0 {
            infos(&mut dataset, 7000, appended);
        }
        agree(&dataset);
        assert_eq!(records(&path) as u64, dataset.state().blocks());
        assert!(fs::read(&kept).unwrap() == index, "{name}");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_dataset_that_comes_after_another_of_its_id_has_nothing_of_its_index() {
    let dir = tempfile::tempdir().unwrap();
    let (dataset, path) = long(dir.path());
    let old = fs::read(&path).unwrap();
    let catalog = open(dir.path());
    Datasets::new(catalog.clone(), Arc::new(NoMirror))
        .delete(&dataset.id())
        .unwrap();
    assert!(!path.exists());
    let staged = catalog.stage(id(), &"d".parse().unwrap()).unwrap();
    let events = (0..dataset.state().blocks()).map(|n| info(&n.to_string())).collect();
    let (other, _) = staged.install_events(DatasetKind::Root, events, time(0), None).unwrap();
    assert!(!path.exists() && other.state().blocks() > dataset.state().blocks());
    // Also if somebody puts it back: its id is the same, its chain is not.
    fs::write(&path, old).unwrap();
    agree(&other);
}

#[test]
fn a_block_is_believed_only_if_it_is_the_one_that_the_index_tells_of() {
    let dir = tempfile::tempdir().unwrap();
    let (dataset, path) = long(dir.path());
    let chain: Vec<StoredBlock> = dataset.blocks_after(None).unwrap().map(Result::unwrap).collect();
    let whole = fs::read(&path).unwrap();
    // In order by itself, and not true: it has the hash of one block and the place of the next, or is of the next altogether.
    let (one, two) = (&chain[20], &chain[21]);
    for hash in [one.block.hash(), two.block.hash()] {
        let record = Record {
            hash: *hash,
            place: two.place,
            slice: None,
        };
        let at = HEADER + 20 * RECORD;
        let put = || {
            let mut index = whole.clone();
            index[at..at + RECORD].copy_from_slice(&record.encode(&dataset.id(), 20).unwrap());
            fs::write(&path, index).unwrap();
        };
        put();
        assert_eq!(dataset.block_by_sequence(20).unwrap().as_ref(), Some(one));
        put();
        assert_eq!(dataset.block_by_hash(two.block.hash()).unwrap().as_ref(), Some(two));
        put();
        let forwards: Vec<StoredBlock> = dataset.blocks().unwrap().map(Result::unwrap).collect();
        assert!(forwards == chain);
        agree(&dataset);
    }
}

#[test]
fn a_verification_reads_the_chain_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (dataset, path) = long(dir.path());
    let whole = verify(&dataset, &NoMirror, Depth::Rows, &|_| {}).unwrap();
    assert_eq!((whole.blocks, whole.slices), (dataset.state().blocks(), 3));
    let place = dataset.places().unwrap()[40];
    let chain = fs::read(dataset.chain_path()).unwrap();
    let mut damaged = chain.clone();
    damaged[place.end() as usize - 1] ^= 1;
    fs::write(dataset.chain_path(), damaged).unwrap();
    assert_eq!(records(&path) as u64, dataset.state().blocks());
    assert!(dataset.slices().unwrap().len() == 3 && dataset.block_by_sequence(41).is_ok());
    assert!(verify(&dataset, &NoMirror, Depth::Bytes, &|_| {}).is_err());
    // Nor does an index make a slice be there, or not be wanted.
    fs::write(dataset.chain_path(), chain).unwrap();
    agree(&dataset);
    let slice = dataset.slices().unwrap().remove(2);
    let mut index = fs::read(&path).unwrap();
    let at = HEADER + (dataset.state().sequence_number as usize) * RECORD;
    let record = Record {
        hash: *dataset.head(),
        place: *dataset.places().unwrap().last().unwrap(),
        slice: None,
    };
    let forged = record.encode(&dataset.id(), dataset.state().sequence_number).unwrap();
    index[at..at + RECORD].copy_from_slice(&forged);
    fs::write(&path, index).unwrap();
    fs::remove_file(dataset.slice_path(&slice.physical_hash)).unwrap();
    assert_eq!(dataset.slices().unwrap().len(), 2);
    let found = verify(&dataset, &NoMirror, Depth::Bytes, &|_| {}).unwrap_err();
    assert!(found.to_string().contains(&slice.physical_hash.to_string()), "{found}");
}

/// Says to others that it is over, however it ends.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn readers_beside_a_writer_get_the_chain_of_their_head() {
    let dir = tempfile::tempdir().unwrap();
    let (mut dataset, path) = long(dir.path());
    let catalog = open(dir.path());
    let done = AtomicBool::new(false);
    let is_done = || done.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        let _ends = Ends(&done);
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_done() {
                    agree(&catalog.find("d").unwrap());
                }
            });
        }
        // Somebody whose index is lost, or cut, while it is read and written.
        scope.spawn(|| {
            for turn in 0.. {
                if is_done() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(3));
                if turn % 2 == 0 {
                    drop(fs::remove_file(&path));
                } else if let Ok(file) = fs::File::options().write(true).open(&path) {
                    file.set_len((HEADER + 100 * RECORD + 7) as u64).unwrap();
                }
            }
        });
        for step in 0..60 {
            infos(&mut dataset, 20_000 + 10 * step, 1 + step % 4);
        }
    });
    agree(&dataset);
}

#[test]
fn readers_of_a_history_that_is_written_again_meanwhile_get_no_mixture() {
    let dir = tempfile::tempdir().unwrap();
    let (mut dataset, _) = long(dir.path());
    let catalog = open(dir.path());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&done);
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let Ok(dataset) = catalog.find("d") else { continue };
                    let Ok(blocks) = dataset.blocks() else { continue };
                    // Whoever opened it before may get less, and never a block that does not belong there.
                    let mut after: Option<StoredBlock> = None;
                    for stored in blocks.rev().take(90).map_while(Result::ok) {
                        let block = stored.block.block();
                        if let Some(after) = &after {
                            assert_eq!(after.block.block().prev_block_hash, Some(*stored.block.hash()));
                            assert_eq!(after.block.block().sequence_number, block.sequence_number + 1);
                        }
                        after = Some(stored);
                    }
                    if let Ok(Some(found)) = dataset.block_by_hash(dataset.head()) {
                        assert_eq!(found.block.hash(), dataset.head());
                    }
                }
            });
        }
        for step in 0..40 {
            let events = (0..1 + 7 * step % 30).map(|n| info(&(30_000 + 100 * step + n).to_string()));
            let events: Vec<MetadataEvent> = events.collect();
            when_free(|| dataset.append_events(events.clone(), late(), None).map(drop));
            let from = dataset.state().blocks() - 1 - (5 * step % 20) as u64;
            when_free(|| {
                let replaced = dataset.replace(from, &Vec::<EncodedBlock>::new(), &mut |_, _| Ok(false));
                replaced.map(drop)
            });
        }
    });
    agree(&dataset);
    infos(&mut dataset, 40_000, 3);
    agree(&dataset);
}

#[test]
fn whatever_becomes_of_the_index_the_answers_are_those_of_the_chain() {
    let seed: u64 = 0x0dd5_eed5;
    let mut random = seed;
    let mut below = |limit: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % limit
    };
    let dir = tempfile::tempdir().unwrap();
    let (mut dataset, path) = long(dir.path());
    let mut before = fs::read(&path).unwrap();
    let mut next = dataset.state().next_offset();
    for step in 0..60 {
        match below(8) {
            0 | 1 => infos(&mut dataset, 10_000 + step * 100, 1 + below(90)),
            2 => grow(&mut dataset, next, next + 2),
            3 => {
                let from = dataset.state().blocks() - 1 - below(40) as u64;
                dataset
                    .replace(from, &Vec::<EncodedBlock>::new(), &mut |_, _| Ok(false))
                    .unwrap();
            }
            4 => drop(fs::remove_file(&path)),
            5 => {
                let now = fs::read(&path).unwrap_or_default();
                fs::write(&path, std::mem::replace(&mut before, now)).unwrap();
            }
            6 => {
                if let Ok(mut bytes) = fs::read(&path)
                    && !bytes.is_empty()
                {
                    let (at, len) = (below(bytes.len()), below(9000));
                    let end = (at + len).min(bytes.len());
                    bytes[at..end].fill(0);
                    fs::write(&path, bytes).unwrap();
                }
            }
            _ => {
                if let Ok(bytes) = fs::read(&path) {
                    fs::write(&path, &bytes[..below(bytes.len() + 1)]).unwrap();
                }
            }
        }
        println!("seed {seed:x}, step {step}");
        agree(&dataset);
        next = dataset.state().next_offset();
    }
}

#[test]
fn an_index_is_right_or_not_there_wherever_the_power_goes() {
    let count = cuts::cut(
        |dir| drop(long(dir)),
        |catalog| {
            let mut dataset = catalog.find("d").unwrap();
            grow(&mut dataset, 6, 8);
            let from = dataset.state().blocks() - 3;
            dataset
                .replace(from, &Vec::<EncodedBlock>::new(), &mut |_, _| Ok(false))
                .unwrap();
            agree(&dataset);
            infos(&mut dataset, 8000, 1);
        },
        |cut| {
            let mut dataset = open(cut.dir).find("d").unwrap();
            agree(&dataset);
            infos(&mut dataset, 9000, 2);
            agree(&dataset);
            println!("{cut}");
        },
    );
    assert!(count > 20, "{count}");
}
