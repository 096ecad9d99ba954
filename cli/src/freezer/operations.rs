//! The commands that write, and what they find.

use std::fs;
use std::path::Path;

use super::{Operation, freeze};

const CITIES: &str = "city,population\nVancouver,662248\nVictoria,91867\n";
const MORE_CITIES: &str = "city,population\nVancouver,662248\nVictoria,91867\nKelowna,144576\n";

/// A manifest of a dataset that takes pushed rows with this merge strategy.
fn manifest(name: &str, merge: &str) -> String {
    format!(
        "kind: DatasetSnapshot\nversion: 1\ncontent:\n  name: {name}\n  kind: Root\n  metadata:\n    - kind: AddPushSource\n      \
         sourceName: default\n      read:\n        kind: Csv\n        header: true\n        schema:\n          fields:\n            \
         - {{name: event_time, type: String}}\n            - {{name: id, type: Int64}}\n            - {{name: v, type: Int64}}\n      \
         preprocess:\n        kind: Sql\n        engine: datafusion\n        query: \"select cast(event_time as timestamp) as event_time, id, v from input\"\n      \
         merge: {merge}\n"
    )
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
    write("changes.csv", "op,event_time,id,v\n0,2026-01-02T00:00:00Z,4,40\n");
    for (name, merge) in [
        ("append", "{kind: Append}"),
        ("ledger", "{kind: Ledger, primaryKey: [id]}"),
        ("snapshot", "{kind: Snapshot, primaryKey: [id]}"),
        ("upsert", "{kind: UpsertStream, primaryKey: [id]}"),
    ] {
        write(&format!("{name}.yaml"), &manifest(name, merge));
    }
}

macro_rules! frozen {
    ($($test:ident: $name:literal, before $before:expr, $command:expr $(, again $again:expr)?;)*) => {
        $(
            #[test]
            fn $test() {
                const BEFORE: &[&[&str]] = &$before;
                let operation = Operation {
                    name: $name,
                    before: BEFORE,
                    command: &$command,
                    again: &[$($again)?],
                };
                let (cuts, calls) = freeze(&operation);
                println!("{}: {cuts} cuts of {calls} calls", operation.name);
                assert!(calls > 0, "it writes");
            }
        )*
    };
}

const PUBLISH: &[&str] = &["publish", "cities.csv", "--name", "d", "--exit"];
const GROW: &[&str] = &["publish", "more.csv", "--name", "d", "--exit", "--append-all"];

frozen! {
    publish_grown: "publish more rows", before [PUBLISH], ["publish", "more.csv", "--name", "d", "--exit"];
    ingest_ledger: "ingest, ledger", before [&["add", "ledger.yaml"], &["ingest", "ledger", "one.csv"]],
        ["ingest", "ledger", "two.csv"];
    ingest_snapshot: "ingest, snapshot", before [&["add", "snapshot.yaml"], &["ingest", "snapshot", "one.csv"]],
        ["ingest", "snapshot", "two.csv"];
    ingest_upsert: "ingest, upsert", before [&["add", "upsert.yaml"], &["ingest", "upsert", "one.csv"]],
        ["ingest", "upsert", "two.csv"];
    compact: "compact", before [PUBLISH, GROW], ["system", "compact", "d", "--hard"];
    collect_garbage: "gc", before [&["ipfs", "add", "cities.csv", "--pin=false"], PUBLISH, GROW], ["ipfs", "repo", "gc"];
    key_generate: "key gen", before [], ["key", "gen", "k"], again 7;
    token_add: "repo token add", before [], ["repo", "token", "add", "me"], again 7;
    repository_add: "repo add", before [], ["repo", "add", "lab", "file:///srv/lab"], again 7;
    config_set: "config set", before [], ["config", "set", "parquet.createdBy", "me"];
}
