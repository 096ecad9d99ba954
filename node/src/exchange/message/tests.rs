use proptest::prelude::*;

use super::*;
use crate::block::RAW;

fn abc() -> Block {
    Block::new(RAW, &b"abc"[..]).unwrap()
}

fn want(cid: Cid) -> WantlistEntry {
    WantlistEntry {
        cid,
        priority: 1,
        cancel: false,
        kind: WantKind::Block,
        send_dont_have: true,
    }
}

fn frame(message: &Message, version: Version) -> Vec<u8> {
    message.encode(version).concat()
}

/// The frame without its length prefix, which is checked.
fn body(message: &Message, version: Version) -> Bytes {
    let frame = frame(message, version);
    let mut rest = &frame[..];
    let len = varint(&mut rest).unwrap();
    assert_eq!(len, rest.len() as u64);
    Bytes::copy_from_slice(rest)
}

/// The same message as its receiver must see it.
fn seen(message: &Message) -> Received {
    Received {
        full: message.full,
        entries: message.entries.clone(),
        payloads: message
            .blocks
            .iter()
            .map(|block| Payload {
                prefix: Prefix::of(block.cid()),
                data: block.data().clone(),
            })
            .collect(),
        presences: message.presences.clone(),
        pending_bytes: message.pending_bytes,
    }
}

const ABC: &str = "01551220ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn frames_are_those_of_go_bitswap() {
    let message = Message {
        entries: vec![want(*abc().cid())],
        ..Message::default()
    };
    assert_eq!(
        frame(&message, Version::V1_2),
        hex(&format!("2e0a2c0a2a0a24{ABC}10012801"))
    );
    let message = Message {
        blocks: vec![abc()],
        ..Message::default()
    };
    assert_eq!(frame(&message, Version::V1_2), hex("0d1a0b0a04015512201203616263"));
    let message = Message {
        presences: vec![(*abc().cid(), Presence::DontHave)],
        ..Message::default()
    };
    assert_eq!(frame(&message, Version::V1_2), hex(&format!("2a22280a24{ABC}1001")));
}

#[test]
fn the_empty_message_is_an_empty_frame() {
    assert!(Message::default().is_empty());
    assert_eq!(frame(&Message::default(), Version::V1_2), [0]);
    assert_eq!(Received::decode(&Bytes::new()).unwrap(), Received::default());
}

#[test]
fn everything_survives_the_wire() {
    let old = Block::new_v0(&b"old"[..]).unwrap();
    let large = Block::new(DAG_PB, vec![7u8; COALESCE_BELOW + 1]).unwrap();
    let cancel = WantlistEntry {
        cid: *old.cid(),
        priority: -3,
        cancel: true,
        kind: WantKind::Block,
        send_dont_have: false,
    };
    let have = WantlistEntry {
        kind: WantKind::Have,
        priority: i32::MAX,
        ..want(*large.cid())
    };
    let message = Message {
        full: true,
        entries: vec![want(*abc().cid()), cancel, have],
        blocks: vec![old.clone(), large.clone(), abc()],
        presences: vec![(*old.cid(), Presence::Have), (*abc().cid(), Presence::DontHave)],
        pending_bytes: 77,
    };
    let received = Received::decode(&body(&message, Version::V1_2)).unwrap();
    assert_eq!(received, seen(&message));
    let frame_len = body(&message, Version::V1_2).len();
    let blocks: Vec<_> = received
        .payloads
        .into_iter()
        .map(|payload| payload.into_block(frame_len).unwrap())
        .collect();
    assert_eq!(blocks, [old, large, abc()]);
}

#[test]
fn large_blocks_are_written_and_read_without_a_copy() {
    let large = Block::new(RAW, vec![7u8; 1 << 20]).unwrap();
    let message = Message {
        blocks: vec![large.clone()],
        ..Message::default()
    };
    let segments = message.encode(Version::V1_2);
    assert!(segments.iter().any(|segment| segment.as_ptr() == large.data().as_ptr()));
    let body = body(&message, Version::V1_2);
    let payload = Received::decode(&body).unwrap().payloads.remove(0);
    assert!(body.as_ptr_range().contains(&payload.data.as_ptr()));
    assert_eq!(payload.into_block(body.len()).unwrap(), large);
}

#[test]
fn older_peers_get_what_they_understand() {
    let have = WantlistEntry {
        kind: WantKind::Have,
        ..want(*abc().cid())
    };
    let old = Block::new_v0(&b"old"[..]).unwrap();
    let message = Message {
        entries: vec![have.clone()],
        blocks: vec![old.clone()],
        presences: vec![(*abc().cid(), Presence::Have)],
        ..Message::default()
    };
    let asked = WantlistEntry {
        kind: WantKind::Block,
        send_dont_have: false,
        ..have
    };
    let received = Received::decode(&body(&message, Version::V1_1)).unwrap();
    assert_eq!((received.entries, received.presences), (vec![asked.clone()], vec![]));
    let received = Received::decode(&body(&message, Version::V1_0)).unwrap();
    assert_eq!(received.entries, [asked]);
    assert_eq!(received.payloads[0].clone().into_block(3).unwrap(), old);
}

#[test]
fn long_cids_are_ignored_and_broken_ones_refused() {
    let entry = |cid: &[u8]| {
        let mut entry = vec![0x0a];
        entry.extend(unsigned_varint::encode::usize(
            cid.len(),
            &mut unsigned_varint::encode::usize_buffer(),
        ));
        entry.extend(cid);
        let mut list = vec![0x0a];
        list.extend(unsigned_varint::encode::usize(
            entry.len(),
            &mut unsigned_varint::encode::usize_buffer(),
        ));
        list.extend(entry);
        let mut message = vec![0x0a];
        message.extend(unsigned_varint::encode::usize(
            list.len(),
            &mut unsigned_varint::encode::usize_buffer(),
        ));
        message.extend(list);
        Received::decode(&Bytes::from(message)).map(|message| message.entries.len())
    };
    let identity = |len: u8| {
        let mut cid = vec![0x01, 0x55, 0x00];
        cid.extend(unsigned_varint::encode::u8(
            len,
            &mut unsigned_varint::encode::u8_buffer(),
        ));
        cid.resize(cid.len() + usize::from(len), 9);
        cid
    };
    assert_eq!(entry(&hex(ABC)), Ok(1));
    assert_eq!(entry(&identity(64)), Ok(1));
    assert_eq!(entry(&identity(65)), Ok(0));
    assert_eq!(entry(&identity(128)), Ok(0));
    assert_eq!(entry(&[0xff; MAX_CID_BYTES + 1]), Ok(0));
    assert_eq!(entry(&[0xff; MAX_CID_BYTES]), Err(MessageError::Cid));
    assert_eq!(entry(&[]), Err(MessageError::Cid));
    assert_eq!(entry(&hex(ABC)[..35]), Err(MessageError::Cid));
}

#[test]
fn lists_over_their_limit_are_refused() {
    let cid = *abc().cid();
    let entries = |count| Message {
        entries: vec![want(cid); count],
        ..Message::default()
    };
    assert_eq!(
        Received::decode(&body(&entries(MAX_ENTRIES), Version::V1_2))
            .unwrap()
            .entries
            .len(),
        MAX_ENTRIES
    );
    let error = Received::decode(&body(&entries(MAX_ENTRIES + 1), Version::V1_2)).unwrap_err();
    assert!(matches!(error, MessageError::TooMany { limit: MAX_ENTRIES, .. }));

    let presences = |count| Message {
        presences: vec![(cid, Presence::Have); count],
        ..Message::default()
    };
    assert!(Received::decode(&body(&presences(MAX_PRESENCES), Version::V1_2)).is_ok());
    assert!(Received::decode(&body(&presences(MAX_PRESENCES + 1), Version::V1_2)).is_err());

    let blocks = |count| Message {
        blocks: vec![abc(); count],
        ..Message::default()
    };
    assert!(Received::decode(&body(&blocks(MAX_BLOCKS), Version::V1_2)).is_ok());
    assert!(Received::decode(&body(&blocks(MAX_BLOCKS + 1), Version::V1_2)).is_err());
}

#[test]
fn a_block_over_the_limit_is_refused() {
    let message = |len: usize| {
        let mut bytes = BytesMut::new();
        put_bytes_head(&mut bytes, 3, 6 + bytes_field_len(len));
        bytes.put_slice(&[0x0a, 4, 1, 0x55, 0x12, 0x20]);
        put_bytes_head(&mut bytes, 2, len);
        bytes.resize(bytes.len() + len, 0);
        Received::decode(&bytes.freeze())
    };
    assert_eq!(message(MAX_BLOCK_BYTES).unwrap().payloads[0].len(), MAX_BLOCK_BYTES);
    let len = MAX_BLOCK_BYTES + 1;
    assert_eq!(message(len), Err(MessageError::BlockTooLarge { len }));
}

#[test]
fn a_prefix_that_nobody_can_have_asked_for_gives_no_block() {
    let payload = |prefix: [u64; 4]| Payload {
        prefix: Prefix {
            version: CidVersion::try_from(prefix[0]).unwrap(),
            codec: prefix[1],
            hash: prefix[2],
            digest_len: prefix[3] as usize,
        },
        data: Bytes::from_static(b"abc"),
    };
    assert!(payload([1, RAW, SHA2_256, 32]).into_block(3).is_some());
    assert!(payload([1, RAW, SHA2_256, 20]).into_block(3).is_none());
    assert!(payload([1, RAW, 0xb220, 32]).into_block(3).is_none());
    assert!(payload([0, RAW, SHA2_256, 32]).into_block(3).is_none());
    assert!(payload([1, RAW, block::SHA2_512, 64]).into_block(3).is_some());
}

fn any_block() -> impl Strategy<Value = Block> {
    (prop::collection::vec(any::<u8>(), 0..20_000), any::<bool>()).prop_map(|(data, old)| match old {
        true => Block::new_v0(data).unwrap(),
        false => Block::new(RAW, data).unwrap(),
    })
}

fn any_message() -> impl Strategy<Value = Message> {
    let entry = (any_block(), any::<i32>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(block, priority, cancel, have, send_dont_have)| WantlistEntry {
            cid: *block.cid(),
            priority,
            cancel,
            kind: if have { WantKind::Have } else { WantKind::Block },
            send_dont_have,
        },
    );
    let presence = (any_block(), any::<bool>())
        .prop_map(|(block, have)| (*block.cid(), if have { Presence::Have } else { Presence::DontHave }));
    (
        any::<bool>(),
        prop::collection::vec(entry, 0..8),
        prop::collection::vec(any_block(), 0..4),
        prop::collection::vec(presence, 0..8),
        any::<i32>(),
    )
        .prop_map(|(full, entries, blocks, presences, pending_bytes)| Message {
            full,
            entries,
            blocks,
            presences,
            pending_bytes,
        })
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = Received::decode(&Bytes::from(bytes));
    }

    #[test]
    fn any_message_is_read_as_it_was_written(message in any_message()) {
        let received = Received::decode(&body(&message, Version::V1_2)).unwrap();
        prop_assert_eq!(received, seen(&message));
    }

    #[test]
    fn a_damaged_message_is_read_without_a_panic(message in any_message(), at in any::<usize>(), byte in any::<u8>()) {
        let mut bytes = body(&message, Version::V1_2).to_vec();
        if !bytes.is_empty() {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(received) = Received::decode(&Bytes::from(bytes)) {
            for payload in received.payloads {
                let len = payload.len();
                let _ = payload.into_block(len);
            }
        }
    }
}
