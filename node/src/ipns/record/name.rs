//! IPNS names: the multihash of a public key, in its several spellings.

use std::fmt;
use std::str::FromStr;

use cid::Cid;
use libp2p::PeerId;
use libp2p::identity::PublicKey;
use multibase::Base;

use crate::block::{IDENTITY, LIBP2P_KEY, SHA2_256, cid_from_text, sha2_256};

/// What stands before a name's multihash in the DHT and in content paths.
const PREFIX: &str = "/ipns/";
/// The longest spelling of a name that is read. That of a 64-byte digest in base 2 would be longer, and unreadable.
pub(super) const MAX_TEXT: usize = 256;

/// An IPNS name: the hash of a public key, or for short keys (Ed25519) the key itself.
///
/// The same bytes as a peer id. Shown as a CID in base 36 (`k51…`); also read as a CID in any base, as a base-58
/// multihash (`12D3KooW…`, `Qm…`), and each with `/ipns/` in front.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(PeerId);

/// Why a text is not an IPNS name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Neither a CID nor a base-58 multihash.
    #[error("{text:?} is not an IPNS name: it is neither a CID nor a base-58 multihash")]
    Unreadable {
        /// The text, at most 256 bytes of it.
        text: String,
    },
    /// A CID of content, not of a key.
    #[error("{cid} is not an IPNS name: its codec is 0x{codec:x}, not that of a key (0x72)")]
    NotAKey {
        /// The CID.
        cid: Cid,
        /// Its multicodec.
        codec: u64,
    },
    /// A hash that no key is named by.
    #[error("hash function 0x{code:x} does not name keys, or not of that length")]
    BadHash {
        /// Multihash code.
        code: u64,
    },
}

impl Name {
    /// The name of a key.
    pub fn from_public_key(key: &PublicKey) -> Self {
        Self(PeerId::from_public_key(key))
    }

    /// The name that has the same bytes as a peer id.
    pub fn from_peer_id(peer: PeerId) -> Self {
        Self(peer)
    }

    /// The peer id of the same key.
    pub fn peer_id(&self) -> PeerId {
        self.0
    }

    /// The name as CID: version 1, codec of a key.
    pub fn to_cid(&self) -> Cid {
        Cid::new_v1(LIBP2P_KEY, *self.0.as_ref())
    }

    /// The key under which the DHT holds the record: `/ipns/` and the bytes of the multihash, not of its text.
    pub fn routing_key(&self) -> Vec<u8> {
        [PREFIX.as_bytes(), &self.0.to_bytes()].concat()
    }

    /// The name that a DHT key is for, if it is one of IPNS.
    pub fn from_routing_key(key: &[u8]) -> Option<Self> {
        PeerId::from_bytes(key.strip_prefix(PREFIX.as_bytes())?).ok().map(Self)
    }

    /// The public key, if the name holds it and its type is known here.
    pub fn public_key(&self) -> Option<PublicKey> {
        if !self.holds_key() {
            return None;
        }
        PublicKey::try_decode_protobuf(self.0.as_ref().digest()).ok()
    }

    /// Whether the name is the key itself rather than its hash.
    pub(super) fn holds_key(&self) -> bool {
        self.0.as_ref().code() == IDENTITY
    }

    /// Whether this is the name of the key with that protobuf encoding.
    pub(super) fn is_of_key(&self, encoded: &[u8]) -> bool {
        let hash = self.0.as_ref();
        match hash.code() {
            IDENTITY => hash.digest() == encoded,
            SHA2_256 => *hash == sha2_256(encoded),
            _ => false,
        }
    }
}

impl TryFrom<&Cid> for Name {
    type Error = NameError;

    fn try_from(cid: &Cid) -> Result<Self, NameError> {
        if cid.codec() != LIBP2P_KEY {
            return Err(NameError::NotAKey {
                cid: *cid,
                codec: cid.codec(),
            });
        }
        PeerId::from_multihash(*cid.hash())
            .map(Self)
            .map_err(|hash| NameError::BadHash { code: hash.code() })
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bare = text.strip_prefix(PREFIX).unwrap_or(text);
        let unreadable = || NameError::Unreadable {
            text: text.chars().take(MAX_TEXT).collect(),
        };
        if bare.len() > MAX_TEXT || bare.contains('/') {
            return Err(unreadable());
        }
        if bare.starts_with("Qm") || bare.starts_with('1') {
            let bytes = Base::Base58Btc.decode(bare).map_err(|_| unreadable())?;
            return PeerId::from_bytes(&bytes).map(Self).map_err(|_| unreadable());
        }
        Self::try_from(&cid_from_text(bare).map_err(|_| unreadable())?)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&multibase::encode(Base::Base36Lower, self.to_cid().to_bytes()))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}
