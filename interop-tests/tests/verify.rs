//! `odfs verify` finds the file, and the part of it, that has the first wrong byte.

use interop_tests::{Outcome, Workspace, content};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::FileExt as _;

/// The longest leaf of a slice in the published DAG.
const LEAF: u64 = 256 << 10;
/// Exit code for bytes that are not what their hash says.
const INTEGRITY: i32 = 10;

/// Rows that do not compress, `bytes` of them or a little more.
fn noise(bytes: usize, seed: u64) -> String {
    let mut table = String::from("noise\n");
    for row in content::bytes(bytes / 2, seed).chunks(40) {
        for byte in row {
            let _ = write!(table, "{byte:02x}");
        }
        table.push('\n');
    }
    table
}

#[test]
fn the_first_wrong_byte_is_told_with_its_file_and_block() -> Outcome {
    let workspace = Workspace::new()?;
    for seed in 0..4 {
        workspace.write("noise.csv", noise(3 << 20, seed))?;
        workspace.publish(&["noise.csv", "--name", "noise", "--append-all"])?;
    }
    workspace.odfs(["verify", "noise", "--logical"])?;
    let id = workspace.dataset("noise")?.id;
    let data = workspace
        .store()
        .join("datasets")
        .join(id.trim_start_matches("did:odf:"))
        .join("data");

    // The oldest of the slices that are damaged is told, with the metadata block that names it.
    let log = workspace.odfs(["log", "noise", "--output", "json"])?.json()?;
    let slices: Vec<(u64, String)> = log
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|block| {
            let hash = block["Content"]["newData"]["physicalHash"].as_str()?;
            Some((block["Sequence"].as_u64()?, hash.to_owned()))
        })
        .collect();
    assert_eq!(slices.len(), 4);
    for (at, (sequence, hash)) in slices[1..3].iter().enumerate() {
        let file = fs::OpenOptions::new().read(true).write(true).open(data.join(hash))?;
        let wrong = (1 << 20) + 17 + at as u64;
        let mut byte = [0];
        file.read_exact_at(&mut byte, wrong)?;
        file.write_all_at(&[byte[0] ^ 1], wrong)?;
        let refused = workspace.refused(["verify", "noise"])?;
        assert_eq!(refused.code(), Some(INTEGRITY), "{}", refused.stderr);
        for wanted in [hash.as_str(), &format!("metadata block {sequence} ")] {
            assert!(refused.stderr.contains(wanted), "{wanted}: {}", refused.stderr);
        }
        let part = refused
            .stderr
            .split_once("bytes ")
            .and_then(|(_, rest)| rest.split_once(", block bafkrei"));
        let edges: Vec<u64> = part
            .map_or("", |(part, _)| part)
            .split(" to ")
            .filter_map(|edge| edge.parse().ok())
            .collect();
        let [from, to] = edges[..] else {
            panic!("no part is named: {}", refused.stderr)
        };
        assert!(
            from <= wrong && wrong < to && to - from <= LEAF,
            "{from} to {to}, {wrong} is wrong"
        );
    }
    Ok(())
}
