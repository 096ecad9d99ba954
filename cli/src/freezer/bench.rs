//! A workspace in this process, and what can be seen of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use odf::dataset::Object;
use odf::disk::Disk;
use odf::disk::crash::Recorder;
use odf::verify::{Depth, verify};
use odf_node::block::RAW;
use odf_node::dag;
use odf_node::store::Blocks as _;
use tempfile::TempDir;

use super::index::Indexes;
use super::read;
use crate::args;
use crate::commands::{self, After, Place};
use crate::io::{Cancel, Io, Progress, Remote, Terminal};
use crate::session::Session;
use crate::settings;
use crate::workspace::WorkspaceDir;

/// Settings that keep a process to itself.
const SEALED: &str = "network.bootstrap=[];network.listen=[\"/ip4/127.0.0.1/tcp/0\"];network.mdns=false;\
                      gateway.listen=127.0.0.1:0";
/// The clock stands, so that a command that is run again makes the same blocks.
const NOW: &str = "2026-06-01T12:00:00Z";

/// A directory with a workspace, and files to take rows from.
pub(super) struct Bench {
    dir: Arc<TempDir>,
    disk: Disk,
    watched: Option<(Arc<Recorder>, Indexes)>,
    /// What words in braces in a command line stand for.
    words: BTreeMap<&'static str, String>,
    server: Option<Server>,
    /// Another owner, who gives the command while this one serves.
    sender: Option<Arc<Bench>>,
}

/// How a command ended.
pub(super) struct Ran {
    pub(super) code: u8,
    pub(super) output: String,
    /// How many calls the watched disk had seen when whoever gave the command was told.
    pub(super) calls: usize,
}

/// Nobody calls a bench over HTTP.
const NO_CALLS: commands::node::Calls = commands::node::Calls {
    tree: args::tree,
    run: |_, _, _| Ok(()),
};

impl Ran {
    #[track_caller]
    pub(super) fn ok(self, what: &str) -> String {
        assert_eq!(self.code, 0, "{what}: {}", self.output);
        self.output
    }
}

/// `odfs node` on another workspace, in a thread.
struct Server {
    bench: Arc<Bench>,
    cancel: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cancel.set();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_some_and(|ended| ended.is_ok()) || std::thread::panicking());
    }
}

/// What must be all old or all new.
#[derive(Debug, Clone)]
pub(super) struct State {
    datasets: BTreeMap<String, Seen>,
    /// The other files that commands write.
    files: BTreeMap<String, Option<String>>,
    /// Pins that belong to no dataset.
    pins: BTreeSet<String>,
    keys: BTreeSet<String>,
    /// What stands beside the chain of each dataset.
    notes: BTreeMap<String, Notes>,
    /// The head in a directory that is pushed to.
    pushed: Option<String>,
}

/// Who may have a dataset, and whether its source may run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Notes {
    is_shared: bool,
    is_approved: bool,
}

/// A dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    head: String,
    aliases: String,
    /// What its blocks say, apart from what depends on its identity.
    events: Vec<String>,
}

impl State {
    /// The same, apart from keys and what was pushed.
    pub(super) fn same_as(&self, other: &State) -> bool {
        self.datasets == other.datasets && self.files == other.files && self.pins == other.pins
    }

    /// The same keys and notes, and the same in the directory that is pushed to.
    pub(super) fn others_as(&self, other: &State) -> bool {
        self.keys == other.keys && self.notes == other.notes && self.pushed == other.pushed
    }

    /// As [`same_as`](Self::same_as), apart from what is random: identities, and what tokens are made of.
    pub(super) fn is_like(&self, other: &State) -> bool {
        let shape = |state: &State| -> Vec<(String, Vec<String>)> {
            let events = |(name, seen): (&String, &Seen)| (name.clone(), seen.events.clone());
            state.datasets.iter().map(events).collect()
        };
        shape(self) == shape(other) && self.pins == other.pins && self.pushed.is_some() == other.pushed.is_some()
    }

    /// Whether no key is gone that both have, nothing is here that neither has.
    pub(super) fn others_lie_between(&self, old: &State, new: &State) -> bool {
        let mut kept = old.keys.intersection(&new.keys);
        let noted = |state: &State, name: &String| state.notes.get(name).copied().unwrap_or_default();
        let mut notes = self
            .notes
            .iter()
            .map(|(name, notes)| (notes, noted(old, name), noted(new, name)));
        kept.all(|key| self.keys.contains(key))
            && notes.all(|(now, old, new)| {
                [old.is_shared, new.is_shared].contains(&now.is_shared)
                    && [old.is_approved, new.is_approved].contains(&now.is_approved)
            })
            && self
                .keys
                .iter()
                .all(|key| old.keys.contains(key) || new.keys.contains(key))
    }
}

/// What stands behind `key` in its line.
fn said(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(key));
    line.map(|rest| rest.trim().trim_end_matches('/').to_owned())
}

/// The token in what `repo token add` prints: the last line that is one word.
pub(super) fn token_in(printed: &str) -> &str {
    printed.lines().rfind(|line| !line.contains(' ')).unwrap()
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        let buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&buffer).into_owned()
    }

    /// Waits until somebody has [said](said) it, unless it `is_over` before.
    fn wait_for(&self, key: &str, is_over: &dyn Fn() -> bool) -> Option<String> {
        loop {
            let ended = is_over();
            if let Some(said) = said(&self.text(), key) {
                return Some(said);
            }
            if ended {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Bench {
    pub(super) fn new() -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        super::operations::fixtures(dir.path());
        // Within the workspace, so that it is cut with it.
        let there = dir.path().join("workspace/there").display().to_string();
        Self {
            words: BTreeMap::from([("{there}", there), ("{dir}", dir.path().display().to_string())]),
            dir,
            disk: Disk::new(),
            watched: None,
            server: None,
            sender: None,
        }
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn workspace(&self) -> PathBuf {
        self.dir().join("workspace")
    }

    /// The same on a disk that is watched, with the index.
    pub(super) fn on(&self, recorder: &Arc<Recorder>, indexes: &Indexes) -> Self {
        Self {
            disk: Disk::with(recorder.clone()),
            watched: Some((recorder.clone(), indexes.clone())),
            sender: self.sender.clone(),
            ..self.with(&[])
        }
    }

    /// The same, with words that stand for something.
    fn with(&self, words: &[(&'static str, &str)]) -> Self {
        let more = words.iter().map(|(word, text)| (*word, (*text).to_owned()));
        Self {
            dir: self.dir.clone(),
            disk: Disk::new(),
            watched: None,
            words: self.words.clone().into_iter().chain(more).collect(),
            server: None,
            sender: None,
        }
    }

    /// From now on `{word}` in a command line stands for `text`.
    pub(super) fn set(&mut self, word: &'static str, text: String) {
        self.words.insert(word, text);
    }

    /// From now on the command is given by another owner, who has run `commands`, and this one serves.
    pub(super) fn receive(&mut self, commands: &[&[&str]]) {
        let token = self.prepare(&[&["repo", "token", "add", "me", "--expires", "never"]]);
        let sender = Bench::new().with(&[("{token}", token_in(&token))]);
        sender.prepare(commands);
        self.sender = Some(Arc::new(sender));
    }

    /// Runs more commands as the other owner.
    pub(super) fn prepare_there(&self, commands: &[&[&str]]) {
        self.sender.as_ref().unwrap().prepare(commands);
    }

    /// Runs commands that must succeed; gives what the last one printed.
    #[track_caller]
    pub(super) fn prepare(&self, commands: &[&[&str]]) -> String {
        let run = |_, argv: &&[&str]| self.run(argv).ok(&argv.join(" "));
        commands.iter().fold(String::new(), run)
    }

    /// Runs commands in the workspace of another owner, then serves it: `{name}`, `{peer}`, `{gateway}`. Gives what the
    /// last command printed.
    pub(super) fn serve(&mut self, commands: &[&[&str]]) -> String {
        let bench = match self.server.take() {
            Some(server) => server.bench.clone(),
            None => Arc::new(Bench::new()),
        };
        let published = bench.prepare(commands);
        if let Some(name) = published
            .split(|c: char| !c.is_ascii_alphanumeric())
            .find(|word| word.starts_with("k51"))
        {
            self.set("{name}", name.to_owned());
        }
        let (cancel, output) = (Cancel::new(), Buffer::default());
        let (serving, stop, told) = (bench.clone(), cancel.clone(), output.clone());
        let thread = std::thread::spawn(move || {
            let Ran { output, .. } = serving.run_with(&["node"], &stop, &told);
            assert!(output.contains("Interrupted"), "the server ended: {output}");
        });
        self.server = Some(Server {
            bench,
            cancel,
            thread: Some(thread),
        });
        let gateway = output.wait_for("Gateway:", &|| false).unwrap();
        let text = output.text();
        let (peer, address) = (said(&text, "Peer:").unwrap(), said(&text, "Address:").unwrap());
        let address = match address.contains("/p2p/") {
            true => address,
            false => format!("{address}/p2p/{peer}"),
        };
        self.set("{gateway}", gateway);
        self.set("{peer}", address);
        published
    }

    /// From now on `{there}` is the directory of the other owner that bears that name there.
    pub(super) fn look_there(&mut self) {
        let server = self.server.as_ref().unwrap();
        let there = server.bench.workspace().join("there").display().to_string();
        self.set("{there}", there);
    }

    /// The head of a dataset.
    pub(super) fn head(&self, name: &str) -> String {
        self.state().datasets[name].head.clone()
    }

    /// Removes the first slice of the only dataset.
    pub(super) fn lose_a_slice(&self) {
        let mut datasets = fs::read_dir(self.workspace().join("datasets")).unwrap();
        let data = datasets.next().unwrap().unwrap().path().join("data");
        let slice = fs::read_dir(data).unwrap().next().unwrap().unwrap().path();
        fs::remove_file(slice).unwrap();
    }

    /// A disk of its own for each process, as in life; the watched one for the command that is cut.
    fn session(&self) -> Arc<Session> {
        let dir = WorkspaceDir::at(self.workspace());
        dir.create().unwrap();
        let settings = settings::load(&dir.settings_file(), Some(SEALED)).unwrap().settings;
        let session = Arc::new(Session::new(dir, settings, self.disk.clone()));
        if let Some((recorder, indexes)) = &self.watched {
            indexes.watch(recorder, &session);
        }
        session
    }

    fn calls(&self) -> usize {
        self.watched.as_ref().map_or(0, |(recorder, _)| recorder.calls())
    }

    /// Runs the command that is looked at: here, or as another owner while this one serves.
    pub(super) fn act(&self, argv: &[&str]) -> Ran {
        let Some(sender) = &self.sender else {
            return self.run(argv);
        };
        let (cancel, output) = (Cancel::new(), Buffer::default());
        std::thread::scope(|scope| {
            let server = scope.spawn(|| self.run_with(&["node"], &cancel, &output));
            let Some(gateway) = output.wait_for("Gateway:", &|| server.is_finished()) else {
                return server.join().unwrap();
            };
            let sender = sender.with(&[("{gateway}", &gateway)]);
            // The port is another one each time.
            sender.run(&["repo", "rm", "lab"]);
            sender.prepare(&[&["repo", "add", "lab", "odf+{gateway}/", "--token", "{token}"]]);
            let ran = sender.run(argv);
            let calls = self.calls();
            cancel.set();
            let served = server.join().unwrap();
            let output = format!("{}\nthe server: {}", ran.output, served.output);
            Ran { output, calls, ..ran }
        })
    }

    /// Runs a command line, as the owner of the workspace.
    pub(super) fn run(&self, argv: &[&str]) -> Ran {
        self.run_with(argv, &Cancel::new(), &Buffer::default())
    }

    fn run_with(&self, argv: &[&str], cancel: &Cancel, output: &Buffer) -> Ran {
        let mut io = Io::of_sender(Remote {
            out: Box::new(output.clone()),
            messages: Box::new(output.clone()),
            input: Box::new(io::empty()),
            progress: Progress::quiet(),
            cwd: self.dir().to_owned(),
            environment: crate::environment::Environment::of_process(),
            terminal: Terminal {
                input: false,
                output: false,
                messages: false,
                width: 100,
            },
            cancel: cancel.clone(),
            sender: None,
        });
        let stands_for = |word: &str| -> String {
            let replaced = |word: String, (from, to): (&&str, &String)| word.replace(*from, to);
            self.words.iter().fold(word.to_owned(), replaced)
        };
        let always = ["odfs", "--yes", "--system-time", NOW].map(str::to_owned);
        let words = always.into_iter().chain(argv.iter().map(|word| stands_for(word)));
        let words: Vec<std::ffi::OsString> = words.map(Into::into).collect();
        let cli = args::parse(&words).unwrap();
        io.assume_yes(cli.yes);
        io.set_system_time(cli.system_time);
        let session = self.session();
        let result = match cli.command.place() {
            Place::Files => {
                let dir = WorkspaceDir::at(self.workspace());
                commands::run_on_files(cli.command, &self.disk, &dir, Some(SEALED), &mut io)
            }
            _ => commands::run(cli.command, &session, &mut io),
        };
        // What only serves is served here, too.
        let result = match result {
            Ok(After::Serve { gateway }) if gateway.is_some() => {
                commands::node::serve(&session, gateway, NO_CALLS, &mut io).map(|()| After::Done)
            }
            other => other,
        };
        let _ = io.finish();
        session.close();
        let mut text = output.text();
        let code = match result {
            Ok(_) => 0,
            Err(failure) => {
                text.push_str(&format!("{failure:?}"));
                failure.exit_code()
            }
        };
        let calls = self.calls();
        Ran {
            code,
            output: text,
            calls,
        }
    }

    /// What is there.
    pub(super) fn state(&self) -> State {
        let session = self.session();
        let workspace = session.workspace().unwrap();
        let entries = workspace.catalog().entries().unwrap();
        let datasets = entries.iter().map(|entry| {
            let dataset = workspace.catalog().open_entry(entry).unwrap();
            let events = dataset.blocks().unwrap().map(|stored| {
                let stored = stored.unwrap();
                let event = &stored.block.block().event;
                let rows = event.new_data().map(|slice| slice.logical_hash.to_string());
                format!("{} {rows:?}", event.kind())
            });
            let seen = Seen {
                head: dataset.head().to_string(),
                aliases: format!("{:?}", dataset.remote_aliases().unwrap()),
                events: events.collect(),
            };
            (entry.name.as_ref().unwrap().to_string(), seen)
        });
        let datasets = datasets.collect();
        let notes = entries.iter().map(|entry| {
            let dataset = workspace.catalog().open_entry(entry).unwrap();
            let notes = Notes {
                is_shared: dataset.is_shared(),
                is_approved: dataset.approval().unwrap().is_some(),
            };
            (entry.name.as_ref().unwrap().to_string(), notes)
        });
        let notes = notes.collect();
        let owners: BTreeSet<String> = entries.iter().map(|entry| entry.id.to_string()).collect();
        let pins = workspace.store().pins(None).unwrap();
        let others = pins.into_iter().filter(|pin| !owners.contains(&pin.owner));
        let keys = session.keys().unwrap();
        let key = |name: &String| format!("{name} {:?}", keys.get(name).unwrap().unwrap().public());
        let files = ["config.toml", "tokens.json", "repos/lab", "repos/.tokens"];
        State {
            datasets,
            files: files
                .iter()
                .map(|name| ((*name).to_owned(), read(&self.workspace().join(name))))
                .collect(),
            pins: others.map(|pin| format!("{} {}", pin.owner, pin.cid)).collect(),
            pushed: read(&self.workspace().join("there/refs/head")),
            keys: keys.names().unwrap().iter().map(key).collect(),
            notes,
        }
    }

    /// Every dataset verifies, and the root of each that is laid out is pinned and whole.
    pub(super) fn check_whole(&self, shown: &str) {
        let there = self.workspace().join("there");
        if there.join("refs/head").exists() {
            let address = format!("file://{}", there.display());
            Bench::new().run(&["pull", &address, "--as", "d"]).ok(shown);
        }
        let session = self.session();
        let workspace = session
            .workspace()
            .unwrap_or_else(|failure| panic!("{shown}: {failure:?}"));
        for entry in workspace.catalog().entries().unwrap() {
            let dataset = workspace
                .catalog()
                .open_entry(&entry)
                .unwrap_or_else(|error| panic!("{shown}: {error}"));
            verify(&dataset, workspace.datasets().mirror(), Depth::Bytes, &|_| {})
                .unwrap_or_else(|error| panic!("{shown}: {error}"));
            for stored in dataset.blocks().unwrap() {
                for object in Object::of(&stored.unwrap().block) {
                    assert!(object.is_in(dataset.dir()), "{shown}: {object}");
                }
            }
            if let Some(root) = workspace.layout().latest(&dataset.id()).unwrap() {
                assert_eq!(root.head, *dataset.head(), "{shown}: the DAG is at the head");
                let pins = workspace.store().pins(Some(&dataset.id().to_string())).unwrap();
                assert!(
                    pins.iter().any(|pin| pin.cid == root.cid),
                    "{shown}: the root is pinned"
                );
            }
        }
        for pin in workspace.store().pins(None).unwrap() {
            let (mut seen, mut due) = (BTreeSet::new(), vec![pin.cid]);
            while let Some(cid) = due.pop() {
                if seen.insert(cid) {
                    let block = workspace.store().get(&cid).unwrap();
                    let block = block.unwrap_or_else(|| panic!("{shown}: {cid} below {} is missing", pin.cid));
                    if cid.codec() != RAW {
                        due.extend(dag::links(&block).unwrap());
                    }
                }
            }
        }
    }
}
