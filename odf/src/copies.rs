//! Copies of datasets, to look at beside the datasets themselves: the history that somebody else has under the same id.
//!
//! Everything else knows a dataset by its id, of which there is one in a workspace. So a copy is none of them: each is alone
//! in a directory of its own below `copies`, is neither served nor announced nor appended to, has no key, and is found by its
//! name where no dataset has that.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use odf_dataset::catalog::{Catalog, CatalogError, Listed};
use odf_dataset::receive::{Destination, Listener, ReceiveError, Received, Source, receive};
use odf_dataset::{Dataset, DatasetName, Datasets, Medium, NoMirror, RemoteAliases};
use odf_disk::{Access, Disk};

/// The copies of a workspace.
#[derive(Clone)]
pub struct Copies {
    dir: PathBuf,
    disk: Disk,
}

impl Copies {
    /// Those in a directory, which need not be there.
    pub(crate) fn new(dir: &Path, disk: &Disk) -> Self {
        Self {
            dir: dir.to_owned(),
            disk: disk.clone(),
        }
    }

    /// Where the copy of this name is, or would be.
    fn place(&self, name: &DatasetName) -> PathBuf {
        self.dir.join(name.as_str().to_ascii_lowercase())
    }

    /// Whether there is one of this name.
    pub fn holds(&self, name: &DatasetName) -> bool {
        self.place(name).is_dir()
    }

    /// The copy of this name, in any case.
    ///
    /// # Errors
    /// It is there and cannot be opened.
    pub fn find(&self, name: &str) -> Result<Option<Dataset>, CatalogError> {
        match name.parse::<DatasetName>() {
            Ok(name) if self.holds(&name) => match self.open(&name)?.find(name.as_str()) {
                Ok(dataset) => Ok(Some(dataset)),
                // It has not arrived yet.
                Err(CatalogError::Unknown { .. }) => Ok(None),
                Err(error) => Err(error),
            },
            _ => Ok(None),
        }
    }

    /// All of them by name, as listings of datasets are.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn listing(&self) -> Result<Vec<Listed>, CatalogError> {
        let failed = |source| CatalogError::Io {
            operation: "read",
            path: self.dir.clone(),
            source,
        };
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            names.extend(name.to_str().and_then(|name| name.parse::<DatasetName>().ok()));
        }
        names.sort_by_key(|name| name.as_str().to_owned());
        let mut listed = Vec::new();
        for name in names {
            listed.extend(self.open(&name)?.listing()?);
        }
        Ok(listed)
    }

    /// Makes the copy of this name what `source` has, whatever it was before; `from` is remembered as where that is.
    ///
    /// # Errors
    /// As [`receive`]. There may be a part of it, which the next call goes on with.
    pub fn take(
        &self,
        name: &DatasetName,
        source: &dyn Source,
        from: &str,
        listener: &Listener<'_>,
    ) -> Result<Received, ReceiveError> {
        let datasets = Datasets::new(self.open(name)?, std::sync::Arc::new(NoMirror));
        let destination = Destination {
            aliases: RemoteAliases {
                pull_aliases: vec![from.to_owned()],
                ..RemoteAliases::default()
            },
            force: true,
            ..Destination::named(name.clone())
        };
        receive(&datasets, source, destination, listener)
    }

    /// A place for one copy that is there only as long as something is worked out; what an earlier one left is removed.
    ///
    /// # Errors
    /// That cannot be removed.
    pub fn scratch(&self) -> Result<Self, CatalogError> {
        // No copy has that name.
        let dir = self.dir.join(".scratch");
        self.disk.remove_tree(&dir)?;
        Ok(Self::new(&dir, &self.disk))
    }

    /// Removes all of them, as from a [scratch place](Self::scratch).
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn clear(&self) -> Result<(), CatalogError> {
        Ok(self.disk.remove_tree(&self.dir)?)
    }

    /// Removes the copy of this name, if there is one.
    ///
    /// # Errors
    /// Something of it cannot be removed.
    pub fn remove(&self, name: &DatasetName) -> Result<(), CatalogError> {
        Ok(self.disk.remove_tree(&self.place(name))?)
    }

    fn open(&self, name: &DatasetName) -> Result<Catalog, CatalogError> {
        let dir = self.place(name);
        self.disk.create_dirs(&dir, Access::Owner)?;
        Catalog::open(&dir, Medium::new(self.disk.clone()))
    }
}
