//! A question to datasets and what was answered, in one file that anybody can ask again.
//!
//! A citation is a CAR of version 1. Its one root is a dag-cbor block, which is also its first block:
//!
//! ```text
//! {"kind": "odfs citation", "version": 1, "query": text, "time": text, "engine": text, "rows": number, "result": bytes,
//!  "datasets": [{"table": text, "name": text, "record": bytes, "root": link, "head": bytes}]}
//! ```
//!
//! `result` is the logical hash of the rows (odf-facts §9, as of a slice), as a multihash; `time` is what `now()` gave; `table`
//! is what the query calls a dataset, `record` the IPNS record of its name, by which its owner said that the name stands for
//! `root`, and `head` its newest metadata block. The other blocks are those that were looked into for the answer: the way from
//! each root to its metadata blocks, these, the way to its slices, and the leaves that the query needed.

use bytes::Bytes;
use ipld_core::ipld::Ipld;
use odf_metadata::{Multihash, Timestamp};
use odf_node::block::{Block, BlockError, Cid, DAG_CBOR};
use odf_node::dag;
use odf_node::ipns::Name;
use odf_node::ipns::record::{Record, RecordError};

const KIND: &str = "odfs citation";
const VERSION: i128 = 1;
/// The most datasets that one is read with.
pub const MAX_DATASETS: usize = 256;

/// What was asked, of what, and what was answered.
#[derive(Debug, Clone)]
pub struct Citation {
    /// The query.
    pub query: String,
    /// What `now()` gave.
    pub time: Timestamp,
    /// What answered, with its version.
    pub engine: String,
    /// How many rows there were.
    pub rows: u64,
    /// Their logical hash.
    pub result: Multihash,
    /// What it was asked of.
    pub datasets: Vec<Cited>,
}

/// A dataset as it was when it was asked.
#[derive(Debug, Clone)]
pub struct Cited {
    /// What the query calls it.
    pub table: String,
    /// What its owner signed.
    pub record: Record,
    /// What its name stood for.
    pub root: Cid,
    /// Its newest metadata block.
    pub head: Multihash,
}

/// Why something is no citation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CitationError {
    /// A CAR of something else.
    #[error("it is no citation that odfs made: {0}")]
    NotOne(&'static str),
    /// One of a later version.
    #[error("it is a citation of version {0}, and this odfs reads version {VERSION}")]
    Later(i128),
    /// The owner of a name did not sign what it says.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What was signed is something else than what the citation says.
    #[error("the record in it says that {name} stands for {signed}, and the citation is of {root}")]
    OtherRoot {
        /// The name.
        name: Name,
        /// What the record says.
        signed: String,
        /// What the citation says.
        root: Cid,
    },
    /// The block cannot be made.
    #[error(transparent)]
    Block(#[from] BlockError),
}

impl Cited {
    /// A dataset whose name leads to its root by this record.
    ///
    /// # Errors
    /// It leads to something below a root, or to another name.
    pub fn new(table: String, record: Record, head: Multihash) -> Result<Self, CitationError> {
        let path = record.path()?;
        let root = path.strip_prefix("/ipfs/").and_then(|cid| cid.parse().ok());
        let root = root.ok_or(CitationError::NotOne("a name stands for no root"))?;
        Ok(Self {
            table,
            record,
            root,
            head,
        })
    }

    fn to_ipld(&self) -> Ipld {
        map([
            ("table", Ipld::String(self.table.clone())),
            ("name", Ipld::String(self.record.name().to_string())),
            ("record", Ipld::Bytes(self.record.bytes().to_vec())),
            ("root", Ipld::Link(self.root)),
            ("head", Ipld::Bytes(self.head.to_bytes())),
        ])
    }

    fn of_ipld(value: Ipld) -> Result<Self, CitationError> {
        let not_one = || CitationError::NotOne("what it says of a dataset is malformed");
        let Ipld::Map(mut fields) = value else {
            return Err(not_one());
        };
        let table = text(fields.remove("table")).ok_or_else(not_one)?;
        let name = text(fields.remove("name")).and_then(|name| name.parse::<Name>().ok());
        let (name, record) = match (name, fields.remove("record")) {
            (Some(name), Some(Ipld::Bytes(record))) => (name, record),
            _ => return Err(not_one()),
        };
        let (root, head) = match (fields.remove("root"), fields.remove("head")) {
            (Some(Ipld::Link(root)), Some(Ipld::Bytes(head))) => {
                (root, Multihash::from_bytes(&head).map_err(|_| not_one())?)
            }
            _ => return Err(not_one()),
        };
        let record = Record::verify_signature(name, Bytes::from(record))?;
        let signed = record.path()?;
        if signed != format!("/ipfs/{root}") {
            return Err(CitationError::OtherRoot { name, signed, root });
        }
        Ok(Self {
            table,
            record,
            root,
            head,
        })
    }
}

impl Citation {
    /// The first block of the file.
    ///
    /// # Errors
    /// It would be longer than a block can be: of a very long query, or very many datasets.
    pub fn block(&self) -> Result<Block, CitationError> {
        let value = map([
            ("kind", Ipld::String(KIND.to_owned())),
            ("version", Ipld::Integer(VERSION)),
            ("query", Ipld::String(self.query.clone())),
            ("time", Ipld::String(self.time.to_string())),
            ("engine", Ipld::String(self.engine.clone())),
            ("rows", Ipld::Integer(self.rows.into())),
            ("result", Ipld::Bytes(self.result.to_bytes())),
            (
                "datasets",
                Ipld::List(self.datasets.iter().map(Cited::to_ipld).collect()),
            ),
        ]);
        // Text, bytes, links and numbers always have a form.
        let bytes = serde_ipld_dagcbor::to_vec(&value).unwrap_or_default();
        Ok(Block::new(DAG_CBOR, bytes)?)
    }

    /// Reads the first block of a file. The records were signed for what it says, at whatever time.
    ///
    /// # Errors
    /// It is no citation, or an owner signed something else.
    pub fn read(block: &Block) -> Result<Self, CitationError> {
        let not_one = CitationError::NotOne;
        let value = match block.cid().codec() {
            DAG_CBOR => dag::value(block).map_err(|_| not_one("its first block is malformed"))?,
            _ => return Err(not_one("its first block is something else")),
        };
        let Ipld::Map(mut fields) = value else {
            return Err(not_one("its first block is something else"));
        };
        match (fields.remove("kind"), fields.remove("version")) {
            (Some(Ipld::String(kind)), Some(Ipld::Integer(VERSION))) if kind == KIND => {}
            (Some(Ipld::String(kind)), Some(Ipld::Integer(later))) if kind == KIND => {
                return Err(CitationError::Later(later));
            }
            _ => return Err(not_one("its first block is something else")),
        }
        let query = text(fields.remove("query")).ok_or(not_one("it has no query"))?;
        let time = text(fields.remove("time")).and_then(|time| time.parse().ok());
        let engine = text(fields.remove("engine")).ok_or(not_one("it does not say what answered"))?;
        let (rows, result) = match (fields.remove("rows"), fields.remove("result")) {
            (Some(Ipld::Integer(rows)), Some(Ipld::Bytes(result))) => {
                (u64::try_from(rows).ok(), Multihash::from_bytes(&result).ok())
            }
            _ => (None, None),
        };
        let Some(Ipld::List(datasets)) = fields.remove("datasets") else {
            return Err(not_one("it does not say what was asked"));
        };
        if datasets.len() > MAX_DATASETS {
            return Err(not_one("it is of more datasets than are read"));
        }
        Ok(Self {
            query,
            time: time.ok_or(not_one("it does not say when it was asked"))?,
            engine,
            rows: rows.ok_or(not_one("it has no result"))?,
            result: result.ok_or(not_one("it has no result"))?,
            datasets: datasets.into_iter().map(Cited::of_ipld).collect::<Result<_, _>>()?,
        })
    }
}

fn map<const N: usize>(fields: [(&str, Ipld); N]) -> Ipld {
    Ipld::Map(fields.map(|(name, value)| (name.to_owned(), value)).into())
}

fn text(value: Option<Ipld>) -> Option<String> {
    match value {
        Some(Ipld::String(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use odf_node::ipns::record::Contents;
    use odf_node::keystore::Keypair;

    use super::*;

    fn cited(key: &Keypair) -> Cited {
        let root = Block::new(DAG_CBOR, b"\xa0".to_vec()).unwrap();
        let contents = Contents {
            value: &format!("/ipfs/{}", root.cid()),
            sequence: 3,
            ttl: Duration::from_secs(60),
            valid_until: SystemTime::now(),
        };
        let record = Record::create(key, &contents).unwrap();
        Cited::new("weather".to_owned(), record, Multihash::sha3_256(b"head")).unwrap()
    }

    fn citation(datasets: Vec<Cited>) -> Citation {
        Citation {
            query: "select 1".to_owned(),
            time: "2026-01-01T00:00:00Z".parse().unwrap(),
            engine: "an engine".to_owned(),
            rows: 1,
            result: Multihash::sha3_256(b"rows"),
            datasets,
        }
    }

    /// The citation with one field put in the place of another.
    fn with(citation: &Citation, name: &str, value: Ipld) -> Result<Citation, CitationError> {
        let Ok(Ipld::Map(mut fields)) = dag::value(&citation.block().unwrap()) else {
            panic!("no map");
        };
        fields.insert(name.to_owned(), value);
        let bytes = serde_ipld_dagcbor::to_vec(&Ipld::Map(fields)).unwrap();
        Citation::read(&Block::new(DAG_CBOR, bytes).unwrap())
    }

    #[test]
    fn what_is_written_is_read_again() {
        let made = citation(vec![cited(&Keypair::generate_ed25519())]);
        let read = Citation::read(&made.block().unwrap()).unwrap();
        assert_eq!(
            (&read.query, read.time, &read.engine),
            (&made.query, made.time, &made.engine)
        );
        assert_eq!((read.rows, read.result, read.datasets.len()), (1, made.result, 1));
        assert_eq!(read.datasets[0].record.bytes(), made.datasets[0].record.bytes());
        assert_eq!(read.datasets[0].head, made.datasets[0].head);
    }

    #[test]
    fn nothing_is_believed_that_an_owner_did_not_sign() {
        let (mine, other) = (cited(&Keypair::generate_ed25519()), cited(&Keypair::generate_ed25519()));
        let made = citation(vec![mine.clone()]);
        let dataset = |name: &str, value: Ipld| {
            let Ipld::Map(mut fields) = mine.to_ipld() else {
                panic!("no map")
            };
            fields.insert(name.to_owned(), value);
            with(&made, "datasets", Ipld::List(vec![Ipld::Map(fields)]))
        };
        let name = Ipld::String(other.record.name().to_string());
        assert!(matches!(dataset("name", name), Err(CitationError::Record(_))));
        let raw = Block::new(odf_node::block::RAW, vec![1]).unwrap();
        assert!(matches!(
            dataset("root", Ipld::Link(*raw.cid())),
            Err(CitationError::OtherRoot { .. })
        ));
        assert!(matches!(
            with(&made, "version", Ipld::Integer(2)),
            Err(CitationError::Later(2))
        ));
        let many = |count: usize| Ipld::List(vec![mine.to_ipld(); count]);
        assert!(with(&made, "datasets", many(MAX_DATASETS)).is_ok());
        let not_one = [
            with(&made, "datasets", many(MAX_DATASETS + 1)),
            with(&made, "kind", Ipld::String("odfs bundle".to_owned())),
            with(&made, "query", Ipld::Null),
            with(&made, "time", Ipld::String("yesterday".to_owned())),
            with(&made, "rows", Ipld::Integer(-1)),
            with(&made, "result", Ipld::Bytes(vec![1])),
            dataset("head", Ipld::Null),
            Citation::read(&raw),
        ];
        for result in not_one {
            assert!(matches!(result, Err(CitationError::NotOne(_))), "{result:?}");
        }
    }
}
