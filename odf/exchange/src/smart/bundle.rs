//! Metadata blocks on their way: a gzipped tar archive of raw block files, oldest first, each named by its hash.
//!
//! Both sides send a chain this way. What is packed here is, byte for byte within the archive, what kamu packs. What is
//! unpacked is trusted in nothing: an archive is read as a stream within limits, only plain files are taken, and every
//! file must hash to its name. Whether the blocks form a chain is for [`odf_metadata::chain`] to say.

use std::io::{self, Read};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::messages::{BlocksBatch, MAX_MESSAGE_BYTES};
use odf_metadata::Multihash;
use odf_metadata::codec::{DecodeError, EncodedBlock, MAX_BLOCK_BYTES};

/// What bundles say of how they are packed.
const MEDIA_TYPE: &str = "application/tar+gzip";
/// What bundles say of how their bytes are written.
const ENCODING: &str = "raw";

/// The most metadata blocks that one bundle holds. A message of the protocol holds about half as many.
pub const MAX_BUNDLE_BLOCKS: usize = 1 << 17;
/// The most bytes that a bundle may unpack to, the archive's own included: it is more than [`MAX_BUNDLE_BLOCKS`] usual
/// blocks need, and a bomb gets no further.
pub const MAX_BUNDLE_BYTES: u64 = 256 << 20;

/// Why metadata blocks cannot be packed or unpacked. Nothing of a bundle is taken then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Packed in a way that is not known.
    #[error("the metadata blocks came as {media_type:?} in encoding {encoding:?}, not as {MEDIA_TYPE} in {ENCODING}")]
    Unknown {
        /// How they are packed.
        media_type: String,
        /// How the bytes are written.
        encoding: String,
    },
    /// More than [`MAX_BUNDLE_BLOCKS`].
    #[error("more than {limit} metadata blocks at once")]
    TooManyBlocks {
        /// The limit.
        limit: usize,
    },
    /// More than [`MAX_BUNDLE_BYTES`].
    #[error("the metadata blocks unpack to more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// Not the number of blocks that was announced.
    #[error("{found} metadata block(s) came, {announced} were announced")]
    Count {
        /// How many came.
        found: usize,
        /// How many were announced.
        announced: u32,
    },
    /// An entry of the archive is not a plain file named by a hash.
    #[error("entry {number} of the bundle is not a metadata block: {reason}")]
    Entry {
        /// Its place, counted from 0.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A block is not what its name says, or not a block.
    #[error("metadata block {hash}: {source}")]
    Block {
        /// Its name.
        hash: Multihash,
        /// What is wrong.
        source: DecodeError,
    },
    /// The archive breaks off or is damaged.
    #[error("the bundle of metadata blocks is damaged: {0}")]
    Damaged(io::Error),
}

/// The most packed bytes: written as numbers in JSON, more would be too long for a message in any case.
const MAX_PAYLOAD_BYTES: usize = MAX_MESSAGE_BYTES / 2;
/// So many packed bytes fit into a message whatever they are: three digits and a comma each.
pub(crate) const FITTING_BYTES: usize = MAX_MESSAGE_BYTES / 4 - (1 << 10);
/// What a block takes up in the archive besides its bytes, once it is packed: mostly its name.
const ENTRY_BYTES: u64 = 128;
/// As many bytes may have been given to the packer and not be packed yet.
const UNPACKED_BYTES: usize = 256 << 10;

/// Whether blocks of so many bytes fit into a message however badly they pack.
pub(crate) fn surely_fit(blocks: u64, bytes: u64) -> bool {
    bytes.saturating_add(blocks.saturating_mul(ENTRY_BYTES)) <= (FITTING_BYTES - UNPACKED_BYTES) as u64
}

/// Packs blocks, oldest first.
///
/// # Errors
/// [`BundleError::TooManyBlocks`].
pub(crate) fn pack<'a>(blocks: impl IntoIterator<Item = &'a EncodedBlock>) -> Result<BlocksBatch, BundleError> {
    let mut packer = Packer::new();
    for block in blocks {
        packer.add(block.hash(), block.bytes())?;
    }
    packer.finish()
}

/// Packs blocks one by one, so that they need not be in memory together.
pub(crate) struct Packer {
    archive: tar::Builder<GzEncoder<Vec<u8>>>,
    num_blocks: u32,
}

impl Packer {
    pub(crate) fn new() -> Self {
        Self {
            archive: tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default())),
            num_blocks: 0,
        }
    }

    /// Whether one more block of so many bytes leaves the bundle within `room` packed bytes, however badly it packs.
    pub(crate) fn has_room_for(&self, bytes: usize, room: usize) -> bool {
        let packed = self.archive.get_ref().get_ref().len();
        (self.num_blocks as usize) < MAX_BUNDLE_BLOCKS && packed + UNPACKED_BYTES + bytes <= room
    }

    /// Packs one more, behind those before.
    ///
    /// # Errors
    /// [`BundleError::TooManyBlocks`], [`BundleError::TooLarge`].
    pub(crate) fn add(&mut self, hash: &Multihash, bytes: &[u8]) -> Result<(), BundleError> {
        if self.num_blocks as usize == MAX_BUNDLE_BLOCKS {
            return Err(BundleError::TooManyBlocks {
                limit: MAX_BUNDLE_BLOCKS,
            });
        }
        if self.archive.get_ref().get_ref().len() > MAX_PAYLOAD_BYTES {
            return Err(BundleError::TooLarge {
                limit: MAX_PAYLOAD_BYTES as u64,
            });
        }
        self.num_blocks += 1;
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        self.archive
            .append_data(&mut header, hash.to_string(), bytes)
            .map_err(BundleError::Damaged)
    }

    pub(crate) fn finish(self) -> Result<BlocksBatch, BundleError> {
        let payload = self.archive.into_inner().and_then(GzEncoder::finish);
        Ok(BlocksBatch {
            num_blocks: self.num_blocks,
            media_type: MEDIA_TYPE.to_owned(),
            encoding: ENCODING.to_owned(),
            payload: payload.map_err(BundleError::Damaged)?,
        })
    }
}

/// Unpacks blocks in the order they are in, each checked against its name.
///
/// # Errors
/// See [`BundleError`].
pub(crate) fn unpack(batch: &BlocksBatch) -> Result<Vec<EncodedBlock>, BundleError> {
    unpack_within(batch, MAX_BUNDLE_BLOCKS, MAX_BUNDLE_BYTES)
}

fn unpack_within(batch: &BlocksBatch, max_blocks: usize, max_bytes: u64) -> Result<Vec<EncodedBlock>, BundleError> {
    if batch.media_type != MEDIA_TYPE || batch.encoding != ENCODING {
        return Err(BundleError::Unknown {
            media_type: batch.media_type.chars().take(MAX_SHOWN_CHARS).collect(),
            encoding: batch.encoding.chars().take(MAX_SHOWN_CHARS).collect(),
        });
    }
    if batch.num_blocks as usize > max_blocks {
        return Err(BundleError::TooManyBlocks { limit: max_blocks });
    }
    let mut reader = Bounded {
        inner: GzDecoder::new(&batch.payload[..]),
        left: max_bytes,
        exceeded: false,
    };
    let mut blocks = Vec::new();
    let read = read_entries(&mut reader, max_blocks, &mut blocks);
    if reader.exceeded {
        return Err(BundleError::TooLarge { limit: max_bytes });
    }
    read?;
    if blocks.len() != batch.num_blocks as usize {
        return Err(BundleError::Count {
            found: blocks.len(),
            announced: batch.num_blocks,
        });
    }
    Ok(blocks)
}

/// How much of a foreign text goes into a message.
const MAX_SHOWN_CHARS: usize = 80;

fn read_entries(reader: impl Read, max_blocks: usize, blocks: &mut Vec<EncodedBlock>) -> Result<(), BundleError> {
    let mut archive = tar::Archive::new(reader);
    // Raw: entries that only carry another entry's long name are entries here, and so refused.
    let entries = archive.entries().map_err(BundleError::Damaged)?.raw(true);
    for (number, entry) in entries.enumerate() {
        let mut entry = entry.map_err(BundleError::Damaged)?;
        let bad = |reason: String| BundleError::Entry { number, reason };
        if number == max_blocks {
            return Err(BundleError::TooManyBlocks { limit: max_blocks });
        }
        if !entry.header().entry_type().is_file() {
            return Err(bad("it is not a plain file".to_owned()));
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let hash: Multihash = name.parse().map_err(|error| {
            let shown: String = name.chars().take(MAX_SHOWN_CHARS).collect();
            bad(format!("its name {shown:?}: {error}"))
        })?;
        if entry.size() > MAX_BLOCK_BYTES as u64 {
            return Err(bad(format!(
                "it has {} bytes, more than {MAX_BLOCK_BYTES}",
                entry.size()
            )));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(BundleError::Damaged)?;
        let block = EncodedBlock::decode_checked(&hash, bytes).map_err(|source| BundleError::Block { hash, source })?;
        blocks.push(block);
    }
    Ok(())
}

/// Ends with an error where more is read than allowed.
struct Bounded<R> {
    inner: R,
    left: u64,
    exceeded: bool,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                self.exceeded = true;
                return Err(io::Error::other("too large"));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smart::sample;

    fn chain() -> Vec<EncodedBlock> {
        sample::chain(sample::id(1), 5, 5, "")
    }

    /// A bundle with one entry made by hand.
    fn forged(make: impl FnOnce(&mut tar::Header) -> Vec<u8>) -> BlocksBatch {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        let content = make(&mut header);
        header.set_size(content.len() as u64);
        header.set_cksum();
        archive.append(&header, &content[..]).unwrap();
        BlocksBatch {
            num_blocks: 1,
            media_type: MEDIA_TYPE.to_owned(),
            encoding: ENCODING.to_owned(),
            payload: archive.into_inner().unwrap().finish().unwrap(),
        }
    }

    #[test]
    fn blocks_come_back_byte_for_byte() {
        let blocks = chain();
        let batch = pack(&blocks).unwrap();
        assert_eq!(batch.num_blocks as usize, blocks.len());
        assert_eq!(unpack(&batch).unwrap(), blocks);
        assert_eq!(unpack(&pack([]).unwrap()).unwrap(), []);
    }

    #[test]
    fn the_archive_is_plain_tar() {
        let blocks = chain();
        let batch = pack(&blocks).unwrap();
        let mut plain = Vec::new();
        GzDecoder::new(&batch.payload[..]).read_to_end(&mut plain).unwrap();
        // Name, then the size in octal at 124; the first block behind the header.
        assert_eq!(&plain[..69], blocks[0].hash().to_string().as_bytes());
        let size = std::str::from_utf8(&plain[124..135]).unwrap();
        assert_eq!(usize::from_str_radix(size, 8).unwrap(), blocks[0].bytes().len());
        assert_eq!(&plain[512..512 + blocks[0].bytes().len()], &blocks[0].bytes()[..]);
    }

    #[test]
    fn a_block_under_another_name_is_refused() {
        let blocks = chain();
        let name = blocks[1].hash().to_string();
        let batch = forged(|header| {
            header.set_path(&name).unwrap();
            blocks[0].bytes().to_vec()
        });
        let error = unpack(&batch).unwrap_err();
        assert!(
            matches!(
                &error,
                BundleError::Block {
                    source: DecodeError::HashMismatch { .. },
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn entries_that_are_no_blocks_are_refused() {
        let traversal = forged(|header| {
            header.as_old_mut().name[..16].copy_from_slice(b"../../etc/passwd");
            vec![1]
        });
        let link = forged(|header| {
            header.set_path(chain()[0].hash().to_string()).unwrap();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_link_name("/etc/passwd").unwrap();
            Vec::new()
        });
        let long_name = forged(|header| {
            header.set_path("././@LongLink").unwrap();
            header.set_entry_type(tar::EntryType::GNULongName);
            vec![b'a'; 300]
        });
        for batch in [traversal, link, long_name] {
            let error = unpack(&batch).unwrap_err();
            assert!(matches!(error, BundleError::Entry { number: 0, .. }), "{error}");
        }
        let mut other = pack(&chain()).unwrap();
        other.media_type = "application/zip".to_owned();
        assert!(matches!(unpack(&other), Err(BundleError::Unknown { .. })));
    }

    #[test]
    fn no_more_of_a_foreign_text_is_shown_than_the_limit_says() {
        for length in [MAX_SHOWN_CHARS, MAX_SHOWN_CHARS + 1] {
            let text = "x".repeat(length);
            let named = forged(|header| {
                header.set_path(&text).unwrap();
                Vec::new()
            });
            let other = BlocksBatch {
                media_type: text.clone(),
                encoding: text,
                ..named.clone()
            };
            match unpack(&other).unwrap_err() {
                BundleError::Unknown { media_type, encoding } => {
                    assert_eq!((media_type.len(), encoding.len()), (MAX_SHOWN_CHARS, MAX_SHOWN_CHARS));
                }
                error => panic!("{error}"),
            }
            let words = unpack(&named).unwrap_err().to_string();
            let shown = format!("\"{}\"", "x".repeat(MAX_SHOWN_CHARS));
            assert!(words.contains(&shown), "{words}");
        }
    }

    #[test]
    fn one_over_each_limit_is_refused() {
        let blocks = chain();
        let batch = pack(&blocks).unwrap();
        assert!(unpack_within(&batch, blocks.len(), MAX_BUNDLE_BYTES).is_ok());
        let few = unpack_within(&batch, blocks.len() - 1, MAX_BUNDLE_BYTES);
        assert!(matches!(few, Err(BundleError::TooManyBlocks { .. })));
        let mut lying = pack(&blocks).unwrap();
        lying.num_blocks = 1;
        let lied = unpack_within(&lying, blocks.len() - 1, MAX_BUNDLE_BYTES);
        assert!(matches!(lied, Err(BundleError::TooManyBlocks { .. })));
        assert!(matches!(unpack(&lying), Err(BundleError::Count { .. })));

        let mut plain = Vec::new();
        GzDecoder::new(&batch.payload[..]).read_to_end(&mut plain).unwrap();
        // The last of the zeros that end an archive are not read.
        let read = plain.len() as u64;
        assert!(unpack_within(&batch, blocks.len(), read).is_ok());
        let small = unpack_within(&batch, blocks.len(), read / 2);
        assert!(matches!(small, Err(BundleError::TooLarge { .. })));
        let large = forged(|header| {
            header.set_path(blocks[0].hash().to_string()).unwrap();
            vec![0; MAX_BLOCK_BYTES + 1]
        });
        assert!(matches!(unpack(&large), Err(BundleError::Entry { .. })));
    }

    #[test]
    fn packing_ends_where_no_message_would_hold_it() {
        let mut packer = Packer::new();
        let mut state = 1_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        let block: Vec<u8> = (0..MAX_BLOCK_BYTES).map(|_| noise()).collect();
        let hash = *chain()[0].hash();
        let fitting = MAX_PAYLOAD_BYTES / MAX_BLOCK_BYTES;
        for _ in 0..fitting {
            packer.add(&hash, &block).unwrap();
        }
        let more = (0..2).map(|_| packer.add(&hash, &block)).find(Result::is_err);
        assert!(matches!(more, Some(Err(BundleError::TooLarge { .. }))));
    }

    #[test]
    fn what_surely_fits_does_however_badly_it_packs() {
        let mut packer = Packer::new();
        let mut state = 1_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        let hash = *chain()[0].hash();
        let block: Vec<u8> = (0..MAX_BLOCK_BYTES).map(|_| noise()).collect();
        let (mut blocks, mut bytes) = (0, 0);
        while surely_fit(blocks + 1, bytes + block.len() as u64) {
            assert!(packer.has_room_for(block.len(), FITTING_BYTES));
            packer.add(&hash, &block).unwrap();
            (blocks, bytes) = (blocks + 1, bytes + block.len() as u64);
        }
        assert!(blocks > 1);
        let batch = packer.finish().unwrap();
        assert!(batch.payload.len() <= FITTING_BYTES);
        let message = serde_json::to_string(&batch).unwrap();
        assert!(message.len() < super::super::MAX_MESSAGE_BYTES, "{}", message.len());
        // Three digits and a comma for each byte, whatever they are.
        const { assert!(FITTING_BYTES * 4 < MAX_MESSAGE_BYTES) };
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        let mut header = tar::Header::new_gnu();
        header.set_path(chain()[0].hash().to_string()).unwrap();
        // Says less than comes behind it, and endless entries follow.
        header.set_size(0);
        header.set_cksum();
        let mut gz = GzEncoder::new(Vec::new(), Compression::best());
        let zeros = vec![0; 1 << 20];
        for _ in 0..32 {
            io::Write::write_all(&mut gz, header.as_bytes()).unwrap();
            io::Write::write_all(&mut gz, &zeros).unwrap();
        }
        let batch = BlocksBatch {
            num_blocks: 1,
            media_type: MEDIA_TYPE.to_owned(),
            encoding: ENCODING.to_owned(),
            payload: gz.finish().unwrap(),
        };
        assert!(unpack_within(&batch, MAX_BUNDLE_BLOCKS, 4 << 20).is_err());
    }

    #[test]
    fn broken_archives_are_errors() {
        let batch = pack(&chain()).unwrap();
        for length in [0, 1, 10, batch.payload.len() / 2] {
            let mut cut = batch.clone();
            cut.payload.truncate(length);
            assert!(unpack(&cut).is_err(), "{length}");
        }
        for at in (0..batch.payload.len()).step_by(7) {
            let mut flipped = batch.clone();
            flipped.payload[at] ^= 0x55;
            // Most are errors; what is not one is the chain as it was.
            if let Ok(blocks) = unpack(&flipped) {
                assert_eq!(blocks, chain());
            }
        }
    }

    proptest::proptest! {
        /// Damage within the archive, where no checksum of gzip's is in the way: never a panic, never another block.
        #[test]
        fn nothing_but_blocks_comes_out_of_any_archive(
            changes in proptest::collection::vec((0_usize..8192, proptest::prelude::any::<u8>()), 1..8),
            length in 0_usize..8192,
        ) {
            let blocks = chain();
            let mut batch = pack(&blocks).unwrap();
            let mut plain = Vec::new();
            GzDecoder::new(&batch.payload[..]).read_to_end(&mut plain).unwrap();
            for (at, byte) in changes {
                let at = at % plain.len();
                plain[at] ^= byte;
            }
            plain.truncate(plain.len().saturating_sub(length / 4));
            let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
            io::Write::write_all(&mut gz, &plain).unwrap();
            batch.payload = gz.finish().unwrap();
            if let Ok(unpacked) = unpack(&batch) {
                assert_eq!(unpacked, blocks);
            }
        }
    }
}
