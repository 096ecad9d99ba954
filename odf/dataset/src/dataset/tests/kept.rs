//! What is kept of the state of a chain, in two parts, either of which may be lost or older than the other.

use super::super::state::{STATES, kept_state, kept_summary};
use super::*;

/// The parts as they are kept: what each append moves, and what it leaves alone.
fn parts(dataset: &Dataset) -> [(Vec<u8>, Option<Vec<u8>>); 2] {
    let moving = dataset.id().to_bytes().to_vec();
    let lasting = [&moving[..], b"l"].concat();
    [moving, lasting].map(|key| {
        let value = dataset.medium.cache.get(STATES, &key);
        (key, value)
    })
}

#[test]
fn an_append_moves_the_small_part_only_and_either_part_may_be_lost() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path());
    let mut dataset = make(&catalog);
    let cache = dataset.medium.cache.clone();
    let state = |dataset: &Dataset| kept_state(dataset.medium.cache.as_ref(), &dataset.id());
    assert_eq!(state(&dataset).as_ref(), Some(dataset.state()));
    let [moving, lasting] = parts(&dataset);
    add(&mut dataset, 3, 4).unwrap();
    let [moved, left] = parts(&dataset);
    assert_ne!(moving, moved);
    assert_eq!(lasting, left);
    let schema = serde_json::to_vec(&dataset.state().schema).unwrap();
    let holds = |part: &Option<Vec<u8>>| part.as_ref().unwrap().windows(schema.len()).any(|at| at == schema);
    assert!(!holds(&moved.1) && holds(&left.1), "no append writes the schema");
    assert_eq!(kept_summary(cache.as_ref(), &dataset.id()), Some(dataset.summary()));

    // A description changes what lasts.
    dataset.append_events(vec![info("more")], time(9), None).unwrap();
    let described = parts(&dataset);
    assert_ne!(described[1], left);
    assert_eq!(state(&dataset).as_ref(), Some(dataset.state()));

    // Neither part counts with an older one, or without one.
    for (key, older) in [(&lasting.0, &lasting.1), (&moving.0, &moved.1)] {
        let newer = cache.get(STATES, key).unwrap();
        cache.put(STATES, key, older.as_ref().unwrap());
        assert_eq!(state(&dataset), None);
        let opened = catalog.by_id(&dataset.id()).unwrap().unwrap();
        assert_eq!(opened.state(), dataset.state(), "read from the chain");
        assert_eq!(cache.get(STATES, key), Some(newer), "and kept again");
    }
    for (key, _) in &described {
        cache.forget(STATES, key);
        assert_eq!(state(&dataset), None);
        assert_eq!(catalog.by_id(&dataset.id()).unwrap().unwrap().state(), dataset.state());
        assert_eq!(parts(&dataset), described);
    }
    cache.put(STATES, &moving.0, &[]);
    assert_eq!(kept_summary(cache.as_ref(), &dataset.id()), None);
}
