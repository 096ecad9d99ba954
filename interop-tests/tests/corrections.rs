//! What a person is told when rows were corrected: how many were added, corrected and retracted, which were not taken, and
//! what takes them. And new columns, and words about the dataset.

use std::fs;

use interop_tests::process::Finished;
use interop_tests::workspace::dataset::table;
use interop_tests::{Outcome, Workspace};
use serde_json::Value;

/// Nobody who was asked said yes.
const REFUSED: i32 = 7;

/// A dataset `t` of a file that is written again and again.
struct Person {
    workspace: Workspace,
    file: String,
}

impl Person {
    fn new(first: &str, args: &[&str]) -> Outcome<Person> {
        let workspace = Workspace::new()?;
        let file = workspace.write("t.csv", first)?.display().to_string();
        let person = Person { workspace, file };
        person.publish(args)?;
        Ok(person)
    }

    fn write(&self, text: &str) -> Outcome {
        Ok(fs::write(&self.file, text)?)
    }

    fn publish(&self, args: &[&str]) -> Outcome<Finished> {
        self.workspace
            .odfs([&["publish", self.file.as_str(), "--name", "t", "--exit"], args].concat())
    }

    fn refused(&self, args: &[&str]) -> Outcome<Finished> {
        self.workspace
            .refused([&["publish", self.file.as_str(), "--name", "t", "--exit"], args].concat())
    }

    fn ingest(&self) -> Outcome<Finished> {
        self.workspace.odfs(["ingest", "t", self.file.as_str()])
    }

    fn head(&self) -> Outcome<String> {
        self.workspace.chain("t")
    }

    /// The rows that hold, without their times.
    fn state(&self) -> Outcome<Vec<String>> {
        let csv = self.workspace.odfs(["export", "t", "-"])?.text();
        let rows = csv.lines().skip(1);
        let mut rows: Vec<String> = rows.filter_map(|row| Some(row.split_once(',')?.1.to_owned())).collect();
        rows.sort_unstable();
        Ok(rows)
    }
}

/// The line with the counts.
fn counts(told: &Finished) -> Option<String> {
    let text = told.text();
    let line = text.lines().find_map(|line| line.strip_prefix("  rows     "))?;
    Some(line.to_owned())
}

fn object(told: &Finished) -> Outcome<Value> {
    Ok(serde_json::from_str(&told.text())?)
}

/// What a ledger says of so many rows.
fn passed(rows: u64) -> String {
    match rows {
        1 => "1 row has a key that is there already, with other values; a ledger keeps what is there, so it was not taken\n"
            .to_owned(),
        rows => format!(
            "{rows} rows have keys that are there already, with other values; a ledger keeps what is there, so they were not \
             taken\n"
        ),
    }
}

#[test]
fn a_ledger_tells_what_it_passed_over_and_the_command_that_it_names_takes_it() -> Outcome {
    let person = Person::new("id,city\n1,Oslo\n2,Rome\n3,Bern\n", &["--primary-key", "id"])?;
    // One row is corrected in place: nothing is written, and that is said.
    person.write("id,city\n1,Oslo\n2,Roma\n3,Bern\n")?;
    let told = person.publish(&[])?;
    assert!(told.text().starts_with("t is up to date\n"), "{}", told.text());
    assert!(told.stderr.contains(&passed(1)), "{}", told.stderr);
    let way = format!(
        "Next: `odfs publish {} --name t --primary-key id --merge upsert` takes them",
        person.file
    );
    assert!(told.stderr.contains(&way), "{}", told.stderr);
    // It is said until the file has rows that are taken.
    let again = person.publish(&[])?;
    assert!(again.stderr.contains(&passed(1)), "{}", again.stderr);

    // A corrected row behind the others of a file that has grown.
    person.write("id,city\n1,Oslo\n2,Roma\n3,Bern\n4,Kyiv\n1,Osla\n")?;
    let told = person.publish(&["-o", "json"])?;
    let report = object(&told)?;
    assert_eq!(
        (&report["added"], &report["passedOver"]),
        (&1.into(), &2.into()),
        "{report}"
    );
    assert!(told.stderr.contains(&passed(2)), "{}", told.stderr);

    // A file with the same rows in another order has nothing else to say.
    person.write("id,city\n4,Kyiv\n3,Bern\n1,Oslo\n2,Rome\n")?;
    let told = person.publish(&[])?;
    assert!(!told.stderr.contains("other values"), "{}", told.stderr);

    // `ingest` says the same.
    person.write("id,city\n4,Kiew\n3,Bern\n1,Oslo\n2,Roma\n")?;
    let told = person.ingest()?;
    assert_eq!(told.text(), "t is up to date");
    assert!(
        told.stderr.contains(&passed(2)) && told.stderr.contains(&way),
        "{}",
        told.stderr
    );

    // And the way out is one.
    let told = person.publish(&["--primary-key", "id", "--merge", "upsert"])?;
    assert_eq!(counts(&told).as_deref(), Some("2 corrected"), "{}", told.text());
    assert_eq!(person.state()?, ["1,Oslo", "2,Roma", "3,Bern", "4,Kiew"]);
    // It stays, also for those who push rows by the source.
    person.write("id,city\n3,Berne\n")?;
    let told = person.ingest()?;
    assert!(
        told.text().ends_with("(1 block(s), 2 row(s)): 1 corrected"),
        "{}",
        told.text()
    );
    person.workspace.odfs(["verify"])?;
    Ok(())
}

#[test]
fn a_ledger_compares_event_times_only_where_rows_have_them() -> Outcome {
    let person = Person::new(
        "at,id,v\n2024-01-01T00:00:00Z,1,a\n2024-01-02T00:00:00Z,2,\n",
        &["--primary-key", "id", "--event-time", "at"],
    )?;
    person.write("at,id,v\n2024-01-01T00:00:00Z,1,a\n2024-01-03T00:00:00Z,2,\n")?;
    let told = person.publish(&[])?;
    assert!(told.stderr.contains(&passed(1)), "{}", told.stderr);
    person.write("at,id,v\n,1,a\n2024-01-02T00:00:00Z,2,\n")?;
    let told = person.publish(&[])?;
    assert!(!told.stderr.contains("other values"), "{}", told.stderr);
    // Many rows, so that blocks of the reader end within the part that is known.
    let rows = |city: &str| {
        let rows =
            (0..30_000).map(|id| format!("2024-01-01T00:00:00Z,{id},{}\n", if id % 3 == 0 { city } else { "x" }));
        format!("at,id,v\n{}", rows.collect::<String>())
    };
    let many = Person::new(&rows("y"), &["--primary-key", "id", "--event-time", "at"])?;
    many.write(&rows("z"))?;
    let told = object(&many.publish(&["-o", "json"])?)?;
    assert_eq!(
        (&told["added"], &told["passedOver"]),
        (&0.into(), &10_000.into()),
        "{told}"
    );
    Ok(())
}

#[test]
fn a_changed_file_is_not_sent_to_a_ledger() -> Outcome {
    let person = Person::new("id,city\n1,Oslo\n2,Rome\n", &[])?;
    person.write("id,city\n1,Oslo\n2,Roma\n")?;
    let told = person.refused(&[])?;
    assert_eq!(told.code(), Some(REFUSED), "{}", told.stderr);
    assert!(
        told.stderr.contains("--merge snapshot") && !told.stderr.contains("ledger"),
        "{}",
        told.stderr
    );
    let told = person.publish(&["--merge", "snapshot", "--primary-key", "id"])?;
    assert_eq!(counts(&told).as_deref(), Some("1 corrected"), "{}", told.text());
    assert_eq!(person.state()?, ["1,Oslo", "2,Roma"]);
    Ok(())
}

#[test]
fn a_snapshot_that_lacks_more_than_half_is_not_taken_unasked() -> Outcome {
    let snapshot = ["--merge", "snapshot", "--primary-key", "id"];
    let person = Person::new("id,city\n1,Oslo\n2,Rome\n3,Bern\n4,Kyiv\n", &snapshot)?;
    // Half of them may go.
    person.write("id,city\n1,Oslo\n2,Roma\n5,Riga\n")?;
    let told = person.publish(&[])?;
    assert_eq!(
        counts(&told).as_deref(),
        Some("1 added, 1 corrected, 2 retracted"),
        "{}",
        told.text()
    );

    person.write("id,city\n5,Riga\n")?;
    let before = person.head()?;
    let told = person.refused(&[])?;
    assert_eq!(told.code(), Some(REFUSED), "{}", told.stderr);
    let said = "lacks 2 of the 3 rows that are there (id 1; id 2), and a snapshot retracts what its file lacks; that is more than half, and \
                nothing was taken\n";
    assert!(told.stderr.contains(said), "{}", told.stderr);
    assert!(told.stderr.contains("--yes takes it as it is"), "{}", told.stderr);
    assert_eq!(person.head()?, before, "nothing was written");

    let told = person.publish(&["--yes", "-o", "json"])?;
    let report = object(&told)?;
    assert_eq!(
        (&report["added"], &report["corrected"], &report["retracted"]),
        (&0.into(), &0.into(), &2.into()),
        "{report}"
    );
    assert_eq!(person.state()?, ["5,Riga"]);

    // `ingest` follows the source, as kamu does, and says it; the command that it names takes it back.
    let before = person.workspace.odfs(["log", "t", "-o", "json", "-n", "1"])?.text();
    person.write("id,city\n6,Bonn\n")?;
    let told = person.ingest()?;
    assert!(told.text().ends_with("): 1 added, 1 retracted"), "{}", told.text());
    assert!(
        told.stderr.contains("Attention: 1 of the 1 rows of t were retracted"),
        "{}",
        told.stderr
    );
    let reset = told.stderr.split('`').nth(1).unwrap_or_default().to_owned();
    let words: Vec<&str> = reset.split_whitespace().skip(1).collect();
    person.workspace.odfs([&words[..], &["--yes"]].concat())?;
    assert_eq!(
        person.workspace.odfs(["log", "t", "-o", "json", "-n", "1"])?.text(),
        before
    );
    assert_eq!(person.state()?, ["5,Riga"]);
    Ok(())
}

#[test]
fn columns_are_added_by_saying_so_or_with_a_file_that_has_them() -> Outcome {
    let person = Person::new("id,city\n1,Oslo\n", &["--primary-key", "id", "--merge", "upsert"])?;
    let alter = |args: &[&str]| person.workspace.run([&["alter", "t"], args].concat());

    person.write("id,city,pop\n2,Rome,7\n")?;
    let told = person.refused(&[])?;
    assert_eq!(told.code(), Some(6), "{}", told.stderr);
    assert!(
        told.stderr.contains("column `pop`: the dataset has no such column")
            && told.stderr.contains("--add-columns takes"),
        "{}",
        told.stderr
    );
    let told = alter(&["--add-column", "pop BIGINT", "--add-column", "seen TIMESTAMP(0)"])?;
    assert!(
        told.code() == Some(0) && told.text().ends_with("(2 block(s))"),
        "{} {}",
        told.text(),
        told.stderr
    );
    let schema = person.workspace.odfs(["inspect", "schema", "t"])?.text();
    assert!(schema.contains("pop") && schema.contains("seen"), "{schema}");
    // Both ways in take them.
    person.write("id,city,pop,seen\n2,Rome,7,1700000000\n")?;
    person.ingest()?;
    person.write("id,city,pop,seen\n1,Oslo,,1700000000\n3,Bern,1,\n")?;
    let told = person.publish(&[])?;
    assert_eq!(
        counts(&told).as_deref(),
        Some("1 added, 1 corrected"),
        "{}",
        told.text()
    );
    assert_eq!(
        person.state()?,
        [
            "1,Oslo,,2023-11-14T22:13:20Z",
            "2,Rome,7,2023-11-14T22:13:20Z",
            "3,Bern,1,"
        ]
    );
    person.workspace.odfs(["verify"])?;

    for (column, code, said) in [
        ("pop DOUBLE", REFUSED, "Next: `odfs inspect schema t` shows the columns"),
        ("op INT", 2, "the dataset needs the name `op` for itself"),
        ("x BIGINT NOT NULL", 2, "the rows that are there have no value in it"),
        ("x", 2, "does not declare a column"),
        ("x INT, x INT", REFUSED, "has a column `x` already"),
    ] {
        let told = alter(&["--add-column", column])?;
        assert!(
            told.code() == Some(code) && told.stderr.contains(said),
            "{column}: {:?} {}",
            told.code(),
            told.stderr
        );
    }
    Ok(())
}

#[test]
fn a_dataset_is_described_as_it_is_published() -> Outcome {
    let workspace = Workspace::new()?;
    let file = workspace.write("t.csv", table(3))?.display().to_string();
    let readme = workspace.write("README.md", "About t.\n")?.display().to_string();
    let log = || -> Outcome<String> { Ok(workspace.odfs(["log", "t", "-o", "yaml"])?.text()) };
    let publish = |args: &[&str]| workspace.odfs([&["publish", file.as_str(), "--exit"], args].concat());
    let missing = workspace.refused(["publish", &file, "--exit", "--attach", "not-there.md"])?;
    assert_eq!(missing.code(), Some(3), "{}", missing.stderr);
    assert_eq!(workspace.odfs(["list", "-o", "json"])?.text(), "[]", "nothing was made");

    publish(&[
        "--description",
        "Made up",
        "--keyword",
        "a",
        "--license",
        "CC0-1.0",
        "--attach",
        &readme,
    ])?;
    let first = log()?;
    for word in [
        "description: Made up",
        "- a\n",
        "spdxId: CC0-1.0",
        "path: README.md",
        "About t.",
    ] {
        assert!(first.contains(word), "{word}: {first}");
    }
    // Without a new row, what is new is said, and only that.
    let told = publish(&["--description", "Made up again", "--license", "CC0-1.0"])?;
    assert!(told.text().contains("(1 block(s))"), "{}", told.text());
    let second = log()?;
    assert!(
        second.contains("description: Made up again") && second.matches("SetLicense").count() == 1,
        "{second}"
    );
    let told = publish(&["--description", "Made up again"])?;
    assert!(told.text().starts_with("t is up to date"), "{}", told.text());
    // And with new rows.
    fs::write(&file, table(4))?;
    let told = publish(&["--keyword", "b"])?;
    assert!(
        told.text().contains("(2 block(s))") && counts(&told).as_deref() == Some("1 added"),
        "{}",
        told.text()
    );
    workspace.odfs(["verify"])?;
    Ok(())
}
