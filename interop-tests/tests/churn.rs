//! Twenty nodes and three of Kubo's, one of each key type, of which a third is killed and replaced, twice: no name, no provider
//! and no row is lost, and what is published is found at once by somebody who has just come.

use std::time::{Duration, Instant};

use interop_tests::kubo::Kubo;
use interop_tests::netns::{Cloud, Namespace};
use interop_tests::workspace::dataset::{Published, table};
use interop_tests::{Failure, Node, Outcome, Workspace};

/// Nodes of odfs at any time.
const NODES: usize = 20;
/// Of these, the first ones publish; the very first is also whom everybody knows.
const PUBLISHERS: usize = 5;
/// The key types of the nodes of Kubo.
const KEYS: [&str; 3] = ["ed25519", "rsa", "secp256k1"];
/// How many of odfs are killed and replaced at a time: with one of Kubo's, a third of all.
const KILLED: usize = 7;
/// How often. All that do not publish are others then.
const ROUNDS: usize = 2;
/// Within what a newcomer has what was just published, from its own start on. On an idle machine 2 s are promised.
const FOUND: Duration = Duration::from_secs(5);
/// Servers of the DHT that each node knows once the network has come together. As the closest peers of a name are twenty, all but
/// three hold its record.
const MET: usize = NODES;
/// How long the network may take to come together.
const JOINED: Duration = Duration::from_secs(60);

struct Member<'a> {
    machine: &'a Namespace,
    workspace: Workspace,
    node: Node,
}

impl<'a> Member<'a> {
    fn start(machine: &'a Namespace, bootstrap: &[String], args: &[&str]) -> Outcome<Self> {
        let workspace = workspace(machine, bootstrap)?;
        let node = workspace.node_with(args)?;
        Ok(Self {
            machine,
            workspace,
            node,
        })
    }

    fn address(&self) -> String {
        format!("/ip4/{}/tcp/4001/p2p/{}", self.machine.address, self.node.peer_id)
    }

    /// How many servers of the public DHT it knows.
    fn known(&self) -> Outcome<usize> {
        let figures = self.machine.get(&format!("{}/metrics", self.node.gateway))?;
        let line = "odfs_dht_peers{network=\"wan\"} ";
        let known = figures.lines().find_map(|found| found.strip_prefix(line));
        let known = known.and_then(|known| known.parse::<f64>().ok());
        Ok(known.ok_or_else(|| Failure::new(format!("no {line}in:\n{figures}")))? as usize)
    }

    /// Dies without a word, and another one comes in its place.
    fn replaced(self, bootstrap: &[String]) -> Outcome<Self> {
        self.node.process.kill()?;
        Self::start(self.machine, bootstrap, &[])
    }
}

fn workspace(machine: &Namespace, bootstrap: &[String]) -> Outcome<Workspace> {
    let workspace = Workspace::in_namespace(machine.name())?;
    workspace.configure(&format!(
        "[network]\nlisten = [\"/ip4/0.0.0.0/tcp/4001\", \"/ip4/0.0.0.0/udp/4001/quic-v1\"]\nbootstrap = {bootstrap:?}\nmdns = false\n\n\
         [gateway]\nlisten = \"127.0.0.1:0\"\n"
    ))?;
    Ok(workspace)
}

fn kubo(machine: &Namespace, key: &str, bootstrap: &[String]) -> Outcome<Option<Kubo>> {
    let Some(mut kubo) = Kubo::init_as(key, &[])? else {
        return Ok(None);
    };
    let bootstrap: Vec<&str> = bootstrap.iter().map(String::as_str).collect();
    kubo.move_to(machine.name(), &bootstrap)?;
    kubo.start()?;
    Ok(Some(kubo))
}

/// Publishes at one member a table of so many rows.
fn publish(member: &Member<'_>, name: &str, rows: u64) -> Outcome<Published> {
    let file = member.workspace.write("t.csv", table(rows))?.display().to_string();
    member.workspace.publish(&[&file, "--name", name])
}

/// Pulls as somebody who has just come and knows one address, and says how long that took.
fn pull(machine: &Namespace, known: &[String], published: &Published, rows: u64) -> Outcome<Duration> {
    let newcomer = workspace(machine, known)?;
    let begun = Instant::now();
    newcomer.odfs(["pull", &published.name, "--as", "t"])?;
    let took = begun.elapsed();
    assert_eq!(newcomer.dataset("t")?.records, rows);
    Ok(took)
}

/// What Kubo's nodes say of a name and of who has its root, as soon as it is what it should be.
fn found_by(kubo: &Kubo, published: &Published, owner: &Member<'_>) -> Outcome {
    let resolved = kubo.ok(["name", "resolve", "--nocache", &published.name])?;
    assert_eq!(resolved, format!("/ipfs/{}", published.root));
    let providers = kubo.ok(["routing", "findprovs", "-n", "5", &published.root])?;
    assert!(
        providers.contains(&owner.node.peer_id),
        "{} is not among those who have {}: {providers}",
        owner.node.peer_id,
        published.root
    );
    Ok(())
}

/// Waits until every node serves the DHT, that is, until each has been reached from outside and all have heard of it.
fn joined(members: &[Member<'_>]) -> Outcome {
    let deadline = Instant::now() + JOINED;
    loop {
        let known = members.iter().map(Member::known).collect::<Result<Vec<_>, _>>()?;
        if known.iter().all(|known| *known >= MET) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::new(format!("the nodes know only so many others: {known:?}")));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
#[ignore = "takes minutes"]
fn a_third_of_a_network_is_replaced_again_and_again_and_nothing_is_lost() -> Outcome {
    let Some(cloud) = Cloud::lay((NODES + KEYS.len() + 1 + ROUNDS) as u8)? else {
        return Ok(());
    };
    let (homes, rest) = cloud.machines().split_at(NODES);
    let (of_kubo, newcomers) = rest.split_at(KEYS.len());
    let [newcomer, visitors @ ..] = newcomers else {
        return Err(Failure::new("there is no machine for newcomers"));
    };

    let first = Member::start(&homes[0], &[], &["--public"])?;
    let known = vec![first.address()];
    let mut members = vec![first];
    for machine in &homes[1..] {
        members.push(Member::start(machine, &known, &[])?);
    }
    let mut kubos = Vec::new();
    for (machine, key) in of_kubo.iter().zip(KEYS) {
        let Some(kubo) = kubo(machine, key, &known)? else {
            return Ok(());
        };
        kubos.push(kubo);
    }
    joined(&members)?;

    let mut published = Vec::new();
    for (number, member) in members.iter().enumerate().take(PUBLISHERS) {
        let one = publish(member, &format!("t{number}"), 10)?;
        let took = pull(newcomer, &known, &one, 10)?;
        println!("pulled by a newcomer in {took:?}");
        assert!(took < FOUND, "{took:?}");
        published.push(one);
    }
    // Kubo's own, which it announces itself.
    std::fs::write(kubos[1].path().join("file"), "from Kubo")?;
    let file = kubos[1].add(&kubos[1].path().join("file"), &["--cid-version=1"])?;
    kubos[1].ok(["routing", "provide", &file])?;
    kubos[1].ok(["name", "publish", &format!("/ipfs/{file}")])?;
    let kubos_name = kubos[1].peer_id()?;

    // Kubo lets only sixteen connections from one address in at once, and one in five seconds from then on: who is to be served by
    // one is on a machine of their own.
    for (round, visitor) in visitors.iter().enumerate() {
        let begin = PUBLISHERS + round * KILLED;
        let rest = members.split_off(begin.min(NODES - KILLED));
        let (killed, kept) = rest
            .into_iter()
            .enumerate()
            .partition::<Vec<_>, _>(|(at, _)| *at < KILLED);
        for (_, member) in killed {
            members.push(member.replaced(&known)?);
        }
        members.extend(kept.into_iter().map(|(_, member)| member));
        // One of Kubo's, with another key of the same type.
        let victim = if round % 2 == 0 { 0 } else { 2 };
        kubos[victim].kill()?;
        if let Some(other) = kubo(&of_kubo[victim], KEYS[victim], &known)? {
            kubos[victim] = other;
        }

        for (at, one) in published.iter_mut().enumerate() {
            let rows = 10 + 10 * round as u64;
            let took = pull(newcomer, &known, one, rows)?;
            println!("round {round}: pulled by a newcomer in {took:?}");
            assert!(took < FOUND, "{took:?}");
            for kubo in &kubos {
                found_by(kubo, one, &members[at])?;
            }
            *one = publish(&members[at], &format!("t{at}"), rows + 10)?;
        }
        let visitor = workspace(visitor, &known)?;
        let read = visitor.odfs(["ipfs", "cat", &format!("/ipns/{kubos_name}")])?;
        assert_eq!(read.text(), "from Kubo");
    }
    Ok(())
}
