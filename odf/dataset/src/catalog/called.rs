//! What is remembered of what datasets are called, and the text of it that is kept; who asks for it is `names`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use odf_metadata::DatasetId;

use crate::dataset::{DatasetName, check};
use crate::settled::Stamp;

/// Version of its form; another one is not read.
const FORM: u64 = 1;
/// What is remembered of a dataset.
#[derive(Debug, Clone)]
pub(super) struct Called {
    pub(super) name: DatasetName,
    /// What it is computed from.
    pub(super) inputs: Vec<DatasetId>,
}

impl Called {
    fn says_as(&self, other: &Self) -> bool {
        self.name.as_str() == other.name.as_str() && self.inputs == other.inputs
    }
}

/// The names, once somebody has asked for them.
#[derive(Default)]
pub(super) struct Names(Mutex<Option<Table>>);

impl Names {
    pub(super) fn table(&self) -> MutexGuard<'_, Option<Table>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Table {
    /// How the directory looked before the datasets were read.
    pub(super) stamp: Option<Stamp>,
    pub(super) called: BTreeMap<DatasetId, Called>,
    /// What has to be looked at each time: it is being received, or is damaged.
    pub(super) unsure: BTreeSet<DatasetId>,
    /// The check of the file that says the same.
    pub(super) file: Option<u64>,
}

/// What a look at a dataset brings.
pub(super) enum Look {
    /// There is nothing of this id.
    Gone,
    /// There is something, which has no name yet, or none that can be read.
    Nameless,
    /// A dataset that is whole as far as names go, or is not.
    Called(Called, bool),
}

impl Table {
    pub(super) fn take(&mut self, id: DatasetId, look: Look) {
        let before = self.called.remove(&id);
        let was_unsure = self.unsure.remove(&id);
        let is_same = match (&look, &before) {
            (Look::Gone, None) => !was_unsure,
            (Look::Nameless, None) => was_unsure,
            (Look::Called(now, is_sure), Some(before)) => was_unsure != *is_sure && now.says_as(before),
            _ => false,
        };
        if !is_same {
            self.file = None;
        }
        if matches!(look, Look::Nameless | Look::Called(_, false)) {
            self.unsure.insert(id);
        }
        if let Look::Called(called, _) = look {
            self.called.insert(id, called);
        }
    }

    /// A line for each dataset: id, name, and the ids of what it is computed from. Of what has to be looked at, the id alone.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (id, called) in &self.called {
            if self.unsure.contains(id) {
                continue;
            }
            // Writing to a text has no way to fail.
            let _ = write!(text, "{} {}", id.to_multibase(), called.name);
            for input in &called.inputs {
                let _ = write!(text, " {}", input.to_multibase());
            }
            text.push('\n');
        }
        for id in &self.unsure {
            let _ = writeln!(text, "{}", id.to_multibase());
        }
        text
    }

    /// Nothing if a line is none.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut table = Self {
            stamp: None,
            called: BTreeMap::new(),
            unsure: BTreeSet::new(),
            file: Some(sum(text)),
        };
        for line in text.lines() {
            let mut words = line.split(' ');
            let id = DatasetId::from_multibase(words.next()?).ok()?;
            let Some(name) = words.next() else {
                table.unsure.insert(id);
                continue;
            };
            let name = name.parse().ok()?;
            let inputs = words.map(|input| DatasetId::from_multibase(input).ok());
            let inputs = inputs.collect::<Option<_>>()?;
            table.called.insert(id, Called { name, inputs });
        }
        Some(table)
    }
}

/// The check of the file.
pub(super) fn sum(text: &str) -> u64 {
    check(&DatasetId::from_public_key([0; 32]), FORM, text.as_bytes())
}
