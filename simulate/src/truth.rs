//! What really happened, as nobody in the simulation knows it, and what must never be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use odf::dataset::Dataset;
use odf::metadata::Multihash;
use odf_node::ipns::Name;
use odf_node::keystore::Keypair;

use crate::lockstep;

/// A dataset that one machine, or two with one key, add to.
pub(crate) type Series = usize;
/// A machine.
pub(crate) type Machine = usize;

/// Shared by everybody who has something to say. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Truth(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    series: BTreeMap<Series, Known>,
    /// The first thing that must never be.
    violation: Option<String>,
    counts: BTreeMap<&'static str, u64>,
    is_told: bool,
}

/// What is known of one series.
#[derive(Default)]
struct Known {
    key: Option<(Name, Keypair)>,
    /// Every head that a machine with the key was told to be durable, or had when it started: how many blocks lead to it.
    heads: HashMap<Multihash, u64>,
    /// What each machine has, as it was told.
    here: BTreeMap<Machine, (Multihash, u64)>,
    /// What came of the last pull of each machine: the head, or that it was refused.
    outcomes: BTreeMap<Machine, Option<(Multihash, u64)>>,
    /// Two histories were committed.
    is_forked: bool,
    /// Who said so, with a proof that holds.
    proofs: BTreeSet<Machine>,
    refusals: BTreeSet<Machine>,
}

impl Truth {
    /// Of nothing yet; what happens is printed if `told`.
    pub(crate) fn new(told: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            is_told: told,
            ..State::default()
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened.
    #[allow(clippy::print_stdout)]
    pub(crate) fn tell(&self, kind: &'static str, what: impl fmt::Display) {
        let mut state = self.state();
        *state.counts.entry(kind).or_default() += 1;
        if state.is_told {
            println!("{} {kind}: {what}", time());
        }
    }

    /// How often each kind of thing happened.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.state().counts.clone()
    }

    /// Something must never be, and is.
    pub(crate) fn violated(&self, what: impl fmt::Display) {
        let text = format!("{} {what}", time());
        self.state().violation.get_or_insert(text);
    }

    /// The first thing that was and must never be.
    pub(crate) fn violation(&self) -> Option<String> {
        self.state().violation.clone()
    }

    /// The name and the key of a series, once it was begun.
    pub(crate) fn key(&self, series: Series) -> Option<(Name, Keypair)> {
        self.state().series.get(&series).and_then(|known| known.key.clone())
    }

    /// The names of all series that were begun.
    pub(crate) fn names(&self) -> Vec<(Series, Name)> {
        let state = self.state();
        let all = state.series.iter();
        all.filter_map(|(series, known)| known.key.as_ref().map(|(name, _)| (*series, *name)))
            .collect()
    }

    /// The first rows of a series are durable: this is its key.
    pub(crate) fn begun(&self, series: Series, name: Name, key: Keypair) {
        self.state()
            .series
            .entry(series)
            .or_default()
            .key
            .get_or_insert((name, key));
    }

    /// A machine with the key committed this head and was told that it is durable; or has it when it starts.
    pub(crate) fn committed(&self, series: Series, machine: Machine, dataset: &Dataset) {
        let (head, sequence) = (*dataset.head(), dataset.state().sequence_number);
        let mut state = self.state();
        let known = state.series.entry(series).or_default();
        known.is_forked |= known.heads.iter().any(|(other, at)| *at == sequence && *other != head);
        known.heads.insert(head, sequence);
        known.here.insert(machine, (head, sequence));
    }

    /// A machine has this head after a pull that told it so.
    pub(crate) fn pulled(&self, series: Series, machine: Machine, dataset: &Dataset) {
        let (head, sequence) = (*dataset.head(), dataset.state().sequence_number);
        let (before, is_known) = {
            let mut state = self.state();
            let known = state.series.entry(series).or_default();
            let is_known = known.heads.get(&head) == Some(&sequence);
            known.outcomes.insert(machine, Some((head, sequence)));
            (known.here.insert(machine, (head, sequence)), is_known)
        };
        if !is_known {
            self.violated(format_args!(
                "machine {machine} shows block {sequence} ({head}) of series {series}, which nobody with the key ever committed"
            ));
        }
        if let Some((old, at)) = before
            && !matches!(dataset.block_by_hash(&old), Ok(Some(_)))
        {
            self.violated(format_args!(
                "machine {machine} went back from block {at} of series {series}, to {sequence}"
            ));
        }
    }

    /// What a machine has of a series when it starts: all that it was told to be durable must be there.
    pub(crate) fn found(&self, series: Series, machine: Machine, dataset: Option<&Dataset>) {
        let told = self
            .state()
            .series
            .get(&series)
            .and_then(|known| known.here.get(&machine).copied());
        let has = |head: &Multihash| dataset.is_some_and(|dataset| matches!(dataset.block_by_hash(head), Ok(Some(_))));
        if let Some((head, sequence)) = told
            && !has(&head)
        {
            let now = dataset.map(|dataset| dataset.state().sequence_number);
            self.violated(format_args!(
                "machine {machine} lost block {sequence} of series {series}, which it was told to be durable: it has {now:?}"
            ));
        }
    }

    /// A pull or a publish was refused because two histories were signed.
    pub(crate) fn refused(&self, series: Series, machine: Machine) {
        let is_forked = {
            let mut state = self.state();
            let known = state.series.entry(series).or_default();
            known.refusals.insert(machine);
            known.outcomes.insert(machine, None);
            known.is_forked
        };
        if !is_forked {
            self.violated(format_args!(
                "machine {machine} says that series {series} has two histories, and it has one"
            ));
        }
    }

    /// A machine has a proof of it that holds.
    pub(crate) fn proved(&self, series: Series, machine: Machine) {
        self.state().series.entry(series).or_default().proofs.insert(machine);
    }

    /// What came of pulls so far does not count for the end.
    pub(crate) fn forget_outcomes(&self) {
        let mut state = self.state();
        state.series.values_mut().for_each(|known| known.outcomes.clear());
    }

    /// At the end, with everybody awake and in reach for long enough: all who ask, by series, have what the name stands for, which is
    /// the newest if there is one history only; of two, those who have the other one say so.
    pub(crate) fn settled(&self, followers: &dyn Fn(Series) -> Vec<Machine>) {
        let mut faults = Vec::new();
        for (series, known) in &self.state().series {
            let newest = known.heads.values().max().copied();
            let agreed = known.outcomes.values().find_map(|outcome| *outcome);
            for machine in followers(*series) {
                let fault = match known.outcomes.get(&machine) {
                    None => "does not know what it stands for".to_owned(),
                    Some(None) if !known.is_forked => "refuses it".to_owned(),
                    Some(Some(head)) if Some(*head) != agreed => "has another head than others".to_owned(),
                    Some(Some((_, at))) if !known.is_forked && Some(*at) != newest => {
                        format!("has block {at} of {newest:?}")
                    }
                    Some(_) => continue,
                };
                faults.push(format!("in the end machine {machine} {fault}, of series {series}"));
            }
        }
        faults.into_iter().for_each(|fault| self.violated(fault));
    }

    /// How many series have two histories, machines that refused one, and those with a proof.
    pub(crate) fn forks(&self) -> [usize; 3] {
        let state = self.state();
        let forked = || state.series.values().filter(|known| known.is_forked);
        [
            forked().count(),
            forked().map(|known| known.refusals.len()).sum(),
            forked().map(|known| known.proofs.len()).sum(),
        ]
    }

    /// Blocks of all series together.
    pub(crate) fn blocks(&self) -> u64 {
        let state = self.state();
        state
            .series
            .values()
            .filter_map(|known| known.heads.values().max())
            .map(|at| at + 1)
            .sum()
    }
}

/// The virtual time, for people.
fn time() -> String {
    let now = lockstep::now();
    format!(
        "day {:>4} {:02}:{:02}:{:06.3}",
        now / 86_400_000_000_000,
        now / 3_600_000_000_000 % 24,
        now / 60_000_000_000 % 60,
        (now % 60_000_000_000) as f64 / 1e9
    )
}
