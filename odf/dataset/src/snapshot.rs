//! Datasets from manifests: a [`DatasetSnapshot`] says what a dataset begins with, this makes a chain of it.
//!
//! It goes in two steps. [`Plan::make`] looks at all manifests of one call together: which dataset needs which, what each
//! reference means, whether every chain would keep the rules. Nothing is changed until all of that holds; then
//! [`Plan::carry_out`] makes the datasets, inputs before what is computed from them.

mod error;
mod normal;

use std::collections::BTreeMap;

pub use error::{Problem, Refused};

use crate::catalog::{Catalog, CatalogError, Entry};
use crate::dataset::{Dataset, DatasetError, DatasetName, NameError, WrittenDataset};
use crate::lineage::Lineage;
use crate::rewrite::{Datasets, RewriteError};
use odf_metadata::chain::ChainState;
use odf_metadata::codec::EncodedBlock;
use odf_metadata::yaml::DatasetSnapshot;
use odf_metadata::{DatasetId, DatasetKind, MetadataBlock, MetadataEvent, Multihash, Seed, Timestamp};

/// A snapshot and where it was read.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The file, URL or stream.
    pub origin: String,
    /// Position of the document in it, from 1.
    pub document: usize,
    /// What it says.
    pub snapshot: DatasetSnapshot,
}

/// How manifests become datasets.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A dataset of the same name is deleted for the new one.
    pub replace: bool,
    /// The id of the one dataset, instead of a new one.
    pub id: Option<DatasetId>,
}

/// Why no id could be had.
pub type IdentityError = Box<dyn std::error::Error + Send + Sync>;

/// Gives new datasets their ids.
pub trait Identities {
    /// An id for a new dataset of this name, and the name of the key that was made for it, if one was.
    ///
    /// # Errors
    /// No key can be made or read.
    fn new_id(&self, name: &DatasetName) -> Result<(DatasetId, Option<String>), IdentityError>;

    /// Takes back a key that [`Self::new_id`] made, for a dataset that did not come into being.
    ///
    /// # Errors
    /// It cannot be removed.
    fn discard(&self, key: &str) -> Result<(), IdentityError>;
}

/// Why datasets could not be made of manifests.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Some manifests cannot become datasets; nothing was changed.
    #[error("{}", listed(.0))]
    Refused(Vec<Refused>),
    /// An id was given for several datasets, or for none.
    #[error("an id can be given to one dataset, and there are {0}")]
    OneId(usize),
    /// The datasets that are here cannot be listed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A dataset could not be written.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// No id could be had for a dataset.
    #[error(transparent)]
    Id(IdentityError),
    /// The datasets are written, but could not all be put in their places.
    #[error(transparent)]
    Swap(#[from] RewriteError),
}

fn listed(refused: &[Refused]) -> String {
    match refused {
        [one] => one.to_string(),
        several => {
            let lines: Vec<String> = several.iter().map(|refused| format!("\n  {refused}")).collect();
            format!("{} manifests cannot be added:{}", several.len(), lines.concat())
        }
    }
}

/// An input that is made by the same call: its id is known only when it is there.
#[derive(Debug, Clone, Copy)]
struct Later {
    /// Place of the SetTransform among the events.
    event: usize,
    /// Place among its inputs.
    input: usize,
    /// Place of the dataset among the manifests.
    dataset: usize,
}

/// A dataset to be made.
#[derive(Debug)]
struct Planned {
    origin: String,
    document: usize,
    name: DatasetName,
    kind: DatasetKind,
    events: Vec<MetadataEvent>,
    later: Vec<Later>,
    replaces: Option<Entry>,
}

impl Planned {
    fn refuse(&self, problem: impl Into<Problem>) -> Refused {
        Refused {
            origin: self.origin.clone(),
            document: self.document,
            name: self.name.to_string(),
            problem: problem.into(),
        }
    }

    /// Puts ids in the place of references to datasets of the same call.
    fn resolve(&mut self, id_of: impl Fn(usize) -> DatasetId) {
        for later in &self.later {
            if let Some(MetadataEvent::SetTransform(set)) = self.events.get_mut(later.event)
                && let Some(input) = set.inputs.get_mut(later.input)
            {
                input.dataset_ref = id_of(later.dataset).to_string();
            }
        }
    }
}

/// Datasets that can be made: every reference is resolved and every rule is kept.
#[derive(Debug)]
pub struct Plan {
    datasets: Vec<Planned>,
    /// Places in `datasets`, inputs before what is computed from them.
    order: Vec<usize>,
    id: Option<DatasetId>,
    skipped: Vec<Entry>,
}

/// A dataset that was made.
#[derive(Debug)]
pub struct Added {
    /// The dataset, at its first head.
    pub dataset: Dataset,
    /// Its name.
    pub name: DatasetName,
    /// The id of the dataset of this name that is no more.
    pub replaced: Option<DatasetId>,
}

/// The name in `name` or `account/name`. A workspace has one account, so the account says nothing here.
fn without_account(name: &str) -> &str {
    match name.split_once('/') {
        Some((account, name)) if account.parse::<DatasetName>().is_ok() => name,
        _ => name,
    }
}

/// The id that stands for a dataset of the same call until it has one. It is no public key of anybody.
fn stand_in(dataset: usize) -> DatasetId {
    let mut key = [0xff; 32];
    key[..8].copy_from_slice(&(dataset as u64).to_be_bytes());
    DatasetId::from_public_key(key)
}

impl Plan {
    /// Checks manifests against each other and the workspace. Nothing is changed. `now` is the time that the blocks
    /// would get. A manifest whose dataset is here already is passed over, unless it is to be replaced.
    ///
    /// # Errors
    /// [`SnapshotError::Refused`] with every manifest that is wrong; [`SnapshotError::OneId`]; the workspace cannot be
    /// read.
    pub fn make(
        catalog: &Catalog,
        manifests: Vec<Manifest>,
        options: &Options,
        now: Timestamp,
    ) -> Result<Self, SnapshotError> {
        if options.id.is_some() && manifests.len() != 1 {
            return Err(SnapshotError::OneId(manifests.len()));
        }
        let entries = catalog.entries()?;
        let mut refused = Vec::new();
        let mut datasets: Vec<Planned> = Vec::with_capacity(manifests.len());
        let mut skipped = Vec::new();
        for manifest in manifests {
            match admit(manifest, &entries, options, &datasets) {
                Ok(Admitted::New(planned)) => datasets.push(*planned),
                Ok(Admitted::Here(entry)) => skipped.push(entry),
                Err(error) => refused.push(error),
            }
        }
        if !refused.is_empty() {
            // What others refer to may be among those that are refused: one thing after the other.
            return Err(SnapshotError::Refused(refused));
        }
        resolve_inputs(catalog, &mut datasets)?;
        let order = in_order(&datasets)?;
        check_replaced(catalog, &datasets)?;
        for (index, planned) in datasets.iter_mut().enumerate() {
            planned.resolve(stand_in);
            let id = options.id.unwrap_or_else(|| stand_in(index));
            if let Err(problem) = check_rules(planned, id, now) {
                refused.push(planned.refuse(problem));
            }
        }
        if !refused.is_empty() {
            return Err(SnapshotError::Refused(refused));
        }
        let id = options.id;
        Ok(Self {
            datasets,
            order,
            id,
            skipped,
        })
    }

    /// The datasets that are here under the name of a manifest and are not replaced: they stay as they are, whatever the
    /// manifest says.
    pub fn skipped(&self) -> &[Entry] {
        &self.skipped
    }

    /// The datasets that would be deleted for new ones of the same name.
    pub fn replaced(&self) -> impl Iterator<Item = &Entry> {
        self.datasets.iter().filter_map(|planned| planned.replaces.as_ref())
    }

    /// Makes the datasets: a Seed and the events, every block at the time `now`. A new id comes with a key of the
    /// dataset's name, as for a published table; with a given id no key is made.
    ///
    /// The workspace must not have changed since [`Self::make`]; seeing to that (one command at a time) is the caller's
    /// part.
    ///
    /// # Errors
    /// A file cannot be written, most likely because the disk is full. The datasets that were made before are gone
    /// again, and those to be replaced are as they were, but for [`SnapshotError::Swap`]: then all of it is decided, and
    /// the next opening of the workspace goes on with it. That is so over a crash, too: the old ones are there, or the new.
    pub fn carry_out(
        mut self,
        datasets: &Datasets,
        identities: &dyn Identities,
        now: Timestamp,
    ) -> Result<Vec<Added>, SnapshotError> {
        // One that could not be finished when the workspace was opened.
        datasets.finish_swap()?;
        let gone: Vec<DatasetId> = self.replaced().map(|entry| entry.id).collect();
        let mut making = Making {
            datasets,
            identities,
            ready: Vec::new(),
            ids: BTreeMap::new(),
            keys: Vec::new(),
        };
        for index in std::mem::take(&mut self.order) {
            if let Some(planned) = self.datasets.get_mut(index)
                && let Err(error) = making.one(index, planned, self.id, now)
            {
                making.take_back();
                return Err(error);
            }
        }
        making.put_in_place(&gone)
    }
}

/// The datasets of a call, written and not in their place yet.
struct Making<'a> {
    datasets: &'a Datasets,
    identities: &'a dyn Identities,
    ready: Vec<Ready>,
    /// By place among the manifests.
    ids: BTreeMap<usize, DatasetId>,
    keys: Vec<String>,
}

struct Ready {
    index: usize,
    written: WrittenDataset,
    name: DatasetName,
    replaced: Option<DatasetId>,
}

impl Making<'_> {
    fn one(
        &mut self,
        index: usize,
        planned: &mut Planned,
        given: Option<DatasetId>,
        now: Timestamp,
    ) -> Result<(), SnapshotError> {
        let id = match given {
            Some(id) => id,
            None => {
                let (id, key) = self.identities.new_id(&planned.name).map_err(SnapshotError::Id)?;
                self.keys.extend(key);
                id
            }
        };
        // The order of making puts inputs first, so all of them have their ids.
        planned.resolve(|input| self.ids.get(&input).copied().unwrap_or_else(|| stand_in(input)));
        let replaced = planned.replaces.as_ref().map(|entry| entry.id);
        let new = self.datasets.catalog().stage_for(id, &planned.name, replaced)?;
        let events = std::mem::take(&mut planned.events);
        self.ids.insert(index, id);
        self.ready.push(Ready {
            index,
            written: new.write_events(planned.kind, events, now, None)?,
            name: planned.name.clone(),
            replaced,
        });
        Ok(())
    }

    /// Puts the datasets in place of those that go, all in one step.
    fn put_in_place(mut self, gone: &[DatasetId]) -> Result<Vec<Added>, SnapshotError> {
        let mut written: Vec<&mut WrittenDataset> = self.ready.iter_mut().map(|ready| &mut ready.written).collect();
        if let Err(error) = self.datasets.catalog().decide_swap(&mut written, gone) {
            self.take_back();
            return Err(error.into());
        }
        self.datasets.finish_swap()?;
        let added = self.ready.into_iter().map(|ready| {
            let (dataset, _) = ready.written.in_place();
            let added = Added {
                dataset,
                name: ready.name,
                replaced: ready.replaced,
            };
            (ready.index, added)
        });
        Ok(added.collect::<BTreeMap<_, _>>().into_values().collect())
    }

    /// Undoes what was made, after something went wrong.
    fn take_back(self) {
        drop(self.ready);
        for key in &self.keys {
            if let Err(error) = self.identities.discard(key) {
                tracing::warn!(key, %error, "a key made by a call that failed stays");
            }
        }
    }
}

/// What comes of a manifest.
enum Admitted {
    New(Box<Planned>),
    /// A dataset of its name is here.
    Here(Entry),
}

/// Checks a manifest by itself, and its name and id against those that are there.
fn admit(manifest: Manifest, entries: &[Entry], options: &Options, before: &[Planned]) -> Result<Admitted, Refused> {
    let Manifest {
        origin,
        document,
        snapshot,
    } = manifest;
    let name: DatasetName = without_account(&snapshot.name)
        .parse()
        .map_err(|error: NameError| Refused {
            origin: origin.clone(),
            document,
            name: snapshot.name.clone(),
            problem: error.into(),
        })?;
    let mut planned = Planned {
        origin,
        document,
        kind: snapshot.kind,
        events: snapshot.metadata,
        later: Vec::new(),
        replaces: entries.iter().find(|entry| entry.name.as_ref() == Some(&name)).cloned(),
        name,
    };
    if let Some(other) = before.iter().find(|other| other.name == planned.name) {
        return Err(planned.refuse(Problem::Twice {
            origin: other.origin.clone(),
            document: other.document,
        }));
    }
    if let Some(entry) = &planned.replaces
        && !options.replace
    {
        return Ok(Admitted::Here(entry.clone()));
    }
    let replaced = planned.replaces.as_ref().map(|entry| entry.id);
    let taken = entries
        .iter()
        .find(|entry| Some(entry.id) == options.id && Some(entry.id) != replaced);
    if let Some(entry) = taken {
        let name = entry.name.as_ref().map(ToString::to_string).unwrap_or_default();
        return Err(planned.refuse(Problem::IdTaken { id: entry.id, name }));
    }
    let kind = planned.kind;
    let bad = planned.events.iter_mut().zip(1..).find_map(|(event, number)| {
        let reason = normal::admit(event, kind).err()?;
        Some(Problem::Event {
            event: number,
            kind: event.kind(),
            reason,
        })
    });
    match bad {
        Some(problem) => Err(planned.refuse(problem)),
        None => Ok(Admitted::New(Box::new(planned))),
    }
}

/// Gives every input an alias and the id of the dataset that its reference means: one of the same call by name, else one
/// of the workspace.
fn resolve_inputs(catalog: &Catalog, datasets: &mut [Planned]) -> Result<(), SnapshotError> {
    let names: Vec<DatasetName> = datasets.iter().map(|planned| planned.name.clone()).collect();
    let mut refused = Vec::new();
    for planned in datasets.iter_mut() {
        let mut missing = None;
        for (at_event, event) in planned.events.iter_mut().enumerate() {
            let MetadataEvent::SetTransform(set) = event else {
                continue;
            };
            for (at_input, input) in set.inputs.iter_mut().enumerate() {
                let reference = input.dataset_ref.clone();
                input.alias.get_or_insert_with(|| reference.clone());
                let text = without_account(&reference);
                let by_name: Option<DatasetName> = text.parse().ok();
                if let Some(dataset) = by_name.and_then(|name| names.iter().position(|other| *other == name)) {
                    planned.later.push(Later {
                        event: at_event,
                        input: at_input,
                        dataset,
                    });
                    continue;
                }
                match catalog.find_entry(text) {
                    Ok(entry) => input.dataset_ref = entry.id.to_string(),
                    Err(error @ (CatalogError::Unknown { .. } | CatalogError::Ambiguous { .. })) => {
                        let reason = error.to_string();
                        missing.get_or_insert(Problem::Input { reference, reason });
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        refused.extend(missing.map(|problem| planned.refuse(problem)));
    }
    if refused.is_empty() {
        Ok(())
    } else {
        Err(SnapshotError::Refused(refused))
    }
}

/// Where a dataset stands in the walk over inputs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    Not,
    OnTheWay,
    Done,
}

/// The order in which datasets can be made: inputs first, otherwise as the manifests came.
fn in_order(datasets: &[Planned]) -> Result<Vec<usize>, SnapshotError> {
    let mut order = Vec::with_capacity(datasets.len());
    let mut visits = vec![Visit::Not; datasets.len()];
    for start in 0..datasets.len() {
        if visits[start] != Visit::Not {
            continue;
        }
        visits[start] = Visit::OnTheWay;
        // The way from the start, each step with the number of inputs that were followed.
        let mut way = vec![(start, 0)];
        while let Some((at, followed)) = way.last_mut() {
            let (at, next) = (*at, datasets[*at].later.get(*followed).map(|later| later.dataset));
            *followed += 1;
            match next {
                Some(next) if visits[next] == Visit::OnTheWay => {
                    let from = way.iter().position(|(step, _)| *step == next).unwrap_or_default();
                    let steps = way[from..].iter().map(|(step, _)| *step).chain([next]);
                    let names = steps.map(|step| datasets[step].name.to_string()).collect();
                    return Err(SnapshotError::Refused(vec![
                        datasets[next].refuse(Problem::Cycle(names)),
                    ]));
                }
                Some(next) if visits[next] == Visit::Not => {
                    visits[next] = Visit::OnTheWay;
                    way.push((next, 0));
                }
                Some(_) => {}
                None => {
                    visits[at] = Visit::Done;
                    order.push(at);
                    way.pop();
                }
            }
        }
    }
    Ok(order)
}

/// Whoever is computed from a dataset that is replaced must be replaced too, or it would lose its input.
fn check_replaced(catalog: &Catalog, datasets: &[Planned]) -> Result<(), SnapshotError> {
    let gone: Vec<DatasetId> = datasets
        .iter()
        .filter_map(|planned| Some(planned.replaces.as_ref()?.id))
        .collect();
    if gone.is_empty() {
        return Ok(());
    }
    let lineage = Lineage::of(catalog)?;
    let mut refused = Vec::new();
    for planned in datasets {
        let Some(entry) = &planned.replaces else { continue };
        let left = lineage.dependents(&entry.id).filter(|node| !gone.contains(&node.id));
        let left: Vec<String> = left.map(|node| node.label()).collect();
        if !left.is_empty() {
            refused.push(planned.refuse(Problem::Dependents(left)));
        }
    }
    if refused.is_empty() {
        Ok(())
    } else {
        Err(SnapshotError::Refused(refused))
    }
}

/// Checks the chain that would be written, block by block.
fn check_rules(planned: &Planned, id: DatasetId, now: Timestamp) -> Result<(), Problem> {
    let seed = MetadataEvent::Seed(Seed {
        dataset_id: id,
        dataset_kind: planned.kind,
    });
    let mut state: Option<ChainState> = None;
    let mut previous: Option<Multihash> = None;
    for (number, event) in (0..).zip(std::iter::once(&seed).chain(&planned.events)) {
        let kind = event.kind();
        let block = EncodedBlock::encode(MetadataBlock {
            system_time: now,
            prev_block_hash: previous,
            sequence_number: number,
            event: event.clone(),
        });
        let block = block.map_err(|error| Problem::Block {
            event: number,
            kind,
            reason: error.to_string(),
        })?;
        ChainState::append(&mut state, &block).map_err(|error| Problem::Rule {
            event: number,
            kind,
            rule: error.rule,
        })?;
        previous = Some(*block.hash());
    }
    Ok(())
}
