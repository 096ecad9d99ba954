//! A Kubo that has no DHT and asks an odfs node in its place (Delegated Routing V1).

use interop_tests::workspace::dataset::table;
use interop_tests::{Kubo, Outcome, Workspace, http};

#[test]
fn kubo_finds_and_publishes_by_an_odfs_node_alone() -> Outcome {
    let Some(mut kubo) = Kubo::init()? else { return Ok(()) };
    let here = Workspace::new()?;
    let node = here.node()?;
    let file = here.write("t.csv", table(500))?.display().to_string();
    let published = here.publish(&[&file, "--name", "t"])?;

    let endpoint = format!("{}/routing/v1", node.gateway);
    kubo.ok(["config", "Routing.Type", "delegated"])?;
    kubo.ok(["config", "--json", "Provide.Enabled", "false"])?;
    let set = |name: &str, paths: &[&str]| {
        let urls: Vec<String> = paths.iter().map(|path| format!("{endpoint}/{path}")).collect();
        kubo.ok(["config", "--json", name, &format!("{urls:?}")]).map(drop)
    };
    set("Routing.DelegatedRouters", &["providers", "peers", "ipns"])?;
    set("Ipns.DelegatedPublishers", &["ipns"])?;
    kubo.start()?;

    let providers = kubo.ok(["routing", "findprovs", &published.root])?;
    assert!(providers.contains(&node.peer_id), "{providers}");
    let name = &published.name;
    let resolved = kubo.ok(["name", "resolve", "--nocache", name])?;
    assert_eq!(resolved, format!("/ipfs/{}", published.root));
    assert_eq!(
        kubo.ok(["cat", &format!("/ipns/{name}/refs/head")])?,
        here.dataset("t")?.head
    );

    // And the other way: what it publishes is known by the node.
    let path = kubo.path().join("theirs");
    std::fs::write(&path, "theirs")?;
    let cid = kubo.add(&path, &["--cid-version=1"])?;
    let key = kubo.ok(["key", "gen", "--ipns-base=base36", "mine"])?;
    kubo.ok(["name", "publish", "--key=mine", &format!("/ipfs/{cid}")])?;
    assert_eq!(
        here.odfs(["ipfs", "name", "resolve", &key])?.text(),
        format!("/ipfs/{cid}")
    );

    let answer = http::get(&format!("{endpoint}/providers/nonsense"), &[])?;
    assert_eq!(answer.status, 422, "{}", answer.text());
    Ok(())
}

/// The reader has no network but the address of the router, and the owner's is not told to it in any other way.
#[test]
fn a_dataset_is_found_through_a_router_without_a_common_dht() -> Outcome {
    let (owner, between, reader) = (Workspace::new()?, Workspace::new()?, Workspace::new()?);
    let router = between.node()?;
    owner.know(&[&router.address])?;
    let _node = owner.node()?;
    let file = owner.write("t.csv", table(500))?.display().to_string();
    let published = owner.publish(&[&file, "--name", "t"])?;
    // One that never answers beside it.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let dead = format!("http://{}", silent.local_addr()?);
    reader.odfs([
        "config",
        "set",
        "network.routers",
        &format!("{dead},{}", router.gateway),
    ])?;
    reader.odfs(["pull", &format!("ipns://{}", published.name), "--as", "t"])?;
    assert_eq!(reader.dataset("t")?.head, owner.dataset("t")?.head);

    // What it publishes is known to the router.
    let file = reader.write("r.csv", table(3))?.display().to_string();
    let published = reader.publish(&[&file, "--name", "r"])?;
    let found = between.odfs(["ipfs", "name", "resolve", &published.name])?.text();
    assert_eq!(found, format!("/ipfs/{}", published.root));
    Ok(())
}

#[test]
fn a_dataset_is_found_through_kubo_as_a_router() -> Outcome {
    let Some(mut kubo) = Kubo::init()? else { return Ok(()) };
    kubo.ok(["config", "--json", "Gateway.ExposeRoutingAPI", "true"])?;
    kubo.start()?;
    let (owner, reader) = (Workspace::new()?, Workspace::new()?);
    owner.know(&[&kubo.address()?])?;
    let node = owner.node()?;
    kubo.wait_for_dht_peer(&node.peer_id, std::time::Duration::from_secs(30))?;
    let file = owner.write("t.csv", table(500))?.display().to_string();
    let published = owner.publish(&[&file, "--name", "t"])?;
    reader.odfs(["config", "set", "network.routers", &kubo.gateway()?])?;
    reader.odfs(["pull", &format!("ipns://{}", published.name), "--as", "t"])?;
    assert_eq!(reader.dataset("t")?.head, owner.dataset("t")?.head);
    Ok(())
}
