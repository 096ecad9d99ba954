use std::fs;
use std::path::Path;
use std::sync::Arc;

use odf_disk::Disk;
use odf_metadata::{
    AddData, DataField, DataSchema, DataSlice, DataType, DatasetId, DatasetKind, MetadataBlock, MetadataEvent,
    OffsetInterval, Seed, SetDataSchema, SetInfo, Timestamp,
};

use super::*;
use crate::catalog::Catalog;
use crate::receive::{Listener, ObjectReader, SourceError};
use crate::{Medium, NoMirror};
use bytes::Bytes;

/// How many slices the dataset has; one metadata block for each, behind the Seed and a schema.
const SLICES: u64 = 4;

fn id() -> DatasetId {
    DatasetId::from_public_key([9; 32])
}

/// What stands for the rows of the `n`th slice: nothing here reads them.
fn content(n: u64) -> Vec<u8> {
    format!("rows of slice {n}").into_bytes()
}

fn blocks() -> Vec<EncodedBlock> {
    let add = |n: u64| {
        let bytes = content(n);
        MetadataEvent::AddData(AddData {
            prev_offset: n.checked_sub(1),
            new_data: Some(DataSlice {
                logical_hash: Multihash::from_arrow0_sha3_256([n as u8; 32]),
                physical_hash: Multihash::sha3_256(&bytes),
                offset_interval: OffsetInterval { start: n, end: n },
                size: bytes.len() as u64,
            }),
            ..AddData::default()
        })
    };
    let seed = MetadataEvent::Seed(Seed {
        dataset_id: id(),
        dataset_kind: DatasetKind::Root,
    });
    let schema = MetadataEvent::SetDataSchema(SetDataSchema {
        raw_arrow_schema: None,
        schema: Some(DataSchema {
            fields: vec![DataField::new("offset", DataType::Int64)],
            extra: None,
        }),
    });
    let mut blocks: Vec<EncodedBlock> = Vec::new();
    for (sequence_number, event) in (0..).zip([seed, schema].into_iter().chain((0..SLICES).map(add))) {
        let block = MetadataBlock {
            system_time: Timestamp::from_millis(1_780_000_000_000).unwrap(),
            prev_block_hash: blocks.last().map(|block| *block.hash()),
            sequence_number,
            event,
        };
        blocks.push(EncodedBlock::encode(block).unwrap());
    }
    blocks
}

fn datasets(dir: &Path) -> Datasets {
    let catalog = Catalog::open(&dir.join("datasets"), Medium::new(Disk::new())).unwrap();
    Datasets::new(catalog, Arc::new(NoMirror))
}

/// A dataset with its files, and another copy of it.
fn make(dir: &Path) -> Dataset {
    let datasets = datasets(dir);
    let incoming = datasets.catalog().receive(id(), &"d".parse().unwrap()).unwrap();
    for object in Object::of_all(&blocks()) {
        let n = (0..SLICES)
            .find(|n| Multihash::sha3_256(&content(*n)) == object.hash)
            .unwrap();
        fs::write(object.path(incoming.dir()), content(n)).unwrap();
    }
    incoming.install(blocks()).unwrap()
}

fn says(what: &'static str) -> SourceError {
    SourceError::new(std::io::Error::other(what))
}

/// A copy in memory that lacks some slices.
#[derive(Clone)]
struct Copy {
    lacks: Vec<u64>,
    head: bool,
}

impl Source for Copy {
    fn place(&self) -> &str {
        "the copy"
    }

    fn head(&self) -> Result<Option<Multihash>, SourceError> {
        Ok(blocks().last().map(|block| *block.hash()).filter(|_| self.head))
    }

    fn block(&self, hash: &Multihash) -> Result<Bytes, SourceError> {
        let found = blocks().into_iter().find(|block| block.hash() == hash);
        Ok(found.ok_or_else(|| says("no such block"))?.bytes().clone())
    }

    fn objects(&self, objects: &[Object], arrival: &Arrival, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        let open = |object: &Object| {
            let n = (0..SLICES).find(|n| Multihash::sha3_256(&content(*n)) == object.hash);
            let n = n
                .filter(|n| !self.lacks.contains(n))
                .ok_or_else(|| says("no such slice"))?;
            Ok(Box::new(std::io::Cursor::new(content(n))) as ObjectReader<'static>)
        };
        arrival.take(objects, &open, listener)
    }
}

fn mend(dir: &Path, copy: Option<Copy>) -> Repaired {
    let datasets = datasets(dir);
    let entry = datasets.catalog().find_entry("d").unwrap();
    let places = || {
        copy.iter()
            .map(|copy| Box::new(copy.clone()) as Box<dyn Source>)
            .collect()
    };
    repair(&datasets, &entry, &places, &|_| true).unwrap()
}

fn whole() -> Option<Copy> {
    Some(Copy {
        lacks: Vec::new(),
        head: true,
    })
}

fn check_whole(dir: &Path) {
    let dataset = datasets(dir).catalog().find("d").unwrap();
    assert_eq!(dataset.head(), blocks().last().unwrap().hash());
    assert!(fault_of(&dataset).is_empty());
    let read: Vec<EncodedBlock> = dataset.blocks().unwrap().map(|stored| stored.unwrap().block).collect();
    assert_eq!(read, blocks());
    assert_eq!(datasets(dir).catalog().find_entry("d").unwrap().damaged, None);
}

fn fault_of(dataset: &Dataset) -> Vec<(usize, String)> {
    check(dataset, &named(dataset).unwrap(), &|_| true).unwrap()
}

fn slice(dataset: &Dataset, n: u64) -> PathBuf {
    dataset.slice_path(&Multihash::sha3_256(&content(n)))
}

#[test]
fn what_is_in_order_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let repaired = mend(dir.path(), None);
    assert_eq!((repaired.mended, repaired.lost), (Vec::new(), Vec::new()));
    check_whole(dir.path());
}

#[test]
fn slices_that_are_missing_or_wrong_come_from_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = make(dir.path());
    fs::remove_file(slice(&dataset, 0)).unwrap();
    fs::write(slice(&dataset, 1), b"rows of slice X").unwrap();
    fs::write(slice(&dataset, 2), b"").unwrap();
    let repaired = mend(dir.path(), whole());
    assert_eq!(repaired.lost, Vec::new());
    let from: Vec<&str> = repaired.mended.iter().map(|mended| mended.from.as_str()).collect();
    assert_eq!(from, ["the copy"; 3]);
    assert!(
        repaired.mended[1].part.to_string().contains("rows 1 to 1"),
        "{repaired:?}"
    );
    check_whole(dir.path());
}

#[test]
fn what_nobody_has_is_told_and_marked_and_nothing_is_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = make(dir.path());
    fs::remove_file(slice(&dataset, 0)).unwrap();
    fs::write(slice(&dataset, 1), b"rows of slice X").unwrap();
    fs::remove_file(slice(&dataset, 3)).unwrap();
    let copy = Copy {
        lacks: vec![1, 3],
        head: true,
    };
    let repaired = mend(dir.path(), Some(copy.clone()));
    assert_eq!(repaired.mended.len(), 1);
    let reasons: Vec<&str> = repaired.lost.iter().map(|lost| lost.reason.as_str()).collect();
    assert!(
        reasons[0].starts_with("its hash is") && reasons[0].ends_with("the copy: no such slice"),
        "{reasons:?}"
    );
    assert!(reasons[1].starts_with("it is missing"), "{reasons:?}");
    assert_eq!(fs::read(slice(&dataset, 1)).unwrap(), b"rows of slice X");
    let entry = || datasets(dir.path()).catalog().find_entry("d").unwrap();
    assert!(entry().damaged.unwrap().contains("and 1 more"));
    // A file that is wrong does not come right by itself.
    fs::write(slice(&dataset, 3), content(3)).unwrap();
    assert!(entry().damaged.is_some());
    let repaired = mend(dir.path(), whole());
    assert_eq!((repaired.mended.len(), repaired.lost.len()), (1, 0));
    check_whole(dir.path());
    // Files that were only away are, as on a disk that is plugged in again.
    fs::remove_file(slice(&dataset, 2)).unwrap();
    assert_eq!(mend(dir.path(), None).lost.len(), 1);
    assert!(entry().damaged.is_some());
    fs::write(slice(&dataset, 2), content(2)).unwrap();
    check_whole(dir.path());
}

#[test]
fn a_lost_head_comes_back_from_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = make(dir.path());
    let head = dataset.dir().join("refs/head");
    for broken in [None, Some("\n"), Some("f1620")] {
        match broken {
            None => fs::remove_dir_all(dataset.dir().join("refs")).unwrap(),
            Some(text) => fs::write(&head, text).unwrap(),
        }
        let repaired = mend(dir.path(), None);
        assert_eq!(repaired.lost, Vec::new());
        assert_eq!(repaired.mended.len(), 1, "{repaired:?}");
        assert_eq!(repaired.mended[0].part, Part::Head);
        check_whole(dir.path());
    }
    // What was being appended when the power went has no slice: it is not the head.
    fs::remove_file(&head).unwrap();
    fs::remove_file(slice(&dataset, 3)).unwrap();
    mend(dir.path(), None);
    let now = datasets(dir.path()).catalog().find("d").unwrap();
    assert_eq!(now.state().blocks(), SLICES + 1);
    assert_eq!(
        fs::read(now.chain_path()).unwrap(),
        fs::read(dataset.chain_path()).unwrap(),
        "and it is still there"
    );
}

#[test]
fn a_chain_is_put_together_of_what_is_left_and_what_others_have() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = make(dir.path());
    let chain = fs::read(dataset.chain_path()).unwrap();
    let place = dataset.places().unwrap()[2];
    let mut wrong = chain.clone();
    wrong[place.offset as usize + 30] ^= 1;
    for (content, came) in [
        (wrong.clone(), 1),
        (chain[..chain.len() / 2].to_vec(), 3),
        (Vec::new(), 6),
    ] {
        fs::write(dataset.chain_path(), &content).unwrap();
        let datasets = datasets(dir.path());
        assert!(datasets.catalog().find("d").is_err());
        let lost = mend(dir.path(), None).lost;
        assert!(
            matches!(
                &lost[..],
                [Lost {
                    part: Part::Block { hash: Some(_), .. },
                    ..
                }]
            ),
            "{lost:?}"
        );
        assert_eq!(fs::read(dataset.chain_path()).unwrap(), content, "as it was");
        let repaired = mend(dir.path(), whole());
        assert_eq!(repaired.mended.len(), came, "{repaired:?}");
        check_whole(dir.path());
        assert_eq!(fs::read(dataset.chain_path()).unwrap(), chain);
    }
    // Neither head nor chain: the copy says what there is.
    fs::remove_file(dataset.chain_path()).unwrap();
    fs::remove_file(dataset.dir().join("refs/head")).unwrap();
    let lost = mend(dir.path(), None).lost;
    assert!(
        matches!(
            &lost[..],
            [Lost {
                part: Part::Block { hash: None, .. },
                ..
            }]
        ),
        "{lost:?}"
    );
    assert_eq!(mend(dir.path(), whole()).lost, Vec::new());
    check_whole(dir.path());
    // A chain beside the chain has the blocks, too.
    fs::write(dataset.dir().join("chain.next"), &chain).unwrap();
    fs::write(dataset.chain_path(), &wrong).unwrap();
    fs::remove_file(dataset.dir().join("refs/head")).unwrap();
    mend(dir.path(), whole());
    check_whole(dir.path());
}

#[test]
fn the_same_slice_in_another_dataset_will_do() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = make(dir.path());
    let datasets = datasets(dir.path());
    let staged = datasets
        .catalog()
        .stage(DatasetId::from_public_key([8; 32]), &"other".parse().unwrap())
        .unwrap();
    let info = MetadataEvent::SetInfo(SetInfo {
        description: None,
        keywords: None,
    });
    let time = Timestamp::from_millis(0).unwrap();
    let (other, _) = staged
        .install_events(DatasetKind::Root, vec![info], time, None)
        .unwrap();
    fs::rename(slice(&dataset, 1), slice(&other, 1)).unwrap();
    let repaired = mend(dir.path(), None);
    assert_eq!(repaired.lost, Vec::new());
    assert_eq!(repaired.mended[0].from, "the dataset other");
    check_whole(dir.path());
}

#[test]
fn a_place_that_gives_nothing_is_asked_no_more() {
    struct Silent(AtomicUsize);
    impl Source for Silent {
        fn place(&self) -> &str {
            "nowhere"
        }
        fn head(&self) -> Result<Option<Multihash>, SourceError> {
            Err(says("away"))
        }
        fn block(&self, _: &Multihash) -> Result<Bytes, SourceError> {
            Err(says("away"))
        }
        fn objects(&self, _: &[Object], _: &Arrival, _: &Listener<'_>) -> Result<(), ReceiveError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Err(says("away").into())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let dataset = make(dir.path());
    (0..SLICES).for_each(|n| fs::remove_file(slice(&dataset, n)).unwrap());
    let silent = Silent(AtomicUsize::new(0));
    let datasets = datasets(dir.path());
    let entry = datasets.catalog().find_entry("d").unwrap();
    let repaired = repair(&datasets, &entry, &|| vec![Box::new(&silent)], &|_| true).unwrap();
    assert_eq!(repaired.lost.len() as u64, SLICES);
    assert_eq!(silent.0.load(Ordering::SeqCst), MAX_FAILURES);
}

#[test]
fn fetching_what_lacks_hashes_nothing_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = make(dir.path());
    fs::remove_file(slice(&dataset, 0)).unwrap();
    fs::write(slice(&dataset, 1), b"rows of slice X").unwrap();
    let datasets = datasets(dir.path());
    let places = || vec![Box::new(whole().unwrap()) as Box<dyn Source>];
    let repaired = fetch_lacking(&datasets, &dataset, &places, &|doing| {
        assert!(!matches!(doing, Doing::Checked(_)));
        true
    });
    assert_eq!(repaired.unwrap().mended.len(), 1);
    assert_eq!(fs::read(slice(&dataset, 1)).unwrap(), b"rows of slice X");
}
