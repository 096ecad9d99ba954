use std::collections::BTreeMap;

use super::*;
use odf_reference as golden;

/// Names, heads and modification times of everything below a directory.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (u64, std::time::SystemTime)> {
    let (mut found, mut dirs) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(at) = dirs.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let (path, metadata) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
            if metadata.is_dir() {
                dirs.push(path.clone());
            }
            found.insert(path, (metadata.len(), metadata.modified().unwrap()));
        }
    }
    found
}

fn golden_workspace() -> Option<PathBuf> {
    let dataset = golden::datasets().into_iter().next()?;
    Some(dataset.dir.parent()?.join("workspace"))
}

fn id(number: u8) -> DatasetId {
    DatasetId::from_public_key([number; 32])
}

fn head(number: u8) -> Multihash {
    Multihash::sha3_256(&[number])
}

/// A workspace with a database of the columns that are read.
fn made(dir: &Path, rows: &[(u8, &str, &str, Option<u8>)]) -> Connection {
    fs::create_dir_all(dir.join(".kamu/datasets")).unwrap();
    fs::write(dir.join(".kamu/version"), "7").unwrap();
    let connection = Connection::open(dir.join(".kamu").join(DATABASE)).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE dataset_entries (dataset_id TEXT, owner_name TEXT, dataset_name TEXT);
             CREATE TABLE dataset_references (dataset_id TEXT, block_ref_name TEXT, block_hash_bin BLOB);",
        )
        .unwrap();
    for (number, owner, name, at) in rows {
        let id = id(*number).to_string();
        connection
            .execute("INSERT INTO dataset_entries VALUES (?1, ?2, ?3)", (&id, owner, name))
            .unwrap();
        if let Some(at) = at {
            let digest = &head(*at).to_bytes()[2..];
            connection
                .execute("INSERT INTO dataset_references VALUES (?1, 'head', ?2)", (&id, digest))
                .unwrap();
        }
    }
    connection
}

fn open(dir: &Path) -> Result<KamuWorkspace, KamuWorkspaceError> {
    KamuWorkspace::open(dir, &dir.join("scratch"))
}

#[test]
fn the_golden_workspace_lists_its_datasets_and_stays_as_it_is() {
    let Some(dir) = golden_workspace() else { return };
    let before = snapshot(&dir);
    for path in [dir.clone(), dir.join(".kamu")] {
        let workspace = KamuWorkspace::open(&path, Path::new("/nowhere")).unwrap();
        assert_eq!(workspace.datasets().len(), golden::datasets().len());
        for golden in golden::datasets() {
            let dataset = workspace.find(golden.name).unwrap();
            assert_eq!(dataset.head, Some(golden.head()));
            assert_eq!(dataset.id.to_string(), golden.text("id.txt").trim());
            assert_eq!(dataset.account, None);
            assert_eq!(workspace.local_name(dataset), dataset.name);
            assert_eq!(dataset.source().head().unwrap(), Some(golden.head()));
            assert_eq!(dataset.aliases().unwrap(), RemoteAliases::default());
        }
    }
    assert_eq!(snapshot(&dir), before);
}

#[test]
fn without_a_database_the_directories_tell() {
    let Some(golden) = golden_workspace() else { return };
    let dir = tempfile::tempdir().unwrap();
    let kamu = dir.path().join(".kamu");
    fs::create_dir(&kamu).unwrap();
    fs::write(kamu.join("version"), "7").unwrap();
    std::os::unix::fs::symlink(golden.join(".kamu/datasets"), kamu.join("datasets")).unwrap();
    let (with, without) = (open(&golden).unwrap(), open(dir.path()).unwrap());
    let names = |workspace: &KamuWorkspace| -> Vec<_> {
        let datasets = workspace.datasets().iter();
        datasets
            .map(|dataset| (dataset.full_name(), dataset.id, dataset.head))
            .collect()
    };
    assert_eq!(names(&with), names(&without));
}

#[test]
fn the_database_wins_over_refs_and_what_lies_beside_it_counts() {
    let dir = tempfile::tempdir().unwrap();
    let connection = made(dir.path(), &[(1, "kamu", "one", Some(1)), (2, "kamu", "two", None)]);
    for number in [1, 2] {
        let refs = dir
            .path()
            .join(".kamu/datasets")
            .join(id(number).to_multibase())
            .join("refs");
        fs::create_dir_all(&refs).unwrap();
        fs::write(refs.join("head"), head(9).to_string()).unwrap();
    }
    let heads = || -> Vec<_> {
        let workspace = open(dir.path()).unwrap();
        workspace.datasets().iter().map(|dataset| dataset.head).collect()
    };
    assert_eq!(heads(), [Some(head(1)), Some(head(9))]);
    // A change that is only in the write-ahead log, with its writer still there.
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    let digest = &head(5).to_bytes()[2..];
    connection
        .execute("UPDATE dataset_references SET block_hash_bin = ?1", [digest])
        .unwrap();
    let kamu = dir.path().join(".kamu");
    assert!(fs::metadata(kamu.join(format!("{DATABASE}-wal"))).unwrap().len() > 0);
    let before = snapshot(&kamu);
    assert_eq!(heads(), [Some(head(5)), Some(head(9))]);
    assert_eq!(snapshot(&kamu), before);
    assert_eq!(fs::read_dir(dir.path().join("scratch")).unwrap().count(), 0);
}

#[test]
fn datasets_of_several_accounts_get_names_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let rows = [
        (1, "alice", "x.y", Some(1)),
        (2, "bob", "X.Y", Some(2)),
        (3, "bob", "z", Some(3)),
    ];
    drop(made(dir.path(), &rows));
    // Of one account only, as far as the configuration says.
    assert_eq!(open(dir.path()).unwrap().find("z").unwrap().full_name(), "z");
    let config = "kind: WorkspaceConfig\nversion: 1\ncontent:\n  multi_tenant: true\n";
    fs::write(dir.path().join(".kamu/workspace.config"), config).unwrap();
    let workspace = open(dir.path()).unwrap();
    let names = |text: &str| {
        let dataset = workspace.find(text).unwrap();
        (dataset.full_name(), workspace.local_name(dataset).to_string())
    };
    assert_eq!(names("bob/z"), ("bob/z".to_owned(), "z".to_owned()));
    assert_eq!(names("ALICE/x.y"), ("alice/x.y".to_owned(), "alice.x.y".to_owned()));
    assert_eq!(names(&id(2).to_string()), ("bob/X.Y".to_owned(), "bob.X.Y".to_owned()));
    let error = workspace.find("x.y").unwrap_err().to_string();
    assert!(error.contains("alice/x.y or bob/X.Y"), "{error}");
    assert!(workspace.find("w").is_err());
}

#[test]
fn what_is_no_workspace_or_a_damaged_one_is_said() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(open(dir.path()), Err(KamuWorkspaceError::NotAWorkspace(_))));
    drop(made(dir.path(), &[(1, "kamu", "one", Some(1))]));
    let kamu = dir.path().join(".kamu");
    for version in ["6", "8", "", "x", "7.1"] {
        fs::write(kamu.join("version"), version).unwrap();
        assert!(
            matches!(open(dir.path()), Err(KamuWorkspaceError::Version { .. })),
            "{version}"
        );
    }
    fs::write(kamu.join("version"), "7".repeat(MAX_SMALL_BYTES as usize + 1)).unwrap();
    assert!(matches!(open(dir.path()), Err(KamuWorkspaceError::Damaged { .. })));
    fs::write(kamu.join("version"), "7\n").unwrap();
    assert!(open(dir.path()).is_ok());
    // Names lead nowhere else.
    for (number, name) in [(3, "../../etc"), (4, "a/b"), (5, "")] {
        let other = tempfile::tempdir().unwrap();
        drop(made(other.path(), &[(number, "kamu", name, Some(1))]));
        assert!(
            matches!(open(other.path()), Err(KamuWorkspaceError::Damaged { .. })),
            "{name}"
        );
    }
    fs::write(kamu.join(DATABASE), "no database").unwrap();
    assert!(matches!(open(dir.path()), Err(KamuWorkspaceError::Database { .. })));
    fs::remove_file(kamu.join(DATABASE)).unwrap();
    let stray = kamu.join("datasets").join(id(7).to_multibase());
    fs::create_dir_all(stray.join("info")).unwrap();
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("info/alias"), "{error}");
    for alias in ["../up", "a/b/c", "x y"] {
        fs::write(stray.join("info/alias"), alias).unwrap();
        assert!(
            matches!(open(dir.path()), Err(KamuWorkspaceError::Damaged { .. })),
            "{alias}"
        );
    }
    fs::write(stray.join("info/alias"), "kamu/fine\n").unwrap();
    assert_eq!(open(dir.path()).unwrap().datasets()[0].head, None);
}

#[test]
fn more_datasets_than_anybody_has_are_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let fill = |connection: Connection, rows: usize| {
        let sql = format!(
            "DELETE FROM dataset_entries;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO dataset_entries SELECT '{}', 'kamu', 'x' FROM n;",
            id(1)
        );
        connection.execute_batch(&sql).unwrap();
    };
    fill(made(dir.path(), &[]), MAX_DATASETS + 1);
    assert!(matches!(open(dir.path()), Err(KamuWorkspaceError::TooMany(_))));
    let again = Connection::open(dir.path().join(".kamu").join(DATABASE)).unwrap();
    fill(again, MAX_DATASETS);
    assert_eq!(open(dir.path()).unwrap().datasets().len(), 1);
}
