use ipld_core::ipld::Ipld;
use proptest::prelude::*;

use super::*;
use crate::block::{DAG_CBOR, DAG_PB, RAW};
use crate::unixfs::import::file;
use crate::unixfs::node::symlink;
use crate::unixfs::resolve::{MAX_CROSSINGS, MAX_SEGMENTS, ResolveError, Resolved, Resolver, Step};

const SMALL: Profile = Profile {
    shard_above: 600,
    ..UNIXFS_V1_2025
};

fn go(shelf: &Shelf, root: &Cid, path: &str) -> Result<Resolved, ResolveError> {
    let mut resolver = Resolver::new(*root, path)?;
    loop {
        match resolver.step() {
            Step::Need(cid) => resolver.feed(&shelf.get(&cid).unwrap())?,
            Step::Done(resolved) => return Ok(resolved),
        }
    }
}

fn cbor(value: Ipld) -> Block {
    Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&value).unwrap()).unwrap()
}

fn map<const N: usize>(pairs: [(&str, Ipld); N]) -> Ipld {
    Ipld::Map(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// A dag-cbor root over a directory `dir` with a HAMT `many` in it, a link to itself only in words, and a list.
fn scene() -> (Shelf, Cid, [Cid; 3]) {
    let mut shelf = Shelf::default();
    let add_file = |text: &'static str, shelf: &mut Shelf| {
        let (entry, blocks) = file(&SMALL, &text.into()).unwrap();
        shelf.add(blocks);
        entry
    };
    let hello = add_file("hello", &mut shelf);
    let many = directory::build(&SMALL, (0..300).map(|number| (format!("n{number}"), hello))).unwrap();
    let (link, link_block) = symlink(&SMALL, "many").unwrap();
    let entries = [("many", many.entry), ("hello.txt", hello), ("link", link)];
    let dir = directory::build(&SMALL, entries.map(|(name, entry)| (name.to_owned(), entry))).unwrap();
    let inner = cbor(map([("event", map([("kind", Ipld::String("Seed".into()))]))]));
    let root = cbor(map([
        ("dir", Ipld::Link(dir.entry.cid)),
        (
            "list",
            Ipld::List(vec![Ipld::Integer(1), map([("x", Ipld::Link(*inner.cid()))])]),
        ),
    ]));
    let cids = [dir.entry.cid, many.entry.cid, hello.cid];
    let (root_cid, inner) = (*root.cid(), inner);
    shelf.add(
        [root, inner, link_block]
            .into_iter()
            .chain(dir.blocks)
            .chain(many.blocks),
    );
    (shelf, root_cid, cids)
}

#[test]
fn paths_go_through_values_directories_and_hamts() {
    let (shelf, root, [dir, many, hello]) = scene();
    let done = go(&shelf, &root, "/dir/many/n217").unwrap();
    assert_eq!(
        done,
        Resolved {
            cid: hello,
            remainder: vec![],
            roots: vec![root, dir, many, hello]
        }
    );
    assert_eq!(go(&shelf, &root, "dir//hello.txt/").unwrap().cid, hello);
    let inside = go(&shelf, &root, "list/1/x/event/kind").unwrap();
    assert_eq!(inside.remainder, ["event", "kind"]);
    let block = shelf.get(&inside.cid).unwrap();
    assert_eq!(
        crate::dag::value_at(&block, &inside.remainder).unwrap(),
        Ipld::String("Seed".into())
    );
    assert_eq!(
        go(&shelf, &root, "list/0").unwrap(),
        Resolved {
            cid: root,
            remainder: vec!["list".into(), "0".into()],
            roots: vec![root]
        }
    );
    assert_eq!(
        Resolver::new(root, "/").unwrap().step(),
        Step::Done(Resolved {
            cid: root,
            remainder: vec![],
            roots: vec![root]
        })
    );
}

#[test]
fn a_path_that_leads_nowhere_says_where_it_ended() {
    let (shelf, root, [dir, many, hello]) = scene();
    let not_found = |path: &str| match go(&shelf, &root, path).unwrap_err() {
        ResolveError::NotFound { cid, segment } => (cid, segment),
        other => panic!("{other:?}"),
    };
    assert_eq!(not_found("nope"), (root, "nope".into()));
    assert_eq!(not_found("list/2"), (root, "2".into()));
    assert_eq!(not_found("dir/nope"), (dir, "nope".into()));
    assert_eq!(
        not_found("dir/many/nope"),
        (many, "nope".into()),
        "the directory is named, not one of its nodes"
    );
    let nothing_below = |path: &str| match go(&shelf, &root, path).unwrap_err() {
        ResolveError::NothingBelow { cid, .. } => cid,
        other => panic!("{other:?}"),
    };
    assert_eq!(nothing_below("dir/hello.txt/x"), hello);
    assert_eq!(nothing_below("list/0/x"), root);
    nothing_below("dir/link/x");
    let foreign = Block::new(0x78, "git").unwrap();
    let mut resolver = Resolver::new(*foreign.cid(), "x").unwrap();
    assert!(matches!(
        resolver.feed(&foreign),
        Err(ResolveError::UnsupportedCodec { codec: 0x78, .. })
    ));
}

#[test]
fn a_wrong_block_is_not_taken() {
    let (shelf, root, [dir, ..]) = scene();
    let mut resolver = Resolver::new(root, "dir").unwrap();
    assert!(matches!(
        resolver.feed(&shelf.get(&dir).unwrap()),
        Err(ResolveError::WrongBlock { .. })
    ));
    resolver.feed(&shelf.get(&root).unwrap()).unwrap();
    assert!(matches!(resolver.step(), Step::Done(_)));
    assert!(matches!(
        resolver.feed(&shelf.get(&dir).unwrap()),
        Err(ResolveError::WrongBlock { .. })
    ));
}

#[test]
fn segments_and_crossings_are_bounded() {
    let root = cid("bafkqaaa");
    assert!(Resolver::new(root, &"a/".repeat(MAX_SEGMENTS)).is_ok());
    assert!(matches!(
        Resolver::new(root, &"a/".repeat(MAX_SEGMENTS + 1)),
        Err(ResolveError::TooLong)
    ));

    // Blocks that are nothing but a link take no segment.
    let chain = |links: usize| {
        let mut shelf = Shelf::default();
        let mut top = cbor(map([("a", Ipld::Null)]));
        for _ in 0..links {
            let above = cbor(Ipld::Link(*top.cid()));
            shelf.add([top]);
            top = above;
        }
        shelf.add([top.clone()]);
        go(&shelf, top.cid(), "a")
    };
    assert!(chain(MAX_CROSSINGS).is_ok());
    assert!(matches!(chain(MAX_CROSSINGS + 1), Err(ResolveError::TooManyCrossings)));
}

proptest! {
    #[test]
    fn no_block_makes_a_resolver_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), codec in 0..3usize) {
        let block = Block::new([RAW, DAG_PB, DAG_CBOR][codec], bytes).unwrap();
        let _ = Resolver::new(*block.cid(), "a/0/b").unwrap().feed(&block);
    }
}
