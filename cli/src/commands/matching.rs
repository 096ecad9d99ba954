//! Datasets by the names and patterns that a command was given.

use odf::catalog::Entry;

use crate::failure::{Failure, Kind};
use crate::session::Session;

/// The datasets that names and patterns stand for, each once.
pub(super) fn entries(names: &[String], session: &Session) -> Result<Vec<Entry>, Failure> {
    let catalog = session.workspace()?.catalog();
    let mut found: Vec<Entry> = Vec::new();
    for name in names {
        let matching = if name.contains('%') {
            catalog.matching(name)?
        } else {
            vec![catalog.find_entry(name)?]
        };
        if matching.is_empty() {
            return Err(Failure::new(Kind::NotFound, format!("no dataset matches {name}"))
                .next("`odfs list` shows all datasets"));
        }
        for entry in matching {
            if !found.contains(&entry) {
                found.push(entry);
            }
        }
    }
    Ok(found)
}
