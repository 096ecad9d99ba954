//! The form of runs: names, and the end that says what a run is.

/// Of runs that have a filter.
pub(super) const MAGIC: &[u8; 16] = b"index run v4\r\n\0\xf0";
/// Of runs of earlier versions, whose entries share what they have in common.
pub(super) const SHARED_MAGIC: &[u8; 16] = b"index run v3\r\n\0\xf0";
/// Of runs of still earlier ones, with fences of any length.
pub(super) const WHOLE_MAGIC: &[u8; 16] = b"index run v2\r\n\0\xf0";
/// Of the earliest, with short fences.
pub(super) const SHORT_MAGIC: &[u8; 16] = b"index run v1\r\n\0\xf0";
/// Length of a block.
pub(super) const BLOCK_BYTES: usize = 4096;
/// Checksum and number of entries.
pub(super) const BLOCK_HEADER_BYTES: usize = 4 + 2;
/// Lengths of the key and the value of the first entry of a block, at most.
pub(super) const ENTRY_HEADER_BYTES: usize = 2 + 2;
/// The most bytes of a key with its value.
pub(in crate::store) const MAX_ENTRY_BYTES: usize = BLOCK_BYTES - BLOCK_HEADER_BYTES - ENTRY_HEADER_BYTES;
pub(super) const FOOTER_BYTES: usize = 16 + 6 * 8 + 3 * 4;
/// The most blocks of a run.
pub(in crate::store) const MAX_BLOCKS: u32 = 1 << 24;
/// The most bytes of the fences of a run, which are in memory for as long as it is open.
pub(super) const MAX_FENCES_BYTES: usize = 128 << 20;
/// The most bytes of the filter of a run, which is in memory, too. Of a run with more keys it lets more pass.
pub(super) const MAX_FILTER_BYTES: usize = 64 << 20;
/// Length of a block of it.
pub(super) const FILTER_BLOCK_BYTES: usize = 32;
/// Length of the fences of the earliest versions.
pub(super) const EARLIER_FENCE_BYTES: usize = 8;
/// How many blocks are written, and read by a cursor, at once.
pub(super) const BLOCKS_AT_ONCE: usize = 64;

/// A key and its value; without bytes it is a tombstone.
pub(in crate::store) type Pair = (Vec<u8>, Vec<u8>);

/// What a run says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Label {
    /// Of the index that it belongs to.
    pub(in crate::store) identity: u64,
    /// The numbers of the folds that it covers.
    pub(in crate::store) first: u64,
    pub(in crate::store) last: u64,
    /// A flush of sled that kept everything that is in the run.
    pub(in crate::store) generation: u64,
}

/// The name of the run of these folds.
pub(in crate::store) fn name_of(first: u64, last: u64) -> String {
    format!("{first:016x}-{last:016x}.run")
}

/// The folds of the run of this name, if it is the name of one.
pub(in crate::store) fn folds_of(name: &str) -> Option<(u64, u64)> {
    let (first, last) = name.strip_suffix(".run")?.split_once('-')?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let folds = (number(first)?, number(last)?);
    (name_of(folds.0, folds.1) == name).then_some(folds)
}

/// How entries and what is in memory are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Entries without what they share with the one before. Fences each with its length, and one more for the end of the run.
    /// A filter behind them.
    Filtered,
    /// As earlier versions did: such entries and fences, and no filter.
    Shared,
    /// As still earlier ones did: whole entries, and such fences.
    Whole,
    /// As the earliest did: whole entries, and of the first key of each block the first 8 bytes, with zeros if it is
    /// shorter.
    Short,
}

/// The last [`FOOTER_BYTES`] of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) form: Form,
    pub(super) label: Label,
    pub(super) entries: u64,
    pub(super) tombstones: u64,
    pub(super) blocks: u32,
    /// Checksum of the fences with the filter.
    pub(super) resident: u32,
}

impl Footer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let magic = match self.form {
            Form::Filtered => MAGIC,
            Form::Shared => SHARED_MAGIC,
            Form::Whole => WHOLE_MAGIC,
            Form::Short => SHORT_MAGIC,
        };
        let mut footer = magic.to_vec();
        let label = self.label;
        let numbers = [
            label.identity,
            label.first,
            label.last,
            label.generation,
            self.entries,
            self.tombstones,
        ];
        for number in numbers {
            footer.extend_from_slice(&number.to_le_bytes());
        }
        footer.extend_from_slice(&self.blocks.to_le_bytes());
        footer.extend_from_slice(&self.resident.to_le_bytes());
        let check = crc32fast::hash(&footer);
        footer.extend_from_slice(&check.to_le_bytes());
        footer
    }

    /// Nothing if it is damaged or contradicts itself.
    pub(super) fn decode(bytes: &[u8; FOOTER_BYTES]) -> Option<Self> {
        let (checked, check) = bytes.split_last_chunk()?;
        if crc32fast::hash(checked) != u32::from_le_bytes(*check) {
            return None;
        }
        let (magic, mut rest) = checked.split_first_chunk()?;
        let form = match magic {
            MAGIC => Form::Filtered,
            SHARED_MAGIC => Form::Shared,
            WHOLE_MAGIC => Form::Whole,
            SHORT_MAGIC => Form::Short,
            _ => return None,
        };
        let mut next = || {
            let (number, behind) = rest.split_first_chunk()?;
            rest = behind;
            Some(u64::from_le_bytes(*number))
        };
        let label = Label {
            identity: next()?,
            first: next()?,
            last: next()?,
            generation: next()?,
        };
        let (entries, tombstones) = (next()?, next()?);
        let (blocks, rest) = rest.split_first_chunk()?;
        let resident = u32::from_le_bytes(*rest.first_chunk()?);
        let blocks = u32::from_le_bytes(*blocks);
        (tombstones <= entries).then_some(Self {
            form,
            label,
            entries,
            tombstones,
            blocks,
            resident,
        })
    }

    /// How long the fences and the filter are together in a file that has this many bytes before its footer, if it can be such a run.
    pub(super) fn resident_bytes(&self, body: u64) -> Option<usize> {
        let len = body.checked_sub(u64::from(self.blocks) * BLOCK_BYTES as u64)?;
        let len = usize::try_from(len).ok()?;
        let fits = match self.form {
            Form::Filtered => len <= MAX_FENCES_BYTES + MAX_FILTER_BYTES,
            Form::Shared | Form::Whole => len <= MAX_FENCES_BYTES,
            Form::Short => len == self.blocks as usize * EARLIER_FENCE_BYTES,
        };
        (fits && self.blocks <= MAX_BLOCKS).then_some(len)
    }
}
