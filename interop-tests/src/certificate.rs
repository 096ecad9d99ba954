//! Certificates that vouch for themselves.

use std::fs;
use std::path::Path;

use crate::{Failure, Outcome};

/// A certificate and its key, in PEM.
pub struct Certificate {
    /// The certificate.
    pub pem: String,
    /// The key.
    pub key: String,
}

impl Certificate {
    /// A new one for a name or an address.
    ///
    /// # Errors
    /// The name is none.
    pub fn of(name: &str) -> Outcome<Self> {
        let signed = rcgen::generate_simple_self_signed(vec![name.to_owned()]);
        let signed = signed.map_err(|error| Failure::new(error.to_string()))?;
        Ok(Self {
            pem: signed.cert.pem(),
            key: signed.signing_key.serialize_pem(),
        })
    }

    /// Writes it as `NAME.pem` and `NAME.key` into a folder.
    ///
    /// # Errors
    /// That fails.
    pub fn write(&self, dir: &Path, name: &str) -> Outcome {
        fs::write(dir.join(format!("{name}.key")), &self.key)?;
        Ok(fs::write(dir.join(format!("{name}.pem")), &self.pem)?)
    }
}
