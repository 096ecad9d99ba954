//! Names over PubSub between real peers over loopback sockets, without a DHT: the one who says a record puts it nowhere.

use futures::StreamExt as _;
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode};
use libp2p::swarm::SwarmEvent;
use libp2p::{Swarm, SwarmBuilder, noise, tcp, yamux};
use multibase::Base;

use super::super::listener::{MAX_LOOKED_AT, MAX_TOPICS};
use super::super::state::{Known, States};
use super::*;
use crate::peer::tests::keys::of_every_type;
use crate::store::Table;

const LIFE: Duration = Duration::from_secs(3600);

/// Has `node` keep a record as its own, and put it nowhere.
async fn own(node: &Node, record: &Record) {
    let (name, kept) = (record.name(), record.clone());
    let update = node.names().update(&name, move |entry| {
        entry.own = true;
        entry.next_put = u64::MAX;
        entry.offer(&kept);
    });
    update.await.unwrap();
}

async fn say(node: &Node, record: &Record) {
    own(node, record).await;
    node.names().say(record).await;
}

async fn sequence(node: &Node, name: &Name) -> Option<u64> {
    node.names()
        .status(name)
        .await
        .unwrap()
        .and_then(|status| status.sequence)
}

async fn until_heard(node: &Node, name: &Name, expected: u64) {
    until("the news", async || sequence(node, name).await == Some(expected)).await;
}

#[tokio::test]
async fn a_record_that_is_said_is_heard_at_once_and_passed_on() {
    let (a, b, c) = (start().await, start().await, start().await);
    let (key, name) = key();
    for node in [&b, &c] {
        node.names().follow(&name).await.unwrap();
    }
    introduce(&a, &b).await;
    introduce(&b, &c).await;
    a.disconnect(c.peer_id()).await;
    say(&a, &record(&key, ONE, 1, LIFE)).await;
    // Whoever listens has told who connects by now, or fetches.
    until_heard(&b, &name, 1).await;
    until_heard(&c, &name, 1).await;
    let (mut near, mut far) = (b.names().watch(&name), c.names().watch(&name));
    let mut times = Vec::new();
    for number in 2..102 {
        let started = Instant::now();
        say(&a, &record(&key, TWO, number, LIFE)).await;
        let both = async { near.changed().await && far.changed().await };
        assert!(tokio::time::timeout(NO_TIMER, both).await.unwrap());
        times.push(started.elapsed());
        assert_eq!(sequence(&c, &name).await, Some(number));
    }
    times.sort_unstable();
    println!("two hops: {:?} as a rule, {:?} at worst", times[50], times[99]);
    assert_eq!(c.names().resolve(&name, Freshness::Cached).await.unwrap().value, TWO);
    assert!(held(&b, &name).is_some(), "it is served to others, too");
}

#[tokio::test]
async fn who_begins_to_listen_fetches_what_was_said_before() {
    let (a, b) = (start().await, start().await);
    let (first, one) = key();
    let (second, two) = key();
    // One is listened to before they meet, the other after.
    say(&a, &record(&first, ONE, 5, LIFE)).await;
    b.names().follow(&one).await.unwrap();
    introduce(&a, &b).await;
    until_heard(&b, &one, 5).await;
    say(&a, &record(&second, ONE, 6, LIFE)).await;
    b.names().follow(&two).await.unwrap();
    until_heard(&b, &two, 6).await;
    // And the other way round: what the one who joins knows.
    let (third, three) = key();
    say(&b, &record(&third, ONE, 7, LIFE)).await;
    a.names().follow(&three).await.unwrap();
    until_heard(&a, &three, 7).await;
}

#[tokio::test]
async fn without_pubsub_nothing_is_said_or_heard() {
    let (a, b) = (start().await, quiet().pubsub(false).start().await.unwrap());
    let (key, name) = key();
    b.names().follow(&name).await.unwrap();
    introduce(&a, &b).await;
    say(&a, &record(&key, ONE, 1, LIFE)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(sequence(&b, &name).await, None);
    let (other, name) = super::key();
    tokio::time::timeout(NO_TIMER, say(&b, &record(&other, ONE, 1, LIFE)))
        .await
        .unwrap();
    assert_eq!(sequence(&b, &name).await, Some(1));
}

#[tokio::test]
async fn who_no_longer_follows_hears_no_more() {
    let (a, b) = (start().await, start().await);
    let (key, name) = key();
    b.names().follow(&name).await.unwrap();
    introduce(&a, &b).await;
    say(&a, &record(&key, ONE, 1, LIFE)).await;
    until_heard(&b, &name, 1).await;
    b.names().unfollow(&name).await.unwrap();
    // What is said while the news of it is on its way may be heard still.
    let is_heard = async |number: u64| {
        say(&a, &record(&key, ONE, number, LIFE)).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        sequence(&b, &name).await == Some(number)
    };
    let mut number = 2;
    while is_heard(number).await {
        number += 1;
        assert!(number < 20, "it is still heard");
    }
    assert!(!is_heard(number + 1).await);
}

/// A peer of libp2p's alone, which says what it is told to.
async fn stranger(at: &Node, topics: &[IdentTopic]) -> Swarm<gossipsub::Behaviour> {
    let behaviour = |key: &Keypair| {
        let config = gossipsub::ConfigBuilder::default()
            .validation_mode(ValidationMode::Strict)
            .max_transmit_size(1 << 20)
            .max_control_message_size(1 << 20)
            .build()
            .unwrap();
        gossipsub::Behaviour::new(MessageAuthenticity::Signed(key.clone()), config).unwrap()
    };
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(behaviour)
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build();
    for topic in topics {
        swarm.behaviour_mut().subscribe(topic).unwrap();
    }
    swarm.dial(address(at)).unwrap();
    swarm
}

fn topic(name: &Name) -> IdentTopic {
    IdentTopic::new(format!("/record/{}", Base::Base64Url.encode(name.routing_key())))
}

/// Drives a stranger until a peer that it knows is in its topic.
async fn until_subscribed(swarm: &mut Swarm<gossipsub::Behaviour>) {
    loop {
        if let SwarmEvent::Behaviour(gossipsub::Event::Subscribed { .. }) = swarm.select_next_some().await {
            return;
        }
    }
}

async fn drive(swarm: &mut Swarm<gossipsub::Behaviour>, time: Duration) -> bool {
    let closed = async {
        loop {
            if let SwarmEvent::ConnectionClosed { .. } = swarm.select_next_some().await {
                return;
            }
        }
    };
    tokio::time::timeout(time, closed).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_and_old_records_change_nothing_and_who_floods_is_hung_up_on() {
    let (a, b) = (start().await, start().await);
    let (key, name) = key();
    b.names().follow(&name).await.unwrap();
    introduce(&a, &b).await;
    say(&a, &record(&key, TWO, 10, LIFE)).await;
    until_heard(&b, &name, 10).await;

    let mut other = stranger(&b, &[topic(&name)]).await;
    until_subscribed(&mut other).await;
    let old = record(&key, ONE, 9, LIFE);
    let mut forged = record(&key, ONE, 11, LIFE).bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let (foreign, _) = super::key();
    let foreign = record(&foreign, ONE, 12, LIFE);
    for bytes in [
        old.bytes().to_vec(),
        forged.clone(),
        foreign.bytes().to_vec(),
        Vec::new(),
        vec![0; 64 << 10],
    ] {
        other.behaviour_mut().publish(topic(&name), bytes).unwrap();
    }
    assert!(
        !drive(&mut other, Duration::from_millis(500)).await,
        "a few of these are borne"
    );
    assert_eq!(sequence(&b, &name).await, Some(10));

    // A flood ends with the connection, and holds up nobody else.
    let started = Instant::now();
    let mut said = 0;
    for _ in 0..1000 {
        if other.behaviour_mut().publish(topic(&name), forged.clone()).is_ok() {
            said += 1;
        }
    }
    assert!(said > 500, "{said} were said");
    assert!(drive(&mut other, NO_TIMER).await, "hung up on");
    say(&a, &record(&key, ONE, 20, LIFE)).await;
    until_heard(&b, &name, 20).await;
    assert!(started.elapsed() < NO_TIMER, "took {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_subscriptions_is_borne_and_the_topic_that_matters_is_heard() {
    let (key, name) = key();
    let b = start().await;
    b.names().follow(&name).await.unwrap();
    // More in one go than libp2p would take, most of them of nobody here.
    let mut topics: Vec<IdentTopic> = (0..2000).map(|_| topic(&super::key().1)).collect();
    topics.push(topic(&name));
    let mut other = stranger(&b, &topics).await;
    until_subscribed(&mut other).await;
    other
        .behaviour_mut()
        .publish(topic(&name), record(&key, ONE, 3, LIFE).bytes().to_vec())
        .unwrap();
    assert!(!drive(&mut other, Duration::from_millis(300)).await);
    until_heard(&b, &name, 3).await;
}

/// Tables of a peer that keeps these names.
fn tables(names: &[(Name, Option<Record>)]) -> [Table; 3] {
    let tables = [(); 3].map(|()| Table::in_memory());
    let states = States::new(tables[2].clone());
    for (name, record) in names {
        let note = |entry: &mut Known| {
            entry.followed = true;
            entry.next_put = u64::MAX;
            if let Some(record) = record {
                entry.offer(record);
            }
        };
        states.update(name, note).unwrap();
    }
    tables
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_names_that_are_kept_are_heard_after_the_start() {
    let keys: Vec<(Keypair, Name)> = (0..MAX_TOPICS).map(|_| key()).collect();
    let known: Vec<_> = keys
        .iter()
        .map(|(key, name)| (*name, Some(record(key, ONE, 1, LIFE))))
        .collect();
    let unknown: Vec<_> = keys.iter().map(|(_, name)| (*name, None)).collect();
    let a = quiet().tables(tables(&known)).start().await.unwrap();
    let b = quiet().tables(tables(&unknown)).start().await.unwrap();
    let started = Instant::now();
    introduce(&a, &b).await;
    for (_, name) in &keys {
        until_heard(&b, name, 1).await;
    }
    println!("{MAX_TOPICS} names after {:?}", started.elapsed());
    let (key, name) = &keys[MAX_TOPICS / 2];
    say(&a, &record(key, TWO, 2, LIFE)).await;
    until_heard(&b, name, 2).await;
}

#[tokio::test]
async fn one_known_name_over_the_limit_is_not_looked_at_and_followed_ones_come_first() {
    let names: Vec<Name> = (0..5).map(|_| key().1).collect();
    let kept: Vec<_> = names.iter().map(|name| (*name, None)).collect();
    let states = States::new(tables(&kept)[2].clone());
    let mut sorted = names.clone();
    sorted.sort_by_key(|name| name.peer_id().to_bytes());
    for own in &sorted[..3] {
        states
            .update(own, |entry| (entry.followed, entry.own) = (false, true))
            .unwrap();
    }
    assert_eq!(states.some_kept(4, 9).unwrap(), sorted[..4]);
    assert_eq!(
        states.some_kept(MAX_LOOKED_AT, 3).unwrap(),
        [sorted[0], sorted[3], sorted[4]]
    );
    assert_eq!(states.some_kept(MAX_LOOKED_AT, 1).unwrap(), [sorted[3]]);
}

#[tokio::test]
async fn names_of_keys_of_every_type_resolve_and_are_followed() {
    let (a, b) = (start().await, start().await);
    introduce(&a, &b).await;
    for key in of_every_type() {
        let (kind, name) = (key.key_type(), Name::from_public_key(&key.public()));
        let published = a.names().publish(&key, ONE, PublishOptions::default()).await.unwrap();
        let resolved = b.names().resolve(&name, Freshness::Network).await.unwrap();
        assert_eq!(resolved.value, ONE, "{kind}");
        b.names().follow(&name).await.unwrap();
        let news = record(&key, TWO, published.record.sequence() + 1, LIFE);
        say(&a, &news).await;
        until_heard(&b, &name, news.sequence()).await;
        // One of another key is none of this name.
        let forged = record(&Keypair::generate_ed25519(), ONE, news.sequence() + 1, LIFE);
        plant(&a, &name, forged.bytes());
        let resolved = b.names().resolve(&name, Freshness::Network).await.unwrap();
        assert_eq!(resolved.value, TWO, "{kind}");
    }
}
