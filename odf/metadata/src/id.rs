//! Names made of hashes and keys: [`Multihash`] and [`DatasetId`].

use std::fmt;
use std::str::FromStr;

use multibase::Base;
use sha3::{Digest as _, Sha3_256};

use super::text::serde_by_text;

/// Multihash code of sha3-256: metadata blocks, slices and checkpoints are named by it.
pub const SHA3_256: u64 = 0x16;
/// Multihash code of arrow0-sha3-256: the logical hash of a slice, whatever its file looks like.
pub const ARROW0_SHA3_256: u64 = 0x300016;
/// Longest digest kept, in bytes. Every hash function of ODF gives 32 or fewer.
pub const MAX_DIGEST_BYTES: usize = 32;
/// Multicodec of an ed25519 public key, as the varint `ed 01`, with which every dataset id begins.
const ED25519_PUB: [u8; 2] = [0xed, 0x01];

const DID_ODF: &str = "did:odf:";

/// A self-describing hash. Its text form is multibase base16, `f1620…` for sha3-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Multihash(multihash::Multihash<MAX_DIGEST_BYTES>);

/// The identity of a dataset: an ed25519 public key, in text `did:odf:fed01…`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatasetId([u8; 32]);

/// Why bytes or text are not a [`Multihash`] or a [`DatasetId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Not multibase text in one of the four encodings that ODF uses.
    #[error("`{text}` is neither a hash nor an id: those begin with f, F, u or z, such as f1620…")]
    NotMultibase {
        /// The text.
        text: String,
    },
    /// The bytes are not a multihash with a digest of at most [`MAX_DIGEST_BYTES`].
    #[error("not a hash: {reason}")]
    NotMultihash {
        /// What is wrong.
        reason: String,
    },
    /// The bytes are not an ed25519 public key behind its multicodec.
    #[error("not a dataset id: expected the ed25519 multicodec and 32 bytes of key, found {len} bytes")]
    NotDatasetId {
        /// Length found.
        len: usize,
    },
    /// The text does not begin with `did:odf:`.
    #[error("`{text}` is not a dataset id: those begin with `did:odf:`")]
    NotDid {
        /// The text.
        text: String,
    },
}

/// Longest multibase text that is looked at: far over any valid one.
const MAX_TEXT_BYTES: usize = 256;

/// Decodes `f`, `F` (base16), `u` (base64url without padding) and `z` (base58btc).
fn decode_multibase(text: &str) -> Result<Vec<u8>, IdError> {
    let shown = || text.chars().take(MAX_TEXT_BYTES).collect();
    if text.len() > MAX_TEXT_BYTES || !text.starts_with(['f', 'F', 'u', 'z']) {
        return Err(IdError::NotMultibase { text: shown() });
    }
    multibase::decode(text)
        .map(|(_, bytes)| bytes)
        .map_err(|_| IdError::NotMultibase { text: shown() })
}

impl Multihash {
    /// The sha3-256 multihash of `data`: the name of a metadata block with these bytes.
    pub fn sha3_256(data: &[u8]) -> Self {
        Self::from_sha3_256(Sha3_256::digest(data).into())
    }

    /// Wraps a finished sha3-256 digest.
    pub fn from_sha3_256(digest: [u8; 32]) -> Self {
        Self::wrap_32(SHA3_256, digest)
    }

    /// Wraps a finished arrow0-sha3-256 digest (see `odf-tables`).
    pub fn from_arrow0_sha3_256(digest: [u8; 32]) -> Self {
        Self::wrap_32(ARROW0_SHA3_256, digest)
    }

    fn wrap_32(code: u64, digest: [u8; 32]) -> Self {
        // 32 bytes always fit; the default is only there because the crate's signature knows no sizes.
        Self(multihash::Multihash::wrap(code, &digest).unwrap_or_default())
    }

    /// Wraps a digest made by the hash function with this code.
    ///
    /// # Errors
    /// [`IdError::NotMultihash`] if the digest exceeds [`MAX_DIGEST_BYTES`].
    pub fn wrap(code: u64, digest: &[u8]) -> Result<Self, IdError> {
        let wrapped = multihash::Multihash::wrap(code, digest);
        wrapped.map(Self).map_err(|error| IdError::NotMultihash {
            reason: error.to_string(),
        })
    }

    /// Reads the binary form: varint code, varint length, digest, nothing after.
    ///
    /// # Errors
    /// [`IdError::NotMultihash`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IdError> {
        let read = multihash::Multihash::from_bytes(bytes);
        read.map(Self).map_err(|error| IdError::NotMultihash {
            reason: error.to_string(),
        })
    }

    /// The binary form.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }

    /// Code of the hash function.
    pub fn code(&self) -> u64 {
        self.0.code()
    }

    /// The digest alone.
    pub fn digest(&self) -> &[u8] {
        self.0.digest()
    }

    /// The last 8 characters of the text form: how a table shows a hash.
    pub fn short(&self) -> String {
        let text = self.to_string();
        text[text.len().saturating_sub(8)..].to_owned()
    }
}

impl fmt::Display for Multihash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&multibase::encode(Base::Base16Lower, self.to_bytes()))
    }
}

impl fmt::Debug for Multihash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Multihash({self})")
    }
}

impl FromStr for Multihash {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::from_bytes(&decode_multibase(text)?)
    }
}

impl DatasetId {
    /// The id of the dataset that owns this ed25519 public key. Not checked to be a point on the curve: some tests
    /// and old datasets have ids that are not.
    pub fn from_public_key(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The 32 bytes of the ed25519 public key.
    pub fn public_key(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the binary form: `ed 01` and 32 bytes of key.
    ///
    /// # Errors
    /// [`IdError::NotDatasetId`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IdError> {
        let key = bytes.strip_prefix(&ED25519_PUB).and_then(|key| key.try_into().ok());
        key.map(Self).ok_or(IdError::NotDatasetId { len: bytes.len() })
    }

    /// The binary form, 34 bytes.
    pub fn to_bytes(&self) -> [u8; 34] {
        let mut bytes = [0; 34];
        bytes[..2].copy_from_slice(&ED25519_PUB);
        bytes[2..].copy_from_slice(&self.0);
        bytes
    }

    /// The text without `did:odf:`, `fed01…`: the name of the dataset's directory.
    pub fn to_multibase(&self) -> String {
        multibase::encode(Base::Base16Lower, self.to_bytes())
    }

    /// Reads the text without `did:odf:`.
    ///
    /// # Errors
    /// [`IdError::NotMultibase`], [`IdError::NotDatasetId`].
    pub fn from_multibase(text: &str) -> Result<Self, IdError> {
        Self::from_bytes(&decode_multibase(text)?)
    }
}

impl fmt::Display for DatasetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{DID_ODF}{}", self.to_multibase()))
    }
}

impl fmt::Debug for DatasetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatasetId({})", self.to_multibase())
    }
}

impl FromStr for DatasetId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let Some(multibase) = text.strip_prefix(DID_ODF) else {
            return Err(IdError::NotDid {
                text: text.chars().take(MAX_TEXT_BYTES).collect(),
            });
        };
        Self::from_multibase(multibase)
    }
}

serde_by_text!(Multihash);
serde_by_text!(DatasetId);

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "f162008c3792b2a4deed1bd7ea2328fb5de5531eccf0fbfa04a7d800cdc267137c635";

    #[test]
    fn multihash_text_is_base16_and_every_encoding_reads() {
        let hash = Multihash::sha3_256(b"multihash");
        assert_eq!(hash.to_string(), HEX);
        assert_eq!(hash.short(), "7137c635");
        for text in [
            HEX,
            &HEX.replace('f', "F").to_uppercase(),
            "zW1a3CNT52HXiJNniLkWMeev3CPRy9QiNRMWGyTrVNg4hY8",
        ] {
            assert_eq!(text.parse::<Multihash>(), Ok(hash), "{text}");
        }
        let url = multibase::encode(Base::Base64Url, hash.to_bytes());
        assert_eq!(url.parse::<Multihash>(), Ok(hash));
    }

    #[test]
    fn logical_hashes_carry_their_own_code() {
        let hash = Multihash::from_arrow0_sha3_256([7; 32]);
        assert!(hash.to_string().starts_with("f9680c00120"));
        assert_eq!(hash.to_string().len(), 75);
        assert_eq!(Multihash::from_bytes(&hash.to_bytes()), Ok(hash));
    }

    #[test]
    fn what_is_not_a_multihash_is_refused() {
        let long = format!("f{}", "00".repeat(MAX_TEXT_BYTES));
        for text in [
            "",
            "f",
            "f16",
            "f1620",
            "bafy",
            "1620",
            "f162x",
            "héé",
            &format!("{HEX}00"),
            &HEX[..67],
            &long,
        ] {
            assert!(text.parse::<Multihash>().is_err(), "{text}");
        }
        assert!(Multihash::wrap(SHA3_256, &[0; MAX_DIGEST_BYTES]).is_ok());
        assert!(Multihash::wrap(SHA3_256, &[0; MAX_DIGEST_BYTES + 1]).is_err());
    }

    #[test]
    fn dataset_ids_read_back_from_every_form() {
        let text = "did:odf:fed012e6fcce36701dc791488e0d0b1745cc1e33a4c1c9fcc41c63bd343dbbe0970e6";
        let id: DatasetId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(
            id,
            "did:odf:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
                .parse()
                .unwrap()
        );
        assert_eq!(DatasetId::from_multibase(&id.to_multibase()), Ok(id));
        assert_eq!(DatasetId::from_bytes(&id.to_bytes()), Ok(id));
    }

    #[test]
    fn what_is_not_a_dataset_id_is_refused() {
        let foreign = multibase::encode(Base::Base16Lower, [&[0xec, 0x01][..], &[0; 32]].concat());
        for text in [
            "",
            "did:odf:",
            "did:key:fed01",
            "fed01",
            "did:odf:fed01",
            &format!("did:odf:{foreign}"),
        ] {
            assert!(text.parse::<DatasetId>().is_err(), "{text}");
        }
    }
}
