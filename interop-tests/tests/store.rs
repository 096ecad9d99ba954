//! The store of a workspace: within its limit whatever is asked of it, checked, healed from others, and made again from its files.

use interop_tests::workspace::dataset::{same_dataset, table};
use interop_tests::workspace::{LIMIT, Node};
use interop_tests::{Failure, Outcome, Workspace, content, http};
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What the store may hold.
const MAX: u64 = 16 << 20;
/// What its files may take beyond that: what is written between two looks, and the copy of a pack that is half dead.
const SLACK: u64 = 2 << 20;
/// A file that strangers ask for.
const FILE: u64 = 1 << 20;
/// Ten times the limit.
const FILES: u64 = 160;
/// Exit code for bytes that are not what their hash says.
const INTEGRITY: i32 = 10;
/// Exit code of a workspace that is in use.
const BUSY: i32 = 15;

/// A workspace that has the files and a dataset, and the node on it.
fn source(files: u64) -> Outcome<(Workspace, Node, Vec<String>)> {
    let source = Workspace::new()?;
    source.write("t.csv", table(3000))?;
    let mut cids = Vec::new();
    for seed in 0..files {
        let name = format!("{seed}.bin");
        source.write(&name, content::bytes(FILE as usize, seed))?;
        cids.push(source.odfs(["ipfs", "add", "-Q", "--cid-version=1", &name])?.text());
        fs::remove_file(source.path().join(&name))?;
    }
    let node = source.node()?;
    Ok((source, node, cids))
}

/// Bytes of disk of the packs and the index.
fn held(workspace: &Workspace) -> Outcome<u64> {
    fn below(dir: &Path) -> u64 {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let size = |path: PathBuf| match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => below(&path),
            // What is held back for a full disk is nobody's.
            Ok(found) if !path.ends_with("reserve") => found.blocks() * 512,
            _ => 0,
        };
        entries.map(|entry| size(entry.path())).sum()
    }
    Ok(below(&workspace.store().join("packs")) + below(&workspace.store().join("store")))
}

/// Waits until the node has made room.
fn room_is_made(workspace: &Workspace) -> Outcome<serde_json::Value> {
    let begun = Instant::now();
    loop {
        let stat = workspace.odfs(["repo", "stat", "--output", "json"])?.json()?;
        if stat["heldBytes"].as_u64().is_some_and(|held| held < MAX / 10 * 9) {
            return Ok(stat);
        }
        if begun.elapsed() > LIMIT {
            return Err(Failure::new(format!("no room is made: {stat}")));
        }
    }
}

fn limited(workspace: &Workspace) -> Outcome {
    workspace.odfs(["config", "set", "store.max", "16MiB"]).map(drop)
}

#[test]
fn a_node_stays_within_its_limit_and_loses_nothing_that_is_kept() -> Outcome {
    let (source, origin, cids) = source(FILES)?;
    let published = source.publish(&["t.csv", "--name", "t"])?;
    let other = source.publish(&["t.csv", "--name", "u", "--new"]).or_else(|_| {
        source.write("u.csv", table(2000))?;
        source.publish(&["u.csv", "--name", "u"])
    })?;
    let workspace = Workspace::new()?;
    limited(&workspace)?;
    let node = workspace.node_with(&["--peer", &origin.address])?;
    workspace.odfs(["pull", &format!("ipns://{}", published.name), "--as", "t"])?;
    workspace.odfs(["pin", "add", &cids[0]])?;
    let mut gone = 0;
    for (n, cid) in cids.iter().enumerate().skip(1) {
        // Half of them go through the gateway, half through a command that keeps what it shows.
        let body = match n % 2 {
            0 => http::get(&format!("{}/ipfs/{cid}", node.gateway), &[])?.body,
            _ => workspace.odfs(["ipfs", "cat", cid])?.stdout,
        };
        assert!(body == content::bytes(FILE as usize, n as u64), "{n}");
        let held = held(&workspace)?;
        assert!(held <= MAX + SLACK, "{n}: {held}");
        if n == 40 {
            // While strangers ask.
            workspace.odfs(["pull", &format!("ipns://{}", other.name), "--as", "u"])?;
        }
        if n % 10 == 0 {
            room_is_made(&workspace)?;
        }
        gone = n;
    }
    assert_eq!(gone as u64, FILES - 1);
    let stat = room_is_made(&workspace)?;
    assert_eq!(stat["maxBytes"], MAX, "{stat}");
    assert!(
        stat["passingBytes"].as_u64().is_some_and(|bytes| bytes > FILE),
        "{stat}"
    );
    assert!(stat["nextToGo"].is_string(), "{stat}");
    workspace.odfs(["repo", "verify"])?;
    same_dataset((&source, "t"), (&workspace, "t"))?;
    same_dataset((&source, "u"), (&workspace, "u"))?;
    drop(origin);
    let kept = workspace.odfs(["ipfs", "--offline", "cat", &cids[0]])?.stdout;
    assert!(kept == content::bytes(FILE as usize, 0));
    let first = workspace.run(["ipfs", "--offline", "cat", &cids[1]])?;
    assert!(!first.succeeded(), "what was used least lately has gone");
    node.stop().map(drop)
}

#[test]
fn a_node_that_is_killed_while_it_makes_room_loses_nothing_that_is_kept() -> Outcome {
    let (source, origin, cids) = source(30)?;
    let published = source.publish(&["t.csv", "--name", "t"])?;
    let workspace = Workspace::new()?;
    limited(&workspace)?;
    workspace.odfs([
        "pull",
        &format!("ipns://{}", published.name),
        "--as",
        "t",
        "--peer",
        &origin.address,
    ])?;
    workspace.odfs(["pin", "add", &cids[0]]).or_else(|_| {
        let node = workspace.node_with(&["--peer", &origin.address])?;
        let added = workspace.odfs(["pin", "add", &cids[0]])?;
        node.stop()?;
        Ok::<_, Failure>(added)
    })?;
    for round in 0..6 {
        let node = workspace.node_with(&["--peer", &origin.address])?;
        // Near the limit the node makes room by itself within a second: it is killed at different moments of that.
        for cid in &cids[1..18 + round] {
            workspace.odfs(["ipfs", "cat", cid])?;
        }
        node.process.kill()?;
        assert!(held(&workspace)? <= MAX + SLACK, "{round}");
        workspace.odfs(["repo", "verify"])?;
        same_dataset((&source, "t"), (&workspace, "t"))?;
        let kept = workspace.odfs(["ipfs", "--offline", "cat", &cids[0]])?.stdout;
        assert!(kept == content::bytes(FILE as usize, 0), "{round}");
    }
    Ok(())
}

#[test]
fn a_store_that_is_full_of_what_is_kept_refuses_in_words() -> Outcome {
    let workspace = Workspace::new()?;
    limited(&workspace)?;
    let mut refused = None;
    for seed in 0..20 {
        let name = workspace.write("f.bin", content::bytes(FILE as usize, seed))?;
        let finished = workspace.run(["ipfs", "add", "-Q", "--cid-version=1", &name.display().to_string()])?;
        if !finished.succeeded() {
            refused = Some((seed, finished));
            break;
        }
    }
    let Some((seed, finished)) = refused else {
        return Err(Failure::new("more is kept than may be"));
    };
    assert!(seed >= 10, "{seed}: {finished:?}");
    assert!(
        finished.stderr.contains("store.max") && finished.stderr.contains("odfs repo stat"),
        "{finished:?}"
    );
    workspace.odfs(["repo", "verify"])?;
    // A higher limit, and it goes on.
    workspace.odfs(["config", "set", "store.max", "64MiB"])?;
    workspace.write("t.csv", table(100))?;
    workspace.publish(&["t.csv", "--name", "t"]).map(drop)
}

/// Changes one byte in the middle of where `bytes` are in a pack.
fn damage(workspace: &Workspace, bytes: &[u8]) -> Outcome {
    for pack in fs::read_dir(workspace.store().join("packs"))? {
        let path = pack?.path();
        let whole = fs::read(&path)?;
        if let Some(at) = whole.windows(64).position(|window| window == &bytes[..64]) {
            let file = fs::OpenOptions::new().write(true).open(&path)?;
            let at = at + 32;
            return Ok(file.write_all_at(&[!whole[at]], at as u64)?);
        }
    }
    Err(Failure::new("no pack has it"))
}

#[test]
fn a_flipped_byte_is_named_and_healed_from_another_node() -> Outcome {
    let (source, origin, cids) = source(2)?;
    let published = source.publish(&["t.csv", "--name", "t"])?;
    let workspace = Workspace::new()?;
    let node = workspace.node_with(&["--peer", &origin.address])?;
    workspace.odfs(["pull", &format!("ipns://{}", published.name), "--as", "t"])?;
    workspace.odfs(["pin", "add", &cids[1]])?;
    node.stop()?;
    let sound = workspace.odfs(["repo", "verify", "--output", "json"])?.json()?;
    assert_eq!(
        (&sound["damaged"], &sound["missing"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );

    damage(&workspace, &content::bytes(FILE as usize, 1))?;
    let found = workspace.refused(["repo", "verify", "--output", "json"])?;
    assert_eq!(found.code(), Some(INTEGRITY), "{found:?}");
    let found = found.json()?;
    let bad = found["damaged"][0]["cid"].as_str().unwrap_or_default().to_owned();
    assert!(
        bad.starts_with("bafkrei") && found["missing"][0]["cid"] == bad,
        "{found}"
    );

    // Nobody is in reach, and that is said.
    assert!(!workspace.run(["ipfs", "--offline", "cat", &cids[1]])?.succeeded());
    let healed = workspace.odfs([
        "repo",
        "verify",
        "--heal",
        "--peer",
        &origin.address,
        "--output",
        "json",
    ])?;
    let healed = healed.json()?;
    let from = |listed: &serde_json::Value| listed[0]["healedFrom"].as_str().unwrap_or_default().to_owned();
    assert_eq!(from(&healed["missing"]), origin.peer_id, "{healed}");
    workspace.odfs(["repo", "verify"])?;
    let body = workspace.odfs(["ipfs", "--offline", "cat", &cids[1]])?.stdout;
    assert!(body == content::bytes(FILE as usize, 1));

    // A data file of a dataset, by the name of the dataset.
    let id = workspace.dataset("t")?.id;
    let data = workspace
        .store()
        .join("datasets")
        .join(id.trim_start_matches("did:odf:"))
        .join("data");
    let slice = fs::read_dir(data)?.next().ok_or("no data file")??.path();
    let file = fs::OpenOptions::new().read(true).write(true).open(&slice)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, 100)?;
    file.write_all_at(&[!byte[0]], 100)?;
    assert_eq!(workspace.refused(["verify", "t"])?.code(), Some(INTEGRITY));
    workspace.odfs(["verify", "t", "--heal", "--peer", &origin.address])?;
    same_dataset((&source, "t"), (&workspace, "t"))
}

#[test]
fn an_index_that_is_lost_is_made_again_from_the_files() -> Outcome {
    let (source, origin, cids) = source(2)?;
    let published = source.publish(&["t.csv", "--name", "t"])?;
    let workspace = Workspace::new()?;
    workspace.write("own.csv", table(200))?;
    workspace.publish(&["own.csv", "--name", "own"])?;
    let node = workspace.node_with(&["--peer", &origin.address])?;
    workspace.odfs(["pull", &format!("ipns://{}", published.name), "--as", "t"])?;
    workspace.odfs(["pin", "add", &cids[1]])?;
    let refused = workspace.refused(["repo", "rebuild"])?;
    assert_eq!(refused.code(), Some(BUSY), "{refused:?}");
    node.stop()?;
    let figures = |workspace: &Workspace| -> Outcome<Vec<u64>> {
        let stat = workspace.odfs(["repo", "stat", "--output", "json"])?.json()?;
        let names = ["pins", "pinnedBlocks", "pinnedBytes", "files", "fileBytes", "missing"];
        Ok(names.iter().filter_map(|name| stat[*name].as_u64()).collect())
    };
    let (before, pins) = (figures(&workspace)?, workspace.odfs(["pin", "ls"])?.text());
    let is_the_same = |how: &str| -> Outcome {
        assert_eq!(figures(&workspace)?, before, "{how}");
        assert_eq!(workspace.odfs(["pin", "ls"])?.text(), pins, "{how}");
        workspace.odfs(["repo", "verify"])?;
        workspace.odfs(["verify"])?;
        same_dataset((&source, "t"), (&workspace, "t"))?;
        let body = workspace.odfs(["ipfs", "--offline", "cat", &cids[1]])?.stdout;
        assert!(body == content::bytes(FILE as usize, 1), "{how}");
        Ok(())
    };
    fs::remove_dir_all(workspace.store().join("store"))?;
    is_the_same("the index was deleted")?;
    workspace.odfs(["repo", "rebuild"])?;
    is_the_same("the index was made again on request")?;
    for entry in fs::read_dir(workspace.store().join("store"))? {
        let path = entry?.path();
        if path.is_file() && path.metadata()?.len() > 4096 {
            // Torn in the middle.
            let file = fs::OpenOptions::new().write(true).open(&path)?;
            file.write_all_at(&[0x5a; 3000], path.metadata()?.len() / 2)?;
        }
    }
    is_the_same("the index was torn")
}
