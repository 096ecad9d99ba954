//! Two statements by one key that do not go together: a history that went another way than one signed before, or back.
//!
//! A proof holds both signed records, and the blocks that lead from what each says down the chains. Every block is named by its
//! hash in the one before it, and the first by a signed record, so whoever has the file needs nothing else to check it, and no
//! trust in whoever made it.

use std::collections::BTreeMap;

use bytes::Bytes;
use ipld_core::ipld::Ipld;
use odf_dataset::Dataset;
use odf_node::block::{Block, Cid, DAG_CBOR, cid_from_text};
use odf_node::dag;
use odf_node::fetch::{FetchError, Fetcher};
use odf_node::ipns::Name;
use odf_node::ipns::record::{Record, RecordError};
use odf_node::store::StoreError;
use serde::{Deserialize, Serialize};

use crate::Local;
use crate::layout::LayoutError;

/// The longest file of a proof that is read.
pub const MAX_PROOF_BYTES: u64 = 32 << 20;
/// The most blocks that a proof holds.
pub const MAX_PROOF_BLOCKS: usize = 1_000;
/// Table of the records that what is here was pulled by.
const TAKEN: &str = "odf.taken";
/// What a file says that it is.
const KIND: &str = "odfs proof of two histories";
const VERSION: u32 = 1;

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The file is none.
    #[error("it is no proof: {0}")]
    Malformed(String),
    /// A record is not signed by the key of the name.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What the proof holds does not contradict itself.
    #[error("the two records go together: {0}")]
    NoContradiction(&'static str),
    /// More lies between the two than a proof can hold.
    #[error("the two histories are more than {MAX_PROOF_BLOCKS} blocks apart")]
    TooFar,
    /// A block could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The dataset's own root.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// How two histories stand to each other, the second being signed under a number that is not smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The second goes on from the first.
    GoesOn {
        /// How many blocks it has more.
        by: u64,
    },
    /// The second is the first without its last blocks.
    WentBack {
        /// How many it lacks.
        by: u64,
    },
    /// They differ at a block that both have.
    Forked {
        /// The number of the last block that was compared, where they differ.
        at: u64,
    },
}

/// What a proof shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Both records have the same number, and say different things.
    pub same_number: bool,
    /// How the histories stand to each other; nothing if the proof does not hold their blocks.
    pub relation: Option<Relation>,
}

/// Two records of one name, and what they lead to.
#[derive(Debug, Clone)]
pub struct Proof {
    name: Name,
    records: [Record; 2],
    blocks: BTreeMap<Cid, Block>,
}

/// As it is in a file.
#[derive(Serialize, Deserialize)]
struct File {
    kind: String,
    version: u32,
    name: String,
    records: Vec<String>,
    blocks: BTreeMap<String, String>,
}

impl Proof {
    /// Two records of one name; they and what they say are checked later. The one with the smaller number becomes the first.
    fn of(name: Name, one: Record, other: Record) -> Self {
        let records = if one.sequence() <= other.sequence() {
            [one, other]
        } else {
            [other, one]
        };
        Self {
            name,
            records,
            blocks: BTreeMap::new(),
        }
    }

    /// Puts together what shows that two records of `name` do not go together.
    ///
    /// # Errors
    /// They do; or a block that is needed cannot be had, and the records alone prove nothing.
    pub async fn gather(fetcher: &Fetcher, name: Name, one: Record, other: Record) -> Result<Self, ProofError> {
        let mut proof = Self::of(name, one, other);
        loop {
            match proof.relation() {
                Ok(_) => break,
                Err(Missing::Block(_)) if proof.blocks.len() >= MAX_PROOF_BLOCKS => return Err(ProofError::TooFar),
                Err(Missing::Block(cid)) => match fetcher.block(&cid).await {
                    Ok(block) => {
                        proof.blocks.insert(cid, block);
                    }
                    // The records may prove it by themselves.
                    Err(error) => {
                        proof.blocks.clear();
                        return proof.check().map(|_| proof).map_err(|_| error.into());
                    }
                },
                Err(Missing::Sense(reason)) => return Err(ProofError::Malformed(reason)),
            }
        }
        proof.check()?;
        Ok(proof)
    }

    /// What it shows.
    ///
    /// # Errors
    /// A signature is wrong, blocks are not what they should be, or there is no contradiction.
    pub fn check(&self) -> Result<Verdict, ProofError> {
        for record in &self.records {
            Record::verify_signature(self.name, record.bytes().clone())?;
        }
        let [first, second] = &self.records;
        if first.value() == second.value() {
            return Err(ProofError::NoContradiction("both say the same"));
        }
        let relation = match self.relation() {
            Ok(relation) => relation,
            Err(Missing::Block(_)) => None,
            Err(Missing::Sense(reason)) => return Err(ProofError::Malformed(reason)),
        };
        let same_number = first.sequence() == second.sequence();
        match relation {
            None | Some(Relation::GoesOn { .. }) if !same_number => Err(ProofError::NoContradiction(match relation {
                None => "they have different numbers, and the file does not hold the blocks of their histories",
                Some(_) => "the history of the later one goes on from that of the earlier",
            })),
            relation => Ok(Verdict { same_number, relation }),
        }
    }

    /// The name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The records, the one with the smaller number first.
    pub fn records(&self) -> &[Record; 2] {
        &self.records
    }

    /// How the histories stand to each other; none if both lead to the same.
    fn relation(&self) -> Result<Option<Relation>, Missing> {
        let [first, second] = [self.head(&self.records[0])?, self.head(&self.records[1])?];
        let [(one, from), (other, to)] = [(first, self.number(&first)?), (second, self.number(&second)?)];
        if self.are_same(&one, &other)? {
            return Ok(None);
        }
        let back = self.back(if from > to { one } else { other }, from.max(to), from.min(to))?;
        Ok(Some(if from > to && self.are_same(&back, &other)? {
            Relation::WentBack { by: from - to }
        } else if to > from && self.are_same(&back, &one)? {
            Relation::GoesOn { by: to - from }
        } else {
            Relation::Forked { at: from.min(to) }
        }))
    }

    /// The newest chain node of what a record says.
    fn head(&self, record: &Record) -> Result<Cid, Missing> {
        let path = record.path().map_err(|error| Missing::Sense(error.to_string()))?;
        let root = path.strip_prefix("/ipfs/").and_then(|text| cid_from_text(text).ok());
        let root = root.filter(|root| root.codec() == DAG_CBOR);
        let root = root.ok_or_else(|| Missing::Sense(format!("{path} is not the root of a dataset")))?;
        self.link(&root, "head")?
            .ok_or_else(|| Missing::Sense(format!("{root} has no head")))
    }

    fn number(&self, node: &Cid) -> Result<u64, Missing> {
        match self.value(node, "seq")? {
            Some(Ipld::Integer(number)) => u64::try_from(number).ok(),
            _ => None,
        }
        .ok_or_else(|| Missing::Sense(format!("{node} has no number")))
    }

    /// Whether two chain nodes stand for one metadata block: a dataset that goes over to another format has other nodes.
    fn are_same(&self, one: &Cid, other: &Cid) -> Result<bool, Missing> {
        if one == other {
            return Ok(true);
        }
        Ok(match (self.value(one, "hash")?, self.value(other, "hash")?) {
            (Some(Ipld::Bytes(one)), Some(Ipld::Bytes(other))) => one == other,
            _ => false,
        })
    }

    /// The node with the number `to` in the chain that ends with `node`, whose number is `from`.
    fn back(&self, node: Cid, from: u64, to: u64) -> Result<Cid, Missing> {
        let mut at = node;
        for number in (to..from).rev() {
            let before = self.link(&at, "prev")?;
            let before = before.ok_or_else(|| Missing::Sense(format!("{at} has nothing before it")))?;
            if self.number(&before)? != number {
                return Err(Missing::Sense(format!("{before} is not number {number}")));
            }
            at = before;
        }
        Ok(at)
    }

    fn link(&self, block: &Cid, key: &str) -> Result<Option<Cid>, Missing> {
        Ok(match self.value(block, key)? {
            Some(Ipld::Link(cid)) => Some(cid),
            _ => None,
        })
    }

    fn value(&self, cid: &Cid, key: &str) -> Result<Option<Ipld>, Missing> {
        let block = self.blocks.get(cid).ok_or(Missing::Block(*cid))?;
        Ok(dag::value_at(block, &[key]).ok())
    }

    /// The file.
    pub fn to_json(&self) -> String {
        let text = |bytes: &[u8]| multibase::encode(multibase::Base::Base64Pad, bytes);
        let file = File {
            kind: KIND.to_owned(),
            version: VERSION,
            name: self.name.to_string(),
            records: self.records.iter().map(|record| text(record.bytes())).collect(),
            blocks: self
                .blocks
                .iter()
                .map(|(cid, block)| (cid.to_string(), text(block.data())))
                .collect(),
        };
        // Plain texts have no way to fail.
        serde_json::to_string_pretty(&file).unwrap_or_default() + "\n"
    }

    /// Reads a file. That it is a proof is for [`Self::check`] to say.
    ///
    /// # Errors
    /// It has another form, a block is not what its CID says, or a record is not signed by the key of the name.
    pub fn from_json(text: &str) -> Result<Self, ProofError> {
        let malformed = |reason: &str| ProofError::Malformed(reason.to_owned());
        if text.len() as u64 > MAX_PROOF_BYTES {
            return Err(malformed("it is too long"));
        }
        let file: File = serde_json::from_str(text).map_err(|error| ProofError::Malformed(error.to_string()))?;
        if (file.kind.as_str(), file.version) != (KIND, VERSION) {
            return Err(malformed("it says that it is something else"));
        }
        if file.blocks.len() > MAX_PROOF_BLOCKS {
            return Err(malformed("it has too many blocks"));
        }
        let name: Name = file.name.parse().map_err(|_| malformed("its name is not one"))?;
        let bytes = |text: &String| match multibase::decode(text) {
            Ok((_, bytes)) => Ok(Bytes::from(bytes)),
            Err(_) => Err(malformed("it has something that is no base64")),
        };
        let [one, other] = file.records.as_slice() else {
            return Err(malformed("it has not two records"));
        };
        let [one, other] = [bytes(one)?, bytes(other)?].map(|bytes| Record::verify_signature(name, bytes));
        let mut proof = Self::of(name, one?, other?);
        for (cid, data) in &file.blocks {
            let cid = cid_from_text(cid).map_err(|_| malformed("it has something that is no CID"))?;
            let block = Block::verify(cid, bytes(data)?).map_err(|error| ProofError::Malformed(error.to_string()))?;
            proof.blocks.insert(cid, block);
        }
        Ok(proof)
    }
}

/// Why it cannot be said how two histories stand to each other.
enum Missing {
    /// This block is needed.
    Block(Cid),
    /// What is there is no history.
    Sense(String),
}

/// Remembers the record that a dataset was pulled by, if it says what is here.
///
/// # Errors
/// The store cannot be written.
pub fn remember(local: &Local, dataset: &Dataset, record: &Record) -> Result<(), ProofError> {
    let root = local.layout().latest(&dataset.id())?;
    let says = root.is_some_and(|root| record.value() == format!("/ipfs/{}", root.cid).as_bytes());
    if says {
        local
            .store()
            .table(TAKEN)?
            .insert(&key(&record.name()), record.bytes())?;
    }
    Ok(())
}

/// The record that what is here of a name was last pulled by, if that is remembered.
///
/// # Errors
/// The store cannot be read.
pub fn taken(local: &Local, name: &Name) -> Result<Option<Record>, ProofError> {
    let saved = local.store().table(TAKEN)?.get(&key(name))?;
    Ok(saved.and_then(|bytes| Record::verify_signature(*name, bytes.into()).ok()))
}

fn key(name: &Name) -> Vec<u8> {
    name.peer_id().to_bytes()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use odf_node::ipns::record::Contents;
    use odf_node::keystore::Keypair;

    use super::*;

    fn node(map: &[(&str, Ipld)]) -> Block {
        let map: BTreeMap<String, Ipld> = map
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        Block::new(DAG_CBOR, serde_ipld_dagcbor::to_vec(&map).unwrap()).unwrap()
    }

    /// A chain of as many nodes; `mark` makes the last ones others.
    struct Chain(Vec<Block>);

    impl Chain {
        fn new(marks: &[i128]) -> Self {
            let mut blocks: Vec<Block> = Vec::new();
            for (number, mark) in marks.iter().enumerate() {
                let prev = blocks.last().map_or(Ipld::Null, |block| Ipld::Link(*block.cid()));
                blocks.push(node(&[
                    ("seq", Ipld::Integer(number as i128)),
                    ("mark", Ipld::Integer(*mark)),
                    ("prev", prev),
                ]));
            }
            Self(blocks)
        }

        /// As [`Self::new`]; the nodes say which metadata blocks they stand for, and are others in another format.
        fn of_format(format: i128, marks: &[u8]) -> Self {
            let mut blocks: Vec<Block> = Vec::new();
            for (number, mark) in marks.iter().enumerate() {
                let prev = blocks.last().map_or(Ipld::Null, |block| Ipld::Link(*block.cid()));
                blocks.push(node(&[
                    ("seq", Ipld::Integer(number as i128)),
                    ("hash", Ipld::Bytes(vec![number as u8, *mark])),
                    ("data", Ipld::Integer(format)),
                    ("prev", prev),
                ]));
            }
            Self(blocks)
        }

        fn root(&self) -> Block {
            node(&[
                ("odf", Ipld::Integer(2)),
                ("head", Ipld::Link(*self.0.last().unwrap().cid())),
            ])
        }

        fn record(&self, key: &Keypair, sequence: u64) -> Record {
            let value = format!("/ipfs/{}", self.root().cid());
            Record::create(
                key,
                &Contents {
                    value: &value,
                    sequence,
                    valid_until: SystemTime::now() + Duration::from_secs(60),
                    ttl: Duration::from_secs(60),
                },
            )
            .unwrap()
        }
    }

    fn proof(key: &Keypair, chains: [(&Chain, u64); 2]) -> Proof {
        let [one, other] = chains.map(|(chain, sequence)| chain.record(key, sequence));
        let mut proof = Proof::of(Name::from_public_key(&key.public()), one, other);
        for (chain, _) in chains {
            let blocks = chain.0.iter().cloned().chain([chain.root()]);
            proof.blocks.extend(blocks.map(|block| (*block.cid(), block)));
        }
        proof
    }

    #[test]
    fn histories_that_do_not_go_together_are_told_from_those_that_do() {
        let key = Keypair::generate_ed25519();
        let short = Chain::new(&[0, 0, 0]);
        let long = Chain::new(&[0, 0, 0, 0, 0]);
        let other = Chain::new(&[0, 0, 1, 1]);
        let relation = |chains| proof(&key, chains).check().map(|verdict| verdict.relation);
        assert!(matches!(
            relation([(&short, 1), (&long, 2)]),
            Err(ProofError::NoContradiction(_))
        ));
        assert!(matches!(
            relation([(&long, 2), (&long, 1)]),
            Err(ProofError::NoContradiction(_))
        ));
        assert_eq!(
            relation([(&long, 1), (&short, 2)]).unwrap(),
            Some(Relation::WentBack { by: 2 })
        );
        assert_eq!(
            relation([(&short, 1), (&other, 2)]).unwrap(),
            Some(Relation::Forked { at: 2 })
        );
        assert_eq!(
            relation([(&long, 1), (&other, 2)]).unwrap(),
            Some(Relation::Forked { at: 3 })
        );
        let same = proof(&key, [(&short, 7), (&long, 7)]).check().unwrap();
        assert!(same.same_number && same.relation == Some(Relation::GoesOn { by: 2 }));
        // The records alone prove that one number was used twice, and nothing more.
        let mut bare = proof(&key, [(&short, 7), (&other, 7)]);
        bare.blocks.clear();
        assert_eq!(
            bare.check().unwrap(),
            Verdict {
                same_number: true,
                relation: None
            }
        );
        let mut bare = proof(&key, [(&short, 7), (&other, 8)]);
        bare.blocks.clear();
        assert!(matches!(bare.check(), Err(ProofError::NoContradiction(_))));
    }

    #[test]
    fn a_history_in_another_format_is_the_same_one() {
        let key = Keypair::generate_ed25519();
        let old = Chain::of_format(2, &[0, 0, 0]);
        let relation = |marks: &[u8]| {
            let new = Chain::of_format(3, marks);
            proof(&key, [(&old, 1), (&new, 2)])
                .check()
                .map(|verdict| verdict.relation)
        };
        assert!(matches!(relation(&[0, 0, 0]), Err(ProofError::NoContradiction(_))));
        assert!(matches!(
            relation(&[0, 0, 0, 0, 0]),
            Err(ProofError::NoContradiction(_))
        ));
        assert_eq!(relation(&[0, 0]).unwrap(), Some(Relation::WentBack { by: 1 }));
        assert_eq!(relation(&[0, 0, 1]).unwrap(), Some(Relation::Forked { at: 2 }));
        assert_eq!(relation(&[0, 0, 1, 1]).unwrap(), Some(Relation::Forked { at: 2 }));
    }

    #[test]
    fn a_file_is_read_back_and_no_byte_of_it_can_be_another() {
        let key = Keypair::generate_ed25519();
        let (long, other) = (Chain::new(&[0, 0, 0]), Chain::new(&[0, 1]));
        let whole = proof(&key, [(&long, 1), (&other, 2)]);
        let text = whole.to_json();
        let read = Proof::from_json(&text).unwrap();
        assert_eq!(read.check().unwrap(), whole.check().unwrap());
        assert_eq!(read.records(), whole.records());
        for (from, to) in [
            (KIND, "something"),
            (
                &*whole.name.to_string(),
                &*Name::from_public_key(&Keypair::generate_ed25519().public()).to_string(),
            ),
            ("\"version\": 1", "\"version\": 2"),
        ] {
            assert!(text.contains(from));
            assert!(Proof::from_json(&text.replace(from, to)).is_err(), "{from}");
        }
        let base64 = |bytes: &[u8]| multibase::encode(multibase::Base::Base64Pad, bytes);
        let block = long.0[0].data();
        let forged = text.replace(&base64(block), &base64(b"something else"));
        assert!(forged != text && Proof::from_json(&forged).is_err());
        // Signed by somebody else.
        let stranger = long.record(&Keypair::generate_ed25519(), 1);
        let forged = text.replace(&base64(whole.records[0].bytes()), &base64(stranger.bytes()));
        assert!(forged != text && Proof::from_json(&forged).is_err());
    }

    #[test]
    fn one_over_the_limits_is_refused() {
        let key = Keypair::generate_ed25519();
        let (long, other) = (Chain::new(&[0, 0]), Chain::new(&[0, 1]));
        let mut whole = proof(&key, [(&long, 1), (&other, 2)]);
        for number in whole.blocks.len()..MAX_PROOF_BLOCKS {
            let block = node(&[("n", Ipld::Integer(number as i128))]);
            whole.blocks.insert(*block.cid(), block);
        }
        assert!(Proof::from_json(&whole.to_json()).is_ok());
        let one_more = node(&[]);
        whole.blocks.insert(*one_more.cid(), one_more);
        assert!(Proof::from_json(&whole.to_json()).is_err());
        let spaces = " ".repeat(usize::try_from(MAX_PROOF_BYTES).unwrap() + 1);
        assert!(matches!(Proof::from_json(&spaces), Err(ProofError::Malformed(reason)) if reason == "it is too long"));
    }
}
