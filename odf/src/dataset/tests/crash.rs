//! Processes that die in the middle of a change. The test starts itself again with a point named in its environment; the
//! child aborts there, without any clean-up.

use std::process::{Command, Stdio};

use super::*;

const POINT: &str = "ODF_TEST_CRASH_POINT";
const DIR: &str = "ODF_TEST_CRASH_DIR";

const POINTS: [&str; 5] = [
    "checked",
    "slice installed",
    "blocks written",
    "head moved",
    "dataset in place",
];

/// Aborts the process if this is the point it was told to die at.
pub(in crate::dataset) fn crash_point(point: &str) {
    if std::env::var(POINT).as_deref() == Ok(point) {
        std::process::abort();
    }
}

/// Runs a test of this binary in a child that dies at `point`; whether it got there.
pub(crate) fn dies(test: &str, dir: &Path, point: &str) -> bool {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads=1", "--nocapture"])
        .env(POINT, point)
        .env(DIR, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    !child.success()
}

/// The directory to work in, in a child that is to die.
pub(crate) fn crash_dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

/// Run by the tests below in a child; by itself it does nothing.
#[test]
fn child_appends() {
    let Some(dir) = crash_dir() else { return };
    let mut dataset = open(&dir).find("d").unwrap();
    let next = dataset.state().next_offset();
    add(&mut dataset, next, next + 2).unwrap();
}

/// As [`child_appends`].
#[test]
fn child_makes() {
    let Some(dir) = crash_dir() else { return };
    make(&open(&dir));
}

#[test]
fn an_append_that_dies_leaves_the_old_or_the_new_head() {
    for point in POINTS {
        let dir = scratch();
        let before = make(&open(dir.path())).state().clone();
        let died = dies("dataset::tests::crash::child_appends", dir.path(), point);
        assert_eq!(died, point != "dataset in place", "{point}");
        let mut dataset = open(dir.path()).find("d").unwrap();
        check_complete(&dataset);
        let moved = matches!(point, "head moved" | "dataset in place");
        assert_eq!(dataset.state() != &before, moved, "{point}");
        let next = dataset.state().next_offset();
        assert_eq!(next, if moved { 5 } else { 3 }, "{point}");
        // The same again succeeds.
        add(&mut dataset, next, next + 2).unwrap();
        check_complete(&open(dir.path()).find("d").unwrap());
        assert_eq!(
            fs::read_dir(dataset.data_dir()).unwrap().count() as u64,
            dataset.state().totals.slices
        );
    }
}

#[test]
fn a_dataset_that_dies_being_made_is_whole_or_not_there() {
    for point in POINTS {
        let dir = scratch();
        assert!(dies("dataset::tests::crash::child_makes", dir.path(), point), "{point}");
        let catalog = open(dir.path());
        match catalog.by_id(&id()).unwrap() {
            Some(dataset) => {
                assert_eq!(point, "dataset in place");
                check_complete(&dataset);
            }
            None => {
                assert_ne!(point, "dataset in place");
                assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{point}: swept away");
                check_complete(&make(&catalog));
            }
        }
    }
}

/// A power failure may also keep only a part of what was written behind the chain.
#[test]
fn half_written_blocks_are_cut_off() {
    let dir = scratch();
    let mut dataset = make(&open(dir.path()));
    let (old_head, old_len) = (fs::read(dataset.dir().join("refs/head")).unwrap(), dataset.chain_len());
    add(&mut dataset, 3, 5).unwrap();
    let (new_chain, old) = (fs::read(dataset.chain_path()).unwrap(), old_len as usize);
    fs::write(dataset.dir().join("refs/head"), old_head).unwrap();
    for len in old..=new_chain.len() {
        fs::write(dataset.chain_path(), &new_chain[..len]).unwrap();
        let again = open(dir.path()).find("d").unwrap();
        assert_eq!(again.state().next_offset(), 3);
    }
    let mut dataset = open(dir.path()).find("d").unwrap();
    add(&mut dataset, 3, 5).unwrap();
    check_complete(&dataset);
}
