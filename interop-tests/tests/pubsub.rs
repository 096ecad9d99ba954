//! Names over PubSub, between odfs and a Kubo that is in no DHT: what one knows of the other's names was said to it.

use interop_tests::kubo::KAMU_FLAGS;
use interop_tests::workspace::dataset::table;
use interop_tests::{Kubo, Outcome, Workspace};
use std::time::{Duration, Instant};

/// How soon news arrives. It takes milliseconds; asking takes the rest.
const SOON: Duration = Duration::from_secs(2);
/// How long what is no news may take: two peers agree on who listens to what every second.
const SETTLED: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until `ask` answers with `expected`, and returns how long that took.
fn until(limit: Duration, expected: &str, mut ask: impl FnMut() -> Outcome<String>) -> Outcome<Duration> {
    let started = Instant::now();
    loop {
        let answer = ask()?;
        if answer == expected {
            return Ok(started.elapsed());
        }
        if started.elapsed() > limit {
            return Err(format!("{answer:?} instead of {expected:?} after {limit:?}").into());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Kubo that hears names over PubSub, and nothing else if it is `deaf` to the DHT.
fn kubo(deaf: bool) -> Outcome<Option<Kubo>> {
    let Some(mut kubo) = Kubo::init()? else { return Ok(None) };
    kubo.ok(["config", "--json", "Ipns.UsePubsub", "true"])?;
    if deaf {
        kubo.ok(["config", "Routing.Type", "none"])?;
    }
    kubo.start()?;
    Ok(Some(kubo))
}

#[test]
fn what_kubo_publishes_is_heard_by_a_node_that_follows_it() -> Outcome {
    let Some(mut kubo) = kubo(false)? else { return Ok(()) };
    let (origin, there) = (Workspace::new()?, Workspace::new()?);
    let file = origin.write("t.csv", table(100))?.display().to_string();
    origin.publish(&[&file, "--name", "t"])?;
    let name = kubo.ok(["key", "gen", "t"])?;
    let publish = |kubo: &Kubo, root: &str| {
        let options = [
            "name",
            "publish",
            "-Q",
            "--key",
            "t",
            "--allow-offline",
            "--resolve=false",
        ];
        kubo.ok(options.into_iter().chain([format!("/ipfs/{root}").as_str()]))
    };
    publish(&kubo, &kubo.add(&origin.export("t", "first")?, &KAMU_FLAGS)?)?;
    let node = there.node()?;
    let address = kubo.address()?;
    there.odfs(["pull", &format!("ipns://{name}"), "--as", "t", "--peer", &address])?;

    // From here on it is in no DHT: it can neither be asked there, nor put anything.
    kubo.stop()?;
    kubo.ok(["config", "Routing.Type", "none"])?;
    kubo.start()?;
    kubo.connect(&node.address)?;
    until(SETTLED, "enabled", || kubo.ok(["name", "pubsub", "state"]))?;
    for rows in [110, 120, 130] {
        origin.write("t.csv", table(rows))?;
        origin.publish(&[&file, "--name", "t"])?;
        let root = kubo.add(&origin.export("t", &rows.to_string())?, &KAMU_FLAGS)?;
        publish(&kubo, &root)?;
        let took = until(SOON, &format!("/ipfs/{root}"), || {
            Ok(there.odfs(["ipfs", "name", "resolve", &name])?.text())
        })?;
        println!("heard from Kubo after {took:?}");
    }
    there.odfs(["pull", "t"])?;
    assert_eq!(there.dataset("t")?.records, 130);
    Ok(())
}

#[test]
fn what_odfs_publishes_is_heard_by_kubo() -> Outcome {
    let Some(kubo) = kubo(true)? else { return Ok(()) };
    let workspace = Workspace::new()?;
    let node = workspace.node()?;
    kubo.connect(&node.address)?;
    let file = workspace.write("t.csv", table(100))?.display().to_string();
    let published = workspace.publish(&[&file, "--name", "t"])?;
    let resolve = |name: &str| Ok(kubo.run(["name", "resolve", "--nocache", "--timeout=5s", name])?.text());
    // It begins to listen when it is asked first, and fetches what was said before.
    until(SETTLED, &format!("/ipfs/{}", published.root), || {
        resolve(&published.name)
    })?;
    assert!(kubo.ok(["name", "pubsub", "subs"])?.contains(&published.name));
    for rows in [110, 120, 130] {
        workspace.write("t.csv", table(rows))?;
        let grown = workspace.publish(&[&file, "--name", "t"])?;
        let took = until(SOON, &format!("/ipfs/{}", grown.root), || resolve(&published.name))?;
        println!("heard by Kubo after {took:?}");
    }
    Ok(())
}

/// A command that ends at once, on a machine on which no node runs.
#[test]
fn what_a_command_publishes_is_heard_by_kubo_though_it_ends() -> Outcome {
    let Some(kubo) = kubo(true)? else { return Ok(()) };
    let workspace = Workspace::new()?;
    let address = kubo.address()?;
    let file = workspace.write("t.csv", table(100))?.display().to_string();
    let first = workspace.publish(&[&file, "--name", "t"])?;
    // Nobody can be asked: Kubo only begins to listen.
    let listens = kubo.run(["name", "resolve", "--nocache", "--timeout=1s", &first.name])?;
    assert_ne!(listens.text(), format!("/ipfs/{}", first.root));
    assert!(kubo.ok(["name", "pubsub", "subs"])?.contains(&first.name));
    for rows in [110, 120, 130] {
        workspace.write("t.csv", table(rows))?;
        let grown = workspace.publish(&[&file, "--name", "t", "--peer", &address])?;
        let took = until(SOON, &format!("/ipfs/{}", grown.root), || {
            Ok(kubo
                .run(["name", "resolve", "--nocache", "--timeout=5s", &first.name])?
                .text())
        })?;
        println!("heard by Kubo after {took:?}");
    }
    Ok(())
}
