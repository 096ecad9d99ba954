//! Datasets that kamu made: their blocks, logs, manifests and chains mean here what they mean there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use odf_metadata::MetadataEvent;
use odf_metadata::chain::ChainState;
use odf_metadata::codec::{EncodedBlock, VERSION};
use odf_metadata::yaml::{event_to_json, log_entry, read_blocks, read_snapshots, write_snapshot};
use odf_reference as golden;

#[test]
fn every_golden_block_is_written_as_kamu_wrote_it() {
    for dataset in golden::datasets() {
        let blocks = dataset.blocks();
        let files = std::fs::read_dir(dataset.object("blocks")).unwrap().count();
        assert_eq!(blocks.len(), files, "{}: every file is in the chain", dataset.name);
        for block in blocks {
            assert_eq!(block.version(), VERSION);
            let again = EncodedBlock::encode(block.block().clone()).unwrap();
            assert_eq!(again, block, "{}", dataset.name);
        }
    }
}

#[test]
fn log_is_what_kamu_prints() {
    for dataset in golden::datasets() {
        let blocks = dataset.blocks();
        let log: String = blocks.iter().rev().map(|block| log_entry(block).unwrap()).collect();
        assert_eq!(log, dataset.text("log.yaml"), "{}", dataset.name);
        let mut read = read_blocks(&log).unwrap();
        read.reverse();
        assert!(
            read.iter().eq(blocks.iter().map(EncodedBlock::block)),
            "{} reads back",
            dataset.name
        );
        for block in blocks {
            let json = event_to_json(&block.block().event).unwrap();
            let back: MetadataEvent = serde_json::from_value(json).unwrap();
            assert_eq!(back, block.block().event, "{} through JSON", dataset.name);
        }
    }
}

#[test]
fn golden_manifests_read() {
    for dataset in golden::datasets() {
        let [snapshot] = &read_snapshots(&dataset.text("manifest.yaml")).unwrap()[..] else {
            panic!("one document")
        };
        assert_eq!(snapshot.name, dataset.name);
        let again = read_snapshots(&write_snapshot(snapshot).unwrap()).unwrap();
        assert_eq!(again, std::slice::from_ref(snapshot));
    }
}

#[test]
fn golden_chains_are_valid() {
    for dataset in golden::datasets() {
        let blocks = dataset.blocks();
        let state = ChainState::replay(&blocks).unwrap().unwrap();
        assert_eq!(state.head, dataset.head());
        assert_eq!(state.blocks(), blocks.len() as u64);
        assert_eq!(state.dataset_id.to_string(), dataset.text("id.txt").trim());
        let lines = dataset.text("tail.json");
        let records = serde_json::from_str::<Vec<serde_json::Value>>(&lines).map_or(0, |rows| rows.len() as u64);
        assert_eq!(state.totals.records, records, "{}", dataset.name);
        assert_eq!(state.next_offset(), records, "{}", dataset.name);
        let size: u64 = std::fs::read_dir(dataset.object("data"))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert_eq!(state.totals.data_bytes, size, "{}", dataset.name);

        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(
            serde_json::from_str::<ChainState>(&json).unwrap(),
            state,
            "{} as JSON",
            dataset.name
        );
        let cbor = serde_ipld_dagcbor::to_vec(&state).unwrap();
        assert_eq!(
            serde_ipld_dagcbor::from_slice::<ChainState>(&cbor).unwrap(),
            state,
            "{} as CBOR",
            dataset.name
        );
    }
}
