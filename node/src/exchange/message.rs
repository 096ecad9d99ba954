//! Bitswap messages as bytes: the protobuf of the Bitswap 1.0.0, 1.1.0 and 1.2.0 specifications.
//!
//! Decoding reads one whole frame and takes every block as a slice of it, without a copy. Encoding gives a list of
//! segments in which every large block is the stored bytes themselves. Unknown fields are skipped, limits are checked
//! before anything is kept, and a CID that is too long to be held here is ignored, as Kubo ignores it.

use bytes::{BufMut, Bytes, BytesMut};
use cid::{Cid, Version as CidVersion};

use crate::block::{self, Block, DAG_PB, MAX_BLOCK_BYTES, SHA2_256};
use crate::protobuf::{
    Broken, Value, bytes_field_len, int32_len, next_field, put_bytes_head, put_number, put_varint, varint, varint_len,
};

/// The largest frame that is read or written, in bytes without its length prefix (go-bitswap's `MessageSizeMax`).
pub(super) const MAX_FRAME_BYTES: usize = 4 << 20;
/// A CID with more bytes is ignored (Kubo's limit).
pub(super) const MAX_CID_BYTES: usize = 168;
/// The most wantlist entries that are taken from one message; a message with more is an error.
pub(super) const MAX_ENTRIES: usize = 65_536;
/// The most block presences that are taken from one message; a message with more is an error. No peer is asked a quarter
/// of that at a time.
pub(super) const MAX_PRESENCES: usize = 8192;
/// The most blocks that are taken from one message; a message with more is an error. As with presences, more than any
/// peer is asked at a time.
pub(super) const MAX_BLOCKS: usize = 4096;
/// A block shorter than this is copied beside its neighbours: one write instead of two.
const COALESCE_BELOW: usize = 8 << 10;

/// Which revision of the protocol a stream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    /// `/ipfs/bitswap` and `/ipfs/bitswap/1.0.0`: bare blocks under CIDv0.
    V1_0,
    /// `/ipfs/bitswap/1.1.0`: blocks with a CID prefix.
    V1_1,
    /// `/ipfs/bitswap/1.2.0`: HAVE and DONT_HAVE.
    V1_2,
}

/// What is asked about a CID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WantKind {
    /// Send the block.
    Block,
    /// Say whether you have it.
    Have,
}

/// One line of a wantlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WantlistEntry {
    /// The block in question.
    pub(super) cid: Cid,
    /// Higher is wanted earlier.
    pub(super) priority: i32,
    /// The want is withdrawn; the fields below mean nothing.
    pub(super) cancel: bool,
    /// What is asked.
    pub(super) kind: WantKind,
    /// The asker wants to hear of a missing block.
    pub(super) send_dont_have: bool,
}

/// What a peer says about a block without sending it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// The peer has it.
    Have,
    /// The peer does not have it.
    DontHave,
}

/// A message to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// The wantlist replaces what the receiver knew.
    pub(super) full: bool,
    /// Changes of the wantlist.
    pub(super) entries: Vec<WantlistEntry>,
    /// Blocks that were asked for.
    pub(super) blocks: Vec<Block>,
    /// Answers about blocks.
    pub(super) presences: Vec<(Cid, Presence)>,
    /// How many more bytes wait for the receiver.
    pub(super) pending_bytes: i32,
}

/// The part of a CID that travels with a block. The digest is not sent: the receiver computes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix {
    version: CidVersion,
    codec: u64,
    hash: u64,
    digest_len: usize,
}

/// A block as it came: bytes that nobody has checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payload {
    prefix: Prefix,
    data: Bytes,
}

/// A message that came in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// The wantlist replaces what is known of the sender's wants.
    pub(super) full: bool,
    /// Changes of the sender's wantlist.
    pub(super) entries: Vec<WantlistEntry>,
    /// Unchecked blocks, slices of the frame.
    pub(super) payloads: Vec<Payload>,
    /// Answers about blocks.
    pub(super) presences: Vec<(Cid, Presence)>,
    /// How many more bytes the sender holds for this peer, as it says.
    pub(super) pending_bytes: i32,
}

/// Why a frame is not a message. The stream it came on is of no further use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    /// The frame is no protobuf, or a field has not the form of its number.
    #[error(transparent)]
    Protobuf(#[from] Broken),
    /// Bytes that should be a CID are none.
    #[error("an entry holds no CID")]
    Cid,
    /// A block's CID prefix cannot be read.
    #[error("a block has no CID prefix")]
    Prefix,
    /// A list is longer than its limit.
    #[error("more than {limit} {what} in one message")]
    TooMany {
        /// Which list.
        what: &'static str,
        /// Its limit.
        limit: usize,
    },
    /// A block exceeds [`MAX_BLOCK_BYTES`].
    #[error("a block of {len} bytes exceeds the limit of {MAX_BLOCK_BYTES}")]
    BlockTooLarge {
        /// Its length in bytes.
        len: usize,
    },
}

impl Prefix {
    fn of(cid: &Cid) -> Self {
        Self {
            version: cid.version(),
            codec: cid.codec(),
            hash: cid.hash().code(),
            digest_len: usize::from(cid.hash().size()),
        }
    }

    fn decode(mut bytes: &[u8]) -> Result<Self, MessageError> {
        let mut next = || varint(&mut bytes).map_err(|_| MessageError::Prefix);
        let version = CidVersion::try_from(next()?).map_err(|_| MessageError::Prefix)?;
        let (codec, hash) = (next()?, next()?);
        let digest_len = usize::try_from(next()?).map_err(|_| MessageError::Prefix)?;
        if bytes.is_empty() {
            Ok(Self {
                version,
                codec,
                hash,
                digest_len,
            })
        } else {
            Err(MessageError::Prefix)
        }
    }

    fn fields(&self) -> [u64; 4] {
        [self.version as u64, self.codec, self.hash, self.digest_len as u64]
    }

    fn encoded_len(&self) -> usize {
        self.fields().iter().map(|field| varint_len(*field)).sum()
    }
}

impl Payload {
    /// Length of the bytes.
    pub(super) fn len(&self) -> usize {
        self.data.len()
    }

    /// Hashes the bytes under the prefix. Nothing when the prefix names a hash that cannot be computed here, so that
    /// nobody here can have asked for the block.
    ///
    /// A block that is a small part of its frame is copied, so that keeping it does not keep the frame.
    pub(super) fn into_block(self, frame_len: usize) -> Option<Block> {
        let Self { prefix, data } = self;
        let data = if data.len() < frame_len / 4 {
            Bytes::copy_from_slice(&data)
        } else {
            data
        };
        let block = match (prefix.version, prefix.hash) {
            (CidVersion::V1, SHA2_256) => Block::new(prefix.codec, data).ok()?,
            (CidVersion::V0, SHA2_256) if prefix.codec == DAG_PB => Block::new_v0(data).ok()?,
            (CidVersion::V1, code) => {
                let cid = Cid::new_v1(prefix.codec, block::digest(code, &data)?);
                Block::verify(cid, data).ok()?
            }
            (CidVersion::V0, _) => return None,
        };
        (usize::from(block.cid().hash().size()) == prefix.digest_len).then_some(block)
    }
}

impl Message {
    /// Whether there is anything to say.
    pub(super) fn is_empty(&self) -> bool {
        !self.full && self.entries.is_empty() && self.blocks.is_empty() && self.presences.is_empty()
    }

    /// The message as one frame, length first, in segments that are to be written one after the other. Towards peers
    /// before 1.2 the presences are left out and a question for a presence becomes one for the block.
    pub(super) fn encode(&self, version: Version) -> Vec<Bytes> {
        let wantlist = self.wantlist_len(version);
        let has_wantlist = self.full || !self.entries.is_empty();
        let presences: &[_] = if version >= Version::V1_2 { &self.presences } else { &[] };
        let pending = if version >= Version::V1_2 {
            self.pending_bytes
        } else {
            0
        };

        let mut len = if has_wantlist { bytes_field_len(wantlist) } else { 0 };
        len += self
            .blocks
            .iter()
            .map(|block| bytes_field_len(block_len(block, version)))
            .sum::<usize>();
        len += presences
            .iter()
            .map(|(cid, kind)| bytes_field_len(presence_len(cid, *kind)))
            .sum::<usize>();
        len += if pending == 0 { 0 } else { 1 + int32_len(pending) };

        let mut segments = Vec::with_capacity(1 + 2 * self.blocks.len());
        let mut head = BytesMut::with_capacity(varint_len(len as u64) + len.min(COALESCE_BELOW));
        put_varint(&mut head, len as u64);
        if has_wantlist {
            put_bytes_head(&mut head, 1, wantlist);
            for entry in &self.entries {
                put_entry(&mut head, entry, version);
            }
            if self.full {
                head.put_slice(&[0x10, 1]);
            }
        }
        for block in &self.blocks {
            put_block(&mut head, &mut segments, block, version);
        }
        for (cid, kind) in presences {
            put_bytes_head(&mut head, 4, presence_len(cid, *kind));
            put_bytes_head(&mut head, 1, cid.encoded_len());
            put_cid(&mut head, cid);
            if *kind == Presence::DontHave {
                head.put_slice(&[0x10, 1]);
            }
        }
        if pending != 0 {
            put_number(&mut head, 5, i64::from(pending) as u64);
        }
        if !head.is_empty() {
            segments.push(head.freeze());
        }
        segments
    }

    fn wantlist_len(&self, version: Version) -> usize {
        let entries: usize = self
            .entries
            .iter()
            .map(|entry| bytes_field_len(entry_len(entry, version)))
            .sum();
        entries + if self.full { 2 } else { 0 }
    }
}

impl Received {
    /// Reads one frame without its length prefix. Blocks are slices of it.
    ///
    /// # Errors
    /// The frame is not a message, or a list in it is over its limit.
    pub(super) fn decode(frame: &Bytes) -> Result<Self, MessageError> {
        let mut message = Self::default();
        let mut rest = &frame[..];
        while let Some((field, value)) = next_field(&mut rest)? {
            match (field, value) {
                (1, Value::Bytes(bytes)) => message.decode_wantlist(bytes)?,
                (2, Value::Bytes(bytes)) => message.push_payload(
                    Prefix {
                        version: CidVersion::V0,
                        codec: DAG_PB,
                        hash: SHA2_256,
                        digest_len: 32,
                    },
                    frame.slice_ref(bytes),
                )?,
                (3, Value::Bytes(bytes)) => {
                    let (prefix, data) = decode_block(bytes)?;
                    message.push_payload(prefix, frame.slice_ref(data))?;
                }
                (4, Value::Bytes(bytes)) => message.decode_presence(bytes)?,
                (5, Value::Number(value)) => message.pending_bytes = value as i32,
                (1..=5, value) => return Err(wrong_form(field, value)),
                _ => {}
            }
        }
        Ok(message)
    }

    fn push_payload(&mut self, prefix: Prefix, data: Bytes) -> Result<(), MessageError> {
        if data.len() > MAX_BLOCK_BYTES {
            return Err(MessageError::BlockTooLarge { len: data.len() });
        }
        push_within(&mut self.payloads, Payload { prefix, data }, MAX_BLOCKS, "blocks")
    }

    fn decode_wantlist(&mut self, mut bytes: &[u8]) -> Result<(), MessageError> {
        while let Some((field, value)) = next_field(&mut bytes)? {
            match (field, value) {
                (1, Value::Bytes(bytes)) => {
                    if let Some(entry) = decode_entry(bytes)? {
                        push_within(&mut self.entries, entry, MAX_ENTRIES, "wantlist entries")?;
                    }
                }
                (2, Value::Number(value)) => self.full = value != 0,
                (1 | 2, value) => return Err(wrong_form(field, value)),
                _ => {}
            }
        }
        Ok(())
    }

    fn decode_presence(&mut self, mut bytes: &[u8]) -> Result<(), MessageError> {
        let (mut cid, mut kind) = (&b""[..], Presence::Have);
        while let Some((field, value)) = next_field(&mut bytes)? {
            match (field, value) {
                (1, Value::Bytes(bytes)) => cid = bytes,
                (2, Value::Number(value)) => kind = if value == 0 { Presence::Have } else { Presence::DontHave },
                (1 | 2, value) => return Err(wrong_form(field, value)),
                _ => {}
            }
        }
        match read_cid(cid)? {
            Some(cid) => push_within(&mut self.presences, (cid, kind), MAX_PRESENCES, "presences"),
            None => Ok(()),
        }
    }
}

/// The error of a field whose number is known in another form.
fn wrong_form(field: u64, value: Value<'_>) -> MessageError {
    let wire_type = value.wire_type();
    Broken::WireType { field, wire_type }.into()
}

fn push_within<T>(list: &mut Vec<T>, item: T, limit: usize, what: &'static str) -> Result<(), MessageError> {
    if list.len() >= limit {
        return Err(MessageError::TooMany { what, limit });
    }
    list.push(item);
    Ok(())
}

fn decode_block(mut bytes: &[u8]) -> Result<(Prefix, &[u8]), MessageError> {
    let (mut prefix, mut data) = (&b""[..], &bytes[bytes.len()..]);
    while let Some((field, value)) = next_field(&mut bytes)? {
        match (field, value) {
            (1, Value::Bytes(bytes)) => prefix = bytes,
            (2, Value::Bytes(bytes)) => data = bytes,
            (1 | 2, value) => return Err(wrong_form(field, value)),
            _ => {}
        }
    }
    Ok((Prefix::decode(prefix)?, data))
}

fn decode_entry(mut bytes: &[u8]) -> Result<Option<WantlistEntry>, MessageError> {
    let (mut cid, mut priority, mut cancel, mut kind, mut send_dont_have) =
        (&b""[..], 0, false, WantKind::Block, false);
    while let Some((field, value)) = next_field(&mut bytes)? {
        match (field, value) {
            (1, Value::Bytes(bytes)) => cid = bytes,
            (2, Value::Number(value)) => priority = value as i32,
            (3, Value::Number(value)) => cancel = value != 0,
            (4, Value::Number(value)) => kind = if value == 1 { WantKind::Have } else { WantKind::Block },
            (5, Value::Number(value)) => send_dont_have = value != 0,
            (1..=5, value) => return Err(wrong_form(field, value)),
            _ => {}
        }
    }
    Ok(read_cid(cid)?.map(|cid| WantlistEntry {
        cid,
        priority,
        cancel,
        kind,
        send_dont_have,
    }))
}

/// Reads a CID that fills `bytes`. Nothing for one that is well formed but longer than can be held or is kept.
fn read_cid(bytes: &[u8]) -> Result<Option<Cid>, MessageError> {
    if bytes.len() > MAX_CID_BYTES {
        return Ok(None);
    }
    let mut rest = bytes;
    match Cid::read_bytes(&mut rest) {
        Ok(cid) if rest.is_empty() => Ok(Some(cid)),
        Ok(_) => Err(MessageError::Cid),
        Err(_) => {
            // A digest over 64 bytes does not fit our CID type, yet is no error: identity CIDs reach 128.
            let mut rest = bytes;
            let mut next = || varint(&mut rest).map_err(|_| MessageError::Cid);
            let (version, _codec, _hash, len) = (next()?, next()?, next()?, next()?);
            let long = version == 1 && len > 64 && len == rest.len() as u64;
            if long { Ok(None) } else { Err(MessageError::Cid) }
        }
    }
}

fn entry_kind(entry: &WantlistEntry, version: Version) -> (WantKind, bool) {
    if version >= Version::V1_2 {
        (entry.kind, entry.send_dont_have)
    } else {
        (WantKind::Block, false)
    }
}

fn entry_len(entry: &WantlistEntry, version: Version) -> usize {
    let (kind, send_dont_have) = entry_kind(entry, version);
    let mut len = bytes_field_len(entry.cid.encoded_len());
    len += if entry.priority == 0 {
        0
    } else {
        1 + int32_len(entry.priority)
    };
    len += if entry.cancel { 2 } else { 0 };
    len += if kind == WantKind::Have { 2 } else { 0 };
    len + if send_dont_have { 2 } else { 0 }
}

fn put_entry(out: &mut BytesMut, entry: &WantlistEntry, version: Version) {
    let (kind, send_dont_have) = entry_kind(entry, version);
    put_bytes_head(out, 1, entry_len(entry, version));
    put_bytes_head(out, 1, entry.cid.encoded_len());
    put_cid(out, &entry.cid);
    if entry.priority != 0 {
        put_number(out, 2, i64::from(entry.priority) as u64);
    }
    if entry.cancel {
        out.put_slice(&[0x18, 1]);
    }
    if kind == WantKind::Have {
        out.put_slice(&[0x20, 1]);
    }
    if send_dont_have {
        out.put_slice(&[0x28, 1]);
    }
}

/// Writes a CID in its binary form.
fn put_cid(out: &mut BytesMut, cid: &Cid) {
    // Writing into memory cannot fail.
    let _ = cid.write_bytes(out.writer());
}

fn block_len(block: &Block, version: Version) -> usize {
    match version {
        Version::V1_0 => block.data().len(),
        _ => bytes_field_len(Prefix::of(block.cid()).encoded_len()) + bytes_field_len(block.data().len()),
    }
}

fn put_block(head: &mut BytesMut, segments: &mut Vec<Bytes>, block: &Block, version: Version) {
    match version {
        Version::V1_0 => put_bytes_head(head, 2, block.data().len()),
        _ => {
            let prefix = Prefix::of(block.cid());
            put_bytes_head(head, 3, block_len(block, version));
            put_bytes_head(head, 1, prefix.encoded_len());
            prefix.fields().into_iter().for_each(|field| put_varint(head, field));
            put_bytes_head(head, 2, block.data().len());
        }
    }
    if block.data().len() < COALESCE_BELOW {
        head.put_slice(block.data());
    } else {
        segments.push(head.split().freeze());
        segments.push(block.data().clone());
    }
}

fn presence_len(cid: &Cid, kind: Presence) -> usize {
    bytes_field_len(cid.encoded_len()) + if kind == Presence::DontHave { 2 } else { 0 }
}

#[cfg(test)]
mod tests;
