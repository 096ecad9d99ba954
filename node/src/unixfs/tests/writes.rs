//! Files that are written to. The CIDs are those that Kubo 0.43 gives (`ipfs files write`), of bytes that count up.

use proptest::prelude::*;

use super::*;
use crate::block::{DAG_PB, RAW};
use crate::dag::{PbLink, PbNode};
use crate::unixfs::export::{FileCursor, MAX_FILE_DEPTH, Step};
use crate::unixfs::import::file;
use crate::unixfs::node::{Data, Kind, Mtime};
use crate::unixfs::write::{BATCH_BYTES, FileWriter, MAX_HOLE_BYTES, WriteError};

const NOW: Mtime = Mtime { secs: 7, nanos: 0 };

fn counting(len: usize) -> Bytes {
    (0..len).map(|at| at as u8).collect()
}

/// A file in memory that is written to as `ipfs files write` does.
struct Written {
    profile: Profile,
    shelf: Shelf,
    root: Block,
}

impl Written {
    fn new(profile: Profile) -> Self {
        let root = FileWriter::<String>::empty(&profile).unwrap();
        Self {
            profile,
            shelf: Shelf::default(),
            root,
        }
    }

    /// What `ipfs add` gives.
    fn added(profile: Profile, content: &Bytes) -> Self {
        let (_, blocks) = file(&profile, content).unwrap();
        let root = blocks.last().unwrap().clone();
        let mut shelf = Shelf::default();
        shelf.add(blocks);
        Self { profile, shelf, root }
    }

    fn write(&mut self, offset: u64, truncates: bool, content: &Bytes) -> Result<String, WriteError<String>> {
        let shelf = self.shelf.clone();
        let mut load = |cid: &Cid| shelf.get(cid);
        let mut writer = FileWriter::open(&self.profile, self.root.clone(), &mut load)?;
        if truncates {
            writer.truncate()?;
        }
        writer.write_at(offset, &Bytes::new())?;
        let mut at = offset;
        for batch in content.chunks(BATCH_BYTES) {
            writer.write_at(at, &Bytes::copy_from_slice(batch))?;
            at += batch.len() as u64;
        }
        let (entry, blocks) = writer.finish(NOW)?;
        self.root = blocks.last().unwrap().clone();
        assert_eq!(entry.cid, *self.root.cid());
        self.shelf.add(blocks);
        assert_eq!(entry.size, self.read().len() as u64);
        // Length of all blocks, repeated ones as often as they are linked to.
        let mut tsize = 0;
        let mut open = vec![entry.cid];
        while let Some(cid) = open.pop() {
            let block = self.shelf.get(&cid).unwrap();
            tsize += block.data().len() as u64;
            open.extend(crate::dag::links(&block).unwrap());
        }
        assert_eq!(entry.tsize, tsize);
        Ok(entry.cid.to_string())
    }

    fn read(&self) -> Vec<u8> {
        let mut cursor = FileCursor::new(*self.root.cid());
        let mut out = Vec::new();
        loop {
            match cursor.step() {
                Step::Need(cid) => cursor.feed(&self.shelf.get(&cid).unwrap()).unwrap(),
                Step::Data { bytes, .. } => out.extend_from_slice(&bytes),
                Step::Done => return out,
            }
        }
    }
}

const V1: Profile = KUBO_CIDV1;

#[test]
fn a_file_that_is_written_has_the_cids_of_kubo() {
    let six = counting(6);
    let mut file = Written::new(UNIXFS_V0_2015);
    let expect = |file: &mut Written, offset, truncates, content: &Bytes, cid: &str| {
        assert_eq!(
            file.write(offset, truncates, content).unwrap(),
            cid,
            "{offset} {truncates}"
        );
    };
    let first = "QmQFELVt5jKwRzuqP6XqJnZ6Kx7QCfHhgsZUM6ZtAgMadp";
    expect(&mut file, 0, false, &counting(1_000_000), first);
    expect(
        &mut file,
        262_140,
        false,
        &six,
        "QmSpmAVsb5sCR3kBFy8MmrikJsiZqrwskyfunUnAgbe9ZN",
    );
    let longer = "QmSDXY6XSqUdhBzRdgADZuK7GmH6f1KZM2j6FETMDQ7t2v";
    expect(&mut file, 1_000_000, false, &counting(700_000), longer);
    expect(
        &mut file,
        0,
        true,
        &six,
        "QmPkCEvZ9zCw4BbMUh5StKPZGVpA2e1vXkm4Q4WrRiNCrm",
    );
    expect(
        &mut file,
        0,
        true,
        &six,
        "QmbhtMhDcmAnZeqUviGg5xPNj7MX3okzCJfFZNVA8LBkq9",
    );

    let mut raw = Written::new(V1);
    expect(
        &mut raw,
        0,
        false,
        &six,
        "bafkreiax5cg3db5p2ywbnzo6x47gkj6nabv4aev4sc2rvaim3agc2ui7im",
    );
    expect(
        &mut raw,
        3,
        false,
        &six,
        "bafybeia27fpc5osjsczd3evlrwefayaluk72sk6tjzhd4dcerwy6vwtlvy",
    );
    expect(
        &mut raw,
        20_000,
        false,
        &six,
        "bafybeic5s3j436mi5sltodurk6uww7n3x6sxwpzsgb3s44pztg7gy2uuiu",
    );
    let cut = "bafybeigbvesvhvg2fwodi73hp6ihlavasa3bh6nsccwhh3geivw6e6biju";
    expect(&mut raw, 0, true, &counting(1_000_000), cut);

    let mut mixed = Written::new(Profile {
        raw_leaves: true,
        ..UNIXFS_V0_2015
    });
    let cid = "QmQApBZHVv34nGo2QazeWLVDKysmzV1MKre9jgtSEZcSwh";
    expect(&mut mixed, 0, false, &counting(1_000_000), cid);

    // What was added, and written to then.
    let mut small = Written::added(UNIXFS_V0_2015, &six);
    expect(
        &mut small,
        3,
        false,
        &six,
        "QmUwEHrV2JpZem91Eu49KC9nu86mmFBvhQDFwwRM9Hnsqe",
    );
    let mut large = Written::added(UNIXFS_V0_2015, &counting(1_000_000));
    let cid = "QmYKecjGR8kuiSQyXyvqp4Ntz56a4FmTXAzmWADh3APRXV";
    expect(&mut large, 999_997, false, &counting(700_000), cid);

    let mut hole = Written::new(UNIXFS_V0_2015);
    expect(
        &mut hole,
        0,
        false,
        &six,
        "QmeLnDdMBTwYS6XX5G6UfELk1k4tB2ok1ZVkdAzMF8QM6v",
    );
    expect(
        &mut hole,
        1_000_000,
        false,
        &six,
        "QmX6pbv6ws4eT2GQBFqUgoR5JFPmc8fDVGAKwiE8Ts1eZh",
    );
}

#[test]
fn a_file_of_many_leaves_has_the_cids_of_kubo() {
    let short = Profile {
        chunk_bytes: 1024,
        ..UNIXFS_V0_2015
    };
    let write = |file: &mut Written, offset, len| file.write(offset, false, &counting(len)).unwrap();
    let mut file = Written::new(short);
    assert_eq!(
        write(&mut file, 0, 200_000),
        "QmfB6h4DkZjXw2Jf1oR4iAHqfjvEFrb4LS765CBcWSytRe"
    );
    let mut file = Written::new(short);
    assert_eq!(
        write(&mut file, 0, 10_000_000),
        "QmVZzQh6AkwvgjiTDyH7khCB1xdH3Evags4SuagQhm3rkx"
    );
    let more = write(&mut file, 10_000_000, 1_000_000);
    assert_eq!(more, "QmRXNRyX4kn8z3ngPxr5CYh8uVr7L6givoAFkUyQ27CAPG");
    let more = write(&mut file, 11_000_000, 700_000);
    assert_eq!(more, "QmRMkmTK2p4uFiUL51xBJE2y7BufRKRSHN2Xnfj4n8a3gX");
    let mut file = Written::new(short);
    assert_eq!(
        write(&mut file, 0, 1_000_000),
        "QmZ1P2hVipuEt4tidsxL1sL2oFfUxeBydHNHQ83K9QAi9r"
    );
    let more = write(&mut file, 999_999, 10_000_000);
    assert_eq!(more, "QmZojKcfuCgpiuWAjpytAWbb6Zh8ZLWewfChAjDh6rDkzU");
    let raw = Profile {
        chunk_bytes: 1024,
        ..V1
    };
    let mut file = Written::new(raw);
    let cid = "bafybeihyl7amf5awr2pamvxsqpkachxn2orocgnzkxvqsgt5tlxoooes44";
    assert_eq!(write(&mut file, 0, 10_000_000), cid);
}

#[test]
fn one_byte_further_behind_the_end_is_refused() {
    let mut file = Written::new(V1);
    file.write(0, false, &counting(6)).unwrap();
    let refused = file.write(6 + MAX_HOLE_BYTES + 1, false, &counting(1)).unwrap_err();
    assert!(matches!(refused, WriteError::FarBehind { size: 6, .. }), "{refused}");
    let shelf = file.shelf.clone();
    let mut load = |cid: &Cid| shelf.get(cid);
    let mut writer = FileWriter::open(&V1, file.root.clone(), &mut load).unwrap();
    writer.write_at(6 + MAX_HOLE_BYTES, &counting(1)).unwrap();
    // The zeros are one leaf.
    let made: usize = writer.take().iter().map(|block| block.data().len()).sum();
    assert!(made < 32 << 20, "{made}");
    assert_eq!(writer.size().unwrap(), 7 + MAX_HOLE_BYTES);
}

/// A file of nodes with one part each, above a leaf of one byte.
fn tower(nodes: u32) -> Written {
    let leaf = Block::new(RAW, Bytes::from_static(b"a")).unwrap();
    let mut shelf = Shelf::default();
    let mut root = leaf.clone();
    shelf.add([leaf]);
    for _ in 0..nodes {
        let data = Data {
            filesize: Some(1),
            blocksizes: vec![1],
            ..Data::new(Kind::File)
        };
        let link = PbLink {
            cid: *root.cid(),
            name: Bytes::new(),
            tsize: 1,
        };
        let node = PbNode {
            links: vec![link],
            data: Some(data.encode().into()),
        };
        root = Block::new(DAG_PB, node.encode()).unwrap();
        shelf.add([root.clone()]);
    }
    let profile = V1;
    Written { profile, shelf, root }
}

#[test]
fn one_node_deeper_is_refused() {
    let overwrite = |nodes, truncates| {
        let file = tower(nodes);
        let mut load = |cid: &Cid| file.shelf.get(cid);
        let mut writer = FileWriter::open(&file.profile, file.root.clone(), &mut load).unwrap();
        if truncates {
            return writer.truncate();
        }
        writer.write_at(0, &Bytes::from_static(b"b"))
    };
    for truncates in [false, true] {
        assert!(overwrite(MAX_FILE_DEPTH, truncates).is_ok());
        let refused = overwrite(MAX_FILE_DEPTH + 1, truncates).unwrap_err();
        assert!(matches!(refused, WriteError::Damaged { .. }), "{refused}");
    }
}

#[test]
fn what_is_no_file_is_not_written_to() {
    let (_, link) = crate::unixfs::node::symlink(&V1, "a").unwrap();
    let directory = super::super::directory::build(&V1, []).unwrap().blocks.remove(0);
    for block in [link, directory] {
        let mut load = |_: &Cid| Err("none".to_owned());
        let refused = FileWriter::open(&V1, block, &mut load).err().unwrap();
        assert!(matches!(refused, WriteError::NotAFile { .. }), "{refused}");
    }
}

proptest! {
    /// Whatever is written where: what is read is what a file of a disk would have.
    #[test]
    fn writes_do_what_they_do_on_a_disk(
        raw in any::<bool>(), added in 0..60_usize,
        writes in prop::collection::vec((0..80_u64, prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 1..12),
    ) {
        let profile = Profile { chunk_bytes: 3, max_links: 2, raw_leaves: raw, ..V1 };
        let mut model = counting(added).to_vec();
        let mut file = Written::added(profile, &counting(added));
        for (offset, bytes, truncates) in writes {
            if truncates {
                model.clear();
            }
            if model.len() < offset as usize {
                model.resize(offset as usize, 0);
            }
            let end = (offset as usize + bytes.len()).max(model.len());
            model.resize(end, 0);
            model[offset as usize..offset as usize + bytes.len()].copy_from_slice(&bytes);
            file.write(offset, truncates, &bytes.into()).unwrap();
            prop_assert_eq!(&file.read(), &model);
        }
    }
}
