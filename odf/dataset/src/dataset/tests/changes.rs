use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use odf_tables::slice::SliceOptions;

use super::current::dataset;
use super::*;

/// What became of which row, by its offset.
fn told(dataset: &Dataset, since: u64, reversed: bool) -> Result<Vec<(Change, i64)>, StateError> {
    let mut told = Vec::new();
    for changed in dataset.changes_since(since, reversed)?.into_iter().flatten() {
        let changed = changed?;
        let offsets = changed.rows.column(0).as_primitive::<Int64Type>().values();
        told.extend(changed.changes.into_iter().zip(offsets.iter().copied()));
    }
    Ok(told)
}

#[test]
fn of_every_key_it_is_told_what_it_was_against_what_it_is() {
    use Change::{Added, Retracted};
    let dir = TempDir::new().unwrap();
    let catalog = open(dir.path());
    let slices: [&[(i32, u64)]; 4] = [
        &[(0, 1), (0, 2), (0, 3)],
        // 2 is corrected to what it was, 3 goes and comes back.
        &[(2, 2), (3, 2), (1, 3)],
        &[(0, 3), (0, 4)],
        // 5 comes and goes between.
        &[(1, 1), (0, 5), (1, 5)],
    ];
    let dataset = dataset(&catalog, &slices, true);
    // Blocks: Seed, schema, source, and one for each slice.
    assert_eq!(told(&dataset, 3, false).unwrap(), [(Added, 7), (Retracted, 8)]);
    assert_eq!(told(&dataset, 3, true).unwrap(), [(Retracted, 7), (Added, 8)]);
    assert_eq!(
        told(&dataset, 4, false).unwrap(),
        [(Added, 6), (Added, 7), (Retracted, 8)]
    );
    assert_eq!(told(&dataset, 6, false).unwrap(), []);
    let then = dataset.as_of(4).unwrap();
    assert_eq!(told(&then, 3, false).unwrap(), [(Retracted, 5)]);
}

#[test]
fn without_a_key_rows_are_told_as_they_came() {
    use Change::{Added, CorrectedFrom, CorrectedTo, Retracted};
    let dir = TempDir::new().unwrap();
    let catalog = open(dir.path());
    let dataset = dataset(&catalog, &[&[(0, 1)], &[(0, 1), (2, 1), (3, 1), (1, 1)]], false);
    assert_eq!(
        told(&dataset, 2, false).unwrap(),
        [(Added, 1), (CorrectedFrom, 2), (CorrectedTo, 3), (Retracted, 4)]
    );
}

#[test]
fn keys_and_rows_are_held_up_to_the_limits() {
    let dir = TempDir::new().unwrap();
    let keys: Vec<(i32, u64)> = (0..5).map(|key| (0, key)).collect();
    let gone: Vec<(i32, u64)> = (0..5).map(|key| (1, key)).collect();
    // An entry of the map has 48 bytes, a key of one time 9: of MAX_KEY_BYTES there are 256 in tests.
    for (count, fits) in [(4, true), (5, false)] {
        let catalog = open(&dir.path().join(format!("keys{count}")));
        let found = told(&dataset(&catalog, &[&keys, &gone[..count]], true), 3, false);
        assert_eq!(found.is_ok(), fits, "{count}: {found:?}");
    }
    // What goes and comes back later is held meanwhile: of MAX_HELD_BYTES there are 1024 in tests.
    for (count, fits) in [(1, true), (4, false)] {
        let catalog = open(&dir.path().join(format!("rows{count}")));
        let dataset = dataset(&catalog, &[&keys, &gone[..count], &keys[..count]], true);
        let found = told(&dataset, 3, false);
        assert_eq!(found.is_ok(), fits, "{count}: {found:?}");
    }
}

#[test]
fn what_one_history_did_goes_behind_what_the_other_did() {
    let dir = TempDir::new().unwrap();
    let made = |name: &str, slices: &[&[(i32, u64)]]| dataset(&open(&dir.path().join(name)), slices, true);
    let common: &[(i32, u64)] = &[(0, 1), (0, 2)];
    let ours = made("ours", &[common, &[(0, 3), (0, 4)], &[(1, 1)]]);
    let mut theirs = made("theirs", &[common, &[(0, 4), (0, 5)]]);
    assert_eq!(ours.block_by_sequence(3).unwrap(), theirs.block_by_sequence(3).unwrap());
    let options = SliceOptions::default();
    let rebased = theirs.rebase(&ours, 4, &options, time(9)).unwrap();
    assert_eq!(
        rebased,
        Rebased {
            rows: 2,
            commits: 2,
            already: 1,
            events: 0
        }
    );
    let operations = theirs.tail(2).unwrap().unwrap();
    let (offsets, operations) = (operations.column(0).clone(), operations.column(1).clone());
    assert_eq!(offsets.as_primitive::<Int64Type>().values(), &[4, 5]);
    let operations = operations.as_primitive::<arrow::datatypes::Int32Type>();
    assert_eq!(operations.values(), &[0, 1]);

    // What only one says about the dataset comes along; what both say, and not alike, is named.
    let (mut ours, mut theirs) = (made("ours2", &[common]), made("theirs2", &[common]));
    ours.append_events(vec![info("ours")], time(3), None).unwrap();
    assert_eq!(theirs.rebase(&ours, 4, &options, time(9)).unwrap().events, 1);
    let mut theirs = made("theirs3", &[common]);
    theirs.append_events(vec![info("theirs")], time(3), None).unwrap();
    let refused = theirs.rebase(&ours, 4, &options, time(9));
    assert!(
        matches!(refused, Err(RebaseError::Event { kind: "SetInfo" })),
        "{refused:?}"
    );

    // A row has 28 bytes: of MAX_HELD_BYTES there are 64 KiB in tests.
    let many: Vec<(i32, u64)> = (10..3_010).map(|key| (0, key)).collect();
    let refused = made("theirs4", &[common]).rebase(&made("ours4", &[common, &many]), 4, &options, time(9));
    assert!(matches!(refused, Err(RebaseError::TooMany)), "{refused:?}");
}
