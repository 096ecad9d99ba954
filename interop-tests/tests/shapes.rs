//! CIDs of files and directories equal Kubo's, for every shape that the formats treat differently, in every preset.

use interop_tests::{Kubo, Outcome, Workspace, content};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

const KIB_256: usize = 256 << 10;
const MIB: usize = 1 << 20;
/// A directory that is larger than this, as its preset reckons, is sharded.
const SHARD_ABOVE: usize = 256 << 10;
/// The longest name that Linux allows.
const MAX_NAME: usize = 255;

/// One way to add, in the words of both programs.
struct Preset {
    name: &'static str,
    /// For `odfs ipfs add`.
    odfs: &'static [&'static str],
    /// For `ipfs add`.
    kubo: &'static [&'static str],
    /// For `ipfs init`.
    profiles: &'static [&'static str],
    /// What an entry with a name of that many bytes counts towards [`SHARD_ABOVE`].
    entry: fn(usize) -> usize,
    /// What an empty directory counts.
    empty: usize,
}

const PRESETS: [Preset; 3] = [
    Preset {
        name: "unixfs-v0-2015",
        odfs: &[],
        kubo: &[],
        profiles: &[],
        entry: |name| name + 34,
        empty: 0,
    },
    Preset {
        name: "kubo-cidv1",
        odfs: &["--cid-version", "1", "--raw-leaves"],
        kubo: &["--cid-version", "1", "--raw-leaves"],
        profiles: &[],
        entry: |name| name + 36,
        empty: 0,
    },
    Preset {
        name: "unixfs-v1-2025",
        odfs: &["--profile", "unixfs-v1-2025"],
        kubo: &[],
        profiles: &["unixfs-v1-2025"],
        entry: |name| {
            let chunk = |len: usize| 1 + if len < 128 { 1 } else { 2 } + len;
            chunk(chunk(36) + chunk(name) + 2)
        },
        empty: 4,
    },
];

/// Lengths of names that fill a directory to exactly `SHARD_ABOVE`.
fn name_lengths(preset: &Preset) -> Vec<usize> {
    const USUAL: usize = 200;
    let mut lengths = Vec::new();
    let mut left = SHARD_ABOVE - preset.empty;
    while left > 4 * (preset.entry)(MAX_NAME) {
        lengths.push(USUAL);
        left -= (preset.entry)(USUAL);
    }
    // No program chose these numbers: the last few names are whatever makes the sum come out.
    for count in 1..=8 {
        let last = (count - 1) * (preset.entry)(USUAL);
        let fitting = (10..MAX_NAME - 1).find_map(|a| {
            let rest = left.checked_sub(last + (preset.entry)(a))?;
            (10..MAX_NAME - 1).find(|b| (preset.entry)(*b) == rest).map(|b| [a, b])
        });
        if let Some(pair) = fitting {
            lengths.extend(std::iter::repeat_n(USUAL, count - 1));
            lengths.extend(pair);
            break;
        }
    }
    let sum = preset.empty + lengths.iter().map(|length| (preset.entry)(*length)).sum::<usize>();
    assert_eq!(sum, SHARD_ABOVE, "{}", preset.name);
    lengths
}

fn fill(folder: &Path, lengths: &[usize]) -> Outcome {
    fs::create_dir(folder)?;
    for (n, length) in lengths.iter().enumerate() {
        fs::write(folder.join(format!("{n:0>length$}")), "x")?;
    }
    Ok(())
}

/// All shapes, as entries of one directory.
fn shapes(root: &Path, preset: &Preset) -> Outcome {
    fs::create_dir(root)?;
    for (name, len) in [
        ("empty", 0),
        ("one byte", 1),
        ("one under 256 KiB", KIB_256 - 1),
        ("256 KiB", KIB_256),
        ("one over 256 KiB", KIB_256 + 1),
        ("one under 1 MiB", MIB - 1),
        ("1 MiB", MIB),
        ("one over 1 MiB", MIB + 1),
        ("as many chunks as a node of 2015 holds", 174 * KIB_256),
        ("one byte more than a node of 2015 holds", 174 * KIB_256 + 1),
    ] {
        fs::write(root.join(name), content::bytes(len, len as u64))?;
    }
    fs::write(root.join("equal chunks"), vec![7; 5 * MIB + 3])?;

    fs::create_dir(root.join("empty directory"))?;
    fs::create_dir_all(root.join("holds only an empty one/empty"))?;
    let deep = root.join((0..60).map(|n| format!("level-{n}")).collect::<Vec<_>>().join("/"));
    fs::create_dir_all(&deep)?;
    fs::write(deep.join("bottom"), "deep")?;

    let names = root.join("names");
    fs::create_dir(&names)?;
    // Both forms of é, text that runs right to left, what shells and URLs treat specially, and the longest name.
    for name in [
        "e\u{301}",
        "\u{e9}",
        "\u{1f680}",
        "\u{5d0}\u{5d1}",
        "日本",
        "a b",
        "%41",
        "#?&",
        "\"q\"",
        "'",
        "\\",
        "a\\b\"c",
        "new\nline\u{7f}\u{1b}[2J",
        "\u{a0}\u{200b}\u{e0001}",
        "~",
        "-r",
        "..a",
    ] {
        fs::write(names.join(name), name)?;
    }
    fs::write(names.join("n".repeat(MAX_NAME)), "long")?;
    // In byte order, Z comes before a and before any accented letter.
    for name in ["Z", "a", "\u{e0}", "_"] {
        fs::write(names.join(name), "order")?;
    }

    let hidden = root.join("hidden");
    fs::create_dir_all(hidden.join(".folder"))?;
    fs::write(hidden.join(".file"), "left out")?;
    fs::write(hidden.join(".folder/file"), "left out")?;
    fs::write(hidden.join("seen"), "taken")?;

    let links = root.join("links");
    fs::create_dir(&links)?;
    symlink("seen", links.join("to a file"))?;
    symlink("../../nowhere", links.join("to nothing"))?;
    let program = root.join("executable");
    fs::write(&program, "#!/bin/sh\n")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;

    let lengths = name_lengths(preset);
    fill(&root.join("directory at the limit"), &lengths)?;
    let mut over = lengths;
    if let Some(last) = over.last_mut() {
        *last += 1;
    }
    fill(&root.join("sharded directory one over the limit"), &over)?;
    fill(&root.join("deeply sharded directory"), &[100; 3_000])?;
    fs::create_dir(root.join("sharded in sharded"))?;
    for n in 0..1_200 {
        let name = format!("{n:0>240}");
        if n % 400 == 0 {
            fill(&root.join("sharded in sharded").join(name), &[250; 1_000])?;
        } else {
            fs::write(root.join("sharded in sharded").join(name), "x")?;
        }
    }
    Ok(())
}

#[test]
fn cids_equal_kubos_in_every_preset() -> Outcome {
    for preset in &PRESETS {
        let Some(kubo) = Kubo::init_with(preset.profiles)? else {
            return Ok(());
        };
        let workspace = Workspace::new()?;
        let root = workspace.path().join("shapes");
        shapes(&root, preset)?;
        // Both print a line for every file and directory, so a difference is named by its path.
        let add = |flags: &'static [&'static str]| [&["add", "-r"], flags].concat();
        let ours = workspace
            .odfs([&["ipfs"], &add(preset.odfs)[..], &["shapes"]].concat())?
            .text();
        let theirs = kubo.ok([&add(preset.kubo)[..], &[&root.display().to_string()]].concat())?;
        let lines = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let (ours, theirs) = (lines(&ours), lines(&theirs));
        let different: Vec<_> = theirs
            .iter()
            .filter(|line| ours.binary_search(line).is_err())
            .take(20)
            .collect();
        assert!(
            different.is_empty(),
            "{}: Kubo says, and odfs does not: {different:#?}",
            preset.name
        );
        assert_eq!(ours.len(), theirs.len(), "{}: odfs adds more than Kubo", preset.name);
        assert!(theirs.len() > 9_000, "{}: all shapes were added", preset.name);
    }
    Ok(())
}

#[test]
fn flags_change_cids_as_in_kubo() -> Outcome {
    let Some(kubo) = Kubo::init()? else { return Ok(()) };
    let workspace = Workspace::new()?;
    let folder = workspace.path().join("folder");
    fs::create_dir_all(folder.join("sub/info"))?;
    fs::create_dir(folder.join("info"))?;
    for file in [
        "file",
        ".hidden",
        "config",
        "config.json",
        "sub/config",
        "sub/info/file",
        "info/alias",
    ] {
        fs::write(folder.join(file), content::bytes(700_000, file.len() as u64))?;
    }
    for flags in [
        &["-w"][..],
        &["-H"],
        &["--raw-leaves"],
        &["--cid-version=1", "--raw-leaves=false"],
        &["--chunker=size-100000"],
        &["--cid-version=1", "--chunker=size-1048576"],
        &[
            "--cid-version=1",
            "--raw-leaves",
            "--ignore",
            "/config",
            "--ignore",
            "/info",
        ],
        &["--ignore", "*.json"],
        &["-n"],
    ] {
        let ours = workspace
            .odfs([&["ipfs", "add", "-Q", "-r"], flags, &["folder"]].concat())?
            .text();
        let theirs = kubo.add(&folder, flags)?;
        assert_eq!(ours, theirs, "{flags:?}");
    }
    Ok(())
}

#[test]
fn every_limit_is_met_exactly() {
    for preset in &PRESETS {
        assert!(name_lengths(preset).len() > 900, "{}", preset.name);
    }
}
