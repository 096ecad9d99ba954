//! A CAR that is read, from a file or from standard input.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

use odf_node::car::{CarError, Reader};

use crate::failure::{Failure, Kind, chain};
use crate::io::Io;

/// A CAR that is read.
pub(in crate::commands) struct Opened {
    /// What messages call it.
    pub(in crate::commands) what: String,
    /// Its bytes, where it says how many there are.
    pub(super) total: Option<u64>,
    pub(in crate::commands) reader: Reader<Box<dyn Read + Send>>,
}

impl Opened {
    /// # Errors
    /// It cannot be opened, or is no CAR.
    pub(in crate::commands) fn new(file: &Path, io: &mut Io) -> Result<Self, Failure> {
        let (what, total, bytes): (_, _, Box<dyn Read + Send>) = if file == Path::new("-") {
            ("standard input".to_owned(), None, Box::new(io.take_input()))
        } else {
            let path = io.resolve(file);
            let file = File::open(&path).map_err(|error| Failure::file(&path, &error))?;
            let total = file
                .metadata()
                .ok()
                .filter(fs::Metadata::is_file)
                .map(|file| file.len());
            (path.display().to_string(), total, Box::new(BufReader::new(file)))
        };
        let reader = Reader::new(bytes).map_err(|error| failed(&what, error))?;
        Ok(Self { what, total, reader })
    }

    /// What went wrong with it.
    pub(in crate::commands) fn failed(&self, error: CarError) -> Failure {
        failed(&self.what, error)
    }
}

fn failed(what: &str, error: CarError) -> Failure {
    match error {
        CarError::Read(error) => Failure::from(error).about(what),
        error => {
            let kind = match error {
                CarError::Block { .. } => Kind::Integrity,
                _ => Kind::BadInput,
            };
            Failure::new(kind, format!("{what}: {}", chain(&error)))
                .next("get the file again; what was taken before that place was checked, and is kept")
        }
    }
}
