//! Files and directory trees into a store as UnixFS, as fast as the machine hashes.
//!
//! Every worker takes the next chunk from whatever is being read, hashes it and writes it where it stays, all from one
//! buffer of its own that it fills again and again: the bytes are copied from the page cache once and to it once. Only
//! reading is done one after the other. Leaves are put in order by their numbers afterwards, so a single file, a pipe and
//! a tree of small files all use every core.
//!
//! Nothing here pins or flushes. Take a [`Hold`](crate::store::Hold) before adding, and pin, then flush, afterwards.

mod error;
mod options;
mod run;
mod tree;

use std::{fs::File, io::Read, path::Path};

use crate::store::{FileId, Store};
pub use error::{AddError, MAX_DEPTH};
pub use options::{AddOptions, Added, Progress};
use run::{Input, Sink, run};

/// Adds what a reader gives, to its end. `name` stands for it in messages.
///
/// # Errors
/// See [`AddError`].
pub fn add_reader(
    store: &Store,
    name: &Path,
    reader: impl Read + Send,
    options: &AddOptions<'_>,
) -> Result<Added, AddError> {
    let source = Input {
        path: name.to_path_buf(),
        reader: Box::new(reader),
        lengths: None,
    };
    let sink = if options.only_hash { Sink::Nothing } else { Sink::Packs };
    let sources = std::iter::once(Ok(source));
    run(store, sources, sink, options, options.profile.chunk_bytes)?.single(name)
}

/// Adds a file, a symlink (as what it is) or a directory with everything in it.
///
/// # Errors
/// See [`AddError`].
pub fn add_path(store: &Store, path: &Path, options: &AddOptions<'_>) -> Result<Added, AddError> {
    tree::add(store, path, options)
}

/// Takes a registered file into the store where it is: nothing is copied, its leaves become references.
///
/// # Errors
/// [`AddError::WrapsLeaves`] for a profile without raw leaves, or see [`AddError`].
pub fn add_in_place(store: &Store, file: FileId, options: &AddOptions<'_>) -> Result<Added, AddError> {
    in_place(store, file, options, None)
}

/// As [`add_in_place`], with leaves of these lengths, none of them 0, in place of those of the profile. They are those of the
/// whole file: what is behind the last one is not taken.
///
/// # Errors
/// As [`add_in_place`].
pub fn add_in_place_cut(
    store: &Store,
    file: FileId,
    options: &AddOptions<'_>,
    lengths: &[usize],
) -> Result<Added, AddError> {
    in_place(store, file, options, Some(lengths))
}

fn in_place<'a>(
    store: &Store,
    file: FileId,
    options: &'a AddOptions<'a>,
    lengths: Option<&'a [usize]>,
) -> Result<Added, AddError> {
    if !options.profile.raw_leaves {
        return Err(AddError::WrapsLeaves {
            profile: options.profile.name,
        });
    }
    let path = store.registered(file)?;
    let name = path.clone();
    let reader = File::open(&path).map_err(|source| AddError::Read {
        path: path.clone(),
        source,
    })?;
    let source = Input {
        path,
        reader: Box::new(reader),
        lengths,
    };
    let sink = if options.only_hash {
        Sink::Nothing
    } else {
        Sink::InPlace(file)
    };
    let longest = lengths.map_or(options.profile.chunk_bytes, |lengths| {
        lengths.iter().copied().max().unwrap_or(0)
    });
    run(store, std::iter::once(Ok(source)), sink, options, longest)?.single(&name)
}

#[cfg(test)]
mod tests;
