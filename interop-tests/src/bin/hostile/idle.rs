//! Connections that are opened and never used: `--connections` of them, each of another peer, again as soon as one ends.

use interop_tests::Failure;
use std::time::Duration;

use super::wire::Manners;
use super::{Orders, crowd};

/// All have tried once by then.
const UNDER_WAY: Duration = Duration::from_secs(1);

pub(crate) async fn run(orders: &Orders) -> Result<(), Failure> {
    let count = orders.number("connections", 72)?;
    let manners = Manners {
        protocols: &["/ipfs/bitswap/1.2.0", "/ipfs/kad/1.0.0"],
        polite: orders.number("polite", 1)? == 1,
        frames: None,
    };
    crowd::run(orders, count, manners, UNDER_WAY, async |_| Ok(())).await
}
