//! Frames of Bitswap without an end: on each of `--streams` streams the longest one there may be is announced, and a byte of it
//! comes now and then.

use std::time::Duration;

use futures::AsyncWriteExt as _;
use interop_tests::Failure;
use libp2p::identity::Keypair;

use super::wire::{Manners, Wire};
use super::{Orders, bitswap, ready, text};

/// How often a byte comes on every stream.
const EVERY: Duration = Duration::from_millis(100);
/// A length of 4 MiB, and the first field.
const HEAD: [u8; 5] = [0x80, 0x80, 0x80, 0x02, 0x7a];

pub(crate) async fn run(orders: &Orders) -> Result<(), Failure> {
    let count = orders.number("streams", 400)?;
    let manners = Manners::bitswap();
    let key = Keypair::generate_ed25519();
    let wire = Wire::connect(orders, &key, manners).await.map_err(text)?;
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = wire.open(bitswap::PROTOCOL).await.map_err(text)?;
        stream.write_all(&HEAD).await.map_err(text)?;
        stream.flush().await.map_err(text)?;
        streams.push(stream);
    }
    ready();
    loop {
        for stream in &mut streams {
            // Those that were reset stay so.
            if stream.write_all(&[0x7f]).await.is_ok() {
                drop(stream.flush().await);
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
