//! Messages that are begun and never ended, a byte or a half of each, on `--streams` of each of `--connections`: of the
//! negotiation of a protocol, of Bitswap and of the DHT. A connection that ends is made again.

use futures::AsyncWriteExt as _;
use interop_tests::Failure;
use std::io;
use std::time::Duration;

use super::wire::{Manners, Stream, Wire, line};
use super::{Orders, bitswap, crowd, protobuf};

/// The DHT of the local network, which every node serves.
const DHT: &str = "/ipfs/lan/kad/1.0.0";
/// What a message is said to have.
const ANNOUNCED: u64 = 4 << 20;
/// How much of it is sent.
const SENT: usize = 12 << 10;
const UNDER_WAY: Duration = Duration::from_secs(3);

pub(crate) async fn run(orders: &Orders) -> Result<(), Failure> {
    let connections = orders.number("connections", 9)?;
    let streams = orders.number("streams", 120)?;
    let begun = async |wire: &Wire| -> io::Result<Vec<Stream>> {
        let mut begun = Vec::new();
        for number in 0..streams {
            begun.push(half(wire, number).await?);
        }
        Ok(begun)
    };
    crowd::run(orders, connections, Manners::bitswap(), UNDER_WAY, begun).await
}

async fn half(wire: &Wire, number: usize) -> io::Result<Stream> {
    let mut announced = Vec::new();
    protobuf::varint(ANNOUNCED, &mut announced);
    announced.resize(announced.len() + SENT, 0);
    let (mut stream, content) = match number % 4 {
        0 => (wire.bare().await?, vec![19]),
        1 => (
            wire.bare().await?,
            [line("/multistream/1.0.0"), vec![0xff, 0x7f, b'/']].concat(),
        ),
        2 => (wire.open(bitswap::PROTOCOL).await?, announced),
        _ => (wire.open(DHT).await?, announced),
    };
    stream.write_all(&content).await?;
    stream.flush().await?;
    Ok(stream)
}
