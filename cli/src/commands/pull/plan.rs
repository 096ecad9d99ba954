//! From what the user named to jobs, in the order in which they are done: inputs before what is computed from them.

use std::collections::BTreeSet;

use odf::catalog::{Catalog, CatalogError, Entry};
use odf::dataset::{Dataset, RemoteAliases};
use odf::metadata::{DatasetId, DatasetKind};
use odf::place::{Place, PlaceError};
use odf::pull::{Address, name_of};
use odf::registry::{RegistryError, Repositories};
use odf::ticket::Ticket;
use odf::workspace::Workspace;
use odf_node::ipns;

use super::PullArgs;
use crate::failure::{Failure, Kind};
use crate::session::Session;

/// One dataset to bring up to date.
pub(super) struct Job {
    /// What messages call it.
    pub(super) label: String,
    /// How.
    pub(super) way: Way,
}

/// How a dataset comes up to date.
pub(super) enum Way {
    /// From an address on IPFS.
    Network {
        /// The address.
        address: Address,
        /// The ticket that it was given as, if it was.
        ticket: Option<Box<Ticket>>,
        /// The dataset to update, if it is known.
        dataset: Option<DatasetId>,
    },
    /// From a directory or a server.
    Repository {
        /// Where it is.
        place: Place,
        /// The place as it is remembered: an address, or a name in a repository.
        alias: String,
        /// The dataset to update, if it is known.
        dataset: Option<DatasetId>,
    },
    /// By asking its polling source.
    Source(DatasetId),
    /// By computing it from its inputs.
    Transform(DatasetId),
    /// Not now: this is in the way.
    Blocked(Failure),
    /// Not at all.
    Nothing,
}

impl Way {
    /// Which dataset here it brings up to date, if any, where somebody else has to be asked for that.
    pub(super) fn elsewhere(&self) -> Option<Option<&DatasetId>> {
        match self {
            Way::Network { dataset, .. } | Way::Repository { dataset, .. } => Some(dataset.as_ref()),
            Way::Source(dataset) => Some(Some(dataset)),
            Way::Transform(_) | Way::Blocked(_) | Way::Nothing => None,
        }
    }
}

/// The jobs that the arguments ask for.
pub(super) fn plan(args: &PullArgs, session: &Session) -> Result<Vec<Job>, Failure> {
    let mut planner = Planner {
        catalog: session.workspace()?.catalog(),
        workspace: session.workspace()?,
        repositories: session.repositories(),
        recursive: args.recursive,
        rebase: args.rebase,
        wanted: BTreeSet::new(),
        seen: BTreeSet::new(),
        jobs: Vec::new(),
    };
    if args.all {
        let mut wanted = Vec::new();
        for entry in planner.catalog.entries()? {
            // One that has no way for want of a whole chain, or of a repository, is told and keeps nobody waiting.
            if let Some(dataset) = planner.open(&entry)
                && !matches!(planner.way_of(&dataset), Ok(Way::Nothing))
            {
                wanted.push(dataset);
            }
        }
        if wanted.is_empty() && planner.jobs.is_empty() {
            return Err(Failure::new(
                Kind::NotFound,
                "no dataset here was pulled from elsewhere or has a source",
            )
            .next("`odfs pull ADDRESS` fetches one"));
        }
        planner.add_all(wanted)?;
    } else {
        let mut wanted = Vec::new();
        for target in &args.targets {
            planner.resolve(target, &mut wanted)?;
        }
        if args.name.is_some() && !wanted.is_empty() {
            return Err(
                Failure::usage("--as names a dataset that is new here, and this one is here already")
                    .next("`odfs rename DATASET NAME` gives it another name"),
            );
        }
        planner.add_all(wanted)?;
    }
    Ok(planner.jobs)
}

struct Planner<'a> {
    catalog: &'a Catalog,
    workspace: &'a Workspace,
    repositories: Repositories,
    recursive: bool,
    rebase: bool,
    /// Datasets that were asked for.
    wanted: BTreeSet<DatasetId>,
    /// Datasets that were looked at.
    seen: BTreeSet<DatasetId>,
    jobs: Vec<Job>,
}

impl Planner<'_> {
    /// Finds out what `target` stands for: addresses become jobs, datasets that are here are added to `wanted`.
    fn resolve(&mut self, target: &str, wanted: &mut Vec<Dataset>) -> Result<(), Failure> {
        if target.contains('%') {
            return self.matching(target, wanted);
        }
        match self.repositories.resolve(target) {
            Ok(place) => {
                let known = self.pulled_from(&place)?;
                // An id may be that of a dataset that has a way of its own.
                let own = match target.starts_with("did:odf:") {
                    true => self.find(target)?.filter(|dataset| self.has_way(dataset)),
                    false => None,
                };
                match own {
                    Some(dataset) => wanted.push(dataset),
                    None => self.jobs.push(Job {
                        label: place.to_string(),
                        way: way_to(place, target, known.map(|dataset| dataset.id())),
                    }),
                }
            }
            // A dataset may be called like the beginning of a ticket.
            Err(RegistryError::Place(PlaceError::Ticket(error))) => match self.find(target)? {
                Some(dataset) => wanted.push(dataset),
                None => return Err(error.into()),
            },
            Err(error) if target.contains(['/', ':']) => return Err(error.into()),
            Err(_) => wanted.push(self.catalog.find(target)?),
        }
        Ok(())
    }

    fn matching(&mut self, pattern: &str, wanted: &mut Vec<Dataset>) -> Result<(), Failure> {
        let entries: Vec<Entry> = self.catalog.matching(pattern)?;
        if entries.is_empty() {
            return Err(Failure::new(Kind::NotFound, format!("no dataset matches {pattern}"))
                .next("`odfs list` shows all datasets"));
        }
        wanted.extend(entries.iter().filter_map(|entry| self.open(entry)));
        Ok(())
    }

    /// Opens one of several datasets. One that cannot be opened becomes a job that says so.
    fn open(&mut self, entry: &Entry) -> Option<Dataset> {
        match self.catalog.open_entry(entry) {
            Ok(dataset) => Some(dataset),
            Err(error) => {
                self.jobs.push(Job {
                    label: entry.label(),
                    way: Way::Blocked(error.into()),
                });
                None
            }
        }
    }

    fn find(&self, target: &str) -> Result<Option<Dataset>, Failure> {
        match self.catalog.find(target) {
            Ok(dataset) => Ok(Some(dataset)),
            Err(CatalogError::Unknown { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The dataset that came from this very place, whatever it is called here.
    fn pulled_from(&self, place: &Place) -> Result<Option<Dataset>, Failure> {
        for entry in self.catalog.entries()? {
            // Whatever is wrong with others is no matter of this place.
            let aliases = RemoteAliases::in_directory(&entry.dir).unwrap_or_default().pull_aliases;
            let is_it = |alias: &String| self.repositories.resolve(alias).is_ok_and(|other| other == *place);
            if aliases.iter().any(is_it) {
                return Ok(Some(self.catalog.open_entry(&entry)?));
            }
        }
        Ok(None)
    }

    fn add_all(&mut self, wanted: Vec<Dataset>) -> Result<(), Failure> {
        self.wanted.extend(wanted.iter().map(Dataset::id));
        wanted.iter().try_for_each(|dataset| self.add(dataset))
    }

    /// Adds the inputs of a dataset, if they are wanted, and then the dataset itself, if it is.
    fn add(&mut self, dataset: &Dataset) -> Result<(), Failure> {
        if !self.seen.insert(dataset.id()) {
            return Ok(());
        }
        let way = match self.way_of(dataset) {
            Ok(way) => way,
            Err(failure) if self.wanted.len() > 1 => Way::Blocked(failure),
            Err(failure) => return Err(failure),
        };
        if let (Way::Transform(_), Some(transform)) = (&way, &dataset.state().transform) {
            for input in &transform.inputs {
                // What is wrong with an input is told when the dataset is computed.
                let Ok(id) = input.dataset_ref.parse::<DatasetId>() else {
                    continue;
                };
                if let Ok(Some(input)) = self.catalog.by_id(&id) {
                    self.add(&input)?;
                }
            }
        }
        if self.recursive || self.wanted.contains(&dataset.id()) {
            self.jobs.push(Job {
                label: dataset
                    .name()
                    .map_or_else(|_| dataset.id().to_string(), |name| name.to_string()),
                way,
            });
        }
        Ok(())
    }

    /// Whether a dataset that is pulled from nowhere may have news under its own name: its owner pulled it here, or has
    /// published it and asks for it by itself now, because another machine has the key too.
    fn has_own_name(&self, id: &DatasetId) -> Result<bool, Failure> {
        let Some(name) = name_of(id) else {
            return Ok(false);
        };
        let known = ipns::status(self.workspace.store(), &name)?;
        let asked = known.is_some_and(|known| known.followed || (known.own && self.wanted.contains(id)));
        Ok(asked && self.workspace.key_of(id).is_some())
    }

    fn has_way(&self, dataset: &Dataset) -> bool {
        self.way_of(dataset).is_ok_and(|way| !matches!(way, Way::Nothing))
    }

    /// The way to where a dataset that is made here was brought: the one place that it is pushed to, else its name.
    fn way_of_own(&self, dataset: &Dataset) -> Result<Option<Way>, Failure> {
        let id = dataset.id();
        if let [only] = dataset.remote_aliases()?.push_aliases.as_slice() {
            return Ok(Some(way_to(self.repositories.resolve(only)?, only, Some(id))));
        }
        let address = name_of(&id).map(|name| format!("ipns://{name}").parse::<Address>());
        Ok(address.transpose()?.map(|address| Way::Network {
            address,
            ticket: None,
            dataset: Some(id),
        }))
    }

    /// The way of a dataset that is here: from where it was pulled, else its own.
    fn way_of(&self, dataset: &Dataset) -> Result<Way, Failure> {
        let id = dataset.id();
        match dataset.remote_aliases()?.pull_aliases.as_slice() {
            [] if self.rebase => {
                if let Some(way) = self.way_of_own(dataset)? {
                    return Ok(way);
                }
            }
            [] => {}
            [only] => return Ok(way_to(self.repositories.resolve(only)?, only, Some(id))),
            several => {
                return Err(Failure::new(
                    Kind::Refused,
                    format!("{} is pulled from {}", dataset.name()?, several.join(", ")),
                )
                .next("name one of them"));
            }
        }
        Ok(match dataset.kind() {
            DatasetKind::Derivative => Way::Transform(id),
            DatasetKind::Root if dataset.state().polling_source.is_some() => Way::Source(id),
            DatasetKind::Root if self.has_own_name(&id)? => match name_of(&id) {
                Some(name) => Way::Network {
                    address: Address::Name(name),
                    ticket: None,
                    dataset: Some(id),
                },
                None => Way::Nothing,
            },
            DatasetKind::Root => {
                let sources = &dataset.state().push_sources;
                if sources.len() > 1 && self.wanted.contains(&id) {
                    let names = sources.keys().cloned().collect::<Vec<_>>().join(", ");
                    return Err(Failure::new(
                        Kind::Usage,
                        format!(
                            "{} asks nobody for rows: it has several push sources ({names})",
                            dataset.name()?
                        ),
                    )
                    .next("push rows with `odfs ingest DATASET FILE --source-name NAME`"));
                }
                Way::Nothing
            }
        })
    }
}

/// The way to a place that was called `text`.
fn way_to(place: Place, text: &str, dataset: Option<DatasetId>) -> Way {
    match place {
        Place::Ipfs(address) => Way::Network {
            address,
            ticket: text.parse().ok().map(Box::new),
            dataset,
        },
        place => Way::Repository {
            // An address in its one form, which `repo alias` shows and compares.
            alias: if text.contains("://") {
                place.to_string()
            } else {
                text.to_owned()
            },
            place,
            dataset,
        },
    }
}
