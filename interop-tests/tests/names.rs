//! Names of every key type: Kubo publishes under them, odfs pulls, follows, and keeps them alive when Kubo and its keys are gone.

use std::time::{Duration, Instant, SystemTime};

use interop_tests::workspace::dataset::{same_dataset, table};
use interop_tests::{Clock, Failure, Kubo, Outcome, Workspace};
use libp2p::identity::Keypair;

const HOUR: Duration = Duration::from_secs(3600);
/// How long two connected peers may take to have each other in their DHTs, and a follower to get what it follows.
const SOON: Duration = Duration::from_secs(30);
/// Those of which Kubo makes keys. One of ECDSA it only takes in.
const MADE: [&str; 2] = ["rsa", "secp256k1"];
const TAKEN_IN: &str = "ecdsa";

/// The names of a key of each type in this repository.
fn keys(kubo: &Kubo) -> Outcome<Vec<(&'static str, String)>> {
    let mut names = Vec::new();
    for kind in MADE {
        names.push((kind, kubo.ok(["key", "gen", kind, "--type", kind])?));
    }
    let key = Keypair::generate_ecdsa()
        .to_protobuf_encoding()
        .map_err(|error| Failure::new(error.to_string()))?;
    let file = kubo.path().join("ecdsa.key");
    std::fs::write(&file, key)?;
    let file = file.display().to_string();
    let name = kubo.ok(["key", "import", "--allow-any-key-type", TAKEN_IN, &file])?;
    names.push((TAKEN_IN, name));
    Ok(names)
}

#[test]
fn names_of_every_key_type_are_pulled_followed_and_kept_without_their_keys() -> Outcome {
    let clock = Clock::new()?;
    let Some(mut kubo) = Kubo::init()? else { return Ok(()) };
    let names = keys(&kubo)?;
    let owner = Workspace::new()?.by(&clock);
    let node = owner.node()?;
    let file = owner.write("t.csv", table(100))?.display().to_string();
    let published = owner.publish(&[&file, "--name", "t"])?;
    kubo.start()?;
    kubo.connect(&node.address)?;
    kubo.wait_for_dht_peer(&node.peer_id, SOON)?;
    let path = format!("/ipfs/{}", published.root);
    for (kind, _) in &names {
        kubo.ok(["name", "publish", "-Q", "--lifetime=720h", "--key", kind, &path])?;
    }

    let among = || {
        let workspace = Workspace::new()?.by(&clock);
        workspace.know(&[&node.address])?;
        Ok::<_, Failure>(workspace)
    };
    // Each name in a workspace of its own: it is the same dataset.
    let pulled = |name: &str| {
        let reader = among()?;
        reader.odfs(["pull", &format!("ipns://{name}"), "--as", "t"])?;
        same_dataset((&owner, "t"), (&reader, "t"))
    };
    let mut followers = Vec::new();
    for (kind, name) in &names {
        pulled(name).map_err(|failure| failure.during(kind))?;
        let follower = among()?;
        let node = follower.node()?;
        follower.odfs(["follow", &format!("ipns://{name}"), "--as", "t"])?;
        followers.push((follower, node));
    }
    let deadline = Instant::now() + SOON;
    for (follower, _) in &followers {
        while follower.listed("t")?.is_none_or(|listed| listed.records != 100) {
            if Instant::now() > deadline {
                return Err(Failure::new("a follower did not get the dataset"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    kubo.kill()?;

    // Whoever holds a record for others forgets it after 48 hours: in 80 a follower has put it again, or it is gone.
    for ahead in [40 * HOUR, 80 * HOUR] {
        clock.set(ahead)?;
        for (follower, _) in &followers {
            follower.names_are_safe(SystemTime::now() + ahead + 47 * HOUR, SOON)?;
        }
    }
    for (kind, name) in &names {
        pulled(name).map_err(|failure| failure.during(kind))?;
    }
    Ok(())
}
