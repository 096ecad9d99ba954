use std::collections::BTreeMap;

use odf::export::export;
use odf::layout::{Layout, PROFILE};
use odf::workspace::Workspace;
use odf_node::add::{AddOptions, add_path};
use odf_node::block::Cid;
use odf_node::store::{Blocks as _, Store};
use odf_node::unixfs::directory::list;

use crate::world::Site;

/// The promise behind O(log n) pushes: going on from the last layout gives what starting over gives.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_gives_the_root_that_starting_over_gives() {
    let dir = tempfile::tempdir().unwrap();
    let mut site = Site::new(dir.path()).await;
    for rows in [1, 2, 40, 41] {
        let dataset = site.take("counter", rows);
        let root = site.workspace.layout().update(&dataset).unwrap();

        let scratch = tempfile::tempdir().unwrap();
        let copy = scratch.path().join("datasets").join(dataset.id().to_multibase());
        copy_all(dataset.dir(), &copy);
        let elsewhere = Workspace::open(scratch.path(), Default::default()).unwrap();
        let same = elsewhere.catalog().find("counter").unwrap();
        let over = elsewhere.layout().update(&same).unwrap();
        assert_eq!(root.cid, over.cid, "after {rows} rows");
        assert!(site.workspace.store().is_complete(&root.cid).unwrap());
    }
}

/// `files` holds what an export holds, so `ipfs get NAME/files` and `odfs export` are byte for byte the same.
#[tokio::test(flavor = "multi_thread")]
async fn files_holds_what_an_export_holds() {
    let dir = tempfile::tempdir().unwrap();
    let mut site = Site::new(&dir.path().join("workspace")).await;
    let mut dataset = site.take("counter", 1);
    for rows in 2..=20 {
        dataset = site.take("counter", rows);
    }
    let root = site.workspace.layout().update(&dataset).unwrap();

    let exported = dir.path().join("export");
    export(&dataset, &exported).unwrap();
    let store = Store::open(&dir.path().join("store"), Default::default()).unwrap();
    let added = add_path(&store, &exported, &AddOptions::new(PROFILE)).unwrap();
    let found = entries(site.workspace.store(), root.files);
    assert!(found.len() > 3 + 2 * 20, "{found:?}");
    assert_eq!(found, entries(&store, added.entry.cid));
    assert!(matches!(
        export(&dataset, &exported),
        Err(odf::export::ExportError::NotEmpty(_))
    ));
}

/// The files in a directory of directories, by path; UnixFS gives equal files equal CIDs.
fn entries(store: &Store, root: Cid) -> BTreeMap<String, Cid> {
    let list = |root: &Cid| list(root, &mut |cid| store.get(cid).map(Option::unwrap)).unwrap();
    let mut all = BTreeMap::new();
    for directory in list(&root) {
        for entry in list(&directory.cid) {
            all.insert(format!("{}/{}", directory.name, entry.name), entry.cid);
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_index_is_made_again_from_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut site = Site::new(dir.path()).await;
    let dataset = site.take("counter", 3);
    let root = site.workspace.layout().update(&dataset).unwrap();
    site.node.shutdown().await;
    drop(site);
    std::fs::remove_dir_all(dir.path().join("store")).unwrap();

    let workspace = Workspace::open(
        dir.path(),
        odf_node::store::StoreOptions {
            rebuild: true,
            ..Default::default()
        },
    )
    .unwrap();
    assert!(workspace.store().has(&root.cid).unwrap());
    let dataset = workspace.catalog().find("counter").unwrap();
    assert_eq!(
        Layout::open(workspace.store())
            .unwrap()
            .latest(&dataset.id())
            .unwrap()
            .unwrap()
            .cid,
        root.cid
    );
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
