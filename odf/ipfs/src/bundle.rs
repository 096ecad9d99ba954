//! A dataset in one file that can be carried: data, chain, and what its owner signed.
//!
//! A bundle is a CAR of version 1. Its one root is a dag-cbor block, which is also its first block:
//!
//! ```text
//! {"kind": "odfs bundle", "version": 1, "label": text, "name": text, "record": bytes, "root": link}
//! ```
//!
//! `record` is the IPNS record of `name`, as it goes over the network; it says that the name stands for `root`. The other blocks
//! are those below `root`. So whoever has the file needs nobody else to check that the owner of the key said this, and that
//! this is what they said; and whatever reads CARs can take the blocks (`ipfs dag import`).

use bytes::Bytes;
use ipld_core::ipld::Ipld;
use odf_dataset::DatasetName;
use odf_node::block::{Block, BlockError, Cid, DAG_CBOR};
use odf_node::dag;
use odf_node::ipns::Name;
use odf_node::ipns::record::{Record, RecordError};

const KIND: &str = "odfs bundle";
const VERSION: i128 = 1;

/// What the first block of a bundle says.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// What the dataset is called where the bundle was made. Nobody signed that.
    pub label: DatasetName,
    /// What the owner of the name signed.
    pub record: Record,
    /// What the name stands for.
    pub root: Cid,
}

/// Why something is no bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A CAR of something else.
    #[error("it is no bundle that odfs made: {0}")]
    NotOne(&'static str),
    /// One of a later version.
    #[error("it is a bundle of version {0}, and this odfs reads version {VERSION}")]
    Later(i128),
    /// The owner of the name did not sign what it says.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What was signed is something else than what the bundle says that it holds.
    #[error("the record in it says that {name} stands for {signed}, and the bundle is of {root}")]
    OtherRoot {
        /// The name.
        name: Name,
        /// What the record says.
        signed: String,
        /// What the bundle says.
        root: Cid,
    },
    /// The block cannot be made.
    #[error(transparent)]
    Block(#[from] BlockError),
}

impl Bundle {
    /// What is to be said of the dataset that `record` leads to.
    ///
    /// # Errors
    /// It leads to something below a root, or to another name.
    pub fn new(label: DatasetName, record: Record) -> Result<Self, BundleError> {
        let path = record.path()?;
        let root = path.strip_prefix("/ipfs/").and_then(|cid| cid.parse().ok());
        let root = root.ok_or(BundleError::NotOne("its name stands for no root"))?;
        Ok(Self { label, record, root })
    }

    /// The first block of the file.
    ///
    /// # Errors
    /// None that is known: a record is short.
    pub fn block(&self) -> Result<Block, BundleError> {
        let fields = [
            ("kind", Ipld::String(KIND.to_owned())),
            ("version", Ipld::Integer(VERSION)),
            ("label", Ipld::String(self.label.to_string())),
            ("name", Ipld::String(self.record.name().to_string())),
            ("record", Ipld::Bytes(self.record.bytes().to_vec())),
            ("root", Ipld::Link(self.root)),
        ];
        let map = Ipld::Map(fields.map(|(name, value)| (name.to_owned(), value)).into());
        // Text, bytes, links and small numbers always have a form.
        Ok(Block::new(
            DAG_CBOR,
            serde_ipld_dagcbor::to_vec(&map).unwrap_or_default(),
        )?)
    }

    /// Reads the first block of a file. The record was signed for what it says, at whatever time.
    ///
    /// # Errors
    /// It is no bundle, or its owner signed something else.
    pub fn read(block: &Block) -> Result<Self, BundleError> {
        let not_one = BundleError::NotOne;
        let value = match block.cid().codec() {
            DAG_CBOR => dag::value(block).map_err(|_| not_one("its first block is malformed"))?,
            _ => return Err(not_one("its first block is something else")),
        };
        let Ipld::Map(mut fields) = value else {
            return Err(not_one("its first block is something else"));
        };
        match (fields.remove("kind"), fields.remove("version")) {
            (Some(Ipld::String(kind)), Some(Ipld::Integer(version))) if kind == KIND => {
                if version != VERSION {
                    return Err(BundleError::Later(version));
                }
            }
            _ => return Err(not_one("its first block is something else")),
        }
        let mut text = |name: &str| match fields.remove(name) {
            Some(Ipld::String(text)) => Some(text),
            _ => None,
        };
        let label = text("label").and_then(|label| label.parse().ok());
        let name: Option<Name> = text("name").and_then(|name| name.parse().ok());
        let label = label.ok_or(not_one("its label is no name of a dataset"))?;
        let name = name.ok_or(not_one("its name is none"))?;
        let (Some(Ipld::Bytes(record)), Some(Ipld::Link(root))) = (fields.remove("record"), fields.remove("root"))
        else {
            return Err(not_one("it has no record or no root"));
        };
        let record = Record::verify_signature(name, Bytes::from(record))?;
        let signed = record.path()?;
        if signed != format!("/ipfs/{root}") {
            return Err(BundleError::OtherRoot { name, signed, root });
        }
        Ok(Self { label, record, root })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use odf_node::ipns::record::Contents;
    use odf_node::keystore::Keypair;

    use super::*;

    fn bundle(key: &Keypair) -> Bundle {
        let root = Block::new(DAG_CBOR, b"\xa0".to_vec()).unwrap();
        let contents = Contents {
            value: &format!("/ipfs/{}", root.cid()),
            sequence: 3,
            ttl: Duration::from_secs(60),
            valid_until: SystemTime::now(),
        };
        Bundle::new("weather".parse().unwrap(), Record::create(key, &contents).unwrap()).unwrap()
    }

    /// The block with one field put in the place of another.
    fn with(bundle: &Bundle, name: &str, value: Ipld) -> Result<Bundle, BundleError> {
        let Ok(Ipld::Map(mut fields)) = dag::value(&bundle.block().unwrap()) else {
            panic!("no map");
        };
        fields.insert(name.to_owned(), value);
        let bytes = serde_ipld_dagcbor::to_vec(&Ipld::Map(fields)).unwrap();
        Bundle::read(&Block::new(DAG_CBOR, bytes).unwrap())
    }

    #[test]
    fn what_is_written_is_read_again_and_holds_at_any_time() {
        let made = bundle(&Keypair::generate_ed25519());
        let read = Bundle::read(&made.block().unwrap()).unwrap();
        assert_eq!((read.label, read.root), (made.label, made.root));
        assert_eq!(read.record.bytes(), made.record.bytes());
    }

    #[test]
    fn nothing_is_believed_that_the_owner_did_not_sign() {
        let (mine, other) = (
            bundle(&Keypair::generate_ed25519()),
            bundle(&Keypair::generate_ed25519()),
        );
        let name = Ipld::String(other.record.name().to_string());
        assert!(matches!(with(&mine, "name", name), Err(BundleError::Record(_))));
        let raw = Block::new(odf_node::block::RAW, vec![1]).unwrap();
        let root = Ipld::Link(*raw.cid());
        assert!(matches!(with(&mine, "root", root), Err(BundleError::OtherRoot { .. })));
        assert!(matches!(
            with(&mine, "version", Ipld::Integer(2)),
            Err(BundleError::Later(2))
        ));
        let not_one = [
            with(&mine, "kind", Ipld::String("odfs proof".to_owned())),
            with(&mine, "label", Ipld::String("../../x".to_owned())),
            with(&mine, "label", Ipld::Null),
            with(&mine, "record", Ipld::Null),
            Bundle::read(&raw),
        ];
        for result in not_one {
            assert!(matches!(result, Err(BundleError::NotOne(_))), "{result:?}");
        }
    }
}
