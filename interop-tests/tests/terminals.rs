//! What a person sees in a terminal of 80 and of 120 columns: no line is longer, and what is left out is said. Whatever reads
//! a pipe gets every word whole.
#![cfg(target_os = "linux")]

use interop_tests::terminal::{self, Messages};
use interop_tests::workspace::dataset::table;
use interop_tests::{Outcome, Workspace};

/// What `odfs ARGS` shows on a terminal of so many columns.
fn on_terminal(workspace: &Workspace, columns: u16, args: &[&str]) -> Outcome<String> {
    Ok(terminal::run(workspace, columns, Messages::Apart, args, "")?
        .success()?
        .text())
}

#[test]
fn tables_fit_terminals_and_are_whole_in_pipes() -> Outcome {
    if !terminal::is_there()? {
        return Ok(());
    }
    let workspace = Workspace::new()?;
    let file = workspace.write("stations.csv", table(3))?.display().to_string();
    let name = workspace.publish(&[&file])?.name;
    for columns in [80, 120] {
        for args in [
            &["list"][..],
            &["list", "--wide"],
            &["status"],
            &["log", "stations"],
            &["tail", "stations"],
            &["verify"],
            &["key", "list"],
            &["share", "--list"],
            &["repo", "list"],
            &["inspect", "schema", "stations"],
        ] {
            let shown = on_terminal(&workspace, columns, args)?;
            let is_table = |line: &&str| line.starts_with(['┌', '│', '╞', '└']);
            for line in shown.lines().filter(is_table) {
                assert!(
                    line.chars().count() <= usize::from(columns),
                    "{args:?} at {columns} columns:\n{shown}"
                );
                assert!(line.ends_with(['┐', '│', '╡', '┘']), "{args:?} breaks a line:\n{shown}");
            }
        }
        let wide = on_terminal(&workspace, columns, &["list", "--wide"])?;
        assert!(wide.contains("did:odf:f…"), "{wide}");
        assert!(wide.contains("Too wide to show: "), "{wide}");
    }
    let narrow = on_terminal(&workspace, 80, &["key", "list"])?;
    assert!(narrow.contains('…') && !narrow.contains(&name), "{narrow}");
    let broad = on_terminal(&workspace, 120, &["key", "list"])?;
    assert!(broad.contains(&name), "{broad}");
    let piped = workspace.odfs(["list", "--wide", "-o", "table"])?.text();
    assert!(piped.contains(&name) && !piped.contains('…'), "{piped}");
    Ok(())
}
