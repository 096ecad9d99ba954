use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use odf_metadata::{AddPushSource, MergeStrategy, ReadStep};

use super::*;

pub(super) fn source() -> MetadataEvent {
    MetadataEvent::AddPushSource(AddPushSource {
        source_name: "default".to_owned(),
        read: ReadStep::NdJson {
            ddl_schema: None,
            date_format: None,
            encoding: None,
            timestamp_format: None,
            schema: None,
        },
        preprocess: None,
        merge: MergeStrategy::Snapshot {
            primary_key: vec!["event_time".to_owned()],
            compare_columns: None,
        },
    })
}

/// A dataset whose slices have these operations, each on the key of that number.
pub(super) fn dataset(catalog: &Catalog, slices: &[&[(i32, u64)]], keyed: bool) -> Dataset {
    let staged = catalog.stage(id(), &"d".parse().unwrap()).unwrap();
    let mut events = vec![schema_event()];
    events.extend(keyed.then(source));
    let (mut dataset, _) = staged.install_events(DatasetKind::Root, events, time(0), None).unwrap();
    let mut from = 0;
    for slice in slices {
        let (written, event) = rows_that(dataset.disk(), &dataset.data_dir(), from, slice);
        dataset.append_events(vec![event], time(from), Some(written)).unwrap();
        from += slice.len() as u64;
    }
    dataset
}

fn offsets(dataset: &Dataset) -> Result<Vec<i64>, StateError> {
    let Some(current) = dataset.current()? else {
        return Ok(Vec::new());
    };
    let mut offsets = Vec::new();
    for batch in current {
        offsets.extend_from_slice(batch?.column(0).as_primitive::<Int64Type>().values());
    }
    Ok(offsets)
}

#[test]
fn the_last_word_on_a_key_counts() {
    let dir = TempDir::new().unwrap();
    let catalog = open(dir.path());
    let slices: [&[(i32, u64)]; 4] = [
        &[(0, 1), (0, 2), (0, 3)],
        // 2 is corrected in place of itself, 3 goes.
        &[(2, 2), (3, 2), (1, 3)],
        // 3 comes back; 4 is there twice, as a ledger keeps what one file repeats.
        &[(0, 3), (0, 4), (0, 4)],
        &[(1, 1)],
    ];
    let dataset = dataset(&catalog, &slices, true);
    assert_eq!(offsets(&dataset).unwrap(), [4, 6, 7, 8]);
}

#[test]
fn rows_that_only_came_need_no_key() {
    let dir = TempDir::new().unwrap();
    let catalog = open(dir.path());
    assert_eq!(offsets(&dataset(&catalog, &[], false)).unwrap(), [0_i64; 0]);
    let dir = TempDir::new().unwrap();
    let catalog = open(dir.path());
    assert_eq!(
        offsets(&dataset(&catalog, &[&[(0, 1), (0, 1)]], false)).unwrap(),
        [0, 1]
    );
    let dir = TempDir::new().unwrap();
    let catalog = open(dir.path());
    let retracting = dataset(&catalog, &[&[(0, 1), (1, 1)]], false);
    assert!(matches!(offsets(&retracting), Err(StateError::NoKey)));
}

#[test]
fn keys_are_held_up_to_the_limit() {
    // An entry of the map has 32 bytes, a key of one time 9: the limit of tests is 256.
    for (retracted, fits) in [(6, true), (7, false)] {
        let dir = TempDir::new().unwrap();
        let catalog = open(dir.path());
        let rows: Vec<(i32, u64)> = (0..retracted).flat_map(|key| [(0, key), (1, key)]).collect();
        let found = offsets(&dataset(&catalog, &[&rows], true));
        match fits {
            true => assert_eq!(found.unwrap(), [0_i64; 0]),
            false => assert!(matches!(found, Err(StateError::TooMany)), "{retracted}"),
        }
    }
}
