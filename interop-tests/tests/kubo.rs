//! Kubo, both directions: it reads what odfs publishes, odfs pulls what it publishes.

use interop_tests::kubo::KAMU_FLAGS;
use interop_tests::workspace::dataset::{same_dataset, table, tree};
use interop_tests::{Kubo, Outcome, Workspace, content, http};
use std::time::{Duration, Instant};

/// How long two connected peers may take to have each other in their DHTs.
const SOON: Duration = Duration::from_secs(20);
/// Slices that shard a directory twice.
const MANY: u64 = 24;

#[test]
fn kubo_reads_what_odfs_publishes() -> Outcome {
    let Some(kubo) = Kubo::daemon()? else { return Ok(()) };
    let workspace = Workspace::new()?;
    let node = workspace.node()?;
    kubo.connect(&node.address)?;
    kubo.wait_for_dht_peer(&node.peer_id, SOON)?;
    let file = workspace.write("t.csv", table(1_500))?.display().to_string();
    let published = workspace.publish(&[&file, "--name", "t"])?;
    let (name, root) = (&published.name, &published.root);
    let head = workspace.dataset("t")?.head;

    assert_eq!(
        kubo.ok(["name", "resolve", "--nocache", name])?,
        format!("/ipfs/{root}")
    );

    let fetched = kubo.path().join("files");
    kubo.ok([
        "get",
        &format!("/ipns/{name}/files"),
        "-o",
        &fetched.display().to_string(),
    ])?;
    let exported = tree(&workspace.export("t", "exported")?)?;
    let fetched = tree(&fetched)?;
    assert_eq!(fetched.keys().collect::<Vec<_>>(), exported.keys().collect::<Vec<_>>());
    assert!(fetched == exported, "the files that Kubo got differ from the export");
    assert_eq!(fetched["refs/head"], head.as_bytes());

    let event: serde_json::Value =
        serde_json::from_str(&kubo.ok(["dag", "get", &format!("/ipns/{name}/head/event")])?)?;
    assert_eq!(event["kind"], "AddData", "{event}");
    assert_eq!(event["newData"]["offsetInterval"]["end"], 1_499, "{event}");
    let seq = kubo.ok(["dag", "get", &format!("/ipns/{name}/head/seq")])?;
    assert_eq!(seq.parse::<u64>().ok(), Some(workspace.dataset("t")?.blocks - 1));

    // The layout that kamu reads, from Kubo's gateway and from ours.
    for gateway in [kubo.gateway()?, node.gateway.clone()] {
        for (path, bytes) in &exported {
            let answer = http::get(&format!("{gateway}/ipns/{name}/{path}"), &[])?;
            assert_eq!(answer.status, 200, "{gateway} {path}: {}", answer.text());
            assert!(&answer.body == bytes, "{gateway} {path}");
        }
        let missing = http::get(&format!("{gateway}/ipns/{name}/refs/nothing"), &[])?;
        assert_eq!(missing.status, 404, "{gateway}: {}", missing.text());
    }

    // The next version is there at once for whoever asks the network.
    workspace.write("t.csv", table(1_600))?;
    let grown = workspace.publish(&[&file, "--name", "t"])?;
    assert_eq!(
        kubo.ok(["name", "resolve", "--nocache", name])?,
        format!("/ipfs/{}", grown.root)
    );
    assert_eq!(
        kubo.ok(["cat", &format!("/ipfs/{}/refs/head", grown.root)])?,
        workspace.dataset("t")?.head
    );
    // Adding an export gives the same directory here and there. It is not the one that the root names, of narrower nodes.
    let Some(modern) = Kubo::init_with(&["unixfs-v1-2025"])? else {
        return Ok(());
    };
    let export = workspace.export("t", "grown")?;
    let added = modern.add(&export, &[])?;
    let export = export.display().to_string();
    let ours = workspace.odfs(["ipfs", "add", "-Q", "-r", "--profile", "unixfs-v1-2025", &export])?;
    assert_eq!(ours.text(), added);
    Ok(())
}

/// The directories of a dataset of more than a few blocks are sharded, into nodes of eight.
#[test]
fn kubo_walks_every_path_of_a_dataset_of_many_blocks() -> Outcome {
    let Some(kubo) = Kubo::daemon()? else { return Ok(()) };
    let workspace = Workspace::new()?;
    let node = workspace.node()?;
    kubo.connect(&node.address)?;
    let published = workspace.publish_often("t", MANY)?;
    let root = &published.root;
    let exported = tree(&workspace.export("t", "exported")?)?;
    for below in [String::new(), "/files".to_owned()] {
        for directory in ["refs", "blocks", "data", "checkpoints"] {
            let path = format!("/ipfs/{root}{below}/{directory}");
            let mut listed: Vec<String> = kubo
                .ok(["ls", &path])?
                .lines()
                .filter_map(|line| line.split_whitespace().last().map(str::to_owned))
                .collect();
            listed.sort();
            let prefix = format!("{directory}/");
            let expected: Vec<_> = exported.keys().filter_map(|name| name.strip_prefix(&prefix)).collect();
            assert_eq!(listed, expected, "{path}");
        }
        for (name, bytes) in &exported {
            let path = format!("/ipfs/{root}{below}/{name}");
            let read = kubo.run(["cat", &path])?.success()?.stdout;
            assert!(&read == bytes, "{path}");
        }
    }
    assert!(exported.keys().filter(|name| name.starts_with("data/")).count() as u64 >= MANY);
    // And all of it at once, as somebody would who keeps it.
    kubo.ok(["pin", "add", root])?;
    let fetched = kubo.path().join("files");
    kubo.ok([
        "get",
        &format!("/ipfs/{root}/files"),
        "-o",
        &fetched.display().to_string(),
    ])?;
    assert!(
        tree(&fetched)? == exported,
        "the files that Kubo got differ from the export"
    );
    Ok(())
}

#[test]
fn kubo_is_told_of_every_slice_and_names_who_has_it() -> Outcome {
    let Some(kubo) = Kubo::daemon()? else { return Ok(()) };
    let workspace = Workspace::new()?;
    let node = workspace.node()?;
    kubo.connect(&node.address)?;
    kubo.wait_for_dht_peer(&node.peer_id, SOON)?;
    let published = workspace.publish_often("t", MANY)?;
    let slices = kubo.ok(["ls", &format!("/ipfs/{}/files/data", published.root)])?;
    let slices: Vec<&str> = slices
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(slices.len() as u64 >= MANY);
    let deadline = Instant::now() + SOON;
    let provided = loop {
        let provided = workspace.odfs(["status", "-o", "json"])?.json()?["provided"].clone();
        if provided["waiting"] == 0 {
            break provided;
        }
        assert!(Instant::now() < deadline, "{provided}");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(provided["keys"].as_u64() > Some(MANY), "{provided}");
    let peer_id = node.peer_id.clone();
    node.stop()?;
    // Only Kubo is left to ask, and it was told.
    for slice in slices {
        let found = kubo.ok(["routing", "findprovs", slice])?;
        assert!(found.contains(&peer_id), "{slice}: {found}");
    }
    Ok(())
}

#[test]
fn odfs_pulls_what_kubo_publishes() -> Outcome {
    let Some(kubo) = Kubo::daemon()? else { return Ok(()) };
    let (origin, there) = (Workspace::new()?, Workspace::new()?);
    let file = origin.write("t.csv", table(1_500))?.display().to_string();
    origin.publish(&[&file, "--name", "t"])?;
    let exported = origin.export("t", "exported")?;

    // What kamu does: add the directory with its flags, publish the root under a key of its own.
    let root = kubo.add(&exported, &KAMU_FLAGS)?;
    let key = kubo.ok(["key", "gen", "t"])?;
    kubo.ok([
        "name",
        "publish",
        "-Q",
        "--key",
        "t",
        "--allow-offline",
        "--resolve=false",
        &format!("/ipfs/{root}"),
    ])?;
    let address = kubo.address()?;

    there.odfs(["pull", &format!("ipfs://{root}"), "--as", "by-cid", "--peer", &address])?;
    same_dataset((&origin, "t"), (&there, "by-cid"))?;
    let other = Workspace::new()?;
    other.odfs(["pull", &format!("ipns://{key}"), "--as", "by-name", "--peer", &address])?;
    same_dataset((&origin, "t"), (&other, "by-name"))?;

    // An update through Kubo: only what is new comes, and the head moves.
    origin.write("t.csv", table(1_600))?;
    origin.publish(&[&file, "--name", "t"])?;
    let root = kubo.add(&origin.export("t", "grown")?, &KAMU_FLAGS)?;
    kubo.ok([
        "name",
        "publish",
        "-Q",
        "--key",
        "t",
        "--allow-offline",
        "--resolve=false",
        &format!("/ipfs/{root}"),
    ])?;
    other.odfs(["pull", "by-name", "--peer", &address])?;
    same_dataset((&origin, "t"), (&other, "by-name"))
}

#[test]
fn files_move_between_kubo_and_odfs() -> Outcome {
    let Some(kubo) = Kubo::daemon()? else { return Ok(()) };
    let workspace = Workspace::new()?;
    let node = workspace.node()?;
    kubo.connect(&node.address)?;
    let content = content::bytes(3_000_000, 7);
    let ours = workspace.write("ours/deep/file.bin", &content)?;
    let cid = workspace.odfs(["ipfs", "add", "-Q", "-r", "ours"])?.text();
    assert_eq!(
        kubo.run(["cat", &format!("/ipfs/{cid}/deep/file.bin")])?
            .success()?
            .stdout,
        content
    );

    let theirs = kubo.path().join("theirs");
    std::fs::create_dir(&theirs)?;
    std::fs::copy(&ours, theirs.join("copy.bin"))?;
    std::fs::write(theirs.join("empty"), "")?;
    let cid = kubo.add(&theirs, &["--cid-version=1"])?;
    let read = workspace.odfs(["ipfs", "cat", &format!("/ipfs/{cid}/copy.bin")])?;
    assert!(read.stdout == content, "odfs reads other bytes than Kubo added");
    workspace.odfs(["ipfs", "get", &cid, "-o", "got"])?;
    assert_eq!(tree(&workspace.path().join("got"))?, tree(&theirs)?);
    let lists = (workspace.odfs(["ipfs", "ls", &cid])?.text(), kubo.ok(["ls", &cid])?);
    assert_eq!(lists.0, lists.1);
    let block = workspace.odfs(["ipfs", "block", "get", &cid])?.stdout;
    assert_eq!(block, kubo.run(["block", "get", &cid])?.success()?.stdout);
    assert_eq!(
        workspace.odfs(["ipfs", "dag", "get", &cid])?.text(),
        kubo.ok(["dag", "get", &cid])?
    );
    Ok(())
}

#[test]
fn cars_move_between_kubo_and_odfs() -> Outcome {
    let Some(kubo) = Kubo::daemon()? else { return Ok(()) };
    let file = kubo.path().join("file.bin");
    let content = content::bytes(3_000_000, 9);
    std::fs::write(&file, &content)?;
    let cid = kubo.add(&file, &["--cid-version=1"])?;
    let car = kubo.run(["dag", "export", &cid])?.success()?.stdout;

    // Without a network, and kept through a collection.
    let workspace = Workspace::new()?;
    workspace.write("theirs.car", &car)?;
    assert_eq!(workspace.odfs(["car", "import", "theirs.car"])?.text(), cid);
    workspace.odfs(["ipfs", "repo", "gc"])?;
    assert!(workspace.odfs(["ipfs", "cat", &cid])?.stdout == content);

    // Part of one is told from all of it, and its root is neither said nor kept.
    workspace.write("cut.car", &car[..car.len() - 1])?;
    let cut = workspace.run(["car", "import", "cut.car"])?;
    assert!(cut.stderr.contains("cut off or damaged at byte"), "{}", cut.stderr);
    assert!(cut.code() == Some(5) && cut.stdout.is_empty(), "{:?}", cut.code());
    // Nor is a root whose block does not come with it.
    let header = 1 + usize::from(car[0]);
    let other = Workspace::new()?;
    other.write("none.car", &car[..header])?;
    let none = other.odfs(["car", "import", "none.car"])?;
    assert!(
        none.stdout.is_empty() && none.stderr.contains("does not have that block"),
        "{}",
        none.stderr
    );

    // What our gateway sends is what Kubo takes.
    let node = workspace.node()?;
    let ours = http::get(&format!("{}/ipfs/{cid}?format=car", node.gateway), &[])?;
    let Some(there) = Kubo::init()? else { return Ok(()) };
    let path = there.path().join("ours.car");
    std::fs::write(&path, &ours.body)?;
    there.ok(["dag", "import", &path.display().to_string()])?;
    assert!(there.run(["cat", &cid])?.success()?.stdout == content);
    Ok(())
}

#[test]
fn keys_move_between_kubo_and_odfs() -> Outcome {
    let Some(kubo) = Kubo::init()? else { return Ok(()) };
    let workspace = Workspace::new()?;
    let theirs = kubo.ok(["key", "gen", "theirs"])?;
    let file = kubo.path().join("theirs.key");
    kubo.ok(["key", "export", "theirs", "-o", &file.display().to_string()])?;
    let imported = workspace.odfs(["key", "import", "theirs", &file.display().to_string()])?;
    assert!(imported.text().contains(&theirs), "{}", imported.text());

    let ours = workspace.odfs(["key", "gen", "ours"])?.text();
    let file = workspace.path().join("ours.key");
    workspace.odfs(["key", "export", "ours", "-o", &file.display().to_string()])?;
    let imported = kubo.ok(["key", "import", "ours", &file.display().to_string()])?;
    assert!(ours.contains(&imported), "{ours} is not {imported}");
    Ok(())
}

/// Kubo peers and names of each key type that Kubo makes, over TCP and QUIC, dialled from either side.
#[test]
fn odfs_and_kubo_meet_whatever_their_keys_are() -> Outcome {
    let origin = Workspace::new()?;
    let file = origin.write("t.csv", table(3))?.display().to_string();
    origin.publish(&[&file, "--name", "t"])?;
    let exported = origin.export("t", "exported")?;
    let node = origin.node()?;
    for key in ["rsa", "ed25519", "secp256k1"] {
        let Some(mut kubo) = Kubo::init_as(if key == "secp256k1" { "ed25519" } else { key }, &[])? else {
            return Ok(());
        };
        let listen = r#"["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"]"#;
        kubo.ok(["config", "--json", "Addresses.Swarm", listen])?;
        kubo.start()?;
        let root = kubo.add(&exported, &KAMU_FLAGS)?;
        let name = kubo.ok(["key", "gen", "t", "--type", key])?;
        let path = format!("/ipfs/{root}");
        let published = ["-Q", "--key", "t", "--allow-offline", "--resolve=false"];
        kubo.ok([&["name", "publish"][..], &published, &[&path]].concat())?;
        for transport in ["tcp", "quic-v1"] {
            let there = Workspace::new()?;
            let address = kubo.address_over(transport)?;
            there.odfs(["pull", &format!("ipns://{name}"), "--as", "t", "--peer", &address])?;
            same_dataset((&origin, "t"), (&there, "t"))?;
        }
        kubo.connect(&node.address)?;
        let cid = origin.odfs(["ipfs", "add", "-Q", &file])?.text();
        let read = kubo.run(["cat", &format!("/ipfs/{cid}")])?.success()?;
        assert_eq!(read.stdout, std::fs::read(&file)?, "{key}");
    }
    node.stop()?;
    Ok(())
}
