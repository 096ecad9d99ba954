//! Wantlists without end: messages of `--entries` wants of blocks that nobody has, `--full 1` if each is to replace what was
//! wanted before, `--kind cancels` to withdraw what was never wanted, `--kind churn` to withdraw each want in the message
//! after the one that has it.

use futures::AsyncWriteExt as _;
use interop_tests::Failure;
use libp2p::identity::Keypair;

use super::wire::{Manners, Wire};
use super::{Orders, bitswap, ready, text};

pub(crate) async fn run(orders: &Orders) -> Result<(), Failure> {
    let entries = orders.number("entries", 65_536)? as u64;
    let full = orders.number("full", 0)? == 1;
    let kind = orders.text("kind").unwrap_or("wants");
    let manners = Manners::bitswap();
    let key = Keypair::generate_ed25519();
    let wire = Wire::connect(orders, &key, manners).await.map_err(text)?;
    let mut stream = wire.open(bitswap::PROTOCOL).await.map_err(text)?;
    let mut told = false;
    for round in 0u64.. {
        // No round wants what another one wanted.
        let entry = |entry| match (kind, round % 2) {
            ("cancels", _) => bitswap::cancel(&bitswap::nobodys(round, entry)),
            ("churn", 1) => bitswap::cancel(&bitswap::nobodys(round - 1, entry)),
            _ => bitswap::want(&bitswap::nobodys(round, entry)),
        };
        let message = bitswap::wantlist((0..entries).map(entry), full);
        stream.write_all(&message).await.map_err(text)?;
        stream.flush().await.map_err(text)?;
        if !std::mem::replace(&mut told, true) {
            ready();
        }
    }
    Ok(())
}
