//! Two homes behind routers that let nobody in, and a public server: what one has, the other gets.

use std::fs;
use std::time::{Duration, Instant};

use interop_tests::netns::{Internet, Router};
use interop_tests::workspace::dataset::{same_dataset, table};
use interop_tests::{Failure, Node, Outcome, Workspace};
use serde_json::Value;

/// How long a node may take to find out that nobody gets through, and to have its place at a relay.
const REACHED: Duration = Duration::from_secs(40);
/// How long two nodes may take to get from the relay to a direct connection.
const DIRECT: Duration = Duration::from_secs(20);

fn texts(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    all.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// At which addresses this node is connected to `peer`.
fn connected(workspace: &Workspace, peer: &str) -> Outcome<Vec<String>> {
    let status = workspace.odfs(["status", "--output", "json"])?.json()?;
    let peers = status["peers"].as_array().into_iter().flatten();
    let peer = peers.filter(|one| one["peerId"] == peer);
    Ok(peer.flat_map(|peer| texts(&peer["addresses"])).collect())
}

/// Waits until `found` finds something; says what was there otherwise.
fn until<T>(limit: Duration, what: &str, mut found: impl FnMut() -> Outcome<Result<T, String>>) -> Outcome<T> {
    let started = Instant::now();
    loop {
        match found()? {
            Ok(found) => return Ok(found),
            Err(last) if started.elapsed() > limit => {
                return Err(Failure::new(format!("{what} not within {limit:?}: {last}")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

struct World {
    internet: Internet,
    server: Workspace,
    _public: Node,
    homes: [Workspace; 2],
}

/// A public node, and two workspaces at home that know no other peer, all of one private network or of the public one.
fn world(kinds: [Router; 2], private: bool) -> Outcome<Option<World>> {
    let Some(internet) = Internet::lay(env!("CARGO_BIN_EXE_router"), kinds)? else {
        return Ok(None);
    };
    let server = Workspace::in_namespace(internet.server().name())?;
    if private {
        server.odfs(["key", "swarm"])?;
    }
    let public = server.node_with(&["--public"])?;
    let status = server.odfs(["status", "--output", "json"])?.json()?;
    let address = texts(&status["addresses"]);
    let address = address.iter().find(|address| address.contains("/45.1.0.1/tcp/"));
    let address = address.ok_or("the server listens nowhere")?;
    let [a, b] = internet.homes();
    let homes = [Workspace::in_namespace(a.name())?, Workspace::in_namespace(b.name())?];
    for home in &homes {
        home.know(&[address])?;
        if private {
            fs::copy(server.store().join("swarm.key"), home.store().join("swarm.key"))?;
        }
    }
    Ok(Some(World {
        internet,
        server,
        _public: public,
        homes,
    }))
}

/// Publishes at one home, pulls at the other, and returns their nodes and the addresses at which they are connected then: as
/// soon as all are direct, or when they were not for a while.
fn moved(world: &World) -> Outcome<([Node; 2], Vec<String>)> {
    let [here, there] = &world.homes;
    let owner = here.node()?;
    let file = here.write("t.csv", table(1_500))?.display().to_string();
    until(REACHED, "a place at the relay", || {
        let status = here.odfs(["status", "--output", "json"])?.json()?;
        let addresses = texts(&status["addresses"]);
        let relayed = addresses.iter().any(|address| address.contains("/p2p-circuit"));
        Ok(relayed.then_some(()).ok_or(format!("{addresses:?}")))
    })?;
    let published = here.publish(&[&file, "--name", "t"])?;

    let reader = there.node()?;
    there.odfs(["pull", &format!("ipns://{}", published.name), "--as", "t"])?;
    same_dataset((here, "t"), (there, "t"))?;
    let direct = until(DIRECT, "a direct connection", || {
        let all = connected(there, &owner.peer_id)?;
        let direct = !all.is_empty() && all.iter().all(|address| !address.contains("/p2p-circuit"));
        Ok(if direct { Ok(all) } else { Err(format!("{all:?}")) })
    });
    let addresses = match direct {
        Ok(all) => all,
        Err(_) => connected(there, &owner.peer_id)?,
    };
    Ok(([owner, reader], addresses))
}

#[test]
fn what_is_behind_a_router_is_pulled_through_a_relay_and_then_directly() -> Outcome {
    let Some(world) = world([Router::Plain; 2], false)? else {
        return Ok(());
    };
    let (_nodes, addresses) = moved(&world)?;
    assert!(
        !addresses.is_empty() && addresses.iter().all(|address| address.contains("/45.2.0.1/")),
        "{addresses:?}"
    );
    // More of it comes the direct way, with nobody between.
    let [here, there] = &world.homes;
    let file = here.write("t.csv", table(1_600))?.display().to_string();
    here.publish(&[&file, "--name", "t"])?;
    there.odfs(["pull", "t"])?;
    same_dataset((here, "t"), (there, "t"))
}

#[test]
fn between_routers_with_ports_by_chance_all_goes_through_the_relay() -> Outcome {
    let Some(world) = world([Router::Symmetric; 2], false)? else {
        return Ok(());
    };
    let (_nodes, addresses) = moved(&world)?;
    assert!(
        !addresses.is_empty() && addresses.iter().all(|address| address.contains("/p2p-circuit")),
        "{addresses:?}"
    );
    let status = world.server.odfs(["status", "--output", "json"])?.json()?;
    assert_eq!(
        status["peers"].as_array().map(Vec::len),
        Some(2),
        "{}: {status}",
        world.internet.server().name()
    );
    Ok(())
}

/// The key is part of what a relay carries, and of what goes through a hole.
#[test]
fn in_a_private_network_relays_and_holes_do_the_same() -> Outcome {
    let Some(world) = world([Router::Plain; 2], true)? else {
        return Ok(());
    };
    let (_nodes, addresses) = moved(&world)?;
    assert!(
        !addresses.is_empty() && addresses.iter().all(|address| address.contains("/45.2.0.1/tcp/")),
        "{addresses:?}"
    );
    Ok(())
}
