//! Damaged datasets made whole again: from what is left here, from other datasets, and from whoever has a copy.
//!
//! Everything that comes from elsewhere is named by its hash, so any place will do and none is believed. Nothing is taken
//! away before what replaces it is complete; what cannot be had is told, and the dataset stays as it is, marked as damaged.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use odf_metadata::Multihash;
use odf_metadata::codec::EncodedBlock;
use odf_tables::digest;

use crate::catalog::{CatalogError, Entry};
use crate::dataset::restore::{Elsewhere, RestoreError, restore, settled};
use crate::dataset::{Damage, Dataset, DatasetError, Object, ObjectKind};
use crate::mirror::MirrorError;
use crate::receive::{Arrival, ReceiveError, Source};
use crate::rewrite::Datasets;

/// After this many files in a row that a place could not give, it is not asked again.
const MAX_FAILURES: usize = 3;

/// A part of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// `refs/head`.
    Head,
    /// A metadata block.
    Block {
        /// Its sequence number, if that is known.
        sequence: Option<u64>,
        /// Its hash; nothing if not even the head is known.
        hash: Option<Multihash>,
    },
    /// A slice or checkpoint.
    Object {
        /// Which.
        object: Object,
        /// Sequence number of the metadata block that names it.
        sequence: u64,
        /// Offsets of its first and last row; none for a checkpoint.
        rows: Option<(u64, u64)>,
    },
    /// IPLD blocks of the form that peers are served.
    Served {
        /// How many at least.
        blocks: u64,
    },
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("refs/head"),
            Self::Block { sequence, hash } => {
                f.write_str("metadata block")?;
                if let Some(sequence) = sequence {
                    write!(f, " {sequence}")?;
                }
                hash.map_or(Ok(()), |hash| write!(f, " ({hash})"))
            }
            Self::Object { object, sequence, rows } => {
                write!(f, "{object} of metadata block {sequence}")?;
                rows.map_or(Ok(()), |(first, last)| write!(f, ", rows {first} to {last}"))
            }
            Self::Served { blocks } => write!(f, "{blocks} block(s) that peers are served"),
        }
    }
}

/// A part that is in order again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// The part.
    pub part: Part,
    /// Where it came from, for people.
    pub from: String,
}

/// A part that is still missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The part.
    pub part: Part,
    /// What is wrong with it, and why nobody gave it.
    pub reason: String,
}

/// What a repair did.
#[derive(Debug, Default)]
pub struct Repaired {
    /// The dataset, unless not even its chain could be put together.
    pub dataset: Option<Dataset>,
    /// What is in order again.
    pub mended: Vec<Mended>,
    /// What is not.
    pub lost: Vec<Lost>,
}

/// Why a dataset could not be looked at or mended. What was mended until then stays so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// Its files cannot be read or written.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The datasets cannot be listed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The second form failed.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// Something else is being brought to the dataset right now, or nothing can be put there.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// The caller wanted it to stop.
    #[error("interrupted")]
    Stopped,
}

/// What a repair is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doing {
    /// So many bytes of files were checked.
    Checked(u64),
    /// So many slices and checkpoints have to be had from elsewhere, of so many bytes.
    Wanted(usize, u64),
    /// One of them, of so many bytes, came.
    Came(u64),
}

/// Hears what a repair does; false ends it.
pub type OnDoing<'a> = dyn Fn(Doing) -> bool + Sync + 'a;

/// Gives the places to ask. It is called once, when something is missing.
pub type Supplies<'a> = dyn Fn() -> Vec<Box<dyn Source + 'a>> + 'a;

/// Checks all of a dataset and mends what it can: the head, the chain, slices and checkpoints, and its second form.
///
/// # Errors
/// See [`RepairError`]. That something is lost is no error, but told.
pub fn repair<'a>(
    datasets: &Datasets,
    entry: &Entry,
    supplies: &Supplies<'a>,
    on_doing: &OnDoing<'_>,
) -> Result<Repaired, RepairError> {
    let _hold = datasets.mirror().hold();
    let mut places = Places::new(supplies);
    let mut repaired = Repaired::default();
    let medium = datasets.catalog().medium();
    settled(&entry.dir, medium);
    let known = datasets.mirror().last_head(&entry.id);
    match restore(&entry.dir, &entry.id, known, &mut places, medium) {
        Ok(restored) => {
            let of_chain = restored.rewritten.then(|| "what is left of the chain".to_owned());
            repaired.mended.extend(restored.head.map(|_| Mended {
                part: Part::Head,
                from: of_chain.unwrap_or_else(|| "the chain file".to_owned()),
            }));
            repaired
                .mended
                .extend(restored.blocks.into_iter().map(|(sequence, hash, from)| Mended {
                    part: Part::Block {
                        sequence: Some(sequence),
                        hash: Some(hash),
                    },
                    from,
                }));
        }
        Err(RestoreError::Lost { sequence, hash, reason }) => {
            repaired.lost.push(Lost {
                part: Part::Block { sequence, hash },
                reason,
            });
            return Ok(repaired);
        }
        Err(RestoreError::Dataset(error)) => return Err(error.into()),
    }
    let dataset = Dataset::open(&entry.dir, medium)?;
    let named = named(&dataset)?;
    let faults = check(&dataset, &named, on_doing)?;
    mend_objects(datasets, &dataset, &named, faults, &mut places, on_doing, &mut repaired)?;
    mend_served(datasets, &dataset, &mut repaired)?;
    dataset.set_damage(damage_of(&repaired, &dataset).as_ref())?;
    repaired.dataset = Some(dataset);
    Ok(repaired)
}

/// Gets the slices and checkpoints that are not there, or not of their length: see [`Dataset::lacking`]. Nothing that is
/// there is hashed.
///
/// # Errors
/// See [`RepairError`]. That something is lost is no error, but told.
pub fn fetch_lacking<'a>(
    datasets: &Datasets,
    dataset: &Dataset,
    supplies: &Supplies<'a>,
    on_doing: &OnDoing<'_>,
) -> Result<Repaired, RepairError> {
    let _hold = datasets.mirror().hold();
    let mut repaired = Repaired::default();
    let lacking: HashSet<(ObjectKind, Multihash)> = dataset
        .lacking(None)?
        .into_iter()
        .map(|object| (object.kind, object.hash))
        .collect();
    if !lacking.is_empty() {
        let named = named(dataset)?;
        let faults = (0..named.len())
            .filter_map(|at| named.get(at).map(|named| (at, named)))
            .filter(|(_, named)| lacking.contains(&(named.object.kind, named.object.hash)))
            .map(|(at, _)| (at, "it is missing".to_owned()))
            .collect();
        let mut places = Places::new(supplies);
        mend_objects(datasets, dataset, &named, faults, &mut places, on_doing, &mut repaired)?;
        // A note of files that were looked at closer stays.
        if let (Some(damage), None) = (damage_of(&repaired, dataset), dataset.damage()) {
            dataset.set_damage(Some(&damage))?;
        }
    }
    if repaired.lost.is_empty() {
        datasets.mirror().moved(dataset)?;
    }
    repaired.dataset = Some(dataset.clone());
    Ok(repaired)
}

/// What is to be remembered of the damage that is left.
fn damage_of(repaired: &Repaired, dataset: &Dataset) -> Option<Damage> {
    let first = repaired.lost.first()?;
    let others = match repaired.lost.len() - 1 {
        0 => String::new(),
        others => format!("; and {others} more"),
    };
    let object = |lost: &Lost| match lost.part {
        Part::Object { object, .. } => Some(object),
        _ => None,
    };
    Some(Damage {
        reason: format!("{}: {}{others}", first.part, first.reason),
        missing: repaired.lost.iter().filter_map(object).collect(),
        // A file that is there and wrong has its length: it does not come back by itself.
        lasting: {
            let is_wrong = |lost: &Lost| object(lost).is_none_or(|object| object.is_in(dataset.dir()));
            repaired.lost.iter().any(is_wrong)
        },
    })
}

/// An object and the first metadata block that names it.
struct Named {
    object: Object,
    sequence: u64,
    rows: Option<(u64, u64)>,
}

impl Named {
    fn part(&self) -> Part {
        Part::Object {
            object: self.object,
            sequence: self.sequence,
            rows: self.rows,
        }
    }
}

fn named(dataset: &Dataset) -> Result<Vec<Named>, DatasetError> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for stored in dataset.blocks_after(None)? {
        let block = stored?.block;
        let rows = block.block().event.new_data().map(|slice| &slice.offset_interval);
        let rows = rows.map(|rows| (rows.start, rows.end));
        for object in Object::of(&block).filter(|object| seen.insert((object.kind, object.hash))) {
            all.push(Named {
                object,
                sequence: block.block().sequence_number,
                rows: rows.filter(|_| object.kind == ObjectKind::Slice),
            });
        }
    }
    Ok(all)
}

/// Hashes every file on all cores. Gives what is wrong, in the order of the chain.
fn check(dataset: &Dataset, named: &[Named], on_doing: &OnDoing<'_>) -> Result<Vec<(usize, String)>, RepairError> {
    let workers = std::thread::available_parallelism()
        .map_or(1, |cores| cores.get())
        .min(named.len().max(1));
    let (next, stopped) = (AtomicUsize::new(0), Mutex::new(false));
    let faults = Mutex::new(Vec::new());
    let is_stopped = || *stopped.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while !is_stopped() {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(named) = named.get(at) else { break };
                    if let Some(fault) = fault(dataset, &named.object) {
                        faults.lock().unwrap_or_else(PoisonError::into_inner).push((at, fault));
                    }
                    if !on_doing(Doing::Checked(named.object.size)) {
                        *stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
                    }
                }
            });
        }
    });
    if is_stopped() {
        return Err(RepairError::Stopped);
    }
    let mut faults = faults.into_inner().unwrap_or_else(PoisonError::into_inner);
    faults.sort_unstable_by_key(|(at, _)| *at);
    Ok(faults)
}

/// What is wrong with the file of an object.
fn fault(dataset: &Dataset, object: &Object) -> Option<String> {
    match digest::physical_hash(&object.path(dataset.dir())) {
        Ok((hash, size)) if (hash, size) == (object.hash, object.size) => None,
        Ok((_, size)) if size != object.size => Some(format!("it has {size} bytes instead of {}", object.size)),
        Ok((hash, _)) => Some(format!("its hash is {hash}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some("it is missing".to_owned()),
        Err(error) => Some(format!("it cannot be read: {error}")),
    }
}

fn mend_objects(
    datasets: &Datasets,
    dataset: &Dataset,
    named: &[Named],
    faults: Vec<(usize, String)>,
    places: &mut Places<'_, '_>,
    on_doing: &OnDoing<'_>,
    repaired: &mut Repaired,
) -> Result<(), RepairError> {
    let faulty: Vec<(&Named, String)> = faults
        .into_iter()
        .filter_map(|(at, fault)| Some((named.get(at)?, fault)))
        .collect();
    let bytes = faulty.iter().map(|(named, _)| named.object.size).sum();
    if !on_doing(Doing::Wanted(faulty.len(), bytes)) {
        return Err(RepairError::Stopped);
    }
    if faulty.is_empty() {
        return Ok(());
    }
    let arrival = Arrival::into(datasets, dataset.clone())?;
    let others = datasets.catalog().entries()?;
    let mut mended: Vec<Object> = Vec::new();
    let mut stopped = false;
    for (named, fault) in faulty {
        let got = match from_other_dataset(&others, &arrival, &named.object) {
            Some(from) => Ok(from),
            None => places.object(&named.object, &arrival),
        };
        match got {
            Ok(from) => {
                mended.push(named.object);
                repaired.mended.push(Mended {
                    part: named.part(),
                    from,
                });
            }
            Err(reason) => repaired.lost.push(Lost {
                part: named.part(),
                reason: format!("{fault}; {reason}"),
            }),
        }
        if !on_doing(Doing::Came(named.object.size)) {
            stopped = true;
            break;
        }
    }
    if !mended.is_empty() {
        arrival.keep(&mended)?;
        let paths: Vec<PathBuf> = mended.iter().map(|object| object.path(dataset.dir())).collect();
        datasets.mirror().mended(dataset, &paths)?;
    }
    if stopped { Err(RepairError::Stopped) } else { Ok(()) }
}

/// The same file in another dataset, which may have been computed from the same rows, or pulled under another id.
fn from_other_dataset(others: &[Entry], arrival: &Arrival, object: &Object) -> Option<String> {
    for entry in others {
        if entry.id == arrival.id() || !object.is_in(&entry.dir) {
            continue;
        }
        let copy = || -> Result<(), String> {
            let mut file = File::open(object.path(&entry.dir)).map_err(|error| error.to_string())?;
            let mut sink = arrival.sink(object).map_err(|error| error.to_string())?;
            sink.fill(&mut file, &|_| ControlFlow::Continue(()))
                .and_then(|()| sink.finish())
                .map_err(|error| error.to_string())
        };
        match copy() {
            Ok(()) => return Some(format!("the dataset {}", entry.label())),
            Err(error) => tracing::debug!(dataset = %entry.id, %object, %error, "the copy of another dataset"),
        }
    }
    None
}

/// Makes the second form whole, if the dataset is.
fn mend_served(datasets: &Datasets, dataset: &Dataset, repaired: &mut Repaired) -> Result<(), RepairError> {
    if !repaired.lost.is_empty() {
        return Ok(());
    }
    let before = datasets.mirror().check(dataset, &|_| {})?;
    if before.is_whole() {
        // What a cut left undone is done by this, too.
        return Ok(datasets.mirror().moved(dataset)?);
    }
    datasets.mirror().moved(dataset)?;
    let after = datasets.mirror().check(dataset, &|_| {})?;
    let part = |blocks: u64| Part::Served { blocks };
    if after.is_whole() {
        repaired.mended.push(Mended {
            part: part(before.lacking.max(1)),
            from: "the files of the dataset".to_owned(),
        });
    } else {
        repaired.lost.push(Lost {
            part: part(after.lacking),
            reason: after.fault(),
        });
    }
    Ok(())
}

/// The places to ask, made when the first one is needed.
struct Places<'s, 'a> {
    make: &'s Supplies<'a>,
    made: Option<Vec<Asked<'a>>>,
}

struct Asked<'a> {
    source: Box<dyn Source + 'a>,
    failures: usize,
}

impl<'s, 'a> Places<'s, 'a> {
    fn new(make: &'s Supplies<'a>) -> Self {
        Self { make, made: None }
    }

    fn all(&mut self) -> &mut Vec<Asked<'a>> {
        let make = self.make;
        let asked = |source| Asked { source, failures: 0 };
        self.made.get_or_insert_with(|| make().into_iter().map(asked).collect())
    }

    /// Asks one place after the other. Gives what the first good answer is and what the place is called.
    fn ask<T>(&mut self, mut ask: impl FnMut(&dyn Source) -> Result<T, String>) -> Result<(T, String), String> {
        let mut reasons = Vec::new();
        for asked in self.all() {
            if asked.failures >= MAX_FAILURES {
                continue;
            }
            let place = asked.source.place().to_owned();
            match ask(&*asked.source) {
                Ok(given) => {
                    asked.failures = 0;
                    return Ok((given, place));
                }
                Err(reason) => {
                    asked.failures += 1;
                    reasons.push(format!("{place}: {reason}"));
                }
            }
        }
        Err(match reasons.as_slice() {
            [] => "no other place is known, or none has what was asked for".to_owned(),
            reasons => reasons.join("; "),
        })
    }

    fn object(&mut self, object: &Object, arrival: &Arrival) -> Result<String, String> {
        let given = self.ask(|source| {
            let brought = source.objects(&[*object], arrival, &|_| ControlFlow::Continue(()));
            brought.map_err(|error| error.to_string())
        });
        given.map(|((), place)| place)
    }
}

impl Elsewhere for Places<'_, '_> {
    fn head(&mut self) -> Option<Multihash> {
        let asked = self.ask(|source| {
            let head = source.head().map_err(|error| error.to_string())?;
            head.ok_or_else(|| "there is no dataset".to_owned())
        });
        asked.ok().map(|(head, _)| head)
    }

    fn block(&mut self, hash: &Multihash) -> Result<(EncodedBlock, String), String> {
        self.ask(|source| {
            let bytes = source.block(hash).map_err(|error| error.to_string())?;
            EncodedBlock::decode_checked(hash, bytes).map_err(|error| error.to_string())
        })
    }
}

#[cfg(test)]
mod tests;
