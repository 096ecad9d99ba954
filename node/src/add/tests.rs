//! What is added is what UnixFS makes of it, whatever the number of workers, and can be read back.

use std::{
    fs,
    io::{self, ErrorKind},
    num::NonZeroUsize,
    os::unix::fs::symlink,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use super::*;
use crate::threads::lock;
use crate::{
    block::Block,
    dag,
    store::{Blocks as _, StoreError, StoreOptions},
    unixfs::{
        KUBO_CIDV1, Profile, UNIXFS_V0_2015, UNIXFS_V1_2025,
        import::{self, FileBuilder},
    },
};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        min_free_bytes: 0,
        reserve_bytes: 0,
        ..StoreOptions::default()
    };
    let store = Store::open(dir.path(), options).unwrap();
    (dir, store)
}

fn content(len: usize) -> Vec<u8> {
    (0..len)
        .map(|position| (position / 7 * 31 + position / 4096) as u8)
        .collect()
}

/// A profile with small chunks and nodes, so that files are deep.
fn small(profile: Profile) -> Profile {
    Profile {
        chunk_bytes: 100,
        max_links: 3,
        ..profile
    }
}

/// All blocks below a root, each read from the store.
fn walk_all(store: &Store, root: cid::Cid) -> usize {
    let (mut due, mut seen) = (vec![root], 0);
    while let Some(cid) = due.pop() {
        let block = store.get(&cid).unwrap().unwrap_or_else(|| panic!("{cid} is not here"));
        due.extend(dag::links(&block).unwrap());
        seen += 1;
    }
    seen
}

#[test]
fn files_get_the_cids_of_the_builder_with_any_number_of_workers() {
    let (_dir, store) = store();
    for profile in [UNIXFS_V1_2025, UNIXFS_V0_2015, KUBO_CIDV1].map(small) {
        for len in [0, 1, 99, 100, 101, 200, 900, 901, 12_345] {
            let content = Bytes::from(content(len));
            let (expected, blocks) = import::file(&profile, &content).unwrap();
            for workers in [1, 2, 5] {
                let options = AddOptions {
                    workers: NonZeroUsize::new(workers),
                    ..AddOptions::new(profile)
                };
                let only_hash = AddOptions {
                    only_hash: true,
                    ..options
                };
                let hashed = add_reader(&store, Path::new("x"), &content[..], &only_hash).unwrap();
                let added = add_reader(&store, Path::new("x"), &content[..], &options).unwrap();
                assert_eq!(
                    added,
                    Added {
                        entry: expected,
                        files: 1,
                        bytes: len as u64
                    },
                    "{profile:?} {len}"
                );
                assert_eq!(hashed, added);
            }
            for block in blocks {
                assert_eq!(store.get(block.cid()).unwrap(), Some(block));
            }
        }
    }
}

#[test]
fn hashing_only_keeps_nothing() {
    let (_dir, store) = store();
    let options = AddOptions {
        only_hash: true,
        ..AddOptions::new(small(UNIXFS_V1_2025))
    };
    add_reader(&store, Path::new("x"), &content(5000)[..], &options).unwrap();
    assert_eq!(store.stats().unwrap().blocks, 0);
}

#[test]
fn a_file_in_place_is_not_copied() {
    let (dir, store) = store();
    let content = content(12_345);
    fs::write(dir.path().join("f"), &content).unwrap();
    let file = store.add_file(Path::new("f")).unwrap();
    let profile = small(UNIXFS_V1_2025);
    let added = add_in_place(&store, file, &AddOptions::new(profile)).unwrap();
    assert_eq!(added.entry, import::file(&profile, &content.clone().into()).unwrap().0);
    let stats = store.stats().unwrap();
    assert!(stats.file_bytes > 0 && stats.pack_bytes < 12_345);
    assert!(walk_all(&store, added.entry.cid) > 124);

    let refused = add_in_place(&store, file, &AddOptions::new(UNIXFS_V0_2015));
    assert!(matches!(
        refused,
        Err(AddError::WrapsLeaves {
            profile: "unixfs-v0-2015"
        })
    ));
}

#[test]
fn a_file_in_place_is_cut_as_is_said() {
    let (dir, store) = store();
    let content = content(12_345);
    fs::write(dir.path().join("f"), &content).unwrap();
    let file = store.add_file(Path::new("f")).unwrap();
    let profile = small(UNIXFS_V1_2025);
    // Longer and shorter ones than the profile has.
    let lengths: Vec<usize> = [1, 5000, 99, 100]
        .into_iter()
        .chain(std::iter::repeat_n(29, 246))
        .chain([11])
        .collect();
    assert_eq!(lengths.iter().sum::<usize>(), content.len());
    let added = add_in_place_cut(&store, file, &AddOptions::new(profile), &lengths).unwrap();
    let (mut builder, mut nodes, mut at) = (FileBuilder::new(&profile), Vec::new(), 0);
    for len in &lengths {
        let leaf = import::hash_leaf(&profile, &content[at..at + len]).unwrap();
        assert_eq!(store.get(&leaf.cid).unwrap().unwrap().data()[..], content[at..at + len]);
        builder.push(leaf, &mut nodes).unwrap();
        at += len;
    }
    assert_eq!(added.entry, builder.finish(&mut nodes).unwrap());
    assert_eq!(added.bytes, 12_345);
    walk_all(&store, added.entry.cid);
    // As many as the profile has, of the same length, are its own.
    let same: Vec<usize> = import::chunks(&profile, 12_345).map(|(_, len)| len).collect();
    let cut = add_in_place_cut(&store, file, &AddOptions::new(profile), &same).unwrap();
    assert_eq!(cut.entry, import::file(&profile, &content.into()).unwrap().0);
}

fn tree(dir: &Path) -> PathBuf {
    let top = dir.join("top");
    fs::create_dir_all(top.join("b/empty")).unwrap();
    fs::write(top.join("a"), content(1234)).unwrap();
    fs::write(top.join("b/ü"), "text").unwrap();
    fs::write(top.join("b/zero"), "").unwrap();
    fs::write(top.join(".hidden"), "secret").unwrap();
    symlink("../a", top.join("b/link")).unwrap();
    for number in 0..50 {
        fs::write(top.join(format!("c{number:02}")), content(number * 10)).unwrap();
    }
    top
}

#[test]
fn a_tree_becomes_directories_from_the_inside_out() {
    let (dir, store) = store();
    let top = tree(dir.path());
    let profile = small(UNIXFS_V1_2025);
    let seen = Mutex::new(Vec::new());
    let bytes = AtomicU64::new(0);
    let watch = |progress: Progress<'_>| match progress {
        Progress::Bytes(more) => drop(bytes.fetch_add(more, Ordering::Relaxed)),
        Progress::Added { path, entry } => lock(&seen).push((path.to_str().unwrap().to_owned(), entry)),
    };
    let added = add_path(
        &store,
        &top,
        &AddOptions {
            watch: &watch,
            ..AddOptions::new(profile)
        },
    )
    .unwrap();
    let seen = seen.into_inner().unwrap();
    let names: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..5], ["top/a", "top/b/link", "top/b/zero", "top/b/ü", "top/c00"]);
    assert_eq!(names[names.len() - 3..], ["top/b/empty", "top/b", "top"]);
    assert_eq!(seen.last().unwrap().1, added.entry);
    assert_eq!((added.files, added.bytes), (53, 1234 + 4 + 12_250));
    assert_eq!(bytes.into_inner(), added.bytes);

    let resolve = |name: &str| {
        let mut load = |cid: &cid::Cid| -> Result<Block, StoreError> { Ok(store.get(cid)?.unwrap()) };
        let mut at = added.entry.cid;
        for part in name.split('/') {
            at = crate::unixfs::directory::lookup(&at, part, &mut load)
                .unwrap()
                .unwrap()
                .cid;
        }
        at
    };
    assert_eq!(
        resolve("a"),
        import::file(&profile, &content(1234).into()).unwrap().0.cid
    );
    assert_eq!(
        resolve("b/link"),
        crate::unixfs::node::symlink(&profile, "../a").unwrap().0.cid
    );
    walk_all(&store, added.entry.cid);

    let ignoring = AddOptions {
        ignore: &|name| name.starts_with('c'),
        ..AddOptions::new(profile)
    };
    assert_eq!(add_path(&store, &top, &ignoring).unwrap().files, 3);
    let stopping = AddOptions {
        stop: &|| true,
        ..AddOptions::new(profile)
    };
    assert!(matches!(add_path(&store, &top, &stopping), Err(AddError::Stopped)));
    let with_hidden = AddOptions {
        hidden: true,
        ..AddOptions::new(profile)
    };
    assert_eq!(add_path(&store, &top, &with_hidden).unwrap().files, 54);
}

#[test]
fn directories_are_nested_as_deep_as_the_limit_says() {
    let (dir, store) = store();
    let options = AddOptions::new(UNIXFS_V1_2025);
    let mut deepest = dir.path().join("top");
    for _ in 0..MAX_DEPTH {
        deepest.push("d");
    }
    fs::create_dir_all(&deepest).unwrap();
    let top = dir.path().join("top");
    assert_eq!(add_path(&store, &top, &options).unwrap().files, 0);
    fs::write(deepest.join("f"), "one too deep").unwrap();
    let error = add_path(&store, &top, &options).unwrap_err();
    assert!(
        matches!(&error, AddError::TooDeep { path } if *path == deepest.join("f")),
        "{error}"
    );
}

#[test]
fn what_cannot_be_added_says_why() {
    let (dir, store) = store();
    let options = AddOptions::new(UNIXFS_V1_2025);
    let error = add_path(&store, &dir.path().join("none"), &options).unwrap_err();
    assert!(error.to_string().ends_with("/none"), "{error}");
    let socket = dir.path().join("socket");
    let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(matches!(
        add_path(&store, &socket, &options),
        Err(AddError::Special { .. })
    ));

    struct Failing(usize);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(ErrorKind::ConnectionReset)?;
            buffer.fill(1);
            Ok(buffer.len())
        }
    }
    let error = add_reader(&store, Path::new("stdin"), Failing(10), &options).unwrap_err();
    assert!(
        matches!(&error, AddError::Read { path, .. } if path == Path::new("stdin")),
        "{error}"
    );
}
