//! What a refused command names as the next step is there and works: every command of every `Next:` line of a first week is
//! run where it was printed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use interop_tests::process::Finished;
use interop_tests::workspace::dataset::table;
use interop_tests::{Failure, Outcome, Workspace};

/// What a command of a next step may leave to the reader; `docs/how-to/refusals.md` says what each stands for.
const PLACEHOLDERS: [&str; 11] = [
    "ADDRESS", "BLOCK", "DATASET", "EVENTS", "FILE", "KEY", "NAME", "PATH", "TOKEN", "URL", "VALUE",
];

/// What is followed of a test, so that none of it is empty unnoticed.
#[derive(Default)]
struct Followed {
    situations: usize,
    commands: BTreeSet<String>,
}

/// The placeholder that a word of a command is or ends in, if there is one: `FILE` in `FILE.csv`, `KEY` in `ipns://KEY`.
fn placeholder(word: &str) -> Option<&str> {
    let word = word.rsplit("://").next()?;
    let word = word.split('.').next()?;
    (word.len() > 1 && word.chars().all(|letter| letter.is_ascii_uppercase())).then_some(word)
}

/// The commands in backticks that are of odfs or of the shell.
fn commands(next: &str) -> impl Iterator<Item = &str> {
    let quoted = next.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.starts_with("odfs ") || text.starts_with("mkdir "))
}

impl Followed {
    /// Runs a command that is refused, and what it names.
    fn refusal(&mut self, workspace: &Workspace, args: &[&str]) -> Outcome {
        let refused = workspace.refused(args)?;
        self.follow(workspace, &refused)
    }

    /// Runs what a command that has ended names, and fails if there is no next step or a command of it does not work.
    fn follow(&mut self, workspace: &Workspace, ended: &Finished) -> Outcome {
        let mut lines = ended
            .stderr
            .lines()
            .filter_map(|line| line.strip_prefix("Next: "))
            .peekable();
        if lines.peek().is_none() {
            return Err(ended.failure("names no next step"));
        }
        self.situations += 1;
        for command in lines.flat_map(commands) {
            self.run(workspace, command)
                .map_err(|failure| ended.failure(&format!("names `{command}`, which does not work: {failure}")))?;
        }
        Ok(())
    }

    fn run(&mut self, workspace: &Workspace, command: &str) -> Outcome {
        self.commands.insert(command.to_owned());
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        if let Some(folder) = command.strip_prefix("mkdir -p ") {
            return Ok(fs::create_dir_all(workspace.path().join(folder.trim_matches('\'')))?);
        }
        let left: Vec<&str> = words.iter().filter_map(|word| placeholder(word)).collect();
        if let Some(word) = left.iter().find(|word| !PLACEHOLDERS.contains(word)) {
            return Err(Failure::new(format!("no page says what {word} stands for")));
        }
        if !left.is_empty() {
            return Self::is_there(workspace, &words);
        }
        let ends: &[&str] = if words.first() == Some(&"publish") && !words.contains(&"--help") {
            &["--exit"]
        } else {
            &[]
        };
        let finished = workspace.odfs([&["--yes"], words.as_slice(), ends].concat())?;
        match words.contains(&"--help") && finished.text().is_empty() {
            true => Err(finished.failure("prints nothing")),
            false => Ok(()),
        }
    }

    /// Fails unless there is such a command and it has the options.
    fn is_there(workspace: &Workspace, words: &[&str]) -> Outcome {
        let name = words
            .iter()
            .take_while(|word| placeholder(word).is_none() && word.chars().all(|letter| letter.is_ascii_lowercase()));
        let mut help: Vec<&str> = name.copied().collect();
        help.push("--help");
        let help = workspace.odfs(help)?;
        let text = help.text();
        let options = words.iter().filter(|word| word.starts_with('-') && word.len() > 1);
        for option in options {
            if !text.contains(option) {
                return Err(help.failure(&format!("does not know {option}")));
            }
        }
        Ok(())
    }
}

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
    let page: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/how-to/refusals.md");
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
