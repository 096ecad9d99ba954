//! Transfers over connections that are cut every second, for as long as one likes: nothing is lost, and nothing piles up.
//!
//! In CI some twenty seconds; `ODFS_CUTS_SECONDS=1800` makes half an hour of it.

use interop_tests::peers::{required, skip};
use interop_tests::process::{resident, run};
use interop_tests::workspace::LIMIT;
use interop_tests::{Failure, Node, Outcome, Workspace, content};
use std::fs;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long it goes on if nothing else is said.
const SECONDS: u64 = 20;
/// Time from one cut to the next.
const EVERY: Duration = Duration::from_secs(1);
/// Files of a round, their lengths and the lengths of their blocks.
const FILES: [(u64, u64); 2] = [(192 << 20, 256 << 10), (16 << 20, 4 << 10)];
/// Rounds after which a process has as much open and in memory as it needs.
const WARM: usize = 2;
/// By how many descriptors a process may have more then, as some connections are being made and others end.
const DESCRIPTORS: usize = 24;
/// The same for its memory, in bytes: freed blocks are kept for the next ones.
const MEMORY: u64 = 64 << 20;

fn descriptors(node: &Node) -> Outcome<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", node.process.id()))?.count())
}

fn memory(node: &Node) -> Outcome<u64> {
    Ok(resident(node.process.id(), "VmRSS").ok_or("a node has ended")?)
}

/// Ends every connection over TCP to or from this port of the machine, in the middle of whatever it carries. How many ends.
fn cut(port: &str) -> Outcome<usize> {
    let which = format!("( sport = :{port} or dport = :{port} )");
    let mut kill = Command::new("ss");
    kill.args(["-K", "-H", "-n", "-t", "state", "established", &which]);
    Ok(run(kill, LIMIT)?.success()?.text().lines().count())
}

/// Whether this user of this machine may cut connections.
fn may_cut() -> Outcome<bool> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut wire = TcpStream::connect(address)?;
    let failure = match cut(&address.port().to_string()) {
        Ok(_) if wire.read(&mut [0]).is_err() => return Ok(true),
        Ok(_) => "the kernel does not do it".to_owned(),
        Err(failure) => failure.to_string(),
    };
    if required() {
        return Err(Failure::new(format!(
            "connections cannot be cut with `ss -K` (run as root): {failure}"
        )));
    }
    skip(&format!("connections cannot be cut with `ss -K` here: {failure}"));
    Ok(false)
}

/// A file that is on `from` only to `to`, and whether it is there as it was.
fn moved(from: &Workspace, to: &Workspace, (bytes, chunk): (u64, u64), seed: u64) -> Outcome {
    let file = from.path().join("file");
    content::write(&file, bytes, seed)?;
    let name = file.display().to_string();
    let chunker = format!("--chunker=size-{chunk}");
    let cid = from
        .odfs([
            "ipfs",
            "add",
            "-Q",
            "--cid-version",
            "1",
            "--raw-leaves",
            &chunker,
            &name,
        ])?
        .text();
    run(to.command(["ipfs", "pin", "add", &cid])?, LIMIT)?.success()?;
    let got = to.path().join("got");
    let name = got.display().to_string();
    run(to.command(["ipfs", "get", &cid, "-o", &name])?, LIMIT)?.success()?;
    if fs::read(&got)? != fs::read(&file)? {
        return Err(Failure::new(format!("{cid} is not what it was")));
    }
    fs::remove_file(got)?;
    for workspace in [from, to] {
        workspace.odfs(["ipfs", "pin", "rm", &cid])?;
        workspace.odfs(["ipfs", "repo", "gc"])?;
    }
    Ok(())
}

#[test]
fn a_connection_that_is_cut_every_second_loses_nothing_and_leaves_nothing() -> Outcome {
    if !may_cut()? {
        return Ok(());
    }
    let seconds = std::env::var("ODFS_CUTS_SECONDS").map_or(Ok(SECONDS), |text| text.parse());
    let seconds = Duration::from_secs(seconds.map_err(|_| "ODFS_CUTS_SECONDS is no number")?);
    let (from, to) = (Workspace::new()?, Workspace::new()?);
    let sender = from.node()?;
    // A peer that is named in the settings is dialled again whenever it is lost.
    to.know(&[&sender.address])?;
    let port = sender.address.split('/').nth(4).ok_or("no port")?;
    let receiver = to.node()?;
    let nodes = [&sender, &receiver];

    let (stop, cuts) = (AtomicBool::new(false), AtomicUsize::new(0));
    let began = Instant::now();
    let mut warm = None;
    let mut rounds = 0;
    let mut done = Ok(());
    thread::scope(|scope| -> Outcome {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(EVERY);
                cuts.fetch_add(cut(port).unwrap_or(0).min(1), Ordering::Relaxed);
            }
        });
        while (began.elapsed() < seconds || rounds <= WARM) && done.is_ok() {
            done = FILES
                .into_iter()
                .zip(0..)
                .try_for_each(|(file, at)| moved(&from, &to, file, rounds as u64 * 2 + at));
            rounds += 1;
            if rounds == WARM {
                warm = Some(nodes.map(|node| (descriptors(node), memory(node))));
            }
        }
        stop.store(true, Ordering::Relaxed);
        Ok(())
    })?;
    done?;
    let cuts = cuts.load(Ordering::Relaxed);
    println!("{rounds} rounds, {cuts} cuts in {} s", began.elapsed().as_secs());
    // While it is being made again there is nothing to cut.
    assert!(cuts >= rounds, "{cuts} cuts");
    for (node, (before, memory_before)) in nodes.into_iter().zip(warm.into_iter().flatten()) {
        let (before, memory_before) = (before?, memory_before?);
        let (after, memory_after) = (descriptors(node)?, memory(node)?);
        println!(
            "descriptors {before} and {after}, MiB {} and {}",
            memory_before >> 20,
            memory_after >> 20
        );
        assert!(after <= before + DESCRIPTORS, "{before} descriptors, then {after}");
        assert!(
            memory_after <= memory_before + MEMORY,
            "{memory_before} bytes, then {memory_after}"
        );
    }
    Ok(())
}
