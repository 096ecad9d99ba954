//! What is remembered of chains and names, in two processes on one workspace: a node that was killed, and commands by
//! themselves. What the node left of it may be behind the files, cut, or of something else; the answers are those of the files.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use interop_tests::workspace::dataset::tree;
use interop_tests::{Outcome, Workspace};

/// Files of a folder by their paths.
type Files = BTreeMap<String, Vec<u8>>;

/// More metadata blocks than a chain has without an index.
const ROWS: usize = 140;
/// Longer than files may be changed again and look the same.
const SETTLED: Duration = Duration::from_millis(2_200);
/// Exit code of a dataset that is not here.
const NOT_FOUND: i32 = 3;

fn add(workspace: &Workspace, name: &str) -> Outcome {
    let manifest = format!(
        "kind: DatasetSnapshot\nversion: 1\ncontent:\n  name: {name}\n  kind: Root\n  metadata:\n    - kind: AddPushSource\n      \
         sourceName: default\n      read: {{kind: Csv, header: true, schema: {{fields: [{{name: n, type: Int64}}]}}}}\n      \
         merge: {{kind: Append}}\n"
    );
    workspace.write("dataset.yaml", manifest)?;
    workspace.odfs(["add", "dataset.yaml"]).map(drop)
}

/// Pushes a row for each number, each in a metadata block of its own.
fn push(workspace: &Workspace, name: &str, numbers: Range<usize>) -> Outcome {
    let mut args = vec!["ingest".to_owned(), name.to_owned()];
    for n in numbers {
        let file = workspace.write(&format!("{n}.csv"), format!("n\n{n}\n"))?;
        args.push(file.display().to_string());
    }
    workspace.odfs(args).map(drop)
}

/// What commands say of a dataset, from its end, from its beginning and by name.
fn answers(workspace: &Workspace, name: &str) -> Outcome<Vec<String>> {
    Ok(vec![
        workspace.tail(name, 3)?,
        workspace
            .odfs(["log", name, "--limit", "5", "--output", "json"])?
            .text(),
        workspace.tail(name, 1000)?,
        workspace.chain(name)?,
        format!("{:?}", workspace.dataset(name)?),
    ])
}

/// The index of the chain of a dataset.
fn index_of(workspace: &Workspace, name: &str) -> Outcome<PathBuf> {
    let id = workspace.dataset(name)?.id;
    let dir = id.trim_start_matches("did:odf:");
    Ok(workspace.store().join("datasets").join(dir).join("chain.index"))
}

#[test]
fn whatever_a_killed_node_left_of_the_index_of_a_chain_is_not_believed() -> Outcome {
    let workspace = Workspace::new()?;
    for name in ["t", "other"] {
        add(&workspace, name)?;
    }
    let node = workspace.node()?;
    push(&workspace, "other", 1000..1000 + ROWS)?;
    push(&workspace, "t", 0..ROWS)?;
    workspace.tail("other", 1)?;
    workspace.tail("t", 1)?;
    let (index, other) = (index_of(&workspace, "t")?, index_of(&workspace, "other")?);
    let stale = fs::read(&index)?;
    push(&workspace, "t", ROWS..ROWS + 5)?;
    let through = answers(&workspace, "t")?;
    let (whole, other) = (fs::read(&index)?, fs::read(&other)?);
    assert!(stale.len() < whole.len() && through[2].lines().count() == 1 + ROWS + 5);
    node.process.kill()?;
    assert_eq!(answers(&workspace, "t")?, through);
    assert_eq!(fs::read(&index)?, whole);

    let end = whole.len();
    let mut changed = whole.clone();
    changed[end / 2] ^= 1;
    let torn = [&whole[..end - 300], &[0; 300][..]].concat();
    let longer = [&whole[..], &whole[end - 144..]].concat();
    for (what, left) in [
        ("behind the chain", Some(&stale[..])),
        ("cut within a record", Some(&whole[..end - 50])),
        ("not all on the disk", Some(&torn[..])),
        ("longer than the chain", Some(&longer[..])),
        ("with a byte that is wrong", Some(&changed[..])),
        ("of another dataset", Some(&other[..])),
        ("empty", Some(&[][..])),
        ("not there", None),
    ] {
        let leave = || match left {
            Some(left) => fs::write(&index, left),
            None => fs::remove_file(&index),
        };
        // What lies behind the last block of the chain is asked for by nobody.
        let is_right = || fs::read(&index).map(|bytes| bytes.starts_with(&whole));
        leave()?;
        assert_eq!(answers(&workspace, "t")?, through, "{what}");
        assert!(is_right()?, "{what}: it is not what it was");
        leave()?;
        let node = workspace.node()?;
        assert_eq!(answers(&workspace, "t")?, through, "{what}, through a node");
        node.process.kill()?;
        assert!(is_right()?, "{what}, through a node: it is not what it was");
        leave()?;
        workspace.odfs(["verify", "t"])?;
    }
    // What is added to a chain whose index is behind stands where it should.
    fs::write(&index, &stale)?;
    push(&workspace, "t", ROWS + 5..ROWS + 6)?;
    let last = workspace.tail("t", 1)?;
    assert!(last.trim_end().ends_with(&format!(",{}", ROWS + 5)), "{last}");
    assert_eq!(workspace.dataset("t")?.records, ROWS as u64 + 6);
    workspace.odfs(["verify", "t"]).map(drop)
}

/// Makes a folder what it was.
fn put_back(folder: &Path, files: &Files) -> Outcome {
    fs::remove_dir_all(folder)?;
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, bytes)?;
    }
    Ok(())
}

#[test]
fn whatever_a_killed_node_remembered_of_names_the_datasets_decide() -> Outcome {
    let workspace = Workspace::new()?;
    for (name, n) in [("a", 1), ("b", 2)] {
        add(&workspace, name)?;
        push(&workspace, name, n..n + 1)?;
    }
    let rows = |name: &str| workspace.odfs(["tail", name, "-o", "ndjson"]).map(|said| said.text());
    let (one, two) = (rows("a")?, rows("b")?);
    let store = workspace.store().join("store");
    let earlier = tree(&store)?;

    let node = workspace.node()?;
    // Remembered by the node, and then the two change their names.
    assert_eq!((rows("a")?, rows("b")?), (one.clone(), two.clone()));
    for (from, to) in [("a", "c"), ("b", "a"), ("c", "b")] {
        workspace.odfs(["rename", from, to])?;
    }
    let right = || -> Outcome {
        assert_eq!((rows("a")?, rows("b")?), (two.clone(), one.clone()));
        assert_eq!(workspace.run(["tail", "c"])?.code(), Some(NOT_FOUND));
        Ok(())
    };
    right()?;
    node.process.kill()?;
    right()?;
    let later = tree(&store)?;

    // The index as it was when the names were others, and as a cut may leave it: with the second half of each file lost.
    let half = |files: &Files| -> Files {
        let halves = files
            .iter()
            .map(|(name, bytes)| (name.clone(), bytes[..bytes.len() / 2].to_vec()));
        halves.collect()
    };
    for files in [earlier.clone(), half(&earlier), half(&later)] {
        put_back(&store, &files)?;
        right()?;
        put_back(&store, &files)?;
        let node = workspace.node()?;
        right()?;
        node.process.kill()?;
        right()?;
    }
    workspace.odfs(["verify", "--all"]).map(drop)
}

#[test]
fn whatever_is_left_of_what_was_seen_of_datasets_a_listing_says_what_they_are() -> Outcome {
    let workspace = Workspace::new()?;
    for (name, n) in [("a", 1), ("b", 2), ("c", 3)] {
        add(&workspace, name)?;
        push(&workspace, name, n..n + 1)?;
    }
    let listed = || workspace.odfs(["list", "--wide", "-o", "json"]).map(|said| said.text());
    let answers = || -> Outcome<Vec<String>> {
        let row = |name: &str| workspace.odfs(["tail", name, "-o", "ndjson"]).map(|said| said.text());
        Ok(vec![row("a")?, row("b")?, row("c")?, listed()?])
    };
    // What was changed just now is not remembered.
    std::thread::sleep(SETTLED);
    let through = answers()?;
    let files = ["datasets.names", "datasets.seen"].map(|name| workspace.store().join(name));
    let whole = [fs::read(&files[0])?, fs::read(&files[1])?];
    for (path, whole) in files.iter().zip(&whole) {
        let mut changed = whole.clone();
        changed[whole.len() / 2] ^= 1;
        let torn = [&whole[..whole.len() / 2], &vec![0; whole.len() - whole.len() / 2][..]].concat();
        for (what, left) in [
            ("cut", Some(&whole[..whole.len() / 2])),
            ("not all on the disk", Some(&torn[..])),
            ("with a byte that is wrong", Some(&changed[..])),
            ("empty", Some(&[][..])),
            ("not there", None),
        ] {
            match left {
                Some(left) => fs::write(path, left)?,
                None => fs::remove_file(path)?,
            }
            assert_eq!(answers()?, through, "{}: {what}", path.display());
            // Nothing that was there is free, or gone.
            assert!(workspace.run(["rename", "a", "b"])?.code() != Some(0), "{what}");
        }
    }
    // Those of before datasets had other names, came and went.
    workspace.odfs(["rename", "a", "d"])?;
    workspace.odfs(["delete", "b", "--yes"])?;
    add(&workspace, "a")?;
    let now = listed()?;
    for (path, whole) in files.iter().zip(&whole) {
        fs::write(path, whole)?;
    }
    assert_eq!(listed()?, now);
    assert_eq!(workspace.run(["tail", "b"])?.code(), Some(NOT_FOUND));
    assert!(workspace.run(["rename", "c", "d"])?.code() != Some(0));
    workspace.odfs(["rename", "c", "b"])?;
    workspace.odfs(["verify", "--all"]).map(drop)
}
