//! What everyday commands print is in words that need no knowledge of ODF or IPFS; their terms come with `-v`.

use std::fs;

use interop_tests::workspace::dataset::table;
use interop_tests::{Failure, Outcome, Workspace};

/// What nobody needs to know who only publishes, pulls and looks. `stand for` is how the code speaks of names.
const TERMS: [&str; 12] = [
    "holder",
    "hold the name",
    "root",
    "watermark",
    "slice",
    "multibase",
    "multihash",
    "ipld",
    "remote(",
    "stands for",
    "cid",
    "dag",
];

/// Whether a word of `text` begins with `term`, letter case aside.
fn says(text: &str, term: &str) -> bool {
    let text = text.to_lowercase();
    text.match_indices(term).any(|(at, _)| {
        !text[..at].ends_with(|before: char| before.is_alphanumeric() || matches!(before, '-' | '/' | '_' | ':'))
    })
}

fn plain(what: &[&str], text: &str) -> Outcome {
    match TERMS.iter().find(|term| says(text, term)) {
        Some(term) => Err(Failure::new(format!("{what:?} says {term:?}:\n{text}"))),
        None => Ok(()),
    }
}

#[test]
fn everyday_commands_speak_plainly() -> Outcome {
    assert!(says("3 IPLD blocks", "ipld") && !says("bafyroot --root", "root"));
    let (here, there) = (Workspace::new()?, Workspace::new()?);
    let node = here.node()?;
    let file = here.write("stations.csv", table(3))?.display().to_string();
    let see = |workspace: &Workspace, args: &[&str]| -> Outcome<String> {
        let finished = workspace.run(args)?;
        let text = format!("{}\n{}", finished.text(), finished.stderr);
        plain(args, &text)?;
        Ok(text)
    };
    see(&here, &["publish", &file, "--exit"])?;
    fs::write(&file, table(5))?;
    see(&here, &["publish", &file, "--exit"])?;
    see(&here, &["publish", &file, "--exit"])?;
    let name = here.publish(&[&file])?.name;
    let address = format!("ipns://{name}");
    see(&there, &["pull", &address, "--as", "far", "--peer", &node.address])?;
    see(&there, &["pull", "far", "--peer", &node.address])?;
    let far = see(&there, &["list", "-o", "table"])?;
    assert!(far.contains("┆ pulled ") && far.contains("Updated"), "{far}");
    for wide in [&["list", "-o", "table"][..], &["list", "--wide", "-o", "table"]] {
        let text = see(&here, wide)?;
        assert!(text.contains("┆ here ") && text.contains("Updated"), "{text}");
    }
    for args in [
        &["log", "stations", "-o", "table"][..],
        &["tail", "stations", "-o", "table"],
        &["status", "-o", "table"],
        &["verify", "-o", "table"],
        &["repair", "stations", "-o", "table"],
        &["share", "-o", "table"],
        &["key", "list", "-o", "table"],
        &["repo", "list", "-o", "table"],
        &["repo", "alias", "list", "-o", "table"],
        &["inspect", "schema", "stations", "-o", "table"],
        &["approve", "stations"],
        &["alter", "stations", "--description", "x"],
        &["push", "stations"],
        &["rename", "stations", "weather"],
        &["delete", "weather", "-y"],
        &["pull", "nowhere"],
        &[
            "pull",
            "ipns://k51qzi5uqu5di8kjif8v8o83s3qjmfjcx712a5b73v7ad7zsdocy7m7er4pnho",
            "--offline",
        ],
        &["reset", "weather", "xyz"],
    ] {
        see(&here, args)?;
    }
    // Who asks for the terms gets them, and so do programs.
    let terms = there.odfs(["-v", "list", "-o", "table"])?.text();
    assert!(terms.contains("Remote(Root)") && terms.contains("Pulled"), "{terms}");
    let list = there.odfs(["list", "-o", "json"])?.json()?;
    assert_eq!(list[0]["Kind"], "Remote(Root)");
    assert!(list[0]["Pulled"].is_string(), "{list}");
    node.stop()?;
    Ok(())
}
