use proptest::prelude::*;

use super::*;
use crate::sample::{Sample, Tape};
use crate::*;

mod vectors;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn sample(tape: &[u8]) -> MetadataBlock {
    MetadataBlock::sample(&mut Tape::new(tape))
}

/// Bytes of a block of version 3 with the version number overwritten.
fn with_version(version: i32) -> Vec<u8> {
    let mut bytes = encode(&sample(&[]));
    // The manifest's table lies at byte 20, its version in the third word.
    assert_eq!(bytes[28..32], VERSION.to_le_bytes());
    bytes[28..32].copy_from_slice(&version.to_le_bytes());
    bytes
}

#[test]
fn versions_before_and_after_are_refused() {
    assert_eq!(EncodedBlock::decode(with_version(2)).unwrap().version(), 2);
    assert_eq!(EncodedBlock::decode(with_version(3)).unwrap().version(), 3);
    for version in [i32::MIN, 0, 1] {
        assert_eq!(
            EncodedBlock::decode(with_version(version)),
            Err(DecodeError::ObsoleteVersion { version })
        );
    }
    for version in [4, i32::MAX] {
        assert_eq!(
            EncodedBlock::decode(with_version(version)),
            Err(DecodeError::UnsupportedVersion { version })
        );
    }
}

/// The bytes of a block as version 2 had them, which put timestamps where they fell: the inner buffer is moved by one byte
/// with everything that points over the gap, which no aligned reader would take.
fn version_2(block: &MetadataBlock) -> Vec<u8> {
    let mut inner = Builder::new();
    let root = block.write_table(&mut inner);
    inner.finish(root, None);
    let mut moved = inner.finished_data().to_vec();
    let root = u32::from_le_bytes(moved[..4].try_into().unwrap()) + 1;
    moved.insert(4, 0);
    moved[..4].copy_from_slice(&root.to_le_bytes());
    manifest(&moved, METADATA_BLOCK_KIND, 2)
}

fn manifest(content: &[u8], kind: i64, version: i32) -> Vec<u8> {
    let mut outer = Builder::new();
    let content = outer.create_vector::<u8>(content).as_union_value();
    let table = outer.start_table();
    outer.push_slot::<i64>(voffset(0), kind, 0);
    outer.push_slot::<i32>(voffset(1), version, 0);
    outer.push_slot_always(voffset(2), content);
    let root = outer.end_table(table);
    outer.finish(root, None);
    outer.finished_data().to_vec()
}

#[test]
fn other_manifests_are_refused() {
    let kind = METADATA_BLOCK_KIND + 1;
    assert_eq!(
        EncodedBlock::decode(manifest(&[], kind, 3)),
        Err(DecodeError::NotMetadataBlock { kind })
    );
    assert!(matches!(
        EncodedBlock::decode(Vec::new()),
        Err(DecodeError::OutOfBounds { .. })
    ));
    assert!(EncodedBlock::decode(manifest(&[], METADATA_BLOCK_KIND, 3)).is_err());
}

#[test]
fn a_block_is_known_by_its_hash() {
    let block = EncodedBlock::encode(sample(&[1, 2, 3])).unwrap();
    assert_eq!(
        EncodedBlock::decode_checked(block.hash(), block.bytes().clone()),
        Ok(block.clone())
    );
    let other = Multihash::sha3_256(b"other");
    let error = EncodedBlock::decode_checked(&other, block.bytes().clone());
    assert_eq!(
        error,
        Err(DecodeError::HashMismatch {
            expected: other,
            actual: *block.hash()
        })
    );
}

fn with_event(event: MetadataEvent) -> MetadataBlock {
    MetadataBlock { event, ..sample(&[]) }
}

fn with_type(data_type: DataType) -> MetadataBlock {
    let schema = DataSchema {
        fields: vec![DataField::new("a", data_type)],
        extra: None,
    };
    with_event(MetadataEvent::SetDataSchema(SetDataSchema {
        schema: Some(schema),
        raw_arrow_schema: None,
    }))
}

#[test]
fn depth_is_limited() {
    // Block, event, schema, field, then one table a level.
    let nested = |levels: usize| with_type((4..levels).fold(DataType::Bool, |inner, _| inner.optional()));
    assert!(EncodedBlock::encode(nested(MAX_DEPTH)).is_ok());
    assert_eq!(EncodedBlock::encode(nested(MAX_DEPTH + 1)), Err(DecodeError::TooDeep));
    // Data that was never written by us: the error is the same however deep.
    assert_eq!(decode(&encode(&nested(4096))).unwrap_err(), DecodeError::TooDeep);
}

#[test]
fn length_is_limited() {
    let info = |len: usize| {
        with_event(MetadataEvent::SetInfo(SetInfo {
            description: Some("x".repeat(len)),
            keywords: None,
        }))
    };
    let overhead = encode(&info(0)).len();
    assert!(EncodedBlock::encode(info(MAX_BLOCK_BYTES - overhead - 8)).is_ok());
    let len = encode(&info(MAX_BLOCK_BYTES)).len();
    assert_eq!(
        EncodedBlock::encode(info(MAX_BLOCK_BYTES)),
        Err(DecodeError::TooLarge { len })
    );
    assert!(matches!(
        EncodedBlock::decode(vec![0; MAX_BLOCK_BYTES + 1]),
        Err(DecodeError::TooLarge { .. })
    ));
}

/// A SetInfo block whose keywords are `count` times one and the same string of `len` bytes.
fn aliased(count: usize, len: usize) -> Vec<u8> {
    let mut inner = Builder::new();
    let word = inner.create_string(&"x".repeat(len)).as_union_value();
    let words = inner.create_vector(&vec![word; count]).as_union_value();
    let event = inner.start_table();
    inner.push_slot_always(voffset(1), words);
    let event = inner.end_table(event).as_union_value();
    let block = inner.start_table();
    <Timestamp as field::Field>::push("2020-01-01T00:00:00Z".parse().unwrap(), &mut inner, 0);
    inner.push_slot_always(voffset(3), 8_u8);
    inner.push_slot_always(voffset(4), event);
    let root = inner.end_table(block);
    inner.finish(root, None);
    manifest(inner.finished_data(), METADATA_BLOCK_KIND, 3)
}

#[test]
fn what_a_small_block_can_blow_up_to_is_limited() {
    // Two tables, and each keyword counts as element and as string.
    let fits = (MAX_DECODED_VALUES - 2) / 2;
    assert!(decode(&aliased(fits, 1)).is_ok());
    assert_eq!(decode(&aliased(fits + 1, 1)), Err(DecodeError::TooManyValues));
    let len = 1 << 16;
    assert!(decode(&aliased(MAX_DECODED_BYTES / len, len)).is_ok());
    assert_eq!(
        decode(&aliased(MAX_DECODED_BYTES / len + 1, len)),
        Err(DecodeError::TooManyBytes)
    );
}

#[test]
fn what_the_schema_does_not_know_is_an_error() {
    let bytes = encode(&with_event(MetadataEvent::DisablePollingSource(
        DisablePollingSource {},
    )));
    let ids = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == 13)
        .map(|(at, _)| at);
    let unknown = ids.filter(|at| {
        let mut bytes = bytes.clone();
        bytes[*at] = 14;
        decode(&bytes)
            == Err(DecodeError::UnknownMember {
                union: "MetadataEvent",
                id: 14,
            })
    });
    assert_eq!(unknown.count(), 1, "event 14 is told from a broken block");

    let kind = with_event(MetadataEvent::Seed(Seed {
        dataset_id: DatasetId::from_public_key([0xaa; 32]),
        dataset_kind: DatasetKind::Derivative,
    }));
    let bytes = encode(&kind);
    let unknown = (0..bytes.len() - 4).filter(|at| {
        let mut bytes = bytes.clone();
        bytes[*at..at + 4].copy_from_slice(&2_i32.to_le_bytes());
        decode(&bytes)
            == Err(DecodeError::UnknownValue {
                name: "DatasetKind",
                value: 2,
            })
    });
    assert!(unknown.count() >= 1);
}

#[test]
fn absent_required_fields_are_named() {
    let mut inner = Builder::new();
    let block = inner.start_table();
    let root = inner.end_table(block);
    inner.finish(root, None);
    let bytes = manifest(inner.finished_data(), METADATA_BLOCK_KIND, 3);
    assert_eq!(
        decode(&bytes),
        Err(DecodeError::Missing {
            table: "MetadataBlock",
            field: "system_time"
        })
    );
}

#[test]
fn optional_scalars_keep_zero_and_lists_keep_empty() {
    let event = AddData {
        prev_offset: Some(0),
        ..AddData::default()
    };
    let block = with_event(MetadataEvent::AddData(event));
    assert_eq!(EncodedBlock::decode(encode(&block)).unwrap().block(), &block);
    for keywords in [None, Some(Vec::new()), Some(vec![String::new()])] {
        let block = with_event(MetadataEvent::SetInfo(SetInfo {
            description: None,
            keywords,
        }));
        assert_eq!(EncodedBlock::decode(encode(&block)).unwrap().block(), &block);
    }
}

proptest! {
    #[test]
    fn every_block_reads_back(tape in prop::collection::vec(any::<u8>(), 0..600)) {
        let block = sample(&tape);
        let encoded = EncodedBlock::encode(block.clone()).unwrap();
        prop_assert_eq!(EncodedBlock::decode(encoded.bytes().clone()).unwrap(), encoded);
        let yaml = crate::yaml::write_block(&block).unwrap();
        prop_assert_eq!(&crate::yaml::read_blocks(&yaml).unwrap()[..], std::slice::from_ref(&block), "{}", yaml);
        let json = crate::yaml::event_to_json(&block.event).unwrap();
        prop_assert_eq!(serde_json::from_value::<MetadataEvent>(json).unwrap(), block.event.clone());
        let cbor = serde_ipld_dagcbor::to_vec(&block.event).unwrap();
        prop_assert_eq!(serde_ipld_dagcbor::from_slice::<MetadataEvent>(&cbor).unwrap(), block.event);
    }

    #[test]
    fn every_block_of_version_2_reads_and_keeps_its_bytes(tape in prop::collection::vec(any::<u8>(), 0..600)) {
        let block = sample(&tape);
        let bytes = version_2(&block);
        let read = EncodedBlock::decode(bytes.clone()).unwrap();
        prop_assert_eq!(read.bytes(), &bytes);
        prop_assert_eq!((read.version(), read.hash()), (2, &Multihash::sha3_256(&bytes)));
        prop_assert_eq!(read.block(), &block);
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes);
        let _ = decode(&manifest(&bytes, METADATA_BLOCK_KIND, 3));
    }

    #[test]
    fn damaged_blocks_never_panic(
        tape in prop::collection::vec(any::<u8>(), 0..200),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode(&sample(&tape));
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // Whatever still reads can be written and reads as the same.
        if let Ok((_, block)) = decode(&bytes) {
            prop_assert_eq!(decode(&encode(&block)).unwrap().1, block);
        }
        bytes.truncate(cut.index(bytes.len()));
        let _ = decode(&bytes);
    }
}

#[test]
fn samples_reach_every_event_and_type() {
    let mut events = std::collections::BTreeSet::new();
    let mut types = std::collections::BTreeSet::new();
    for seed in 0..=255_u8 {
        let tape: Vec<u8> = (0..64_u8)
            .map(|at| seed.wrapping_mul(31).wrapping_add(at.wrapping_mul(97)))
            .collect();
        events.insert(MetadataEvent::sample(&mut Tape::new(&[&[seed], &tape[..]].concat())).kind());
        types.insert(DataType::sample(&mut Tape::new(&[&[seed], &tape[..]].concat())).kind());
    }
    assert_eq!((events.len(), types.len()), (13, 24));
}
