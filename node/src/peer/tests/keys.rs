//! Peers of every key type that the network has.

use libp2p::identity::{KeyType, Keypair};

use super::{quiet, until};
use crate::block::{Block, RAW};

/// A key of every type that peer ids are made of.
pub(crate) fn of_every_type() -> [Keypair; 4] {
    let mut rsa = include_bytes!("../../../testdata/keys/rsa-2048.pk8").to_vec();
    [
        Keypair::generate_ed25519(),
        Keypair::generate_secp256k1(),
        Keypair::generate_ecdsa(),
        Keypair::rsa_from_pkcs8(&mut rsa).unwrap(),
    ]
}

#[tokio::test]
async fn blocks_come_from_peers_of_every_key_type_over_every_transport() {
    for transport in ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"] {
        for key in of_every_type() {
            let kind = key.key_type();
            let serving = quiet()
                .listen(vec![transport.parse().unwrap()])
                .keypair(key.clone())
                .start()
                .await
                .unwrap();
            assert_eq!(serving.peer_id(), key.public().to_peer_id());
            let block = Block::new(RAW, format!("from a peer with a key of type {kind}").into_bytes()).unwrap();
            serving.blocks().put(std::slice::from_ref(&block)).unwrap();

            // Each side checks the other's key in the handshake, so it is tried from both.
            for dials in [true, false] {
                let asking = quiet().listen(vec![transport.parse().unwrap()]).start().await.unwrap();
                let (from, to) = if dials {
                    (&asking, &serving)
                } else {
                    (&serving, &asking)
                };
                let met = from.dial(super::address(to)).await.unwrap();
                assert_eq!(met, to.peer_id(), "{kind} over {transport}");
                until("the connection", async || {
                    asking.peers().await.iter().any(|peer| peer.peer == serving.peer_id())
                })
                .await;
                let session = asking.exchange().session();
                session.add_provider(serving.peer_id());
                let got = session.fetch(block.cid()).await.unwrap();
                assert_eq!(got, block, "{kind} over {transport}");
                asking.shutdown().await;
            }
            serving.shutdown().await;
        }
    }
    assert_eq!(
        of_every_type().map(|key| key.key_type()),
        [KeyType::Ed25519, KeyType::Secp256k1, KeyType::Ecdsa, KeyType::RSA]
    );
}
