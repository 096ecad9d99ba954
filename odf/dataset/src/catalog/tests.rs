use std::time::Instant;

use odf_disk::Disk;

use super::*;
use crate::{Datasets, Mark, Mirror, MirrorError, NoMirror, Served, TakePlace, rewrite::RewriteError};
use odf_metadata::{DatasetKind, MetadataEvent, SetInfo, Timestamp};

fn time() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn make(catalog: &Catalog, key: u8, name: &str) -> Dataset {
    let id = DatasetId::from_public_key([key; 32]);
    let staged = catalog.stage(id, &name.parse().unwrap()).unwrap();
    let info = MetadataEvent::SetInfo(SetInfo {
        description: Some(name.into()),
        keywords: None,
    });
    staged
        .install_events(DatasetKind::Root, vec![info], time(), None)
        .unwrap()
        .0
}

fn open(dir: &Path) -> Catalog {
    Catalog::open(dir, Medium::new(Disk::new())).unwrap()
}

#[test]
fn datasets_are_found_by_name_id_and_beginning_of_the_id() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path());
    let a = make(&catalog, 0xaa, "Weather.Seattle").id();
    let b = make(&catalog, 0xab, "weather.oslo").id();
    for text in [
        "weather.seattle",
        "WEATHER.SEATTLE",
        &a.to_string(),
        &a.to_multibase(),
        "fed01aaaa",
        "did:odf:fed01aaaa",
    ] {
        assert_eq!(catalog.find(text).unwrap().id(), a, "{text}");
    }
    assert_eq!(catalog.find("fed01ababab").unwrap().id(), b);
    let ids: Vec<_> = catalog.entries().unwrap().into_iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [b, a], "by name");
    let matching = |pattern: &str| catalog.matching(pattern).unwrap().len();
    assert_eq!(
        [
            matching("%"),
            matching("weather.%"),
            matching("%OSLO"),
            matching("w%s%l"),
            matching("weather"),
            matching("%x%")
        ],
        [2, 2, 1, 0, 0, 0]
    );
    assert_eq!(matching("w%a%e"), 1);
}

#[test]
fn an_unknown_name_brings_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path());
    for (key, name) in [(1, "earthquakes"), (2, "earthquakes.usgs"), (3, "cities")] {
        make(&catalog, key, name);
    }
    let message = |text: &str| catalog.find(text).unwrap_err().to_string();
    assert_eq!(
        message("eartquakes"),
        "there is no dataset `eartquakes`; did you mean `earthquakes`?"
    );
    assert_eq!(
        message("citeis"),
        "there is no dataset `citeis`; did you mean `cities`?"
    );
    assert!(message("usgs").contains("`earthquakes.usgs`"));
    assert_eq!(message("zzz"), "there is no dataset `zzz`");
    assert_eq!(message("fed01"), "there is no dataset `fed01`");
}

#[test]
fn names_and_ids_are_unique() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path());
    let a = make(&catalog, 1, "a");
    let b = make(&catalog, 2, "b");
    let stage = |key: u8, name: &str| catalog.stage(DatasetId::from_public_key([key; 32]), &name.parse().unwrap());
    assert!(matches!(stage(3, "A"), Err(CatalogError::NameTaken { id, .. }) if id == a.id()));
    assert!(matches!(
        stage(1, "c"),
        Err(CatalogError::Dataset(DatasetError::Exists(_)))
    ));
    assert!(matches!(
        catalog.rename(&b, &"A".parse().unwrap()),
        Err(CatalogError::NameTaken { .. })
    ));
    catalog.rename(&a, &"A".parse().unwrap()).unwrap();
    catalog.rename(&b, &"c".parse().unwrap()).unwrap();
    assert_eq!(catalog.find("c").unwrap().id(), b.id());
    assert_eq!(a.name().unwrap().as_str(), "A");
    assert_eq!(catalog.free_name(&"a".parse().unwrap()).unwrap().as_str(), "a-2");
    assert_eq!(catalog.free_name(&"free".parse().unwrap()).unwrap().as_str(), "free");
}

#[test]
fn deleting_leaves_nothing_and_unfinished_work_is_swept_away() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path());
    let datasets = Datasets::new(catalog.clone(), std::sync::Arc::new(NoMirror));
    let a = make(&catalog, 1, "a").id();
    let kept = || {
        let keys = [&b""[..], b"l"].map(|part| [&a.to_bytes()[..], part].concat());
        keys.map(|key| catalog.medium().cache.get(STATES, &key).is_some())
    };
    assert_eq!(kept(), [true; 2]);
    datasets.delete(&a).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert_eq!(kept(), [false; 2]);
    assert!(catalog.by_id(&a).unwrap().is_none());
    assert!(matches!(
        datasets.delete(&a),
        Err(RewriteError::Catalog(CatalogError::Io { .. }))
    ));

    make(&catalog, 2, "b");
    // As a crash leaves it.
    std::mem::forget(catalog.stage(a, &"a".parse().unwrap()).unwrap());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    assert_eq!(catalog.entries().unwrap().len(), 1);
    drop(catalog.stage(a, &"a".parse().unwrap()).unwrap());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    std::mem::forget(catalog.stage(a, &"a".parse().unwrap()).unwrap());
    assert_eq!(open(dir.path()).entries().unwrap().len(), 1);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn folders_of_others_and_damaged_names_do_not_hide_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path());
    let a = make(&catalog, 1, "a");
    make(&catalog, 2, "b");
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    fs::create_dir(dir.path().join("fed01")).unwrap();
    fs::write(a.dir().join("info/alias"), "no good name").unwrap();
    let entries = catalog.entries().unwrap();
    assert_eq!(
        entries
            .iter()
            .map(|entry| entry.name.as_ref().map(|n| n.as_str()))
            .collect::<Vec<_>>(),
        [Some("b"), None]
    );
    assert_eq!(catalog.find(&a.id().to_string()).unwrap().id(), a.id());
}

#[test]
fn a_thousand_datasets_are_listed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path());
    let first = make(&catalog, 1, "d");
    for n in 0..1000u32 {
        // Copies with ids of their own: what is timed reads names, heads and kept states.
        let mut key = [2; 32];
        key[..4].copy_from_slice(&n.to_le_bytes());
        let id = DatasetId::from_public_key(key);
        let to = catalog.dataset_dir(&id);
        for part in ["refs", "info"] {
            fs::create_dir_all(to.join(part)).unwrap();
        }
        fs::copy(first.dir().join("refs/head"), to.join("refs/head")).unwrap();
        fs::copy(first.dir().join("chain"), to.join("chain")).unwrap();
        fs::write(to.join("info/alias"), format!("d{n}")).unwrap();
        for part in [&b""[..], b"l"] {
            let key = |id: &DatasetId| [&id.to_bytes()[..], part].concat();
            let state = catalog.medium().cache.get(STATES, &key(&first.id())).unwrap();
            catalog.medium().cache.put(STATES, &key(&id), &state);
        }
    }
    let begin = Instant::now();
    let entries = catalog.entries().unwrap();
    let opened = entries
        .iter()
        .map(|entry| catalog.open_entry(entry).unwrap().state().totals.records)
        .sum::<u64>();
    let took = begin.elapsed();
    assert_eq!((entries.len(), opened), (1001, 0));
    assert!(took.as_millis() < 2000, "listing took {took:?}");
}

#[test]
fn a_listing_tells_what_the_files_say_now() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path());
    // More than one thread looks at.
    let ids: Vec<DatasetId> = (0..200).map(|n| make(&catalog, n, &format!("d{n:03}")).id()).collect();
    let listed = catalog.listing().unwrap();
    assert_eq!(listed.len(), ids.len());
    for (listed, id) in listed.iter().zip(&ids) {
        let opened = catalog.open_entry(&listed.entry).unwrap();
        assert_eq!(listed.entry.id, *id, "by name");
        assert_eq!(listed.summary.as_ref().unwrap(), &opened.summary());
        assert_eq!(listed.summary.as_ref().unwrap().blocks(), opened.state().blocks());
        assert_eq!(listed.aliases.as_ref().unwrap(), &opened.remote_aliases().unwrap());
    }
    let of = |at: usize| {
        let mut listed = catalog.listing().unwrap();
        let place = listed.iter().position(|listed| listed.entry.id == ids[at]).unwrap();
        listed.swap_remove(place)
    };

    // Another program moves heads, names and aliases, and takes files away.
    let dataset = catalog.by_id(&ids[7]).unwrap().unwrap();
    let before = *dataset.head();
    let mut moved = dataset.clone();
    let info = MetadataEvent::SetInfo(SetInfo {
        description: Some("moved".into()),
        keywords: None,
    });
    moved.append_events(vec![info], time(), None).unwrap();
    assert_eq!(of(7).summary.unwrap().blocks(), 3);
    fs::write(dataset.dir().join("refs/head"), before.to_string()).unwrap();
    let back = of(7).summary.unwrap();
    assert_eq!((back.head, back.blocks()), (before, 2));
    fs::write(dataset.dir().join("info/alias"), "zzz").unwrap();
    assert_eq!(catalog.listing().unwrap().last().unwrap().entry.id, ids[7]);
    let config =
        "kind: DatasetConfig\nversion: 1\ncontent:\n  pullAliases:\n  - http://example.com/a\n  pushAliases: []\n";
    fs::write(dataset.dir().join("info/config"), config).unwrap();
    assert_eq!(of(7).aliases.unwrap().pull_aliases.len(), 1);
    fs::write(dataset.dir().join("info/config"), "nonsense").unwrap();
    assert!(of(7).aliases.is_err());

    // What is kept of a chain does not stand for the chain.
    let chain = dataset.chain_path();
    let bytes = fs::read(&chain).unwrap();
    fs::write(&chain, &bytes[..10]).unwrap();
    assert!(of(7).summary.is_err());
    fs::remove_file(&chain).unwrap();
    assert!(of(7).summary.is_err());
    fs::write(&chain, &bytes).unwrap();
    assert!(of(7).summary.is_ok());
    fs::remove_file(dataset.dir().join("refs/head")).unwrap();
    let headless = of(7);
    assert!(headless.summary.is_err() && headless.entry.damaged.is_some());
}

#[test]
fn what_does_not_belong_there_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let a = make(&open(dir.path()), 1, "a").id();
    fs::write(dir.path().join(".DS_Store"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let other = DatasetId::from_public_key([2; 32]).to_multibase();
    fs::create_dir(dir.path().join("other")).unwrap();
    let file = DatasetId::from_public_key([3; 32]);
    fs::write(dir.path().join(file.to_multibase()), "").unwrap();
    // A link to a disk that is not there.
    let away = DatasetId::from_public_key([4; 32]);
    std::os::unix::fs::symlink("/nowhere/at/all", dir.path().join(away.to_multibase())).unwrap();
    let catalog = open(dir.path());
    let entries = catalog.entries().unwrap();
    let damaged: Vec<DatasetId> = entries.iter().filter(|e| e.damaged.is_some()).map(|e| e.id).collect();
    assert_eq!(entries.len(), 3, "{other}: {entries:?}");
    assert!(
        damaged.contains(&file) && damaged.contains(&away) && !damaged.contains(&a),
        "{entries:?}"
    );
    assert!(catalog.find("a").is_ok());
    assert!(catalog.by_id(&away).is_err(), "its id is taken");

    // The disk is back.
    let disk = tempfile::tempdir().unwrap();
    let there = make(&open(disk.path()), 4, "b");
    let link = dir.path().join(away.to_multibase());
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(there.dir(), &link).unwrap();
    assert_eq!(catalog.find("b").unwrap().state(), there.state());
    assert_eq!(catalog.find_entry("b").unwrap().damaged, None);
}

#[test]
fn a_dataset_without_a_head_is_damaged_and_keeps_its_name_and_id() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path());
    let a = make(&catalog, 1, "a");
    let head = a.dir().join("refs/head");
    let whole = fs::read(&head).unwrap();
    for content in [None, Some(""), Some("\n"), Some("f1620"), Some("\u{0}")] {
        match content {
            None => fs::remove_file(&head).unwrap(),
            Some(content) => fs::write(&head, content).unwrap(),
        }
        let entry = catalog.find_entry("a").unwrap();
        assert!(entry.damaged.is_some(), "{content:?}");
        assert!(matches!(
            catalog.find("a"),
            Err(CatalogError::Dataset(DatasetError::Damaged { .. }))
        ));
        assert!(matches!(catalog.by_id(&a.id()), Err(DatasetError::Damaged { .. })));
        assert!(matches!(
            catalog.stage(DatasetId::from_public_key([2; 32]), &"A".parse().unwrap()),
            Err(CatalogError::NameTaken { .. })
        ));
        assert!(
            catalog.receive(a.id(), &"b".parse().unwrap()).is_err(),
            "its chain may be the only one"
        );
        assert!(
            open(dir.path()).entries().unwrap()[0].damaged.is_some(),
            "also after the next start"
        );
    }
    fs::write(&head, whole).unwrap();
    assert_eq!(catalog.find_entry("a").unwrap().damaged, None);
    // The kept state says nothing of whether the chain is there.
    fs::rename(a.chain_path(), dir.path().join("chain")).unwrap();
    assert!(matches!(
        catalog.find("a"),
        Err(CatalogError::Dataset(DatasetError::Damaged { .. }))
    ));
    fs::rename(dir.path().join("chain"), a.chain_path()).unwrap();
    assert_eq!(catalog.find("a").unwrap().state(), a.state());
}

/// Fails when told to, and hears what it is told.
#[derive(Default)]
struct Deaf {
    failing: std::sync::atomic::AtomicBool,
    heard: std::sync::Mutex<Vec<String>>,
}

impl Deaf {
    fn hear(&self, what: String) -> Result<(), MirrorError> {
        self.heard.lock().unwrap().push(what);
        match self.failing.load(std::sync::atomic::Ordering::SeqCst) {
            true => Err(MirrorError::new(io::Error::other("no room"))),
            false => Ok(()),
        }
    }
}

impl Mirror for Deaf {
    fn hold(&self) -> Box<dyn crate::Held> {
        Box::new(())
    }

    fn moved(&self, _: &Dataset) -> Result<(), MirrorError> {
        Ok(())
    }

    fn replacing(&self, _: &Dataset, _: u64) -> Result<Box<TakePlace<'_>>, MirrorError> {
        Ok(Box::new(|_, _| Ok(false)))
    }

    fn removing(&self, _: &DatasetId, dir: &Path) -> Result<(), MirrorError> {
        self.heard
            .lock()
            .unwrap()
            .push(format!("removing, there: {}", dir.exists()));
        Ok(())
    }

    fn removed(&self, _: &DatasetId, dir: &Path) -> Result<(), MirrorError> {
        self.hear(format!("removed, there: {}", dir.exists()))
    }

    fn mended(&self, _: &Dataset, _: &[PathBuf]) -> Result<(), MirrorError> {
        Ok(())
    }

    fn check(&self, _: &Dataset, _: &(dyn Fn(u64) + Sync)) -> Result<Served, MirrorError> {
        Ok(Served::default())
    }

    fn last_head(&self, _: &DatasetId) -> Option<odf_metadata::Multihash> {
        None
    }

    fn wrong_part(&self, _: &Dataset, _: &Path, _: &odf_metadata::Multihash) -> Option<crate::WrongPart> {
        None
    }
}

#[test]
fn a_removal_that_was_cut_is_finished_and_nothing_of_the_id_comes_before() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path());
    let mirror = std::sync::Arc::new(Deaf::default());
    let datasets = Datasets::new(catalog.clone(), mirror.clone());
    let a = make(&catalog, 1, "a");
    fs::write(a.dir().join("refs/head"), "damaged").unwrap();
    mirror.failing.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(datasets.delete(&a.id()), Err(RewriteError::Left { id, .. }) if id == a.id()));
    assert!(catalog.entries().unwrap().is_empty());
    assert!(matches!(
        catalog.stage(a.id(), &"a".parse().unwrap()),
        Err(CatalogError::Leaving(_))
    ));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "what is left of it");
    // Also over another start.
    let again = Datasets::new(open(dir.path()), mirror.clone());
    assert_eq!(again.finish_removals().unwrap().len(), 1);
    mirror.failing.store(false, std::sync::atomic::Ordering::SeqCst);
    assert!(again.finish_removals().unwrap().is_empty());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let heard = mirror.heard.lock().unwrap().clone();
    assert_eq!(heard[0], "removing, there: true");
    assert!(
        heard[1..].iter().all(|heard| heard == "removed, there: false"),
        "{heard:?}"
    );
    make(&catalog, 1, "a");
}

/// The datasets below a directory, with a mark beside them.
fn marked(root: &Path) -> Catalog {
    let (disk, datasets) = (Disk::new(), root.join("datasets"));
    let mark = Mark::open(&disk, &root.join("settled"), &datasets, "words");
    let medium = Medium {
        mark: Some(std::sync::Arc::new(mark)),
        ..Medium::new(disk)
    };
    Catalog::open(&datasets, medium).unwrap()
}

#[test]
fn unfinished_work_is_looked_for_only_after_an_end_that_was_not_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let settle = |catalog: &Catalog, followed: bool| catalog.settle(&|_, _| followed, "words").unwrap();
    let catalog = marked(dir.path());
    let mut a = make(&catalog, 1, "a");
    assert!(!catalog.is_settled());
    settle(&catalog, false);
    assert!(!marked(dir.path()).is_settled(), "the second form is of another head");
    settle(&catalog, true);
    let left = a.data_dir().join(".pending-left");
    fs::write(&left, "").unwrap();
    let catalog = marked(dir.path());
    assert!(catalog.is_settled() && left.exists(), "nobody looked");

    // From the first change on an end that says nothing is one that was not in order.
    a = catalog.find("a").unwrap();
    let info = |text: &str| {
        MetadataEvent::SetInfo(SetInfo {
            description: Some(text.into()),
            keywords: None,
        })
    };
    a.append_events(vec![info("more")], time(), None).unwrap();
    assert!(!catalog.is_settled());
    let catalog = marked(dir.path());
    assert!(!catalog.is_settled() && !left.exists());
    settle(&catalog, true);
    assert!(marked(dir.path()).is_settled());

    // A dataset that was being made, and one whose removal is not finished.
    std::mem::forget(
        catalog
            .stage(DatasetId::from_public_key([2; 32]), &"b".parse().unwrap())
            .unwrap(),
    );
    settle(&catalog, true);
    assert!(!catalog.is_settled());
    let catalog = marked(dir.path());
    settle(&catalog, true);
    let mirror = std::sync::Arc::new(Deaf::default());
    let datasets = Datasets::new(catalog.clone(), mirror.clone());
    mirror.failing.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(datasets.delete(&a.id()), Err(RewriteError::Left { .. })));
    settle(&catalog, true);
    assert!(!marked(dir.path()).is_settled());
    mirror.failing.store(false, std::sync::atomic::Ordering::SeqCst);
    assert!(datasets.finish_removals().unwrap().is_empty());
    settle(&catalog, true);
    assert!(marked(dir.path()).is_settled());

    // What cannot be done is said to be left.
    let catalog = marked(dir.path());
    make(&catalog, 3, "c");
    catalog.keep_unsettled();
    settle(&catalog, true);
    assert!(!marked(dir.path()).is_settled());
}

mod remembered;
