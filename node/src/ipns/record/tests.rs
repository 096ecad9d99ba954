use proptest::prelude::*;

use super::name::MAX_TEXT;
use super::*;

/// The vectors of gateway-conformance: name, file, and whether the record is valid.
macro_rules! vector {
    ($name:literal, $what:literal) => {
        (
            $name,
            include_bytes!(concat!("../../../testdata/ipns/", $name, "_", $what, ".ipns-record")),
        )
    };
}

const V1: (&str, &[u8]) = vector!("k51qzi5uqu5dm4tm0wt8srkg9h9suud4wuiwjimndrkydqm81cqtlb5ak6p7ku", "v1");
const V1_V2: (&str, &[u8]) = vector!(
    "k51qzi5uqu5dlkw8pxuw9qmqayfdeh4kfebhmreauqdc6a7c3y7d5i9fi8mk9w",
    "v1-v2"
);
const BROKEN_VALUE: (&str, &[u8]) = vector!(
    "k51qzi5uqu5dlmit2tuwdvnx4sbnyqgmvbxftl0eo3f33wwtb9gr7yozae9kpw",
    "v1-v2-broken-v1-value"
);
const BROKEN_V2: (&str, &[u8]) = vector!(
    "k51qzi5uqu5diamp7qnnvs1p1gzmku3eijkeijs3418j23j077zrkok63xdm8c",
    "v1-v2-broken-signature-v2"
);
const BROKEN_V1: (&str, &[u8]) = vector!(
    "k51qzi5uqu5dilgf7gorsh9vcqqq4myo6jd4zmqkuy9pxyxi5fua3uf7axph4y",
    "v1-v2-broken-signature-v1"
);
const V2: (&str, &[u8]) = vector!("k51qzi5uqu5dit2ku9mutlfgwyz8u730on38kd10m97m36bjt66my99hb6103f", "v2");

const RSA: (&str, &[u8]) = vector!("QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3", "rsa");

const IPFS_PATH: &str = "/ipfs/bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354";

fn at(secs: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
}

/// Autumn 2026.
fn now() -> SystemTime {
    at(1_790_000_000)
}

fn key(seed: u8) -> Keypair {
    Keypair::ed25519_from_bytes([seed; 32]).unwrap()
}

fn contents() -> Contents<'static> {
    Contents {
        value: IPFS_PATH,
        sequence: 0,
        valid_until: now() + Duration::new(48 * 3600, 609_731_738),
        ttl: Duration::from_secs(300),
    }
}

fn made(change: impl FnOnce(&mut Contents<'static>)) -> Record {
    let mut contents = contents();
    change(&mut contents);
    Record::create(&key(1), &contents).unwrap()
}

fn verify((name, bytes): (&str, &'static [u8])) -> Result<Record, RecordError> {
    Record::verify(name.parse().unwrap(), Bytes::from_static(bytes), now())
}

/// A record changed on the way, verified for the name it was made for.
fn tampered(record: &Record, change: impl FnOnce(&mut Message)) -> Result<Record, RecordError> {
    let mut message = Message::decode(&record.bytes).unwrap();
    change(&mut message);
    Record::verify(record.name, message.encode().into(), now())
}

#[test]
fn names_of_every_key_type_are_verified() {
    let record = verify(RSA).unwrap();
    assert!(record.value().starts_with(b"/ipfs/"));
    for key in crate::peer::tests::keys::of_every_type() {
        let record = Record::create(&key, &contents()).unwrap();
        let name = Name::from_public_key(&key.public());
        let kind = key.key_type();
        assert_eq!(
            Record::verify(name, record.bytes.clone(), now()).unwrap().value(),
            IPFS_PATH.as_bytes(),
            "{kind}"
        );
        // The name of another key, and a value that was not signed.
        let other = Name::from_public_key(&self::key(9).public());
        assert!(Record::verify(other, record.bytes.clone(), now()).is_err(), "{kind}");
        let forged = tampered(&record, |message| {
            let data = message.data.as_mut().unwrap();
            let at = data.len() - 1;
            data[at] ^= 1;
        });
        assert!(
            matches!(forged, Err(RecordError::BadSignature { .. })),
            "{kind}: {forged:?}"
        );
        // A key whose name is its hash has to come with the record.
        let bare = tampered(&record, |message| message.pub_key = None);
        assert_eq!(bare.is_ok(), name.public_key().is_some(), "{kind}");
    }
}

#[test]
fn the_vectors_of_the_specification_hold() {
    assert!(matches!(verify(V1), Err(RecordError::Unsigned { .. })));
    assert!(matches!(
        verify(BROKEN_VALUE),
        Err(RecordError::Contradiction { field: "Value", .. })
    ));
    assert!(matches!(verify(BROKEN_V2), Err(RecordError::BadSignature { .. })));
    for valid in [V1_V2, BROKEN_V1, V2] {
        let record = verify(valid).unwrap();
        assert!(record.path().unwrap().starts_with("/ipfs/bafkqa"), "{record:?}");
        assert_eq!((record.sequence(), record.ttl()), (0, Duration::from_secs(30 * 60)));
        assert!(record.valid_until() > at(4_700_000_000));
        assert_eq!(record.bytes().as_ref(), valid.1);
    }
}

#[test]
fn records_are_written_as_kubo_writes_them() {
    let record = made(|_| ());
    // The length Kubo 0.43 gives a first record for a path like this.
    assert_eq!(record.bytes().len(), 397);
    let message = Message::decode(&record.bytes).unwrap();
    assert_eq!(message.validity.unwrap(), b"2026-09-23T14:13:20.609731738Z");
    assert!(message.pub_key.is_none(), "the name holds an Ed25519 key");
    let bytes = record.bytes();
    let zero_fields: Vec<_> = bytes
        .windows(2)
        .filter(|pair| [[0x18, 0], [0x28, 0]].contains(&[pair[0], pair[1]]))
        .collect();
    assert!(zero_fields.len() >= 2, "zeros are written out");
    let data = message.data.unwrap();
    assert_eq!(data[..5], [0xa5, 0x63, b'T', b'T', b'L']);
    let map = Ipld::Map(serde_ipld_dagcbor::from_slice(&data).unwrap());
    assert_eq!(serde_ipld_dagcbor::to_vec(&map).unwrap(), data, "the data is canonical");
}

#[test]
fn what_is_made_verifies_and_says_the_same() {
    let record = made(|contents| contents.sequence = u64::MAX);
    let read = Record::verify(record.name(), record.bytes().clone(), now()).unwrap();
    assert_eq!(read, record);
    assert_eq!(read.path().unwrap(), IPFS_PATH);
    assert_eq!(read.name(), Name::from_public_key(&key(1).public()));
}

#[test]
fn a_record_for_another_name_is_refused() {
    let record = made(|_| ());
    let other = Name::from_public_key(&key(2).public());
    assert!(matches!(
        Record::verify(other, record.bytes.clone(), now()),
        Err(RecordError::BadSignature { .. })
    ));
    // Carrying the key that did sign does not help.
    let mut message = Message::decode(&record.bytes).unwrap();
    message.pub_key = Some(key(1).public().encode_protobuf());
    let bytes = Bytes::from(message.encode());
    assert!(Record::verify(record.name, bytes.clone(), now()).is_ok());
    assert!(matches!(
        Record::verify(other, bytes, now()),
        Err(RecordError::ForeignKey { .. })
    ));
}

#[test]
fn a_name_that_is_a_hash_takes_its_key_from_the_record() {
    let public = key(1).public().encode_protobuf();
    let peer = libp2p::PeerId::from_multihash(crate::block::sha2_256(&public)).unwrap();
    let name = Name::from_peer_id(peer);
    let mut message = Message::decode(&made(|_| ()).bytes).unwrap();
    let bytes = |message: &Message| Bytes::from(message.encode());
    assert!(matches!(
        Record::verify(name, bytes(&message), now()),
        Err(RecordError::NoPublicKey { .. })
    ));
    message.pub_key = Some(public);
    assert!(Record::verify(name, bytes(&message), now()).is_ok());
    message.pub_key = Some(key(2).public().encode_protobuf());
    assert!(matches!(
        Record::verify(name, bytes(&message), now()),
        Err(RecordError::ForeignKey { .. })
    ));
}

#[test]
fn a_record_ends_at_its_last_instant() {
    let record = made(|contents| contents.valid_until = now());
    let verify = |now| Record::verify(record.name, record.bytes.clone(), now);
    assert!(verify(now() - Duration::from_nanos(1)).is_ok());
    assert!(matches!(verify(now()), Err(RecordError::Expired { .. })));
    assert!(
        Record::verify_signature(record.name, record.bytes.clone())
            .unwrap()
            .is_expired(now())
    );
}

#[test]
fn fields_of_the_first_version_must_agree_and_may_be_absent() {
    let record = made(|_| ());
    let contradicts = |change: fn(&mut Message), expected| match tampered(&record, change) {
        Err(RecordError::Contradiction { field, .. }) => assert_eq!(field, expected),
        other => panic!("{other:?}"),
    };
    contradicts(|message| message.value = Some("/ipfs/bafkqaaa".into()), "Value");
    contradicts(|message| message.value = None, "Value");
    contradicts(|message| message.validity = None, "Validity");
    contradicts(|message| message.validity_type = Some(1), "ValidityType");
    contradicts(|message| message.sequence = Some(1), "Sequence");
    contradicts(|message| message.ttl = None, "TTL");
    let second_only = tampered(&record, |message| {
        *message = Message {
            signature_v2: message.signature_v2.take(),
            data: message.data.take(),
            ..Message::default()
        };
    });
    assert_eq!(second_only.unwrap().path().unwrap(), IPFS_PATH);
    assert!(
        tampered(&record, |message| message.signature_v1 = Some(vec![1; 64])).is_ok(),
        "it is never verified"
    );
    assert!(matches!(
        tampered(&record, |message| message.signature_v2 = None),
        Err(RecordError::Unsigned { .. })
    ));
    assert!(matches!(
        tampered(&record, |message| message.data = Some(vec![])),
        Err(RecordError::Unsigned { .. })
    ));
}

/// A second-version record over any data, signed.
fn signed(data: &Ipld) -> Result<Record, RecordError> {
    let data = serde_ipld_dagcbor::to_vec(data).unwrap();
    let signature_v2 = Some(key(1).sign(&[SIGNATURE_PREFIX, &data].concat()).unwrap());
    let message = Message {
        signature_v2,
        data: Some(data),
        ..Message::default()
    };
    Record::verify(Name::from_public_key(&key(1).public()), message.encode().into(), now())
}

fn data(change: impl FnOnce(&mut BTreeMap<String, Ipld>)) -> Ipld {
    let mut map = BTreeMap::from([
        ("Value".to_owned(), Ipld::Bytes(IPFS_PATH.into())),
        ("Validity".to_owned(), Ipld::Bytes("2100-01-01T00:00:00Z".into())),
        ("ValidityType".to_owned(), Ipld::Integer(0)),
        ("Sequence".to_owned(), Ipld::Integer(3)),
        ("TTL".to_owned(), Ipld::Integer(1)),
    ]);
    change(&mut map);
    Ipld::Map(map)
}

#[test]
fn signed_nonsense_is_refused_all_the_same() {
    assert!(signed(&data(|_| ())).is_ok());
    assert!(signed(&data(|map| drop(map.insert("more".into(), Ipld::Null)))).is_ok());
    let refused = |key: &str, value: Option<Ipld>| {
        let record = signed(&data(|map| match value {
            Some(value) => drop(map.insert(key.into(), value)),
            None => drop(map.remove(key)),
        }));
        assert!(matches!(record, Err(RecordError::Malformed { .. })), "{record:?}");
    };
    refused("Value", None);
    refused("Value", Some(Ipld::String(IPFS_PATH.into())));
    refused("Validity", Some(Ipld::Bytes("tomorrow".into())));
    refused("Validity", Some(Ipld::Bytes(vec![0xff])));
    refused("ValidityType", Some(Ipld::Integer(1)));
    refused("Sequence", None);
    refused("Sequence", Some(Ipld::Integer(-1)));
    refused("TTL", Some(Ipld::Integer(-1)));
    assert!(matches!(
        signed(&Ipld::List(vec![])),
        Err(RecordError::Malformed { .. })
    ));
}

#[test]
fn values_become_paths() {
    let path = |value: &[u8]| {
        let record = signed(&data(|map| drop(map.insert("Value".into(), Ipld::Bytes(value.into()))))).unwrap();
        record.path()
    };
    assert_eq!(path(b"").unwrap(), "/ipfs/bafkqaaa");
    assert_eq!(path(b"/ipns/example.org/a").unwrap(), "/ipns/example.org/a");
    let cid = Cid::try_from("bafkreif2pall7dybz7vecqka3zo24irdwabwdi4wc55jznaq75q7eaavvu").unwrap();
    assert_eq!(path(&cid.to_bytes()).unwrap(), format!("/ipfs/{cid}"));
    assert!(path(&[cid.to_bytes(), vec![0]].concat()).is_err());
    assert!(path(b"example.org").is_err());
    assert!(path(b"/ipfs/\xff").is_err());
}

#[test]
fn the_best_record_is_the_same_for_everyone() {
    let first = made(|_| ());
    let later = made(|contents| contents.valid_until += Duration::from_secs(1));
    let newer = made(|contents| (contents.sequence, contents.valid_until) = (1, now() + Duration::from_secs(1)));
    let other = made(|contents| contents.value = "/ipfs/bafkqaaa");
    assert_eq!(newer.compare(&later), Ordering::Greater, "the sequence counts first");
    assert_eq!(later.compare(&first), Ordering::Greater, "then the end");
    assert_eq!(first.compare(&other), first.bytes.cmp(&other.bytes), "then the bytes");
    assert_ne!(first.compare(&other), Ordering::Equal);
    assert_eq!(first.compare(&first.clone()), Ordering::Equal);
    let records = [first, later, newer.clone(), other];
    assert_eq!(records.iter().max_by(|a, b| a.compare(b)), Some(&newer));
}

#[test]
fn one_byte_over_the_limit_is_refused() {
    let of_len = |len: usize| {
        let value = format!("/ipfs/{}", "a".repeat(len));
        Record::create(
            &key(1),
            &Contents {
                value: &value,
                ..contents()
            },
        )
    };
    // A value is in the record twice, so the length of the record goes up by two.
    let fitting = (4800..5120).rev().find_map(|len| of_len(len).ok()).unwrap();
    assert!(fitting.bytes.len() >= MAX_RECORD_BYTES - 1);
    assert!(Record::verify(fitting.name, fitting.bytes.clone(), now()).is_ok());
    assert!(matches!(
        of_len(fitting.value.len() - 5),
        Err(RecordError::TooLarge { .. })
    ));
    // An unknown field makes a good record one byte too long.
    let pad = MAX_RECORD_BYTES + 1 - fitting.bytes.len();
    let padded = [fitting.bytes.as_ref(), &[vec![0x7a, pad as u8], vec![0; pad]].concat()].concat();
    assert!(matches!(
        Record::verify(fitting.name, padded.into(), now()),
        Err(RecordError::TooLarge { .. })
    ));
}

#[test]
fn times_outside_of_four_digit_years_are_refused() {
    let make = |valid_until| {
        Record::create(
            &key(1),
            &Contents {
                valid_until,
                ..contents()
            },
        )
    };
    assert!(make(at(253_402_300_799)).is_ok());
    assert!(matches!(make(at(253_402_300_800)), Err(RecordError::BadTime)));
    assert!(matches!(
        make(SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
        Err(RecordError::BadTime)
    ));
    let ttl = |ttl| Record::create(&key(1), &Contents { ttl, ..contents() });
    assert!(ttl(Duration::from_nanos(i64::MAX as u64)).is_ok());
    assert!(matches!(ttl(Duration::from_nanos(1 << 63)), Err(RecordError::BadTime)));
}

#[test]
fn times_are_written_as_go_writes_them_and_read_in_any_zone() {
    assert_eq!(format_time(at(0)).unwrap(), "1970-01-01T00:00:00Z");
    assert_eq!(
        format_time(at(100) + Duration::from_millis(120)).unwrap(),
        "1970-01-01T00:01:40.12Z"
    );
    assert_eq!(
        parse_time(b"1970-01-01T01:01:40.12+01:00"),
        Some(at(100) + Duration::from_millis(120))
    );
    assert_eq!(
        parse_time(b"1969-12-31T23:59:59.5Z"),
        Some(SystemTime::UNIX_EPOCH - Duration::from_millis(500))
    );
    assert!(parse_time(b"0000-01-01T00:00:00Z").is_some());
}

#[test]
fn names_are_read_in_every_spelling() {
    let text = "k51qzi5uqu5dlkw8pxuw9qmqayfdeh4kfebhmreauqdc6a7c3y7d5i9fi8mk9w";
    let name: Name = text.parse().unwrap();
    assert_eq!(name.to_string(), text);
    let spellings = [
        format!("/ipns/{text}"),
        name.to_cid().to_string(),
        name.peer_id().to_base58(),
        name.to_cid().to_string_of_base(multibase::Base::Base58Btc).unwrap(),
    ];
    for spelling in spellings {
        assert_eq!(spelling.parse::<Name>().unwrap(), name, "{spelling}");
    }
    let rsa: Name = "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3".parse().unwrap();
    assert!(rsa.public_key().is_none());
    assert_eq!(Name::from_routing_key(&rsa.routing_key()), Some(rsa));
    assert_eq!(name.routing_key()[..9], *b"/ipns/\x00\x24\x08");
    assert_eq!(Name::from_routing_key(b"/pk/abc"), None);
    assert!(matches!(
        "bafkqaaa".parse::<Name>(),
        Err(NameError::NotAKey { codec: 0x55, .. })
    ));
    for text in [
        "",
        "example.org",
        "k51",
        "12D3KooW",
        "/ipns/",
        "/ipfs/bafkqaaa",
        &"1".repeat(1000),
    ] {
        assert!(
            matches!(text.parse::<Name>(), Err(NameError::Unreadable { .. })),
            "{text}"
        );
    }
    let in_bits = |key: &[u8]| {
        let cid = Cid::new_v1(0x72, multihash::Multihash::wrap(0, key).unwrap());
        cid.to_string_of_base(multibase::Base::Base2).unwrap()
    };
    let (longest, over) = (in_bits(&[1; 27]), in_bits(&[1; 28]));
    assert_eq!((longest.len() + 8, over.len()), (MAX_TEXT + 1, MAX_TEXT + 1));
    assert!(longest.parse::<Name>().is_ok());
    assert!(matches!(over.parse::<Name>(), Err(NameError::Unreadable { .. })));
    let short_hash = Cid::new_v1(0x72, multihash::Multihash::wrap(0x13, &[1; 64]).unwrap());
    assert!(matches!(
        short_hash.to_string().parse::<Name>(),
        Err(NameError::BadHash { code: 0x13 })
    ));
}

proptest! {
    #[test]
    fn no_bytes_make_verifying_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let name = Name::from_public_key(&key(1).public());
        prop_assert!(Record::verify(name, bytes.clone().into(), now()).is_err());
        let _ = signed(&Ipld::Bytes(bytes.clone()));
        let _ = Signed::decode(&bytes);
        let _ = Name::from_routing_key(&[b"/ipns/", bytes.as_slice()].concat());
        let _ = String::from_utf8_lossy(&bytes).parse::<Name>();
        let _ = parse_time(&bytes);
    }

    #[test]
    fn an_edit_of_a_record_never_changes_what_it_says(at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let record = made(|_| ());
        let mut bytes = record.bytes.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = with;
        if let Ok(read) = Record::verify(record.name, bytes.into(), now()) {
            prop_assert_eq!((read.value, read.sequence), (record.value, record.sequence));
            prop_assert_eq!((read.ttl, read.valid_until), (record.ttl, record.valid_until));
        }
    }
}
