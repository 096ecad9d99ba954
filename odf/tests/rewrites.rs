//! History that is written again, as those see it who have the old one.

use odf::compact::{self, compact};
use odf::dataset::Dataset;
use odf::publish::{PublishError, publish};
use odf::pull::{Address, PullError, PullOptions, Pulled, pull_from};
use odf::receive::{ReceiveError, Received};
use odf::retention::{Retention, Rule, retain};
use odf::verify::{Depth, verify};

use crate::world::{Site, quiet};

async fn two() -> (tempfile::TempDir, Site, Site) {
    let dir = tempfile::tempdir().unwrap();
    let here = Site::new(&dir.path().join("here")).await;
    let there = Site::new(&dir.path().join("there")).await;
    there.dial(&here).await;
    (dir, here, there)
}

async fn pull_by_force(site: &Site, address: &Address) -> Result<Pulled, PullError> {
    let options = PullOptions {
        force: true,
        ..PullOptions::default()
    };
    let (workspace, node) = (&site.workspace, &site.node);
    pull_from(workspace.local(), node, &site.fetcher(), address, options, quiet()).await
}

async fn publish_by_force(site: &Site, dataset: &Dataset, force: bool) -> Result<Address, PublishError> {
    let key = site.workspace.key_of(&dataset.id()).unwrap();
    let published = publish(site.workspace.local(), &site.node, dataset, &key, force).await?;
    assert_eq!(published.root.head, *dataset.head());
    Ok(Address::Name(published.name))
}

fn same(site: &Site, dataset: &Dataset) {
    let copy = site.workspace.catalog().by_id(&dataset.id()).unwrap().unwrap();
    assert_eq!(copy.state(), dataset.state());
    assert_eq!(copy.tail(1000).unwrap(), dataset.tail(1000).unwrap());
    verify(&copy, site.workspace.datasets().mirror(), Depth::Rows, &|_| {}).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_history_is_published_and_pulled_only_by_force() {
    let (_dir, mut here, there) = two().await;
    for rows in 1..=5 {
        here.take("counter", rows);
    }
    let mut dataset = here.take("counter", 6);
    let (old, old_blocks) = (here.publish(&dataset).await.root, dataset.state().blocks());
    let address = Address::Name(odf::pull::name_of(&dataset.id()).unwrap());
    there.pull(&address).await.unwrap();

    let now = "2027-01-01T00:00:00Z".parse().unwrap();
    let go_on = &mut |_, _| std::ops::ControlFlow::Continue(());
    let compact::Outcome::Compacted(done) =
        compact(here.workspace.datasets(), &mut dataset, &Default::default(), now, go_on).unwrap()
    else {
        panic!("nothing was compacted")
    };
    assert_eq!((done.old_slices, done.new_slices), (6, 1));
    let refused = publish_by_force(&here, &dataset, false).await;
    assert!(
        matches!(refused, Err(PublishError::Diverged { head, .. }) if head == old.head),
        "{refused:?}"
    );
    // Asking again does not help, although the new root is laid out now.
    assert!(matches!(
        publish_by_force(&here, &dataset, false).await,
        Err(PublishError::Diverged { .. })
    ));
    publish_by_force(&here, &dataset, true).await.unwrap();
    publish_by_force(&here, &dataset, false).await.unwrap();

    match there.pull(&address).await {
        Err(PullError::Receive(ReceiveError::Diverged { common, .. })) => assert_eq!(common, done.common),
        other => panic!("{other:?}"),
    }
    match pull_by_force(&there, &address).await.unwrap().received {
        Received::Updated(arrived) => {
            let new = done.new_blocks - done.common;
            assert_eq!((arrived.blocks, arrived.dropped), (new, old_blocks - done.common));
        }
        other => panic!("{other:?}"),
    }
    same(&there, &dataset);
    assert!(matches!(
        there.pull(&address).await.unwrap().received,
        Received::UpToDate { .. }
    ));

    // The old root is there for whoever cites it, from either of them.
    let third = tempfile::tempdir().unwrap();
    let third = Site::new(third.path()).await;
    third.dial(&there).await;
    let cited = Address::Root {
        cid: old.cid,
        path: String::new(),
    };
    let pulled = third.pull(&cited).await.unwrap();
    assert_eq!(*pulled.received.dataset().head(), old.head);

    // The newest root is kept however few are, though it has the smaller sequence number.
    let none = Retention::Kept(vec![Rule::Newest(0)]);
    let _ = retain(here.workspace.local(), &dataset, &none, std::time::SystemTime::now()).unwrap();
    let pins = here.workspace.store().pins(Some(&dataset.id().to_string())).unwrap();
    let latest = here.workspace.layout().latest(&dataset.id()).unwrap().unwrap();
    assert_eq!(pins.iter().map(|pin| pin.cid).collect::<Vec<_>>(), [latest.cid]);
    here.take("counter", 8);
    let dataset = here.workspace.catalog().find("counter").unwrap();
    publish_by_force(&here, &dataset, false).await.unwrap();
    there.pull(&address).await.unwrap();
    same(&there, &dataset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_that_is_ahead_or_apart_becomes_the_remote_one_by_force() {
    let (_dir, mut here, mut there) = two().await;
    here.take("counter", 2);
    let dataset = here.take("counter", 4);
    let published = here.publish(&dataset).await;
    let address = Address::Name(published.name);
    let copy = there.pull(&address).await.unwrap().received.dataset().clone();
    let name = copy.name().unwrap();
    there.take(name.as_str(), 9);
    match pull_by_force(&there, &address).await.unwrap().received {
        Received::Updated(arrived) => assert_eq!((arrived.blocks, arrived.dropped), (0, 1)),
        other => panic!("{other:?}"),
    }
    same(&there, &dataset);

    there.take(name.as_str(), 9);
    let dataset = here.take("counter", 5);
    here.publish(&dataset).await;
    assert!(matches!(
        there.pull(&address).await,
        Err(PullError::Receive(ReceiveError::Diverged { .. }))
    ));
    match pull_by_force(&there, &address).await.unwrap().received {
        Received::Updated(arrived) => assert_eq!((arrived.blocks, arrived.dropped), (1, 1)),
        other => panic!("{other:?}"),
    }
    same(&there, &dataset);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_a_dataset_leads_to_no_other_one() {
    let (_dir, mut here, there) = two().await;
    let (dataset, other) = (here.take("counter", 2), here.take("other", 3));
    let key = here.workspace.key_of(&dataset.id()).unwrap();
    publish(here.workspace.local(), &here.node, &other, &key, true)
        .await
        .unwrap();
    let by_id: Address = dataset.id().to_string().parse().unwrap();
    for _ in 0..2 {
        match there.pull(&by_id).await {
            Err(PullError::Receive(ReceiveError::OtherDataset { found, expected, .. })) => {
                assert_eq!((found, expected), (other.id(), dataset.id()));
            }
            result => panic!("{result:?}"),
        }
        assert!(pull_by_force(&there, &by_id).await.is_err());
        assert!(there.workspace.catalog().by_id(&dataset.id()).unwrap().is_none());
        // The name alone says nothing of what is behind it.
        there.pull(&Address::Name(*by_id.name().unwrap())).await.unwrap();
    }
}
