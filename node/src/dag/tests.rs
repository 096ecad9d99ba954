use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn raw(data: &'static [u8]) -> Block {
    Block::new(RAW, data).unwrap()
}

fn cbor_block(value: &Ipld) -> Block {
    Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(value).unwrap()).unwrap()
}

fn pb_link(name: &'static str, cid: Cid, tsize: u64) -> PbLink {
    PbLink {
        cid,
        name: Bytes::from_static(name.as_bytes()),
        tsize,
    }
}

#[test]
fn pb_is_written_as_go_writes_it() {
    assert_eq!(
        PbNode {
            links: vec![],
            data: Some(Bytes::new())
        }
        .encode(),
        [0x0a, 0x00]
    );
    assert_eq!(PbNode::default().encode(), [0u8; 0]);
    let child = *raw(b"x").cid();
    let encoded = PbNode {
        links: vec![pb_link("", child, 1)],
        data: None,
    }
    .encode();
    // Hash, then an empty name that is written all the same, then the size.
    assert_eq!(encoded[..4], [0x12, 42, 0x0a, 36]);
    assert_eq!(encoded[40..], [0x12, 0x00, 0x18, 0x01]);
}

#[test]
fn pb_links_are_sorted_by_name_and_equal_names_keep_their_order() {
    let (a, b) = (*raw(b"a").cid(), *raw(b"b").cid());
    let node = PbNode {
        links: vec![pb_link("z", a, 1), pb_link("", b, 2), pb_link("", a, 3)],
        data: None,
    };
    let back = PbNode::decode(&node.encode().into()).unwrap();
    let seen: Vec<_> = back.links.iter().map(|link| link.tsize).collect();
    assert_eq!(seen, [2, 3, 1]);
}

#[test]
fn pb_reading_is_strict_where_the_spec_is() {
    let cid = raw(b"x").cid().to_bytes();
    let hash: Vec<u8> = [&[0x0a, 36], cid.as_slice()].concat();
    let link = |parts: &[&[u8]]| {
        let inner = parts.concat();
        [&[0x12, inner.len() as u8], inner.as_slice()].concat()
    };
    let good = link(&[&hash, &[0x12, 0], &[0x18, 1]]);
    let check = |bytes: Vec<u8>| PbNode::decode(&bytes.into());
    assert!(check(good.clone()).is_ok());
    assert!(
        check([&[0x0a, 0], good.as_slice()].concat()).is_ok(),
        "data before links is an old form"
    );
    assert_eq!(
        check([good.as_slice(), &[0x0a, 0], &good].concat()),
        Err(Malformed::OutOfOrder)
    );
    assert_eq!(check(vec![0x0a, 0, 0x0a, 0]), Err(Malformed::Repeated));
    assert_eq!(check(vec![0x1a, 0]), Err(Malformed::UnexpectedField(3)));
    assert_eq!(check(vec![0x08, 0]), Err(Malformed::WrongWireType));
    assert_eq!(check(link(&[&[0x12, 0]])), Err(Malformed::MissingHash));
    assert_eq!(check(link(&[&[0x12, 0], &hash])), Err(Malformed::OutOfOrder));
    assert_eq!(check(link(&[&hash, &hash])), Err(Malformed::Repeated));
    assert_eq!(check(link(&[&hash, &[0x20, 1]])), Err(Malformed::UnexpectedField(4)));
    let long_hash = [&[0x0a, 37], cid.as_slice(), &[0]].concat();
    assert_eq!(check(link(&[&long_hash])), Err(Malformed::BadCid));
    assert!(check(link(&[&hash])).is_ok(), "name and size may be absent");
}

#[test]
fn one_link_over_the_limit_is_refused() {
    let cid = Cid::try_from("bafkqaaa").unwrap();
    let mut node = PbNode {
        links: vec![pb_link("", cid, 0); MAX_LINKS],
        data: None,
    };
    assert!(PbNode::decode(&node.encode().into()).is_ok());
    node.links.push(pb_link("", cid, 0));
    assert_eq!(PbNode::decode(&node.encode().into()), Err(Malformed::TooManyLinks));

    let list = |len: usize| {
        let mut bytes = vec![0x9a];
        bytes.extend((len as u32).to_be_bytes());
        (0..len).for_each(|_| bytes.extend([0xd8, 0x2a, 0x45, 0, 1, 0x55, 0, 0]));
        bytes
    };
    assert_eq!(cbor::links(&list(MAX_LINKS)).unwrap().len(), MAX_LINKS);
    assert_eq!(cbor::links(&list(MAX_LINKS + 1)), Err(Malformed::TooManyLinks));
}

#[test]
fn links_come_in_order_from_every_codec() {
    let (a, b) = (raw(b"a"), raw(b"b"));
    assert!(links(&a).unwrap().is_empty());
    let map = Ipld::Map(
        [
            ("one".into(), Ipld::Link(*b.cid())),
            (
                "list".into(),
                Ipld::List(vec![Ipld::Null, Ipld::Link(*a.cid()), Ipld::Float(1.5)]),
            ),
            ("text".into(), Ipld::String("é".into())),
            ("none".into(), Ipld::Map(Default::default())),
            ("neg".into(), Ipld::Integer(-5)),
            ("bytes".into(), Ipld::Bytes(vec![1, 2])),
        ]
        .into(),
    );
    let block = cbor_block(&map);
    assert_eq!(links(&block).unwrap(), [*b.cid(), *a.cid()]);
    assert_eq!(value(&block).unwrap(), map);
    assert_eq!(value_at(&block, &["list", "1"]).unwrap(), Ipld::Link(*a.cid()));
    assert!(matches!(
        value_at(&block, &["list", "3"]),
        Err(DagError::NoSuchValue { .. })
    ));
    let node = Block::new(
        DAG_PB,
        PbNode {
            links: vec![pb_link("x", *a.cid(), 1); 2],
            data: None,
        }
        .encode(),
    )
    .unwrap();
    assert_eq!(links(&node).unwrap(), [*a.cid(), *a.cid()]);
    assert_eq!(
        value_at(&node, &["Links", "0", "Name"]).unwrap(),
        Ipld::String("x".into())
    );
    let plain = Block::new(PLAIN_JSON, &b"{}"[..]).unwrap();
    assert!(links(&plain).unwrap().is_empty());
    let foreign = Block::new(0x85, &b"git"[..]).unwrap();
    assert!(matches!(
        links(&foreign),
        Err(DagError::UnsupportedCodec { codec: 0x85, .. })
    ));
}

#[test]
fn cbor_walks_stop_at_links_and_say_where_they_failed() {
    let child = raw(b"child");
    let inner = Ipld::Map([("c".into(), Ipld::Link(*child.cid())), ("d".into(), Ipld::Integer(1))].into());
    let block = cbor_block(&Ipld::Map([("a".into(), Ipld::List(vec![Ipld::Null, inner]))].into()));
    let go = |path: &[&str]| walk(&block, path).unwrap();
    assert_eq!(go(&[]), Walked::Value);
    assert_eq!(go(&["a", "1"]), Walked::Value);
    assert_eq!(go(&["a", "1", "c"]), Walked::Link(*child.cid(), 3));
    assert_eq!(go(&["a", "1", "c", "x", "y"]), Walked::Link(*child.cid(), 3));
    assert_eq!(go(&["a", "1", "d", "x"]), Walked::Leaf(3));
    assert_eq!(go(&["a", "2"]), Walked::Missing(1));
    assert_eq!(go(&["a", "x"]), Walked::Missing(1));
    assert_eq!(go(&["b"]), Walked::Missing(0));
}

#[test]
fn cbor_outside_the_codec_is_refused() {
    let check = |bytes: &[u8]| cbor::links(bytes).unwrap_err();
    assert_eq!(check(&[]), Malformed::Truncated);
    assert_eq!(check(&[0x9f, 0xff]), Malformed::BadHead(0x9f));
    assert_eq!(check(&[0xf7]), Malformed::BadHead(0xf7));
    assert_eq!(check(&[0xc1, 0x00]), Malformed::ForeignTag(1));
    assert_eq!(check(&[0xa1, 0x00, 0x00]), Malformed::KeyNotText);
    assert_eq!(check(&[0x61, 0xff]), Malformed::NotUtf8);
    assert_eq!(check(&[0x00, 0x00]), Malformed::TrailingBytes);
    assert_eq!(
        check(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        Malformed::Truncated
    );
    assert_eq!(check(&[0xd8, 0x2a, 0x41, 0x01]), Malformed::BadCid);
}

#[test]
fn cbor_nesting_and_expansion_are_bounded() {
    let nest = |depth: usize| [vec![0x81; depth], vec![0x00]].concat();
    assert!(cbor::links(&nest(MAX_DEPTH)).is_ok());
    assert_eq!(cbor::links(&nest(MAX_DEPTH + 1)), Err(Malformed::TooDeep));
    assert!(value(&Block::new(DAG_CBOR, nest(MAX_DEPTH)).unwrap()).is_ok());

    let wide = |members: usize| {
        let mut bytes = vec![0x9a];
        bytes.extend((members as u32).to_be_bytes());
        bytes.resize(5 + members, 0);
        Block::new(DAG_CBOR, bytes).unwrap()
    };
    assert!(value(&wide(MAX_VALUES - 1)).is_ok());
    assert!(matches!(
        value(&wide(MAX_VALUES)),
        Err(DagError::Malformed {
            source: Malformed::TooManyValues,
            ..
        })
    ));
    assert!(
        links(&wide(MAX_VALUES)).is_ok(),
        "finding links needs no memory per value"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), codec in 0..3usize) {
        let block = Block::new([RAW, DAG_PB, DAG_CBOR][codec], bytes).unwrap();
        let _ = links(&block);
        let _ = value(&block);
        let _ = walk(&block, &["a", "0", "b"]);
    }

    #[test]
    fn no_edit_of_good_bytes_makes_the_readers_panic(at in 0..200usize, with in any::<u8>(), cut in 0..200usize) {
        let child = *raw(b"x").cid();
        let node = PbNode { links: vec![pb_link("a", child, 9), pb_link("b", child, 9)], data: Some("data".into()) };
        let map = Ipld::Map([("a".into(), Ipld::List(vec![Ipld::Link(child), Ipld::Float(0.5)]))].into());
        for (codec, mut bytes) in [(DAG_PB, node.encode()), (DAG_CBOR, serde_ipld_dagcbor::to_vec(&map).unwrap())] {
            let len = bytes.len();
            bytes[at % len] = with;
            bytes.truncate(cut.max(1).min(len));
            let block = Block::new(codec, bytes).unwrap();
            let _ = links(&block);
            let _ = value(&block);
            let _ = walk(&block, &["a", "0"]);
        }
    }

    #[test]
    fn pb_round_trips(names in prop::collection::vec("[a-z]{0,5}", 0..20), data in prop::option::of(any::<Vec<u8>>())) {
        let mut names = names;
        names.sort();
        let links = names.iter().enumerate().map(|(at, name)| PbLink {
            cid: *Block::new(RAW, name.clone()).unwrap().cid(),
            name: name.clone().into(),
            tsize: at as u64 * 1000,
        }).collect();
        let node = PbNode { links, data: data.map(Bytes::from) };
        prop_assert_eq!(PbNode::decode(&node.encode().into()).unwrap(), node);
    }
}
