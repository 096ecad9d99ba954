//! Pulls over HTTP alone: through gateways of odfs and of Kubo, through false and silent ones, and with every other port closed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use interop_tests::netns::Wire;
use interop_tests::workspace::dataset::{same_dataset, table};
use interop_tests::{Kubo, Outcome, Workspace, http};

/// How long two connected peers may take to have each other in their DHTs.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_dataset_comes_through_a_firewall_that_knows_of_web_sites_alone() -> Outcome {
    let Some(wire) = Wire::lay()? else { return Ok(()) };
    let here = Workspace::in_namespace(wire.left().name())?;
    let there = Workspace::in_namespace(wire.right().name())?;
    here.configure("[gateway]\nlisten = \"0.0.0.0:8080\"\n")?;
    let file = here.write("t.csv", table(1_500))?.display().to_string();
    let published = here.publish(&[&file, "--name", "t"])?;
    let node = here.node()?;
    wire.right().let_out_only(8080)?;
    let name = format!("ipns://{}", published.name);
    let gateway = format!("http://{}:8080", wire.left().address);

    let unreached = there.refused(["pull", &name, "--as", "t", "--peer", &node.address])?;
    assert_eq!(unreached.code(), Some(9), "{}", unreached.stderr);
    there.odfs(["pull", &name, "--as", "t", "--gateway", &gateway])?;
    same_dataset((&here, "t"), (&there, "t"))?;

    // What is new comes by the name alone, where the gateway is set.
    here.write("t.csv", table(1_600))?;
    here.publish(&[&file, "--name", "t"])?;
    there.odfs(["config", "set", "network.gateways", &gateway])?;
    there.odfs(["pull", "t"])?;
    same_dataset((&here, "t"), (&there, "t"))?;
    let again = there.odfs(["pull", "t"])?;
    assert!(again.text().contains("t is up to date"), "{}", again.text());
    Ok(())
}

#[test]
fn a_dataset_comes_through_a_gateway_of_kubo() -> Outcome {
    let Some(kubo) = Kubo::daemon()? else { return Ok(()) };
    let here = Workspace::new()?;
    let node = here.node()?;
    kubo.connect(&node.address)?;
    kubo.wait_for_dht_peer(&node.peer_id, SOON)?;
    let published = here.publish_often("t", 12)?;
    // It has all of it then, and the record.
    kubo.ok(["pin", "add", &published.root])?;
    kubo.ok(["name", "resolve", "--nocache", &published.name])?;

    let there = Workspace::new()?;
    let name = format!("ipns://{}", published.name);
    there.odfs(["pull", &name, "--as", "t", "--gateway", &kubo.gateway()?])?;
    same_dataset((&here, "t"), (&there, "t"))?;
    let root = format!("ipfs://{}", published.root);
    let third = Workspace::new()?;
    third.odfs(["pull", &root, "--as", "t", "--gateway", &kubo.gateway()?])?;
    same_dataset((&here, "t"), (&third, "t"))
}

#[test]
fn false_and_silent_gateways_are_found_out_and_an_honest_one_stands_in() -> Outcome {
    let here = Workspace::new()?;
    let published = here.publish_often("t", 30)?;
    let node = here.node()?;
    let name = format!("ipns://{}", published.name);
    let (liar, asked) = liar(node.gateway.clone(), 20)?;
    // Connections are taken by the system, and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let silent = format!("http://{}", silent.local_addr()?);

    let there = Workspace::new()?;
    let args = [
        "pull",
        &name,
        "--as",
        "t",
        "--gateway",
        &liar,
        "--gateway",
        &silent,
        "--gateway",
        &node.gateway,
    ];
    let pulled = there.odfs(args)?;
    same_dataset((&here, "t"), (&there, "t"))?;
    there.odfs(["verify", "t"])?;
    assert!(asked.load(Ordering::Relaxed) >= 20, "the liar was hardly asked");
    assert!(pulled.stderr.contains("gave another block"), "{}", pulled.stderr);

    // A peer stands in for a gateway that never answers, and is then asked first.
    let beside = Workspace::new()?;
    let args = [
        "pull",
        &name,
        "--as",
        "t",
        "--gateway",
        &silent,
        "--peer",
        &node.address,
    ];
    let pulled = beside.odfs(args)?;
    assert!(pulled.took < SOON, "{:?}", pulled.took);
    same_dataset((&here, "t"), (&beside, "t"))?;

    // The liar alone is no way to a dataset, and nothing of it is believed.
    let alone = Workspace::new()?;
    let refused = alone.refused(["pull", &name, "--as", "t", "--gateway", &liar])?;
    assert!(refused.stderr.contains("gave another block"), "{}", refused.stderr);
    // Nor is what it gives as a record.
    let (forger, _) = self::liar(node.gateway.clone(), 1)?;
    let other = Workspace::new()?;
    let forged = other.refused(["pull", &name, "--as", "t", "--gateway", &forger])?;
    assert_eq!(forged.code(), Some(11), "{}", forged.stderr);
    let wrong = alone.refused(["pull", &name, "--as", "t", "--gateway", "ftp://127.0.0.1"])?;
    assert_eq!(wrong.code(), Some(2), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("https://gateway.example"), "{}", wrong.stderr);
    Ok(())
}

/// A gateway that passes requests for blocks on to another, and gives one bit otherwise in one of so many answers; in all, records
/// too, if that is one. Tells how many blocks it was asked for.
fn liar(behind: String, every: usize) -> Outcome<(String, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (behind, counter) = (behind.clone(), counter.clone());
            std::thread::spawn(move || pass_on(&stream, &behind, every, &counter));
        }
    });
    Ok((url, asked))
}

fn pass_on(mut stream: &TcpStream, behind: &str, every: usize, counter: &AtomicUsize) -> Outcome {
    let mut head = BufReader::new(stream.take(64 << 10));
    loop {
        let mut line = String::new();
        head.read_line(&mut line)?;
        let Some(path) = line.split(' ').nth(1).map(str::to_owned) else {
            return Ok(());
        };
        while line.trim_end() != "" {
            line.clear();
            head.read_line(&mut line)?;
        }
        let mut answer = http::get(&format!("{behind}{path}"), &[])?;
        let is_block = path.starts_with("/ipfs/");
        let is_due = is_block && counter.fetch_add(1, Ordering::Relaxed) % every == every - 1;
        if is_due || every == 1 {
            // Of a record, the last byte is of what is signed.
            answer.body.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1);
        }
        let head = format!(
            "HTTP/1.1 {} x\r\nContent-Length: {}\r\n\r\n",
            answer.status,
            answer.body.len()
        );
        stream.write_all(&[head.as_bytes(), &answer.body].concat())?;
    }
}
