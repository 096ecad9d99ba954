//! What pins reach.

use multihash::Multihash;

use super::{
    blocks::Blocks as _,
    content::EVERYTHING,
    error::StoreError,
    met::{Met, Visited},
    pins::{PARTIAL_OWNER, Pin},
    place::{Place, Position},
    state::Store,
};
use crate::block::{Block, Cid, RAW, inherent};

/// Says that the index was made again and no collection has settled since what is missing.
pub(super) const UNSETTLED: &str = "rebuilt, not collected since";
/// Says that something was passed over when files were registered again after a rebuild.
pub(super) const IN_PART: &str = "rebuilt in part";
/// The most missing blocks that are named.
const MAX_NAMED: usize = 16;
const NOTHING: Position = (0, 0);

/// Why the links of a block could not be read.
pub type LinksError = Box<dyn std::error::Error + Send + Sync>;

/// Gives the blocks that a block links to.
pub(super) type Links<'a> = &'a dyn Fn(&Block) -> Result<Vec<Cid>, LinksError>;

/// A block that a pin needs and that could not be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// Whose pin needs it.
    pub owner: String,
    /// The block.
    pub cid: Cid,
    /// What is the matter with it.
    pub reason: String,
    /// It was here once, so blocks that only it linked to may be here still: they are kept.
    pub was_here: bool,
}

/// Whether leaves that pins reach are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    /// They lead nowhere, so what is kept does not depend on whether they are here. Nine of ten blocks are leaves.
    Believed,
    /// So that those that are missing are named, so many at most. Ends then.
    LookedFor(usize),
}

/// The blocks that pins keep.
#[derive(Default)]
pub(super) struct Reach {
    /// By multihash: the bytes live whatever codec they are reached under.
    live: Met,
    /// How many blocks that is.
    pub(super) blocks: u64,
    /// How many of them were found to be missing.
    pub(super) gone: u64,
    /// How many of these are missing for pins that keep a DAG in part only.
    pub(super) not_missed: u64,
    /// How many pins were followed.
    pub(super) pins: u64,
    /// Those that could not be followed, up to a bound.
    pub(super) missing: Vec<Missing>,
    /// Multihashes of missing blocks that were here once.
    pub(super) doubted: Vec<Vec<u8>>,
    /// Everything in packs before this is kept, because a missing block may have linked to it.
    pub(super) limit: Position,
}

impl Reach {
    /// Whether a pin reaches the bytes.
    pub(super) fn contains(&self, hash: &Multihash<64>) -> bool {
        self.live.contains(hash)
    }

    /// Whether the bytes at this place must stay.
    pub(super) fn needs(&self, hash: &Multihash<64>, place: &Place) -> bool {
        place.position().is_some_and(|position| position < self.limit) || self.contains(hash)
    }

    /// Whether something that was here and that a pin needs is missing, so that nobody knows all that it needs.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.limit > NOTHING
    }

    fn miss(&mut self, most: usize, owner: &str, cid: &Cid, reason: String, was_here: bool) {
        if owner == PARTIAL_OWNER && !was_here {
            return;
        }
        if self.missing.len() < most {
            self.missing.push(Missing {
                owner: owner.to_owned(),
                cid: *cid,
                reason,
                was_here,
            });
        }
    }
}

impl Store {
    /// Follows every pin. A block is followed once for each codec it is reached under: what it links to depends on that.
    ///
    /// A block that cannot be parsed is kept and leads nowhere: it led nowhere when it was fetched, too. One that is
    /// missing and never was here leads to nothing that was kept for its sake. One that is missing and was here leaves
    /// everything in doubt that was here at the collection before. Leaves are not looked for.
    pub(super) fn reach(&self, links: Links<'_>) -> Result<Reach, StoreError> {
        self.reach_of(self.pins(None)?, links, Leaves::Believed)
    }

    /// The first blocks that pins need and that are missing, leaves among them. Each is looked for, which takes a long time.
    pub(super) fn first_missing(&self, links: Links<'_>) -> Result<Vec<Missing>, StoreError> {
        Ok(self
            .reach_of(self.pins(None)?, links, Leaves::LookedFor(MAX_NAMED))?
            .missing)
    }

    /// Blocks that pins need and that are missing, or cannot be followed, leaves among them: so many at most. What is below one
    /// that is missing is not known.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn missing(&self, most: usize) -> Result<Vec<Missing>, StoreError> {
        let links = |block: &Block| crate::dag::links(block).map_err(Into::into);
        Ok(self
            .reach_of(self.pins(None)?, &links, Leaves::LookedFor(most))?
            .missing)
    }

    fn reach_of(&self, mut pins: Vec<Pin>, links: Links<'_>, leaves: Leaves) -> Result<Reach, StoreError> {
        let mut reach = Reach::default();
        // Those last that miss nothing, so that what another pin misses is named.
        pins.sort_by_key(|pin| pin.owner == PARTIAL_OWNER);
        let most = match leaves {
            Leaves::Believed => MAX_NAMED,
            Leaves::LookedFor(most) => most,
        };
        let mut followed = Visited::new();
        let mut due = Vec::new();
        for pin in pins {
            reach.pins += 1;
            due.push(pin.cid);
            while let Some(cid) = due.pop() {
                let own = inherent(&cid);
                let is_new = own.is_none() && reach.live.insert(cid.hash());
                reach.blocks += u64::from(is_new);
                if cid.codec() == RAW {
                    // Followed too, so that one that is missing is named once.
                    let looked_for = own.is_none() && leaves != Leaves::Believed && followed.insert(&cid);
                    if looked_for && !self.has(&cid)? {
                        reach.miss(most, &pin.owner, &cid, "it is missing".to_owned(), false);
                        if reach.missing.len() >= most {
                            return Ok(reach);
                        }
                    }
                    continue;
                }
                if !followed.insert(&cid) {
                    continue;
                }
                let found = match own {
                    Some(block) => Some(block),
                    None => self.get(&cid)?,
                };
                let Some(block) = found else {
                    reach.gone += u64::from(is_new);
                    let doubt = self.doubt(&cid)?;
                    reach.not_missed += u64::from(is_new && doubt.is_none() && pin.owner == PARTIAL_OWNER);
                    if let Some(limit) = doubt {
                        reach.limit = reach.limit.max(limit);
                        reach.doubted.push(cid.hash().to_bytes());
                    }
                    reach.miss(most, &pin.owner, &cid, "it is missing".to_owned(), doubt.is_some());
                    continue;
                };
                match links(&block) {
                    Ok(links) => due.extend(links),
                    Err(error) => reach.miss(most, &pin.owner, &cid, format!("it cannot be read: {error}"), false),
                }
            }
        }
        Ok(reach)
    }

    /// Follows every pin but those of one owner, with the codecs that are known here.
    pub(super) fn reach_of_pins(&self, but: Option<&str>) -> Result<Reach, StoreError> {
        let mut pins = self.pins(None)?;
        pins.retain(|pin| Some(pin.owner.as_str()) != but);
        let links = |block: &Block| crate::dag::links(block).map_err(Into::into);
        self.reach_of(pins, &links, Leaves::Believed)
    }

    /// Up to where in the packs there may be blocks that only this missing one linked to; nothing if it never was here.
    fn doubt(&self, cid: &Cid) -> Result<Option<Position>, StoreError> {
        let index = &self.inner.index;
        let key = cid.hash().to_bytes();
        if let Some(value) = index.run(|| index.lost.get(&key))? {
            return Ok(Some(decode(&value).unwrap_or(EVERYTHING)));
        }
        let was_here = index.entry(&key)?.is_some_and(|entry| !entry.places.is_empty());
        Ok((was_here || index.number(UNSETTLED)? != 0).then_some(EVERYTHING))
    }
}

fn decode(value: &[u8]) -> Option<Position> {
    let pack = u32::from_be_bytes(value.get(..4)?.try_into().ok()?);
    let offset = u64::from_be_bytes(value.get(4..12)?.try_into().ok()?);
    Some((pack, offset))
}
