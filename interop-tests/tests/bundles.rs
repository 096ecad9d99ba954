//! Datasets in files: carried to machines without a network, and CARs as Kubo makes and takes them.

use std::time::{Duration, Instant};

use interop_tests::netns::Wire;
use interop_tests::workspace::dataset::{same_dataset, table};
use interop_tests::{Kubo, Outcome, Workspace};

/// How long two connected peers may take to have each other in their DHTs.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_bundle_carried_to_a_machine_without_a_network_is_served_to_its_neighbour() -> Outcome {
    let Some(wire) = Wire::lay()? else { return Ok(()) };
    let here = Workspace::new()?;
    let carrier = Workspace::in_namespace(wire.left().name())?;
    let neighbour = Workspace::in_namespace(wire.right().name())?;
    let file = here.write("t.csv", table(1_500))?.display().to_string();
    let published = here.publish(&[&file, "--name", "t"])?;
    here.odfs(["bundle", "t", "first.car"])?;

    let first = here.path().join("first.car").display().to_string();
    let imported = carrier.odfs(["import", &first])?;
    assert!(imported.stdout.starts_with(b"Pulled t at "), "{}", imported.text());
    carrier.odfs(["verify", "t"])?;
    same_dataset((&here, "t"), (&carrier, "t"))?;
    let _node = carrier.node()?;
    neighbour.odfs(["pull", &format!("ipns://{}", published.name), "--as", "t"])?;
    same_dataset((&here, "t"), (&neighbour, "t"))?;

    // The next one goes to the node that runs, and who follows it there has it too.
    here.write("t.csv", table(1_600))?;
    here.publish(&[&file, "--name", "t"])?;
    here.odfs(["bundle", "t", "second.car"])?;
    let second = here.path().join("second.car").display().to_string();
    let told = carrier.odfs(["import", &second, "-o", "json"])?.json()?;
    assert!(told["updated"] == true && told["expired"] == false, "{told}");
    neighbour.odfs(["pull", "t"])?;
    assert_eq!(neighbour.dataset("t")?.records, 1_600);
    same_dataset((&here, "t"), (&neighbour, "t"))?;

    // An older one takes nothing back, and says so.
    let older = carrier.odfs(["import", &first])?;
    assert!(older.text().ends_with("nothing was changed"), "{}", older.text());
    assert_eq!(carrier.dataset("t")?.records, 1_600);
    Ok(())
}

#[test]
fn a_name_that_was_carried_is_kept_alive_by_whoever_is_on_line() -> Outcome {
    let Some(kubo) = Kubo::daemon()? else { return Ok(()) };
    let here = Workspace::new()?;
    let file = here.write("t.csv", table(20))?.display().to_string();
    let published = here.publish(&[&file, "--name", "t"])?;
    here.odfs(["bundle", "t", "t.car"])?;
    let carrier = Workspace::new()?;
    carrier.odfs(["import", &here.path().join("t.car").display().to_string()])?;

    // The owner has never been on-line.
    let node = carrier.node()?;
    kubo.connect(&node.address)?;
    kubo.wait_for_dht_peer(&node.peer_id, SOON)?;
    let (begun, expected) = (Instant::now(), format!("/ipfs/{}", published.root));
    while kubo.run(["name", "resolve", "--nocache", &published.name])?.text() != expected {
        assert!(begun.elapsed() < SOON, "Kubo does not learn what the name stands for");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(
        kubo.ok(["cat", &format!("/ipns/{}/refs/head", published.name)])?,
        here.dataset("t")?.head
    );
    Ok(())
}

#[test]
fn nothing_comes_out_of_a_bundle_that_was_not_put_in_by_the_owner() -> Outcome {
    let here = Workspace::new()?;
    let file = here.write("t.csv", table(500))?.display().to_string();
    here.publish(&[&file, "--name", "t"])?;
    here.odfs(["bundle", "t", "t.car"])?;
    let whole = std::fs::read(here.path().join("t.car"))?;
    let there = Workspace::new()?;
    there.odfs(["init"])?;
    for (name, bytes, said, code) in [
        (
            "bent.car",
            [&whole[..whole.len() - 1], &[!whole[whole.len() - 1]]].concat(),
            "the block in bytes",
            10,
        ),
        (
            "cut.car",
            whole[..whole.len() - 1].to_vec(),
            "cut off or damaged at byte",
            5,
        ),
        ("none.car", Vec::new(), "is no bundle that", 5),
        ("t.csv", table(3).into_bytes(), "is no bundle that", 5),
    ] {
        there.write(name, &bytes)?;
        let refused = there.refused(["import", name])?;
        assert_eq!(refused.code(), Some(code), "{name}: {}", refused.stderr);
        assert!(refused.stderr.contains(said), "{name}: {}", refused.stderr);
    }
    // Its first blocks alone, whole as a file.
    let blocks = there
        .odfs([
            "car",
            "ls",
            &here.path().join("t.car").display().to_string(),
            "-o",
            "json",
        ])?
        .json()?;
    let blocks = blocks.as_array().ok_or("no blocks")?;
    let absent: u64 = blocks
        .iter()
        .skip(3)
        .filter_map(|block| block["Size"].as_u64())
        .map(framed)
        .sum();
    there.write("less.car", &whole[..whole.len() - absent as usize])?;
    there.odfs(["car", "verify", "less.car", "--part"])?;
    let less = there.refused(["car", "verify", "less.car"])?;
    assert!(
        less.code() == Some(3) && less.stderr.contains("is not whole: it lacks "),
        "{}",
        less.stderr
    );
    let bare = Workspace::new()?;
    let less = bare.refused(["import", &there.path().join("less.car").display().to_string()])?;
    assert!(
        less.code() == Some(3) && less.stderr.contains("less.car is not whole"),
        "{}",
        less.stderr
    );
    assert!(bare.list()?.is_empty(), "something came here");
    assert!(there.list()?.is_empty(), "something came here");

    // What nobody signed cannot be carried, nor is a file written over unasked.
    there.odfs(["car", "import", &here.path().join("t.car").display().to_string()])?;
    assert_eq!(here.refused(["bundle", "t", "t.car"])?.code(), Some(7));
    assert!(std::fs::read(here.path().join("t.car"))? == whole);
    here.odfs(["bundle", "t", "t.car", "--force"])?;
    assert!(
        std::fs::read(here.path().join("t.car"))? == whole,
        "a bundle of the same is another file"
    );
    let own = "kind: DatasetSnapshot\nversion: 1\ncontent:\n  name: own\n  kind: Root\n  metadata: []\n";
    there.write("own.yaml", own)?;
    there.odfs(["add", "own.yaml"])?;
    let unsigned = there.refused(["bundle", "own", "own.car"])?;
    assert!(unsigned.stderr.contains("odfs push own"), "{}", unsigned.stderr);
    assert!(!there.path().join("own.car").exists());
    Ok(())
}

#[test]
fn cars_are_those_of_kubo_byte_for_byte() -> Outcome {
    let Some(kubo) = Kubo::init()? else { return Ok(()) };
    let here = Workspace::new()?;
    let file = here.write("t.csv", table(500))?.display().to_string();
    // Directories of several nodes, files of one block and of many, and links from more than one place.
    let published = here.publish(&[&file, "--name", "t"])?;
    let many = here.publish_often("many", 24)?;
    here.write("tree/a.bin", interop_tests::content::bytes(3_000_000, 5))?;
    here.write("tree/b/same.bin", interop_tests::content::bytes(3_000_000, 5))?;
    let tree = here.odfs(["ipfs", "add", "-Q", "-r", "tree"])?.text();
    for root in [&published.root, &many.root, &tree] {
        here.odfs(["car", "export", root, "ours.car", "--force"])?;
        let ours = here.path().join("ours.car");
        let pinned = kubo.ok(["dag", "import", &ours.display().to_string()])?;
        let theirs = kubo.run(["dag", "export", root])?.success()?.stdout;
        assert!(std::fs::read(&ours)? == theirs, "the CARs of {root} differ");
        assert!(here.odfs(["ipfs", "dag", "export", root])?.stdout == theirs, "{root}");
        assert!(
            here.odfs(["car", "verify", "ours.car"])?
                .text()
                .contains("nothing is missing")
        );
        let there = Workspace::new()?;
        assert_eq!(
            there
                .odfs(["ipfs", "dag", "import", &ours.display().to_string()])?
                .text(),
            pinned
        );
        assert!(
            there.odfs(["ipfs", "dag", "export", root])?.stdout == theirs,
            "{root} again"
        );
    }
    // A bundle is a CAR like others.
    here.odfs(["bundle", "t", "t.car"])?;
    let bundle = here.path().join("t.car").display().to_string();
    let pinned = kubo.ok(["dag", "import", &bundle])?;
    let root = pinned.split_whitespace().nth(2).ok_or("no root")?;
    assert!(kubo.run(["dag", "export", root])?.success()?.stdout == std::fs::read(&bundle)?);
    let said: serde_json::Value = serde_json::from_str(&kubo.ok(["dag", "get", root])?)?;
    assert!(said["name"] == published.name && said["label"] == "t", "{said}");
    assert_eq!(said["root"]["/"], published.root);
    Ok(())
}

/// How long a block of so many bytes is in a CAR.
fn framed(size: u64) -> u64 {
    const CID_BYTES: u64 = 36;
    let length = [1_u64 << 7, 1 << 14, 1 << 21]
        .iter()
        .filter(|least| CID_BYTES + size >= **least)
        .count();
    1 + length as u64 + CID_BYTES + size
}
