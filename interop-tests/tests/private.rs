//! Private networks: peers with the same key work together, with Kubo in both directions, and with nobody else.

use std::fs;
use std::time::{Duration, Instant};

use interop_tests::netns::Wire;
use interop_tests::workspace::dataset::{same_dataset, table};
use interop_tests::{Kubo, Node, Outcome, Workspace};

/// How long two connected peers may take to have each other in their DHTs.
const SOON: Duration = Duration::from_secs(20);
/// A connection that is refused for its key is given up within this.
const REFUSED: Duration = Duration::from_secs(15);

/// Gives one workspace the key of another.
fn share(from: &Workspace, to: &Workspace) -> Outcome {
    fs::copy(from.store().join("swarm.key"), to.store().join("swarm.key"))?;
    Ok(())
}

/// A workspace with a key of its own, and its node.
fn keyed() -> Outcome<(Workspace, Node)> {
    let workspace = Workspace::new()?;
    let made = workspace.odfs(["key", "swarm"])?.text();
    assert_eq!(workspace.odfs(["key", "swarm"])?.text(), made, "it is made once");
    let node = workspace.node()?;
    Ok((workspace, node))
}

#[test]
fn who_has_the_key_is_spoken_to_and_nobody_else() -> Outcome {
    let (there, node) = keyed()?;
    let file = there.write("t.csv", table(1_500))?.display().to_string();
    let name = there.publish(&[&file, "--name", "t"])?.name;
    let status = there.odfs(["status", "-o", "json"])?.json()?;
    let fingerprint = status["privateNetwork"].as_str().unwrap_or_default();
    assert_eq!(fingerprint.len(), 32, "{status}");
    let told = there.odfs(["status", "-o", "table"])?.text();
    assert!(
        told.contains(&format!("Network: private, fingerprint {fingerprint}")),
        "{told}"
    );

    let here = Workspace::new()?;
    share(&there, &here)?;
    here.odfs(["pull", &name, "--as", "t", "--peer", &node.address])?;
    same_dataset((&there, "t"), (&here, "t"))?;
    // Whom it met there it remembers for there alone.
    assert_eq!(here.odfs(["status", "-o", "json"])?.json()?["rememberedPeers"], 1);
    there.write("t.csv", table(1_600))?;
    there.publish(&[&file, "--name", "t"])?;
    here.odfs(["pull", "t"])?;
    assert_eq!(here.dataset("t")?.records, 1_600);
    fs::remove_file(here.store().join("swarm.key"))?;
    assert_eq!(here.odfs(["status", "-o", "json"])?.json()?["rememberedPeers"], 0);

    for stranger in [Workspace::new()?, keyed()?.0] {
        let begun = Instant::now();
        let refused = stranger.refused(["pull", &name, "--as", "t", "--peer", &node.address])?;
        assert!(begun.elapsed() < REFUSED, "{:?}", begun.elapsed());
        assert_eq!(refused.code(), Some(9), "{}", refused.stderr);
    }
    node.stop()?;
    Ok(())
}

#[test]
fn a_private_network_listens_over_tcp_alone_and_dials_nobody_unasked() -> Outcome {
    let Some(wire) = Wire::lay()? else { return Ok(()) };
    let here = Workspace::in_namespace(wire.left().name())?;
    here.configure("[gateway]\nlisten = \"127.0.0.1:0\"\n")?;
    here.odfs(["key", "swarm"])?;
    let node = here.node()?;
    let status = here.odfs(["status", "-o", "json"])?.json()?;
    let addresses = status["addresses"].to_string();
    assert!(
        addresses.contains("/tcp/4001") && !addresses.contains("/udp/"),
        "{addresses}"
    );
    // The one that is wired to it is found by mDNS, as everywhere.
    let there = Workspace::in_namespace(wire.right().name())?;
    share(&here, &there)?;
    let file = here.write("t.csv", table(10))?.display().to_string();
    let name = here.publish(&[&file, "--name", "t"])?.name;
    there.odfs(["pull", &name, "--as", "t"])?;
    node.stop()?;

    here.odfs(["config", "set", "network.listen", "/ip4/0.0.0.0/udp/4001/quic-v1"])?;
    let refused = here.refused(["node"])?;
    assert!(
        refused.stderr.contains("a private network is over TCP only"),
        "{}",
        refused.stderr
    );
    here.odfs(["config", "set", "network.listen"])?;
    here.odfs(["config", "set", "network.key", "other.key"])?;
    let refused = here.refused(["node"])?;
    assert!(refused.stderr.contains("other.key"), "{}", refused.stderr);
    Ok(())
}

/// A Kubo with this key, its daemon running.
fn kubo(key: &Workspace) -> Outcome<Option<Kubo>> {
    let Some(mut kubo) = Kubo::init()? else { return Ok(None) };
    fs::copy(key.store().join("swarm.key"), kubo.repository().join("swarm.key"))?;
    // Its list of public hosts is refused in a private network, by Kubo itself.
    kubo.ok(["config", "--json", "AutoConf.Enabled", "false"])?;
    kubo.ok(["config", "Routing.Type", "dht"])?;
    kubo.start()?;
    Ok(Some(kubo))
}

#[test]
fn kubo_with_the_same_key_reads_and_is_read_and_with_another_is_refused() -> Outcome {
    let (there, node) = keyed()?;
    let Some(kubo) = self::kubo(&there)? else { return Ok(()) };
    kubo.connect(&node.address)?;
    kubo.wait_for_dht_peer(&node.peer_id, SOON)?;
    let file = there.write("t.csv", table(1_500))?.display().to_string();
    let published = there.publish(&[&file, "--name", "t"])?;
    let resolved = kubo.ok(["name", "resolve", "--nocache", &published.name])?;
    assert_eq!(resolved, format!("/ipfs/{}", published.root));
    let head = kubo.ok(["cat", &format!("/ipfs/{}/files/refs/head", published.root)])?;
    assert_eq!(head, there.dataset("t")?.head);

    // The other way, by a command that dials it.
    let here = Workspace::new()?;
    share(&there, &here)?;
    let note = kubo.path().join("note.txt");
    fs::write(&note, "from Kubo")?;
    let cid = kubo.add(&note, &["--cid-version=1"])?;
    here.know(&[&kubo.address()?])?;
    let read = here.odfs(["ipfs", "cat", &cid])?;
    assert_eq!(read.text(), "from Kubo");

    let (_other, stranger) = keyed()?;
    let other = Workspace::new()?;
    other.odfs(["key", "swarm"])?;
    assert!(!kubo.run(["swarm", "connect", &stranger.address])?.succeeded());
    let refused = other.refused(["pull", &published.name, "--as", "t", "--peer", &kubo.address()?])?;
    assert_eq!(refused.code(), Some(9), "{}", refused.stderr);
    node.stop()?;
    stranger.stop()?;
    Ok(())
}
