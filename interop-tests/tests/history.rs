//! What changed, how it was, how it comes back, and two histories of one dataset: what a person sees.

use std::fs;

use interop_tests::{Finished, Outcome, Workspace};

const OPTIONS: [&str; 4] = ["--merge", "snapshot", "--primary-key", "id"];

/// Publishes these lines as the snapshot `t`.
fn publish(workspace: &Workspace, lines: &str) -> Outcome<Finished> {
    workspace.write("t.csv", format!("id,city\n{lines}"))?;
    workspace.odfs([&["publish", "t.csv", "--name", "t", "--exit"], &OPTIONS[..]].concat())
}

/// The cells of a CSV text behind its header, but for times.
fn rows(csv: &str) -> Vec<String> {
    let cells = |line: &str| -> Vec<String> {
        let cells = line.split(',').filter(|cell| !cell.starts_with("20"));
        cells.map(str::to_owned).collect()
    };
    csv.lines().skip(1).map(|line| cells(line).join(",")).collect()
}

/// Three states: blocks 3, 4 and 6, with a description between the last two.
fn with_history() -> Outcome<Workspace> {
    let workspace = Workspace::new()?;
    publish(&workspace, "1,Oslo\n2,Rome\n3,Bern\n")?;
    publish(&workspace, "1,Oslo\n2,Roma\n4,Kyiv\n")?;
    workspace.odfs(["alter", "t", "--description", "Cities"])?;
    publish(&workspace, "1,Oslo\n2,Roma\n4,Kyiv\n3,Bern\n5,Lyon\n")?;
    Ok(workspace)
}

#[test]
fn what_changed_is_shown_by_key_and_in_words() -> Outcome {
    let workspace = with_history()?;
    let diff = |args: &[&str]| workspace.odfs([&["diff", "t"], args].concat());
    let csv = diff(&["3", "4", "-o", "csv"])?;
    assert_eq!(
        rows(&csv.text()),
        [
            "corrected-from,2,Rome",
            "corrected-to,2,Roma",
            "retracted,3,Bern",
            "added,4,Kyiv"
        ]
    );
    // The other way round it is what would lead back.
    assert_eq!(
        rows(&diff(&["4", "3", "-o", "csv"])?.text()),
        [
            "corrected-from,2,Roma",
            "corrected-to,2,Rome",
            "added,3,Bern",
            "retracted,4,Kyiv"
        ]
    );
    // Without points it is the newest change of rows.
    assert_eq!(rows(&diff(&["-o", "csv"])?.text()), ["added,3,Bern", "added,5,Lyon"]);
    let table = diff(&["3", "-o", "table"])?;
    for line in ["│ ~ ┆", "Rome → Roma", "│ + ┆"] {
        assert!(table.text().contains(line), "{}", table.text());
    }
    for words in ["description: none → Cities", "2 row(s) added, 2 corrected, 0 retracted"] {
        assert!(table.stderr.contains(words), "{}", table.stderr);
    }
    let stat = diff(&["3", "--stat", "-o", "json"])?.json()?;
    assert_eq!(stat["added"], 2);
    assert_eq!(stat["corrected"], 2);
    assert_eq!(stat["other"][0], "description: none → Cities");
    let stat = diff(&["3", "4", "--stat", "-o", "table"])?.text();
    assert!(stat.ends_with("1 row(s) added, 1 corrected, 1 retracted"), "{stat}");
    assert_eq!(diff(&["6", "-o", "json"])?.text(), "[]");

    for (point, code, words) in [
        ("99", 3, "t has no block `99`"),
        ("dddd", 3, "t has no block `dddd`"),
        ("2020-01-01", 3, "so there is nothing of 2020-01-01"),
        ("yesterday", 2, "`yesterday` is neither a block"),
    ] {
        let refused = workspace.refused(["diff", "t", point])?;
        assert_eq!(refused.code(), Some(code), "{}", refused.stderr);
        assert!(
            refused.stderr.contains(words) && refused.stderr.contains("`odfs log t` shows"),
            "{}",
            refused.stderr
        );
    }
    Ok(())
}

#[test]
fn a_dataset_is_shown_as_it_was() -> Outcome {
    let workspace = with_history()?;
    let log = workspace.odfs(["log", "t", "-o", "json"])?.json()?;
    let whole = log[2]["Hash"].as_str().unwrap_or_default().to_owned();
    assert_eq!(log[2]["Sequence"], 4);
    let time = log[2]["Time"].as_str().unwrap_or_default().to_owned();
    // As listings show it on a terminal, and as somebody may copy it.
    let short = &whole[whole.len() - 8..];
    assert!(workspace.odfs(["log", "t", "-o", "table"])?.text().contains(short));
    let wanted = ["1,Oslo", "2,Roma", "4,Kyiv"];
    for point in [&whole, short, &whole[..14], "4", &time] {
        let csv = workspace.odfs(["export", "t", "-", "--as-of", point])?.text();
        assert_eq!(rows(&csv), wanted, "{point}");
    }
    let tail = workspace
        .odfs(["tail", "t", "-n", "1", "-o", "csv", "--as-of", short])?
        .text();
    assert_eq!(rows(&tail), ["6,0,4,Kyiv"]);
    let log = workspace.odfs(["log", "t", "-o", "json", "--as-of", short])?.json()?;
    assert_eq!((log[0]["Hash"].as_str(), log[5].is_null()), (Some(&*whole), true));
    workspace.odfs(["inspect", "schema", "t", "--as-of", "2"])?;
    let none = workspace.refused(["inspect", "schema", "t", "--as-of", "1"])?;
    assert!(none.stderr.contains("has no schema yet"), "{}", none.stderr);
    workspace.odfs(["export", "t", "then", "--as-of", short])?;
    assert_eq!(fs::read_to_string(workspace.path().join("then/refs/head"))?, whole);
    // What is here is as it was.
    assert_eq!(rows(&workspace.odfs(["export", "t", "-"])?.text()).len(), 5);
    workspace.odfs(["system", "decode", short, "--dataset", "t"])?;
    workspace.odfs(["-y", "reset", "t", short])?;
    assert_eq!(workspace.dataset("t")?.head, whole);
    Ok(())
}

#[test]
fn rows_come_back_as_a_new_block() -> Outcome {
    let workspace = with_history()?;
    let asked = workspace.refused(["restore", "t", "3"])?;
    assert_eq!(asked.code(), Some(7), "{}", asked.stderr);
    assert!(
        asked
            .stderr
            .contains("Stays as it is now, and was otherwise: description: Cities → none"),
        "{}",
        asked.stderr
    );
    let restored = workspace.odfs(["-y", "restore", "t", "3"])?;
    assert!(
        restored.text().contains("0 row(s) added, 2 corrected, 2 retracted"),
        "{}",
        restored.text()
    );
    let mut now = rows(&workspace.odfs(["export", "t", "-"])?.text());
    now.sort();
    assert_eq!(now, ["1,Oslo", "2,Rome", "3,Bern"]);
    assert_eq!(
        workspace.odfs(["export", "t", "-"])?.text().matches("2,Rome").count(),
        1
    );
    let log = workspace.odfs(["log", "t", "-o", "json"])?.json()?;
    assert_eq!(log[0]["Sequence"], 7);
    workspace.odfs(["verify", "t"])?;
    let again = workspace.odfs(["-y", "restore", "t", "3"])?;
    assert!(again.text().contains("already"), "{}", again.text());
    // The file that was taken last is news again, for who says so.
    let unsaid = workspace.refused([&["publish", "t.csv", "--name", "t", "--exit"], &OPTIONS[..]].concat())?;
    assert!(
        unsaid.stderr.contains("would take that back (2 added, 1 corrected)"),
        "{}",
        unsaid.stderr
    );
    workspace.odfs([&["-y", "publish", "t.csv", "--name", "t", "--exit"], &OPTIONS[..]].concat())?;
    assert_eq!(rows(&workspace.odfs(["export", "t", "-"])?.text()).len(), 5);

    // Where rows only come, the ways on are named, and work.
    workspace.write("l.csv", "id,city\n1,Oslo\n")?;
    workspace.odfs(["publish", "l.csv", "--name", "l", "--primary-key", "id", "--exit"])?;
    workspace.write("l.csv", "id,city\n1,Oslo\n2,Rome\n")?;
    workspace.odfs(["publish", "l.csv", "--name", "l", "--exit"])?;
    let refused = workspace.refused(["-y", "restore", "l", "3"])?;
    assert_eq!(refused.code(), Some(7), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("ledger, rows only come")
            && refused.stderr.contains("`odfs export l l-then.csv --as-of 3`"),
        "{}",
        refused.stderr
    );
    workspace.odfs(["export", "l", "l-then.csv", "--as-of", "3"])?;
    workspace.odfs(["-y", "reset", "l", "3"])?;
    Ok(())
}

/// Two workspaces with one key and one dataset, pushed to a directory, whose address is given. Each has published what it is
/// told to since, and the first one has pushed that.
fn apart(first: &str, second: &str) -> Outcome<(Workspace, Workspace, String)> {
    let (here, there) = (Workspace::new()?, Workspace::new()?);
    let address = format!("file://{}", there.path().join("place").display());
    publish(&there, "1,Oslo\n2,Rome\n3,Bern\n")?;
    there.odfs(["push", "t", "--to", &address])?;
    let key = there.path().join("t.key").display().to_string();
    there.odfs(["key", "export", "t", "--output", &key])?;
    here.odfs(["pull", &address, "--as", "t", "--no-alias"])?;
    here.odfs(["key", "import", "t", &key])?;
    publish(&there, first)?;
    there.odfs(["push", "t"])?;
    publish(&here, second)?;
    Ok((here, there, address))
}

#[test]
fn two_histories_are_seen_side_by_side() -> Outcome {
    let (here, there, address) = apart("1,Oslo\n2,Roma\n3,Bern\n", "1,Oslo\n2,Rome\n3,Bern\n5,Lyon\n")?;
    let refused = here.refused(["pull", &address])?;
    assert_eq!(refused.code(), Some(7), "{}", refused.stderr);
    for words in [
        &format!("`odfs pull {address}/ --as t-there`"),
        &format!("`odfs pull {address}/ --rebase`"),
        "drops 1 block(s) with 1 row(s) of 20",
    ] {
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }
    let before = here.dataset("t")?;
    let told = here.odfs(["pull", &address, "--as", "t-there"])?;
    assert!(told.text().starts_with("t-there is a copy of what"), "{}", told.text());
    assert!(
        told.stderr.contains("`odfs diff t 3` and `odfs diff t-there 3`"),
        "{}",
        told.stderr
    );
    assert_eq!(
        rows(&here.odfs(["diff", "t", "3", "-o", "csv"])?.text()),
        ["added,5,Lyon"]
    );
    assert_eq!(
        rows(&here.odfs(["diff", "t-there", "3", "-o", "csv"])?.text()),
        ["corrected-from,2,Rome", "corrected-to,2,Roma"]
    );
    here.odfs(["log", "t-there"])?;
    let copy = here.dataset("t-there")?;
    assert_eq!(copy.head, there.dataset("t")?.head);
    assert!(here.odfs(["list", "-o", "csv"])?.text().contains("t-there,Copy,"));
    assert_eq!(here.dataset("t")?.head, before.head);
    // It is brought up to date, takes nothing, and is gone when it is deleted.
    publish(&there, "1,Oslo\n2,Roma\n3,Bern\n6,Linz\n")?;
    there.odfs(["push", "t"])?;
    here.odfs(["pull", &address, "--as", "t-there"])?;
    assert_eq!(here.dataset("t-there")?.head, there.dataset("t")?.head);
    here.refused(["ingest", "t-there", "t.csv"])?;
    here.refused(["pull", &address, "--as", "t-there", "--offline"])?;
    here.odfs(["verify"])?;
    here.odfs(["ipfs", "repo", "gc"])?;
    here.odfs(["delete", "t-there"])?;
    assert!(here.listed("t-there")?.is_none());
    here.odfs(["verify", "t"])?;

    // Who wants the other one is told what goes, and nothing goes unasked.
    let ours = here.dataset("t")?.head;
    let unasked = here.refused(["pull", &address, "--force", "-q"])?;
    assert!(
        unasked.code() == Some(7)
            && unasked.stderr.contains("1 block(s) with 1 row(s) of 20")
            && unasked.stderr.contains("--force --yes` drops them"),
        "{}",
        unasked.stderr
    );
    assert_eq!(here.dataset("t")?.head, ours);
    let forced = here.odfs(["pull", &address, "--force", "--yes"])?;
    assert!(
        forced.stderr.contains("1 block(s) with 1 row(s) of 20") && forced.stderr.contains("are dropped"),
        "{}",
        forced.stderr
    );
    assert_eq!(here.dataset("t")?.head, there.dataset("t")?.head);
    Ok(())
}

#[test]
fn what_was_done_here_goes_behind_what_was_done_there() -> Outcome {
    let (here, there, address) = apart("1,Oslo\n2,Roma\n3,Bern\n6,Linz\n", "1,Oslo\n2,Rome\n5,Lyon\n6,Linz\n")?;
    here.odfs(["alter", "t", "--description", "Cities"])?;
    let told = here.odfs(["pull", &address, "--rebase"])?;
    assert!(
        told.stderr
            .contains("2 row(s) of 1 block(s) are now behind the newest of")
            && told.stderr.contains("1 block(s) that describe it")
            && told.stderr.contains("1 change(s) were there already"),
        "{}",
        told.stderr
    );
    let mut now = rows(&here.odfs(["export", "t", "-"])?.text());
    now.sort();
    assert_eq!(now, ["1,Oslo", "2,Roma", "5,Lyon", "6,Linz"]);
    here.odfs(["verify", "t"])?;
    // Now one follows the other.
    here.odfs(["push", "t", "--to", &address])?;
    there.odfs(["pull", &address])?;
    assert_eq!(here.dataset("t")?.head, there.dataset("t")?.head);
    let again = here.odfs(["pull", &address, "--rebase"])?;
    assert!(again.text().contains("up to date"), "{}", again.text());

    // What both changed, and not alike, is named, and nothing is changed.
    let (here, _there, address) = apart("1,Oslo\n2,Roma\n3,Bern\n", "1,Oslo\n2,Rom\n3,Bern\n")?;
    let before = here.dataset("t")?.head;
    let refused = here.refused(["pull", &address, "--rebase"])?;
    assert_eq!(refused.code(), Some(7), "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("1 row(s) were changed on both sides, and not alike; the first has id 2"),
        "{}",
        refused.stderr
    );
    assert_eq!(here.dataset("t")?.head, before);
    here.odfs(["verify", "t"])?;
    Ok(())
}

#[test]
fn two_who_publish_under_one_name_come_together_again() -> Outcome {
    let (here, there) = (Workspace::new()?, Workspace::new()?);
    publish(&there, "1,Oslo\n2,Rome\n")?;
    let key = there.path().join("t.key").display().to_string();
    there.odfs(["key", "export", "t", "--output", &key])?;
    let node = there.node()?;
    let name = there.publish(&["t.csv", "--name", "t"])?.name;
    let address = format!("ipns://{name}");
    here.odfs(["pull", &address, "--as", "t", "--no-alias", "--peer", &node.address])?;
    here.odfs(["key", "import", "t", &key])?;
    publish(&there, "1,Oslo\n2,Rome\n3,Bern\n")?;
    here.know(&[&node.address])?;
    here.write("t.csv", "id,city\n1,Oslo\n2,Rome\n4,Kyiv\n")?;
    here.odfs(["ingest", "t", "t.csv"])?;
    let refused = here.refused(["push", "t"])?;
    assert!(
        refused.stderr.contains(&format!("odfs pull {address} --as other")),
        "{}",
        refused.stderr
    );
    here.odfs(["pull", &address, "--as", "other"])?;
    assert_eq!(here.dataset("other")?.head, there.dataset("t")?.head);
    assert_eq!(
        rows(&here.odfs(["export", "other", "-"])?.text()),
        ["1,Oslo", "2,Rome", "3,Bern"]
    );
    let told = here.odfs(["pull", "t", "--rebase"])?;
    assert!(
        told.stderr.contains("1 row(s) of 1 block(s) are now behind"),
        "{}",
        told.stderr
    );
    let other = here.node()?;
    here.odfs(["push", "t"])?;
    there.odfs(["pull", &address, "--peer", &other.address])?;
    assert_eq!(here.dataset("t")?.head, there.dataset("t")?.head);
    other.stop()?;
    assert_eq!(
        rows(&there.odfs(["export", "t", "-"])?.text()),
        ["1,Oslo", "2,Rome", "3,Bern", "4,Kyiv"]
    );
    node.stop()?;
    Ok(())
}
