//! The day on which every host that everybody knows is dead: nothing answers at the addresses of the public bootstrap peers, and
//! no name is resolved. Whoever ran before finds its network through those it remembers, and nobody waits for the dead.

use std::time::{Duration, Instant};

use interop_tests::netns::{Namespace, Wire};
use interop_tests::process::Finished;
use interop_tests::workspace::dataset::{same_dataset, table};
use interop_tests::{Failure, Outcome, Workspace};

/// What a command that asks the network may take, where the network is one that is remembered.
const REMEMBERED: Duration = Duration::from_secs(3);
/// What a command that asks nobody may take.
const LOCAL: Duration = Duration::from_secs(2);
/// What a command may take that finds out that nobody answers at all, with time for a busy machine.
const SILENCE: Duration = Duration::from_secs(4);
/// Within what a name that nobody has gets its verdict.
const VERDICT: Duration = Duration::from_secs(20);

/// A workspace with the settings that everybody has, but for mDNS: it is the memory that is to work.
fn with_defaults(namespace: &Namespace) -> Outcome<Workspace> {
    knowing(namespace, "\"public\"")
}

/// The same with another bootstrap list.
fn knowing(namespace: &Namespace, bootstrap: &str) -> Outcome<Workspace> {
    let workspace = Workspace::in_namespace(namespace.name())?;
    workspace.configure(&format!(
        "[network]\nlisten = [\"/ip4/0.0.0.0/tcp/0\"]\nbootstrap = {bootstrap}\nmdns = false\n\n[gateway]\nlisten = \"127.0.0.1:0\"\n",
    ))?;
    Ok(workspace)
}

/// Runs a command, which must succeed within `limit`.
fn within(limit: Duration, workspace: &Workspace, args: &[&str]) -> Outcome<Finished> {
    let begun = Instant::now();
    let finished = workspace.odfs(args)?;
    let took = begun.elapsed();
    match took < limit {
        true => Ok(finished),
        false => Err(finished.failure(&format!("took {took:?}, and {limit:?} are allowed"))),
    }
}

#[test]
fn who_ran_before_finds_its_network_through_those_it_remembers() -> Outcome {
    let Some(wire) = Wire::lay()? else { return Ok(()) };
    wire.cut_off()?;
    let there = with_defaults(wire.left())?;
    let here = with_defaults(wire.right())?;
    let far = there.node()?;
    let file = there.write("t.csv", table(1_500))?.display().to_string();
    let published = there.publish(&[&file, "--name", "t"])?;
    let name = format!("ipns://{}", published.name);
    let address = far.address.replace("127.0.0.1", &wire.left().address);

    // The first time, somebody has to say where.
    within(REMEMBERED, &here, &["pull", &name, "--as", "t", "--peer", &address])?;
    let status = within(LOCAL, &here, &["status", "-o", "json"])?.json()?;
    assert_eq!(status["rememberedPeers"], 1, "{status}");
    assert!(status["networkReached"].is_string(), "{status}");

    // Then it is remembered: by a command, and by a node.
    there.write("t.csv", table(1_600))?;
    there.publish(&[&file, "--name", "t"])?;
    within(REMEMBERED, &here, &["pull", "t"])?;
    assert_eq!(here.dataset("t")?.records, 1_600);
    same_dataset((&there, "t"), (&here, "t"))?;
    let own = here.write("own.csv", table(10))?.display().to_string();
    let said = within(REMEMBERED, &here, &["publish", &own, "--exit"])?;
    assert!(
        said.stderr.contains("One other machine knows the name"),
        "{}",
        said.stderr
    );

    let begun = Instant::now();
    let node = here.node()?;
    while within(LOCAL, &here, &["status", "-o", "json"])?.json()?["peers"][0]["peerId"] != far.peer_id.as_str() {
        if begun.elapsed() > REMEMBERED {
            return Err(Failure::new("the node has not found its network again"));
        }
    }
    let text = within(LOCAL, &here, &["status", "-o", "table"])?.text();
    assert!(text.contains("Remembered: 1 peer(s), dialled first"), "{text}");
    within(LOCAL, &here, &["list"])?;
    node.stop()?;

    // A name of a bootstrap peer that DNS does not know holds up nothing where its address stands beside it.
    let by_name = format!("/dns4/keeper.example.org/tcp/4001/p2p/{}", far.peer_id);
    let other = knowing(wire.right(), &format!("{:?}", [&by_name, &address]))?;
    within(REMEMBERED, &other, &["pull", &name, "--as", "t"])?;
    far.stop()?;
    Ok(())
}

#[test]
fn nobody_waits_for_hosts_that_are_dead() -> Outcome {
    let Some(wire) = Wire::lay()? else { return Ok(()) };
    wire.cut_off()?;
    let here = with_defaults(wire.left())?;
    let file = here.write("t.csv", table(10))?.display().to_string();
    let said = within(SILENCE, &here, &["publish", &file, "--exit"])?;
    assert!(said.stderr.contains("Nobody is in reach"), "{}", said.stderr);
    // What was published is looked up again before rows are added.
    here.write("t.csv", table(20))?;
    within(SILENCE, &here, &["publish", &file, "--exit"])?;
    within(SILENCE, &here, &["push", "t"])?;
    within(LOCAL, &here, &["list"])?;
    within(LOCAL, &here, &["status"])?;

    // What nobody has gets its verdict.
    let begun = Instant::now();
    let nobodys = "k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8";
    let refused = here.refused(["pull", nobodys, "--as", "far"])?;
    assert!(begun.elapsed() < VERDICT);
    assert!(refused.stderr.contains("Next: "), "{}", refused.stderr);
    // With a node, too.
    let node = here.node()?;
    within(SILENCE, &here, &["push", "t"])?;
    within(LOCAL, &here, &["list"])?;
    within(LOCAL, &here, &["status"])?;
    node.stop()?;
    Ok(())
}

#[test]
fn a_dataset_of_bootstrap_peers_is_followed() -> Outcome {
    let (there, here) = (Workspace::new()?, Workspace::new()?);
    let far = there.node()?;
    let seeds = format!("operator,address\nnobody,/ip4/127.0.0.1\nwe,{}\n", far.address);
    let seeds = there.write("seeds.csv", seeds)?.display().to_string();
    let list = there.publish(&[&seeds, "--name", "seeds"])?.name;
    here.odfs(["pull", &list, "--as", "seeds", "--peer", &far.address])?;

    // Of what is published later it has not heard yet.
    let file = there.write("t.csv", table(10))?.display().to_string();
    let name = there.publish(&[&file, "--name", "t"])?.name;
    assert!(!here.run(["pull", &name, "--as", "t"])?.succeeded());
    for text in [&list, "seeds"] {
        here.odfs(["config", "set", "network.bootstrapDataset", text])?;
        let pulled = here.odfs(["-v", "pull", &name, "--as", "t"])?;
        assert!(
            pulled.stderr.contains("a row of network.bootstrapDataset is left out"),
            "{}",
            pulled.stderr
        );
        assert_eq!(here.dataset("t")?.records, 10);
        here.odfs(["--yes", "delete", "t"])?;
    }
    // One that is not here costs nothing but a line in the log.
    here.odfs(["config", "set", "network.bootstrapDataset", "none"])?;
    let missing = here.odfs(["-v", "pull", "seeds", "--peer", &far.address])?;
    assert!(missing.stderr.contains("gives no addresses"), "{}", missing.stderr);
    far.stop()?;
    Ok(())
}
