//! Two peers in one process: one publishes a table, the other pulls it over a real connection.
//!
//! `cargo run -p odf --example publish_and_pull`

use std::ops::ControlFlow;

use odf::ingest::source::Source;
use odf::pull::{Address, PullOptions, pull_from};
use odf::{publish, workspace::Workspace};
use odf_node::fetch::Fetcher;
use odf_node::peer::Node;

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let (here, node) = open(&dir.path().join("here")).await?;
    let (there, other) = open(&dir.path().join("there")).await?;

    // Rows become a dataset, the dataset a DAG, and its root gets a signed name.
    let table = dir.path().join("cities.csv");
    std::fs::write(&table, "city,population\nVancouver,662248\nVictoria,91867\n")?;
    let source = Source::file(&table, None, Default::default())?;
    let now = chrono::Utc::now().try_into()?;
    let (dataset, _) = here.take(&"cities".parse()?, &source, &Default::default(), now, &mut |_| {
        ControlFlow::Continue(())
    })?;
    let key = here.key_of(&dataset.id()).ok_or("the key was just made")?;
    let published = publish::publish(here.local(), &node, &dataset, &key, false).await?;

    // The name leads to the root, the root to blocks, and every byte is checked before the dataset appears.
    other.dial(node.listen_addrs().remove(0)).await?;
    let fetcher = Fetcher::new(there.store().clone(), Some(other.exchange().session()));
    let address = Address::Name(published.name);
    let pulled = pull_from(there.local(), &other, &fetcher, &address, PullOptions::default(), &|_| {}).await?;

    let rows = pulled.outcome.dataset().tail(10)?.map_or(0, |rows| rows.num_rows());
    assert_eq!(rows, 2, "both rows arrived");
    node.shutdown().await;
    other.shutdown().await;
    Ok(())
}

/// A workspace of its own, and a peer that listens on loopback and dials only whom it is told.
async fn open(root: &std::path::Path) -> Result<(Workspace, Node), Box<dyn std::error::Error>> {
    let workspace = Workspace::open(root, Default::default())?;
    let peer = Node::builder(workspace.store())?.listen(vec!["/ip4/127.0.0.1/tcp/0".parse()?]);
    let node = peer.bootstrap(Vec::new()).mdns(false).start().await?;
    Ok((workspace, node))
}
