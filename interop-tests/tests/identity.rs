//! Which dataset a published file belongs to, whoever holds its key, and how a publication ends.

use std::fs;
use std::path::{Path, PathBuf};

use interop_tests::workspace::dataset::{Published, table};
use interop_tests::{Node, Outcome, Workspace};
use serde_json::Value;

/// A file in a workspace that has been published once.
fn first(workspace: &Workspace, rows: u64) -> Outcome<(PathBuf, Published)> {
    let path = workspace.write("t.csv", table(rows))?;
    let published = workspace.publish(&[&path.display().to_string()])?;
    Ok((path, published))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Gives another workspace the key `t`.
fn give_key(from: &Workspace, to: &Workspace) -> Outcome {
    let file = to.path().join("t.key");
    from.odfs(["key", "export", "t", "--output", &text(&file)])?;
    to.odfs(["key", "import", "t", &text(&file)])?;
    Ok(())
}

/// Brings into `there`, as `t`, what was published, from a node that has it.
fn bring(there: &Workspace, published: &Published, node: &Node) -> Outcome {
    let name = format!("ipns://{}", published.name);
    there.odfs(["pull", &name, "--as", "t", "--peer", &node.address])?;
    Ok(())
}

/// The sequence number of the only name that `status` shows, and what becomes of it.
fn name_of(workspace: &Workspace) -> Outcome<(u64, String)> {
    let status = workspace.odfs(["status", "-o", "json"])?.json()?;
    let name = &status["names"][0];
    let [sequence, role] = ["Sequence", "Role"].map(|key| name[key].clone());
    Ok((
        sequence.as_u64().ok_or("no sequence number")?,
        role.as_str().ok_or("no role")?.to_owned(),
    ))
}

#[test]
fn a_renamed_dataset_goes_on_getting_the_rows_of_its_file() -> Outcome {
    let workspace = Workspace::new()?;
    let (file, published) = first(&workspace, 3)?;
    workspace.odfs(["rename", "t", "u"])?;
    fs::write(&file, table(4))?;
    let again = workspace.publish(&[&text(&file)])?;
    assert_eq!(again.name, published.name);
    assert!(
        again
            .said
            .stderr
            .contains("was published into u before, and goes there again"),
        "{}",
        again.said.stderr
    );
    assert_eq!(workspace.list()?.len(), 1);
    assert_eq!(workspace.dataset("u")?.records, 4);

    // Another file of the same name may be meant for it or not: nobody decides that for the owner, with --yes neither.
    let other = workspace.write("other/t.csv", table(5))?;
    let asked = workspace.refused(["publish", &text(&other), "--exit", "--yes"])?;
    assert_eq!(asked.code(), Some(7), "{}", asked.stderr);
    assert!(
        asked.stderr.contains("could go into u") && asked.stderr.contains("--as new` makes a new one"),
        "{}",
        asked.stderr
    );
    let new = workspace.publish(&[&text(&other), "--as", "new"])?;
    assert_ne!(new.name, published.name);
    assert!(
        new.said.stderr.contains("becomes a new dataset, t,"),
        "{}",
        new.said.stderr
    );
    assert_eq!(workspace.dataset("t")?.records, 5);
    // Now its own file has two.
    let asked = workspace.refused(["publish", &text(&file), "--exit"])?;
    assert!(
        asked.code() == Some(7)
            && asked
                .stderr
                .contains("was published into u before, and t is another dataset"),
        "{}",
        asked.stderr
    );
    fs::write(&file, table(6))?;
    workspace.publish(&[&text(&file), "--as", "u"])?;
    assert_eq!(workspace.dataset("u")?.records, 6);
    let both = workspace.refused(["publish", &text(&file), "--as", "u", "--name", "u", "--exit"])?;
    assert_eq!(both.code(), Some(2), "{}", both.stderr);
    Ok(())
}

#[test]
fn a_deleted_dataset_comes_back_from_who_has_it_under_its_old_name() -> Outcome {
    let (here, there) = (Workspace::new()?, Workspace::new()?);
    let (file, published) = first(&here, 3)?;
    let node = here.node()?;
    bring(&there, &published, &node)?;
    node.stop()?;
    let deleted = here.odfs(["delete", "t", "--yes"])?;
    assert!(deleted.stderr.contains("The key t stays"), "{}", deleted.stderr);

    fs::write(&file, table(4))?;
    // Nobody is there: not a second history under the name, nor another name.
    let alone = here.refused(["publish", &text(&file), "--exit"])?;
    assert_eq!(alone.code(), Some(9), "{}", alone.stderr);
    assert!(
        alone.stderr.contains("nobody could be asked") && alone.stderr.contains("--peer"),
        "{}",
        alone.stderr
    );
    assert!(here.list()?.is_empty());

    let node = there.node()?;
    let back = here.publish(&[&text(&file), "--peer", &node.address])?;
    assert_eq!(back.name, published.name);
    assert!(
        back.said.stderr.contains("t is here again, with 3 row(s)"),
        "{}",
        back.said.stderr
    );
    assert_eq!(here.dataset("t")?.records, 4);
    // Who follows the name gets the new row; it is one history.
    let serving = here.node()?;
    there.odfs(["pull", "t", "--peer", &serving.address])?;
    assert_eq!(there.dataset("t")?.head, here.dataset("t")?.head);
    here.odfs(["verify"])?;
    serving.stop()?;
    node.stop()?;

    let gone = here.odfs(["delete", "t", "--with-key", "--yes"])?;
    assert!(gone.stderr.contains("The key t is gone"), "{}", gone.stderr);
    assert!(!here.odfs(["key", "list"])?.text().contains(&published.name));
    let new = here.publish(&[&text(&file)])?;
    assert_ne!(new.name, published.name);
    Ok(())
}

#[test]
fn a_new_history_under_a_key_is_begun_only_when_it_is_said() -> Outcome {
    let workspace = Workspace::new()?;
    let (file, published) = first(&workspace, 3)?;
    workspace.odfs(["delete", "t", "--yes"])?;
    let other = workspace.publish(&[&text(&file), "--as", "new"])?;
    assert_ne!(other.name, published.name);
    workspace.odfs(["delete", "t", "--with-key", "--yes"])?;
    let anew = workspace.publish(&[&text(&file), "--as", "t", "--force"])?;
    assert_eq!(anew.name, published.name);
    assert!(
        anew.said.stderr.contains("A new history begins under ipns://"),
        "{}",
        anew.said.stderr
    );
    Ok(())
}

#[test]
fn two_people_with_one_key_do_not_part_unnoticed() -> Outcome {
    let (ann, bob) = (Workspace::new()?, Workspace::new()?);
    let (file, published) = first(&ann, 3)?;
    give_key(&ann, &bob)?;
    let ann_node = ann.node()?;
    let theirs = bob.write("t.csv", table(4))?;
    // The new laptop has the key only: the history is fetched, and the row comes on top.
    let joined = bob.publish(&[&text(&theirs), "--peer", &ann_node.address])?;
    assert_eq!(joined.name, published.name);
    assert!(
        joined.said.stderr.contains("t is here again, with 3 row(s)"),
        "{}",
        joined.said.stderr
    );
    assert_eq!(bob.dataset("t")?.records, 4);
    let bob_node = bob.node()?;

    // Ann does not know of it. Her rows are not taken, and what she is told works.
    let before = ann.dataset("t")?.head;
    fs::write(&file, table(5))?;
    let refused = ann.refused(["publish", &text(&file), "--exit", "--peer", &bob_node.address])?;
    assert_eq!(refused.code(), Some(7), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("t was changed elsewhere with the same key")
            && refused.stderr.contains("Next: `odfs pull t` brings it here"),
        "{}",
        refused.stderr
    );
    assert_eq!(ann.dataset("t")?.head, before);
    ann.odfs(["pull", "t"])?;
    assert_eq!(ann.dataset("t")?.head, bob.dataset("t")?.head);
    ann.publish(&[&text(&file)])?;
    assert_eq!(ann.dataset("t")?.records, 5);

    // A pull of the own name locks nobody out, and is no copy of somebody else's.
    bob.odfs(["pull", "t", "--peer", &ann_node.address])?;
    fs::write(&theirs, table(6))?;
    bob.publish(&[&text(&theirs)])?;
    let listed = bob.odfs(["list", "-o", "json"])?.json()?;
    assert_eq!(listed[0]["Kind"], Value::from("Root"));
    bob_node.stop()?;
    ann_node.stop()?;
    Ok(())
}

#[test]
fn an_own_name_that_nobody_could_be_asked_for_is_not_called_up_to_date() -> Outcome {
    let workspace = Workspace::new()?;
    let (_, published) = first(&workspace, 3)?;
    let name = format!("ipns://{}", published.name);
    let before = workspace.dataset("t")?.head;
    for command in [
        &["pull", "t"][..],
        &["pull", "t", "--rebase"],
        &["pull", &name, "--rebase"],
    ] {
        let told = workspace.refused(command)?;
        assert_eq!(told.code(), Some(9), "{command:?}: {}", told.stderr);
        assert!(
            told.stderr.contains("nobody could be asked") && !told.text().contains("up to date"),
            "{command:?}: {} {}",
            told.text(),
            told.stderr
        );
    }
    assert_eq!(workspace.dataset("t")?.head, before);

    // What is remembered of the name can be looked at, and is called that; the second time there is nothing new to it.
    let look = ["pull", &name, "--as", "t-there"];
    let copied = workspace.odfs(look)?;
    assert!(
        copied.stderr.contains("nobody could be asked for ipns://") && copied.stderr.contains("newest that was heard"),
        "{}",
        copied.stderr
    );
    let again = workspace.refused(look)?;
    assert!(
        again.code() == Some(9) && again.stderr.contains("the copy is as it was"),
        "{}",
        again.stderr
    );
    Ok(())
}

#[test]
fn the_key_that_is_copied_is_that_of_the_dataset() -> Outcome {
    let workspace = Workspace::new()?;
    let (file, published) = first(&workspace, 3)?;
    let export = |name: &str, file: &str| workspace.odfs(["key", "export", name, "--output", file]);
    let key = |file: &str| fs::read(workspace.path().join(file));
    export("t", "first.key")?;
    workspace.odfs(["rename", "t", "u"])?;
    export("u", "renamed.key")?;
    assert_eq!(key("first.key")?, key("renamed.key")?);

    // A name that was taken once before has a key already, which is not that of the new dataset.
    workspace.odfs(["delete", "u", "--yes"])?;
    let again = workspace.publish(&[&text(&file), "--as", "new"])?;
    assert_ne!(again.name, published.name);
    let dataset = workspace.list()?.into_keys().next().unwrap_or_default();
    assert!(
        again.said.stderr.contains("Only who has its key can ever publish"),
        "{}",
        again.said.stderr
    );
    workspace.odfs(["rename", &dataset, "t"])?;
    let refused = workspace.refused(["key", "export", "t", "--output", "other.key"])?;
    assert!(
        refused.code() == Some(7)
            && refused
                .stderr
                .contains(&format!("`odfs key export {}` writes that of the dataset", again.name)),
        "{}",
        refused.stderr
    );
    export(&again.name, "other.key")?;
    export(&published.name, "old.key")?;
    assert_eq!(key("old.key")?, key("first.key")?);
    assert_ne!(key("other.key")?, key("first.key")?);

    // The form of a report elsewhere is no name of a file here.
    let form = workspace.refused(["key", "export", &again.name, "-o", "json"])?;
    assert!(
        form.code() == Some(2) && !workspace.path().join("json").exists(),
        "{}",
        form.stderr
    );
    Ok(())
}

#[test]
fn a_pulled_dataset_is_its_owners_once_the_key_is_there() -> Outcome {
    let (here, there) = (Workspace::new()?, Workspace::new()?);
    let (file, published) = first(&here, 3)?;
    let node = here.node()?;
    bring(&there, &published, &node)?;
    let copy = there.write("t.csv", fs::read(&file)?)?;
    fs::write(&copy, table(4))?;
    let locked = there.refused(["publish", &text(&copy), "--exit"])?;
    assert!(
        locked.code() == Some(7) && locked.stderr.contains("rows are added there"),
        "{}",
        locked.stderr
    );
    give_key(&here, &there)?;
    there.publish(&[&text(&copy)])?;
    assert_eq!(there.dataset("t")?.records, 4);
    node.stop()?;
    Ok(())
}

#[test]
fn a_publication_ends_as_far_as_it_can() -> Outcome {
    let workspace = Workspace::new()?;
    let (file, published) = first(&workspace, 3)?;
    assert!(
        published.said.stderr.contains("It is public now") && published.said.stderr.contains("`odfs unpublish t`"),
        "{}",
        published.said.stderr
    );
    let (sequence, role) = name_of(&workspace)?;
    assert_eq!(role, "published");
    let node = workspace.node()?;
    let told = workspace.odfs(["unpublish", "t"])?;
    assert!(
        told.text().contains("t is no longer announced from here")
            && told.text().contains("stays valid until 20")
            && told.text().contains("copies that others have pulled stay with them"),
        "{}",
        told.text()
    );
    node.stop()?;
    assert_eq!(name_of(&workspace)?, (sequence, "unpublished".to_owned()));
    let shared = workspace.odfs(["share", "--list", "-o", "json"])?.json()?;
    assert_eq!(shared[0]["Open"], Value::from(false));
    // Again, for a program.
    let again = workspace.odfs(["unpublish", "t", "-o", "json"])?.json()?;
    assert_eq!(again["names"][0]["name"], Value::from(published.name.clone()));
    assert!(
        again["names"][0]["validUntil"].is_string() && again["shared"] == false,
        "{again}"
    );

    fs::write(&file, table(4))?;
    let back = workspace.publish(&[&text(&file)])?;
    assert_eq!(back.name, published.name);
    assert!(
        back.said.stderr.contains("t was unpublished, and is published again"),
        "{}",
        back.said.stderr
    );
    let (later, role) = name_of(&workspace)?;
    assert!(later > sequence && role == "published", "{later} {role}");

    // What the owner shares by itself stays so.
    workspace.odfs(["share", "t"])?;
    let told = workspace.odfs(["unpublish", "t"])?.text();
    assert!(told.contains("`odfs share t --stop` ends that"), "{told}");
    let never = workspace.write("n.ndjson", "{\"a\":1}\n")?;
    workspace.publish(&[&text(&never)])?;
    Ok(())
}

#[test]
fn a_publication_that_is_killed_leaves_the_file_and_the_key_together() -> Outcome {
    let workspace = Workspace::new()?;
    let file = text(&workspace.write("t.csv", table(2000))?);
    for moment in [0, 5, 10, 20, 30, 50, 80, 120] {
        let running = workspace.start(["publish", &file, "--exit"])?;
        std::thread::sleep(std::time::Duration::from_millis(moment));
        running.kill()?;
        // Whatever was left: the next one needs nobody's help, and there is one dataset and one key.
        workspace.publish(&[&file])?;
        assert_eq!(workspace.list()?.len(), 1, "after {moment} ms");
        let keys = workspace.odfs(["key", "list", "-o", "json"])?.json()?;
        let keys = keys
            .as_array()
            .map_or(0, |keys| keys.iter().filter(|key| key["Name"] != "self").count());
        assert_eq!(keys, 1, "after {moment} ms");
        workspace.odfs(["delete", "t", "--with-key", "--yes"])?;
    }
    Ok(())
}
