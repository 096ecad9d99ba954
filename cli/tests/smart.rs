//! Datasets exchanged between two odfs by the smart transfer protocol, and what a node shows to web clients.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use odf::codec::EncodedBlock;
use odf::metadata::{DatasetId, DatasetKind, MetadataBlock, MetadataEvent, Seed, SetInfo};
use rustix::process::Signal;
use serde_json::Value;

use crate::sandbox::{Outcome, PATIENCE, Running, Sandbox};

/// A workspace that is served, and a token for it.
pub(crate) struct Node {
    sandbox: Sandbox,
    running: Running,
    /// `odf+http://HOST:PORT/`.
    url: String,
    pub(crate) token: String,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::of(Sandbox::new())
    }

    /// As [`Self::new`], with a name beside its addresses.
    pub(crate) fn known_as(host: &str) -> Self {
        let sandbox = Sandbox::new();
        sandbox.run(&["config", "set", "gateway.hosts", host]).ok();
        Self::of(sandbox)
    }

    fn of(sandbox: Sandbox) -> Self {
        let token = sandbox
            .run(&["repo", "token", "add", "tests", "--can", "pull,push,create,rewrite"])
            .ok()
            .trim_end()
            .to_owned();
        let (running, url) = serve(&sandbox, "127.0.0.1:0");
        Self {
            sandbox,
            running,
            url,
            token,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        let port = self.url.trim_end_matches('/').rsplit(':').next();
        port.unwrap().parse().unwrap()
    }

    /// A workspace that knows this one as `there`.
    fn client(&self) -> Sandbox {
        let client = Sandbox::new();
        client
            .run(&["repo", "add", "there", &self.url, "--token", &self.token])
            .ok();
        client
    }

    fn head(&self, name: &str) -> Option<String> {
        let rows = json(self.sandbox.run(&["list", "--wide"]));
        let row = rows.as_array().unwrap().iter().find(|row| row["Name"] == name)?;
        Some(row["Head"].as_str().unwrap().to_owned())
    }
}

/// Starts a node that listens on `address`; the address of its repository.
fn serve(sandbox: &Sandbox, address: &str) -> (Running, String) {
    let setting = format!("gateway.listen={address}");
    let mut running = sandbox.start_with_setting(&["node"], &setting);
    let mut lines = BufReader::new(running.stdout()).lines();
    let url = lines
        .find_map(|line| line.unwrap().strip_prefix("Repository: ").map(str::to_owned))
        .unwrap();
    (running, url)
}

fn json(outcome: Outcome) -> Value {
    serde_json::from_str(&outcome.ok()).unwrap()
}

fn table(rows: u32) -> String {
    let rows: String = (0..rows).map(|row| format!("{row},word {row}\n")).collect();
    format!("id,word\n{rows}")
}

/// Takes so many rows into the dataset `t`.
fn take(sandbox: &Sandbox, rows: u32) {
    sandbox.file("t.csv", table(rows));
    sandbox.run(&["publish", "t.csv", "--exit"]).ok();
}

fn head(sandbox: &Sandbox) -> String {
    json(sandbox.run(&["list", "--wide"]))[0]["Head"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn rows(sandbox: &Sandbox) -> usize {
    json(sandbox.run(&["tail", "t", "-n", "1000"]))
        .as_array()
        .unwrap()
        .len()
}

#[test]
fn a_dataset_goes_there_and_comes_back_as_it_grows() {
    let node = Node::new();
    let writer = node.client();
    take(&writer, 5);
    let told = writer.run(&["push", "t", "--to", "there"]).ok();
    let first = head(&writer);
    assert_eq!(told, format!("Pushed t to {}t/: {first} (4 block(s))\n", node.url));
    assert_eq!(node.head("t"), Some(first));
    // The place is remembered, and nothing is sent twice.
    assert_eq!(
        writer.run(&["push", "t"]).ok(),
        format!("{}t/ is up to date with t\n", node.url)
    );

    let reader = Sandbox::new();
    let address = format!("{}t", node.url);
    // What was only pushed there is not everybody's.
    for address in [address.clone(), address.replacen("odf+", "", 1)] {
        let error = reader.run(&["pull", &address]).failed(3);
        assert!(error.contains("--token"), "{error}");
    }
    node.sandbox.run(&["share", "t"]).ok();
    let told = reader.run(&["pull", &address]).ok();
    assert_eq!(told, format!("Pulled t at {} (4 block(s))\n", head(&writer)));
    assert_eq!(reader.run(&["pull", "t"]).ok(), "t is up to date\n");
    take(&writer, 8);
    assert!(writer.run(&["push", "t"]).ok().ends_with("(1 block(s))\n"));
    let told = reader.run(&["pull", "t"]).ok();
    assert_eq!(told, format!("t: updated to {} (1 block(s))\n", head(&writer)));
    assert_eq!((rows(&reader), rows(&node.sandbox)), (8, 8));

    // The same by the simple protocol, and below an account.
    for address in [address.replacen("odf+", "", 1), format!("{}anybody/t", node.url)] {
        let other = Sandbox::new();
        other.run(&["pull", &address]).ok();
        assert_eq!(head(&other), head(&writer));
        other.run(&["verify", "%"]).ok();
    }
    reader.run(&["verify", "%"]).ok();
    node.sandbox.run(&["verify", "%"]).ok();
}

#[test]
fn heads_are_compared_both_ways() {
    let node = Node::new();
    let [writer, other] = [node.client(), node.client()];
    take(&writer, 5);
    writer.run(&["push", "t", "--to", "there"]).ok();
    other.run(&["pull", "there/t", "--no-alias"]).ok();
    // Behind: the node has more than the other.
    let old = head(&writer);
    take(&writer, 8);
    writer.run(&["push", "t"]).ok();
    let new = head(&writer);
    let error = other.run(&["push", "t", "--to", "there"]).failed(7);
    assert!(
        error.contains("is ahead by 1 block(s)") && error.contains(&old) && error.contains(&new),
        "{error}"
    );
    // Diverged: the other goes its own way.
    writer.run(&["key", "export", "t", "-o", "t.key"]).ok();
    let key = writer.path().join("t.key");
    other.run(&["key", "import", "t", key.to_str().unwrap()]).ok();
    other.file("t.csv", table(7));
    other
        .run(&["publish", "t.csv", "--name", "t", "--exit", "--append-all"])
        .ok();
    let mine = head(&other);
    for error in [
        other.run(&["push", "t", "--to", "there"]).failed(7),
        other.run(&["pull", "there/t"]).failed(7),
    ] {
        assert!(error.contains("diverged after 4 common block(s)"), "{error}");
        assert!(
            error.contains(&mine) && error.contains(&new) && error.contains("--force"),
            "{error}"
        );
    }
    assert_eq!(node.head("t"), Some(new.clone()));
    // Force decides, one way and the other.
    let outcome = other.run(&["pull", "there/t", "--force", "--yes"]);
    assert!(outcome.err.contains("dropped"), "{}", outcome.err);
    outcome.ok();
    assert_eq!(head(&other), new);
    other.file("t.csv", table(9));
    // The name still stands for the blocks that were dropped.
    other
        .run(&["publish", "t.csv", "--name", "t", "--exit", "--force"])
        .ok();
    let ahead = other.run(&["pull", "there/t"]).ok();
    assert!(
        ahead.starts_with("t is up to date; it is 1 block(s) ahead of the remote head"),
        "{ahead}"
    );
    take(&writer, 12);
    other.run(&["push", "t", "--to", "there"]).ok();
    writer.run(&["push", "t"]).failed(7);
    writer.run(&["push", "t", "--force"]).ok();
    assert_eq!(node.head("t"), Some(head(&writer)));
    assert_eq!(rows(&node.sandbox), 12);
    for sandbox in [&node.sandbox, &writer, &other] {
        sandbox.run(&["verify", "%"]).ok();
    }
    // A chain that another one replaced is replaced where it was pulled, too.
    other.run(&["pull", "there/t"]).failed(7);
    other.run(&["pull", "there/t", "--force", "--yes"]).ok();
    assert_eq!(head(&other), head(&writer));
}

#[test]
fn nobody_pushes_without_a_token_that_counts() {
    let node = Node::new();
    let stranger = Sandbox::new();
    take(&stranger, 3);
    let address = format!("{}t", node.url);
    let error = stranger.run(&["push", "t", "--to", &address]).failed(16);
    assert!(error.contains("401") && error.contains("--token"), "{error}");
    stranger
        .run(&["repo", "add", "wrong", &node.url, "--token", "odfs_guessed"])
        .ok();
    stranger.run(&["push", "t", "--to", "wrong"]).failed(16);
    stranger.run(&["--yes", "repo", "delete", "wrong"]).ok();
    assert_eq!(node.head("t"), None);

    let token = node.sandbox.run(&["repo", "token", "add", "ann"]).ok();
    stranger
        .run_with_input(&["repo", "add", "there", &node.url, "--token", "-"], token.as_bytes())
        .ok();
    stranger.run(&["push", "t", "--to", "there"]).ok();
    let listed = json(node.sandbox.run(&["repo", "token", "list"]));
    let labels: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["Label"].as_str().unwrap())
        .collect();
    assert_eq!(labels, ["tests", "ann"]);
    node.sandbox.run(&["repo", "token", "add", "ann"]).failed(7);
    node.sandbox.run(&["repo", "token", "delete", "ann"]).ok();
    node.sandbox.run(&["repo", "token", "delete", "ann"]).failed(3);
    take(&stranger, 4);
    stranger.run(&["push", "t"]).failed(16);
    // Reading needs none where it is shared.
    node.sandbox.run(&["share", "t"]).ok();
    let reader = Sandbox::new();
    reader.run(&["pull", &address]).ok();
    assert_eq!(rows(&reader), 3);
}

#[test]
fn a_name_is_not_taken_from_another_dataset() {
    let node = Node::new();
    let [ann, bob] = [node.client(), node.client()];
    take(&ann, 3);
    take(&bob, 4);
    ann.run(&["push", "t", "--to", "there"]).ok();
    for force in [&[][..], &["--force"]] {
        let error = bob.run(&[&["push", "t", "--to", "there"], force].concat()).failed(7);
        assert!(error.contains("dataset") && error.contains("Next: "), "{error}");
    }
    let error = ann.run(&["push", "t", "--to", "there/other"]).failed(7);
    assert!(error.contains("already, under another name"), "{error}");
    let error = bob.run(&["push", "t", "--to", "there/info"]).failed(7);
    assert!(error.contains("no dataset can be called info"), "{error}");
    bob.run(&["push", "t", "--to", "there/bobs"]).ok();
    assert_eq!(rows(&node.sandbox), 3);
    bob.run(&["pull", "there/nothing"]).failed(3);
}

#[test]
fn a_long_chain_goes_in_one_piece() {
    const BLOCKS: u64 = 1000;
    let node = Node::new();
    let client = node.client();
    let dir = client.path().join("long");
    for part in ["refs", "blocks", "data", "checkpoints"] {
        fs::create_dir_all(dir.join(part)).unwrap();
    }
    let mut last: Option<EncodedBlock> = None;
    for sequence_number in 0..BLOCKS {
        let event = match sequence_number {
            0 => MetadataEvent::Seed(Seed {
                dataset_id: DatasetId::from_public_key([9; 32]),
                dataset_kind: DatasetKind::Root,
            }),
            _ => MetadataEvent::SetInfo(SetInfo {
                description: Some(format!("version {sequence_number}")),
                keywords: None,
            }),
        };
        let block = EncodedBlock::encode(MetadataBlock {
            system_time: "2026-01-02T03:04:05Z".parse().unwrap(),
            prev_block_hash: last.map(|last| *last.hash()),
            sequence_number,
            event,
        })
        .unwrap();
        fs::write(dir.join("blocks").join(block.hash().to_string()), block.bytes()).unwrap();
        last = Some(block);
    }
    fs::write(dir.join("refs/head"), last.unwrap().hash().to_string()).unwrap();
    client
        .run(&["pull", &format!("file://{}", dir.display()), "--as", "long"])
        .ok();
    let told = client.run(&["push", "long", "--to", "there"]).ok();
    assert!(told.ends_with("(1000 block(s))\n"), "{told}");
    node.sandbox.run(&["share", "long"]).ok();
    let reader = Sandbox::new();
    let told = reader.run(&["pull", &format!("{}long", node.url)]).ok();
    assert!(told.ends_with("(1000 block(s))\n"), "{told}");
    // One by one as well.
    let other = Sandbox::new();
    let plain = node.url.replacen("odf+", "", 1);
    let told = other.run(&["pull", &format!("{plain}long")]).ok();
    assert!(told.ends_with("(1000 block(s))\n"), "{told}");
    reader.run(&["verify", "%"]).ok();
}

/// A table whose slice takes a while to send.
fn heavy(rows: u32) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let rows: String = (0..rows)
        .map(|row| format!("{row},{:016x}{:016x}{:016x}\n", noise(), noise(), noise()))
        .collect();
    format!("id,noise\n{rows}")
}

/// Pushes until it works: that a push was abandoned is noticed in its own time.
#[track_caller]
fn push_at_last(client: &Sandbox, to: &str) {
    let since = Instant::now();
    loop {
        let outcome = client.run(&["push", "t", "--to", to, "--no-alias"]);
        if outcome.code == Some(0) {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{}", outcome.err);
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_death_half_way_loses_nothing() {
    let node = Node::new();
    let client = node.client();
    client.file("t.csv", heavy(100_000));
    client.run(&["publish", "t.csv", "--exit"]).ok();
    let Node {
        sandbox,
        mut running,
        url,
        ..
    } = node;
    let address = url.trim_start_matches("odf+http://").trim_end_matches('/').to_owned();
    // Each side dies at several moments of a push; then it is done again.
    for (round, delay) in [10, 40, 80, 150].into_iter().enumerate() {
        for victim_is_client in [true, false] {
            let name = format!("there/t{round}{}", if victim_is_client { "c" } else { "s" });
            let mut push = client.start(&["push", "t", "--to", &name, "--no-alias"]);
            std::thread::sleep(Duration::from_millis(delay));
            if victim_is_client {
                push.signal(Signal::KILL);
                let _ = push.wait();
            } else {
                running.signal(Signal::KILL);
                let _ = push.end();
                let _ = running.wait();
                (running, _) = serve(&sandbox, &address);
            }
            let there = json(sandbox.run(&["list"]));
            if there.as_array().unwrap().is_empty() {
                push_at_last(&client, &name);
            }
            sandbox.run(&["verify", "%"]).ok();
            let names = json(sandbox.run(&["list"]));
            let name = names[0]["Name"].as_str().unwrap().to_owned();
            sandbox.run(&["--yes", "delete", &name]).ok();
        }
    }
    // And of a pull.
    push_at_last(&client, "there/t");
    sandbox.run(&["share", "t"]).ok();
    let reader = Sandbox::new();
    for delay in [10, 40, 80] {
        let mut pull = reader.start(&["pull", &format!("{url}t")]);
        std::thread::sleep(Duration::from_millis(delay));
        pull.signal(Signal::KILL);
        let _ = pull.wait();
    }
    let pull = reader.start(&["pull", &format!("{url}t")]);
    std::thread::sleep(Duration::from_millis(60));
    running.signal(Signal::KILL);
    let _ = running.wait();
    let outcome = pull.wait();
    assert!(matches!(outcome.code, Some(0 | 9)), "{outcome:?}");
    let (_running, _) = serve(&sandbox, &address);
    reader.run(&["pull", &format!("{url}t")]).ok();
    reader.run(&["verify", "%"]).ok();
    assert_eq!(head(&reader), head(&client));
}
