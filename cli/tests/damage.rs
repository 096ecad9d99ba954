//! Datasets that something happened to: what is told, what is kept from getting worse, and what heals.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::sandbox::{Outcome, Sandbox, wait_for};

/// The exit code of damage.
const INTEGRITY: i32 = 10;

fn table(rows: u32) -> String {
    let rows: String = (0..rows).map(|row| format!("{row},word {row}\n")).collect();
    format!("id,word\n{rows}")
}

fn json(outcome: Outcome) -> Value {
    serde_json::from_str(&outcome.ok()).unwrap()
}

/// The directory of the dataset with this name.
fn dataset(sandbox: &Sandbox, name: &str) -> PathBuf {
    let dirs = fs::read_dir(sandbox.workspace().join("datasets")).unwrap();
    let is_it = |dir: &PathBuf| fs::read_to_string(dir.join("info/alias")).is_ok_and(|alias| alias.trim() == name);
    dirs.map(|dir| dir.unwrap().path()).find(is_it).unwrap()
}

/// The slices of a dataset, the one with the most rows last.
fn slices(dataset: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dataset.join("data"))
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with('f'))
        .collect();
    files.sort_by_key(|file| fs::metadata(file).unwrap().modified().unwrap());
    files
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// A sandbox with a dataset `t` of three slices, pushed to a directory.
fn pushed() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::new();
    for rows in [5, 9, 20] {
        sandbox.file("t.csv", table(rows));
        sandbox.run(&["publish", "t.csv", "--exit"]).ok();
    }
    let there = sandbox.path().join("there");
    sandbox.run(&["push", "t", "--to", &url(&there)]).ok();
    (sandbox, there)
}

fn damage_of(sandbox: &Sandbox, name: &str) -> Value {
    let list = json(sandbox.run(&["list"]));
    let found = list.as_array().unwrap().iter().find(|row| row["Name"] == name);
    assert!(found.is_some(), "{list}");
    found.unwrap()["Damaged"].clone()
}

#[test]
fn a_pull_gets_what_is_missing_and_a_repair_what_is_wrong() {
    let (_origin, there) = pushed();
    let sandbox = Sandbox::new();
    sandbox.run(&["pull", &url(&there), "--as", "t"]).ok();
    let dir = dataset(&sandbox, "t");
    for pull in [&["pull", "t"][..], &["pull", "--force", "t"]] {
        fs::remove_file(&slices(&dir)[1]).unwrap();
        let err = sandbox.run(&["verify", "t"]).failed(INTEGRITY);
        assert!(err.contains("odfs repair"), "{err}");
        assert!(damage_of(&sandbox, "t").as_str().unwrap().contains("data/f1620"));
        let pulled = sandbox.run(pull);
        assert!(pulled.err.contains("mended, from "), "{}", pulled.err);
        pulled.ok();
        sandbox.run(&["verify", "t"]).ok();
        assert_eq!(damage_of(&sandbox, "t"), Value::Null);
    }
    // A file that has its length is not read by a pull; a repair reads everything.
    flip(&slices(&dir)[0]);
    sandbox.run(&["verify", "t"]).failed(INTEGRITY);
    sandbox.run(&["pull", "t"]).ok();
    assert_ne!(damage_of(&sandbox, "t"), Value::Null, "nobody looked at it");
    let report = json(sandbox.run(&["repair", "t"]));
    assert_eq!(report[0]["Result"], "mended", "{report}");
    assert!(
        report[0]["Mended"][0]["part"].as_str().unwrap().contains("rows 0 to"),
        "{report}"
    );
    sandbox.run(&["verify", "--all"]).ok();
    assert_eq!(damage_of(&sandbox, "t"), Value::Null);
    // What its source lost, too, is lost, and told.
    let lost_slice = slices(&dir).remove(2);
    fs::remove_file(&lost_slice).unwrap();
    fs::rename(there.join("data"), there.join("gone")).unwrap();
    let err = sandbox.run(&["pull", "t"]).failed(INTEGRITY);
    assert!(err.contains("odfs repair t"), "{err}");
    let lost = sandbox.run(&["repair", "t", "--output", "json"]);
    let report: Value = serde_json::from_str(&lost.out).unwrap();
    let lost_part = &report[0]["Lost"][0];
    let lost_name = lost_slice.file_name().unwrap().to_str().unwrap();
    assert!(lost_part["part"].as_str().unwrap().contains(lost_name), "{report}");
    assert!(
        lost_part["rows"][0].as_u64().unwrap() < lost_part["rows"][1].as_u64().unwrap(),
        "{report}"
    );
    lost.failed(INTEGRITY);
    fs::rename(there.join("gone"), there.join("data")).unwrap();
    sandbox.run(&["repair", "t"]).ok();
    sandbox.run(&["verify", "t"]).ok();
    sandbox.run(&["repair", "nothing"]).failed(3);
}

#[test]
fn nothing_is_built_on_what_is_missing() {
    let (sandbox, _there) = pushed();
    let dir = dataset(&sandbox, "t");
    let head = fs::read(dir.join("refs/head")).unwrap();
    fs::remove_file(slices(&dir).last().unwrap()).unwrap();
    sandbox.file("t.csv", table(30));
    let err = sandbox.run(&["publish", "t.csv", "--exit"]).failed(INTEGRITY);
    assert!(err.contains("is missing") && err.contains("odfs repair"), "{err}");
    assert_eq!(fs::read(dir.join("refs/head")).unwrap(), head);
    // The place it was pushed to has a copy.
    let repaired = sandbox.run(&["repair", "--all"]);
    assert!(repaired.err.contains("there/"), "{}", repaired.err);
    repaired.ok();
    sandbox.run(&["publish", "t.csv", "--exit"]).ok();
    sandbox.run(&["verify", "t"]).ok();
    assert_eq!(json(sandbox.run(&["list"]))[0]["Records"], 30);
}

#[test]
fn what_peers_are_served_is_looked_at_and_made_again() {
    let (sandbox, _there) = pushed();
    let empty_packs = || {
        for file in fs::read_dir(sandbox.workspace().join("packs")).unwrap() {
            let path = file.unwrap().path();
            // Not the pins, and what is held for a full disk.
            if !["pins", "reserve"].contains(&path.file_name().unwrap().to_str().unwrap()) && path.is_file() {
                let file = fs::File::options().write(true).open(&path).unwrap();
                let len = file.metadata().unwrap().len();
                file.set_len(0).unwrap();
                file.set_len(len).unwrap();
            }
        }
    };
    empty_packs();
    let verified = sandbox.run(&["verify", "t"]);
    let report: Value = serde_json::from_str(&verified.out).unwrap();
    assert_eq!(report[0]["Fault"], Value::Null, "the files are in order");
    assert!(report[0]["Served"].as_str().unwrap().contains("block "), "{report}");
    let err = verified.failed(INTEGRITY);
    assert!(err.contains("odfs repair t"), "{err}");
    let report = json(sandbox.run(&["repair", "t"]));
    assert!(
        report[0]["Mended"][0]["part"]
            .as_str()
            .unwrap()
            .contains("peers are served"),
        "{report}"
    );
    assert!(
        json(sandbox.run(&["verify", "t"]))[0]["Served"]["blocks"]
            .as_u64()
            .unwrap()
            > 10
    );
    empty_packs();
    sandbox.run(&["publish", "t.csv", "--exit"]).ok();
    sandbox.run(&["verify", "t"]).ok();
}

#[test]
fn a_lost_head_is_damage_and_never_another_identity() {
    let (sandbox, _there) = pushed();
    let (dir, list) = (dataset(&sandbox, "t"), json(sandbox.run(&["list", "--wide"])));
    fs::remove_file(dir.join("refs/head")).unwrap();
    let damaged = json(sandbox.run(&["list", "--wide"]));
    assert_eq!(damaged[0]["ID"], list[0]["ID"]);
    assert!(
        damaged[0]["Damaged"].as_str().unwrap().contains("refs/head"),
        "{damaged}"
    );
    let listed = sandbox.run(&["list", "--output", "table"]).ok();
    assert!(listed.contains("damaged"), "{listed}");
    for command in [
        &["publish", "t.csv", "--exit"][..],
        &["pull", "t"],
        &["log", "t"],
        &["tail", "t"],
        &["verify", "t"],
    ] {
        let err = sandbox.run(command).failed(INTEGRITY);
        assert!(err.contains("odfs repair"), "{command:?}: {err}");
    }
    sandbox.file("other.csv", table(3));
    sandbox
        .run(&["publish", "other.csv", "--name", "T", "--exit"])
        .failed(INTEGRITY);
    let dirs = fs::read_dir(sandbox.workspace().join("datasets")).unwrap().count();
    assert_eq!(dirs, 1, "another identity under the name");
    let repaired = sandbox.run(&["repair", "t"]);
    assert!(
        repaired.err.contains("refs/head mended, from the chain file"),
        "{}",
        repaired.err
    );
    repaired.ok();
    assert_eq!(json(sandbox.run(&["list", "--wide"])), list);
    sandbox.run(&["verify", "t"]).ok();
}

#[test]
fn a_chain_that_is_gone_comes_back_from_where_the_dataset_was_pushed() {
    let (sandbox, _there) = pushed();
    let (dir, list) = (dataset(&sandbox, "t"), json(sandbox.run(&["list", "--wide"])));
    fs::remove_file(dir.join("chain")).unwrap();
    sandbox.run(&["log", "t"]).failed(INTEGRITY);
    sandbox.run(&["list"]).ok();
    sandbox.run(&["repair", "t"]).ok();
    assert_eq!(json(sandbox.run(&["list", "--wide"])), list);
    fs::remove_file(dir.join("chain")).unwrap();
    fs::remove_file(dir.join("refs/head")).unwrap();
    sandbox.run(&["repair", "t"]).ok();
    assert_eq!(json(sandbox.run(&["list", "--wide"])), list);
    sandbox.run(&["verify", "t"]).ok();
}

#[test]
fn one_bad_item_stops_nobody() {
    let (sandbox, _there) = pushed();
    sandbox.file("broken.csv", table(4));
    sandbox.run(&["publish", "broken.csv", "--exit"]).ok();
    let datasets = sandbox.workspace().join("datasets");
    fs::write(datasets.join(".DS_Store"), "x").unwrap();
    fs::write(dataset(&sandbox, "broken").join("refs/head"), "\n").unwrap();
    let list = sandbox.run(&["list"]);
    assert!(list.err.contains("broken is damaged: "), "{}", list.err);
    assert_eq!(json(list).as_array().unwrap().len(), 2);
    let status = json(sandbox.run(&["status", "--output", "json"]));
    assert_eq!(status["damaged"][0]["dataset"], "broken");
    let verified = sandbox.run(&["verify", "--all"]);
    let report: Value = serde_json::from_str(&verified.out).unwrap();
    let results: Vec<&str> = report
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["Result"].as_str().unwrap())
        .collect();
    assert_eq!(results, ["damaged", "ok"]);
    verified.failed(INTEGRITY);
    sandbox.run(&["tail", "t"]).ok();
    sandbox.run(&["publish", "t.csv", "--exit"]).ok();
    let mut node = sandbox.start_owner(&["node"]);
    sandbox.run(&["-y", "delete", "broken"]).ok();
    node.signal(Signal::INT);
    node.wait().ok();
    assert_eq!(json(sandbox.run(&["list"])).as_array().unwrap().len(), 1);
    assert!(sandbox.run(&["list"]).err.is_empty());
}

#[test]
fn pulling_all_goes_on_with_the_others() {
    let (origin, there) = pushed();
    let sandbox = Sandbox::new();
    sandbox.run(&["repo", "add", "r", &url(there.parent().unwrap())]).ok();
    sandbox.run(&["pull", "r/there", "--as", "by-name"]).ok();
    // The same dataset under another name would be updated, so there are two more.
    for name in ["u", "v"] {
        let file = format!("{name}.csv");
        origin.file(&file, table(3));
        origin.run(&["publish", &file, "--exit"]).ok();
        let place = origin.path().join(format!("{name}-there"));
        origin.run(&["push", name, "--to", &url(&place)]).ok();
        sandbox.run(&["pull", &url(&place), "--as", name]).ok();
    }
    sandbox.run(&["-y", "repo", "delete", "r"]).ok();
    fs::write(dataset(&sandbox, "u").join("refs/head"), "").unwrap();
    origin.file("v.csv", table(6));
    origin.run(&["publish", "v.csv", "--exit"]).ok();
    origin.run(&["push", "v"]).ok();
    let pulled = sandbox.run(&["pull", "--all"]);
    assert!(pulled.out.contains("v: updated to"), "{pulled:?}");
    assert!(pulled.err.contains("by-name: there is no repository `r`"), "{pulled:?}");
    assert!(
        pulled.err.contains("u: ") && pulled.err.contains("odfs repair"),
        "{pulled:?}"
    );
    assert_ne!(pulled.code, Some(0));
    // Each alone says what is the matter with it.
    sandbox.run(&["pull", "u"]).failed(INTEGRITY);
    sandbox.run(&["pull", "by-name"]).failed(3);
    sandbox.run(&["pull", "v"]).ok();
}

#[test]
fn a_removal_that_was_cut_is_finished_at_the_next_start() {
    let (sandbox, _there) = pushed();
    let dir = dataset(&sandbox, "t");
    let aside = dir.with_file_name(format!(".removed-{}", dir.file_name().unwrap().to_str().unwrap()));
    fs::rename(&dir, &aside).unwrap();
    assert_eq!(sandbox.run(&["list"]).ok(), "[]\n");
    assert!(!aside.exists());
    assert_eq!(sandbox.run(&["ipfs", "pin", "ls", "--type=recursive"]).ok().trim(), "");
    assert!(sandbox.run(&["ipfs", "repo", "gc"]).ok().starts_with("removed "));
    let stat = sandbox.run(&["ipfs", "repo", "stat"]).ok();
    assert!(stat.lines().next().unwrap().ends_with(" 0"), "{stat}");
}

#[test]
fn a_disk_that_is_unplugged_costs_nothing_when_it_is_back() {
    let (sandbox, _there) = pushed();
    let dir = dataset(&sandbox, "t");
    let disk = sandbox.path().join("disk");
    fs::rename(&dir, &disk).unwrap();
    std::os::unix::fs::symlink(&disk, &dir).unwrap();
    sandbox.run(&["verify", "t"]).ok();
    let list = json(sandbox.run(&["list", "--wide"]));
    let away = sandbox.path().join("away");
    fs::rename(&disk, &away).unwrap();
    let damaged = json(sandbox.run(&["list", "--wide"]));
    assert_eq!(damaged[0]["ID"], list[0]["ID"]);
    assert!(damaged[0]["Damaged"].is_string(), "{damaged}");
    sandbox.run(&["verify", "--all"]).failed(INTEGRITY);
    sandbox.run(&["repair", "--all"]).failed(INTEGRITY);
    fs::rename(&away, &disk).unwrap();
    assert_eq!(json(sandbox.run(&["list", "--wide"])), list);
    sandbox.run(&["verify", "t"]).ok();
}

#[test]
fn peers_that_have_it_mend_it() {
    let origin = Sandbox::new();
    origin.file("t.csv", table(50));
    let mut node = origin.start_owner(&["node"]);
    let mut status = Value::Null;
    wait_for("the node", || {
        status = json(origin.run(&["status", "--output", "json"]));
        status["running"] == true
    });
    let peer = status["addresses"][0].as_str().unwrap();
    let report = json(origin.run(&["publish", "t.csv", "--exit", "-o", "json"]));
    let name = report["name"].as_str().unwrap();
    let sandbox = Sandbox::new();
    sandbox.run(&["pull", name, "--as", "t", "--peer", peer]).ok();
    let dir = dataset(&sandbox, "t");
    fs::remove_file(&slices(&dir)[0]).unwrap();
    let pulled = sandbox.run(&["pull", "t", "--peer", peer]);
    assert!(pulled.err.contains("mended, from ipns://"), "{pulled:?}");
    pulled.ok();
    sandbox.run(&["verify", "t"]).ok();
    flip(&slices(&dir)[0]);
    fs::write(dir.join("chain"), "").unwrap();
    sandbox.run(&["repair", "t", "--peer", peer]).ok();
    sandbox.run(&["verify", "t"]).ok();
    // The owner lost everything but its key: a follower has it.
    node.signal(Signal::INT);
    node.wait().ok();
    let mut follower = sandbox.start_owner(&["node"]);
    wait_for("the follower", || {
        status = json(sandbox.run(&["status", "--output", "json"]));
        status["running"] == true
    });
    let peer = status["addresses"][0].as_str().unwrap();
    let lost = dataset(&origin, "t");
    fs::remove_file(&slices(&lost)[0]).unwrap();
    fs::remove_file(lost.join("chain")).unwrap();
    origin.run(&["repair", "t", "--peer", peer]).ok();
    origin.run(&["verify", "t"]).ok();
    follower.signal(Signal::INT);
    follower.wait().ok();
}

#[test]
fn nobody_else_can_write_to_a_workspace_whatever_the_umask() {
    let sandbox = Sandbox::new();
    sandbox.file("t.csv", table(3));
    let workspace = sandbox.workspace();
    fs::create_dir(&workspace).unwrap();
    fs::set_permissions(&workspace, fs::Permissions::from_mode(0o777)).unwrap();
    let odfs = sandbox.command(&["publish", "t.csv", "--exit"]);
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "umask 000; exec \"$0\" \"$@\""])
        .arg(odfs.get_program())
        .args(odfs.get_args());
    for (key, value) in odfs.get_envs() {
        command.env(key, value.unwrap_or_default());
    }
    let output = command.current_dir(sandbox.path()).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{err}");
    assert!(err.contains("others could write to "), "{err}");
    let mut dirs = vec![workspace];
    while let Some(dir) = dirs.pop() {
        for entry in std::iter::once(dir.clone()).chain(fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path())) {
            let found = fs::symlink_metadata(&entry).unwrap();
            let mode = found.permissions().mode() & 0o7777;
            assert_eq!(mode & 0o022, 0, "{} has mode {mode:o}", entry.display());
            // Nobody else gets at what is in a directory that they may not enter.
            if found.is_dir() && entry != dir && mode & 0o011 != 0 {
                dirs.push(entry);
            }
        }
    }
}
