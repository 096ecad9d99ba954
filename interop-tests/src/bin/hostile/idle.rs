//! Connections that are opened and never used: `--connections` of them, each of another peer, again as soon as one ends.

use futures::future::join_all;
use interop_tests::Failure;
use libp2p::identity::Keypair;
use std::time::Duration;

use super::wire::{Manners, Wire};
use super::{Orders, ready};

/// How long one waits after it was refused.
const AGAIN: Duration = Duration::from_millis(100);
/// All have tried once by then.
const UNDER_WAY: Duration = Duration::from_secs(1);

pub(crate) async fn run(orders: &Orders) -> Result<(), Failure> {
    let count = orders.number("connections", 72)?;
    let manners = Manners {
        protocols: &["/ipfs/bitswap/1.2.0", "/ipfs/kad/1.0.0"],
        polite: orders.number("polite", 1)? == 1,
        frames: None,
    };
    let one = || async {
        loop {
            let key = Keypair::generate_ed25519();
            if let Ok(mut wire) = Wire::connect(orders, &key, manners.clone()).await {
                wire.ended().await;
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    let told = async {
        tokio::time::sleep(UNDER_WAY).await;
        ready();
    };
    let _: (Vec<()>, ()) = tokio::join!(join_all((0..count).map(|_| one())), told);
    Ok(())
}
