//! Many connections, each of another peer, and each made again as soon as it ends.

use std::io;
use std::time::Duration;

use futures::future::join_all;
use interop_tests::Failure;
use libp2p::identity::Keypair;

use super::wire::{Manners, Wire};
use super::{Orders, ready};

/// How long one waits after it was refused.
const AGAIN: Duration = Duration::from_millis(100);

/// `count` connections on each of which `work` is done; what that gives is held until the connection ends. The attack is said to
/// be under way after `under_way`, when all have tried once.
pub(crate) async fn run<T>(
    orders: &Orders,
    count: usize,
    manners: Manners,
    under_way: Duration,
    work: impl AsyncFn(&Wire) -> io::Result<T>,
) -> Result<(), Failure> {
    let once = async || -> io::Result<()> {
        let mut wire = Wire::connect(orders, &Keypair::generate_ed25519(), manners.clone()).await?;
        let _held = work(&wire).await?;
        wire.ended().await;
        Ok(())
    };
    let one = async || {
        loop {
            let _ = once().await;
            tokio::time::sleep(AGAIN).await;
        }
    };
    let told = async {
        tokio::time::sleep(under_way).await;
        ready();
    };
    let _: (Vec<()>, ()) = tokio::join!(join_all((0..count).map(|_| one())), told);
    Ok(())
}
