//! What the index knows of registered files: under which names they go, and which blocks are in them.

use super::{error::StoreError, index::Index, place::FileId, tiers::Change};

/// A part of a file: the offset at which it begins, and the multihash of the block that it is.
pub(super) type KnownLeaf = (u64, Vec<u8>);

impl Index {
    /// The file that has this name.
    pub(super) fn file_named(&self, path: &[u8]) -> Result<Option<FileId>, StoreError> {
        let found = self.paths.get(path)?;
        Ok(found.and_then(|id| file_of(&id)))
    }

    /// Gives the name to the file, whoever had it.
    pub(super) fn give_name(&self, path: &[u8], file: FileId) -> Result<(), StoreError> {
        self.change(&self.paths, path, |_| Change::Value(key_of(file).to_vec()))
    }

    /// Gives the name to the file unless one has it. Whether it did.
    pub(super) fn give_free_name(&self, path: &[u8], file: FileId) -> Result<bool, StoreError> {
        let mut is_free = false;
        self.change(&self.paths, path, |known| {
            is_free = known.is_none();
            match is_free {
                true => Change::Value(key_of(file).to_vec()),
                false => Change::Nothing,
            }
        })?;
        Ok(is_free)
    }

    /// No file has this name.
    pub(super) fn take_name(&self, path: &[u8]) -> Result<(), StoreError> {
        self.change(&self.paths, path, |_| Change::Removed)
    }

    /// The files whose names begin with this, in the order of names.
    pub(super) fn files_named(&self, prefix: &[u8]) -> impl Iterator<Item = Result<FileId, StoreError>> + '_ {
        let found = self.paths.prefix(prefix);
        found.filter_map(|entry| entry.map(|(_, id)| file_of(&id)).transpose())
    }

    /// The path that the file was given with [`Self::set_path`].
    pub(super) fn path_of_file(&self, file: FileId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.files.get(&key_of(file))?.map(|path| path.to_vec()))
    }

    /// The file lies there.
    pub(super) fn set_path(&self, file: FileId, path: &[u8]) -> Result<(), StoreError> {
        self.change(&self.files, &key_of(file), |_| Change::Value(path.to_vec()))
    }

    /// There is no such file any more.
    pub(super) fn forget_path(&self, file: FileId) -> Result<(), StoreError> {
        self.change(&self.files, &key_of(file), |_| Change::Removed)
    }

    /// The file has this block at this offset. Gives the multihash of the one that it was said to have there before.
    pub(super) fn set_leaf(&self, file: FileId, offset: u64, hash: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut before = None;
        self.change(&self.leaves, &leaf_key(file, offset), |known| {
            before = known.map(<[u8]>::to_vec);
            Change::Value(hash.to_vec())
        })?;
        Ok(before)
    }

    /// The block that [`Self::set_leaf`] said the file to have at this offset.
    pub(super) fn leaf_at(&self, file: FileId, offset: u64) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.leaves.get(&leaf_key(file, offset))?.map(|hash| hash.to_vec()))
    }

    /// The file has this block at this offset besides the one of [`Self::set_leaf`], which has another length.
    pub(super) fn set_other_leaf(&self, file: FileId, offset: u64, len: u32, hash: &[u8]) -> Result<(), StoreError> {
        let key = [&leaf_key(file, offset)[..], &len.to_be_bytes()].concat();
        self.change(&self.leaves, &key, |_| Change::Value(hash.to_vec()))
    }

    /// The file is not said any more to have this block at this offset.
    pub(super) fn remove_leaf_of(&self, file: FileId, offset: u64, hash: &[u8]) -> Result<(), StoreError> {
        let mut is_it = false;
        self.change(&self.leaves, &leaf_key(file, offset), |known| {
            is_it = known == Some(hash);
            match is_it {
                true => Change::Removed,
                false => Change::Nothing,
            }
        })?;
        if is_it {
            return Ok(());
        }
        let end = leaf_end(file, offset.checked_add(1));
        let others = self
            .leaves
            .range(&leaf_key(file, offset), end.as_ref().map(|end| &end[..]));
        let others = others.filter(|entry| entry.as_ref().map_or(true, |(_, known)| *known == hash));
        for entry in others.collect::<Result<Vec<_>, _>>()? {
            self.change(&self.leaves, &entry.0, |_| Change::Removed)?;
        }
        Ok(())
    }

    /// The leaves of a file from the offset `from` on, those before `to` if it is given, in order.
    pub(super) fn leaves_between(
        &self,
        file: FileId,
        from: u64,
        to: Option<u64>,
    ) -> impl Iterator<Item = Result<KnownLeaf, StoreError>> + '_ {
        let to = leaf_end(file, to);
        let to = to.as_ref().map(|to| &to[..]);
        decoded(self.leaves.range(&leaf_key(file, from), to)).map(|leaf| leaf.map(|(_, leaf)| leaf))
    }

    /// The leaves of all files.
    pub(super) fn all_leaves(&self) -> impl Iterator<Item = Result<(FileId, KnownLeaf), StoreError>> + '_ {
        decoded(self.leaves.range(&[], None))
    }
}

/// Entries of leaves; what has no key of one is passed over.
fn decoded(
    entries: impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), StoreError>>,
) -> impl Iterator<Item = Result<(FileId, KnownLeaf), StoreError>> {
    let decode = |(key, hash): (Vec<u8>, Vec<u8>)| {
        let (file, rest) = key.split_first_chunk()?;
        let (offset, len) = rest.split_first_chunk()?;
        if !matches!(len.len(), 0 | OTHER_LEN_BYTES) {
            return None;
        }
        let offset = u64::from_be_bytes(*offset);
        Some((FileId(u32::from_be_bytes(*file)), (offset, hash)))
    };
    entries.filter_map(move |entry| entry.map(decode).transpose())
}

/// Key of a file.
fn key_of(file: FileId) -> [u8; 4] {
    file.0.to_be_bytes()
}

fn file_of(key: &[u8]) -> Option<FileId> {
    Some(FileId(u32::from_be_bytes(key.try_into().ok()?)))
}

/// What the key of a leaf has at its end that is not the first one that was known at its offset: its length (u32).
const OTHER_LEN_BYTES: usize = 4;

/// The least key that is behind those of the file's leaves before the offset `to`, or of all of them.
fn leaf_end(file: FileId, to: Option<u64>) -> Option<[u8; 12]> {
    match to {
        Some(to) => Some(leaf_key(file, to)),
        None => file.0.checked_add(1).map(|next| leaf_key(FileId(next), 0)),
    }
}

/// Key of a leaf.
fn leaf_key(file: FileId, offset: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&key_of(file));
    key[4..].copy_from_slice(&offset.to_be_bytes());
    key
}
