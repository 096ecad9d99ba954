//! Private networks, from the inside.

use super::{address, introduce, quiet, start};
use crate::block::{Block, RAW};
use crate::peer::{DialError, NetworkKey, Node};

async fn of(key: NetworkKey) -> Node {
    quiet().network_key(Some(key)).start().await.unwrap()
}

#[tokio::test]
async fn peers_of_one_key_work_together_and_with_nobody_else() {
    let key = NetworkKey::generate();
    let (a, b) = (of(key).await, of(key).await);
    introduce(&a, &b).await;
    let block = Block::new(RAW, b"for members".to_vec()).unwrap();
    a.blocks().put(std::slice::from_ref(&block)).unwrap();
    let session = b.exchange().session();
    session.add_provider(a.peer_id());
    assert_eq!(session.fetch(block.cid()).await.unwrap(), block);

    for stranger in [start().await, of(NetworkKey::generate()).await] {
        for (from, to) in [(&stranger, &a), (&a, &stranger)] {
            let refused = from.dial(address(to)).await;
            assert!(matches!(refused, Err(DialError::Unreachable { .. })), "{refused:?}");
        }
        assert!(stranger.peers().await.is_empty());
    }
    assert_eq!(a.peers().await.len(), 1);
}
