//! What a person sees in a terminal of 80 and of 120 columns: no line is longer, and what is left out is said. Whatever reads
//! a pipe gets every word whole.
#![cfg(target_os = "linux")]

use std::process::Command;

use interop_tests::peers::{required, skip};
use interop_tests::process::run;
use interop_tests::workspace::LIMIT;
use interop_tests::workspace::dataset::table;
use interop_tests::{Failure, Outcome, Workspace};

/// Runs `odfs ARGS` on a pseudo-terminal of so many columns: what it shows there, or nothing where no program makes one.
fn on_terminal(workspace: &Workspace, columns: u16, args: &[&str]) -> Outcome<Option<String>> {
    if Command::new("script").arg("--version").output().is_err() {
        if required() {
            return Err(Failure::new("`script` of util-linux is not here"));
        }
        skip("`script` of util-linux is not here");
        return Ok(None);
    }
    let plain = workspace.command(args)?;
    let words: Vec<String> = std::iter::once(plain.get_program())
        .chain(plain.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let mut command = Command::new("script");
    command
        .args([
            "-qec",
            &format!("stty cols {columns}; exec {} 2>/dev/null", words.join(" ")),
        ])
        .arg("/dev/null")
        .current_dir(workspace.path())
        .env_clear();
    for (name, value) in plain.get_envs() {
        if let Some(value) = value.filter(|_| name != "COLUMNS") {
            command.env(name, value);
        }
    }
    command.env("TERM", "xterm");
    let shown = run(command, LIMIT);
    Ok(Some(shown?.success()?.text().replace('\r', "")))
}

#[test]
fn tables_fit_terminals_and_are_whole_in_pipes() -> Outcome {
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
            let Some(shown) = on_terminal(&workspace, columns, args)? else {
                return Ok(());
            };
            let is_table = |line: &&str| line.starts_with(['┌', '│', '╞', '└']);
            for line in shown.lines().filter(is_table) {
                assert!(
                    line.chars().count() <= usize::from(columns),
                    "{args:?} at {columns} columns:\n{shown}"
                );
                assert!(line.ends_with(['┐', '│', '╡', '┘']), "{args:?} breaks a line:\n{shown}");
            }
        }
        let wide = on_terminal(&workspace, columns, &["list", "--wide"])?.unwrap_or_default();
        assert!(wide.contains("did:odf:f…"), "{wide}");
        assert!(wide.contains("Too wide to show: "), "{wide}");
    }
    let narrow = on_terminal(&workspace, 80, &["key", "list"])?.unwrap_or_default();
    assert!(narrow.contains('…') && !narrow.contains(&name), "{narrow}");
    let broad = on_terminal(&workspace, 120, &["key", "list"])?.unwrap_or_default();
    assert!(broad.contains(&name), "{broad}");
    let piped = workspace.odfs(["list", "--wide", "-o", "table"])?.text();
    assert!(piped.contains(&name) && !piped.contains('…'), "{piped}");
    Ok(())
}
