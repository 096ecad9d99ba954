//! What somebody runs into who has read the README alone: files that are called alike, keys that stand twice, a header that
//! is none, and names of files that nothing is written to.

use std::fs;

use interop_tests::{Outcome, Workspace};

fn rows_of(workspace: &Workspace, name: &str) -> Outcome<Vec<String>> {
    let text = workspace.odfs(["export", name, "-"])?.text();
    let mut rows: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
    rows.sort();
    Ok(rows)
}

#[test]
fn a_file_of_the_same_name_elsewhere_is_not_taken_for_the_one_of_a_dataset() -> Outcome {
    let workspace = Workspace::new()?;
    let berlin = workspace.write("berlin/temps.csv", "id,v\n1,a\n2,b\n")?;
    let paris = workspace.write("paris/temps.csv", "id,v\n3,c\n")?;
    let (berlin, paris) = (berlin.display().to_string(), paris.display().to_string());
    workspace.publish(&[&berlin, "--primary-key", "id"])?;
    for more in [&[][..], &["--yes"]] {
        let args = [&["publish", paris.as_str(), "--primary-key", "id", "--exit"][..], more].concat();
        let refused = workspace.refused(args)?;
        assert_eq!(refused.code(), Some(7), "{}", refused.stderr);
        for words in ["is another file", berlin.as_str(), "--as temps`", "--as new`"] {
            assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
        }
    }
    assert_eq!(rows_of(&workspace, "temps")?.len(), 2);
    // Meant: then it belongs to it, and needs no word the next time.
    let added = workspace.publish(&[&paris, "--as", "temps"])?;
    let text = added.said.text();
    assert!(text.starts_with("Updated temps to "), "{text}");
    fs::write(&paris, "id,v\n3,c\n4,d\n")?;
    workspace.publish(&[&paris])?;
    assert_eq!(rows_of(&workspace, "temps")?.len(), 4);
    Ok(())
}

#[test]
fn a_file_that_was_moved_goes_on_with_its_dataset_and_that_is_said() -> Outcome {
    let workspace = Workspace::new()?;
    let old = workspace.write("a/temps.csv", "id,v\n1,a\n")?;
    workspace.publish(&[&old.display().to_string(), "--primary-key", "id"])?;
    fs::remove_file(&old)?;
    let new = workspace.write("b/temps.csv", "id,v\n1,a\n2,b\n")?;
    let said = workspace.publish(&[&new.display().to_string()])?.said;
    assert!(
        said.stderr.contains("goes into temps, the dataset of its name"),
        "{}",
        said.stderr
    );
    assert_eq!(rows_of(&workspace, "temps")?.len(), 2);
    Ok(())
}

/// Small numbers, the same ones each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % most
    }
}

/// After a snapshot the state is its file, whatever came before in whatever way.
#[test]
fn a_snapshot_leaves_just_the_rows_of_its_file() -> Outcome {
    let mut dice = Dice(7);
    for trial in 0..6 {
        let workspace = Workspace::new()?;
        let path = workspace.path().join("t.csv");
        let file = path.display().to_string();
        for step in 0..4 {
            let is_snapshot = step > 0 && (step == 3 || dice.below(3) == 0);
            let keys: Vec<u64> = match is_snapshot {
                true => (1..=5).filter(|_| dice.below(4) > 0).collect(),
                false => (0..6).map(|_| 1 + dice.below(5)).collect(),
            };
            let keys = if keys.is_empty() { vec![1] } else { keys };
            let mut rows: Vec<String> = keys.iter().map(|key| format!("{key},{}", dice.below(2))).collect();
            rows.push(format!("{},9", 10 + step));
            fs::write(&path, format!("id,v\n{}\n", rows.join("\n")))?;
            let how: &[&str] = match (is_snapshot, step, trial % 3) {
                (true, ..) => &["--primary-key", "id", "--merge", "snapshot", "--yes"],
                (_, _, 0) => &["--merge", "append", "--append-all"],
                (_, 0, _) | (_, _, 1) => &["--primary-key", "id", "--merge", "ledger"],
                _ => &["--primary-key", "id", "--merge", "upsert"],
            };
            workspace.publish(&[&[file.as_str()], how].concat())?;
            if is_snapshot {
                rows.sort();
                let held = rows_of(&workspace, "t")?;
                let mut held: Vec<&str> = held
                    .iter()
                    .map(|row| row.split_once(',').map_or("", |(_, row)| row))
                    .collect();
                held.sort_unstable();
                assert_eq!(held, rows, "trial {trial}, step {step}");
            }
        }
    }
    Ok(())
}

#[test]
fn keys_that_stand_twice_are_one_after_a_snapshot_and_an_upsert() -> Outcome {
    for merge in ["snapshot", "upsert"] {
        let workspace = Workspace::new()?;
        let path = workspace.write("t.csv", "id,v\n1,a\n2,b\n")?;
        let file = path.display().to_string();
        workspace.publish(&[&file])?;
        fs::write(&path, "id,v\n1,A\n2,b\n")?;
        workspace.publish(&[&file, "--append-all"])?;
        assert_eq!(rows_of(&workspace, "t")?.len(), 4);
        let said = workspace
            .publish(&[&file, "--primary-key", "id", "--merge", merge])?
            .said;
        let text = said.text();
        assert!(text.contains("2 corrected, 2 retracted"), "{text}");
        assert_eq!(rows_of(&workspace, "t")?.len(), 2);
        let again = workspace.publish(&[&file])?.said.text();
        assert!(again.contains("is up to date"), "{again}");
    }
    Ok(())
}

#[test]
fn a_first_line_that_is_a_row_is_spoken_of_and_can_be_one() -> Outcome {
    let workspace = Workspace::new()?;
    let path = workspace.write("t.csv", "1,Ada\n2,Grace\n")?;
    let file = path.display().to_string();
    let said = workspace.publish(&[&file])?.said;
    assert!(said.stderr.contains("`1` looks like a value"), "{}", said.stderr);
    workspace.publish(&[&file, "--no-header", "--as", "new"])?;
    let name = "t-2";
    let text = workspace.odfs(["export", name, "-"])?.text();
    assert!(
        text.lines()
            .next()
            .is_some_and(|line| line.ends_with("column_1,column_2")),
        "{text}"
    );
    assert_eq!(rows_of(&workspace, name)?.len(), 2);
    // It is remembered.
    fs::write(&path, "1,Ada\n2,Grace\n3,Mary\n")?;
    workspace.publish(&[&file, "--as", name])?;
    assert_eq!(rows_of(&workspace, name)?.len(), 3);

    // And a source that says there is one takes the first line for it, but not without a word.
    let named = workspace.write("u.csv", "id,name\n1,Ada\n")?;
    workspace.publish(&[&named.display().to_string()])?;
    let rows = workspace.write("rows.csv", "7,Emmy\n8,Lise\n")?;
    let pushed = workspace.odfs(["ingest", "u", &rows.display().to_string()])?;
    assert!(
        pushed.stderr.contains("7,Emmy: this first line was taken for a header"),
        "{}",
        pushed.stderr
    );
    fs::write(&rows, "NAME,ID\nMarie,9\n")?;
    let other = workspace.refused(["ingest", "u", &rows.display().to_string()])?;
    assert!(!other.stderr.contains("taken for a header"), "{}", other.stderr);
    Ok(())
}

#[test]
fn what_is_said_of_the_reading_of_a_dataset_that_has_settled_it_is_not_passed_over() -> Outcome {
    let workspace = Workspace::new()?;
    let path = workspace.write("t.csv", "id,v\n1,a\n")?;
    let file = path.display().to_string();
    workspace.publish(&[&file])?;
    let same = workspace.publish(&[&file, "--separator", ","])?.said;
    assert!(!same.stderr.contains("holds for this reading alone"), "{}", same.stderr);
    let said = workspace.publish(&[&file, "--decimal"])?.said;
    assert!(
        said.stderr.contains("--decimal is for finding out types"),
        "{}",
        said.stderr
    );
    fs::write(&path, "id;v\n1;a\n2;b\n")?;
    let said = workspace.publish(&[&file, "--separator", ";", "--append-all"])?.said;
    assert!(
        said.stderr.contains("--separator \";\" holds for this reading alone"),
        "{}",
        said.stderr
    );
    Ok(())
}

#[test]
fn an_export_to_the_name_of_a_file_makes_no_directory() -> Outcome {
    let workspace = Workspace::new()?;
    let path = workspace.write("t.csv", "id,v\n1,a\n")?;
    workspace.publish(&[&path.display().to_string()])?;
    for name in ["out.xlsx", "out.tsv", "out.csv.gz"] {
        let to = workspace.path().join(name);
        let refused = workspace.refused(["export", "t", &to.display().to_string()])?;
        assert_eq!(refused.code(), Some(2), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("csv, ndjson, json or parquet"),
            "{}",
            refused.stderr
        );
        assert!(!to.exists());
    }
    let to = workspace.path().join("out.odf");
    workspace.odfs(["export", "t", &format!("{}/", to.display())])?;
    assert!(to.join("refs").is_dir());
    Ok(())
}

#[test]
fn a_licence_is_one_of_the_list_and_spelt_as_there() -> Outcome {
    let workspace = Workspace::new()?;
    let path = workspace.write("t.csv", "id,v\n1,a\n")?;
    let path = path.display().to_string();
    let refused = workspace.refused(["publish", &path, "--license", "CC-BY-4", "--exit"])?;
    assert_eq!(refused.code(), Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("did you mean CC-BY-4.0?"), "{}", refused.stderr);
    workspace.publish(&[&path, "--license", "cc-by-4.0"])?;
    let log = workspace.odfs(["log", "t", "-o", "yaml"])?.text();
    assert!(log.contains("spdxId: CC-BY-4.0"), "{log}");
    let added = workspace.odfs(["alter", "t", "--add-column", "height DOUBLE"])?;
    assert!(
        added.stderr.contains("new rows needs a column `height`"),
        "{}",
        added.stderr
    );
    Ok(())
}
