//! A block: bytes under the CID that names them.
//!
//! A [`Block`] can only be made by hashing its bytes, so whoever holds one holds checked content. Limits and codes
//! are those of the IPFS ecosystem: 2 MiB a block (the Bitswap ceiling), sha2-256 for everything written here, a few
//! more hashes for reading what others wrote.

use bytes::Bytes;
pub use cid::Cid;
pub use multibase::Base;
use multihash::Multihash;
use sha2::Digest as _;

/// Multicodec of a raw leaf.
pub const RAW: u64 = 0x55;
/// Multicodec of dag-pb, the node form of UnixFS.
pub const DAG_PB: u64 = 0x70;
/// Multicodec of dag-cbor.
pub const DAG_CBOR: u64 = 0x71;
/// Multicodec of dag-json.
pub const DAG_JSON: u64 = 0x0129;
/// Multicodec of an IPNS name written as a CID.
pub const LIBP2P_KEY: u64 = 0x72;
/// Multihash code of the identity hash: the digest is the content.
pub const IDENTITY: u64 = 0x00;
/// Multihash code of sha2-256.
pub const SHA2_256: u64 = 0x12;
/// Multihash code of sha2-512.
pub const SHA2_512: u64 = 0x13;

/// The largest block that is read, written or sent: 2 MiB, the ceiling every Bitswap peer keeps.
pub const MAX_BLOCK_BYTES: usize = 2 << 20;

/// Checked content: the bytes hash to the CID.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    cid: Cid,
    data: Bytes,
}

/// Why bytes are not the block they were said to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The bytes exceed [`MAX_BLOCK_BYTES`].
    #[error("a block of {len} bytes exceeds the limit of {MAX_BLOCK_BYTES}")]
    TooLarge {
        /// Length found, in bytes.
        len: usize,
    },
    /// The bytes do not hash to the CID.
    #[error("the bytes are not those of {cid}")]
    HashMismatch {
        /// The CID that was asked for.
        cid: Cid,
    },
    /// The CID uses a hash function that is not checked here.
    #[error("{cid} uses hash function 0x{code:x}, which cannot be checked here")]
    UnsupportedHash {
        /// The CID that was asked for.
        cid: Cid,
        /// Multihash code.
        code: u64,
    },
}

impl Block {
    /// Names `data` by its sha2-256 hash, as CIDv1 with the given codec.
    ///
    /// # Errors
    /// [`BlockError::TooLarge`] over [`MAX_BLOCK_BYTES`].
    pub fn new(codec: u64, data: impl Into<Bytes>) -> Result<Self, BlockError> {
        let data = data.into();
        check_len(&data)?;
        Ok(Self {
            cid: Cid::new_v1(codec, sha2_256(&data)),
            data,
        })
    }

    /// Names `data` as CIDv0: dag-pb under sha2-256, the form of old UnixFS profiles.
    ///
    /// # Errors
    /// [`BlockError::TooLarge`] over [`MAX_BLOCK_BYTES`].
    pub fn new_v0(data: impl Into<Bytes>) -> Result<Self, BlockError> {
        let data = data.into();
        check_len(&data)?;
        let hash = sha2_256(&data);
        let cid = Cid::new_v0(hash).unwrap_or_else(|_| Cid::new_v1(DAG_PB, hash));
        Ok(Self { cid, data })
    }

    /// Takes bytes that somebody says are `cid`, and checks that they are.
    ///
    /// # Errors
    /// Too large, not the content of `cid`, or under a hash that is not known here. The bytes are dropped.
    pub fn verify(cid: Cid, data: Bytes) -> Result<Self, BlockError> {
        check_len(&data)?;
        let matches = match digest(cid.hash().code(), &data) {
            Some(hash) => hash == *cid.hash(),
            None => {
                return Err(BlockError::UnsupportedHash {
                    cid,
                    code: cid.hash().code(),
                });
            }
        };
        if matches {
            Ok(Self { cid, data })
        } else {
            Err(BlockError::HashMismatch { cid })
        }
    }

    /// The name of the content.
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// The content.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The same, its bytes in memory of their own. As it came it may hold all of a message.
    pub(crate) fn alone(self) -> Self {
        Self {
            cid: self.cid,
            data: Bytes::copy_from_slice(&self.data),
        }
    }

    /// Both parts.
    pub fn into_parts(self) -> (Cid, Bytes) {
        (self.cid, self.data)
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block({}, {} bytes)", self.cid, self.data.len())
    }
}

/// Why text is no CID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CidTextError(String);

/// Reads a CID from text that is nothing but one. The parser of the `cid` crate takes no notice of what stands before it
/// or, inside its bytes, behind it, so that many texts would name one content.
///
/// # Errors
/// [`CidTextError`].
pub fn cid_from_text(text: &str) -> Result<Cid, CidTextError> {
    let bad = |reason: &dyn std::fmt::Display| CidTextError(reason.to_string());
    let is_v0 = text.len() == 46 && text.starts_with("Qm");
    let bytes = if is_v0 {
        multibase::Base::Base58Btc.decode(text).map_err(|error| bad(&error))?
    } else {
        multibase::decode(text).map_err(|error| bad(&error))?.1
    };
    let cid = Cid::try_from(bytes.as_slice()).map_err(|error| bad(&error))?;
    if cid.encoded_len() != bytes.len() {
        return Err(bad(&"there are bytes behind its end"));
    }
    if (cid.version() == cid::Version::V0) != is_v0 {
        return Err(bad(&"a CID of version 0 is written as Qm and 44 characters"));
    }
    Ok(cid)
}

/// The sha2-256 multihash of `data`.
pub fn sha2_256(data: &[u8]) -> Multihash<64> {
    wrap(SHA2_256, &sha2::Sha256::digest(data))
}

/// The sha2-256 hash of bytes that come in pieces.
#[derive(Clone, Default)]
pub(crate) struct Sha2(sha2::Sha256);

impl Sha2 {
    /// Takes the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of what came since the last call of this.
    pub(crate) fn take(&mut self) -> [u8; 32] {
        std::mem::take(&mut self.0).finalize().into()
    }
}

/// The multihash of bytes whose sha2-256 hash is known.
pub(crate) fn of_sha2_256(hash: &[u8; 32]) -> Multihash<64> {
    wrap(SHA2_256, hash)
}

/// The multihash of `data` under `code`, or nothing for a function that is not known here.
pub fn digest(code: u64, data: &[u8]) -> Option<Multihash<64>> {
    match code {
        SHA2_256 => Some(sha2_256(data)),
        SHA2_512 => Some(wrap(SHA2_512, &sha2::Sha512::digest(data))),
        IDENTITY if data.len() <= 64 => Some(wrap(IDENTITY, data)),
        _ => None,
    }
}

/// The content of CIDs that every peer has without asking: identity hashes, and the empty block.
///
/// The empty one matters because Kubo 0.43 answers DONT_HAVE for zero-length blocks that it holds.
pub fn inherent(cid: &Cid) -> Option<Block> {
    let data = match cid.hash().code() {
        IDENTITY => Bytes::copy_from_slice(cid.hash().digest()),
        code => digest(code, b"")
            .filter(|empty| empty == cid.hash())
            .map(|_| Bytes::new())?,
    };
    Some(Block { cid: *cid, data })
}

fn check_len(data: &Bytes) -> Result<(), BlockError> {
    if data.len() > MAX_BLOCK_BYTES {
        Err(BlockError::TooLarge { len: data.len() })
    } else {
        Ok(())
    }
}

#[allow(clippy::expect_used)]
fn wrap(code: u64, digest: &[u8]) -> Multihash<64> {
    Multihash::wrap(code, digest).expect("every digest made here is at most 64 bytes long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_bytes() {
        let block = Block::new(RAW, &b"abc"[..]).unwrap();
        assert_eq!(
            block.cid().to_string(),
            "bafkreif2pall7dybz7vecqka3zo24irdwabwdi4wc55jznaq75q7eaavvu"
        );
        assert!(Block::verify(*block.cid(), Bytes::from_static(b"abc")).is_ok());
        assert!(matches!(
            Block::verify(*block.cid(), Bytes::from_static(b"abd")),
            Err(BlockError::HashMismatch { .. })
        ));
    }

    #[test]
    fn one_byte_over_the_limit_is_refused() {
        assert!(Block::new(RAW, vec![0; MAX_BLOCK_BYTES]).is_ok());
        assert!(matches!(
            Block::new(RAW, vec![0; MAX_BLOCK_BYTES + 1]),
            Err(BlockError::TooLarge { .. })
        ));
    }

    #[test]
    fn empty_and_identity_blocks_need_no_peer() {
        let empty = Cid::try_from("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku").unwrap();
        assert_eq!(inherent(&empty).unwrap().data().len(), 0);
        let probe = Cid::try_from("bafkqaaa").unwrap();
        assert_eq!(inherent(&probe).unwrap().data().len(), 0);
        assert!(inherent(Block::new(RAW, &b"x"[..]).unwrap().cid()).is_none());
    }

    #[test]
    fn text_that_is_more_than_a_cid_is_none() {
        let v1 = Cid::try_from("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku").unwrap();
        let v0 = Cid::new_v0(*v1.hash()).unwrap();
        for cid in [v1, v0] {
            assert_eq!(cid_from_text(&cid.to_string()), Ok(cid));
        }
        for base in [
            multibase::Base::Base58Btc,
            multibase::Base::Base16Upper,
            multibase::Base::Base64Url,
        ] {
            let text = multibase::encode(base, v1.to_bytes());
            assert_eq!(cid_from_text(&text), Ok(v1), "{text}");
        }
        let longer = |base, bytes: Vec<u8>, more: &[u8]| multibase::encode(base, [bytes, more.to_vec()].concat());
        for text in [
            longer(multibase::Base::Base32Lower, v1.to_bytes(), &[0]),
            longer(multibase::Base::Base32Lower, v1.to_bytes(), b"trailing"),
            longer(multibase::Base::Base58Btc, v1.to_bytes(), &[1]),
            longer(multibase::Base::Base32Lower, v0.to_bytes(), &[]),
            format!("/ipfs/{v1}"),
            format!("x/ipfs/{v1}"),
            format!("{v1} "),
            format!("{v0}a"),
            String::new(),
            "Q".to_owned(),
        ] {
            assert!(cid_from_text(&text).is_err(), "{text}");
        }
    }
}
