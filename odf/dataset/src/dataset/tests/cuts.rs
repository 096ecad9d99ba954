//! Changes whose power is cut at every call that they make to the disk.

use odf_disk::crash::{Cut, Recorder, copy_tree, every_cut};

use super::*;
use crate::{Datasets, NoMirror};

fn without_mirror(catalog: &Catalog) -> Datasets {
    Datasets::new(catalog.clone(), std::sync::Arc::new(NoMirror))
}

/// Makes a change of a prepared directory and looks at everything that a cut could have left of it.
pub(crate) fn cut(prepare: impl Fn(&Path), change: impl Fn(&Catalog), mut check: impl FnMut(&Cut<'_>)) -> usize {
    let (live, before, scratch) = (scratch(), scratch(), scratch());
    prepare(live.path());
    copy_tree(live.path(), &before.path().join("before")).unwrap();
    let recorder = Recorder::new(live.path());
    let catalog = Catalog::open(live.path(), Medium::new(Disk::with(recorder.clone()))).unwrap();
    change(&catalog);
    every_cut(
        &recorder,
        &before.path().join("before"),
        scratch.path(),
        &|_| false,
        &mut check,
    )
    .unwrap()
}

#[test]
fn an_append_is_there_or_not_wherever_the_power_goes() {
    let count = cut(
        |dir| drop(make(&open(dir))),
        |catalog| drop(add(&mut catalog.find("d").unwrap(), 3, 5).unwrap()),
        |cut| {
            let mut dataset = open(cut.dir).find("d").unwrap();
            check_complete(&dataset);
            let next = dataset.state().next_offset();
            assert!(next == 5 || next == 3 && !cut.is_acknowledged(), "{cut}: {next}");
            // The same again succeeds.
            add(&mut dataset, next, next + 2).unwrap();
            let again = open(cut.dir).find("d").unwrap();
            check_complete(&again);
            assert_eq!(again.state().next_offset(), next + 2, "{cut}");
        },
    );
    assert!(count > 3 * 10, "{count}");
}

#[test]
fn a_new_dataset_is_there_or_not_wherever_the_power_goes() {
    cut(
        |dir| drop(open(dir)),
        |catalog| drop(make(catalog)),
        |cut| {
            let catalog = open(cut.dir);
            match catalog.find("d") {
                Ok(dataset) => check_complete(&dataset),
                Err(CatalogError::Unknown { .. }) if !cut.is_acknowledged() => {
                    check_complete(&make(&catalog));
                }
                Err(error) => panic!("{cut}: {error}"),
            }
        },
    );
}

#[test]
fn a_dataset_that_is_deleted_is_whole_or_gone_wherever_the_power_goes() {
    cut(
        |dir| drop(make(&open(dir))),
        |catalog| without_mirror(catalog).delete(&id()).unwrap(),
        |cut| {
            let catalog = open(cut.dir);
            assert!(without_mirror(&catalog).finish_removals().unwrap().is_empty(), "{cut}");
            assert!(catalog.leaving().unwrap().is_empty(), "{cut}");
            match catalog.find("d") {
                Ok(dataset) if !cut.is_acknowledged() => check_complete(&dataset),
                Err(CatalogError::Unknown { .. }) => check_complete(&make(&catalog)),
                other => panic!("{cut}: {other:?}"),
            }
        },
    );
}

#[test]
fn a_dataset_that_is_received_is_there_or_goes_on_wherever_the_power_goes() {
    let blocks: Vec<EncodedBlock> = {
        let elsewhere = tempfile::tempdir().unwrap();
        let dataset = make(&open(elsewhere.path()));
        dataset.blocks().unwrap().map(|stored| stored.unwrap().block).collect()
    };
    // Without its rows: what is looked at here are the names, the chain and the head.
    let blocks = &blocks[..2];
    let name: DatasetName = "d".parse().unwrap();
    cut(
        |dir| drop(open(dir)),
        |catalog| drop(catalog.receive(id(), &name).unwrap().install(blocks.to_vec()).unwrap()),
        |cut| {
            let catalog = open(cut.dir);
            let entries = catalog.entries().unwrap();
            assert!(
                entries.iter().all(|entry| entry.damaged.is_none()),
                "{cut}: {entries:?}"
            );
            match catalog.by_id(&id()).unwrap() {
                Some(dataset) => assert_eq!(dataset.state().blocks(), 2, "{cut}"),
                None => {
                    assert!(!cut.is_acknowledged(), "{cut}");
                    catalog.receive(id(), &name).unwrap().install(blocks.to_vec()).unwrap();
                }
            }
            assert_eq!(open(cut.dir).find("d").unwrap().state().blocks(), 2, "{cut}");
            assert!(!catalog.dataset_dir(&id()).join(".arriving").exists(), "{cut}");
        },
    );
}

#[test]
fn a_chain_that_is_replaced_is_the_old_or_the_new_one_wherever_the_power_goes() {
    cut(
        |dir| {
            let mut dataset = make(&open(dir));
            dataset.append_events(vec![info("old")], time(7), None).unwrap();
        },
        |catalog| {
            let mut dataset = catalog.find("d").unwrap();
            dataset
                .replace(3, &Vec::<EncodedBlock>::new(), &mut |_, _| Ok(false))
                .unwrap();
        },
        |cut| {
            let mut dataset = open(cut.dir).find("d").unwrap();
            check_complete(&dataset);
            let blocks = dataset.state().blocks();
            assert!(blocks == 3 || blocks == 4 && !cut.is_acknowledged(), "{cut}: {blocks}");
            assert!(!dataset.dir().join("chain.next").exists(), "{cut}");
            dataset.append_events(vec![info("new")], time(8), None).unwrap();
            check_complete(&open(cut.dir).find("d").unwrap());
        },
    );
}

#[test]
fn a_name_is_the_old_or_the_new_one_wherever_the_power_goes() {
    cut(
        |dir| drop(make(&open(dir))),
        |catalog| {
            catalog
                .rename(&catalog.find("d").unwrap(), &"e".parse().unwrap())
                .unwrap();
        },
        |cut| {
            let catalog = open(cut.dir);
            let entries = catalog.entries().unwrap();
            let name = entries[0].name.as_ref().unwrap().as_str().to_owned();
            assert!(name == "e" || name == "d" && !cut.is_acknowledged(), "{cut}: {name}");
            check_complete(&catalog.open_entry(&entries[0]).unwrap());
        },
    );
}
