//! Datasets found by words.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

fn add(sandbox: &Sandbox, name: &str, info: &str) {
    let manifest = format!(
        "kind: DatasetSnapshot\nversion: 1\ncontent:\n  name: {name}\n  kind: Root\n  metadata:\n    - {{kind: SetInfo, {info}}}\n"
    );
    sandbox.file("dataset.yaml", manifest);
    sandbox.run(&["add", "dataset.yaml"]).ok();
}

/// Names that are found, and the first place of each.
fn found(sandbox: &Sandbox, args: &[&str]) -> Vec<(Value, Value)> {
    let listing = sandbox.run(&[&["search", "-o", "json"], args].concat()).ok();
    let rows: Vec<Value> = serde_json::from_str(&listing).unwrap();
    rows.iter()
        .map(|row| (row["Name"].clone(), row["Found"][0]["in"].clone()))
        .collect()
}

#[test]
fn datasets_are_found_by_all_that_is_said_of_them_the_best_first() {
    let sandbox = Sandbox::new();
    sandbox.file("stations.csv", "id,river\n1,Aare\n");
    sandbox.run(&["publish", "stations.csv", "--exit"]).ok();
    add(
        &sandbox,
        "water",
        "description: \"Level of each river\", keywords: [hydrology]",
    );
    add(&sandbox, "flows", "keywords: [Rivers, discharge]");
    add(&sandbox, "river", "description: All of them");
    add(&sandbox, "river.basins", "description: Outlines");
    add(&sandbox, "lakes", "description: Still water");
    let place = |name: &str, place: &str| (json!(name), json!(place));
    assert_eq!(
        found(&sandbox, &["RIVER"]),
        [
            place("river", "name"),
            place("river.basins", "name"),
            place("flows", "keyword"),
            place("water", "description"),
            place("stations", "column"),
        ]
    );
    assert_eq!(found(&sandbox, &["-n", "1", "river"]).len(), 1);
    // Wherever each of the words is.
    assert_eq!(found(&sandbox, &["level", "hydro"]), [place("water", "description")]);
    assert_eq!(found(&sandbox, &["still water"]), [place("lakes", "description")]);
    assert!(found(&sandbox, &["river", "nowhere"]).is_empty());
    let table = sandbox.run(&["search", "hydrology", "-o", "table"]).ok();
    assert!(
        table.contains("water") && table.contains("keyword hydrology"),
        "{table}"
    );
    let nothing = sandbox.run(&["search", "nowhere", "-o", "table"]);
    assert!(
        nothing.err.contains("no dataset here has all of that"),
        "{}",
        nothing.err
    );
    nothing.ok();
    assert!(sandbox.run(&["search", " "]).failed(2).contains("no words"));
}
