//! Peers that ask for what is there, again and again: `--entries` names of one block in each message, a block that is long
//! unless `--small 1`. With `--reads 0` they read no answer.

use futures::AsyncWriteExt as _;
use interop_tests::Failure;
use libp2p::identity::Keypair;
use tokio::sync::mpsc;

use super::neighbour::{Neighbour, root};
use super::wire::{Manners, Wire};
use super::{Orders, bitswap, protobuf, ready, text};

pub(crate) async fn run(orders: &Orders) -> Result<(), Failure> {
    let entries = orders.number("entries", 1024)? as u64;
    let (small, large) = Neighbour::connect(orders).await?.blocks(root(orders)?).await?;
    let block = if orders.number("small", 0)? == 1 { small } else { large };
    // Nothing is taken out of here: with the first frame that has no room, the stream is not read any more.
    let (frames, _unread) = mpsc::channel(1);
    let manners = Manners {
        protocols: &[bitswap::PROTOCOL],
        polite: true,
        frames: (orders.number("reads", 1)? == 0).then_some(frames),
    };
    let key = Keypair::generate_ed25519();
    let wire = Wire::connect(orders, &key, manners).await.map_err(text)?;
    let mut stream = wire.open(bitswap::PROTOCOL).await.map_err(text)?;
    let message = bitswap::wantlist(
        (0..entries).map(|codec| bitswap::want(&named(&block.cid, codec))),
        false,
    );
    let mut told = false;
    loop {
        stream.write_all(&message).await.map_err(text)?;
        stream.flush().await.map_err(text)?;
        if !std::mem::replace(&mut told, true) {
            ready();
        }
    }
}

/// Another name of a block: its CID with another codec, which is a want of its own.
fn named(cid: &[u8], codec: u64) -> Vec<u8> {
    let mut name = vec![1];
    protobuf::varint(0x300_000 + codec, &mut name);
    name.extend_from_slice(cid.get(2..).unwrap_or_default());
    name
}
