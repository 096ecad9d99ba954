//! Helia, the JavaScript IPFS, reads from odfs with nothing between them.

use interop_tests::workspace::dataset::{table, tree};
use interop_tests::{Helia, Outcome, Workspace, content};

#[test]
fn helia_fetches_from_odfs_by_name() -> Outcome {
    let Some(helia) = Helia::find()? else { return Ok(()) };
    let workspace = Workspace::new()?;
    let node = workspace.node()?;
    let file = workspace.write("t.csv", table(1_500))?.display().to_string();
    let published = workspace.publish(&[&file, "--name", "t"])?;

    let head = helia
        .fetch(&node.address, &format!("/ipns/{}/files/refs/head", published.name))?
        .success()?;
    assert_eq!(head.text(), workspace.dataset("t")?.head);

    // A file of many blocks, out of a directory.
    let content = content::bytes(5_000_000, 7);
    workspace.write("big/file.bin", &content)?;
    let cid = workspace
        .odfs(["ipfs", "add", "-Q", "-r", "--cid-version", "1", "big"])?
        .text();
    let fetched = helia
        .fetch(&node.address, &format!("/ipfs/{cid}/file.bin"))?
        .success()?;
    assert!(fetched.stdout == content, "Helia got other bytes: {}", fetched.stderr);
    Ok(())
}

#[test]
fn helia_fetches_whatever_its_key_is() -> Outcome {
    let Some(helia) = Helia::find()? else { return Ok(()) };
    let workspace = Workspace::new()?;
    let node = workspace.node()?;
    let file = workspace.write("t.csv", table(3))?;
    let cid = workspace.odfs(["ipfs", "add", "-Q", "t.csv"])?.text();
    for key in ["Ed25519", "secp256k1", "RSA"] {
        let fetched = helia.fetch_as(key, &node.address, &format!("/ipfs/{cid}"))?.success()?;
        assert_eq!(fetched.stdout, std::fs::read(&file)?, "{key}: {}", fetched.stderr);
    }
    node.stop()?;
    Ok(())
}

/// The directories of a dataset of more than a few blocks are sharded, into nodes of eight.
#[test]
fn helia_walks_the_directories_of_a_dataset_of_many_blocks() -> Outcome {
    let Some(helia) = Helia::find()? else { return Ok(()) };
    let workspace = Workspace::new()?;
    let node = workspace.node()?;
    let root = workspace.publish_often("t", 24)?.root;
    let exported = tree(&workspace.export("t", "exported")?)?;
    for directory in ["blocks", "data"] {
        let prefix = format!("{directory}/");
        let expected: Vec<_> = exported.keys().filter_map(|name| name.strip_prefix(&prefix)).collect();
        assert!(expected.len() >= 24, "{expected:?}");
        for below in ["", "files/"] {
            let path = format!("/ipfs/{root}/{below}{prefix}");
            let fetched = helia.fetch(&node.address, &path)?.success()?.text();
            let mut listed: Vec<_> = fetched.lines().collect();
            listed.sort_unstable();
            assert_eq!(listed, expected, "{path}");
        }
        let name = format!("{prefix}{}", expected[0]);
        let fetched = helia.fetch(&node.address, &format!("/ipfs/{root}/{name}"))?.success()?;
        assert!(fetched.stdout == exported[&name], "Helia got other bytes of {name}");
    }
    Ok(())
}
