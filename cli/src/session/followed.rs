//! Names that are followed.

use odf::dataset::Dataset;
use odf::follows::{Follows, FollowsError, Wish};
use odf::pull::{Address, name_of};
use odf::retention::Retention;
use tokio::sync::Notify;

use super::Session;
use crate::failure::Failure;
use crate::io::Io;

impl Session {
    /// The names that are followed.
    pub(crate) fn follows(&self) -> Follows {
        Follows::of(self.owned.dir.root(), &self.owned.disk)
    }

    /// Whoever follows a name, or no longer, tells the node by this.
    pub(crate) fn follows_changed(&self) -> &Notify {
        &self.owned.follows_changed
    }

    /// What is followed. What cannot be read of it is only told.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn wishes(&self, io: &mut Io) -> Result<Vec<Wish>, Failure> {
        let (wishes, damaged) = self.follows().list()?;
        for error in damaged {
            io.warn(format_args!(
                "{}, so what it is about is not followed",
                Failure::from(error).message()
            ));
        }
        Ok(wishes)
    }

    /// Which older roots of a dataset stay: as whoever follows it wished, else by the settings.
    ///
    /// # Errors
    /// What was wished cannot be read.
    pub(crate) fn retention_of(&self, dataset: &Dataset) -> Result<Retention, Failure> {
        let wished = self.follows_of(dataset)?.and_then(|wish| wish.retention());
        Ok(wished.unwrap_or_else(|| self.settings.retention.clone()))
    }

    /// The wish to follow what the dataset is pulled by, if there is one.
    fn follows_of(&self, dataset: &Dataset) -> Result<Option<Wish>, Failure> {
        let aliases = dataset.remote_aliases()?.pull_aliases;
        let addresses = aliases.iter().filter_map(|alias| alias.parse::<Address>().ok());
        let names = addresses.filter_map(|address| address.name().copied());
        let wishes = names
            .chain(name_of(&dataset.id()))
            .map(|name| self.follows().get(&name));
        Ok(wishes
            .collect::<Result<Vec<_>, FollowsError>>()?
            .into_iter()
            .flatten()
            .next())
    }
}
