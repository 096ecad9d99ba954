use std::time::Instant;

use odf_disk::Disk;

use super::*;
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
    let a = make(&catalog, 1, "a").id();
    catalog.delete(&a).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert_eq!(catalog.medium().cache.get(STATES, &a.to_bytes()), None);
    assert!(catalog.by_id(&a).unwrap().is_none());
    assert!(matches!(catalog.delete(&a), Err(CatalogError::Io { .. })));

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
        fs::write(to.join("info/alias"), format!("d{n}")).unwrap();
        let state = catalog.medium().cache.get(STATES, &first.id().to_bytes()).unwrap();
        catalog.medium().cache.put(STATES, &id.to_bytes(), &state);
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
