//! Records that one peer puts at another: what is confirmed, and what it costs others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::SystemTime;

use libp2p::identity::Keypair;

use super::*;
use crate::ipns::Name;
use crate::ipns::record::{Contents, Record};
use crate::routing::Network;
use crate::routing::desk::MAX_SOUGHT_BYTES;
use crate::store::Table;

fn record(key: &Keypair, sequence: u64) -> Vec<u8> {
    let contents = Contents {
        value: "/ipfs/bafkqaaa",
        sequence,
        valid_until: SystemTime::now() + Duration::from_secs(3600),
        ttl: Duration::from_secs(60),
    };
    Record::create(key, &contents).unwrap().bytes().to_vec()
}

/// Whether `from` is told that `at` has kept this record.
async fn put(from: &Node, at: &Node, name: &Name, record: Vec<u8>) -> bool {
    let key = name.routing_key();
    let put = from.routing().put_to(Network::Lan, at.peer_id(), key, record);
    put.await.unwrap()
}

#[tokio::test]
async fn a_record_is_confirmed_if_and_only_if_it_is_kept() {
    let (holder, other) = (start().await, start().await);
    introduce(&other, &holder).await;
    let key = Keypair::generate_ed25519();
    let name = Name::from_public_key(&key.public());
    let started = Instant::now();
    let mut forged = record(&key, 9);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(!put(&other, &holder, &name, forged).await);
    assert!(!put(&other, &holder, &name, vec![0; 64 << 10]).await, "too long");
    let newer = record(&key, 2);
    assert!(put(&other, &holder, &name, newer.clone()).await);
    assert!(put(&other, &holder, &name, newer).await, "it has it");
    assert!(
        !put(&other, &holder, &name, record(&key, 1)).await,
        "it has a newer one"
    );
    let foreign = Name::from_public_key(&Keypair::generate_ed25519().public());
    assert!(!put(&other, &holder, &foreign, record(&key, 3)).await);
    assert!(started.elapsed() < NO_TIMER, "a refusal is told at once");
}

#[tokio::test]
async fn a_key_over_the_limit_is_not_looked_for_and_the_answer_comes_at_once() {
    let (holder, other) = (start().await, start().await);
    introduce(&other, &holder).await;
    let started = Instant::now();
    for bytes in [MAX_SOUGHT_BYTES, MAX_SOUGHT_BYTES + 1, 100 << 10] {
        let until = tokio::time::Instant::now() + SOON;
        let key = vec![7; bytes];
        let walk = other.routing().values(Network::Lan, &key, until);
        assert_eq!(
            walk.await.unwrap().without.await.unwrap(),
            [holder.peer_id()],
            "{bytes} bytes"
        );
    }
    assert!(started.elapsed() < NO_TIMER);
}

/// Times of `count` questions that `holder` answers.
async fn ask(from: &Node, count: usize) -> Duration {
    let mut times = Vec::new();
    for number in 0..count {
        let asked = Instant::now();
        let nobodys = cid(&format!("nobody has {number}"));
        let found = from.routing().find_providers(&nobodys, 1, SOON).await.unwrap();
        assert!(found.is_empty());
        times.push(asked.elapsed());
    }
    times.sort_unstable();
    times[count * 9 / 10]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_holds_up_nobody_who_asks() {
    const SLOW: Duration = Duration::from_millis(300);
    let tables = [(); 3].map(|()| Table::in_memory());
    let slow = quiet().tables(tables.clone()).start().await.unwrap();
    let other = start().await;
    introduce(&other, &slow).await;
    let quiet = ask(&other, 50).await;

    let over = Arc::new(AtomicBool::new(false));
    let disk = {
        let over = Arc::clone(&over);
        thread::spawn(move || {
            let [records, announcements, names] = &tables;
            while !over.load(Ordering::Relaxed) {
                let names = || names.while_stuck(|| thread::sleep(SLOW));
                records.while_stuck(|| announcements.while_stuck(names));
                thread::sleep(Duration::from_millis(1));
            }
        })
    };
    let provides = other
        .routing()
        .provide((0..100).map(|n| cid(&n.to_string())).collect(), SOON);
    let names = async {
        let mut kept = 0;
        for _ in 0..4 {
            let key = Keypair::generate_ed25519();
            let name = Name::from_public_key(&key.public());
            kept += usize::from(put(&other, &slow, &name, record(&key, 1)).await);
        }
        kept
    };
    let (provided, kept, asked) = tokio::join!(provides, names, ask(&other, 200));
    over.store(true, Ordering::Relaxed);
    disk.join().unwrap();
    assert_eq!((provided.unwrap().reached, kept), (100, 4));
    assert!(
        asked < (quiet * 3).max(SLOW / 3),
        "p90 {quiet:?} with a quick disk, {asked:?} with a slow one"
    );
}
