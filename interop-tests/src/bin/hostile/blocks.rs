//! What nobody asked for: `--what` is `blocks` (of a kilobyte), `tiny` (4,000 blocks of a byte in a message), `large` (of 2 MiB
//! and a byte), `frames` (of the longest length there may be, with nothing in them that is known), or `haves`. A peer that is
//! shut out comes back as another one.

use std::time::Duration;

use futures::AsyncWriteExt as _;
use interop_tests::Failure;
use libp2p::identity::Keypair;

use super::wire::{Manners, Wire};
use super::{Orders, bitswap, protobuf, ready};

/// The longest block there may be.
const MAX_BLOCK: usize = 2 << 20;
/// The longest frame there may be.
const MAX_FRAME: usize = 4 << 20;
/// How long one waits after it was refused.
const AGAIN: Duration = Duration::from_millis(100);

pub(crate) async fn run(orders: &Orders) -> Result<(), Failure> {
    let message = match orders.text("what")? {
        "blocks" => bitswap::payloads((0..64).map(|_| &[7; 1024][..])),
        "tiny" => bitswap::payloads((0..4000).map(|_| &[7; 1][..])),
        "large" => bitswap::payloads([&vec![7; MAX_BLOCK + 1][..]]),
        "haves" => bitswap::haves((0..8000).map(|at| bitswap::nobodys(0, at))),
        "frames" => {
            let mut unknown = Vec::new();
            protobuf::bytes(15, &vec![7; MAX_FRAME - 5], &mut unknown);
            protobuf::frame(&unknown)
        }
        other => return Err(Failure::new(format!("--what {other} is not known"))),
    };
    let mut told = false;
    loop {
        let manners = Manners::bitswap();
        if let Ok(wire) = Wire::connect(orders, &Keypair::generate_ed25519(), manners).await {
            // A stream that was reset takes no more; the next one may.
            while let Ok(mut stream) = wire.open(bitswap::PROTOCOL).await {
                while stream.write_all(&message).await.is_ok() && stream.flush().await.is_ok() {
                    if !std::mem::replace(&mut told, true) {
                        ready();
                    }
                }
            }
        }
        if !std::mem::replace(&mut told, true) {
            ready();
        }
        tokio::time::sleep(AGAIN).await;
    }
}
