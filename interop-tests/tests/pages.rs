//! The pages for people do what they show: every command of their `console` blocks runs, in order and in an empty folder, and
//! prints the lines that the page shows below it.
//!
//! In a page, `…` is any text of one line: ids, times, sizes. In a command, `k51…` is the last name that was printed,
//! `odfs1…` the last ticket, and `/ip4/…` the last address. `(exit 9)` as the last line says that the command ends with that. A comment
//! `<!-- $ COMMAND -->` is run and not shown to readers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use interop_tests::peers::odfs_binary;
use interop_tests::process::run;
use interop_tests::{Failure, Outcome, Workspace, repository};

/// How long the commands of one page may take together.
const LIMIT: Duration = Duration::from_secs(90);
/// What stands before what a command printed.
const MARK: &str = "@@@";

/// A command of a page and what the page shows of it.
struct Shown {
    line: usize,
    command: String,
    output: Vec<String>,
    code: i32,
}

/// The commands of a page, hidden ones too.
fn commands(page: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    let mut in_console = false;
    for (index, line) in page.lines().enumerate() {
        let shown = |command: &str| Shown {
            line: index + 1,
            command: command.to_owned(),
            output: Vec::new(),
            code: 0,
        };
        if let Some(hidden) = line.strip_prefix("<!-- $ ").and_then(|rest| rest.strip_suffix(" -->")) {
            found.push(shown(hidden));
        } else if line.starts_with("```") {
            in_console = line == "```console";
        } else if !in_console {
            continue;
        } else if let Some(command) = line.strip_prefix("$ ") {
            found.push(shown(command));
        } else if let Some(last) = found.last_mut() {
            match line.strip_prefix("(exit ").and_then(|rest| rest.strip_suffix(')')) {
                Some(code) => last.code = code.parse().unwrap_or(-1),
                None => last.output.push(line.trim_end().to_owned()),
            }
        }
    }
    found
}

/// Whether `line` is `shown`, in which `…` is any text.
fn is_like(shown: &str, line: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    for (index, part) in parts.iter().enumerate() {
        if index + 1 == parts.len() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

/// A shell script of the commands, which says before and after each where it is.
fn script(commands: &[Shown], log: &Path) -> String {
    let log = log.display();
    let last = |what: &str| format!("$(grep -aoE '{what}' '{log}' | tail -n 1)");
    let mut text = format!("exec >'{log}' 2>&1 </dev/null\n");
    for (number, shown) in commands.iter().enumerate() {
        let command = shown
            .command
            .replace("k51…", &last("k51[a-z0-9]{59}"))
            .replace("odfs1…", &last("odfs1[a-z2-7]{20,}"))
            .replace("/ip4/…", &last("/ip4/127[^ ]*/p2p/[A-Za-z0-9]+"));
        text.push_str(&format!(
            "echo '{MARK} {number}'\n{command}\necho \"{MARK} ended $?\"\n"
        ));
    }
    text
}

fn check(page: &Path) -> Outcome {
    let commands = commands(&fs::read_to_string(page)?);
    let workspace = Workspace::new()?;
    // The settings of the harness go with every workspace that the page makes.
    let settings = "network.bootstrap=[];network.listen=[\"/ip4/127.0.0.1/tcp/0\"];network.mdns=false;\
                    gateway.listen=\"127.0.0.1:0\"";
    fs::remove_dir_all(workspace.store())?;
    let tools = workspace.path().join("../tools");
    fs::create_dir_all(&tools)?;
    std::os::unix::fs::symlink(odfs_binary()?, tools.join("odfs"))?;
    let log = workspace.path().join("../log");
    let mut shell = Command::new("sh");
    let path = std::env::var("PATH").unwrap_or_default();
    shell
        .args(["-c", &script(&commands, &log)])
        .current_dir(workspace.path())
        .env_clear()
        .env("HOME", workspace.path().join("../home"))
        .env("PATH", format!("{}:{path}", tools.display()))
        .env("LANG", "C.UTF-8")
        .env("ODFS_CONFIG", settings);
    run(shell, LIMIT)?;
    let said = fs::read_to_string(&log)?;
    for (number, shown) in commands.iter().enumerate() {
        let failed = |why: String| {
            let place = format!("{}:{}", page.display(), shown.line);
            Failure::new(format!("{place}: `{}` {why}", shown.command))
        };
        let begin = format!("{MARK} {number}\n");
        let from = said.find(&begin).map(|at| at + begin.len());
        let (output, rest) = from
            .and_then(|from| said[from..].split_once(&format!("{MARK} ended ")))
            .ok_or_else(|| failed("was not run".to_owned()))?;
        let code: i32 = rest.lines().next().unwrap_or_default().parse().unwrap_or(-1);
        if code != shown.code {
            return Err(failed(format!("ends with {code}:\n{output}")));
        }
        let mut lines = output.lines().map(str::trim_end);
        for wanted in &shown.output {
            if !lines.any(|line| is_like(wanted, line)) {
                return Err(failed(format!("does not print {wanted:?}, or not there:\n{output}")));
            }
        }
    }
    Ok(())
}

fn docs() -> PathBuf {
    repository().join("docs")
}

#[test]
fn the_pages_do_what_they_show() -> Outcome {
    assert!(is_like("a … b…", "a 1 2 b") && !is_like("a … b", "a 1 bc") && !is_like("a", "ab"));
    let mut pages = vec![docs().join("tutorial.md")];
    for entry in fs::read_dir(docs().join("how-to"))? {
        pages.push(entry?.path());
    }
    pages.sort();
    let summary = fs::read_to_string(docs().join("SUMMARY.md"))?;
    for page in pages {
        let text = fs::read_to_string(&page)?;
        assert!(!commands(&text).is_empty(), "{} runs nothing", page.display());
        let name = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
        assert!(summary.contains(&name), "SUMMARY.md does not name {name}");
        check(&page)?;
    }
    Ok(())
}
