//! Which roots stay, and that all of what they need does.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use odf_node::keystore::Keypair;

use super::formats::{new_below, site};
use super::*;
use crate::publish::{PublishError, Published, publish};
use crate::retention::{ANNOUNCED_FOR, Retention, Rule, retain};

/// A clock that a test moves.
struct Time(SystemTime);

impl Time {
    fn new() -> Self {
        Self(UNIX_EPOCH + Duration::from_secs(1_800_000_000))
    }

    fn pass(&mut self, millis: u64) {
        self.0 += Duration::from_millis(millis);
    }
}

fn lay_out(local: &Local, dataset: &Dataset) -> Cid {
    local.layout().moved(dataset).unwrap();
    local.layout().latest(&dataset.id()).unwrap().unwrap().cid
}

fn pinned(local: &Local, dataset: &Dataset) -> HashSet<Cid> {
    let pins = local.store().pins(Some(&dataset.id().to_string())).unwrap();
    pins.into_iter().map(|pin| pin.cid).collect()
}

/// Every block below a root is here, the leaves too.
fn walk(local: &Local, root: Cid) -> usize {
    new_below(local, root, &mut HashSet::new()).len()
}

#[test]
fn roots_that_stood_for_longer_than_a_minute_stay_whole_and_the_others_are_freed() {
    let dir = tempfile::tempdir().unwrap();
    let local = open(dir.path());
    let mut time = Time::new();
    let mut dataset = make(&local, SHORT, "a", 6);
    let minute = u64::try_from(ANNOUNCED_FOR.as_millis()).unwrap();
    let (mut kept, mut gone) = (HashSet::new(), HashSet::new());
    let stood = [minute + 1, 0, 5, minute, minute * 60, 1, minute - 1, minute + 1];
    for (n, millis) in stood.into_iter().cycle().take(32).enumerate() {
        let root = lay_out(&local, &dataset);
        let given_up = retain(&local, &dataset, &Retention::default(), time.0).unwrap().roots;
        assert_eq!(given_up, u64::from(n > 0 && stood[(n - 1) % 8] <= minute), "{n}");
        time.pass(millis);
        let set = if millis > minute { &mut kept } else { &mut gone };
        set.insert(root);
        append(SHORT, &mut dataset);
    }
    let newest = lay_out(&local, &dataset);
    let _ = retain(&local, &dataset, &Retention::default(), time.0).unwrap();
    kept.insert(newest);
    assert_eq!((kept.len(), gone.len()), (13, 20));
    assert_eq!(pinned(&local, &dataset), kept);

    let sizes: Vec<usize> = kept.iter().map(|root| walk(&local, *root)).collect();
    let before = local.store().stats().unwrap().pack_bytes;
    let report = local.collect_garbage().unwrap();
    assert_eq!((report.pins, report.missing.len()), (13, 0));
    let after = local.store().stats().unwrap().pack_bytes;
    assert!(report.removed_blocks >= 20 * 3, "{report:?}");
    assert!(
        after < before && report.removed_bytes > 0,
        "{before} {after} {report:?}"
    );
    assert!(gone.iter().all(|root| local.store().get(root).unwrap().is_none()));
    assert_eq!(kept.iter().map(|root| walk(&local, *root)).collect::<Vec<_>>(), sizes);
    check_served(&local, "a");
    // Nothing of it changes with a new start.
    drop((dataset, local));
    let local = open(dir.path());
    let dataset = local.catalog().find("a").unwrap();
    assert_eq!(pinned(&local, &dataset), kept);
    assert_eq!(
        retain(&local, &dataset, &Retention::default(), time.0).unwrap().roots,
        0
    );
}

#[test]
fn roots_of_which_nothing_is_known_stay() {
    let dir = tempfile::tempdir().unwrap();
    let local = open(dir.path());
    let mut time = Time::new();
    let mut dataset = make(&local, 1, "a", 2);
    // Laid out by a process that died before it looked at older ones.
    let first = lay_out(&local, &dataset);
    append(1, &mut dataset);
    let second = lay_out(&local, &dataset);
    assert_eq!(
        retain(&local, &dataset, &Retention::default(), time.0).unwrap().roots,
        0
    );
    // By a clock that is set back it cannot be told how long it stood.
    time.0 -= Duration::from_secs(3600);
    append(1, &mut dataset);
    let third = lay_out(&local, &dataset);
    assert_eq!(
        retain(&local, &dataset, &Retention::default(), time.0).unwrap().roots,
        0
    );
    // What was given up before the process died, and is not written down, is given up once.
    append(1, &mut dataset);
    let fourth = lay_out(&local, &dataset);
    assert!(local.store().unpin(&dataset.id().to_string(), &third).unwrap());
    assert_eq!(
        retain(&local, &dataset, &Retention::default(), time.0).unwrap().roots,
        0
    );
    // And the index may be lost.
    drop((dataset, local));
    let options = StoreOptions {
        rebuild: true,
        ..StoreOptions::default()
    };
    let local = Local::open(dir.path(), options).unwrap();
    let mut dataset = local.catalog().find("a").unwrap();
    append(1, &mut dataset);
    let fifth = lay_out(&local, &dataset);
    assert_eq!(
        retain(&local, &dataset, &Retention::default(), time.0).unwrap().roots,
        0
    );
    assert_eq!(pinned(&local, &dataset), HashSet::from([first, second, fourth, fifth]));
    // A count is of all of them.
    let one = Retention::Kept(vec![Rule::Newest(1)]);
    assert_eq!(retain(&local, &dataset, &one, time.0).unwrap().roots, 2);
    assert_eq!(pinned(&local, &dataset), HashSet::from([fourth, fifth]));
    // Everything of it is forgotten with the dataset.
    local.datasets().delete(&dataset.id()).unwrap();
    let known = local.store().table("odf.standing").unwrap();
    assert_eq!(known.scan_prefix(&[]).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_name_stands_for_stays_and_what_somebody_pinned() {
    let dir = tempfile::tempdir().unwrap();
    let (local, node) = site(dir.path()).await;
    let mut time = Time::new();
    let mut dataset = make(&local, 1, "a", 2);
    let key = Keypair::generate_ed25519();
    let publish = async |dataset: &Dataset| -> Result<Published, PublishError> {
        publish(&local, &node, dataset, &key, false).await
    };
    let named = publish(&dataset).await.unwrap().root.cid;
    let none = Retention::Kept(vec![Rule::Newest(0)]);
    for policy in [&Retention::default(), &none] {
        let _ = retain(&local, &dataset, policy, time.0).unwrap();
        append(1, &mut dataset);
        let passing = lay_out(&local, &dataset);
        let _ = retain(&local, &dataset, policy, time.0).unwrap();
        append(1, &mut dataset);
        let newest = lay_out(&local, &dataset);
        local.store().pin("somebody", &passing).unwrap();
        assert_eq!(retain(&local, &dataset, policy, time.0).unwrap().roots, 1);
        assert_eq!(pinned(&local, &dataset), HashSet::from([named, newest]));
        local.collect_garbage().unwrap();
        assert!(walk(&local, named) > 10 && walk(&local, passing) > walk(&local, named));
        local.store().unpin("somebody", &passing).unwrap();
        local.collect_garbage().unwrap();
        assert_eq!(local.store().get(&passing).unwrap(), None);
        check_served(&local, "a");
    }
    // When the name moves on it counts how long that root stood, not how soon another was laid out.
    append(1, &mut dataset);
    time.pass(61_000);
    let next = publish(&dataset).await.unwrap().root.cid;
    let _ = retain(&local, &dataset, &Retention::default(), time.0).unwrap();
    let kept = pinned(&local, &dataset);
    assert!(kept.contains(&named) && kept.contains(&next), "{kept:?}");
    let _ = retain(&local, &dataset, &none, time.0).unwrap();
    assert_eq!(pinned(&local, &dataset), HashSet::from([next]));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_announced_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (local, node) = site(dir.path()).await;
    let mut time = Time::new();
    let mut dataset = make(&local, 1, "a", 2);
    let key = Keypair::generate_ed25519();
    // A root, its files and its newest chain node.
    let mut expected = 3;
    for millis in [1_000, 1_000, 61_000, 1_000, 1_000] {
        publish(&local, &node, &dataset, &key, false).await.unwrap();
        let given_up = retain(&local, &dataset, &Retention::default(), time.0).unwrap();
        given_up.withdraw(&local, Some(&node)).await.unwrap();
        assert_eq!(node.routing().provided().await.unwrap().keys, expected);
        time.pass(millis);
        // One that stood for a minute stays, and is to be found.
        expected += if millis > 60_000 { 3 } else { 0 };
        append(1, &mut dataset);
    }
    // Without a peer.
    node.shutdown().await;
    let newest = lay_out(&local, &dataset);
    let one = Retention::Kept(vec![Rule::Newest(0)]);
    let given_up = retain(&local, &dataset, &one, time.0).unwrap();
    assert_eq!(given_up.roots, 1, "the name stands for another one");
    given_up.withdraw(&local, None).await.unwrap();
    assert!(pinned(&local, &dataset).contains(&newest));
    assert_eq!(local.store().table("provide").unwrap().scan_prefix(b"s").count(), 3);
}
