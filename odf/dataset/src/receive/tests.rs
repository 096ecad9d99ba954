use std::cell::RefCell;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use odf_disk::Disk;
use odf_disk::crash::{Recorder, Refusal, copy_tree};

use super::*;
use crate::Object;
use crate::catalog::{Catalog, CatalogError};
use crate::dataset::tests::{add, check_complete, cuts::cut, info, make, open, scratch, time};
use crate::{Medium, NoMirror};

/// A dataset of another directory.
struct There(Dataset);

impl Source for There {
    fn place(&self) -> &str {
        "there"
    }

    fn head(&self) -> Result<Option<Multihash>, SourceError> {
        Ok(Some(*self.0.head()))
    }

    fn block(&self, hash: &Multihash) -> Result<Bytes, SourceError> {
        let found = self.0.block_by_hash(hash).map_err(SourceError::new)?;
        Ok(found.unwrap().block.bytes().clone())
    }

    fn objects(&self, objects: &[Object], arrival: &Arrival, listener: &Listener<'_>) -> Result<(), ReceiveError> {
        let open = |object: &Object| {
            let opened = File::open(object.path(self.0.dir()));
            Ok(Box::new(opened.map_err(SourceError::new)?) as ObjectReader<'_>)
        };
        arrival.take(objects, &open, listener)
    }
}

fn bring(catalog: &Catalog, there: &There, force: bool) -> Result<Received, ReceiveError> {
    let datasets = Datasets::new(catalog.clone(), Arc::new(NoMirror));
    let destination = Destination {
        force,
        ..Destination::named("d".parse().unwrap())
    };
    receive(&datasets, there, destination, &|_| ControlFlow::Continue(()))
}

/// Three slices in one append each.
fn remote(dir: &Path) -> There {
    let mut dataset = make(&open(dir));
    add(&mut dataset, 3, 5).unwrap();
    dataset.append_events(vec![info("theirs")], time(6), None).unwrap();
    add(&mut dataset, 5, 9).unwrap();
    There(dataset)
}

#[test]
fn a_dataset_comes_whole_or_not_at_all_wherever_the_power_goes() {
    let dir = scratch();
    let there = remote(dir.path());
    let count = cut(
        |dir| drop(open(dir)),
        |catalog| drop(bring(catalog, &there, false).unwrap()),
        |cut| {
            match open(cut.dir).find("d") {
                Ok(dataset) => {
                    check_complete(&dataset);
                    assert_eq!(dataset.head(), there.0.head(), "{cut}");
                }
                Err(CatalogError::Unknown { .. }) if !cut.is_acknowledged() => {}
                Err(error) => panic!("{cut}: {error}"),
            }
            // The same again succeeds.
            let again = bring(&open(cut.dir), &there, false).unwrap_or_else(|error| panic!("{cut}: {error}"));
            check_complete(again.dataset());
            assert_eq!(again.dataset().head(), there.0.head(), "{cut}");
        },
    );
    assert!(count > 3 * 20, "{count}");
}

#[test]
fn an_update_is_there_or_not_wherever_the_power_goes() {
    let dir = scratch();
    let there = remote(dir.path());
    for (ours, force) in [("", false), ("ours", true)] {
        // The same Seed, schema and first rows; then nothing, or another way.
        let prepare = |dir: &Path| {
            let mut dataset = make(&open(dir));
            if !ours.is_empty() {
                dataset.append_events(vec![info(ours)], time(4), None).unwrap();
            }
        };
        let old = RefCell::new(None);
        let count = cut(
            prepare,
            |catalog| {
                *old.borrow_mut() = Some(*catalog.find("d").unwrap().head());
                let received = bring(catalog, &there, force).unwrap();
                let Received::Updated(arrived) = received else {
                    panic!("{received:?}")
                };
                assert_eq!((arrived.blocks, arrived.dropped), (3, u64::from(force)));
            },
            |cut| {
                let dataset = open(cut.dir).find("d").unwrap();
                check_complete(&dataset);
                let is_new = dataset.head() == there.0.head();
                let is_old = Some(*dataset.head()) == *old.borrow();
                assert!(is_new || is_old && !cut.is_acknowledged(), "{cut}");
                let again = bring(&open(cut.dir), &there, force).unwrap_or_else(|error| panic!("{cut}: {error}"));
                check_complete(again.dataset());
                assert_eq!(again.dataset().head(), there.0.head(), "{cut}");
            },
        );
        assert!(count > 3 * 15, "{count}");
    }
}

#[test]
fn an_object_counts_only_if_it_was_synced_before_it_got_its_name() {
    let dir = scratch();
    let there = remote(dir.path());
    let (live, before, images) = (scratch(), scratch(), scratch());
    drop(open(live.path()));
    copy_tree(live.path(), &before.path().join("before")).unwrap();
    let recorder = Recorder::new(live.path());
    let catalog = Catalog::open(live.path(), Medium::new(Disk::with(recorder.clone()))).unwrap();
    bring(&catalog, &there, false).unwrap();
    let (of, image) = (recorder.calls(), images.path().join("image"));
    for calls in 0..=of {
        for unsynced in odf_disk::crash::Unsynced::ALL {
            recorder
                .image(&before.path().join("before"), calls, unsynced, &image, &|_| false)
                .unwrap();
            // Whatever has the name of an object is that object.
            let data = image.join(there.0.id().to_multibase()).join("data");
            for entry in data.read_dir().into_iter().flatten() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                if let Ok(hash) = name.parse::<Multihash>() {
                    assert_eq!(
                        odf_tables::digest::physical_hash(&path).unwrap().0,
                        hash,
                        "{calls} of {of}"
                    );
                }
            }
            std::fs::remove_dir_all(&image).unwrap();
        }
    }
}

#[test]
fn a_disk_that_refuses_leaves_the_old_head_and_the_next_attempt_succeeds() {
    let dir = scratch();
    let there = remote(dir.path());
    let mut refused = 0;
    for number in 0.. {
        let live = scratch();
        let old = *make(&open(live.path())).head();
        let recorder = Recorder::new(live.path());
        let catalog = Catalog::open(live.path(), Medium::new(Disk::with(recorder.clone()))).unwrap();
        recorder.set_refusal(Refusal::From(number), std::io::ErrorKind::StorageFull);
        let received = bring(&catalog, &there, false);
        let dataset = open(live.path()).find("d").unwrap();
        check_complete(&dataset);
        assert!(*dataset.head() == old || dataset.head() == there.0.head());
        let again = bring(&open(live.path()), &there, false).unwrap();
        check_complete(again.dataset());
        assert_eq!(again.dataset().head(), there.0.head());
        match received {
            Ok(_) => break,
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn the_id_that_was_asked_for_is_the_one_that_comes() {
    let (dir, here) = (scratch(), scratch());
    let there = remote(dir.path());
    let datasets = Datasets::new(open(here.path()), Arc::new(NoMirror));
    let go_on = |_| ControlFlow::Continue(());
    let wanted = |id| Destination {
        expected_id: Some(id),
        ..Destination::named("d".parse().unwrap())
    };
    let other = DatasetId::from_public_key([7; 32]);
    for _ in 0..2 {
        // Of a dataset that is not here, and of one that is.
        for dataset in [None, datasets.catalog().by_id(&there.0.id()).unwrap()] {
            let destination = Destination {
                dataset,
                ..wanted(other)
            };
            let error = receive(&datasets, &there, destination, &go_on).unwrap_err();
            assert!(
                matches!(&error, ReceiveError::OtherDataset { found, expected, .. }
                    if *found == there.0.id() && *expected == other),
                "{error}"
            );
        }
        receive(&datasets, &there, wanted(there.0.id()), &go_on).unwrap();
    }
}

#[test]
fn where_a_dataset_is_from_is_remembered_from_the_first() {
    let (dir, here) = (scratch(), scratch());
    let there = remote(dir.path());
    let datasets = Datasets::new(open(here.path()), Arc::new(NoMirror));
    let from = |alias: &str, name: &str| Destination {
        aliases: RemoteAliases {
            pull_aliases: vec![alias.to_owned()],
            push_aliases: Vec::new(),
        },
        ..Destination::named(name.parse().unwrap())
    };
    let go_on = |_| ControlFlow::Continue(());
    receive(&datasets, &there, from("a", "d"), &go_on).unwrap();
    // The same dataset, whatever it is to be called and wherever it comes from, is not doubled.
    for (alias, known) in [("b", &["a", "b"][..]), ("a", &["a", "b"])] {
        let received = receive(&datasets, &there, from(alias, "e"), &go_on).unwrap();
        assert!(matches!(received, Received::UpToDate { .. }), "{received:?}");
        let dataset = datasets.catalog().find("d").unwrap();
        assert_eq!(dataset.remote_aliases().unwrap().pull_aliases, known);
        assert_eq!(datasets.catalog().entries().unwrap().len(), 1);
    }
    // One that the caller knows keeps what it has.
    let known = Destination {
        dataset: Some(datasets.catalog().find("d").unwrap()),
        ..from("c", "d")
    };
    receive(&datasets, &there, known, &go_on).unwrap();
    let dataset = datasets.catalog().find("d").unwrap();
    assert_eq!(dataset.remote_aliases().unwrap().pull_aliases, ["a", "b"]);
}
