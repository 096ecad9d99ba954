//! Directories as places that are read and written, and what only one reader of them does.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::thread;

use odf_dataset::receive::{Destination, Progress, ReceiveError, Received, Source, receive};
use odf_dataset::verify::{Depth, verify};
use odf_dataset::{Dataset, Datasets, NoMirror, Object};
use odf_metadata::codec::EncodedBlock;
use odf_metadata::{DatasetId, DatasetKind, MetadataBlock, MetadataEvent, Multihash, Seed, SetInfo, Timestamp};
use odf_reference as golden;
use tempfile::TempDir;

use crate::files::{FilesSource, MAX_HEAD_BYTES, Pushed, push};
use crate::{PushError, ReadError};

mod over_http;

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn bring_as(workspace: &Datasets, source: &dyn Source, name: &str, force: bool) -> Result<Received, ReceiveError> {
    let destination = Destination {
        force,
        ..Destination::named(name.parse().unwrap())
    };
    receive(workspace, source, destination, &go_on)
}

fn bring(workspace: &Datasets, source: &dyn Source) -> Result<Received, ReceiveError> {
    bring_as(workspace, source, "d", false)
}

/// Why a source could not be read.
fn unread(error: &ReceiveError) -> Option<&ReadError> {
    match error {
        ReceiveError::Source(error) => error.get(),
        _ => None,
    }
}

fn workspace(dir: &TempDir) -> Datasets {
    crate::datasets_in(&dir.path().join("workspace"))
}

/// All files below a directory with their content, without `info`.
fn tree(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut files, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(at) = dirs.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_owned();
                files.push((name, fs::read(path).unwrap()));
            }
        }
    }
    files.retain(|(name, _)| !name.starts_with("info"));
    files.sort();
    files
}

fn copy_tree(from: &Path, to: &Path) {
    for (name, bytes) in tree(from) {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// A chain without data: a Seed, then one SetInfo a word.
fn chain(id: u8, words: &[&str]) -> Vec<EncodedBlock> {
    let seed = MetadataEvent::Seed(Seed {
        dataset_id: DatasetId::from_public_key([id; 32]),
        dataset_kind: DatasetKind::Root,
    });
    let infos = words.iter().map(|word| {
        MetadataEvent::SetInfo(SetInfo {
            description: Some((*word).to_owned()),
            keywords: None,
        })
    });
    let mut blocks: Vec<EncodedBlock> = Vec::new();
    for (sequence, event) in (0..).zip(std::iter::once(seed).chain(infos)) {
        let block = MetadataBlock {
            system_time: Timestamp::from_millis(1_780_000_000_000).unwrap(),
            prev_block_hash: blocks.last().map(|block| *block.hash()),
            sequence_number: sequence,
            event,
        };
        blocks.push(EncodedBlock::encode(block).unwrap());
    }
    blocks
}

/// Writes a chain as a dataset directory.
fn lay(dir: &Path, blocks: &[EncodedBlock]) -> FilesSource {
    for part in ["blocks", "refs"] {
        fs::create_dir_all(dir.join(part)).unwrap();
    }
    for block in blocks {
        fs::write(dir.join("blocks").join(block.hash().to_string()), block.bytes()).unwrap();
    }
    fs::write(dir.join("refs/head"), blocks.last().unwrap().hash().to_string()).unwrap();
    FilesSource::new(dir)
}

fn hashes(dataset: &Dataset) -> Vec<Multihash> {
    dataset
        .blocks()
        .unwrap()
        .map(|stored| *stored.unwrap().block.hash())
        .collect()
}

fn hashes_of(blocks: &[EncodedBlock]) -> Vec<Multihash> {
    blocks.iter().map(|block| *block.hash()).collect()
}

/// A golden dataset with several slices, copied so that it can be changed.
fn copied(dir: &TempDir) -> Option<(PathBuf, Vec<Object>)> {
    let golden = golden::datasets()
        .into_iter()
        .find(|golden| golden.name == "cities.snapshot")?;
    let there = dir.path().join("there");
    copy_tree(&golden.dir.join("dataset"), &there);
    Some((there, Object::of_all(&golden.blocks())))
}

#[test]
fn every_golden_dataset_goes_there_and_back_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = workspace(&dir);
    for golden in golden::datasets() {
        let source = FilesSource::new(&golden.dir.join("dataset"));
        let outcome = bring_as(&workspace, &source, golden.name, false).unwrap();
        assert!(matches!(outcome, Received::Updated(_)), "{}", golden.name);
        let dataset = workspace.catalog().find(golden.name).unwrap();
        assert_eq!(*dataset.head(), golden.head());
        let there = dir.path().join(golden.name);
        let blocks = golden.blocks().len() as u64;
        let pushed = push(&dataset, &there, false, &go_on).unwrap();
        assert_eq!(pushed, Pushed::Updated { old_head: None, blocks });
        assert_eq!(tree(&there), tree(&golden.dir.join("dataset")), "{}", golden.name);
        assert_eq!(push(&dataset, &there, false, &go_on).unwrap(), Pushed::UpToDate);
        let again = bring_as(&workspace, &FilesSource::new(&there), "whatever", false).unwrap();
        assert!(matches!(again, Received::UpToDate { .. }), "{}", golden.name);
    }
}

#[test]
fn heads_are_compared_and_force_makes_them_equal() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = workspace(&dir);
    let there = dir.path().join("there");
    let trunk = chain(1, &["a", "b", "c"]);
    let updated = |outcome: &Received| match outcome {
        Received::Updated(arrived) => (arrived.old_head.is_some(), arrived.blocks, arrived.dropped),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        updated(&bring(&workspace, &lay(&there, &trunk[..2])).unwrap()),
        (false, 2, 0)
    );
    assert!(matches!(
        bring(&workspace, &lay(&there, &trunk[..2])),
        Ok(Received::UpToDate { .. })
    ));
    assert_eq!(updated(&bring(&workspace, &lay(&there, &trunk)).unwrap()), (true, 2, 0));
    let shorter = lay(&there, &trunk[..2]);
    assert!(
        matches!(bring(&workspace, &shorter), Ok(Received::Ahead { by: 2, remote, .. }) if remote == *trunk[1].hash())
    );
    assert_eq!(
        updated(&bring_as(&workspace, &shorter, "d", true).unwrap()),
        (true, 0, 2)
    );
    let dataset = || workspace.catalog().find("d").unwrap();
    assert_eq!(hashes(&dataset()), hashes_of(&trunk[..2]));

    bring(&workspace, &lay(&there, &trunk)).unwrap();
    let branch = chain(1, &["a", "x", "y", "z"]);
    let diverged = lay(&there, &branch);
    match bring(&workspace, &diverged).unwrap_err() {
        ReceiveError::Diverged {
            local,
            remote,
            common,
            ours,
            theirs,
            ..
        } => {
            assert_eq!((local, remote), (*trunk[3].hash(), *branch[4].hash()));
            assert_eq!((common, ours, theirs), (2, 2, 3));
        }
        other => panic!("{other}"),
    }
    assert_eq!(hashes(&dataset()), hashes_of(&trunk));
    assert_eq!(
        updated(&bring_as(&workspace, &diverged, "d", true).unwrap()),
        (true, 3, 2)
    );
    assert_eq!(hashes(&dataset()), hashes_of(&branch));
    verify(&dataset(), &NoMirror, Depth::Rows, &|_| {}).unwrap();

    // Another dataset at the place the local one came from, and a name that is taken.
    let foreign = lay(&there, &chain(2, &["a"]));
    let destination = Destination {
        dataset: Some(dataset()),
        force: true,
        ..Destination::named("d".parse().unwrap())
    };
    let error = receive(&workspace, &foreign, destination, &go_on).unwrap_err();
    assert!(matches!(error, ReceiveError::OtherDataset { .. }), "{error}");
    let error = bring_as(&workspace, &foreign, "D", true).unwrap_err().to_string();
    assert!(error.contains("the name `D` is taken by"), "{error}");
    assert_eq!(hashes(&dataset()), hashes_of(&branch));
}

#[test]
fn a_push_compares_heads_too() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = workspace(&dir);
    let (here, there) = (dir.path().join("here"), dir.path().join("there"));
    let trunk = chain(1, &["a", "b", "c"]);
    bring(&workspace, &lay(&here, &trunk)).unwrap();
    let dataset = workspace.catalog().find("d").unwrap();
    let head = || {
        fs::read_to_string(there.join("refs/head"))
            .unwrap()
            .parse::<Multihash>()
            .unwrap()
    };

    lay(&there, &trunk[..2]);
    let pushed = push(&dataset, &there, false, &go_on).unwrap();
    assert_eq!(
        pushed,
        Pushed::Updated {
            old_head: Some(*trunk[1].hash()),
            blocks: 2
        }
    );
    assert_eq!(tree(&there), tree(&here));

    let longer = chain(1, &["a", "b", "c", "d"]);
    lay(&there, &longer);
    let error = push(&dataset, &there, false, &go_on).unwrap_err();
    assert!(matches!(error, PushError::DestinationAhead { by: 1, .. }), "{error}");
    assert_eq!(head(), *longer[4].hash());
    push(&dataset, &there, true, &go_on).unwrap();
    assert_eq!(head(), *trunk[3].hash());

    let branch = chain(1, &["x"]);
    lay(&there, &branch);
    let error = push(&dataset, &there, false, &go_on).unwrap_err();
    assert!(
        matches!(
            error,
            PushError::Compare(ReceiveError::Diverged {
                common: 1,
                ours: 3,
                theirs: 1,
                ..
            })
        ),
        "{error}"
    );
    assert_eq!(head(), *branch[1].hash());
    push(&dataset, &there, true, &go_on).unwrap();
    assert_eq!(head(), *trunk[3].hash());

    let foreign = chain(2, &["a"]);
    lay(&there, &foreign);
    for force in [false, true] {
        let error = push(&dataset, &there, force, &go_on).unwrap_err();
        assert!(
            matches!(error, PushError::Compare(ReceiveError::OtherDataset { .. })),
            "{error}"
        );
    }
    assert_eq!(head(), *foreign[1].hash());
}

#[test]
fn a_push_mends_what_is_broken_there_and_sends_nothing_broken() {
    let dir = tempfile::tempdir().unwrap();
    let Some((there, objects)) = copied(&dir) else { return };
    let workspace = workspace(&dir);
    bring(&workspace, &FilesSource::new(&there)).unwrap();
    let dataset = workspace.catalog().find("d").unwrap();
    let other = dir.path().join("other");
    // As a push leaves it that was killed: an object cut off under its name, a block of other bytes, a staged file.
    fs::create_dir_all(other.join("data")).unwrap();
    fs::create_dir_all(other.join("blocks")).unwrap();
    fs::write(objects[0].path(&other), b"cut").unwrap();
    fs::write(other.join("blocks").join(dataset.head().to_string()), b"wrong").unwrap();
    push(&dataset, &other, false, &go_on).unwrap();
    assert_eq!(tree(&other), tree(&there));

    let mine = objects[1].path(dataset.dir());
    let mut bytes = fs::read(&mine).unwrap();
    bytes[10] ^= 1;
    fs::write(&mine, bytes).unwrap();
    let fresh = dir.path().join("fresh");
    let error = push(&dataset, &fresh, false, &go_on).unwrap_err();
    assert!(
        matches!(&error, PushError::Damaged { path, .. } if *path == mine),
        "{error}"
    );
    assert!(!fresh.join("refs").exists());
    let leftovers: Vec<PathBuf> = tree(&fresh).into_iter().map(|(name, _)| name).collect();
    assert!(
        leftovers
            .iter()
            .all(|name| !name.to_string_lossy().contains(".pending-")),
        "{leftovers:?}"
    );
}

#[test]
fn chains_that_contradict_themselves_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = workspace(&dir);
    let blocks = chain(1, &["a", "b", "c"]);
    let place = |name: &str| dir.path().join(name);
    let refused = |source: &FilesSource, expected: &str| {
        let error = bring(&workspace, source).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(workspace.catalog().entries().unwrap().is_empty(), "{expected}");
    };

    let source = lay(&place("wrong-bytes"), &blocks);
    let path = place("wrong-bytes/blocks").join(blocks[1].hash().to_string());
    fs::write(&path, blocks[2].bytes()).unwrap();
    refused(&source, &format!("metadata block {} of", blocks[1].hash()));
    fs::write(&path, vec![0; odf_metadata::codec::MAX_BLOCK_BYTES + 1]).unwrap();
    refused(&source, "is longer than 2097152 bytes");
    fs::remove_file(&path).unwrap();
    refused(&source, &format!("has no blocks/{}", blocks[1].hash()));
    fs::create_dir(&path).unwrap();
    refused(&source, "it is not a file");

    // Blocks that are what their names say, in the wrong order.
    let remade = |sequence: u64, prev: Option<&EncodedBlock>, like: &EncodedBlock| {
        let mut block = like.block().clone();
        block.sequence_number = sequence;
        block.prev_block_hash = prev.map(|block| *block.hash());
        EncodedBlock::encode(block).unwrap()
    };
    let skipping = remade(7, Some(&blocks[1]), &blocks[2]);
    refused(
        &lay(&place("skipping"), &[blocks[0].clone(), blocks[1].clone(), skipping]),
        "its sequence number is 1, 6 was expected",
    );
    let rootless = remade(0, None, &blocks[1]);
    refused(
        &lay(&place("no-seed"), &[rootless]),
        "begins with something else than a Seed",
    );
    let orphan = remade(3, None, &blocks[3]);
    refused(&lay(&place("orphan"), &[orphan]), "it names no block before it");
    let twice = remade(1, Some(&blocks[0]), &blocks[0]);
    refused(
        &lay(&place("two-seeds"), &[blocks[0].clone(), twice]),
        "AppendingSeedBlockToNonEmptyChain",
    );
}

#[test]
fn heads_that_are_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = workspace(&dir);
    let there = dir.path().join("there");
    let source = lay(&there, &chain(1, &["a"]));
    let good = fs::read_to_string(there.join("refs/head")).unwrap();
    for (head, expected) in [
        (format!("{good}\n"), "line end"),
        (format!(" {good}"), "space"),
        (String::new(), "not the hash"),
        ("../../etc/passwd".to_owned(), "not the hash"),
        (good[..60].to_owned(), "not the hash"),
        ("f".repeat(MAX_HEAD_BYTES + 1), "is longer than 128 bytes"),
        ("x".repeat(50 << 20), "is longer than 128 bytes"),
    ] {
        fs::write(there.join("refs/head"), &head).unwrap();
        let error = bring(&workspace, &source).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    fs::write(there.join("refs/head"), [0xff, 0xfe]).unwrap();
    assert!(bring(&workspace, &source).unwrap_err().to_string().contains("not text"));
    fs::remove_dir_all(there.join("refs")).unwrap();
    assert!(matches!(bring(&workspace, &source), Err(ReceiveError::NotFound { .. })));
    assert!(matches!(
        bring(&workspace, &FilesSource::new(Path::new("/nowhere/at/all"))),
        Err(ReceiveError::NotFound { .. })
    ));
    assert!(workspace.catalog().entries().unwrap().is_empty());
}

#[test]
fn objects_that_are_wrong_stop_a_pull_and_the_others_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let Some((there, objects)) = copied(&dir) else { return };
    let workspace = workspace(&dir);
    let source = FilesSource::new(&there);
    let last = objects.last().unwrap();
    let path = last.path(&there);
    let whole = fs::read(&path).unwrap();
    let flipped: Vec<u8> = whole.iter().map(|byte| byte ^ 1).collect();
    for wrong in [Some(&whole[..whole.len() - 1]), Some(&flipped[..]), Some(&[]), None] {
        match wrong {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let error = bring(&workspace, &source).unwrap_err().to_string();
        assert!(error.contains(&last.to_string()), "{error}");
        assert!(workspace.catalog().entries().unwrap().is_empty());
    }
    fs::write(&path, &whole).unwrap();
    // What came in order is not read again.
    for object in &objects[..objects.len() - 1] {
        fs::remove_file(object.path(&there)).unwrap();
    }
    bring(&workspace, &source).unwrap();
    let dataset = workspace.catalog().find("d").unwrap();
    verify(&dataset, &NoMirror, Depth::Rows, &|_| {}).unwrap();
}

#[test]
fn a_caller_can_end_a_pull_at_any_point() {
    let dir = tempfile::tempdir().unwrap();
    let Some((there, _)) = copied(&dir) else { return };
    let workspace = workspace(&dir);
    let source = FilesSource::new(&there);
    let mut stops = 0;
    for at in 0.. {
        let told = std::sync::atomic::AtomicU64::new(0);
        let stop = |_| match told.fetch_add(1, Ordering::Relaxed) {
            now if now >= at => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        match receive(&workspace, &source, Destination::named("d".parse().unwrap()), &stop) {
            Err(ReceiveError::Cancelled(_)) => stops += 1,
            Ok(_) => break,
            Err(error) => panic!("{error}"),
        }
        assert!(workspace.catalog().entries().unwrap().is_empty());
    }
    assert!(stops > 5, "{stops}");
}
