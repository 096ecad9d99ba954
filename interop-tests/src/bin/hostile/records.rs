//! Records that fill the DHT's memory, and honest ones that are to outlive them.
//!
//! - `providers`: `--connections` peers say that they have `--count` keys, `--addresses` each, and go on. With `--lies 1` at
//!   addresses that nobody can dial, with `--key-bytes` under keys of that length.
//! - `names`: `--connections` peers put signed records of fresh names, on 32 streams each, `--count` in all, and go on.
//! - `questions`: `--connections` peers ask who is close, as fast as they can.
//! - `provides`: an honest peer says that it has `--key`, and ends. `holders`: prints who has it.
//! - `publishes`: an honest peer puts a record of a new name, and prints it, whether that was confirmed and whether it is there.
//!   With `--value` and `--until` it says that the name stands for this, and until when.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::AsyncWriteExt as _;
use futures::future::{join_all, try_join_all};
use interop_tests::Failure;
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};

use super::wire::{Manners, Stream, Wire};
use super::{Orders, kad, ready, text};

/// What names stand for that stand for nothing in particular, and until when.
const VALUE: &str = "/ipfs/bafkqaaa/";
const UNTIL: &str = "2999-01-01T00:00:00Z";
/// Messages that are written in one go.
const AT_ONCE: usize = 64;
/// Streams of one connection; a peer answers no more at the same time.
const STREAMS: usize = 32;
/// How long an honest peer waits for an answer.
const LIMIT: Duration = Duration::from_secs(10);

async fn connect(orders: &Orders, key: &Keypair) -> Result<Wire, Failure> {
    let manners = Manners {
        protocols: &[],
        polite: true,
        frames: None,
    };
    Wire::connect(orders, key, manners).await.map_err(text)
}

/// As many identities as are to attack.
fn attackers(orders: &Orders) -> Result<Vec<Keypair>, Failure> {
    let count = orders.number("connections", 4)?;
    Ok((0..count).map(|_| Keypair::generate_ed25519()).collect())
}

/// What has been sent, and when to say that the attack is under way.
struct Sent {
    so_far: AtomicUsize,
    enough: usize,
}

impl Sent {
    fn new(orders: &Orders, enough: usize) -> Result<Self, Failure> {
        let enough = orders.number("count", enough)?;
        Ok(Self {
            so_far: AtomicUsize::new(0),
            enough,
        })
    }

    fn add(&self, more: usize) {
        let before = self.so_far.fetch_add(more, Ordering::Relaxed);
        if before < self.enough && before + more >= self.enough {
            ready();
        }
    }
}

pub(crate) async fn providers(orders: &Orders) -> Result<(), Failure> {
    let sent = Sent::new(orders, 70_000)?;
    let count = orders.number("addresses", 1)?;
    let length = orders.number("key-bytes", 34)?;
    let lies = orders.number("lies", 0)? == 1;
    let address = |number: usize| -> Result<Multiaddr, Failure> {
        let [_, _, _, a, b, c, port, end] = number.to_be_bytes().map(|byte| byte.max(1));
        let address = match (lies, number % 3) {
            (true, 0) => "/ip4/0.0.0.0/tcp/1".to_owned(),
            (true, 1) => format!("/ip6/fe80::{port:x}{end:x}/tcp/1"),
            (true, _) => format!("/dns4/{}.example/tcp/1", "a".repeat(200)),
            _ => format!("/ip4/10.{a}.{b}.{c}/tcp/{}", usize::from(port) << 8 | usize::from(end)),
        };
        address.parse().map_err(text)
    };
    let addresses = (0..count)
        .map(|number| address(number + 1))
        .collect::<Result<Vec<_>, _>>()?;
    let flood = async |key: Keypair| -> Result<(), Failure> {
        let peer = key.public().to_peer_id();
        loop {
            // A node may hang up, or end a stream, as soon as it has had enough.
            if let Ok(wire) = connect(orders, &key).await
                && let Ok(mut stream) = wire.open(kad::PROTOCOL).await
            {
                loop {
                    let said = say(&mut stream, &peer, &addresses, length).await;
                    // What is refused was an attempt, too.
                    sent.add(AT_ONCE);
                    if said.is_err() {
                        break;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    try_join_all(attackers(orders)?.into_iter().map(flood)).await?;
    Ok(())
}

async fn say(stream: &mut Stream, peer: &PeerId, addresses: &[Multiaddr], length: usize) -> std::io::Result<()> {
    let mut messages = Vec::new();
    for _ in 0..AT_ONCE {
        // Ids of peers are as good as other random bytes.
        let random = PeerId::random().to_bytes();
        let mut key = vec![0x12, 32];
        key.extend_from_slice(random.get(2..).unwrap_or_default());
        key.resize(length, 0);
        messages.extend(kad::add_provider(&key, peer, addresses));
    }
    stream.write_all(&messages).await?;
    stream.flush().await
}

pub(crate) async fn names(orders: &Orders) -> Result<(), Failure> {
    let sent = Sent::new(orders, 8_000)?;
    let value = format!("{VALUE}{}", "a".repeat(orders.number("padding", 0)?));
    let put = async |wire: &Wire| -> std::io::Result<()> {
        let mut stream = wire.open(kad::PROTOCOL).await?;
        loop {
            let (key, record) = kad::name(&Keypair::generate_ed25519(), &value, UNTIL)?;
            let answer = tokio::time::timeout(LIMIT, kad::ask(&mut stream, &kad::put_value(&key, &record))).await;
            sent.add(1);
            // One that was refused ends the stream.
            answer.map_err(std::io::Error::other)??;
        }
    };
    let flood = async |key: Keypair| -> Result<(), Failure> {
        loop {
            if let Ok(wire) = connect(orders, &key).await {
                let stream = async || {
                    // Until the connection has ended, and that is when no stream can be opened.
                    while !matches!(put(&wire).await, Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset)
                    {
                    }
                };
                join_all((0..STREAMS).map(|_| stream())).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    try_join_all(attackers(orders)?.into_iter().map(flood)).await?;
    Ok(())
}

pub(crate) async fn questions(orders: &Orders) -> Result<(), Failure> {
    let sent = Sent::new(orders, 4_000)?;
    let flood = async |key: Keypair| -> Result<(), Failure> {
        loop {
            if let Ok(wire) = connect(orders, &key).await {
                let stream = async || -> std::io::Result<()> {
                    let mut stream = wire.open(kad::PROTOCOL).await?;
                    loop {
                        kad::ask(&mut stream, &kad::find_node(&PeerId::random().to_bytes())).await?;
                        sent.add(1);
                    }
                };
                join_all((0..STREAMS).map(|_| stream())).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    try_join_all(attackers(orders)?.into_iter().map(flood)).await?;
    Ok(())
}

/// A key that is called by a word.
fn key(orders: &Orders) -> Result<Vec<u8>, Failure> {
    let mut key = vec![0x12, 32];
    key.extend_from_slice(orders.text("key")?.as_bytes());
    key.resize(34, 0);
    Ok(key)
}

async fn holders_of(stream: &mut Stream, key: &[u8]) -> Result<usize, Failure> {
    let asked = kad::get_providers(key);
    let answer = tokio::time::timeout(LIMIT, kad::ask(stream, &asked))
        .await
        .map_err(text)?
        .map_err(text)?;
    Ok(kad::providers(&answer).len())
}

pub(crate) async fn provides(orders: &Orders) -> Result<(), Failure> {
    let (identity, key) = (Keypair::generate_ed25519(), key(orders)?);
    let wire = connect(orders, &identity).await?;
    let mut stream = wire.open(kad::PROTOCOL).await.map_err(text)?;
    let address = "/ip4/10.7.7.7/tcp/4001".parse().map_err(text)?;
    let said = kad::add_provider(&key, &identity.public().to_peer_id(), &[address]);
    stream.write_all(&said).await.map_err(text)?;
    // What is asked behind it on the stream is answered after it. A peer is not told of itself, so the number is no matter.
    holders_of(&mut stream, &key).await.map(|_| ())
}

#[allow(clippy::print_stdout)] // what the program is asked for
pub(crate) async fn holders(orders: &Orders) -> Result<(), Failure> {
    let wire = connect(orders, &Keypair::generate_ed25519()).await?;
    let mut stream = wire.open(kad::PROTOCOL).await.map_err(text)?;
    let holders = holders_of(&mut stream, &key(orders)?).await?;
    println!("{}", serde_json::json!({ "holders": holders }));
    Ok(())
}

#[allow(clippy::print_stdout)] // what the program is asked for
pub(crate) async fn publishes(orders: &Orders) -> Result<(), Failure> {
    let wire = connect(orders, &Keypair::generate_ed25519()).await?;
    let mut stream = wire.open(kad::PROTOCOL).await.map_err(text)?;
    let (identity, value) = (Keypair::generate_ed25519(), orders.text("value").unwrap_or(VALUE));
    let until = orders.text("until").unwrap_or(UNTIL);
    let (key, record) = kad::name(&identity, value, until).map_err(text)?;
    let put = kad::put_value(&key, &record);
    let put = tokio::time::timeout(LIMIT, kad::ask(&mut stream, &put)).await;
    let confirmed = matches!(put, Ok(Ok(answer)) if kad::value(&answer).as_ref() == Some(&record));
    let mut stream = wire.open(kad::PROTOCOL).await.map_err(text)?;
    let asked = kad::get_value(&key);
    let answer = tokio::time::timeout(LIMIT, kad::ask(&mut stream, &asked))
        .await
        .map_err(text)?
        .map_err(text)?;
    let kept = kad::value(&answer) == Some(record);
    let name = identity.public().to_peer_id().to_string();
    println!(
        "{}",
        serde_json::json!({ "name": name, "confirmed": confirmed, "kept": kept })
    );
    Ok(())
}
