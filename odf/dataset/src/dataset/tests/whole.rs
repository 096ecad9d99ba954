//! That all files were seen, and when it has to be seen again.

use super::*;

#[test]
fn files_are_looked_for_again_once_a_directory_changed() {
    let dir = tempfile::tempdir().unwrap();
    let mut dataset = make(&open(dir.path()));
    add(&mut dataset, 3, 4).unwrap();
    let slices = dataset.slices().unwrap();
    let (first, last) = (
        dataset.slice_path(&slices[0].physical_hash),
        dataset.slice_path(&slices[1].physical_hash),
    );
    assert!(!dataset.is_known_whole(), "nobody looked");
    assert_eq!(dataset.lacking_now(0).unwrap(), []);
    assert!(dataset.is_known_whole());

    // What came last is looked for all the same.
    let bytes = fs::read(&last).unwrap();
    fs::write(&last, &bytes[1..]).unwrap();
    assert_eq!(dataset.lacking_now(1).unwrap().len(), 1);
    assert_eq!(dataset.lacking(None).unwrap().len(), 1);
    assert_eq!(dataset.lacking_now(0).unwrap(), [], "the directory does not show it");
    fs::write(&last, &bytes).unwrap();

    // A file that goes, and what is put in its place by another name.
    let aside = dir.path().join("aside");
    fs::rename(&first, &aside).unwrap();
    assert!(!dataset.is_known_whole());
    assert_eq!(dataset.lacking_now(0).unwrap().len(), 1);
    assert_eq!(dataset.lacking_now(0).unwrap().len(), 1, "it is not taken for seen");
    let short = dir.path().join("short");
    fs::write(&short, "short").unwrap();
    fs::rename(&short, &first).unwrap();
    assert_eq!(dataset.lacking_now(0).unwrap().len(), 1);
    fs::rename(&aside, &first).unwrap();
    assert!(!dataset.is_known_whole());
    assert_eq!(dataset.lacking_now(0).unwrap(), []);
    assert!(dataset.is_known_whole());

    // Another head, and a cache that forgot.
    dataset.append_events(vec![info("more")], time(9), None).unwrap();
    assert!(!dataset.is_known_whole());
    dataset.know_whole();
    assert!(dataset.is_known_whole());
    dataset.medium.cache.forget(WHOLE, &[]);
    assert!(!dataset.is_known_whole());

    // A directory that cannot be looked at is never one where all was seen.
    fs::remove_dir(dataset.dir().join("checkpoints")).unwrap();
    assert_eq!(dataset.lacking_now(0).unwrap(), []);
    assert!(!dataset.is_known_whole());
}
