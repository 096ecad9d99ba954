use odf_node::ipns::Name;
use odf_node::store::StoreOptions;

use odf::Workspace;
use odf::disk::{Call, Device, Disk};
use odf::metadata::{DatasetId, Timestamp};
use odf::snapshot::{Added, Manifest, Options, Plan, SnapshotError};
use odf::yaml::read_snapshots;
use odf_reference as golden;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The time at which kamu made the golden datasets.
const GOLDEN_TIME: &str = "2026-01-01T00:00:00.123456789Z";

fn now() -> Timestamp {
    GOLDEN_TIME.parse().unwrap()
}

fn workspace() -> (tempfile::TempDir, Workspace) {
    let dir = tempfile::tempdir().unwrap();
    let workspace = Workspace::open(dir.path(), StoreOptions::default()).unwrap();
    (dir, workspace)
}

/// A document per item: name, kind, and the events in flow style.
fn manifests(datasets: &[(&str, &str, &str)]) -> Vec<Manifest> {
    let documents = datasets.iter().map(|(name, kind, events)| {
        format!(
            "---\nkind: DatasetSnapshot\nversion: 1\ncontent: {{name: {name}, kind: {kind}, metadata: [{events}]}}\n"
        )
    });
    let text: String = documents.collect();
    let snapshots = read_snapshots(&text).unwrap();
    let numbered = (1..).zip(snapshots).map(|(document, snapshot)| Manifest {
        origin: "x.yaml".to_owned(),
        document,
        snapshot,
    });
    numbered.collect()
}

fn add(workspace: &Workspace, datasets: &[(&str, &str, &str)], options: &Options) -> Result<Vec<Added>, SnapshotError> {
    Plan::make(workspace.catalog(), manifests(datasets), options, now())?.carry_out(
        workspace.datasets(),
        workspace,
        now(),
    )
}

fn refused(workspace: &Workspace, datasets: &[(&str, &str, &str)]) -> String {
    let before = workspace.catalog().entries().unwrap();
    let error = add(workspace, datasets, &Options::default()).unwrap_err();
    assert!(matches!(error, SnapshotError::Refused(_)), "{error:?}");
    assert_eq!(workspace.catalog().entries().unwrap(), before, "nothing was changed");
    error.to_string()
}

fn transform(inputs: &str) -> String {
    format!("{{kind: SetTransform, inputs: [{inputs}], transform: {{kind: Sql, engine: flink, query: select 1}}}}")
}

fn names(workspace: &Workspace) -> Vec<String> {
    let entries = workspace.catalog().entries().unwrap();
    entries
        .into_iter()
        .map(|entry| entry.name.unwrap().to_string())
        .collect()
}

/// The manifests that kamu was given make the blocks that kamu made.
#[test]
fn golden_manifests_make_kamus_blocks() {
    let (_dir, workspace) = workspace();
    let mut golden = golden::datasets();
    // The derivative one comes after its input.
    golden.sort_by_key(|dataset| dataset.name == "weather.monthly");
    for dataset in golden {
        let snapshot = read_snapshots(&dataset.text("manifest.yaml")).unwrap().remove(0);
        let options = Options {
            id: Some(dataset.text("id.txt").trim().parse().unwrap()),
            ..Options::default()
        };
        let manifest = Manifest {
            origin: "manifest.yaml".to_owned(),
            document: 1,
            snapshot,
        };
        let plan = Plan::make(workspace.catalog(), vec![manifest], &options, now()).unwrap();
        let added = plan
            .carry_out(workspace.datasets(), &workspace, now())
            .unwrap()
            .remove(0);
        let blocks = dataset.blocks();
        let head = &blocks[usize::try_from(added.dataset.state().sequence_number).unwrap()];
        assert_eq!(added.dataset.head(), head.hash(), "{}", dataset.name);
        assert!(workspace.key_of(&added.dataset.id()).is_none());
    }
}

#[test]
fn inputs_are_made_first_and_known_by_id() {
    let (_dir, workspace) = workspace();
    let last = transform("{datasetRef: middle, alias: m}, {datasetRef: Me/ROOT}");
    let middle = transform("{datasetRef: root}");
    let datasets = [
        ("last", "Derivative", &*last),
        ("middle", "Derivative", &*middle),
        ("me/root", "Root", ""),
    ];
    let added = add(&workspace, &datasets, &Options::default()).unwrap();
    let made: Vec<&str> = added.iter().map(|added| added.name.as_str()).collect();
    assert_eq!(made, ["last", "middle", "root"], "as the manifests came");
    let id = |name: &str| workspace.catalog().find(name).unwrap().id();
    let inputs = odf::lineage::inputs_of(workspace.catalog().find("last").unwrap().state());
    assert_eq!(
        inputs.iter().map(|input| input.id).collect::<Vec<_>>(),
        [id("middle"), id("root")]
    );
    assert_eq!(inputs[0].alias, "m");
    assert_eq!(
        inputs[1].alias, "Me/ROOT",
        "the reference is the alias, as it is written"
    );
    // Each can be published under its own name.
    for added in &added {
        let key = workspace.key_of(&added.dataset.id()).unwrap();
        assert_eq!(
            Name::from_public_key(&key.public()),
            odf_ipfs::pull::name_of(&added.dataset.id()).unwrap()
        );
    }
    // A dataset that is there is found by name, and by id.
    let by_id = transform(&format!("{{datasetRef: \"{}\", alias: r}}", id("root")));
    add(&workspace, &[("later", "Derivative", &by_id)], &Options::default()).unwrap();
    assert_eq!(
        odf::lineage::inputs_of(workspace.catalog().find("later").unwrap().state())[0].id,
        id("root")
    );
}

#[test]
fn one_bad_manifest_spoils_the_call() {
    let (_dir, workspace) = workspace();
    let good = ("good", "Root", "");
    let said = refused(&workspace, &[good, ("bad_name", "Root", "")]);
    assert!(
        said.contains("x.yaml, document 2 (`bad_name`)") && said.contains("bad-name"),
        "{said}"
    );
    let said = refused(&workspace, &[good, ("GOOD", "Root", "")]);
    assert!(
        said.contains("document 2") && said.contains("document 1, has the same name"),
        "{said}"
    );
    let missing = transform("{datasetRef: goood.dataset}");
    let said = refused(&workspace, &[good, ("d", "Derivative", &missing)]);
    assert!(said.contains("input `goood.dataset` is not here"), "{said}");
    let said = refused(
        &workspace,
        &[("a", "Root", &transform("{datasetRef: a}")), ("b c", "Root", "")],
    );
    assert!(said.starts_with("2 manifests"), "{said}");
    assert!(workspace.keys().names().unwrap().is_empty(), "no key was made");
}

#[test]
fn events_that_do_not_begin_a_dataset_are_refused() {
    let (_dir, workspace) = workspace();
    let root = |event: &str| refused(&workspace, &[("a", "Root", &format!("{{kind: SetInfo}}, {event}"))]);
    let id = DatasetId::from_public_key([1; 32]);
    for event in [
        &*format!("{{kind: Seed, datasetId: \"{id}\", datasetKind: Root}}"),
        "{kind: AddData, prevOffset: 1}",
        "{kind: ExecuteTransform, queryInputs: []}",
        "{kind: DisablePollingSource}",
        "{kind: DisablePushSource, sourceName: a}",
        &transform("{datasetRef: a}"),
    ] {
        let said = root(event);
        assert!(said.contains("document 1 (`a`): event 2 ("), "{event}: {said}");
    }
    let push = "{kind: AddPushSource, sourceName: s, read: {kind: Json}, merge: {kind: Append}}";
    let said = refused(&workspace, &[("a", "Derivative", push)]);
    assert!(said.contains("only a dataset of kind Root"), "{said}");
    let sql = |sql: &str| {
        let read = "read: {kind: Json}, merge: {kind: Append}";
        root(&format!(
            "{{kind: AddPushSource, sourceName: s, {read}, preprocess: {{kind: Sql, engine: datafusion, {sql}}}}}"
        ))
    };
    assert!(sql("query: a, queries: [{query: b}]").contains("both `query` and `queries`"));
    assert!(sql("version: x").contains("neither"));
    assert!(sql("queries: []").contains("no queries"));
    assert!(sql("queries: [{query: a}, {query: b, alias: c}]").contains("the last query has a name"));
    // Rules of the chain, one of them across two events.
    let said = root(&format!("{push}, {push}"));
    assert!(said.contains("event 3 (AddPushSource): NoOpEvent"), "{said}");
    let both = "{kind: AddPushSource, sourceName: s, read: {kind: Json, ddlSchema: [], schema: {fields: []}}, merge: {kind: Append}}";
    assert!(root(both).contains("both schema and ddlSchema"));
    let twice = transform("{datasetRef: r, alias: a}, {datasetRef: r, alias: b}");
    let said = refused(&workspace, &[("r", "Root", ""), ("d", "Derivative", &twice)]);
    assert!(said.contains("appears twice"), "{said}");
    let long = "x".repeat(odf_metadata::codec::MAX_BLOCK_BYTES);
    let said = root(&format!("{{kind: SetInfo, description: {long}}}"));
    assert!(said.contains("exceeds the limit"), "{said}");
}

#[test]
fn circles_are_named() {
    let (_dir, workspace) = workspace();
    let of = |input: &str| transform(&format!("{{datasetRef: {input}}}"));
    let (a, b, c) = (of("b"), of("c"), of("b"));
    let said = refused(
        &workspace,
        &[
            ("a", "Derivative", &a),
            ("b", "Derivative", &b),
            ("c", "Derivative", &c),
        ],
    );
    assert!(said.contains("computed from itself: b from c from b"), "{said}");
    let said = refused(&workspace, &[("a", "Derivative", &of("a"))]);
    assert!(said.contains("a from a"), "{said}");
}

#[test]
fn what_is_there_is_replaced_only_when_asked() {
    let (_dir, workspace) = workspace();
    let replace = Options {
        replace: true,
        ..Options::default()
    };
    add(&workspace, &[("a", "Root", "")], &Options::default()).unwrap();
    let info = "{kind: SetInfo, description: other}";
    let added = add(
        &workspace,
        &[("A", "Root", info), ("c", "Root", "")],
        &Options::default(),
    )
    .unwrap();
    assert_eq!(added.iter().map(|added| added.name.as_str()).collect::<Vec<_>>(), ["c"]);
    assert!(workspace.catalog().find("a").unwrap().state().info.is_none());
    let info = "{kind: SetInfo, description: new}";
    let added = add(&workspace, &[("a", "Root", info), ("b", "Root", "")], &replace).unwrap();
    assert!(added[0].replaced.is_some() && added[1].replaced.is_none());
    assert!(workspace.catalog().find("a").unwrap().state().info.is_some());
    assert_eq!(names(&workspace), ["a", "b", "c"]);

    add(
        &workspace,
        &[("d", "Derivative", &transform("{datasetRef: a}"))],
        &Options::default(),
    )
    .unwrap();
    let error = add(&workspace, &[("a", "Root", "")], &replace).unwrap_err().to_string();
    assert!(error.contains("is an input of d"), "{error}");
    let both = [("d", "Derivative", &*transform("{datasetRef: a}")), ("a", "Root", "")];
    add(&workspace, &both, &replace).unwrap();
    assert_eq!(names(&workspace), ["a", "b", "c", "d"]);
    let input = odf::lineage::inputs_of(workspace.catalog().find("d").unwrap().state())[0].id;
    assert_eq!(input, workspace.catalog().find("a").unwrap().id(), "of the new one");
}

/// A disk that has room for so many more changes that need some: names change without.
struct Full(AtomicUsize);

impl Device for Full {
    fn before(&self, call: &Call<'_>) -> std::io::Result<()> {
        let needs_room = matches!(call, Call::CreateDir(_) | Call::Create(_) | Call::Write { .. });
        let take = |left: usize| left.checked_sub(1);
        match needs_room && self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err() {
            true => Err(std::io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

#[test]
fn a_replacement_that_finds_no_room_loses_nothing() {
    let replace = Options {
        replace: true,
        ..Options::default()
    };
    let info = "{kind: SetInfo, description: new}";
    let mut refused = 0;
    for room in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let full = Arc::new(Full(AtomicUsize::new(usize::MAX)));
        let disk = Disk::with(full.clone());
        let options = StoreOptions {
            disk,
            ..StoreOptions::default()
        };
        let workspace = Workspace::open(dir.path(), options).unwrap();
        let old = add(&workspace, &[("a", "Root", "")], &Options::default())
            .unwrap()
            .remove(0);
        full.0.store(room, Ordering::SeqCst);
        let added = add(&workspace, &[("a", "Root", info)], &replace);
        full.0.store(usize::MAX, Ordering::SeqCst);
        let now = workspace.catalog().find("a").unwrap();
        match added {
            Ok(_) => {
                assert!(now.state().info.is_some());
                break;
            }
            Err(_) => {
                refused += 1;
                assert_eq!(now.id(), old.dataset.id(), "room for {room}");
                assert_eq!(now.state(), old.dataset.state(), "room for {room}");
                assert_eq!(workspace.keys().names().unwrap(), ["a"], "room for {room}");
            }
        }
    }
    assert!(refused > 2, "{refused}");
}

#[test]
fn an_id_is_given_to_one_dataset() {
    let (_dir, workspace) = workspace();
    let id = DatasetId::from_public_key([9; 32]);
    let options = Options {
        id: Some(id),
        ..Options::default()
    };
    let two = [("a", "Root", ""), ("b", "Root", "")];
    assert!(matches!(add(&workspace, &two, &options), Err(SnapshotError::OneId(2))));
    let added = add(&workspace, &two[..1], &options).unwrap();
    assert_eq!(added[0].dataset.id(), id);
    assert!(workspace.keys().names().unwrap().is_empty());
    let error = add(&workspace, &two[1..], &options).unwrap_err().to_string();
    assert!(error.contains("exists already, as `a`"), "{error}");
    // The same one again, replaced by itself.
    let again = Options {
        replace: true,
        ..options
    };
    assert_eq!(add(&workspace, &two[..1], &again).unwrap()[0].replaced, Some(id));
}
