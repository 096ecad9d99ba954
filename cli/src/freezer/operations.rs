//! The commands that write, and what they find.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::bench::{Bench, token_in};
use super::{Again, Operation, freeze, is_all_wanted, without_each_sync};

const CITIES: &str = "city,population\nVancouver,662248\nVictoria,91867\n";
const MORE_CITIES: &str = "city,population\nVancouver,662248\nVictoria,91867\nKelowna,144576\n";

/// A dataset that takes pushed rows. NAME, OP and MERGE stand for what differs.
const PUSHED: &str = "\
kind: DatasetSnapshot
version: 1
content:
  name: NAME
  kind: Root
  metadata:
    - kind: AddPushSource
      sourceName: default
      read:
        kind: Csv
        header: true
        schema:
          fields: [OP{name: event_time, type: String}, {name: id, type: Int64}, {name: v, type: Int64}]
      preprocess:
        kind: Sql
        engine: datafusion
        query: select OPcast(event_time as timestamp) as event_time, id, v from input
      merge: MERGE
";

/// A dataset whose source is a file.
const POLLED: &str = "\
kind: DatasetSnapshot
version: 1
content:
  name: polled
  kind: Root
  metadata:
    - kind: SetPollingSource
      fetch: {kind: Url, url: 'file://DIR/cities.csv'}
      read: {kind: Csv, header: true}
      merge: {kind: Snapshot, primaryKey: [city]}
";

/// A dataset that is computed from `append`.
const DERIVED: &str = "\
kind: DatasetSnapshot
version: 1
content:
  name: derived
  kind: Derivative
  metadata:
    - kind: SetTransform
      inputs: [{datasetRef: append, alias: append}]
      transform: {kind: Sql, engine: datafusion, query: 'select event_time, id, v * 2 as twice from append'}
";

fn pushed(name: &str, merge: &str) -> String {
    let (column, op) = match name {
        "changelog" => ("{name: op, type: Int32}, ", "op, "),
        _ => ("", ""),
    };
    PUSHED
        .replace("[OP", &format!("[{column}"))
        .replace("OP", op)
        .replace("NAME", name)
        .replace("MERGE", merge)
}

/// Writes the files that the commands name.
pub(super) fn fixtures(dir: &Path) {
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    write("cities.csv", CITIES);
    write("more.csv", MORE_CITIES);
    write(
        "one.csv",
        "event_time,id,v\n2026-01-01T00:00:00Z,1,10\n2026-01-01T00:00:00Z,2,20\n",
    );
    write(
        "two.csv",
        "event_time,id,v\n2026-01-02T00:00:00Z,2,21\n2026-01-02T00:00:00Z,3,30\n",
    );
    write("other.csv", "city,population\nNanaimo,99863\n");
    write("changes.csv", "op,event_time,id,v\n0,2026-01-02T00:00:00Z,4,40\n");
    write(
        "more_changes.csv",
        "op,event_time,id,v\n2,2026-01-03T00:00:00Z,4,40\n3,2026-01-03T00:00:00Z,4,41\n",
    );
    write("polled.yaml", &POLLED.replace("DIR", &dir.display().to_string()));
    write("derived.yaml", DERIVED);
    for (name, merge) in [
        ("append", "{kind: Append}"),
        ("ledger", "{kind: Ledger, primaryKey: [id]}"),
        ("snapshot", "{kind: Snapshot, primaryKey: [id]}"),
        ("changelog", "{kind: ChangelogStream, primaryKey: [id]}"),
        ("upsert", "{kind: UpsertStream, primaryKey: [id]}"),
    ] {
        write(&format!("{name}.yaml"), &pushed(name, merge));
    }
}

macro_rules! frozen {
    ($($test:ident: $name:literal, $before:expr, $command:expr, $again:expr;)*) => {
        const OPERATIONS: &[(&str, Operation)] = &[$(
            (stringify!($test), Operation {
                name: $name,
                before: $before,
                command: &$command,
                again: $again,
            }),
        )*];

        $(
            #[test]
            fn $test() {
                let operation = operation(stringify!($test));
                let (cuts, calls) = freeze(operation);
                println!("{}: {cuts} cuts of {calls} calls", operation.name);
                assert!(calls > 0, "it writes");
            }
        )*
    };
}

fn operation(test: &str) -> &'static Operation {
    let found = OPERATIONS.iter().find(|(name, _)| *name == test);
    found.map(|(_, operation)| operation).unwrap()
}

/// Of how many syncs of a command the cuts find out that they are left out, one at a time: something is lost that the
/// command had said was done, or is neither old nor new. The others keep the index from being made again, keep numbers of
/// packs from being used twice, or are made good by another; the store's own tests find out about those.
const SYNCS_MISSED: &[(&str, usize)] = &[
    ("config_set", 2),
    ("repository_add", 3),
    ("delete", 2),
    ("key_generate", 2),
    ("key_remove", 1),
    ("token_add", 2),
    ("rename", 2),
    ("approve", 2),
    ("revoke", 1),
    ("share", 2),
    ("share_no_more", 1),
    ("pin_add", 3),
    ("pin_remove", 1),
    ("ipfs_add", 3),
];

#[test]
fn a_sync_that_is_left_out_is_missed() {
    let mut sites: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (test, operation) in OPERATIONS {
        let known = SYNCS_MISSED.iter().find(|(known, _)| known == test);
        if known.is_none() && !is_all_wanted() {
            continue;
        }
        let syncs = without_each_sync(operation);
        let missed = syncs.iter().filter(|(_, missed)| missed.is_some()).count();
        println!("{}: {missed} of {} syncs are missed", operation.name, syncs.len());
        for (sync, missed) in &syncs {
            let site = sync.split(" of ").next().unwrap_or_default();
            let counts = sites.entry(site.to_owned()).or_default();
            counts.0 += usize::from(missed.is_some());
            counts.1 += 1;
            println!("  {sync}: {}", missed.as_deref().unwrap_or("not missed"));
        }
        assert!(
            missed >= known.map_or(0, |(_, needed)| *needed),
            "{}: {missed} are missed",
            operation.name
        );
    }
    for (site, (missed, of)) in sites {
        println!("{site}: missed {missed} of {of} times");
    }
}

const PUBLISH: &[&str] = &["publish", "cities.csv", "--name", "d", "--exit"];
const GROW: &[&str] = &["publish", "more.csv", "--name", "d", "--exit", "--append-all"];
const BIN: &[&str] = &["ipfs", "add", "cities.csv", "--pin=false"];
const PULL_NAME: &[&str] = &["pull", "ipns://{name}", "--peer", "{peer}", "--as", "e"];
const PUSH: &[&str] = &["push", "d", "--to", "lab"];
const PULL_FILE: &[&str] = &["pull", "file://{there}", "--as", "e"];

fn nothing(_: &mut Bench) {}

fn published(bench: &mut Bench) {
    bench.prepare(&[PUBLISH]);
}

/// A dataset that grew; `{seed}` is its head from before.
fn grown(bench: &mut Bench) {
    bench.prepare(&[PUBLISH]);
    bench.set("{seed}", bench.head("d"));
    bench.prepare(&[GROW]);
}

fn with_rows(bench: &mut Bench, merge: &str) {
    let manifest = format!("{merge}.yaml");
    let first = if merge == "changelog" { "changes.csv" } else { "one.csv" };
    bench.prepare(&[&["add", &manifest], &["ingest", merge, first]]);
}

fn served(bench: &mut Bench) {
    let _published = bench.serve(&[PUBLISH]);
}

frozen! {
    publish_new: "publish a new dataset", nothing, *PUBLISH, Again::Same;
    publish_grown: "publish more rows", published, ["publish", "more.csv", "--name", "d", "--exit"], Again::Same;
    add: "add", nothing, ["add", "ledger.yaml"], Again::Same;
    add_replacing: "add --replace", |bench| with_rows(bench, "ledger"), ["add", "--replace", "ledger.yaml"], Again::Same;
    ingest_append: "ingest, append", |bench| with_rows(bench, "append"), ["ingest", "append", "two.csv"], Again::More;
    ingest_ledger: "ingest, ledger", |bench| with_rows(bench, "ledger"), ["ingest", "ledger", "two.csv"], Again::Same;
    ingest_snapshot: "ingest, snapshot", |bench| with_rows(bench, "snapshot"), ["ingest", "snapshot", "two.csv"],
        Again::Same;
    ingest_changelog: "ingest, changelog", |bench| with_rows(bench, "changelog"),
        ["ingest", "changelog", "more_changes.csv"], Again::More;
    ingest_upsert: "ingest, upsert", |bench| with_rows(bench, "upsert"), ["ingest", "upsert", "two.csv"], Again::Same;
    poll: "pull of a source", |bench| drop(bench.prepare(&[&["add", "polled.yaml"]])), ["pull", "polled"], Again::Same;
    derive: "pull of a derivative", |bench| {
        with_rows(bench, "append");
        bench.prepare(&[&["add", "derived.yaml"]]);
    }, ["pull", "derived"], Again::Same;
    watermark: "pull --set-watermark", |bench| with_rows(bench, "append"),
        ["pull", "append", "--set-watermark", "2026-02-01T00:00:00Z"], Again::Same;
    pull_by_name: "pull by name", served, *PULL_NAME, Again::Same;
    pull_grown_by_name: "pull by name what grew", |bench| {
        served(bench);
        bench.prepare(&[PULL_NAME]);
        bench.serve(&[GROW]);
    }, *PULL_NAME, Again::Same;
    pull_from_a_directory: "pull from a directory", |bench| {
        bench.prepare(&[PUBLISH, &["export", "d", "{there}"], &["delete", "d"]]);
    }, *PULL_FILE, Again::Same;
    pull_grown_from_a_directory: "pull from a directory what grew", |bench| {
        bench.serve(&[PUBLISH, &["push", "d", "--to", "file://{there}"]]);
        bench.look_there();
        bench.prepare(&[PULL_FILE]);
        bench.serve(&[GROW, &["push", "d", "--to", "file://{there}"]]);
    }, *PULL_FILE, Again::Same;
    pull_from_a_web_server: "pull from a web server", served, ["pull", "{gateway}/d", "--as", "e"], Again::Same;
    pull_by_the_smart_protocol: "pull by the smart protocol", served, ["pull", "odf+{gateway}/d", "--as", "e"],
        Again::Same;
    push_to_a_name: "push to a name", |bench| drop(bench.prepare(&[PUBLISH, &["ingest", "d", "other.csv"]])),
        ["push", "d"], Again::Same;
    push_to_a_directory: "push to a directory", published, ["push", "d", "--to", "file://{there}"], Again::Same;
    push_by_the_smart_protocol: "push by the smart protocol", |bench| {
        let token = bench.serve(&[&["repo", "token", "add", "me", "--expires", "never"]]);
        bench.set("{token}", token_in(&token).to_owned());
        bench.prepare(&[PUBLISH, &["repo", "add", "lab", "odf+{gateway}/", "--token", "{token}"]]);
    }, *PUSH, Again::Same;
    receive_a_push: "what is pushed comes", |bench| bench.receive(&[PUBLISH]), *PUSH, Again::Same;
    receive_a_push_that_grew: "what is pushed grows", |bench| {
        bench.receive(&[PUBLISH]);
        bench.act(PUSH).ok("push");
        bench.prepare_there(&[GROW]);
    }, *PUSH, Again::Same;
    reset: "reset", grown, ["reset", "d", "{seed}"], Again::Same;
    compact: "compact", grown, ["system", "compact", "d", "--hard"], Again::Same;
    rename: "rename", published, ["rename", "d", "e"], Again::Refused(3);
    delete: "delete", published, ["delete", "d"], Again::Refused(3);
    repair: "repair", |bench| {
        grown(bench);
        bench.prepare(&[&["push", "d", "--to", "file://{there}"]]);
        bench.lose_a_slice();
    }, ["repair", "d"], Again::Heals;
    collect_garbage: "gc", |bench| drop(bench.prepare(&[BIN, PUBLISH, GROW])), ["ipfs", "repo", "gc"], Again::Same;
    ipfs_add: "ipfs add", nothing, ["ipfs", "add", "cities.csv"], Again::Same;
    pin_add: "ipfs pin add", |bench| {
        let cid = bench.prepare(&[&["ipfs", "add", "-Q", "cities.csv", "--pin=false"]]);
        bench.set("{cid}", cid.trim().to_owned());
    }, ["ipfs", "pin", "add", "{cid}"], Again::Same;
    pin_remove: "ipfs pin rm", |bench| {
        let cid = bench.prepare(&[&["ipfs", "add", "-Q", "cities.csv"]]);
        bench.set("{cid}", cid.trim().to_owned());
    }, ["ipfs", "pin", "rm", "{cid}"], Again::Refused(3);
    key_generate: "key gen", nothing, ["key", "gen", "k"], Again::Refused(7);
    key_remove: "key rm", |bench| drop(bench.prepare(&[&["key", "gen", "k"]])), ["key", "rm", "k"], Again::Refused(3);
    token_add: "repo token add", nothing, ["repo", "token", "add", "me", "--expires", "never"], Again::Refused(7);
    approve: "approve", |bench| {
        bench.prepare(&[&["add", "polled.yaml"], &["approve", "--revoke", "polled"]]);
    }, ["approve", "polled"], Again::Same;
    revoke: "approve --revoke", |bench| drop(bench.prepare(&[&["add", "polled.yaml"]])),
        ["approve", "--revoke", "polled"], Again::Same;
    share: "share", |bench| drop(bench.prepare(&[&["add", "append.yaml"]])), ["share", "append"], Again::Same;
    share_no_more: "share --stop", published, ["share", "--stop", "d"], Again::Same;
    repository_add: "repo add", nothing, ["repo", "add", "lab", "file:///srv/lab"], Again::Refused(7);
    config_set: "config set", nothing, ["config", "set", "parquet.createdBy", "me"], Again::Same;
    index_rebuild: "rebuild of the index", |bench| {
        bench.prepare(&[BIN, PUBLISH, GROW]);
        fs::remove_dir_all(bench.workspace().join("store")).unwrap();
    }, ["ipfs", "repo", "stat"], Again::Same;
}
