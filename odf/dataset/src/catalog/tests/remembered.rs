//! What is remembered of datasets: names, and what a listing saw.

use std::time::Duration;

use odf_metadata::{SetTransform, SqlQueryStep, Transform, TransformInput};

use super::*;
use crate::catalog::seen::SETTLED_AFTER;

fn call(dataset: &Dataset, name: &str) {
    fs::write(dataset.dir().join("info/alias"), name).unwrap();
}

fn end(catalog: &Catalog) {
    catalog.settle(&|_, _| true, "words").unwrap();
}

#[test]
fn a_name_costs_one_dataset_and_a_free_one_none() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = marked(dir.path());
    let datasets: Vec<Dataset> = (0..20).map(|key| make(&catalog, key, &format!("d{key}"))).collect();
    let of = |name: &str| catalog.find_entry(name).map(|entry| entry.id);
    assert_eq!(of("D7").unwrap(), datasets[7].id());
    // Whoever reads the others would say that each is called so.
    for (key, dataset) in datasets.iter().enumerate().filter(|(key, _)| *key != 7) {
        call(dataset, &format!("d{}", if key == 3 { 3 } else { 7 }));
    }
    assert_eq!(of("d7").unwrap(), datasets[7].id());
    assert_eq!(of("d3").unwrap(), datasets[3].id());
    assert_eq!(
        of(&datasets[5].id().to_string()).unwrap(),
        datasets[5].id(),
        "by its id, too"
    );
    assert_eq!(catalog.named(&"new".parse().unwrap()).unwrap(), None);
    // Those that come are looked at, the others are not.
    let new = make(&catalog, 20, "new");
    assert_eq!(of("new").unwrap(), new.id());
    assert_eq!(of("d7").unwrap(), datasets[7].id());
    // Whoever lists all finds out.
    catalog.entries().unwrap();
    assert!(matches!(of("d7"), Err(CatalogError::Ambiguous { candidates, .. }) if candidates.len() == 19));
    let taken = catalog.stage(DatasetId::from_public_key([99; 32]), &"d7".parse().unwrap());
    assert!(matches!(taken, Err(CatalogError::NameTaken { .. })));
}

#[test]
fn whoever_asks_for_a_dataset_by_name_hears_what_the_datasets_say() {
    let dir = tempfile::tempdir().unwrap();
    for catalog in [open(&dir.path().join("without")), marked(dir.path())] {
        let [a, b, c] = [(1, "a"), (2, "b"), (3, "c")].map(|(key, name)| make(&catalog, key, name));
        let of = |name: &str| catalog.find_entry(name).ok().map(|entry| entry.id);
        let all = |names: [&str; 3]| names.map(of);
        assert_eq!(all(["a", "b", "c"]), [Some(a.id()), Some(b.id()), Some(c.id())]);
        // By hand, so that nobody was told.
        call(&a, "b");
        call(&b, "a");
        assert_eq!(all(["a", "b", "c"]), [Some(b.id()), Some(a.id()), Some(c.id())]);
        call(&a, "new");
        assert_eq!(all(["a", "b", "new"]), [Some(b.id()), None, Some(a.id())]);
        catalog.rename(&c, &"b".parse().unwrap()).unwrap();
        assert_eq!(all(["c", "b", "new"]), [None, Some(c.id()), Some(a.id())]);
        call(&a, "no good name");
        assert_eq!(all(["new", "b", "a"]), [None, Some(c.id()), Some(b.id())]);
        call(&a, "a2");
        assert_eq!(all(["a2", "b", "a"]), [Some(a.id()), Some(c.id()), Some(b.id())]);
        Datasets::new(catalog.clone(), std::sync::Arc::new(NoMirror))
            .delete(&b.id())
            .unwrap();
        assert_eq!(all(["a2", "b", "a"]), [Some(a.id()), Some(c.id()), None]);
        make(&catalog, 4, "a");
        assert_eq!(of("a"), Some(DatasetId::from_public_key([4; 32])));
    }
}

/// A dataset that is computed from another one.
fn computed(catalog: &Catalog, key: u8, name: &str, from: &DatasetId) -> DatasetId {
    let id = DatasetId::from_public_key([key; 32]);
    let transform = SetTransform {
        inputs: vec![TransformInput {
            dataset_ref: from.to_string(),
            alias: Some("input".to_owned()),
        }],
        transform: Transform::Sql(odf_metadata::TransformSql {
            engine: "datafusion".to_owned(),
            version: None,
            query: None,
            queries: Some(vec![SqlQueryStep {
                alias: None,
                query: "select 1".to_owned(),
            }]),
            temporal_tables: None,
        }),
    };
    let new = catalog.stage(id, &name.parse().unwrap()).unwrap();
    let events = vec![MetadataEvent::SetTransform(transform)];
    new.install_events(DatasetKind::Derivative, events, time(), None)
        .unwrap();
    id
}

#[test]
fn names_and_inputs_last_from_one_end_in_order_to_the_next_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("datasets.names");
    let catalog = marked(dir.path());
    let a = make(&catalog, 1, "a");
    let b = computed(&catalog, 2, "b", &a.id());
    assert_eq!(catalog.computed_from(&a.id()).unwrap(), [b]);
    assert!(!file.exists(), "it is written at the end");
    // Whoever only read has it remembered too.
    end(&catalog);
    let whole = fs::read(&file).unwrap();
    let is_remembered = |wanted: bool| {
        let catalog = marked(dir.path());
        assert!(catalog.is_settled());
        // By hand: who reads the dataset sees that it has another name.
        call(&a, "other");
        let named = |name: &str| catalog.called(&name.parse().unwrap()).unwrap().len();
        let seen = (named("other"), catalog.computed_from(&a.id()).unwrap());
        call(&a, "a");
        assert_eq!(seen, (usize::from(!wanted), vec![b]));
        // Nobody who asks meanwhile is told of more datasets of a name than say so.
        let entries = catalog.called(&"a".parse().unwrap()).unwrap();
        assert!(entries.iter().all(|entry| entry.id == a.id()) && entries.len() < 2);
    };
    let is_made_anew = || {
        is_remembered(false);
        let catalog = marked(dir.path());
        assert_eq!(catalog.named(&"a".parse().unwrap()).unwrap().unwrap().id, a.id());
        end(&catalog);
        assert_eq!(fs::read(&file).unwrap(), whole);
        is_remembered(true);
    };
    is_remembered(true);
    // Lost, cut, of another time, or with something wrong: it is no help, and does no harm.
    let mut wrong = whole.clone();
    *wrong.last_mut().unwrap() ^= 1;
    for left in [&whole[..whole.len() / 2], b"", b"junk\n", &wrong] {
        fs::write(&file, left).unwrap();
        is_made_anew();
    }
    fs::remove_file(&file).unwrap();
    is_made_anew();
    // One byte longer than is read.
    let long = fs::File::create(&file).unwrap();
    long.set_len(crate::catalog::names::MAX_FILE_BYTES + 1).unwrap();
    is_made_anew();
    // The mark speaks of a file of another form, or of one that says of two datasets that they are called so.
    let speak_of = |text: &str, form: u64| {
        fs::write(&file, text).unwrap();
        let check = crate::dataset::check(&DatasetId::from_public_key([0; 32]), form, text.as_bytes());
        let catalog = marked(dir.path());
        catalog
            .medium()
            .mark
            .as_ref()
            .unwrap()
            .put_back("words", Some(check))
            .unwrap();
    };
    let text = String::from_utf8(whole.clone()).unwrap();
    speak_of(&text, 2);
    is_made_anew();
    speak_of(&text.replace(" b ", " a "), 1);
    let catalog = marked(dir.path());
    assert_eq!(catalog.named(&"a".parse().unwrap()).unwrap().unwrap().id, a.id());
    assert_eq!(catalog.find_entry("b").unwrap().id, b, "it says so itself");
    speak_of(&text, 1);
    is_remembered(true);

    // What this process changes is looked at, and written down at its end.
    let catalog = marked(dir.path());
    let a = catalog.by_id(&a.id()).unwrap().unwrap();
    catalog.rename(&a, &"a2".parse().unwrap()).unwrap();
    let c = computed(&catalog, 3, "c", &b);
    end(&catalog);
    assert_ne!(fs::read(&file).unwrap(), whole);
    let catalog = marked(dir.path());
    assert!(catalog.is_settled());
    assert_eq!(catalog.named(&"a2".parse().unwrap()).unwrap().unwrap().id, a.id());
    assert_eq!(catalog.named(&"a".parse().unwrap()).unwrap(), None);
    assert_eq!(catalog.computed_from(&b).unwrap(), [c]);
    // A process that is killed leaves it as it was, and nobody believes it.
    let a = catalog.by_id(&a.id()).unwrap().unwrap();
    catalog.rename(&a, &"a3".parse().unwrap()).unwrap();
    let catalog = marked(dir.path());
    assert!(!catalog.is_settled());
    assert_eq!(catalog.named(&"a3".parse().unwrap()).unwrap().unwrap().id, a.id());
    assert_eq!(catalog.named(&"a2".parse().unwrap()).unwrap(), None);
}

#[test]
fn a_listing_reads_what_was_touched_and_believes_nothing_of_what_it_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("datasets.seen");
    let catalog = marked(dir.path());
    let datasets: Vec<Dataset> = (0..20).map(|key| make(&catalog, key, &format!("d{key:02}"))).collect();
    let names = || -> Vec<String> {
        let listed = catalog.listing().unwrap();
        listed.iter().map(|listed| listed.entry.label()).collect()
    };
    let expected = names();
    assert!(
        !file.exists(),
        "what was changed just now may be changed again and look the same"
    );
    std::thread::sleep(SETTLED_AFTER + Duration::from_millis(10));
    assert_eq!(names(), expected);
    let whole = fs::read(&file).unwrap();
    assert_eq!(whole.iter().filter(|byte| **byte == b'\n').count(), 21);

    // What stands there is told of what looks as it did.
    let forge = |from: &str, to: &str| {
        let text = String::from_utf8(whole[16..].to_vec()).unwrap().replace(from, to);
        let sum = crate::dataset::check(&DatasetId::from_public_key([0; 32]), 1, text.as_bytes());
        fs::write(&file, format!("{sum:016x}{text}")).unwrap();
    };
    forge("\"d07\"", "\"forged\"");
    assert!(names().contains(&"forged".to_owned()));
    assert!(catalog.entries().unwrap().iter().any(|entry| entry.label() == "forged"));
    // Whatever is touched is read.
    let touched = datasets[7].dir().join("info/alias");
    fs::write(&touched, "d07").unwrap();
    assert_eq!(names(), expected);
    fs::write(&file, &whole).unwrap();
    fs::write(&touched, "zzz").unwrap();
    assert_eq!(names().last().unwrap(), "zzz");
    fs::write(&touched, "d07").unwrap();
    let mut moved = datasets[3].clone();
    let info = MetadataEvent::SetInfo(SetInfo {
        description: Some("moved".into()),
        keywords: None,
    });
    moved.append_events(vec![info], time(), None).unwrap();
    let listed = catalog.listing().unwrap();
    assert_eq!(listed[3].summary.as_ref().unwrap().head, *moved.head());
    fs::remove_file(datasets[4].chain_path()).unwrap();
    assert!(catalog.listing().unwrap()[4].summary.is_err());
    fs::write(datasets[5].dir().join("damaged.json"), "{}").unwrap();
    assert!(catalog.entries().unwrap()[5].damaged.is_some());
    fs::remove_file(datasets[6].dir().join("refs/head")).unwrap();
    assert!(catalog.entries().unwrap()[6].damaged.is_some());
    assert_eq!(names(), expected);

    // Lost, cut, or with something wrong, it is made anew; and not for a few that were touched.
    let mut wrong = whole.clone();
    *wrong.last_mut().unwrap() ^= 1;
    for left in [&whole[..whole.len() / 2], b"", b"junk\n", &wrong] {
        fs::write(&file, left).unwrap();
        assert_eq!(names(), expected);
        assert_ne!(fs::read(&file).unwrap(), left);
    }
    let long = fs::File::create(&file).unwrap();
    long.set_len(crate::catalog::seen::MAX_FILE_BYTES + 1).unwrap();
    assert_eq!(names(), expected);
    assert!(fs::metadata(&file).unwrap().len() < whole.len() as u64);
    let kept = fs::metadata(&file).unwrap().modified().unwrap();
    assert_eq!(names(), expected);
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), kept);
}
