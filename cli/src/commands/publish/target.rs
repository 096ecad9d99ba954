//! Which dataset a file is published into: the one that it is said to be, that it was published into before, that has its
//! name, or that a key of its name signs for. A history that the key stands for and that is not here is fetched first.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use odf::catalog::Entry;
use odf::dataset::DatasetName;
use odf::metadata::DatasetId;
use odf::origins::{self, Origin};
use odf::pull::{Address, name_of};
use odf_node::ipns::{Freshness, Name, Origin as AnswerFrom, ResolveError};

use crate::commands::dial::dial;
use crate::commands::input::Input;
use crate::commands::pull::history;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::session::Session;

/// What `--as` takes for a dataset that is to be made whatever is here.
pub(super) const NEW: &str = "new";

/// What the command line says of the dataset.
pub(super) struct Asked<'a> {
    /// Its name.
    pub(super) name: Option<&'a DatasetName>,
    /// It is to be a new one, with a key of its own.
    pub(super) apart: bool,
    /// A key begins a new history, whatever its name stands for.
    pub(super) force: bool,
    /// Who is to be asked besides those who are known.
    pub(super) peers: &'a [String],
}

/// Where the rows go.
pub(super) enum Target {
    /// Into the dataset of this name; there may be none, and then no key either.
    Named(DatasetName),
    /// Into a new dataset of this name, with a key that is here and stands for no history.
    Keyed(DatasetName, DatasetId),
    /// Into a new dataset of this name, with a new key.
    Apart(DatasetName),
}

/// Finds out where the rows of `input` go. Where two datasets could be meant, somebody at a terminal is asked.
///
/// # Errors
/// Nothing suggests a name; it cannot be told which dataset is meant; or a key is here whose history is not, and it cannot be
/// had, or nobody be asked for it.
pub(super) fn choose(asked: &Asked<'_>, input: &Input, session: &Session, io: &mut Io) -> Result<Target, Failure> {
    let choice = Choice {
        asked,
        file: input.source().name().to_owned(),
        place: input.place(),
        session,
    };
    let catalog = session.workspace()?.catalog();
    if asked.apart {
        let wanted = match asked.name {
            Some(name) => name.clone(),
            None => input.suggested_name()?,
        };
        let name = catalog.free_name(&wanted)?;
        io.say(format_args!(
            "{} becomes a new dataset, {name}, with a published name of its own; who follows another one gets nothing of it",
            choice.file
        ));
        return Ok(Target::Apart(name));
    }
    let known = match input.place() {
        Some(place) => origins::datasets_of(session.workspace()?.store(), place)?,
        None => Vec::new(),
    };
    if let Some(name) = asked.name {
        let gone = known
            .iter()
            .find(|origin| origin.name == *name && choice.is_kept(origin));
        return match (find(name, session)?, gone) {
            (Some(_), _) => Ok(Target::Named(name.clone())),
            (None, Some(gone)) => choice.go_on(name, gone.id, io),
            (None, None) => choice.by_key(name, io),
        };
    }
    let suggested = input.suggested_name()?;
    choice.among(&known, &suggested, io)
}

struct Choice<'a> {
    asked: &'a Asked<'a>,
    /// What messages call the file.
    file: String,
    /// What tells it from other files, if it can come again.
    place: Option<&'a [u8]>,
    session: &'a Session,
}

impl Choice<'_> {
    /// Whether a dataset is not here and its key is.
    fn is_kept(&self, origin: &Origin) -> bool {
        let workspace = self.session.workspace();
        workspace
            .is_ok_and(|workspace| !workspace.catalog().holds(&origin.id) && workspace.key_of(&origin.id).is_some())
    }

    /// Of the datasets that the file was published into, the last one first, and the one that has its name.
    fn among(&self, known: &[Origin], suggested: &DatasetName, io: &mut Io) -> Result<Target, Failure> {
        let workspace = self.session.workspace()?;
        let catalog = workspace.catalog();
        let here: Vec<DatasetName> = known.iter().filter_map(|origin| catalog.name(&origin.id)).collect();
        match (find(suggested, self.session)?, here.as_slice()) {
            (Some(entry), _) if known.iter().any(|origin| origin.id == entry.id) => {
                Ok(Target::Named(suggested.clone()))
            }
            // What is gone with its key is gone: the name of the file decides, as for one that was never published.
            (Some(entry), []) if !known.iter().any(|origin| self.is_kept(origin)) => {
                self.by_name(&entry, suggested, io)
            }
            (Some(_), []) => Err(self.unclear(
                format!("was published into a dataset that was deleted, and {suggested} is another one"),
                suggested,
            )),
            (Some(_), [last, ..]) => {
                let what = format!("was published into {last} before, and {suggested} is another dataset");
                self.ask(what, last, io)
            }
            (None, [only]) => {
                io.say(format_args!(
                    "{} was published into {only} before, and goes there again; `--as new` makes a new dataset of it",
                    self.file
                ));
                Ok(Target::Named(only.clone()))
            }
            (None, [last, ..]) => {
                let names: Vec<&str> = here.iter().map(DatasetName::as_str).collect();
                self.ask(format!("was published into {}", names.join(" and ")), last, io)
            }
            (None, []) => {
                let mut kept = known.iter().filter(|origin| self.is_kept(origin));
                match (kept.next(), kept.next()) {
                    (Some(only), None) => self.go_on(&only.name, only.id, io),
                    // The key of its name decides among several, as it does where nothing is known of the file.
                    _ => self.by_key(suggested, io),
                }
            }
        }
    }

    /// The file was published into nothing that is here, and has the name of a dataset. Where that was made from a file that is
    /// still there, the two are different tables that are called alike.
    fn by_name(&self, entry: &Entry, name: &DatasetName, io: &mut Io) -> Result<Target, Failure> {
        match self.other_file(&entry.id)? {
            Some(other) => {
                let what = format!(
                    "is another file than the one that {name} was made from, {}",
                    other.display()
                );
                self.ask(what, name, io)
            }
            None => {
                io.say(format_args!(
                    "{} goes into {name}, the dataset of its name; `--as new` makes a new dataset of it",
                    self.file
                ));
                Ok(Target::Named(name.clone()))
            }
        }
    }

    /// A file that was published into the dataset, is still there and is not this one.
    fn other_file(&self, id: &DatasetId) -> Result<Option<PathBuf>, Failure> {
        let identity = |path: &PathBuf| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
        let path = |place: Vec<u8>| PathBuf::from(OsString::from_vec(place));
        // A URL is no path that is there.
        let this = self.place.and_then(|place| identity(&path(place.to_vec())));
        let files = origins::files_of(self.session.workspace()?.store(), id)?;
        Ok(files
            .into_iter()
            .map(path)
            .find(|path| identity(path).is_some_and(|other| Some(other) != this)))
    }

    /// There is no dataset of this name: what a key of this name signs for.
    fn by_key(&self, name: &DatasetName, io: &mut Io) -> Result<Target, Failure> {
        let workspace = self.session.workspace()?;
        let Some(id) = workspace.id_of_key(name.as_str())? else {
            return Ok(Target::Named(name.clone()));
        };
        match workspace.catalog().name(&id) {
            Some(now) => self.ask(
                format!("could go into {now}, which has the key called {name}, or become a new dataset"),
                &now,
                io,
            ),
            None if workspace.catalog().holds(&id) => Ok(Target::Named(name.clone())),
            None => self.go_on(name, id, io),
        }
    }

    /// The dataset of a key that is here is not: goes on with its history if there is one.
    fn go_on(&self, name: &DatasetName, id: DatasetId, io: &mut Io) -> Result<Target, Failure> {
        let workspace = self.session.workspace()?;
        let name = workspace.catalog().free_name(name)?;
        let Some(public) = name_of(&id).filter(|_| workspace.may_stand_elsewhere(&id).unwrap_or(true)) else {
            return Ok(Target::Keyed(name, id));
        };
        if self.asked.force {
            io.say(format_args!(
                "A new history begins under ipns://{public}: who follows it is refused what is new until they pull it with \
                 --force, which drops the old one"
            ));
            return Ok(Target::Keyed(name, id));
        }
        let peers = dial(self.asked.peers, self.session, io)?;
        let names = self.session.node()?.names();
        let resolved = self.session.wait(io, async {
            Ok::<_, Failure>(names.resolve(&public, Freshness::Network).await)
        })?;
        match resolved {
            Ok(found) => {
                let is_remembered = matches!(found.source, AnswerFrom::Cache { .. });
                if is_remembered && self.is_alone(io)? {
                    return Err(self.nobody(&name, &public));
                }
                io.say(format_args!(
                    "The key of {name} is here and its rows are not: fetching what is published under ipns://{public} first"
                ));
                let rows = history(&name, Address::Name(public), &peers, self.session, io);
                let rows = rows.map_err(|failure| match failure.kind() {
                    Kind::Interrupted => failure,
                    _ => self.with_ways(failure.about(format!("ipns://{public} has a history, which cannot be had"))),
                })?;
                io.say(format_args!(
                    "{name} is here again, with {} row(s); what is new in {} comes on top",
                    crate::output::count(rows),
                    self.file
                ));
                Ok(Target::Named(name))
            }
            Err(ResolveError::NotFound { answers, .. }) if answers > 0 => Ok(Target::Keyed(name, id)),
            Err(ResolveError::NotFound { .. } | ResolveError::NobodyToAsk { .. }) => Err(self.nobody(&name, &public)),
            Err(error) => Err(self.with_ways(error.into())),
        }
    }

    fn is_alone(&self, io: &Io) -> Result<bool, Failure> {
        let node = self.session.node()?;
        self.session
            .wait(io, async { Ok::<_, Failure>(node.peers().await.is_empty()) })
    }

    fn nobody(&self, name: &DatasetName, public: &Name) -> Failure {
        self.with_ways(Failure::new(
            Kind::Unreachable,
            format!(
                "the key of {name} is here, and the rows that ipns://{public} may stand for are not: nobody could be asked for \
                 them"
            ),
        ))
    }

    fn with_ways(&self, failure: Failure) -> Failure {
        failure.next(format!(
            "go on-line, or name a peer that has them with --peer, and publish again; `odfs publish {0} --as new` makes a \
             dataset with another published name; `odfs publish {0} --force` begins a new history under this one, which its \
             followers take only with `odfs pull ADDRESS --force`",
            self.file
        ))
    }

    /// Whether the file goes into `default`. Without a terminal nobody decides for the owner, nor does `--yes`.
    fn ask(&self, what: String, default: &DatasetName, io: &mut Io) -> Result<Target, Failure> {
        let refusal = self.unclear(what.clone(), default);
        if !io.terminal().input || io.assumes_yes() {
            return Err(refusal);
        }
        match io.confirm(&format!("{} {what}. Publish into {default}?", self.file)) {
            Ok(()) => Ok(Target::Named(default.clone())),
            Err(failure) if failure.kind() == Kind::Refused => Err(refusal),
            Err(failure) => Err(failure),
        }
    }

    fn unclear(&self, what: String, default: &DatasetName) -> Failure {
        Failure::new(Kind::Refused, format!("{} {what}", self.file)).next(format!(
            "say which: `odfs publish {0} --as {default}` adds to that one, `odfs publish {0} --as {NEW}` makes a new one",
            self.file
        ))
    }
}

fn find(name: &DatasetName, session: &Session) -> Result<Option<Entry>, Failure> {
    Ok(session.workspace()?.catalog().named(name)?)
}
