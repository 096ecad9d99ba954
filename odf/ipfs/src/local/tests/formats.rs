//! The formats of the published DAG: what an append costs, what goes over from one to the next, what stays.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use ipld_core::ipld::Ipld;
use odf_dataset::receive::Progress;
use odf_node::add::{AddOptions, add_path};
use odf_node::block::Block;
use odf_node::fetch::Fetcher;
use odf_node::peer::Node;
use odf_node::unixfs::directory::list;

use super::*;
use crate::layout::{Foresight, Format, PROFILE, Root};
use crate::pull::{Address, PullListener, PullOptions, Pulled, pull_from};
use crate::retention::{Retention, Rule, retain};

fn laid_out_as(local: &Local, dataset: &Dataset, format: Format) -> Root {
    let foresight = Foresight {
        format,
        ..Foresight::default()
    };
    let _foreseen = local.layout().foresee(dataset.id(), foresight);
    local.layout().moved(dataset).unwrap();
    local.layout().latest(&dataset.id()).unwrap().unwrap()
}

/// The root of such a dataset in a workspace that never saw another.
fn made_from_nothing(key: u8, slices: usize, format: Format) -> Cid {
    let dir = tempfile::tempdir().unwrap();
    let local = open(dir.path());
    let dataset = make(&local, key, "elsewhere", slices);
    laid_out_as(&local, &dataset, format).cid
}

fn block(local: &Local, cid: &Cid) -> Block {
    let found = local.store().get(cid).unwrap();
    found.unwrap_or_else(|| panic!("{cid} is missing"))
}

/// The blocks below `root` that are not in `seen`, which they are afterwards.
pub(super) fn new_below(local: &Local, root: Cid, seen: &mut HashSet<Cid>) -> Vec<Block> {
    let mut open = Vec::from_iter(seen.insert(root).then_some(root));
    let mut new = Vec::new();
    while let Some(cid) = open.pop() {
        let block = block(local, &cid);
        open.extend(
            dag::links(&block)
                .unwrap()
                .into_iter()
                .filter(|link| seen.insert(*link)),
        );
        new.push(block);
    }
    new
}

/// What is in a directory of directories, by path.
fn entries(store: &Store, root: Cid) -> BTreeMap<String, Cid> {
    let list = |root: &Cid| list(root, &mut |cid| store.get(cid).map(Option::unwrap)).unwrap();
    let mut all = BTreeMap::new();
    for directory in list(&root) {
        all.insert(format!("{}/", directory.name), Cid::default());
        for entry in list(&directory.cid) {
            all.insert(format!("{}/{}", directory.name, entry.name), entry.cid);
        }
    }
    all
}

/// Every path of the published layout, from the root of either format.
fn paths(local: &Local, root: &Root) -> BTreeMap<String, Cid> {
    let Ipld::Map(map) = dag::value(&block(local, &root.cid)).unwrap() else {
        panic!("the root is no map");
    };
    assert_eq!(map["odf"], Ipld::Integer(root.format.number().into()));
    assert_eq!(map["files"], Ipld::Link(root.files));
    let files = list(&root.files, &mut |cid| local.store().get(cid).map(Option::unwrap)).unwrap();
    for link in files {
        assert_eq!(map[&link.name], Ipld::Link(link.cid), "{}", link.name);
    }
    entries(local.store(), root.files)
}

#[test]
fn roots_are_functions_of_the_chain_and_the_format() {
    let dir = tempfile::tempdir().unwrap();
    let local = open(dir.path());
    let dataset = make(&local, 1, "a", 12);
    let old = laid_out_as(&local, &dataset, Format::One);
    assert_eq!(old.cid, made_from_nothing(1, 12, Format::One));
    let new = laid_out_as(&local, &dataset, Format::Two);
    assert_eq!(new.cid, made_from_nothing(1, 12, Format::Two));
    // What is no Parquet file is cut as before.
    let newest = laid_out_as(&local, &dataset, Format::Three);
    assert_eq!((newest.chain_node, newest.files), (new.chain_node, new.files));
    assert_eq!(newest.cid, made_from_nothing(1, 12, Format::Three));
    assert_eq!(old.chain_node, new.chain_node, "chain nodes are the same in both");
    assert_eq!(paths(&local, &old), paths(&local, &new), "and so is every path");

    // In format 1 `files` is what adding an export gives.
    let export = dir.path().join("export");
    for (path, cid) in paths(&local, &old) {
        let to = export.join(&path);
        if path.ends_with('/') {
            fs::create_dir_all(to).unwrap();
            continue;
        }
        let name = path.rsplit('/').next().unwrap();
        let slice = dataset.dir().join("data").join(name);
        match slice.exists() {
            true => drop(fs::copy(slice, to).unwrap()),
            false => fs::write(to, block(&local, &cid).data()).unwrap(),
        }
    }
    let elsewhere = Store::open(&dir.path().join("elsewhere"), StoreOptions::default()).unwrap();
    let added = add_path(&elsewhere, &export, &AddOptions::new(PROFILE)).unwrap();
    assert_eq!(added.entry.cid, old.files);
    assert_ne!(added.entry.cid, new.files);
    assert_eq!(entries(&elsewhere, added.entry.cid), paths(&local, &new));
}

#[test]
fn an_append_to_five_thousand_blocks_writes_eight_kibibytes_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let local = open(dir.path());
    let mut dataset = make(&local, SHORT, "a", 4_998);
    assert_eq!(dataset.state().blocks(), 5_000);
    let laid_out = |dataset: &Dataset| {
        local.layout().moved(dataset).unwrap();
        local.layout().latest(&dataset.id()).unwrap().unwrap().cid
    };
    let mut seen = HashSet::new();
    assert!(new_below(&local, laid_out(&dataset), &mut seen).len() > 15_000);
    let mut blocks: Vec<EncodedBlock> = dataset.blocks().unwrap().map(|stored| stored.unwrap().block).collect();
    let (mut sum, mut most) = (0, 0);
    for _ in 0..20 {
        blocks.push(next(SHORT, &blocks));
        let new = &blocks[blocks.len() - 1..];
        place(SHORT, new, dataset.dir());
        dataset.append(new.to_vec(), None).unwrap();
        let slice = content(SHORT, blocks.len() as u64 - 3);
        let new = new_below(&local, laid_out(&dataset), &mut seen);
        let (slices, nodes): (Vec<_>, Vec<_>) = new.into_iter().partition(|block| block.data()[..] == slice[..]);
        assert_eq!(slices.len(), 1);
        let bytes: usize = nodes.iter().map(|block| block.data().len()).sum();
        (sum, most) = (sum + bytes, most.max(bytes));
    }
    assert!(most <= 8 << 10, "{} bytes for an append, {most} at most", sum / 20);
}

#[test]
fn a_dataset_goes_over_to_the_new_format_when_it_is_published_next() {
    let dir = tempfile::tempdir().unwrap();
    let local = open(dir.path());
    let dataset = make(&local, 1, "a", 12);
    let old = laid_out_as(&local, &dataset, Format::One);
    // As it was remembered when there was one format.
    let table = local.store().table("odf.layout").unwrap();
    let key = dataset.id().to_bytes();
    let Ipld::Map(mut saved) = serde_ipld_dagcbor::from_slice(&table.get(&key).unwrap().unwrap()).unwrap() else {
        panic!("a layout is no map");
    };
    saved.remove("format").unwrap();
    table
        .insert(&key, &serde_ipld_dagcbor::to_vec(&saved).unwrap())
        .unwrap();
    drop((table, dataset, local));

    let local = open(dir.path());
    let dataset = local.catalog().find("a").unwrap();
    let found = local.layout().latest(&dataset.id()).unwrap().unwrap();
    assert_eq!(found, old, "nothing happens at a start");
    let new = local.layout().update(&dataset).unwrap();
    local.store().pin(&dataset.id().to_string(), &new.cid).unwrap();
    assert_eq!(new.cid, made_from_nothing(1, 12, Format::CURRENT));
    assert!(local.store().is_complete(&new.cid).unwrap());
    assert_eq!(local.layout().update(&dataset).unwrap(), new, "once");
    check_served(&local, "a");

    // The old root stays, whole, for as long as it is pinned.
    local.collect_garbage().unwrap();
    assert_eq!(paths(&local, &old), paths(&local, &new));
    assert!(new_below(&local, old.cid, &mut HashSet::new()).len() > 40);
    let none = Retention::Kept(vec![Rule::Newest(0)]);
    assert_eq!(retain(&local, &dataset, &none, SystemTime::now()).unwrap().roots, 1);
    local.collect_garbage().unwrap();
    assert_eq!(local.store().get(&old.cid).unwrap(), None);
    assert_eq!(paths(&local, &new).len(), 4 + 1 + 14 + 12);
}

#[test]
fn going_over_reads_only_what_is_cut_in_another_way() {
    let dir = tempfile::tempdir().unwrap();
    let local = open(dir.path());
    let dataset = make(&local, CHUNKS, "a", 9);
    let old = laid_out_as(&local, &dataset, Format::Two);
    let aside = |n: u64, data: &Path| {
        let name = Multihash::sha3_256(&content(CHUNKS, n)).to_string();
        (data.join(&name), dir.path().join(name))
    };
    for n in [0, 3, 6] {
        let (from, to) = aside(n, &dataset.dir().join("data"));
        fs::rename(from, to).unwrap();
    }
    let new = local.layout().update(&dataset).unwrap();
    for n in [0, 3, 6] {
        let (to, from) = aside(n, &dataset.dir().join("data"));
        fs::rename(from, to).unwrap();
    }
    assert_eq!(
        (new.format, new.cid),
        (Format::Three, made_from_nothing(CHUNKS, 9, Format::Three))
    );
    assert_ne!(new.chain_node, old.chain_node);
    local.store().pin(&dataset.id().to_string(), &new.cid).unwrap();
    check_served(&local, "a");
}

#[test]
fn files_that_are_cut_in_two_ways_serve_both_roots() {
    let dir = tempfile::tempdir().unwrap();
    let local = open(dir.path());
    let dataset = make(&local, CHUNKS, "a", 9);
    let old = laid_out_as(&local, &dataset, Format::Two);
    let new = laid_out_as(&local, &dataset, Format::Three);
    let count = |local: &Local, root: &Root| new_below(local, root.cid, &mut HashSet::new()).len();
    let (old_blocks, new_blocks) = (count(&local, &old), count(&local, &new));
    assert!(
        old_blocks > 50 && new_blocks > old_blocks + 20,
        "{old_blocks}, {new_blocks}"
    );
    local.collect_garbage().unwrap();
    assert_eq!(count(&local, &old), old_blocks);
    // Also by whoever has to make the index again.
    drop((dataset, local));
    let options = StoreOptions {
        rebuild: true,
        ..StoreOptions::default()
    };
    let local = Local::open(dir.path(), options).unwrap();
    assert_eq!((count(&local, &old), count(&local, &new)), (old_blocks, new_blocks));
    // And of a file that is put in place again.
    let dataset = local.catalog().find("a").unwrap();
    let path = dataset.slice_path(&Multihash::sha3_256(&content(CHUNKS, 2)));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, vec![0; bytes.len()]).unwrap();
    assert!(!local.layout().check(&dataset, &|_| {}).unwrap().is_whole());
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    local.layout().mended(&dataset, &[path]).unwrap();
    assert_eq!((count(&local, &old), count(&local, &new)), (old_blocks, new_blocks));
    // Until the old one is given up. What others need of it is copied when the dataset goes.
    local.store().pin("somebody", &old.cid).unwrap();
    let id = dataset.id();
    drop(dataset);
    local.datasets().delete(&id).unwrap();
    local.collect_garbage().unwrap();
    assert_eq!(count(&local, &old), old_blocks);
    assert_eq!(local.store().get(&new.cid).unwrap(), None);
}

#[test]
fn leaves_are_the_parts_of_a_file_that_a_footer_says() {
    let dir = tempfile::tempdir().unwrap();
    let local = open(dir.path());
    let dataset = make(&local, CHUNKS, "a", 3);
    let leaves = |format, n| -> Vec<u64> {
        laid_out_as(&local, &dataset, format);
        let content = content(CHUNKS, n);
        let found = local.layout().leaves(&dataset.id(), &Multihash::sha3_256(&content));
        let (mut at, mut lengths) = (0, Vec::new());
        for leaf in found.unwrap().unwrap() {
            let len = leaf.len.unwrap_or(content.len() as u64);
            assert_eq!(leaf.offset, at);
            let part = &content[at as usize..(at + len) as usize];
            assert_eq!(block(&local, &leaf.cid).data()[..], *part);
            (at, lengths) = (at + len, [lengths, vec![len]].concat());
        }
        assert_eq!(at, content.len() as u64);
        lengths
    };
    assert_eq!(leaves(Format::Three, 0), [50_038]);
    assert_eq!(leaves(Format::Three, 1), [60_004, 150_000, 150_000, 9_500, 50_000, 66]);
    assert_eq!(
        leaves(Format::Three, 2),
        [233_335, 233_335, 233_334, 225_000, 225_000, 225_000, 225_000, 100, 45]
    );
    assert_eq!(leaves(Format::Two, 1), [419_570]);
    assert_eq!(leaves(Format::Two, 2), [1 << 20, 551_573]);
}

#[test]
fn nodes_of_the_old_format_that_are_gone_do_not_stop_the_way_over() {
    let dir = tempfile::tempdir().unwrap();
    let local = open(dir.path());
    let dataset = make(&local, 1, "a", 12);
    laid_out_as(&local, &dataset, Format::One);
    drop((dataset, local));
    empty_packs(dir.path());
    let local = open(dir.path());
    let dataset = local.catalog().find("a").unwrap();
    local.layout().moved(&dataset).unwrap();
    let new = local.layout().latest(&dataset.id()).unwrap().unwrap();
    assert_eq!(new.cid, made_from_nothing(1, 12, Format::CURRENT));
    check_served(&local, "a");
}

pub(super) async fn site(dir: &Path) -> (Local, Node) {
    let local = open(dir);
    let peer = Node::builder(local.store()).unwrap();
    let peer = peer.listen(vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()]);
    // What is announced of a root, and not each slice besides, which all roots have in common.
    let peer = peer.strategy(odf_node::routing::Strategy::Roots);
    let node = peer.bootstrap(Vec::new()).mdns(false).start().await.unwrap();
    (local, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_broke_off_does_not_look_again_at_what_it_had_checked() {
    const SLICES: u64 = 30;
    let dir = tempfile::tempdir().unwrap();
    let (theirs, there) = site(&dir.path().join("there")).await;
    let (ours, here) = site(&dir.path().join("here")).await;
    here.dial(there.listen_addrs().remove(0)).await.unwrap();
    let dataset = make(&theirs, SHORT, "a", SLICES as usize);
    let root = laid_out_as(&theirs, &dataset, Format::Two);
    // Goes on until so many slices came; gives how many did.
    let pull = async |most: u64| {
        let fetcher = Fetcher::new(ours.store().clone(), Some(here.exchange().session()));
        let address = Address::Root {
            cid: root.cid,
            path: String::new(),
        };
        let options = PullOptions {
            name: Some("copy".parse().unwrap()),
            ..PullOptions::default()
        };
        let came = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&came);
        let listener: PullListener = Arc::new(move |progress| match progress {
            Progress::Bytes(_) if counted.fetch_add(1, Ordering::Relaxed) + 1 == most => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        let pulled = pull_from(&ours, &here, &fetcher, &address, options, listener).await;
        (pulled, came.load(Ordering::Relaxed))
    };
    let data = ours.catalog().dataset_dir(&dataset.id()).join("data");
    let named = || {
        let entries = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name());
        let named = entries.filter(|name| name.to_string_lossy().parse::<Multihash>().is_ok());
        named.count() as u64
    };
    let (broken, came) = pull(20).await;
    assert!(broken.is_err());
    assert_eq!((came, named()), (20, 20));
    let (pulled, came) = pull(u64::MAX).await;
    assert_eq!((came, named()), (SLICES - 20, SLICES));
    assert_eq!(pulled.unwrap().root.unwrap().cid, root.cid);
    check_served(&ours, "copy");
    here.shutdown().await;
    there.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pulls_a_root_serves_that_root_whatever_its_format() {
    for key in [SHORT, CHUNKS] {
        pull_every_format(key).await;
    }
}

async fn pull_every_format(key: u8) {
    let dir = tempfile::tempdir().unwrap();
    let (theirs, there) = site(&dir.path().join("there")).await;
    let (ours, here) = site(&dir.path().join("here")).await;
    here.dial(there.listen_addrs().remove(0)).await.unwrap();
    let pull = async |root: Cid| -> Pulled {
        let fetcher = Fetcher::new(ours.store().clone(), Some(here.exchange().session()));
        let address = Address::Root {
            cid: root,
            path: String::new(),
        };
        let options = PullOptions {
            name: Some("copy".parse().unwrap()),
            ..PullOptions::default()
        };
        let listener: PullListener = Arc::new(|_| ControlFlow::Continue(()));
        pull_from(&ours, &here, &fetcher, &address, options, listener)
            .await
            .unwrap()
    };
    let mut dataset = make(&theirs, key, "a", 10);
    // A publisher that is not brought up to date, and later is; it goes on in between.
    let (one, two, three) = (Format::One, Format::Two, Format::Three);
    for format in [one, one, two, two, three, three, two] {
        let root = laid_out_as(&theirs, &dataset, format);
        let pulled = pull(root.cid).await;
        let copy = pulled.root.unwrap();
        assert_eq!((copy.cid, copy.format), (root.cid, format));
        let slices = dataset.state().blocks() as usize - 2;
        assert_eq!(root.cid, made_from_nothing(key, slices, format), "whatever was before");
        assert!(ours.store().is_complete(&copy.cid).unwrap());
        check_served(&ours, "copy");
        append(key, &mut dataset);
    }
    // What is in no format that is known is refused, with the reason.
    let root = laid_out_as(&theirs, &dataset, Format::Two);
    let Ipld::Map(mut map) = dag::value(&block(&theirs, &root.cid)).unwrap() else {
        panic!("the root is no map");
    };
    for (number, reason) in [(4, "layout format 4, this odfs reads none above 3"), (0, "below 1")] {
        map.insert("odf".to_owned(), Ipld::Integer(number));
        let bytes = serde_ipld_dagcbor::to_vec(&map).unwrap();
        let strange = Block::new(odf_node::block::DAG_CBOR, bytes).unwrap();
        theirs.store().put(std::slice::from_ref(&strange)).unwrap();
        let fetcher = Fetcher::new(theirs.store().clone(), None);
        let refused = crate::pull::open(&fetcher, *strange.cid())
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains(reason), "{refused}");
    }
    here.shutdown().await;
    there.shutdown().await;
}
