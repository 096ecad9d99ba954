use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::block::{BlockError, DAG_PB, MAX_BLOCK_BYTES, RAW};
use crate::dag::{PbLink, PbNode};
use crate::unixfs::export::{ExportError, FileCursor, MAX_FILE_DEPTH, Part, Step, open};
use crate::unixfs::import::{FileBuilder, LeafHasher, chunks, file, hash_leaf};
use crate::unixfs::node::{Data, Kind, Stat, decode, stat, symlink};

const TINY: Profile = Profile {
    chunk_bytes: 4,
    max_links: 3,
    ..UNIXFS_V1_2025
};
const TINY_V0: Profile = Profile {
    chunk_bytes: 4,
    max_links: 3,
    ..UNIXFS_V0_2015
};

fn counting(len: usize) -> Bytes {
    (0..len).map(|at| at as u8).collect()
}

fn read(shelf: &Shelf, root: Cid, range: Range<u64>) -> Result<Vec<u8>, ExportError> {
    let mut cursor = FileCursor::with_range(root, range.clone());
    let mut out = Vec::new();
    loop {
        match cursor.step() {
            Step::Need(cid) => {
                assert_eq!(cursor.upcoming().next(), Some(cid));
                cursor.feed(&shelf.get(&cid).unwrap())?;
            }
            Step::Data { offset, bytes } => {
                assert!(!bytes.is_empty());
                assert_eq!(offset, range.start + out.len() as u64);
                out.extend_from_slice(&bytes);
                assert_eq!(cursor.position(), range.start + out.len() as u64);
            }
            Step::Done => return Ok(out),
        }
    }
}

/// A node of a file with the given sizes, all of its links to `child`.
fn node(child: &Block, data: Data) -> Block {
    let link = PbLink {
        cid: *child.cid(),
        name: Bytes::new(),
        tsize: 0,
    };
    let links = vec![link; data.blocksizes.len()];
    Block::new(
        DAG_PB,
        PbNode {
            links,
            data: Some(data.encode().into()),
        }
        .encode(),
    )
    .unwrap()
}

fn sized(filesize: u64, blocksizes: &[u64]) -> Data {
    Data {
        filesize: Some(filesize),
        blocksizes: blocksizes.to_vec(),
        ..Data::new(Kind::File)
    }
}

#[test]
fn leaves_of_bytes_in_pieces_are_those_of_the_file() {
    assert!(LeafHasher::new(&TINY_V0).is_none());
    for len in [0, 1, 3, 4, 5, 8, 9, 50] {
        let content = counting(len);
        let (entry, _) = file(&TINY, &content).unwrap();
        for piece in [1, 3, 4, 7, 100] {
            let mut hasher = LeafHasher::new(&TINY).unwrap();
            content.chunks(piece).for_each(|piece| hasher.update(piece));
            let leaves = hasher.finish();
            assert_eq!((leaves.file_len(), leaves.count()), (len as u64, len.div_ceil(4)));
            let mut builder = FileBuilder::new(&TINY);
            for (offset, leaf) in leaves.each() {
                let chunk = &content[offset as usize..][..leaf.size as usize];
                assert_eq!(leaf, hash_leaf(&TINY, chunk).unwrap());
                builder.push(leaf, &mut Vec::new()).unwrap();
            }
            assert_eq!(builder.finish(&mut Vec::new()).unwrap(), entry);
        }
    }
}

#[test]
fn all_leaves_are_equally_deep_and_all_nodes_but_the_last_are_full() {
    // 10 leaves of 4 bytes, 3 links a node: 3 + 3 + 3 under one node, the tenth alone under two nodes of one link.
    let (entry, blocks) = file(&TINY, &counting(40)).unwrap();
    let mut shelf = Shelf::default();
    shelf.add(blocks);
    let links = |cid: &Cid| crate::dag::links(&shelf.get(cid).unwrap()).unwrap();
    let top = links(&entry.cid);
    assert_eq!(top.len(), 2);
    assert_eq!(
        links(&top[0]).iter().map(|node| links(node).len()).collect::<Vec<_>>(),
        [3, 3, 3]
    );
    assert_eq!(
        links(&top[1]).iter().map(|node| links(node).len()).collect::<Vec<_>>(),
        [1]
    );
    let (_, data) = decode(&shelf.get(&entry.cid).unwrap()).unwrap();
    assert_eq!(data.blocksizes, [36, 4]);
}

#[test]
fn tsize_counts_every_link_and_is_not_deduplicated() {
    let (entry, blocks) = file(&TINY, &Bytes::from_static(b"aaaaaaaabbbb")).unwrap();
    let root = blocks.last().unwrap();
    assert_eq!(entry.tsize, 12 + root.data().len() as u64);
    let (node, _) = decode(root).unwrap();
    assert!(node.links.iter().all(|link| link.tsize == 4 && link.name.is_empty()));
}

#[test]
fn blocks_come_children_first_and_the_builder_holds_no_more_than_a_node_a_level() {
    let mut builder = FileBuilder::new(&TINY);
    let mut seen = std::collections::HashSet::new();
    let mut emitted = 0;
    for number in 0..1000u32 {
        let leaf = hash_leaf(&TINY, &number.to_be_bytes()).unwrap();
        seen.insert(leaf.cid);
        let mut out = Vec::new();
        builder.push(leaf, &mut out).unwrap();
        for block in &out {
            assert!(
                crate::dag::links(block)
                    .unwrap()
                    .iter()
                    .all(|child| seen.contains(child))
            );
            seen.insert(*block.cid());
        }
        emitted += out.len();
    }
    // Leaves that are not in an emitted node are those of unfinished ones: at most 3 on each of 7 levels.
    assert!(emitted >= (1000 - 3) / 3 - 3 * 7);
    let mut out = Vec::new();
    assert_eq!(builder.finish(&mut out).unwrap().size, 4000);
}

#[test]
fn chunks_cover_the_file_and_no_block_is_too_large() {
    let of = |len| chunks(&TINY, len).collect::<Vec<_>>();
    assert_eq!(of(0), []);
    assert_eq!(of(4), [(0, 4)]);
    assert_eq!(of(9), [(0, 4), (4, 4), (8, 1)]);
    let huge = vec![0; MAX_BLOCK_BYTES + 1];
    assert!(hash_leaf(&UNIXFS_V1_2025, &huge[1..]).is_ok());
    assert!(matches!(
        hash_leaf(&UNIXFS_V1_2025, &huge),
        Err(BlockError::TooLarge { .. })
    ));
    assert!(matches!(
        hash_leaf(&UNIXFS_V0_2015, &huge[1..]),
        Err(BlockError::TooLarge { .. })
    ));
}

#[test]
fn leaves_can_be_placed_without_reading_in_order() {
    let content = counting(50);
    for profile in [&TINY, &TINY_V0] {
        let (entry, blocks) = file(profile, &content).unwrap();
        let mut shelf = Shelf::default();
        shelf.add(blocks);
        let mut placed = vec![0xff; 50];
        let mut open_parts = vec![Part::root(entry.cid)];
        while let Some(part) = open_parts.pop() {
            let opened = open(&part, &shelf.get(&part.cid).unwrap()).unwrap();
            assert_eq!(part.is_raw(), profile.raw_leaves && opened.children.is_empty());
            let at = part.offset as usize;
            placed[at..at + opened.data.len()].copy_from_slice(&opened.data);
            open_parts.extend(opened.children);
        }
        assert_eq!(placed, content);
    }
}

#[test]
fn only_the_blocks_of_a_range_are_needed() {
    let (entry, blocks) = file(&TINY, &counting(40)).unwrap();
    let mut shelf = Shelf::default();
    shelf.add(blocks);
    let mut cursor = FileCursor::with_range(entry.cid, 17..19);
    let mut needed = 0;
    loop {
        match cursor.step() {
            Step::Need(cid) => {
                needed += 1;
                cursor.feed(&shelf.get(&cid).unwrap()).unwrap();
            }
            Step::Data { bytes, .. } => assert_eq!(bytes.as_ref(), [17, 18]),
            Step::Done => break,
        }
    }
    assert_eq!((needed, cursor.size()), (4, Some(40)));
}

#[test]
fn other_things_than_files_are_named_as_such() {
    let (_, link) = symlink(&UNIXFS_V1_2025, "x").unwrap();
    let dir = directory::build(&UNIXFS_V1_2025, []).unwrap();
    for block in [&link, dir.blocks.last().unwrap()] {
        assert!(matches!(
            open(&Part::root(*block.cid()), block),
            Err(ExportError::NotAFile { .. })
        ));
    }
    assert_eq!(stat(dir.blocks.last().unwrap()).unwrap(), Stat::Directory);
    let (entry, blocks) = file(&TINY, &counting(40)).unwrap();
    assert_eq!(stat(blocks.last().unwrap()).unwrap(), Stat::File(entry.size));
    let other = Block::new(RAW, "x").unwrap();
    assert!(matches!(
        FileCursor::new(entry.cid).feed(&other),
        Err(ExportError::Node(_))
    ));
    let mut done = FileCursor::new(*other.cid());
    done.feed(&other).unwrap();
    assert!(matches!(done.feed(&other), Err(ExportError::NotNeeded { .. })));
}

#[test]
fn sizes_that_do_not_add_up_are_refused() {
    let leaf = Block::new(RAW, "abcd").unwrap();
    let check = |data: Data| {
        let root = node(&leaf, data);
        let mut shelf = Shelf::default();
        shelf.add([leaf.clone(), root.clone()]);
        read(&shelf, *root.cid(), 0..u64::MAX)
    };
    assert_eq!(check(sized(8, &[4, 4])).unwrap(), b"abcdabcd");
    assert_eq!(
        check(Data {
            filesize: None,
            ..sized(0, &[4, 4])
        })
        .unwrap(),
        b"abcdabcd"
    );
    let refused = |data| matches!(check(data), Err(ExportError::SizeMismatch { .. }));
    assert!(refused(sized(9, &[4, 4])), "the sum is not the size");
    assert!(
        refused(sized(8, &[3, 5])),
        "a leaf has another size than its parent says"
    );
    assert!(refused(sized(0, &[u64::MAX, 1])), "the sum overflows");
    assert!(refused(Data {
        data: Some("x".into()),
        ..sized(8, &[4, 4])
    }));
    let mut lost = PbNode::decode(node(&leaf, sized(8, &[4, 4])).data()).unwrap();
    lost.links.pop();
    let lost = Block::new(DAG_PB, lost.encode()).unwrap();
    assert!(matches!(
        open(&Part::root(*lost.cid()), &lost),
        Err(ExportError::SizeMismatch { .. })
    ));
}

#[test]
fn depth_is_bounded_and_empty_parts_are_not_visited() {
    let tower = |levels: u32| {
        let mut shelf = Shelf::default();
        let mut top = Block::new(RAW, "a").unwrap();
        for _ in 0..levels {
            let above = node(&top, sized(1, &[1]));
            shelf.add([top]);
            top = above;
        }
        let root = *top.cid();
        shelf.add([top]);
        read(&shelf, root, 0..u64::MAX)
    };
    assert_eq!(tower(MAX_FILE_DEPTH).unwrap(), b"a");
    assert!(matches!(tower(MAX_FILE_DEPTH + 1), Err(ExportError::TooDeep { .. })));

    // Forty levels of two links each to nothing: 2^40 visits if empty parts counted.
    let mut shelf = Shelf::default();
    let mut top = Block::new(RAW, "").unwrap();
    for _ in 0..40 {
        let above = node(&top, sized(0, &[0, 0]));
        shelf.add([top]);
        top = above;
    }
    shelf.add([top.clone()]);
    assert_eq!(read(&shelf, *top.cid(), 0..u64::MAX).unwrap(), b"");
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(len in 0..300usize, a in 0..320u64, b in 0..320u64, v0 in any::<bool>()) {
        let content = counting(len);
        let (entry, blocks) = file(if v0 { &TINY_V0 } else { &TINY }, &content).unwrap();
        prop_assert_eq!(entry.tsize, {
            // Counting bytes repeat only after 256, so below that no two leaves are equal.
            let total: usize = blocks.iter().map(|block| block.data().len()).sum();
            if len <= 256 { total as u64 } else { entry.tsize }
        });
        let mut shelf = Shelf::default();
        shelf.add(blocks);
        prop_assert_eq!(&read(&shelf, entry.cid, 0..u64::MAX).unwrap(), &content);
        let range = a.min(b)..a.max(b);
        let clip = |at: u64| (at as usize).min(len);
        prop_assert_eq!(read(&shelf, entry.cid, range.clone()).unwrap(), &content[clip(range.start)..clip(range.end)]);
    }

    #[test]
    fn a_damaged_node_never_panics(len in 5..60usize, at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let (_, blocks) = file(&TINY_V0, &counting(len)).unwrap();
        for block in blocks {
            let mut bytes = block.data().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = with;
            let block = Block::new(DAG_PB, bytes).unwrap();
            let _ = open(&Part::root(*block.cid()), &block);
            let _ = stat(&block);
        }
    }
}
