//! Bytes that nobody will read: `--connections` with `--streams` each. Some never agree on a protocol, so that the node takes no
//! more of them; the others are filled to the last byte of their windows. With `--frames 1`, each is a frame of Bitswap that
//! lacks its last byte. A connection that ends is made again.

use futures::AsyncWriteExt as _;
use futures::future::join_all;
use interop_tests::Failure;
use std::io;
use std::time::Duration;

use super::wire::{Manners, Stream, Wire};
use super::{Orders, bitswap, crowd, protobuf};

/// The window that a stream has from the start.
const WINDOW: usize = 256 << 10;
/// Streams that a node lets negotiate at the same time, and some more.
const NEGOTIATING: usize = 140;
/// The longest frame that is taken.
const FRAME: usize = 4 << 20;
/// Everything is full by then.
const UNDER_WAY: Duration = Duration::from_secs(5);

pub(crate) async fn run(orders: &Orders) -> Result<(), Failure> {
    let connections = orders.number("connections", 9)?;
    let streams = orders.number("streams", 500)?;
    let frames = orders.number("frames", 0)? == 1;
    let filled = async |wire: &Wire| match frames {
        true => unfinished_frames(wire, streams).await,
        false => full_windows(wire, streams).await,
    };
    crowd::run(orders, connections, Manners::bitswap(), UNDER_WAY, filled).await
}

async fn full_windows(wire: &Wire, count: usize) -> io::Result<Vec<Stream>> {
    let mut streams = Vec::new();
    for number in 0..count {
        let mut stream = wire.bare().await?;
        let content = if number < NEGOTIATING { 1 } else { WINDOW };
        // A byte of a line of negotiation whose rest does not come.
        stream.write_all(&vec![19; content]).await?;
        stream.flush().await?;
        streams.push(stream);
    }
    Ok(streams)
}

async fn unfinished_frames(wire: &Wire, count: usize) -> io::Result<Vec<Stream>> {
    let mut writes = Vec::new();
    for _ in 0..count {
        let mut stream = wire.open(bitswap::PROTOCOL).await?;
        writes.push(async move {
            let mut announced = Vec::new();
            protobuf::varint(FRAME as u64, &mut announced);
            stream.write_all(&announced).await?;
            stream.write_all(&vec![0; FRAME - 1]).await?;
            stream.flush().await?;
            Ok(stream)
        });
    }
    join_all(writes).await.into_iter().collect()
}
