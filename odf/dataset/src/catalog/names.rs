//! What the datasets are called and computed from, remembered so that what is about one dataset reads one.
//!
//! The names are in memory and in a file beside the mark ([`Mark`](crate::Mark)), which says by a check that the file is that of
//! the last end in order. Without that, as after a cut, all datasets are read. While a process has the workspace it looks again
//! at those that it changed, and, when the directory of datasets looks otherwise than before, at those that came.
//!
//! What is changed by hand in a dataset that stays is not seen. So who finds a dataset by its name asks the dataset itself, and
//! who finds none and has no use for that reads all of them. Only whether a name is free for a new dataset is believed.

use std::collections::{BTreeMap, BTreeSet};

use odf_disk::{Access, read_small_text};
use odf_metadata::DatasetId;

use super::called::{Called, Look, Table, sum};
use super::many::look_at_each;
use super::{Catalog, CatalogError, Entry, io_error};
use crate::Mark;
use crate::dataset::{Dataset, DatasetName};
use crate::settled::Stamp;

/// The file, beside the mark.
const FILE: &str = "datasets.names";
/// The longest file that is read: names of some two million datasets.
pub(super) const MAX_FILE_BYTES: u64 = 256 << 20;

impl Catalog {
    /// Does something with what all datasets are called, which reads those that nothing is known of.
    ///
    /// # Errors
    /// The directory of datasets cannot be read.
    pub(super) fn with_names<T>(
        &self,
        work: impl FnOnce(&BTreeMap<DatasetId, Called>) -> T,
    ) -> Result<T, CatalogError> {
        let Some(mark) = &self.medium.mark else {
            return Ok(work(&self.read_all_names()?.called));
        };
        let mut kept = self.names.table();
        let table = self.names_of_now(kept.take(), mark)?;
        let done = work(&table.called);
        *kept = Some(table);
        Ok(done)
    }

    /// What is remembered, brought up to date.
    fn names_of_now(&self, table: Option<Table>, mark: &Mark) -> Result<Table, CatalogError> {
        let Some(mut table) = table.or_else(|| self.names_on_file(mark)) else {
            mark.take_doubted();
            return self.read_all_names();
        };
        let stamp = Stamp::of(&self.dir).map_err(|error| io_error("read", &self.dir, error))?;
        // After the stamp and before the files: what is changed from now on is looked at the next time.
        let mut due = mark.take_doubted();
        if table.stamp != Some(stamp) {
            let ids: BTreeSet<DatasetId> = self.ids()?.into_iter().collect();
            let known = table.called.keys().chain(&table.unsure);
            let gone: Vec<DatasetId> = known.filter(|id| !ids.contains(*id)).copied().collect();
            gone.into_iter().for_each(|id| table.take(id, Look::Gone));
            due.extend(ids.into_iter().filter(|id| !table.called.contains_key(id)));
            table.stamp = Some(stamp);
        }
        due.extend(&table.unsure);
        let due: Vec<DatasetId> = due.into_iter().collect();
        let looks = look_at_each(&due, &|id| Some((id, self.look_at_name(&id))));
        looks.into_iter().for_each(|(id, look)| table.take(id, look));
        Ok(table)
    }

    /// The names of the file that the mark speaks of: those of the directory as the mark describes it, which is as it was when
    /// this process began.
    fn names_on_file(&self, mark: &Mark) -> Option<Table> {
        let wanted = mark.take_names()?;
        let text = read_small_text(&mark.beside(FILE), MAX_FILE_BYTES).ok()??;
        let table = Table::read(&text).filter(|table| table.file == Some(wanted.check));
        if table.is_none() {
            tracing::debug!("the names of datasets are read again");
        }
        table.map(|table| Table {
            stamp: Some(wanted.stamp),
            ..table
        })
    }

    fn read_all_names(&self) -> Result<Table, CatalogError> {
        let stamp = Stamp::of(&self.dir).ok();
        let looks = look_at_each(&self.ids()?, &|id| Some((id, self.look_at_name(&id))));
        let mut table = Table {
            stamp,
            called: BTreeMap::new(),
            unsure: BTreeSet::new(),
            file: None,
        };
        looks.into_iter().for_each(|(id, look)| table.take(id, look));
        Ok(table)
    }

    fn look_at_name(&self, id: &DatasetId) -> Look {
        if !self.holds(id) {
            return Look::Gone;
        }
        let Some((entry, name)) = self.entry(*id).and_then(|entry| {
            let name = entry.name.clone()?;
            Some((entry, name))
        }) else {
            return Look::Nameless;
        };
        let inputs = Dataset::open(&entry.dir, &self.medium).map(|dataset| {
            let inputs = dataset.state().transform.iter().flat_map(|transform| &transform.inputs);
            inputs.filter_map(|input| input.dataset_ref.parse().ok()).collect()
        });
        let is_sure = inputs.is_ok();
        let inputs = inputs.unwrap_or_default();
        Look::Called(Called { name, inputs }, is_sure)
    }

    /// The dataset of this name, if there is one. That none has it is known without a look at the others.
    ///
    /// # Errors
    /// [`CatalogError::Ambiguous`], or the directory of datasets cannot be read.
    pub fn named(&self, name: &DatasetName) -> Result<Option<Entry>, CatalogError> {
        let mut entries = self.called(name)?;
        match entries.len() {
            0 | 1 => Ok(entries.pop()),
            _ => Err(CatalogError::Ambiguous {
                name: name.to_string(),
                candidates: entries.iter().map(|entry| entry.id.to_string()).collect(),
            }),
        }
    }

    /// The datasets that have this name and say so: as a rule one at most.
    ///
    /// # Errors
    /// The directory of datasets cannot be read.
    pub fn called(&self, name: &DatasetName) -> Result<Vec<Entry>, CatalogError> {
        let ids: Vec<DatasetId> = self.with_names(|names| {
            let called = names.iter().filter(|(_, called)| called.name == *name);
            called.map(|(id, _)| *id).collect()
        })?;
        let entries = ids.into_iter().filter_map(|id| self.entry(id));
        Ok(entries.filter(|entry| entry.name.as_ref() == Some(name)).collect())
    }

    /// The datasets that are computed from this one.
    ///
    /// # Errors
    /// The directory of datasets cannot be read.
    pub fn computed_from(&self, id: &DatasetId) -> Result<Vec<DatasetId>, CatalogError> {
        self.with_names(|names| {
            let computed = names.iter().filter(|(_, called)| called.inputs.contains(id));
            computed.map(|(id, _)| *id).collect()
        })
    }

    /// Somebody has read what all datasets are called: those that are remembered otherwise are looked at again.
    pub(super) fn compare_names(&self, entries: &[Entry]) {
        let Some(mark) = &self.medium.mark else { return };
        let mut kept = self.names.table();
        if kept.is_none() {
            *kept = self.names_on_file(mark);
        }
        let Some(table) = &mut *kept else { return };
        let is_same = |entry: &Entry| {
            let called = table.called.get(&entry.id).map(|called| called.name.as_str());
            called == entry.name.as_ref().map(DatasetName::as_str)
        };
        let others: Vec<DatasetId> = entries
            .iter()
            .filter(|entry| !is_same(entry))
            .map(|entry| entry.id)
            .collect();
        table.unsure.extend(others);
    }

    /// Writes down the names at an end that is in order. Gives the check by which the mark is to speak of them; nothing if they
    /// are not known, or cannot be written.
    pub(super) fn keep_names(&self, mark: &Mark) -> Option<u64> {
        if let Some(check) = mark.names_as_they_were() {
            return Some(check);
        }
        let mut kept = self.names.table();
        let known = kept.take().or_else(|| self.names_on_file(mark))?;
        let table = self.names_of_now(Some(known), mark).ok()?;
        let table = kept.insert(table);
        if table.file.is_none() {
            let text = table.text();
            let written = self
                .medium
                .disk
                .replace_unsynced(&mark.beside(FILE), text.as_bytes(), Access::Owner);
            if let Err(error) = written {
                tracing::debug!(%error, "the names of datasets are not remembered");
                return None;
            }
            table.file = Some(sum(&text));
        }
        table.file
    }
}
