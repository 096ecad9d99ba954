//! Slices that are cut at the edges of their columns: by everybody in the same places, and read by whoever reads UnixFS.

use std::time::Duration;

use interop_tests::workspace::dataset::{table, tree};
use interop_tests::{Helia, Kubo, Outcome, Workspace, http};

/// How long two connected peers may take to have each other in their DHTs.
const SOON: Duration = Duration::from_secs(20);
/// Rows whose slice is of several leaves.
const ROWS: u64 = 60_000;

/// Paths and bytes of the slices of an exported dataset.
fn slices(workspace: &Workspace, name: &str) -> Outcome<Vec<(String, Vec<u8>)>> {
    let exported = tree(&workspace.export(name, "exported")?)?;
    Ok(exported
        .into_iter()
        .filter(|(path, _)| path.starts_with("data/"))
        .collect())
}

#[test]
fn whichever_way_a_dataset_comes_it_is_cut_alike() -> Outcome {
    let here = Workspace::new()?;
    let node = here.node()?;
    let file = here.write("t.csv", table(ROWS))?.display().to_string();
    let name = here.publish(&[&file, "--name", "t"])?.name;
    here.write("t.csv", table(2 * ROWS))?;
    let root = here.publish(&[&file, "--name", "t"])?.root;
    here.odfs(["bundle", "t", "t.car"])?;
    let bundle = here.path().join("t.car").display().to_string();
    let gateway = &node.gateway;
    let address = gateway.trim_start_matches("http://");
    for way in [
        vec!["pull", &format!("ipns://{name}"), "--as", "t", "--peer", &node.address],
        vec!["pull", &format!("http://{address}/ipns/{name}/files"), "--as", "t"],
        vec!["pull", &format!("odf+http://{address}/t"), "--as", "t"],
        vec!["import", &bundle],
    ] {
        let there = Workspace::new()?;
        there.odfs(&way)?;
        let pins = there.odfs(["ipfs", "pin", "ls", "--type=recursive", "--quiet"])?.text();
        assert!(pins.lines().any(|pin| pin == root), "{way:?}: {pins} instead of {root}");
        there.odfs(["verify", "t"])?;
        let whole = there.odfs(["repo", "verify"])?;
        assert!(whole.code() == Some(0), "{way:?}: {}", whole.text());
        for (path, bytes) in slices(&there, "t")? {
            let read = there.odfs(["ipfs", "cat", &format!("/ipfs/{root}/{path}")])?;
            assert!(read.stdout == bytes, "{way:?}: {path}");
        }
    }
    Ok(())
}

#[test]
fn kubo_reads_slices_that_are_cut_at_their_columns() -> Outcome {
    let Some(kubo) = Kubo::daemon()? else { return Ok(()) };
    let here = Workspace::new()?;
    let node = here.node()?;
    kubo.connect(&node.address)?;
    kubo.wait_for_dht_peer(&node.peer_id, SOON)?;
    let file = here.write("t.csv", table(ROWS))?.display().to_string();
    let root = here.publish(&[&file, "--name", "t"])?.root;
    for (path, bytes) in slices(&here, "t")? {
        let path = format!("/ipfs/{root}/{path}");
        // The leaves have lengths of their own, and the last one is the footer, with the page indexes.
        let value: serde_json::Value = serde_json::from_str(&kubo.ok(["dag", "get", &path])?)?;
        let lengths: Vec<u64> = (value["Links"].as_array().into_iter().flatten())
            .filter_map(|link| link["Tsize"].as_u64())
            .collect();
        assert_eq!(lengths.iter().sum::<u64>(), bytes.len() as u64, "{value}");
        let (Some(last), Some(most)) = (lengths.last(), lengths.iter().max()) else {
            panic!("{path} has no leaves: {value}");
        };
        assert!(
            lengths.len() > 3 && *last < 8 << 10 && *most <= 256 << 10,
            "{lengths:?}"
        );

        assert!(kubo.run(["cat", &path])?.success()?.stdout == bytes, "{path}");
        let mut at = 0;
        for len in &lengths {
            // Over the edge of two leaves.
            let (from, to) = (at, at + *len as usize);
            let read = kubo.run(["cat", &format!("--offset={from}"), &format!("--length={len}"), &path])?;
            assert!(read.success()?.stdout == bytes[from..to], "{path} {from} to {to}");
            let (from, to) = (from.saturating_sub(5), to - 5);
            for gateway in [kubo.gateway()?, node.gateway.clone()] {
                let range = format!("bytes={from}-{}", to - 1);
                let answer = http::get(&format!("{gateway}{path}"), &[("range", &range)])?;
                assert_eq!(answer.status, 206, "{gateway}{path} {range}");
                assert!(answer.body == bytes[from..to], "{gateway}{path} {range}");
            }
            at += *len as usize;
        }
    }
    kubo.ok(["pin", "add", &root])?;
    Ok(())
}

#[test]
fn helia_reads_slices_that_are_cut_at_their_columns() -> Outcome {
    let Some(helia) = Helia::find()? else { return Ok(()) };
    let here = Workspace::new()?;
    let node = here.node()?;
    let file = here.write("t.csv", table(ROWS))?.display().to_string();
    let root = here.publish(&[&file, "--name", "t"])?.root;
    for (path, bytes) in slices(&here, "t")? {
        let fetched = helia.fetch(&node.address, &format!("/ipfs/{root}/{path}"))?.success()?;
        assert!(
            fetched.stdout == bytes,
            "Helia got other bytes of {path}: {}",
            fetched.stderr
        );
    }
    Ok(())
}
