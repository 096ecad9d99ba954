//! Library errors to kinds and next steps.

use super::Failure;
use std::io;

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::from_io(&error)
    }
}
