//! A name for content that changes: one peer publishes it on a durable store, another resolves and follows it.

use std::sync::Arc;

use libp2p::identity::Keypair;
use odf_node::block::{Block, RAW};
use odf_node::ipns::{Freshness, PublishOptions};
use odf_node::peer::{Builder, Node};
use odf_node::store::{Blocks, MemoryStore, Store, StoreOptions};

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let workspace = tempfile::tempdir()?;
    let store = Store::open(workspace.path(), StoreOptions::default())?;
    let publisher = on_loopback(Node::builder(&store)?)?.start().await?;
    let reader = on_loopback(Node::throwaway(Arc::new(MemoryStore::default())))?
        .start()
        .await?;
    reader.dial(publisher.listen_addrs().remove(0)).await?;

    let key = Keypair::generate_ed25519();
    for text in ["first version", "second version"] {
        let block = Block::new(RAW, text.as_bytes().to_vec())?;
        store.put(std::slice::from_ref(&block))?;
        let value = format!("/ipfs/{}", block.cid());
        let published = publisher
            .names()
            .publish(&key, &value, PublishOptions::default())
            .await?;

        let resolved = reader.names().resolve(&published.name, Freshness::Network).await?;
        assert_eq!(resolved.value, value);
        let fetched = reader.exchange().session().fetch(block.cid()).await?;
        assert_eq!(fetched.data(), text.as_bytes());
        // From now on the reader keeps the name alive too: nobody needs the key for that.
        reader.names().follow(&published.name).await?;
    }
    publisher.shutdown().await;
    reader.shutdown().await;
    Ok(())
}

/// Leave this out to join the public network.
fn on_loopback(builder: Builder) -> Result<Builder, libp2p::multiaddr::Error> {
    Ok(builder
        .listen(vec!["/ip4/127.0.0.1/tcp/0".parse()?])
        .bootstrap(Vec::new())
        .mdns(false))
}
