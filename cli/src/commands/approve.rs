//! `odfs approve`, and what else asks for an approval: whether a source that came from elsewhere may act on this machine.

use clap::Args;
use odf::catalog::Catalog;
use odf::dataset::{Approval, Dataset, Grant};
use odf::metadata::{DatasetId, SetPollingSource};
use odf::poll::{self, Consent, Needs};
use serde_json::Value;

use super::matching::entries;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output::{Cell, Listing, OutputArgs};
use crate::session::Session;

/// Let the source of a dataset act on this machine: run commands, read files, use your environment
///
/// A source stands in a metadata block, and whoever wrote that block decides what a pull does here. What `odfs add` adds
/// is approved. What came by a pull, a push or out of another workspace waits, unless all it does is to get a URL from a
/// public web server: `odfs pull` does not ask it before this has shown what it would do and you have agreed. The same
/// holds for a derivative dataset that would read datasets here that are not shared. An approval is of that one block, on
/// this machine: when somebody changes it, it waits again.
#[derive(Args, Debug)]
pub(crate) struct ApproveArgs {
    /// Datasets by name, id or a pattern with %
    #[arg(required_unless_present = "list")]
    datasets: Vec<String>,
    /// Only show which sources wait, which are approved, and what they do
    #[arg(short, long, conflicts_with = "revoke")]
    list: bool,
    /// Take back every approval of these datasets
    #[arg(long)]
    revoke: bool,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &ApproveArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let catalog = session.workspace()?.catalog();
    let all = args.datasets.is_empty();
    let entries = match all {
        true => catalog.entries()?,
        false => entries(&args.datasets, session)?,
    };
    let mut listing = Listing::new(&[
        "Name",
        "State",
        "Does",
        "ID",
        "Block",
        "Set",
        "Variables",
        "Commands",
        "Paths",
    ])
    .when_empty("nothing here needs an approval");
    for entry in entries {
        io.check()?;
        let dataset = match catalog.open_entry(&entry) {
            // Of all, damaged ones are told by `odfs list`.
            Err(_) if all => continue,
            opened => opened?,
        };
        if args.revoke {
            let known = dataset.revoke_approvals()?;
            let name = entry.label();
            io.say(format_args!(
                "{name}: {}",
                if known {
                    "approvals taken back"
                } else {
                    "there was no approval"
                }
            ));
        }
        let asked = match (args.list || args.revoke, Standing::of(&dataset, catalog)) {
            (true, _) => None,
            (false, Standing::Waiting(waiting)) => Some(*waiting),
            (false, standing) => Waiting::unless_public(&dataset, &standing, io)?,
        };
        if let Some(waiting) = asked {
            waiting.show(io)?;
            io.confirm("Approve it?")?;
            waiting.approve(session, io)?;
        }
        let standing = Standing::of(&dataset, catalog);
        if !(all && matches!(standing, Standing::Free)) {
            listing.row(row(&dataset, &standing, catalog)?);
        }
    }
    listing.write(args.output.format(io), io)
}

/// How the source or the transform of a dataset stands with the owner of this machine.
pub(super) enum Standing {
    /// It needs no approval, or there is none.
    Free,
    /// It was approved.
    Approved(Approval),
    /// It waits for an approval.
    Waiting(Box<Waiting>),
}

/// What waits.
pub(super) struct Waiting {
    dataset: Dataset,
    act: Act,
}

/// What a dataset would do here.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Act {
    /// Ask its source.
    Poll {
        source: SetPollingSource,
        needs: Needs,
        /// The host on this machine or its network that is found when its name is looked up.
        found: Option<String>,
    },
    /// Read other datasets, of which these are not shared.
    Read { hidden: Vec<String> },
}

impl Standing {
    pub(super) fn of(dataset: &Dataset, catalog: &Catalog) -> Self {
        match dataset.approval() {
            Ok(Some(approval)) => return Self::Approved(approval),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "nothing of this dataset counts as approved"),
        }
        match Act::of(dataset, catalog) {
            Some(act) if act.wants_approval() => Self::Waiting(Box::new(Waiting {
                dataset: dataset.clone(),
                act,
            })),
            _ => Self::Free,
        }
    }

    /// What a fetch may do. One that waits may do nothing.
    pub(super) fn consent(&self) -> Consent<'_> {
        match self {
            Self::Approved(Approval { grant, .. }) => Consent::Given {
                paths: &grant.paths,
                private: grant.private,
            },
            Self::Free | Self::Waiting(_) => Consent::Missing,
        }
    }
}

impl Act {
    /// That of the source or transform in force, if there is one.
    fn of(dataset: &Dataset, catalog: &Catalog) -> Option<Self> {
        let state = dataset.state();
        if let Some(source) = &state.polling_source {
            return Some(Self::Poll {
                source: source.clone(),
                needs: Needs::of(source),
                found: None,
            });
        }
        let inputs = state.transform.as_ref()?.inputs.iter();
        let ids = inputs.filter_map(|input| input.dataset_ref.parse::<DatasetId>().ok());
        let hidden = ids.filter(|id| catalog.holds(id) && !catalog.is_shared(id));
        let name = |id: DatasetId| {
            let known = catalog.find(&id.to_string()).ok();
            let name = known.and_then(|dataset| dataset.name().ok());
            name.map_or_else(|| id.to_string(), |name| name.to_string())
        };
        Some(Self::Read {
            hidden: hidden.map(name).collect(),
        })
    }

    fn wants_approval(&self) -> bool {
        match self {
            Self::Poll { needs, .. } => needs.ask_for_consent(),
            Self::Read { hidden } => !hidden.is_empty(),
        }
    }

    /// What it is, after "the".
    fn word(&self) -> &'static str {
        match self {
            Self::Poll { .. } => "source",
            Self::Read { .. } => "transform",
        }
    }

    /// What it would do, one thing a line, each beginning with a verb.
    fn lines(&self) -> Vec<String> {
        match self {
            Self::Poll { needs, found, .. } => {
                let found = found.iter().map(|found| poll::reaches(found));
                needs.lines().into_iter().chain(found).collect()
            }
            Self::Read { hidden } => hidden
                .iter()
                .map(|name| format!("reads {name}, which is not shared"))
                .collect(),
        }
    }
}

impl Waiting {
    /// A source that needs no approval by what it says, or was approved, and whose host is of this network all the same.
    fn unless_public(dataset: &Dataset, standing: &Standing, io: &Io) -> Result<Option<Self>, Failure> {
        let private = matches!(standing, Standing::Approved(approval) if approval.grant.private);
        let Some(source) = dataset.state().polling_source.as_ref().filter(|_| !private) else {
            return Ok(None);
        };
        let found = poll::private_now(source, &|name| io.environment().text(name))?;
        Ok(found.map(|found| Self {
            dataset: dataset.clone(),
            act: Act::Poll {
                source: source.clone(),
                needs: Needs::of(source),
                found: Some(found),
            },
        }))
    }

    /// Says what it would do, with what it would find here.
    fn show(&self, io: &mut Io) -> Result<(), Failure> {
        let (name, word) = (self.dataset.name()?, self.act.word());
        io.say(format_args!(
            "The {word} of {name} was not approved on this machine. It would do this here, as the user who pulls:"
        ));
        for line in self.act.lines() {
            io.say(format_args!("  - it {line}"));
        }
        let Act::Poll { source, needs, .. } = &self.act else {
            return Ok(());
        };
        for variable in &needs.variables {
            let is = match io.environment().text(variable) {
                Some(_) => "is set here, and its value would be sent or used",
                None => "is not set here",
            };
            io.say(format_args!("  - {variable} {is}"));
        }
        if let Ok(paths) = poll::paths(source, io.cwd(), &|name| io.environment().text(name)) {
            for path in paths {
                io.say(format_args!("  - here that is {path:?}"));
            }
        }
        Ok(())
    }

    /// Approves it, with the files that it would read from here, and the host if that is of this network now.
    fn approve(&self, session: &Session, io: &Io) -> Result<(), Failure> {
        let mut grant = self.act.grant(session, io)?;
        if let Act::Poll { source, .. } = &self.act {
            grant.private = poll::private_now(source, &|name| io.environment().text(name))?.is_some();
        }
        Ok(self.dataset.approve(grant, io.now()?)?)
    }

    /// The failure of whoever needs it to run.
    pub(super) fn refusal(&self) -> Result<Failure, Failure> {
        let (name, word, does) = (self.dataset.name()?, self.act.word(), self.act.lines().join(", "));
        Ok(Failure::new(
            Kind::NotApproved,
            format!("the {word} of {name} is not approved on this machine, and it {does}"),
        )
        .next(format!("`odfs approve {name}` shows it and lets it run")))
    }

    /// Asks the person at the terminal; without one, or if the answer is no, it stays as it is. That every question is
    /// answered with yes does not count: nobody would have read what this one is about.
    ///
    /// # Errors
    /// It was not approved.
    pub(super) fn ask(&self, session: &Session, io: &mut Io) -> Result<(), Failure> {
        let refusal = self.refusal()?;
        if !io.terminal().input || io.assumes_yes() {
            return Err(refusal);
        }
        self.show(io)?;
        match io.confirm("Approve it, and go on?") {
            Err(failure) if failure.kind() == Kind::Refused => Err(refusal),
            answer => answer.and_then(|()| self.approve(session, io)),
        }
    }
}

impl Act {
    /// What it may use, by what stands in it, if the settings let it. No name is looked up.
    fn grant(&self, session: &Session, io: &Io) -> Result<Grant, Failure> {
        let Self::Poll { source, needs, .. } = self else {
            return Ok(Grant::default());
        };
        let paths = poll::paths(source, io.cwd(), &|name| io.environment().text(name))?;
        session.settings().source_bounds.check(needs, &paths)?;
        Ok(Grant {
            paths,
            private: needs.private.is_some(),
        })
    }
}

/// Fails unless what a dataset would do is approved, or needs no approval. Whoever named the dataset is asked at a
/// terminal; with `all`, nobody is.
pub(super) fn held_to(dataset: &Dataset, all: bool, session: &Session, io: &mut Io) -> Result<(), Failure> {
    match Standing::of(dataset, session.workspace()?.catalog()) {
        Standing::Waiting(waiting) if all => Err(waiting.refusal()?),
        Standing::Waiting(waiting) => waiting.ask(session, io),
        Standing::Free | Standing::Approved(_) => Ok(()),
    }
}

/// Approves the source or transform of a dataset that its owner has just added, and says what that comes to. That it
/// cannot be approved is no failure: the dataset is there, and its source waits.
pub(super) fn added(dataset: &Dataset, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let Some(act) = Act::of(dataset, session.workspace()?.catalog()) else {
        return Ok(());
    };
    let (name, word) = (dataset.name()?, act.word());
    let approved = act
        .grant(session, io)
        .and_then(|grant| Ok(dataset.approve(grant, io.now()?)?));
    match approved {
        Ok(()) if matches!(act, Act::Poll { .. }) && act.wants_approval() => {
            let does = act.lines().join(", ");
            io.say(format_args!("Approved with it: the {word} of {name} {does}"));
        }
        Ok(()) => {}
        Err(failure) => io.say(format_args!(
            "The {word} of {name} waits for `odfs approve {name}`: {}",
            failure.message()
        )),
    }
    Ok(())
}

fn row(dataset: &Dataset, standing: &Standing, catalog: &Catalog) -> Result<[Cell; 9], Failure> {
    let state = dataset.state();
    let (word, paths) = match standing {
        Standing::Free => ("needs none", Vec::new()),
        Standing::Approved(approval) => ("approved", approval.grant.paths.clone()),
        Standing::Waiting(_) => ("waits", Vec::new()),
    };
    let needs = state.polling_source.as_ref().map(Needs::of).unwrap_or_default();
    let does = Act::of(dataset, catalog).map(|act| act.lines()).unwrap_or_default();
    let list = |texts: Vec<String>| {
        let shown = if texts.is_empty() {
            "-".to_owned()
        } else {
            texts.join("\n")
        };
        Cell::shown(Value::from(texts), shown)
    };
    let block = state.source_block;
    let text = |text: Option<String>| Cell::from(text.map_or(Value::Null, Value::from));
    Ok([
        dataset.name()?.as_str().into(),
        word.into(),
        list(does),
        dataset.id().to_string().into(),
        block.map_or_else(
            || text(None),
            |block| Cell::shown(block.hash.to_string(), block.hash.short()),
        ),
        text(block.map(|block| block.system_time.to_string())),
        list(needs.variables),
        Cell::shown(
            Value::from(
                needs
                    .commands
                    .iter()
                    .map(|words| Value::from(words.clone()))
                    .collect::<Vec<_>>(),
            ),
            needs.commands.len(),
        ),
        list(paths.iter().map(|path| path.display().to_string()).collect()),
    ])
}
