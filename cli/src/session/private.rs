//! The private network that the workspace is in, if it is in one.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use odf_node::peer::{MAX_NETWORK_KEY_BYTES, NetworkKey};

use super::Session;
use crate::failure::{Failure, Kind};

/// The file in the workspace with its key; Kubo calls it the same.
const KEY_FILE: &str = "swarm.key";

impl Session {
    /// Where the key of the private network is, or would be.
    pub(crate) fn network_key_file(&self) -> PathBuf {
        let file = self.settings.network_key.as_deref().unwrap_or(KEY_FILE);
        self.root().join(file)
    }

    /// The key of the private network that the workspace is in; nothing in the public one.
    ///
    /// # Errors
    /// The file that is named is not there, cannot be read, or holds no key: nobody is spoken to then, rather than the public.
    pub(crate) fn network_key(&self) -> Result<Option<NetworkKey>, Failure> {
        let path = self.network_key_file();
        match read(&path) {
            Ok(text) => NetworkKey::from_text(&text)
                .map(Some)
                .map_err(|error| Failure::usage(error).about(path.display()))
                .map_err(|failure| failure.next("copy the file from another machine of that network, as it is there")),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.settings.network_key.is_none() => Ok(None),
            Err(error) => Err(Failure::file(&path, &error)
                .about("network.key")
                .next("copy the key of the network there; `odfs config set network.key`, without a value, unsets it")),
        }
    }

    /// As [`Self::network_key`], and where there is none yet, one is made for a new network.
    ///
    /// # Errors
    /// As for that; or the file cannot be written.
    pub(crate) fn network_key_or_new(&self) -> Result<(NetworkKey, bool), Failure> {
        let path = self.network_key_file();
        if path.exists() {
            let missing = || Failure::new(Kind::NotFound, format!("{} went away", path.display()));
            return Ok((self.network_key()?.ok_or_else(missing)?, false));
        }
        let key = NetworkKey::generate();
        self.disk()
            .replace(&path, key.to_text().as_bytes(), odf::disk::Access::Owner)?;
        Ok((key, true))
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_NETWORK_KEY_BYTES as u64 + 1)
        .read_to_string(&mut text)?;
    Ok(text)
}
