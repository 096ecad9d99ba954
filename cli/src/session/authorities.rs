//! Whom this workspace believes that vouch for servers.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use odf_doors::Authorities;

use super::Session;
use crate::failure::Failure;

/// The longest file of certificates or of a key that is read. Those of all that browsers believe are in some 300 KB.
pub(crate) const MAX_PEM_BYTES: u64 = 1 << 20;

impl Session {
    /// Those that browsers believe, and those in the file that the settings name.
    ///
    /// # Errors
    /// The file cannot be read, or holds none.
    pub(crate) fn authorities(&self) -> Result<Authorities, Failure> {
        let Some(file) = &self.settings.authorities else {
            return Ok(Authorities::default());
        };
        let path = self.root().join(file);
        let next = "`odfs config set network.authorities`, without a value, unsets it";
        let pem =
            read_pem(&path).map_err(|error| Failure::file(&path, &error).about("network.authorities").next(next))?;
        let authorities = Authorities::default().and(&pem);
        authorities.map_err(|error| Failure::usage(error).about(path.display()).next(next))
    }
}

/// A file of certificates or of a key.
pub(crate) fn read_pem(path: &Path) -> io::Result<Vec<u8>> {
    let mut pem = Vec::new();
    File::open(path)?.take(MAX_PEM_BYTES + 1).read_to_end(&mut pem)?;
    match pem.len() as u64 > MAX_PEM_BYTES {
        true => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is too long for certificates",
        )),
        false => Ok(pem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_over_the_limit_is_none_of_certificates() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pem");
        for (length, is_read) in [(MAX_PEM_BYTES, true), (MAX_PEM_BYTES + 1, false)] {
            std::fs::write(&path, vec![b'x'; usize::try_from(length).unwrap()]).unwrap();
            assert_eq!(read_pem(&path).is_ok(), is_read, "{length}");
        }
    }
}
