use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use odf::dataset::NoMirror;
use odf::pull::{Address, PullError, Pulled};
use odf::receive::{ReceiveError, Received};
use odf::verify::{Depth, verify};
use odf_node::block::{Block, DAG_CBOR, RAW};
use odf_node::store::Blocks as _;

use crate::world::Site;

async fn two() -> (tempfile::TempDir, Site, Site) {
    let dir = tempfile::tempdir().unwrap();
    let here = Site::new(&dir.path().join("here")).await;
    let there = Site::new(&dir.path().join("there")).await;
    there.dial(&here).await;
    (dir, here, there)
}

/// Metadata blocks that were new, and IPLD blocks that came.
fn updated(pulled: &Pulled) -> (u64, u64) {
    match &pulled.received {
        Received::Updated(arrived) => (arrived.blocks, pulled.fetched.blocks),
        other => panic!("not updated: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_fetches_only_what_is_new() {
    let (_dir, mut here, there) = two().await;
    let mut dataset = here.take("counter", 1);
    for rows in 2..=30 {
        dataset = here.take("counter", rows);
    }
    let address = Address::Name(here.publish(&dataset).await.name);
    let pulled = there.pull(&address).await.unwrap();
    let (blocks, _) = updated(&pulled);
    assert_eq!(blocks, dataset.state().blocks());
    assert!(matches!(
        there.pull(&address).await.unwrap().received,
        Received::UpToDate { .. }
    ));

    let dataset = here.take("counter", 31);
    let published = here.publish(&dataset).await;
    let pulled = there.pull(&address).await.unwrap();
    let (blocks, fetched) = updated(&pulled);
    assert_eq!(blocks, 1);
    // The root, `files`, `refs` and the head, the metadata block and the slice; of `blocks` and `data` the nodes on the way.
    assert!(fetched <= 6 + 2 * 4, "{fetched} blocks came");
    let (root, copy) = (pulled.root.unwrap(), pulled.received.dataset());
    assert_eq!(root.cid, published.root.cid, "a puller derives the publisher's root");
    assert_eq!(copy.tail(100).unwrap(), dataset.tail(100).unwrap());
    assert_eq!(verify(copy, &NoMirror, Depth::Rows, &|_| {}).unwrap().slices, 31);
    assert!(there.workspace.store().is_complete(&root.cid).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_directory_is_pulled_just_the_same() {
    let (_dir, mut here, there) = two().await;
    here.take("counter", 2);
    let dataset = here.take("counter", 3);
    let root = here.publish(&dataset).await.root;
    let address = Address::Root {
        cid: root.files,
        path: String::new(),
    };
    let pulled = there.pull(&address).await.unwrap();
    assert_eq!(pulled.received.dataset().head(), dataset.head());
    assert_eq!(pulled.root.unwrap().cid, root.cid);
}

/// A block of dag-cbor, the map of `block` with one field changed.
fn with(block: &Block, field: &str, value: Ipld) -> Block {
    let mut map: BTreeMap<String, Ipld> = serde_ipld_dagcbor::from_slice(block.data()).unwrap();
    assert!(map.insert(field.to_owned(), value).is_some(), "{field}");
    Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&map).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_chain_node_leads_nowhere_the_directories_are_asked() {
    let (_dir, mut here, there) = two().await;
    let dataset = here.take("counter", 1);
    let name = Address::Name(here.publish(&dataset).await.name);
    there.pull(&name).await.unwrap();
    let other = Block::new(RAW, &b"neither a metadata block nor a slice"[..]).unwrap();
    let absent = Block::new(RAW, &b"what nobody has"[..]).unwrap();
    let no_node = other_node();
    here.workspace.store().put(&[other.clone(), no_node.clone()]).unwrap();
    let mut rows = 1;
    for field in ["data", "raw", "hash", "head"] {
        for wrong in [&other, &absent, &no_node] {
            rows += 1;
            let dataset = here.take("counter", rows);
            let published = here.publish(&dataset).await.root;
            let root = here.workspace.store().get(&published.cid).unwrap().unwrap();
            let Ok(Ipld::Map(map)) = odf_node::dag::value(&root) else {
                panic!("no map");
            };
            let Some(Ipld::Link(node)) = map.get("head") else {
                panic!("no chain node");
            };
            let node = here.workspace.store().get(node).unwrap().unwrap();
            let link = Ipld::Link(*wrong.cid());
            let forged = match field {
                "head" => vec![with(&root, "head", link)],
                _ => {
                    let value = match field {
                        "hash" => Ipld::Bytes(wrong.cid().to_bytes()),
                        _ => link,
                    };
                    let node = with(&node, field, value);
                    let root = with(&root, "head", Ipld::Link(*node.cid()));
                    vec![node, root]
                }
            };
            here.workspace.store().put(&forged).unwrap();
            let address = Address::Root {
                cid: *forged.last().unwrap().cid(),
                path: String::new(),
            };
            let pulled = there.pull(&address).await.unwrap();
            let copy = pulled.received.dataset();
            assert_eq!(copy.head(), dataset.head(), "{field}");
            assert_eq!(copy.tail(100).unwrap(), dataset.tail(100).unwrap());
            verify(copy, &NoMirror, Depth::Rows, &|_| {}).unwrap();
            assert_eq!(
                pulled.root.unwrap().cid,
                published.cid,
                "{field}: laid out as it should be"
            );
        }
    }
}

/// A map that is no chain node.
fn other_node() -> Block {
    let map = BTreeMap::from([("other".to_owned(), Ipld::Integer(1))]);
    Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&map).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_files_without_the_chain_nodes_is_enough() {
    let (dir, mut here, there) = two().await;
    let first = here.take("counter", 1);
    let name = Address::Name(here.publish(&first).await.name);
    there.pull(&name).await.unwrap();
    let dataset = here.take("counter", 2);
    let root = here.publish(&dataset).await.root;
    let copy = Site::new(&dir.path().join("copy")).await;
    copy.dial(&here).await;
    copy.fetcher().dag(root.files).await.unwrap();
    copy.fetcher().block(&root.cid).await.unwrap();
    here.node.shutdown().await;
    there.dial(&copy).await;
    let address = Address::Root {
        cid: root.cid,
        path: String::new(),
    };
    let pulled = there.pull(&address).await.unwrap();
    assert_eq!(pulled.received.dataset().head(), dataset.head());
    assert_eq!(pulled.root.unwrap().cid, root.cid);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrived_before_an_interruption_is_not_fetched_again() {
    let (_dir, mut here, there) = two().await;
    let mut dataset = here.take("counter", 1);
    for rows in 2..=20 {
        dataset = here.take("counter", rows);
    }
    let root = here.publish(&dataset).await.root;
    // As far as a pull gets that ends before any slice: everything but the slices is in the store.
    let fetcher = there.fetcher();
    let (blocks, _) = fetcher
        .directory(fetcher.resolve(root.files, "blocks").await.unwrap().cid, false)
        .await
        .unwrap();
    for link in blocks {
        fetcher.ensure(&link.cid).await.unwrap();
    }
    let address = Address::Root {
        cid: root.cid,
        path: String::new(),
    };
    let (_, fetched) = updated(&there.pull(&address).await.unwrap());
    // The slices, the root, `refs` and the head, and every node of `data`.
    assert!(fetched <= 20 + 3 + 16, "{fetched} blocks came");
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_that_went_apart_are_told() {
    let (_dir, mut here, mut there) = two().await;
    let dataset = here.take("counter", 2);
    let published = here.publish(&dataset).await;
    let address = Address::Name(published.name);
    let first = there.pull(&address).await.unwrap();
    let name = first.received.dataset().name().unwrap();
    // Rows of its own: the reader's copy goes on by itself.
    there.take(name.as_str(), 7);
    let old = Address::Root {
        cid: published.root.cid,
        path: String::new(),
    };
    assert!(matches!(
        there.pull(&old).await.unwrap().received,
        Received::Ahead { .. }
    ));

    here.take("counter", 4);
    let dataset = here.workspace.catalog().find("counter").unwrap();
    here.publish(&dataset).await;
    match there.pull(&address).await {
        Err(PullError::Receive(ReceiveError::Diverged { common, .. })) => {
            assert_eq!(common, dataset.state().blocks() - 1)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_not_moved_over_somebody_elses_head() {
    let (_dir, mut here, mut there) = two().await;
    let dataset = here.take("counter", 2);
    here.publish(&dataset).await;
    // The same key on a second machine, with another history.
    let key = here.workspace.key_of(&dataset.id()).unwrap();
    let other = there.take("other", 5);
    let refused = odf::publish::publish(there.workspace.local(), &there.node, &other, &key, false).await;
    assert!(
        matches!(refused, Err(odf::publish::PublishError::Diverged { .. })),
        "{refused:?}"
    );
    odf::publish::publish(there.workspace.local(), &there.node, &other, &key, true)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_dataset_is_refused_with_the_reason() {
    let (_dir, here, there) = two().await;
    let block = odf_node::block::Block::new(odf_node::block::RAW, &b"no dataset"[..]).unwrap();
    here.workspace.store().put(std::slice::from_ref(&block)).unwrap();
    let address = Address::Root {
        cid: *block.cid(),
        path: String::new(),
    };
    assert!(there.pull(&address).await.is_err());
}

/// Followers of a name must not meet another history under it.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_dataset_leaves_its_name_behind() {
    let (_dir, mut here, _there) = two().await;
    let dataset = here.take("counter", 2);
    here.publish(&dataset).await;
    here.workspace.delete(&dataset.id()).unwrap();
    let again = here.take("counter", 3);
    assert_ne!(again.id(), dataset.id());
    assert_eq!(again.name().unwrap().as_str(), "counter");
}
