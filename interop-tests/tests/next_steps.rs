//! What a refused command names as the next step is there and works: every command of every `Next:` line of a first week is
//! run where it was printed.

use std::fs;
use std::path::{Path, PathBuf};

use interop_tests::workspace::dataset::table;
use interop_tests::{Outcome, Workspace, repository};

mod followed;

pub(crate) use followed::Followed;
use followed::{PLACEHOLDERS, commands, placeholder};

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A workspace with a dataset `t` of three rows, and its file.
fn first(options: &[&str]) -> Outcome<(Workspace, String)> {
    let workspace = Workspace::new()?;
    let file = text(&workspace.write("t.csv", "id,city\n1,Oslo\n2,Rome\n3,Bern\n")?);
    workspace.odfs([&["publish", file.as_str(), "--exit"], options].concat())?;
    Ok((workspace, file))
}

const SNAPSHOT: [&str; 4] = ["--primary-key", "id", "--merge", "snapshot"];

#[test]
fn words_in_capitals_are_explained() -> Outcome {
    let page: PathBuf = repository().join("docs/how-to/refusals.md");
    let page = fs::read_to_string(page)?;
    for word in PLACEHOLDERS {
        assert!(
            page.contains(&format!("`{word}`")),
            "refusals.md does not say what {word} is"
        );
    }
    assert_eq!(placeholder("ipns://KEY"), Some("KEY"));
    assert_eq!(placeholder("FILE.csv"), Some("FILE"));
    assert!(
        ["k51abc", "t", "-", "--as", "3", "T.csv"]
            .iter()
            .all(|word| placeholder(word).is_none())
    );
    Ok(())
}

#[test]
fn mistakes_lead_on() -> Outcome {
    let (workspace, file) = first(&[])?;
    workspace.write("empty.csv", "")?;
    workspace.write("ragged.csv", "id,city\n1,Oslo\n2\n")?;
    workspace.write("wider.csv", "id,city,pop\n1,Oslo,7\n")?;
    workspace.write("other.csv", "nr,town\n1,Oslo\n")?;
    workspace.write("typed.csv", "id,city\n1,Oslo\n2,Rome\n3,Bern\nx,Kyiv\n")?;
    workspace.write("notes.txt", "nothing\n")?;
    workspace.write("full/file", "here")?;
    workspace.odfs(["export", "t", "there.csv"])?;
    let unknown = "ipns://k51qzi5uqu5di8kjif8v8o83s3qjmfjcx712a5b73v7ad7zsdocy7m7er4pnho";
    let mut followed = Followed::default();
    for args in [
        &["publish", "none.csv", "--exit"][..],
        &["publish", "empty.csv", "--exit"],
        &["publish", "ragged.csv", "--exit"],
        &["publish", "notes.txt", "--exit"],
        &["publish", "other.csv", "--name", "t", "--exit"],
        &["publish", "typed.csv", "--name", "t", "--exit"],
        &["publish", &file, "--name", "t", "--as", "u", "--exit"],
        &["publish", "other.csv", "--name", "o", "--merge", "snapshot", "--exit"],
        &["publish", "other.csv", "--name", "o", "--event-time", "none", "--exit"],
        &["tail", "nowhere"],
        &["log", "nowhere"],
        &["verify", "nowhere"],
        &["unpublish", "nowhere"],
        &["rename", "nowhere", "x"],
        &["pull", "nowhere"],
        &["pull", unknown],
        &["pull", unknown, "--offline"],
        &["pull", "t", "--as", "u"],
        &["diff", "t", "99"],
        &["diff", "t", "2020-01-01"],
        &["reset", "t", "ffff"],
        &["restore", "t", "ffff"],
        &["export", "t", "missing/out.csv"],
        &["export", "t", "there.csv"],
        &["export", "t", "full"],
        &["export", "t", "out", "--history"],
        &["export", "t", "-", "-o", "json"],
        &["alter", "t"],
        &["alter", "t", "--add-column", "id BIGINT"],
        &["alter", "t", "--detach", "none.md"],
        &["key", "export", "nobody"],
        &["push", "t", "--to", unknown],
        &["push", "t", "--to", "repo/x"],
        &["repo", "delete", "nowhere"],
        &["repo", "token", "delete", "nobody"],
        &["config", "set", "network.nothing", "1"],
        &["config", "get", "gateway.public"],
        &["ingest", "t", "none.csv"],
        &["add", "notes.txt"],
        &["delete", "t"],
    ] {
        followed.refusal(&workspace, args)?;
    }
    assert_eq!(followed.situations, 40);
    assert!(followed.commands.len() >= 8, "{:?}", followed.commands);
    Ok(())
}

#[test]
fn corrected_and_lost_rows_lead_on() -> Outcome {
    let mut followed = Followed::default();
    // Of a dataset that only grows.
    let (workspace, file) = first(&[])?;
    fs::write(&file, "id,city\n1,Oslo\n2,Roma\n3,Bern\n")?;
    followed.refusal(&workspace, &["publish", &file, "--exit"])?;
    fs::write(&file, "id,city\n1,Oslo\n")?;
    followed.refusal(&workspace, &["publish", &file, "--exit"])?;
    // Of a ledger, which passes corrected rows over.
    let (workspace, file) = first(&["--primary-key", "id"])?;
    fs::write(&file, "id,city\n1,Oslo\n2,Roma\n3,Bern\n4,Kyiv\n")?;
    let passed = workspace.odfs(["publish", &file, "--exit"])?;
    followed.follow(&workspace, &passed)?;
    let (workspace, file) = first(&["--primary-key", "id"])?;
    fs::write(&file, "id,city\n1,Oslo\n2,Rome\n3,Bern\n4,Kyiv\n")?;
    workspace.odfs(["publish", &file, "--exit"])?;
    followed.refusal(&workspace, &["--yes", "restore", "t", "3"])?;
    // Of a snapshot, most of which is not there any more.
    let (workspace, file) = first(&SNAPSHOT)?;
    fs::write(&file, "id,city,pop\n1,Oslo,7\n")?;
    followed.refusal(&workspace, &["publish", &file, "--exit"])?;
    fs::write(&file, "id,town\n1,Oslo\n")?;
    followed.refusal(&workspace, &["publish", &file, "--exit"])?;
    fs::write(&file, "id,city\n1,Oslo\n")?;
    followed.refusal(&workspace, &["publish", &file, "--exit"])?;
    fs::write(&file, "id,city\n1,Oslo\n1,Roma\n")?;
    followed.refusal(&workspace, &["publish", &file, "--exit"])?;
    fs::write(&file, "id,city\n1,Oslo\n")?;
    let retracted = workspace.odfs(["ingest", "t", &file])?;
    let attention = retracted.stderr.lines().find(|line| line.contains("`odfs reset t "));
    for command in commands(attention.unwrap_or_default()) {
        followed.run(&workspace, command)?;
    }
    assert_eq!(followed.situations, 8);
    assert!(followed.commands.len() >= 4, "{:?}", followed.commands);
    Ok(())
}

#[test]
fn files_keys_and_deleted_datasets_lead_on() -> Outcome {
    let mut followed = Followed::default();
    let (workspace, file) = first(&[])?;
    workspace.odfs(["rename", "t", "u"])?;
    let other = text(&workspace.write("other/t.csv", table(5))?);
    fs::write(&other, "id,city\n1,Oslo\n2,Rome\n3,Bern\n9,Riga\n")?;
    followed.refusal(&workspace, &["publish", &other, "--exit"])?;
    workspace.odfs(["--yes", "delete", "--all"])?;
    followed.refusal(&workspace, &["publish", &file, "--exit"])?;
    followed.refusal(&workspace, &["key", "rm", "nobody"])?;

    // Datasets of manifests, one of which is an input of the other.
    workspace.write("no.yaml", "kind: DatasetSnapshot\n")?;
    followed.refusal(&workspace, &["add", "no.yaml"])?;
    workspace.odfs(["new", "sum", "--derivative"])?;
    followed.refusal(&workspace, &["add", "sum.yaml"])?;
    followed.refusal(&workspace, &["new", "sum", "--derivative"])?;
    assert_eq!(followed.situations, 6);
    Ok(())
}

#[test]
fn two_histories_lead_on() -> Outcome {
    let mut followed = Followed::default();
    let (there, file) = first(&SNAPSHOT)?;
    let place = format!("file://{}", text(&there.path().join("place")));
    there.odfs(["push", "t", "--to", &place])?;
    let key = text(&there.path().join("t.key"));
    there.odfs(["key", "export", "t", "--output", &key])?;
    let here = Workspace::new()?;
    here.odfs(["pull", &place, "--as", "t"])?;
    let mine = text(&here.write("t.csv", "id,city\n1,Oslo\n2,Rome\n3,Bern\n4,Kyiv\n")?);
    // What is pulled is changed where it comes from.
    for args in [
        &["publish", &mine, "--exit"][..],
        &["ingest", "t", &mine],
        &["alter", "t", "--description", "Cities"],
        &["--yes", "restore", "t", "3"],
        &["pull", "t", "--set-watermark", "2024-01-01T00:00:00Z"],
    ] {
        followed.refusal(&here, args)?;
    }
    here.odfs(["key", "import", "t", &key])?;
    here.odfs(["publish", &mine, "--exit"])?;
    fs::write(&file, "id,city\n1,Oslo\n2,Roma\n3,Bern\n")?;
    there.odfs(["publish", &file, "--exit"])?;
    there.odfs(["push", "t", "--to", &place])?;
    followed.refusal(&here, &["push", "t", "--to", &place])?;
    followed.refusal(&here, &["pull", &place])?;
    assert_eq!(followed.situations, 7);

    // Over the network, with one key: the other one was faster.
    let (there, file) = first(&SNAPSHOT)?;
    let key = text(&there.path().join("t.key"));
    there.odfs(["key", "export", "t", "--output", &key])?;
    let node = there.node()?;
    let here = Workspace::new()?;
    here.know(&[&node.address])?;
    here.odfs(["key", "import", "t", &key])?;
    let mine = text(&here.write("t.csv", "id,city\n1,Oslo\n2,Rome\n3,Bern\n")?);
    here.odfs(["publish", &mine, "--exit"])?;
    fs::write(&file, "id,city\n1,Oslo\n2,Roma\n3,Bern\n")?;
    there.odfs(["publish", &file, "--exit"])?;
    fs::write(&mine, "id,city\n1,Oslo\n2,Rome\n3,Bern\n5,Lyon\n")?;
    followed.refusal(&here, &["publish", &mine, "--exit", "--peer", &node.address])?;
    assert!(
        followed.commands.contains("odfs pull t --rebase"),
        "{:?}",
        followed.commands
    );
    assert_eq!(here.chain("t")?, there.chain("t")?);
    node.stop()?;
    Ok(())
}
