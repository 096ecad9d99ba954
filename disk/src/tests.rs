use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn directories_and_files_have_the_modes_they_are_given() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new();
    let deep = dir.path().join("a/b/c");
    disk.create_dirs(&deep, Access::Readable).unwrap();
    disk.create_dirs(&deep, Access::Readable).unwrap();
    assert_eq!(mode(&deep) & 0o022, 0, "nobody else writes");
    disk.replace(&deep.join("key"), b"secret", Access::Owner).unwrap();
    assert_eq!(mode(&deep.join("key")), 0o600);
    assert!(!deep.join(".pending-key").exists());
    fs::write(deep.join("file"), b"").unwrap();
    let error = disk.create_dirs(&deep.join("file"), Access::Owner).unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::AlreadyExists);
}

#[test]
fn links_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new();
    let (target, link) = (dir.path().join("target"), dir.path().join("link"));
    fs::write(&target, b"mine").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    disk.create(&link, Access::Owner).unwrap_err();
    disk.open(&link).unwrap_err();
    read_small(&link, 10).unwrap_err();
    assert_eq!(fs::read(&target).unwrap(), b"mine");
    disk.replace(&link, b"new", Access::Owner).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"mine", "the link itself was replaced");
}

#[test]
fn small_files_end_at_their_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    assert_eq!(read_small(&path, 3).unwrap(), None);
    fs::write(&path, b"abc").unwrap();
    assert_eq!(read_small_text(&path, 3).unwrap().as_deref(), Some("abc"));
    let error = read_small(&path, 2).unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::InvalidData);
    fs::write(&path, [0xff]).unwrap();
    read_small_text(&path, 3).unwrap_err();
}

#[test]
fn a_tree_is_removed_without_following_links() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new();
    let (tree, other) = (dir.path().join("tree"), dir.path().join("other"));
    fs::create_dir_all(tree.join("x/y")).unwrap();
    fs::create_dir(&other).unwrap();
    fs::write(other.join("f"), b"stays").unwrap();
    std::os::unix::fs::symlink(&other, tree.join("x/link")).unwrap();
    disk.remove_tree(&tree).unwrap();
    disk.remove_tree(&tree).unwrap();
    assert!(!tree.exists() && other.join("f").exists());
}

struct FailingSync;

impl Device for FailingSync {
    fn before(&self, call: &Call<'_>) -> io::Result<()> {
        match call {
            Call::Sync { .. } => Err(io::Error::other("the medium is worn out")),
            _ => Ok(()),
        }
    }
}

#[test]
fn after_a_failed_sync_nothing_more_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::with(Arc::new(FailingSync));
    let mut file = disk.create(&dir.path().join("f"), Access::Owner).unwrap();
    file.write_all(b"abc").unwrap();
    disk.check().unwrap();
    assert!(!file.sync().unwrap_err().is_poisoned(), "the first tells the cause");
    // The disk works again, but nobody knows what it lost.
    for refused in [
        file.sync(),
        file.write_at(b"d", 0),
        disk.clone().sync_dir(dir.path()),
        disk.check(),
    ] {
        assert!(refused.unwrap_err().is_poisoned());
    }
    assert!(file.write_all(b"d").is_err());
    Disk::new().open(&dir.path().join("f")).unwrap().sync().unwrap();
}

mod cuts {
    use super::*;
    use crate::crash::{Recorder, Refusal, Unsynced};

    fn content(dir: &Path) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_dir() {
                let below = content(&entry.path());
                found.extend(
                    below
                        .into_iter()
                        .map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)),
                );
            } else {
                found.push((name, fs::read(entry.path()).unwrap()));
            }
        }
        found.sort();
        found
    }

    fn image(recorder: &Recorder, before: &Path, calls: usize, unsynced: Unsynced) -> Vec<(String, Vec<u8>)> {
        let to = tempfile::tempdir().unwrap();
        recorder.image(before, calls, unsynced, to.path(), &|_| false).unwrap();
        content(to.path())
    }

    #[test]
    fn changes_of_many_threads_are_logged_as_they_are_made() {
        for _ in 0..100 {
            let (before, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let recorder = Recorder::new(dir.path());
            let disk = Disk::with(recorder.clone());
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let (disk, below) = (disk.clone(), dir.path().join("one/two"));
                    scope.spawn(move || {
                        disk.create_dirs(&below, Access::Owner).unwrap();
                        disk.replace(&below.join(format!("{thread}")), b"content", Access::Owner)
                            .unwrap();
                    });
                }
            });
            for unsynced in [Unsynced::Kept, Unsynced::Dropped] {
                let found = image(&recorder, before.path(), usize::MAX, unsynced);
                assert_eq!(found, content(dir.path()), "{unsynced:?}");
            }
        }
    }

    #[test]
    fn a_replaced_file_is_old_or_new_wherever_the_power_goes() {
        let (before, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for place in [&before, &dir] {
            fs::write(place.path().join("f"), b"old").unwrap();
        }
        let recorder = Recorder::new(dir.path());
        let disk = Disk::with(recorder.clone());
        disk.replace(&dir.path().join("f"), b"newer", Access::Owner).unwrap();
        // create, write, sync, rename, sync the directory
        assert_eq!(recorder.calls(), 5);
        for calls in 0..=5 {
            for unsynced in Unsynced::ALL {
                let found = image(&recorder, before.path(), calls, unsynced);
                let f = &found.iter().find(|(name, _)| name == "f").unwrap().1;
                let renamed = calls == 5 || calls == 4 && unsynced != Unsynced::Dropped;
                let expected: &[u8] = if renamed { b"newer" } else { b"old" };
                assert_eq!(f, expected, "after {calls} calls, {unsynced:?}");
            }
        }
    }

    #[test]
    fn without_its_sync_a_replaced_file_is_lost() {
        let (before, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let recorder = Recorder::new(dir.path());
        recorder.forget_sync(0);
        let disk = Disk::with(recorder.clone());
        disk.replace(&dir.path().join("f"), b"abcd", Access::Owner).unwrap();
        assert_eq!(
            image(&recorder, before.path(), 5, Unsynced::Dropped),
            [("f".to_owned(), vec![])]
        );
        assert_eq!(
            image(&recorder, before.path(), 5, Unsynced::Torn),
            [("f".to_owned(), b"ab\0\0".to_vec())]
        );
    }

    #[test]
    fn what_is_replaced_without_a_sync_waits_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(dir.path());
        let disk = Disk::with(recorder.clone());
        for bytes in [&b"old"[..], b"newer"] {
            disk.replace_unsynced(&dir.path().join("f"), bytes, Access::Owner)
                .unwrap();
            assert_eq!(content(dir.path()), [("f".to_owned(), bytes.to_vec())]);
        }
        assert_eq!(recorder.calls(), 6, "create, write, rename");
        assert!(recorder.syncs().is_empty());
        recorder.set_refusal(Refusal::Once(2), ErrorKind::Other);
        disk.replace_unsynced(&dir.path().join("f"), b"newest", Access::Owner)
            .unwrap_err();
        assert_eq!(content(dir.path()), [("f".to_owned(), b"newer".to_vec())]);
    }

    #[test]
    fn names_in_directories_nobody_synced_are_gone() {
        let (before, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let recorder = Recorder::new(dir.path());
        let disk = Disk::with(recorder.clone());
        let deep = dir.path().join("d");
        disk.create_dir(&deep, Access::Owner).unwrap();
        let file = disk.create(&deep.join("f"), Access::Owner).unwrap();
        file.write_at(b"x", 0).unwrap();
        file.sync().unwrap();
        disk.sync_dir(&deep).unwrap();
        assert_eq!(image(&recorder, before.path(), recorder.calls(), Unsynced::Dropped), []);
        disk.rename(&deep, &dir.path().join("e")).unwrap();
        disk.sync_dir(dir.path()).unwrap();
        let found = image(&recorder, before.path(), recorder.calls(), Unsynced::Dropped);
        assert_eq!(found, [("e/f".to_owned(), b"x".to_vec())]);
    }

    #[test]
    fn calls_are_refused_when_the_test_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::refusing(dir.path(), Refusal::Once(1), ErrorKind::StorageFull);
        let disk = Disk::with(recorder.clone());
        let path = dir.path().join("f");
        assert!(disk.replace(&path, b"abc", Access::Owner).unwrap_err().is_full());
        assert!(!path.exists() && content(dir.path()).is_empty());
        disk.replace(&path, b"abc", Access::Owner).unwrap();
        recorder.set_refusal(Refusal::From(0), ErrorKind::Other);
        disk.remove_file(&path).unwrap_err();
        disk.remove_file(&path).unwrap_err();
        assert!(path.exists());
    }
}
