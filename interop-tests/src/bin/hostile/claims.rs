//! Claims of who one is: `--push 1` says it again and again, each time with as many protocols and addresses as a message can
//! hold; otherwise a connection after the other says that it is somebody else than the one who made the handshake.

use futures::AsyncWriteExt as _;
use interop_tests::Failure;
use libp2p::identity::Keypair;
use std::time::Duration;

use super::wire::{Manners, Wire};
use super::{Orders, protobuf, ready, text};

const PUSH: &str = "/ipfs/id/push/1.0.0";
/// The longest message that is taken.
const LONGEST: usize = 4096;
/// How long a connection of a liar is left alone.
const LIE: Duration = Duration::from_millis(50);

pub(crate) async fn run(orders: &Orders) -> Result<(), Failure> {
    let push = orders.number("push", 0)? == 1;
    let manners = Manners::bitswap();
    let key = Keypair::generate_ed25519();
    if !push {
        ready();
        loop {
            let claimed = Keypair::generate_ed25519().public();
            let _wire = Wire::connect_as(orders, &key, claimed, manners.clone()).await;
            tokio::time::sleep(LIE).await;
        }
    }
    let wire = Wire::connect(orders, &key, manners).await.map_err(text)?;
    let mut told = false;
    for round in 0u64.. {
        let mut stream = match wire.open(PUSH).await {
            Ok(stream) => stream,
            // Too many at a time are refused.
            Err(_) if told => continue,
            Err(error) => return Err(text(error)),
        };
        stream.write_all(&message(round)).await.map_err(text)?;
        stream.close().await.map_err(text)?;
        if !std::mem::replace(&mut told, true) {
            ready();
        }
    }
    Ok(())
}

/// A message as long as may be: half of it protocols, half of it addresses, none of which was in another one.
fn message(round: u64) -> Vec<u8> {
    let mut message = Vec::new();
    for number in 0u64.. {
        if message.len() > LONGEST - 64 {
            break;
        }
        if number % 2 == 0 {
            protobuf::bytes(3, format!("/x/{round:x}/{number:x}").as_bytes(), &mut message);
        } else {
            let [.., b, c, d] = (round << 8 | number).to_be_bytes();
            // An address of this machine, port 4001 over TCP.
            protobuf::bytes(2, &[4, 127, b, c, d, 6, 0x0f, 0xa1], &mut message);
        }
    }
    protobuf::frame(&message)
}
