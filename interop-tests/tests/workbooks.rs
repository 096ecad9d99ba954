//! Workbooks as people have them: a sheet becomes a dataset, grows, and is refused where a value would be lost.

use std::fs;

use interop_tests::process::Finished;
use interop_tests::{Outcome, Workspace, reference};
use serde_json::Value;

/// A workspace with one of the workbooks that others made, and its path.
fn with(book: &str) -> Outcome<(Workspace, String)> {
    let workspace = Workspace::new()?;
    let kind = book.rsplit('.').next().unwrap_or_default();
    let file = workspace
        .write(&format!("book.{kind}"), of(book)?)?
        .display()
        .to_string();
    Ok((workspace, file))
}

fn of(book: &str) -> Outcome<Vec<u8>> {
    Ok(fs::read(reference::workbooks().join(book))?)
}

fn export(workspace: &Workspace, name: &str) -> Outcome<String> {
    Ok(workspace.odfs(["export", name, "-"])?.text() + "\n")
}

fn refused(told: &Finished, what: &[&str]) {
    for what in what {
        assert!(told.stderr.contains(what), "{what}: {}", told.stderr);
    }
}

/// The names of the columns with their types.
fn columns(workspace: &Workspace, name: &str) -> Outcome<Vec<String>> {
    let listed = workspace.odfs(["inspect", "schema", name, "-o", "json"])?.text();
    let fields: Vec<Value> = serde_json::from_str(&listed)?;
    let of = |field: &Value, key: &str| field[key].as_str().unwrap_or_default().to_owned();
    Ok(fields
        .iter()
        .map(|field| [of(field, "Name"), of(field, "Type")].join(" "))
        .collect())
}

#[test]
fn a_sheet_becomes_a_dataset_and_grows() -> Outcome {
    for kind in ["xlsx", "ods"] {
        let (workspace, file) = with(&format!("stations.{kind}"))?;
        workspace.odfs(["publish", &file, "--exit"])?;
        let first = export(&workspace, "book")?;
        let types = columns(&workspace, "book")?;
        for column in [
            "id Int64",
            "code String",
            "level Float64",
            "on Bool",
            "since Date",
            "seen Timestamp(Millisecond, UTC)",
            "note String",
        ] {
            assert!(types.iter().any(|known| known == column), "{column}: {types:?}");
        }
        for row in [
            "1,007,1.5,true,2024-01-01,2024-01-01T08:30:00Z,a\n",
            "2,010,2.0,false,2024-02-29,2024-02-29T23:59:59.500Z,\n",
            "3,abc,,,,2024-03-01T00:00:00Z,\"x, \"\"y\"\"\nz\"\n",
        ] {
            assert!(first.contains(row), "{row}: {first}");
        }
        let again = workspace.odfs(["publish", &file, "--exit"])?;
        assert_eq!(export(&workspace, "book")?, first, "{}", again.stderr);

        fs::write(&file, of(&format!("stations-grown.{kind}"))?)?;
        workspace.odfs(["publish", &file, "--exit"])?;
        let grown = export(&workspace, "book")?;
        assert_eq!(grown.lines().count(), first.lines().count() + 1, "{grown}");
        assert!(
            grown.contains("4,011,7.0,true,2024-04-01,2024-04-01T00:00:00Z,new\n"),
            "{grown}"
        );

        // It is another table now, and no row of it was taken back.
        fs::write(&file, of(&format!("stations.{kind}"))?)?;
        let told = workspace.refused(["publish", &file, "--exit"])?;
        assert_eq!(export(&workspace, "book")?, grown, "{}", told.stderr);
    }
    Ok(())
}

#[test]
fn the_two_kinds_and_csv_are_one_table() -> Outcome {
    let (workspace, file) = with("stations.xlsx")?;
    workspace.odfs(["publish", &file, "--exit"])?;
    // Nothing is new in the other kind of workbook, one row is in the grown one.
    let other = workspace.write("other.ods", of("stations.ods")?)?.display().to_string();
    let first = export(&workspace, "book")?;
    workspace.odfs(["publish", &other, "--exit", "--name", "book"])?;
    assert_eq!(export(&workspace, "book")?, first);
    let csv = "id,code,level,on,since,seen,note\n5,x,,,,2024-05-01T00:00:00Z,\n";
    let csv = workspace.write("more.csv", csv)?.display().to_string();
    workspace.odfs(["ingest", "book", &csv])?;
    assert_eq!(export(&workspace, "book")?.lines().count(), first.lines().count() + 1);
    Ok(())
}

#[test]
fn sheets_are_named_and_each_is_a_table_of_its_own() -> Outcome {
    let (workspace, file) = with("two-sheets.xlsx")?;
    let told = workspace.refused(["publish", &file, "--exit"])?;
    assert_eq!(told.code(), Some(2), "{}", told.stderr);
    refused(&told, &["`Prices`, `Old prices`", "--sheet NAME"]);
    let told = workspace.refused(["publish", &file, "--exit", "--sheet", "prices"])?;
    refused(&told, &["there is no sheet `prices`"]);

    // Formulas count with the values that are stored.
    workspace.odfs(["publish", &file, "--exit", "--sheet", "Prices"])?;
    let prices = export(&workspace, "book-Prices")?;
    assert!(
        prices.contains("1,2.5,2.5\n") && prices.contains("2,4.0,8.0\n"),
        "{prices}"
    );
    let told = workspace.refused(["publish", &file, "--exit", "--sheet", "Old prices"])?;
    assert_eq!(told.code(), Some(5), "{}", told.stderr);
    refused(&told, &["sheet Old prices, row 2, column `ratio`", "#DIV/0!"]);

    let text = workspace.write("t.csv", "a\n1\n")?.display().to_string();
    let told = workspace.refused(["publish", &text, "--exit", "--sheet", "Prices"])?;
    refused(&told, &["has no sheets"]);
    let told = workspace.refused(["publish", &file, "--exit", "--sheet", "Prices", "--separator", ";"])?;
    refused(&told, &["leave --separator out"]);
    Ok(())
}

#[test]
fn a_workbook_is_pushed_into_a_dataset_of_csv() -> Outcome {
    let (workspace, file) = with("two-sheets.xlsx")?;
    let text = "id;total;price\n7;3.5;0.5\n";
    let text = workspace.write("t.csv", text)?.display().to_string();
    workspace.odfs(["publish", &text, "--exit"])?;
    workspace.odfs(["ingest", "t", &file, "--sheet", "Prices"])?;
    let rows = export(&workspace, "t")?;
    assert!(rows.contains("7,3.5,0.5\n") && rows.contains("2,8.0,4.0\n"), "{rows}");
    let told = workspace.refused(["ingest", "t", &file])?;
    refused(&told, &["`Prices`, `Old prices`", "--sheet NAME"]);
    let told = workspace.refused(["ingest", "t", &text, "--sheet", "Prices"])?;
    refused(&told, &["has no sheets"]);
    // The row of the sheet is named, whatever its line is in the CSV that was made of it.
    let other = with_stations(&workspace)?;
    let told = workspace.refused(["ingest", "t", &other])?;
    refused(&told, &["sheet Stations"]);
    Ok(())
}

fn with_stations(workspace: &Workspace) -> Outcome<String> {
    let file = workspace.write("stations.ods", of("stations.ods")?)?;
    Ok(file.display().to_string())
}

#[test]
fn a_row_is_named_as_the_sheet_has_it() -> Outcome {
    let (workspace, file) = with("stations-grown.xlsx")?;
    // The row behind the one with a line break, below a blank one.
    let told = workspace.refused(["publish", &file, "--exit", "--schema", "note DATE"])?;
    refused(&told, &["sheet Stations, row 2, column `note`"]);
    let told = workspace.refused(["publish", &file, "--exit", "--schema", "code DATE NOT NULL"])?;
    refused(&told, &["sheet Stations, row 2, column `code`"]);
    Ok(())
}

#[test]
fn what_is_no_workbook_is_refused() -> Outcome {
    let workspace = Workspace::new()?;
    let (whole, unread) = (
        of("stations.xlsx")?,
        workspace.write("t.xls", "x")?.display().to_string(),
    );
    let half = &whole[..whole.len() / 2];
    for bytes in [half, b"a,b\n1,2\n", b""] {
        for name in ["t.xlsx", "t.ods"] {
            let file = workspace.write(name, bytes)?.display().to_string();
            let told = workspace.refused(["publish", &file, "--exit"])?;
            assert!(!told.stderr.contains("panicked"), "{}", told.stderr);
            assert!(workspace.odfs(["list", "-o", "csv"])?.text().lines().count() <= 1);
        }
    }
    let told = workspace.refused(["publish", &unread, "--exit"])?;
    refused(&told, &["of a kind that is not read", "save it as .xlsx, .ods or CSV"]);
    Ok(())
}
