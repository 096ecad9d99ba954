//! kamu's datasets made again from their inputs: every slice and every metadata block must come out byte for byte.

use std::path::PathBuf;

use super::*;
use odf_metadata::{MetadataBlock, MetadataEvent};
use odf_reference::{self as golden, Golden};

/// What kamu's slices say about their writer.
const KAMU: &str = "datafusion version 54.1.0";

/// The inputs of a golden dataset in order.
fn inputs(golden: &Golden) -> Vec<PathBuf> {
    let find = |n: usize| {
        let with = |extension: &str| golden.dir.join(format!("in{n}.{extension}"));
        ["csv", "ndjson", "geojson"]
            .into_iter()
            .map(with)
            .find(|path| path.exists())
    };
    (0..).map_while(find).collect()
}

/// Makes the dataset from its first blocks, ingests every input at the time of its AddData, and compares the chain.
fn replay(golden: &Golden) {
    let blocks = golden.blocks();
    let is_created =
        |block: &&MetadataBlock| !matches!(block.event, MetadataEvent::SetDataSchema(_) | MetadataEvent::AddData(_));
    let created: Vec<&MetadataBlock> = blocks
        .iter()
        .map(|block| block.block())
        .take_while(is_created)
        .collect();
    let MetadataEvent::Seed(seed) = &created[0].event else {
        panic!("{} begins with a Seed", golden.name)
    };
    let world = World::new();
    let staged = world
        .catalog
        .stage(seed.dataset_id, &golden.name.parse().unwrap())
        .unwrap();
    let events = created[1..].iter().map(|block| block.event.clone()).collect();
    let (mut dataset, _) = staged
        .install_events(seed.dataset_kind, events, created[0].system_time, None)
        .unwrap();

    let mut additions = blocks.iter().filter_map(|block| match &block.block().event {
        MetadataEvent::AddData(event) => Some((block.block().system_time, event.clone())),
        _ => None,
    });
    let slice = SliceOptions {
        created_by: KAMU.into(),
        ..SliceOptions::default()
    };
    for path in inputs(golden) {
        let (system_time, wanted) = additions.next().unwrap();
        let progress = &mut |_| ControlFlow::Continue(());
        let outcome = if dataset.state().polling_source.is_some() {
            let given = Polled {
                name: "the source",
                content: &path,
                event_time: None,
                state: wanted.new_source_state.as_ref(),
                seen: None,
                allow_empty: true,
                slice: &slice,
            };
            polled(&mut dataset, given, system_time, progress)
        } else {
            // As the README says: only these were pushed with an event time.
            let event_time = wanted.new_watermark.filter(|_| golden.name.starts_with("cities."));
            let options = PushOptions {
                event_time,
                slice: slice.clone(),
                ..PushOptions::default()
            };
            push(&mut dataset, "the input", &path, &options, system_time, progress)
        };
        assert_eq!(updated(outcome).slice, wanted.new_data, "{}", path.display());
    }
    assert_eq!(additions.count(), 0, "{}: every AddData was made again", golden.name);
    let ours: Vec<_> = dataset.blocks().unwrap().map(|stored| stored.unwrap().block).collect();
    for (ours, theirs) in ours.iter().zip(&blocks) {
        assert_eq!(ours.block(), theirs.block(), "{}", golden.name);
        assert_eq!(ours.bytes(), theirs.bytes(), "{}", golden.name);
    }
    assert_eq!(*dataset.head(), golden.head());
}

#[test]
fn chains_of_kamu_are_made_again_byte_for_byte() {
    // The one left out is derivative.
    for golden in golden::datasets()
        .iter()
        .filter(|golden| golden.name != "weather.monthly")
    {
        replay(golden);
    }
}
