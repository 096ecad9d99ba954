use super::*;
use crate::golden;
use crate::repository::files::{FilesSource, Pushed, push};
use std::fs;
use std::path::Path;

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn bring(workspace: &Workspace, source: &dyn SimpleSource, name: &str) -> Result<Outcome, SyncError> {
    let destination = Destination {
        dataset: None,
        name: name.parse().unwrap(),
        aliases: RemoteAliases::default(),
    };
    pull(workspace, source, destination, false, &go_on)
}

/// All files below a directory with their content, without `info`.
fn tree(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut files, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(at) = dirs.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_owned();
                files.push((name, fs::read(path).unwrap()));
            }
        }
    }
    files.retain(|(name, _)| !name.starts_with("info"));
    files.sort();
    files
}

#[test]
fn every_golden_dataset_goes_there_and_back_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = Workspace::open(&dir.path().join("w"), Default::default()).unwrap();
    for golden in golden::datasets() {
        let source = FilesSource::new(&golden.dir.join("dataset"));
        let outcome = bring(&workspace, &source, golden.name).unwrap();
        assert!(matches!(outcome, Outcome::Updated(_)), "{}", golden.name);
        let dataset = workspace.catalog().find(golden.name).unwrap();
        assert_eq!(*dataset.head(), golden.head());
        let there = dir.path().join(golden.name);
        let blocks = golden.blocks().len() as u64;
        let pushed = push(&dataset, &there, false, &go_on).unwrap();
        assert_eq!(pushed, Pushed::Updated { old_head: None, blocks });
        assert_eq!(tree(&there), tree(&golden.dir.join("dataset")), "{}", golden.name);
        assert_eq!(push(&dataset, &there, false, &go_on).unwrap(), Pushed::UpToDate);
        let again = bring(&workspace, &FilesSource::new(&there), "whatever").unwrap();
        assert!(matches!(again, Outcome::UpToDate { .. }), "{}", golden.name);
    }
}
