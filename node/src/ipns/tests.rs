//! Names between real peers over loopback sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use libp2p::identity::Keypair;

use super::record::{Contents, Record};
use super::state::MAX_UNSEEN;
use super::{Change, Freshness, KeySource, Name, Origin, PublishError, PublishOptions, ResolveError};
use crate::clock::Clock;
use crate::peer::Node;
use crate::peer::tests::{NO_TIMER, address, introduce, private, quiet, start, until};
use crate::routing::Network;
use crate::store::{Store, StoreOptions};

const ONE: &str = "/ipfs/bafkqaaa";
const TWO: &str = "/ipfs/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";

fn key() -> (Keypair, Name) {
    let key = Keypair::generate_ed25519();
    let name = Name::from_public_key(&key.public());
    (key, name)
}

fn record(key: &Keypair, value: &str, sequence: u64, life: Duration) -> Record {
    let (valid_until, ttl) = (SystemTime::now() + life, Duration::from_secs(300));
    Record::create(
        key,
        &Contents {
            value,
            sequence,
            valid_until,
            ttl,
        },
    )
    .unwrap()
}

/// Makes `node` hold these bytes under this name, as if somebody had got them past its checks.
fn plant(node: &Node, name: &Name, bytes: &[u8]) {
    node.names()
        .inner
        .records
        .put_value(&name.routing_key(), bytes, u64::MAX, Default::default())
        .unwrap();
}

fn held(node: &Node, name: &Name) -> Option<Vec<u8>> {
    node.names().inner.records.value(&name.routing_key())
}

/// A clock that only moves when told.
fn stepped() -> (Clock, Arc<AtomicU64>) {
    let ahead = Arc::new(AtomicU64::new(0));
    let shift = Arc::clone(&ahead);
    let started = SystemTime::now();
    (
        Clock::from_fn(move || started + Duration::from_secs(shift.load(Ordering::Relaxed))),
        ahead,
    )
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

#[tokio::test]
async fn a_name_is_published_and_resolved_through_a_third_peer_in_milliseconds() {
    let (a, b, c) = (start().await, start().await, start().await);
    introduce(&a, &b).await;
    introduce(&c, &b).await;
    let (key, name) = key();

    let started = Instant::now();
    let published = a.names().publish(&key, ONE, PublishOptions::default()).await.unwrap();
    assert_eq!(
        (published.record.sequence(), published.network),
        (1, Some(Network::Lan))
    );
    assert!(published.holders >= 1);
    assert!(!published.renewed);
    let resolved = c.names().resolve(&name, Freshness::Network).await.unwrap();
    assert!(started.elapsed() < NO_TIMER, "took {:?}", started.elapsed());
    assert_eq!(resolved.value, ONE);
    assert!(matches!(resolved.source, Origin::Network { answers: 1.. }));

    // A newer one is seen at once, whatever the lifetime of the old one.
    let second = a.names().publish(&key, TWO, PublishOptions::default()).await.unwrap();
    assert_eq!(second.record.sequence(), 2);
    assert_eq!(c.names().resolve(&name, Freshness::Network).await.unwrap().value, TWO);
}

#[tokio::test]
async fn whoever_has_just_started_asks_a_peer_that_comes_while_nobody_could_be_asked() {
    let a = start().await;
    let (key, name) = key();
    a.names().publish(&key, ONE, PublishOptions::default()).await.unwrap();
    // The peer may come before, while and after the first question is asked of nobody.
    for turn in 0..60 {
        let b = quiet().bootstrap(vec![address(&a)]).start().await.unwrap();
        tokio::time::sleep(Duration::from_micros(200 * turn)).await;
        let options = PublishOptions {
            expected: Some("/ipfs/bafkqaaq".to_owned()),
            ..PublishOptions::default()
        };
        let published = b.names().publish(&key, TWO, options).await;
        assert!(
            matches!(&published, Err(PublishError::Superseded { found, .. }) if found == ONE),
            "{name} after {turn} turns: {published:?}"
        );
        b.shutdown().await;
    }
}

#[tokio::test]
async fn a_name_is_served_as_soon_as_it_is_followed() {
    let (a, b) = (start().await, start().await);
    introduce(&a, &b).await;
    let (key, name) = key();
    a.names().publish(&key, ONE, PublishOptions::default()).await.unwrap();
    // As a command leaves it that was killed between the two.
    b.names().resolve(&name, Freshness::Network).await.unwrap();
    b.names().inner.records.forget_value(&name.routing_key());
    assert_eq!(held(&b, &name), None);
    b.names().follow(&name).await.unwrap();
    assert!(held(&b, &name).is_some(), "a process that ends now, or begins, has it");
}

#[tokio::test]
async fn the_sequence_follows_the_value_the_network_and_the_chain() {
    let (a, b) = (start().await, start().await);
    introduce(&a, &b).await;
    let (key, _) = key();
    let publish = async |node: &Node, value, options| node.names().publish(&key, value, options).await;

    let first = publish(
        &a,
        ONE,
        PublishOptions {
            min_sequence: 7,
            ..Default::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(first.record.sequence(), 8);
    let renewed = publish(
        &a,
        ONE,
        PublishOptions {
            min_sequence: 7,
            ..Default::default()
        },
    )
    .await
    .unwrap();
    assert!(renewed.renewed);
    assert_eq!(renewed.record.sequence(), 8);
    assert!(
        renewed.record.compare(&first.record).is_gt(),
        "a renewal must displace what it renews"
    );
    let grown = publish(
        &a,
        ONE,
        PublishOptions {
            min_sequence: 8,
            ..Default::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(
        grown.record.sequence(),
        9,
        "the chain has grown though the value is the same"
    );

    // Another machine with the same key and no memory of all this.
    let other = publish(&b, TWO, PublishOptions::default()).await.unwrap();
    assert_eq!(other.record.sequence(), 10);
    let options = PublishOptions {
        expected: Some(ONE.to_owned()),
        ..Default::default()
    };
    let three = "/ipfs/bafkqabaa";
    let error = publish(&a, three, options.clone()).await.unwrap_err();
    assert!(matches!(error, PublishError::Superseded { found, .. } if found == TWO));
    let options = PublishOptions {
        expected: Some(TWO.to_owned()),
        ..options
    };
    assert_eq!(publish(&a, three, options).await.unwrap().record.sequence(), 11);
}

#[tokio::test]
async fn a_holder_of_an_old_record_is_corrected() {
    let (a, stale, reader) = (start().await, start().await, start().await);
    introduce(&reader, &a).await;
    introduce(&reader, &stale).await;
    let (key, name) = key();
    let old = record(&key, ONE, 1, Duration::from_secs(DAY));
    plant(&stale, &name, old.bytes());
    plant(&a, &name, record(&key, TWO, 2, Duration::from_secs(DAY)).bytes());

    assert_eq!(
        reader.names().resolve(&name, Freshness::Network).await.unwrap().value,
        TWO
    );
    until("the correction", async || {
        held(&stale, &name).is_some_and(|bytes| bytes != *old.bytes())
    })
    .await;
    assert_eq!(held(&stale, &name), held(&a, &name));
}

#[tokio::test]
async fn forged_expired_and_foreign_records_are_refused() {
    let (holder, reader) = (start().await, start().await);
    introduce(&reader, &holder).await;
    let (key, name) = key();
    let good = record(&key, ONE, 1, Duration::from_secs(DAY));
    let mut forged = good.bytes().to_vec();
    let at = forged.windows(7).position(|part| part == b"bafkqaa").unwrap();
    forged[at] = b'c';
    let other_key = Keypair::generate_ed25519();
    let foreign = record(&other_key, TWO, 9, Duration::from_secs(DAY));
    let valid_until = SystemTime::now() - Duration::from_secs(1);
    let expired = Record::create(
        &key,
        &Contents {
            value: TWO,
            sequence: 9,
            valid_until,
            ttl: Duration::ZERO,
        },
    )
    .unwrap();

    for bytes in [&forged[..], &foreign.bytes()[..], &expired.bytes()[..], b"rubbish"] {
        // Found on the network.
        plant(&holder, &name, bytes);
        let error = reader.names().resolve(&name, Freshness::Network).await.unwrap_err();
        assert!(matches!(&error, ResolveError::Refused { refused: 1, .. }), "{error}");
        // Put to us.
        holder
            .routing()
            .put_to(Network::Lan, reader.peer_id(), name.routing_key(), bytes.to_vec())
            .await
            .unwrap();
        assert_eq!(held(&reader, &name), None);
        assert!(reader.names().status(&name).await.unwrap().is_none());
    }
    // Under a key outside /ipns/.
    holder
        .routing()
        .put_to(Network::Lan, reader.peer_id(), b"/pk/x".to_vec(), good.bytes().to_vec())
        .await
        .unwrap();
    assert_eq!(reader.names().inner.records.value(b"/pk/x"), None);

    // The real one is taken, and an older one does not displace it.
    let newer = record(&key, TWO, 2, Duration::from_secs(DAY));
    for bytes in [newer.bytes(), good.bytes()] {
        holder
            .routing()
            .put_to(Network::Lan, reader.peer_id(), name.routing_key(), bytes.to_vec())
            .await
            .unwrap();
    }
    assert_eq!(held(&reader, &name).unwrap(), newer.bytes()[..]);
}

#[tokio::test]
async fn names_resolve_off_line_with_their_age() {
    let (clock, ahead) = stepped();
    let (a, b) = (start().await, quiet().clock(clock).start().await.unwrap());
    let (key, name) = key();
    assert!(matches!(
        b.names().resolve(&name, Freshness::Cached).await,
        Err(ResolveError::NotCached { .. })
    ));
    assert!(matches!(
        b.names().resolve(&name, Freshness::Network).await,
        Err(ResolveError::NobodyToAsk { .. })
    ));
    introduce(&a, &b).await;
    assert!(matches!(
        b.names().resolve(&name, Freshness::Network).await,
        Err(ResolveError::NotFound { .. })
    ));
    a.names().publish(&key, ONE, PublishOptions::default()).await.unwrap();
    b.names().resolve(&name, Freshness::Network).await.unwrap();
    // Who keeps the name alive has its record among those for others, and that is no answer of anybody.
    b.names().follow(&name).await.unwrap();

    a.shutdown().await;
    until("the end of the connection", async || b.peers().await.is_empty()).await;
    ahead.store(2 * DAY, Ordering::Relaxed);
    for freshness in [Freshness::Cached, Freshness::Network] {
        let resolved = b.names().resolve(&name, freshness).await.unwrap();
        assert_eq!(resolved.value, ONE);
        assert!(
            matches!(resolved.source, Origin::Cache { confirmed: Some(_) }),
            "{freshness:?}: {resolved:?}"
        );
        assert_eq!(resolved.age.unwrap().as_secs(), 2 * DAY);
        assert!(!resolved.expired);
    }
    ahead.store(31 * DAY, Ordering::Relaxed);
    assert!(b.names().resolve(&name, Freshness::Cached).await.unwrap().expired);
}

#[tokio::test]
async fn a_follower_keeps_a_name_alive_without_its_key() {
    let (clock, ahead) = stepped();
    let (a, follower, late) = (
        start().await,
        quiet().clock(clock).start().await.unwrap(),
        start().await,
    );
    let (key, name) = key();
    introduce(&a, &follower).await;
    a.names().publish(&key, ONE, PublishOptions::default()).await.unwrap();
    follower.names().follow(&name).await.unwrap();
    until("the first look", async || {
        follower.names().status(&name).await.unwrap().unwrap().holders > 0
    })
    .await;
    a.shutdown().await;
    until("the end of the connection", async || follower.peers().await.is_empty()).await;

    introduce(&late, &follower).await;
    ahead.store(4 * HOUR + 1, Ordering::Relaxed);
    follower.names().put_due().await.unwrap();
    let status = follower.names().list().await.unwrap().remove(0);
    assert!(status.followed && !status.own);
    assert_eq!(status.holders, 1);
    assert!(held(&late, &name).is_some(), "put to the peer that came late");
    assert_eq!(
        late.names().resolve(&name, Freshness::Network).await.unwrap().value,
        ONE
    );
    assert_eq!(
        follower.names().put_due().await.unwrap(),
        0,
        "the next put is four hours away"
    );

    follower.names().unfollow(&name).await.unwrap();
    assert!(follower.names().list().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_schedule_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (clock, ahead) = stepped();
    let (key, name) = key();
    let open = async || {
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        private(Node::builder(&store).unwrap())
            .clock(clock.clone())
            .start()
            .await
            .unwrap()
    };
    {
        let alone = open().await;
        let published = alone
            .names()
            .publish(&key, ONE, PublishOptions::default())
            .await
            .unwrap();
        assert_eq!((published.network, published.holders), (None, 0));
        let status = alone.names().status(&name).await.unwrap().unwrap();
        assert!(status.own && status.safe_until.is_none());
        alone.shutdown().await;
    }
    let peer = start().await;
    {
        let again = open().await;
        introduce(&again, &peer).await;
        until("the put", async || held(&peer, &name).is_some()).await;
        until("the note of it", async || {
            again.names().status(&name).await.unwrap().unwrap().holders == 1
        })
        .await;
        let status = again.names().status(&name).await.unwrap().unwrap();
        assert_eq!(
            status.safe_until.unwrap(),
            status.last_put.unwrap() + Duration::from_secs(48 * HOUR)
        );
        again.shutdown().await;
    }
    // Away for a day: overdue at the next start.
    ahead.store(DAY, Ordering::Relaxed);
    let again = open().await;
    let before = again.names().status(&name).await.unwrap().unwrap().last_put;
    introduce(&again, &peer).await;
    until("the overdue put", async || {
        again.names().status(&name).await.unwrap().unwrap().last_put > before
    })
    .await;
    assert_eq!(
        again.names().resolve(&name, Freshness::Cached).await.unwrap().value,
        ONE
    );
    again.shutdown().await;
}

#[tokio::test]
async fn an_own_record_is_signed_anew_before_it_ends_if_the_key_is_at_hand() {
    for with_key in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (clock, ahead) = stepped();
        let (key, name) = key();
        {
            let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
            let first = private(Node::builder(&store).unwrap())
                .clock(clock.clone())
                .start()
                .await
                .unwrap();
            first
                .names()
                .publish(&key, ONE, PublishOptions::default())
                .await
                .unwrap();
            first.shutdown().await;
        }
        ahead.store(16 * DAY, Ordering::Relaxed);
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let keys = if with_key {
            KeySource::from_fn(move |_| Some(key.clone()))
        } else {
            KeySource::none()
        };
        let second = private(Node::builder(&store).unwrap())
            .clock(clock)
            .keys(keys)
            .start()
            .await
            .unwrap();
        let before = second.names().status(&name).await.unwrap().unwrap();
        let peer = start().await;
        introduce(&second, &peer).await;
        until("the put", async || {
            second.names().status(&name).await.unwrap().unwrap().holders == 1
        })
        .await;
        let after = second.names().status(&name).await.unwrap().unwrap();
        assert_eq!(after.sequence, before.sequence);
        assert_eq!(after.valid_until > before.valid_until, with_key);
        second.shutdown().await;
    }
}

#[tokio::test]
async fn whoever_watches_a_name_is_told_of_every_better_record_however_it_came() {
    let (a, b) = (start().await, start().await);
    introduce(&a, &b).await;
    let (key, name) = key();
    let (mut here, mut there) = (a.names().watch(&name), b.names().watch(&name));
    let soon = |waiting: bool| assert!(waiting, "the peer is still there");
    b.names().follow(&name).await.unwrap();
    for value in [ONE, TWO] {
        a.names().publish(&key, value, PublishOptions::default()).await.unwrap();
        soon(tokio::time::timeout(NO_TIMER, here.changed()).await.unwrap());
        soon(tokio::time::timeout(NO_TIMER, there.changed()).await.unwrap());
        let resolved = b.names().resolve(&name, Freshness::Cached).await.unwrap();
        assert_eq!(resolved.value, value);
    }
    // The same record again is no change; nor is that of another name for who watches one.
    b.names().resolve(&name, Freshness::Network).await.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(50), there.changed())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn one_change_more_than_may_wait_and_a_watcher_is_told_that_it_missed_some() {
    let node = start().await;
    let mut changes = node.names().changes();
    let (first, name) = key();
    for number in 0..=MAX_UNSEEN as u64 {
        let record = record(&first, ONE, number, Duration::from_secs(3600));
        node.names().keep_own(&name, &record, |_| ()).await.unwrap();
    }
    assert_eq!(changes.next().await, Some(Change::Many));
    assert_eq!(changes.next().await, Some(Change::Of(name)));
}
