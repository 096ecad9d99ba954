//! Helia, the JavaScript IPFS, reads from odfs with nothing between them.

use interop_tests::workspace::dataset::table;
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
