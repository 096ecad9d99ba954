//! What took somebody by surprise, said before or after it happens: rows that repeat a key, a file that undoes what was undone,
//! columns that are text for the way in which numbers and dates are written, and changes on top of what is no longer the newest.

use std::fs;

use interop_tests::workspace::dataset::table;
use interop_tests::{Outcome, Workspace};

fn rows_of(workspace: &Workspace, name: &str) -> Outcome<Vec<String>> {
    let text = workspace.odfs(["export", name, "-"])?.text();
    let rows = text.lines().skip(1);
    let mut rows: Vec<String> = rows
        .map(|row| row.split_once(',').map_or("", |(_, row)| row).to_owned())
        .collect();
    rows.sort();
    Ok(rows)
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn rows_that_repeat_a_key_of_their_file_are_told() -> Outcome {
    let workspace = Workspace::new()?;
    let path = workspace.write("t.csv", "id,v\n1,a\n2,b\n1,c\n2,b\n")?;
    let file = path.display().to_string();
    // A ledger keeps all of them, the first time and later.
    let first = workspace.publish(&[&file, "--primary-key", "id"])?.said;
    says(
        &first.stderr,
        &[
            "id: 2 row(s) have the key of an earlier row",
            "taken beside it",
            "Row 3 has the key (1) of row 1",
            "--merge upsert",
        ],
    );
    assert_eq!(rows_of(&workspace, "t")?, ["1,a", "1,c", "2,b", "2,b"]);
    fs::write(&path, "id,v\n1,a\n2,b\n1,c\n2,b\n7,x\n8,y\n7,z\n")?;
    let args = ["publish", &file, "--exit", "-o", "json"];
    let second = workspace.odfs(args)?.json()?;
    let notes = &second["notes"];
    assert_eq!(
        (&notes[0]["kind"], &notes[0]["values"]),
        (&"repeatedKeys".into(), &1.into()),
        "{notes}"
    );
    says(&notes.to_string(), &["Row 7 has the key (7) of row 5"]);
    assert_eq!(second["rows"], 3);
    // Whom nothing is kept from is told nothing.
    fs::write(&path, "id,v\n1,a\n2,b\n1,c\n2,b\n7,x\n8,y\n7,z\n9,q\n")?;
    let third = workspace.odfs(args)?.json()?;
    assert_eq!((&third["notes"], &third["rows"]), (&serde_json::json!([]), &1.into()));
    // The way on needs no key: the dataset has one. An upsert takes the last row, and says so where others say something else.
    let upsert = workspace.publish(&[&file, "--merge", "upsert"])?.said;
    says(
        &upsert.stderr,
        &[
            "id: 2 row(s) have the key",
            "and other values; the last row of each key was taken",
            "Row 3 has the key (1) of row 1",
        ],
    );
    assert_eq!(rows_of(&workspace, "t")?, ["1,c", "2,b", "7,z", "8,y", "9,q"]);
    let refused = workspace.refused(["publish", &file, "--as", "new", "--merge", "upsert", "--exit"])?;
    says(&refused.stderr, &["upsert needs --primary-key"]);
    Ok(())
}

#[test]
fn keys_repeat_alike_where_little_is_held_and_where_a_source_says_how_rows_come() -> Outcome {
    let workspace = Workspace::new()?;
    let mut rows: String = (0..5_000).map(|id| format!("{id},a\n")).collect();
    rows.push_str("17,b\n");
    workspace.write("t.csv", format!("id,v\n{rows}"))?;
    workspace.write("one.csv", "id,v\n90001,a\n")?;
    workspace.publish(&["one.csv", "--as", "t", "--primary-key", "id"])?;
    let said = workspace.odfs(["ingest", "t", "t.csv"])?;
    says(
        &said.stderr,
        &["id: 1 row(s) have the key", "Row 5001 has the key (17) of row 18"],
    );
    Ok(())
}

#[test]
fn a_file_does_not_undo_unsaid_what_was_done_since_it_was_published() -> Outcome {
    let workspace = Workspace::new()?;
    let path = workspace.write("t.csv", "id,v\n1,a\n2,b\n")?;
    let file = path.display().to_string();
    workspace.publish(&[&file, "--primary-key", "id", "--merge", "snapshot"])?;
    let good = workspace.dataset("t")?.head;
    fs::write(&path, "id,v\n1,a\n2,wrong\n")?;
    workspace.publish(&[&file])?;
    let restored = workspace.odfs(["restore", "t", &good, "--yes"])?;
    says(&restored.stderr, &["refuses it until it is corrected"]);
    let head = workspace.dataset("t")?.head;
    for _ in 0..2 {
        let refused = workspace.refused(["publish", &file, "--exit", "-q"])?;
        assert_eq!(refused.code(), Some(7), "{}", refused.stderr);
        says(
            &refused.stderr,
            &["would take that back", "(1 corrected)", "nothing was taken", "--yes"],
        );
        assert_eq!(workspace.dataset("t")?.head, head);
    }
    // What changes nothing is refused to nobody, and what is corrected is taken.
    fs::write(&path, "id,v\n1,a\n2,b\n")?;
    workspace.publish(&[&file])?;
    fs::write(&path, "id,v\n1,a\n2,right\n")?;
    workspace.publish(&[&file])?;
    workspace.odfs(["restore", "t", &good, "--yes"])?;
    workspace.refused(["publish", &file, "--exit"])?;
    let meant = workspace.odfs(["publish", &file, "--exit", "--yes"])?;
    says(&meant.text(), &["1 corrected"]);
    assert_eq!(rows_of(&workspace, "t")?, ["1,a", "2,right"]);
    // Rows that were brought in otherwise are not taken back either.
    workspace.write("other.csv", "id,v\n1,a\n3,c\n")?;
    workspace.odfs(["ingest", "t", "other.csv"])?;
    let refused = workspace.refused(["publish", &file, "--exit"])?;
    says(
        &refused.stderr,
        &["the dataset was changed since", "1 added, 1 retracted"],
    );
    assert_eq!(rows_of(&workspace, "t")?, ["1,a", "3,c"]);
    Ok(())
}

#[test]
fn columns_that_are_text_for_the_way_they_are_written_are_told() -> Outcome {
    let workspace = Workspace::new()?;
    workspace.write("t.csv", "id;price;day\n1;12,5;01.02.2026\n2;1.234,75;31.12.2026\n")?;
    let said = workspace.publish(&["t.csv"])?.said;
    says(
        &said.stderr,
        &[
            "price: text, because its numbers have commas",
            "day: text, because its dates are not written like 2026-02-01",
        ],
    );
    assert_eq!(
        rows_of(&workspace, "t")?,
        ["1,\"12,5\",01.02.2026", "2,\"1.234,75\",31.12.2026"]
    );
    // A file of tabs that has none.
    workspace.write("s.tsv", "id;price\n1;2\n")?;
    let said = workspace.publish(&["s.tsv"])?.said;
    says(
        &said.stderr,
        &["one value, of the column `id;price`", "--separator ';' --as new`"],
    );
    let again = workspace.publish(&["s.tsv", "--separator", ";", "--as", "new"])?.said;
    assert!(!again.stderr.contains("one value"), "{}", again.stderr);
    workspace.write("one.csv", "name\nx;y\n")?;
    let one = workspace.publish(&["one.csv"])?.said;
    assert!(!one.stderr.contains("one value"), "{}", one.stderr);
    Ok(())
}

#[test]
fn alter_and_restore_refuse_what_publish_refuses() -> Outcome {
    let (ann, bob) = (Workspace::new()?, Workspace::new()?);
    let path = ann.write("t.csv", "id,v\n1,a\n")?;
    let file = path.display().to_string();
    ann.publish(&[&file, "--primary-key", "id", "--merge", "upsert"])?;
    let first = ann.dataset("t")?.head;
    fs::write(&path, "id,v\n1,b\n")?;
    let name = ann.publish(&[&file])?.name;
    let before = ann.save()?;
    fs::write(&path, "id,v\n1,c\n")?;
    ann.publish(&[&file])?;
    let node = ann.node()?;
    bob.odfs(["pull", &format!("ipns://{name}"), "--as", "t", "--peer", &node.address])?;
    node.stop()?;
    // Another machine with the same key, which has not heard of the newest rows.
    ann.restore(&before)?;
    let served = bob.node()?;
    let head = ann.dataset("t")?.head;
    for args in [
        &["alter", "t", "--description", "Levels", "--peer", &served.address][..],
        &["restore", "t", &first, "--yes", "--peer", &served.address],
    ] {
        let refused = ann.refused(args)?;
        assert_eq!(refused.code(), Some(7), "{}", refused.stderr);
        says(
            &refused.stderr,
            &[
                "changed elsewhere with the same key",
                "nothing was changed",
                "`odfs pull t` brings it here",
            ],
        );
        assert_eq!(ann.dataset("t")?.head, head);
    }
    ann.odfs(["pull", "t", "--peer", &served.address])?;
    ann.odfs(["alter", "t", "--description", "Levels", "--peer", &served.address])?;
    served.stop()?;
    Ok(())
}

#[test]
fn a_reset_speaks_of_others_only_where_they_can_have_what_came_off() -> Outcome {
    let workspace = Workspace::new()?;
    let file = workspace.write("t.csv", table(3))?.display().to_string();
    workspace.publish(&[&file])?;
    let published = workspace.dataset("t")?.head;
    workspace.write("more.csv", table(4))?;
    workspace.odfs(["ingest", "t", "more.csv"])?;
    let said = workspace.odfs(["reset", "t", &published, "--yes"])?;
    assert!(!said.stderr.contains("push --force"), "{}", said.stderr);
    workspace.odfs(["ingest", "t", "more.csv"])?;
    workspace.odfs(["push", "t"])?;
    let said = workspace.odfs(["reset", "t", &published, "--yes"])?;
    says(&said.stderr, &["`odfs push --force t` publishes this one"]);
    workspace.odfs(["push", "--force", "t"])?;
    Ok(())
}

#[test]
fn rows_that_hold_and_rows_that_were_written_are_told_apart() -> Outcome {
    let workspace = Workspace::new()?;
    let path = workspace.write("t.csv", "id,v\n1,a\n")?;
    workspace.publish(&["t.csv", "--primary-key", "id", "--merge", "snapshot"])?;
    fs::write(path, "id,v\n1,b\n")?;
    workspace.publish(&["t.csv"])?;
    says(&workspace.odfs(["list", "-o", "table"])?.text(), &["Rows written"]);
    let tail = workspace.odfs(["tail", "t", "-o", "table"])?;
    says(
        &tail.stderr,
        &[
            "rows that hold no longer",
            "`odfs export t -` writes the rows that hold now",
        ],
    );
    assert!(workspace.odfs(["tail", "t"])?.stderr.is_empty());
    workspace.write("a.csv", "v\n1\n")?;
    workspace.publish(&["a.csv"])?;
    assert!(workspace.odfs(["tail", "a", "-o", "table"])?.stderr.is_empty());
    Ok(())
}

#[test]
fn what_a_dataset_says_of_itself_stands_in_one_place() -> Outcome {
    let workspace = Workspace::new()?;
    workspace.write("t.csv", "id,v\n1,a\n")?;
    workspace.write("README.md", "# Levels\n")?;
    workspace.publish(&["t.csv", "--primary-key", "id"])?;
    let bare = workspace.odfs(["inspect", "about", "t"])?.text();
    says(
        &bare,
        &[
            "none; `odfs alter t --description TEXT` gives it one",
            "none; `odfs alter t --license SPDX`",
            "ipns://k51",
        ],
    );
    let alter = [
        "alter",
        "t",
        "--description",
        "Water levels",
        "--keyword",
        "water",
        "--license",
        "CC-BY-4.0",
        "--attach",
        "README.md",
    ];
    workspace.odfs(alter)?;
    let told = workspace.odfs(["inspect", "about", "t"])?.text();
    says(
        &told,
        &[
            "description  Water levels",
            "licence      CC-BY-4.0, https://spdx.org/",
            "keywords     water",
            "README.md (9 B)",
            "key          id",
        ],
    );
    let json = workspace.odfs(["inspect", "about", "t", "-o", "json"])?.json()?;
    assert_eq!(
        (&json["license"]["spdxId"], &json["description"]),
        (&"CC-BY-4.0".into(), &"Water levels".into())
    );
    assert_eq!(
        workspace
            .odfs(["inspect", "about", "t", "--attached", "README.md"])?
            .text(),
        "# Levels"
    );
    let refused = workspace.refused(["inspect", "about", "t", "--attached", "x"])?;
    says(&refused.stderr, &["attached are README.md"]);
    Ok(())
}

#[test]
fn a_disk_that_is_full_or_read_only_is_called_that() -> Outcome {
    let Some(workspace) = Workspace::on_small_disk(24 << 20)? else {
        return Ok(());
    };
    workspace.write("t.csv", "id,v\n1,a\n")?;
    workspace.publish(&["t.csv"])?;
    let disk = workspace.disk().ok_or("a disk of its own")?;
    disk.resize(disk.used()? + 4096)?;
    let full = workspace.refused(["ingest", "t", "t.csv"])?;
    assert_eq!(full.code(), Some(12), "{}", full.stderr);
    let listed = workspace.run(["list", "-o", "json"])?;
    says(&listed.stderr, &["the disk is full", "Free some space"]);
    assert!(!listed.stderr.contains("damaged"), "{}", listed.stderr);
    if listed.succeeded() {
        assert!(listed.json()?[0]["Damaged"].is_null(), "{}", listed.text());
    }
    disk.resize(24 << 20)?;
    assert!(workspace.odfs(["list"])?.stderr.is_empty());
    disk.set_read_only(true)?;
    for args in [&["list"][..], &["tail", "t"]] {
        let refused = workspace.refused(args)?;
        says(
            &refused.stderr,
            &[
                "on a disk that is read-only",
                "its lock",
                "set ODFS_PATH to the copy",
                "/datasets/ID/data",
            ],
        );
    }
    disk.set_read_only(false)?;
    Ok(())
}

#[test]
fn silence_is_for_messages_and_leaves_results() -> Outcome {
    let workspace = Workspace::new()?;
    workspace.write("t.csv", "id,v\n1,a\n")?;
    let quiet = workspace.odfs(["-q", "publish", "t.csv", "--exit"])?;
    assert!(
        quiet.stderr.is_empty() && quiet.text().contains("Created t"),
        "{quiet:?}"
    );
    let renamed = workspace.odfs(["-q", "rename", "t", "u"])?;
    assert!(renamed.stderr.is_empty(), "{}", renamed.stderr);
    Ok(())
}

#[test]
fn init_and_help_are_there_for_who_tries_them_first() -> Outcome {
    let workspace = Workspace::new()?;
    let folder = workspace.path().join("below");
    fs::create_dir(&folder)?;
    let init = || -> Outcome<_> {
        let mut command = workspace.command(["init"])?;
        command.current_dir(&folder);
        interop_tests::process::run(command, interop_tests::workspace::LIMIT)?.success()
    };
    let made = init()?;
    says(&made.text(), &["below/.odfs is the workspace of this directory"]);
    says(&made.stderr, &["Until now it was", "To go back to it"]);
    assert!(folder.join(".odfs").is_dir());
    says(&init()?.text(), &["already"]);
    assert_eq!(
        workspace.odfs(["help", "publish"])?.text(),
        workspace.odfs(["publish", "--help"])?.text()
    );
    says(&workspace.odfs(["help"])?.text(), &["Exit codes:"]);
    Ok(())
}
