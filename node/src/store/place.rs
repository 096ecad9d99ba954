//! Where the bytes of a block are, and how the index writes that down.

/// The most places that are remembered for one block: see [`IndexEntry::more`].
pub(super) const MAX_PLACES: usize = 16;
/// Length of one encoded place: kind, container, offset, length.
const PLACE_BYTES: usize = 1 + 4 + 8 + 4;
/// The flag of [`IndexEntry::more`] in the first byte of an entry.
const MORE: u8 = 1;
/// The flag of [`IndexEntry::repeated`].
const REPEATED: u8 = 2;
/// Flag of an entry with a mark of completeness behind its places.
const COMPLETE: u8 = 4;
/// Length of that mark.
const EPOCH_BYTES: usize = 8;

/// A part of a registered file that is a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Name of the part's content.
    pub cid: crate::block::Cid,
    /// Where the part begins in the file, in bytes.
    pub offset: u64,
    /// Length of the part in bytes.
    pub len: u32,
}

/// A file registered with [`Store`](super::Store), for as long as it is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub(crate) u32);

impl std::fmt::Display for FileId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "file #{}", self.0)
    }
}

/// What holds a range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// A pack of the store's own.
    Pack(u32),
    /// A registered file.
    File(u32),
}

/// Where the bytes of a block are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) holder: Holder,
    pub(super) offset: u64,
    pub(super) len: u32,
}

/// A position in the whole sequence of packs: pack, then offset in it.
pub(super) type Position = (u32, u64);

impl Place {
    /// Where it is in the sequence of packs, if it is in one.
    pub(super) fn position(&self) -> Option<Position> {
        match self.holder {
            Holder::Pack(id) => Some((id, self.offset)),
            Holder::File(_) => None,
        }
    }

    /// The offset behind its last byte.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.len))
    }
}

/// What the index knows of one multihash.
///
/// Encoded as one byte of flags, then for each place: kind (1 pack, 2 file), container (u32), offset (u64) and length
/// (u32), then the mark of completeness (u64) if there is one; little endian. Who does not know of the mark reads the places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct IndexEntry {
    /// More files hold the block than are remembered: when the last known one goes, the others are looked for.
    pub(super) more: bool,
    /// A file was said to hold the block at more than one offset; one of them is remembered.
    pub(super) repeated: bool,
    /// The epoch in which the whole DAG below the block was here. It is in the entry because nearly every new node gets one: in
    /// a tree of their own these would cost as much again as the entries.
    pub(super) complete: Option<u64>,
    pub(super) places: Vec<Place>,
}

impl IndexEntry {
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let Some((flags, rest)) = bytes.split_first() else {
            return Self::default();
        };
        let (rest, complete) = match rest.split_last_chunk::<EPOCH_BYTES>() {
            Some((rest, epoch)) if flags & COMPLETE != 0 => (rest, Some(u64::from_le_bytes(*epoch))),
            _ => (rest, None),
        };
        let places = rest.chunks_exact(PLACE_BYTES).filter_map(decode_place).collect();
        Self {
            more: flags & MORE != 0,
            repeated: flags & REPEATED != 0,
            complete,
            places,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.places.len() * PLACE_BYTES + EPOCH_BYTES);
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        bytes.push(flag(self.more, MORE) | flag(self.repeated, REPEATED) | flag(self.complete.is_some(), COMPLETE));
        for place in &self.places {
            let (kind, container) = match place.holder {
                Holder::Pack(id) => (1, id),
                Holder::File(id) => (2, id),
            };
            bytes.push(kind);
            bytes.extend_from_slice(&container.to_le_bytes());
            bytes.extend_from_slice(&place.offset.to_le_bytes());
            bytes.extend_from_slice(&place.len.to_le_bytes());
        }
        if let Some(epoch) = self.complete {
            bytes.extend_from_slice(&epoch.to_le_bytes());
        }
        bytes
    }

    /// Says that the whole DAG was here in this epoch; false if the entry already says as much, or there is none.
    pub(super) fn mark(&mut self, epoch: Option<u64>) -> bool {
        let is_news = self.complete < epoch;
        if is_news {
            self.complete = epoch;
        }
        is_news
    }

    /// Adds a place; false if the entry already says as much.
    pub(super) fn add(&mut self, place: Place) -> bool {
        if let Some(known) = self.places.iter_mut().find(|known| known.holder == place.holder) {
            // A file is written by its owner, so the later word on it counts; a pack is never rewritten.
            let moved = matches!(place.holder, Holder::File(_)) && *known != place;
            if moved {
                self.repeated |= known.offset != place.offset;
                *known = place;
            }
            return moved;
        }
        // Packs first: they cannot be changed behind the store's back. The newest of them before others.
        match place.holder {
            Holder::Pack(_) => self.places.insert(0, place),
            Holder::File(_) => self.places.push(place),
        }
        if self.places.len() > MAX_PLACES {
            self.places.truncate(MAX_PLACES);
            return match place.holder {
                Holder::Pack(_) => {
                    self.more = true;
                    true
                }
                Holder::File(_) => !std::mem::replace(&mut self.more, true),
            };
        }
        true
    }
}

fn decode_place(bytes: &[u8]) -> Option<Place> {
    let container = u32::from_le_bytes(bytes.get(1..5)?.try_into().ok()?);
    let offset = u64::from_le_bytes(bytes.get(5..13)?.try_into().ok()?);
    let len = u32::from_le_bytes(bytes.get(13..17)?.try_into().ok()?);
    let holder = match bytes[0] {
        1 => Holder::Pack(container),
        2 => Holder::File(container),
        _ => return None,
    };
    Some(Place { holder, offset, len })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(holder: Holder) -> Place {
        Place {
            holder,
            offset: 0x0102_0304_0506_0708,
            len: 9,
        }
    }

    #[test]
    fn entries_have_a_fixed_form() {
        let entry = IndexEntry {
            more: true,
            repeated: false,
            complete: None,
            places: vec![place(Holder::Pack(7)), place(Holder::File(8))],
        };
        let bytes = entry.encode();
        let golden = [
            1, 1, 7, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 2, 8, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0,
        ];
        assert_eq!(bytes, golden);
        assert_eq!(IndexEntry::decode(&bytes), entry);
        assert_eq!(
            IndexEntry::decode(&bytes[..20]).places.len(),
            1,
            "a cut place is not a place"
        );
        assert_eq!(IndexEntry::decode(&[]), IndexEntry::default());
        let marked = IndexEntry {
            complete: Some(0x0102_0304_0506_0708),
            ..entry.clone()
        };
        let bytes = marked.encode();
        assert_eq!(bytes[0], 5);
        assert_eq!(bytes[1..golden.len()], golden[1..], "older versions read the places");
        assert_eq!(bytes[golden.len()..], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(IndexEntry::decode(&bytes), marked);

        let mut entry = IndexEntry::default();
        let there = place(Holder::File(8));
        assert!(entry.add(there) && !entry.repeated);
        assert!(entry.add(Place { offset: 1, ..there }) && entry.repeated);
        assert_eq!(entry.encode()[0], 2);
        assert_eq!(IndexEntry::decode(&entry.encode()), entry);
    }

    #[test]
    fn places_beyond_the_limit_leave_a_reminder() {
        let mut entry = IndexEntry::default();
        for id in 0..MAX_PLACES as u32 {
            assert!(entry.add(place(Holder::File(id))));
            assert!(!entry.add(place(Holder::File(id))), "one place for each holder");
        }
        assert!(!entry.more);
        assert!(entry.add(place(Holder::File(99))));
        assert!(entry.more && entry.places.len() == MAX_PLACES);
        assert!(!entry.add(place(Holder::File(98))));
        assert!(entry.add(place(Holder::Pack(1))), "a pack is never left out");
        assert_eq!(entry.places[0], place(Holder::Pack(1)));
    }
}
