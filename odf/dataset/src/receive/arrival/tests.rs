use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::*;
use crate::catalog::{Catalog, CatalogError};
use crate::verify::{Depth, verify};
use crate::{Medium, NoMirror};
use odf_reference::{self as golden, Golden};

fn workspace(dir: &Path) -> Datasets {
    let catalog = Catalog::open(&dir.join("datasets"), Medium::new(Disk::new())).unwrap();
    Datasets::new(catalog, Arc::new(NoMirror))
}

fn begin(workspace: &Datasets, golden: &Golden) -> Arrival {
    let blocks = golden.blocks();
    let id = ChainState::begin(&blocks[0]).unwrap().dataset_id;
    Arrival::begin(workspace, id, &golden.name.parse().unwrap(), RemoteAliases::default()).unwrap()
}

fn bytes_of(golden: &Golden, object: &Object) -> Vec<u8> {
    fs::read(golden.object(&object.to_string())).unwrap()
}

fn give(arrival: &Arrival, object: &Object, bytes: &[u8]) -> Result<(), ReceiveError> {
    let mut sink = arrival.sink(object)?;
    for part in bytes.chunks(1000) {
        sink.write(part)?;
    }
    sink.finish()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A golden dataset with several slices.
fn cities() -> Option<Golden> {
    golden::datasets()
        .into_iter()
        .find(|golden| golden.name == "cities.snapshot")
}

#[test]
fn a_dataset_arrives_in_two_parts_and_keeps_its_bytes() {
    let Some(golden) = cities() else { return };
    let (dir, blocks) = (tempfile::tempdir().unwrap(), golden.blocks());
    let workspace = workspace(dir.path());
    for part in [&blocks[..4], &blocks[4..]] {
        let arrival = begin(&workspace, &golden);
        for object in arrival.check(part, false).unwrap() {
            give(&arrival, &object, &bytes_of(&golden, &object)).unwrap();
        }
        let arrived = arrival.commit(part.to_vec(), false).unwrap();
        assert_eq!(arrived.blocks, part.len() as u64);
        assert_eq!(*arrived.dataset.head(), *part.last().unwrap().hash());
    }
    let dataset = workspace.catalog().find(golden.name).unwrap();
    assert_eq!(*dataset.head(), golden.head());
    let stored: Vec<EncodedBlock> = dataset.blocks().unwrap().map(|stored| stored.unwrap().block).collect();
    assert_eq!(stored, blocks);
    verify(&dataset, &NoMirror, Depth::Rows, &|_| {}).unwrap();
}

#[test]
fn what_is_not_what_a_block_names_is_refused_by_name() {
    let Some(golden) = cities() else { return };
    let (dir, blocks) = (tempfile::tempdir().unwrap(), golden.blocks());
    let workspace = workspace(dir.path());
    let arrival = begin(&workspace, &golden);
    let object = arrival.check(&blocks, false).unwrap()[0];
    let bytes = bytes_of(&golden, &object);
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let long = [&bytes[..], b"x"].concat();
    for (wrong, expected) in [
        (&bytes[..bytes.len() - 1], "bytes"),
        (&long[..], "at least"),
        (&flipped[..], "f1620"),
        (&[][..], "0 bytes"),
    ] {
        let error = give(&arrival, &object, wrong).unwrap_err().to_string();
        assert!(
            error.contains(&object.to_string()) && error.contains(expected),
            "{error}"
        );
        assert!(!arrival.has(&object));
        assert!(names(&arrival.dir.join("data")).is_empty());
    }
    let error = arrival.commit(blocks.clone(), false).unwrap_err();
    assert!(
        matches!(error, ReceiveError::Lacking(lacking) if lacking == object),
        "{error}"
    );
    // A reader that breaks off, and one that would never end.
    let go_on = |_| ControlFlow::Continue(());
    let mut broken = (&bytes[..10]).chain(Failing);
    let error = arrival.sink(&object).unwrap().fill(&mut broken, &go_on).unwrap_err();
    assert!(matches!(error, ReceiveError::Broken { .. }), "{error}");
    let error = arrival
        .sink(&object)
        .unwrap()
        .fill(&mut io::repeat(0), &go_on)
        .unwrap_err();
    assert!(matches!(error, ReceiveError::Object { .. }), "{error}");
    assert!(names(&arrival.dir.join("data")).is_empty());
    assert!(workspace.catalog().entries().unwrap().is_empty());
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the cable was cut"))
    }
}

#[test]
fn objects_outlive_an_arrival_that_ended_early_and_nothing_else_does() {
    let Some(golden) = cities() else { return };
    let (dir, blocks) = (tempfile::tempdir().unwrap(), golden.blocks());
    let workspace = workspace(dir.path());
    let arrival = begin(&workspace, &golden);
    let objects = arrival.check(&blocks, false).unwrap();
    let data = arrival.dir.join("data");
    drop(arrival);
    assert!(
        names(workspace.catalog().dir()).is_empty(),
        "nothing arrived, so nothing stays"
    );

    let arrival = begin(&workspace, &golden);
    give(&arrival, &objects[0], &bytes_of(&golden, &objects[0])).unwrap();
    let mut cut = arrival.sink(&objects[1]).unwrap();
    cut.write(b"half").unwrap();
    // As a process that is killed leaves it.
    let unnamed = arrival.dir.join(UNNAMED_OBJECTS);
    let left = dir.path().join("left");
    fs::copy(cut.unnamed.shown(), &left).unwrap();
    drop(cut);
    drop(arrival);
    assert!(!unnamed.exists());
    fs::create_dir(&unnamed).unwrap();
    fs::rename(&left, unnamed.join("9")).unwrap();

    let arrival = begin(&workspace, &golden);
    assert!(names(&unnamed).is_empty());
    assert_eq!(names(&data), [objects[0].hash.to_string()]);
    assert_eq!(arrival.check(&blocks, false).unwrap(), objects[1..]);
    // A file of another length does not count as there.
    fs::write(data.join(objects[0].hash.to_string()), b"short").unwrap();
    assert_eq!(arrival.check(&blocks, false).unwrap(), objects);
    for object in &objects {
        give(&arrival, object, &bytes_of(&golden, object)).unwrap();
    }
    arrival.commit(blocks, false).unwrap();
}

#[test]
fn a_dataset_is_received_once_at_a_time_but_by_several_threads() {
    let Some(golden) = cities() else { return };
    let (dir, blocks) = (tempfile::tempdir().unwrap(), golden.blocks());
    let workspace = workspace(dir.path());
    let arrival = begin(&workspace, &golden);
    let busy = Arrival::begin(
        &workspace,
        arrival.id(),
        &"other".parse().unwrap(),
        RemoteAliases::default(),
    );
    assert!(matches!(busy, Err(ReceiveError::Busy(id)) if id == arrival.id()));
    let objects = arrival.check(&blocks, false).unwrap();
    std::thread::scope(|scope| {
        // Every object twice at once.
        for object in objects.iter().chain(&objects) {
            let (arrival, bytes) = (&arrival, bytes_of(&golden, object));
            scope.spawn(move || give(arrival, object, &bytes).unwrap());
        }
    });
    arrival.commit(blocks, false).unwrap();
    let dataset = workspace.catalog().find(golden.name).unwrap();
    verify(&dataset, &NoMirror, Depth::Rows, &|_| {}).unwrap();
}

#[test]
fn blocks_that_do_not_belong_leave_the_dataset_as_it_was() {
    let datasets = golden::datasets();
    let (Some(golden), Some(other)) = (
        cities(),
        datasets.into_iter().find(|golden| golden.name == "weather.monthly"),
    ) else {
        return;
    };
    let (dir, blocks) = (tempfile::tempdir().unwrap(), golden.blocks());
    let workspace = workspace(dir.path());
    let arrival = begin(&workspace, &golden);
    let foreign = other.blocks();
    assert!(matches!(
        arrival.check(&foreign, false),
        Err(ReceiveError::Dataset(DatasetError::OtherDataset { found, .. })) if found != arrival.id()
    ));
    assert!(arrival.commit(foreign, false).is_err());
    let gap = [&blocks[..2], &blocks[3..]].concat();
    assert!(matches!(
        arrival.check(&gap, false),
        Err(ReceiveError::Dataset(DatasetError::Chain(_)))
    ));
    assert!(matches!(
        arrival.commit(vec![blocks[0].clone(), blocks[2].clone()], false),
        Err(ReceiveError::Dataset(DatasetError::Chain(_)))
    ));
    assert!(workspace.catalog().entries().unwrap().is_empty());
    arrival.commit(blocks[..3].to_vec(), false).unwrap();
    drop(arrival);
    // A name that is taken by a dataset of another id.
    let id = ChainState::begin(&other.blocks()[0]).unwrap().dataset_id;
    let taken = Arrival::begin(&workspace, id, &golden.name.parse().unwrap(), RemoteAliases::default());
    assert!(matches!(
        taken,
        Err(ReceiveError::Catalog(CatalogError::NameTaken { .. }))
    ));
    // Not behind the head.
    let arrival = begin(&workspace, &golden);
    assert!(matches!(
        arrival.check(&blocks[4..], false),
        Err(ReceiveError::NotAhead { .. })
    ));
    assert!(matches!(
        arrival.commit(blocks[..1].to_vec(), false),
        Err(ReceiveError::NotAhead { .. })
    ));
}
