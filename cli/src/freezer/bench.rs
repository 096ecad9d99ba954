//! A workspace in this process, and what can be seen of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use odf::dataset::Object;
use odf::disk::Disk;
use odf::disk::crash::Recorder;
use odf::verify::{Depth, verify};
use odf_node::block::RAW;
use odf_node::dag;
use odf_node::store::Blocks as _;
use tempfile::TempDir;

use super::read;
use crate::args;
use crate::commands::{self, Place};
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
}

/// How a command ended.
pub(super) struct Ran {
    pub(super) code: u8,
    pub(super) output: String,
}

impl Ran {
    #[track_caller]
    pub(super) fn ok(self, what: &str) -> String {
        assert_eq!(self.code, 0, "{what}: {}", self.output);
        self.output
    }
}

/// What must be all old or all new.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(super) struct State {
    /// Heads and aliases by name.
    datasets: BTreeMap<String, String>,
    /// The other files that commands write.
    files: BTreeMap<String, Option<String>>,
    /// Pins that belong to no dataset.
    pins: BTreeSet<String>,
    keys: BTreeSet<String>,
}

impl State {
    /// The same apart from what is random: the text of tokens, and names of keys that nothing came of.
    pub(super) fn datasets_like(&self, other: &State) -> bool {
        self.datasets == other.datasets && self.pins == other.pins
    }
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

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
        let bench = Self {
            dir: Arc::new(tempfile::tempdir().unwrap()),
            disk: Disk::new(),
        };
        super::operations::fixtures(bench.dir());
        bench
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn workspace(&self) -> PathBuf {
        self.dir().join("workspace")
    }

    /// The same on a disk that is watched.
    pub(super) fn on(&self, recorder: Arc<Recorder>) -> Self {
        Self {
            dir: self.dir.clone(),
            disk: Disk::with(recorder),
        }
    }

    /// A disk of its own for each process, as in life; the watched one for the command that is cut.
    fn session(&self) -> Session {
        let dir = WorkspaceDir::at(self.workspace());
        dir.create().unwrap();
        let settings = settings::load(&dir.settings_file(), Some(SEALED)).unwrap().settings;
        Session::new(dir, settings, self.disk.clone())
    }

    /// Runs a command line, as the owner of the workspace.
    pub(super) fn run(&self, argv: &[&str]) -> Ran {
        let output = Buffer::default();
        let mut io = Io::of_sender(Remote {
            out: Box::new(output.clone()),
            messages: Box::new(output.clone()),
            input: Box::new(io::empty()),
            progress: Progress::quiet(),
            cwd: self.dir().to_owned(),
            terminal: Terminal {
                input: false,
                output: false,
                messages: false,
                width: 100,
            },
            cancel: Cancel::new(),
            sender: None,
        });
        let cli = args::parse(["odfs", "--yes", "--system-time", NOW].iter().chain(argv)).unwrap();
        io.assume_yes(cli.yes);
        io.set_system_time(cli.system_time);
        let session = self.session();
        let result = if cli.command.place() == Place::Files {
            let dir = WorkspaceDir::at(self.workspace());
            commands::run_on_files(cli.command, &self.disk, &dir, Some(SEALED), &mut io)
        } else {
            commands::run(cli.command, &session, &mut io)
        };
        let _ = io.finish();
        session.close();
        let mut text = {
            let buffer = output.0.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8_lossy(&buffer).into_owned()
        };
        let code = match result {
            Ok(_) => 0,
            Err(failure) => {
                text.push_str(&format!("{failure:?}"));
                failure.exit_code()
            }
        };
        Ran { code, output: text }
    }

    /// What is there.
    pub(super) fn state(&self) -> State {
        let session = self.session();
        let workspace = session.workspace().unwrap();
        let entries = workspace.catalog().entries().unwrap();
        let datasets: BTreeMap<String, String> = entries
            .iter()
            .map(|entry| {
                let dataset = workspace.catalog().open_entry(entry).unwrap();
                let name = entry.name.as_ref().unwrap().to_string();
                (
                    name,
                    format!("{} {:?}", dataset.head(), dataset.remote_aliases().unwrap()),
                )
            })
            .collect();
        let owners: BTreeSet<String> = entries.iter().map(|entry| entry.id.to_string()).collect();
        let pins = workspace.store().pins(None).unwrap();
        let others = pins.into_iter().filter(|pin| !owners.contains(&pin.owner));
        let files = ["config.toml", "tokens.json", "repos/lab", "repos/.tokens"];
        State {
            datasets,
            files: files
                .iter()
                .map(|name| ((*name).to_owned(), read(&self.workspace().join(name))))
                .collect(),
            pins: others.map(|pin| format!("{} {}", pin.owner, pin.cid)).collect(),
            keys: session.keys().unwrap().names().unwrap().into_iter().collect(),
        }
    }

    /// Every dataset verifies, and the root of each that is laid out is pinned and whole.
    pub(super) fn check_whole(&self, shown: &str) {
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
