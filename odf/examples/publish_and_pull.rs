//! Two peers in one process: one publishes a table, the other pulls it over a real connection and queries it.
//!
//! `cargo run -p odf --example publish_and_pull`

use odf::Instance;
use odf_node::peer::Builder;

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let table = dir.path().join("cities.csv");
    std::fs::write(&table, "city,population\nVancouver,662248\nVictoria,91867\n")?;

    let here = Instance::open_with(&dir.path().join("here"), alone).await?;
    let there = Instance::open_with(&dir.path().join("there"), alone).await?;
    let published = here.publish("cities", &table).await?;
    there.node().dial(here.node().listen_addrs().remove(0)).await?;
    let dataset = there.pull(&published.name.to_string()).await?;
    assert_eq!(dataset.state().totals.records, 2);
    let name = dataset.name()?;
    let rows = there
        .query(&format!("select city from \"{name}\" where population > 100000"))
        .await?;
    assert_eq!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
    here.close().await;
    there.close().await;
    Ok(())
}

/// A peer that listens on loopback and dials only whom it is told.
fn alone(peer: Builder) -> Builder {
    let loopback = "/ip4/127.0.0.1/tcp/0".parse();
    peer.listen(loopback.into_iter().collect())
        .bootstrap(Vec::new())
        .mdns(false)
}
