//! Two peers in one process: one adds bytes, the other finds and fetches them by their CID.

use std::sync::Arc;

use odf_node::block::{Block, RAW};
use odf_node::peer::Node;
use odf_node::store::{Blocks, MemoryStore};

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // On loopback, with nobody else to talk to: leave out `listen`, `bootstrap` and `mdns` to join the public network.
    let quiet = |store: &MemoryStore| {
        let builder = Node::throwaway(Arc::new(store.clone()))
            .bootstrap(Vec::new())
            .mdns(false);
        Ok::<_, libp2p::multiaddr::Error>(builder.listen(vec!["/ip4/127.0.0.1/tcp/0".parse()?]))
    };
    let (here, there) = (MemoryStore::default(), MemoryStore::default());
    let (alice, bob) = (quiet(&here)?.start().await?, quiet(&there)?.start().await?);

    let block = Block::new(RAW, &b"hello from another peer"[..])?;
    here.put(std::slice::from_ref(&block))?;
    alice.provide(vec![*block.cid()]).await?;

    bob.dial(alice.listen_addrs().remove(0)).await?;
    let fetched = bob.exchange().session().fetch(block.cid()).await?;
    there.put(std::slice::from_ref(&fetched))?;

    assert_eq!(fetched.data(), block.data());
    alice.shutdown().await;
    bob.shutdown().await;
    Ok(())
}
