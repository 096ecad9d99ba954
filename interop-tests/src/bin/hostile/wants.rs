//! Wantlists without end: messages of `--entries` wants of blocks that nobody has, `--full 1` if each is to replace what was
//! wanted before.

use futures::AsyncWriteExt as _;
use interop_tests::Failure;
use libp2p::identity::Keypair;

use super::wire::{Manners, Wire};
use super::{Orders, bitswap, ready, text};

pub(crate) async fn run(orders: &Orders) -> Result<(), Failure> {
    let entries = orders.number("entries", 65_536)? as u64;
    let full = orders.number("full", 0)? == 1;
    let manners = Manners {
        protocols: &[bitswap::PROTOCOL],
        polite: true,
        frames: None,
    };
    let key = Keypair::generate_ed25519();
    let wire = Wire::connect(orders, &key, manners).await.map_err(text)?;
    let mut stream = wire.open(bitswap::PROTOCOL).await.map_err(text)?;
    let mut told = false;
    for round in 0u64.. {
        // No round wants what another one wanted.
        let message = bitswap::wantlist((0..entries).map(|entry| bitswap::want(&nobodys(round, entry))), full);
        stream.write_all(&message).await.map_err(text)?;
        stream.flush().await.map_err(text)?;
        if !std::mem::replace(&mut told, true) {
            ready();
        }
    }
    Ok(())
}

/// The CID (version 1, raw, sha2-256) of a block that nobody has.
fn nobodys(round: u64, entry: u64) -> Vec<u8> {
    let mut cid = vec![1, 0x55, 0x12, 32];
    cid.extend_from_slice(&[round.to_be_bytes(), entry.to_be_bytes()].concat());
    cid.resize(36, 0);
    cid
}
