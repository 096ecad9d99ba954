//! What this peer serves nobody, by the lists that the settings name.

use std::path::PathBuf;

use odf_node::denylist::Denylist;
use odf_node::exchange;

use super::{Session, patient};
use crate::failure::Failure;

impl Session {
    /// The lists of `gateway.denylist`, read when they are needed first; files are named from the workspace on.
    ///
    /// # Errors
    /// One cannot be read: nothing is served then, rather than what is denied.
    pub(crate) fn denylist(&self) -> Result<&Denylist, Failure> {
        self.owned.denylist.get_or_start(|| {
            let names = self.settings.gateway_denylist.iter();
            let files: Vec<PathBuf> = names.map(|name| self.root().join(name)).collect();
            Ok(Denylist::open(&files)?)
        })
    }

    /// How the peer exchanges blocks.
    ///
    /// # Errors
    /// As [`Self::denylist`].
    pub(super) fn exchange_config(&self) -> Result<exchange::Config, Failure> {
        let mut config = patient();
        config.denylist = self.denylist()?.clone();
        Ok(config)
    }
}
