//! Which older roots of a dataset stay pinned.
//!
//! The newest root stays, whatever is wanted, and so does one that a name published or followed here stands for, one that
//! somebody else pinned, and one whose age cannot be told. Pins are given up here; what only they needed goes at the next
//! collection of garbage.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipld_core::ipld::Ipld;
use odf_dataset::Dataset;
use odf_metadata::{DatasetId, Timestamp};
use odf_node::block::Cid;
use odf_node::dag;
use odf_node::ipns;
use odf_node::peer::Node;
use odf_node::routing::{self, RoutingError};
use odf_node::store::{Blocks as _, Store, StoreError};

use crate::Local;
use crate::layout::LayoutError;
use crate::standing::Standing;

/// How long a root stands that is kept for good, unless told otherwise.
pub const ANNOUNCED_FOR: Duration = Duration::from_secs(60);
/// Roots are thinned by age only when the head has moved on by this part of the shortest time in the rules: each append
/// would have to look at all of them otherwise.
const THINNED_PER_TIME: u32 = 10;

/// Which older roots stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retention {
    /// All of them.
    All,
    /// Those that were the newest one, or what a name stood for, for longer than this, or of which it is not known.
    Announced(Duration),
    /// Those that one of the rules keeps.
    Kept(Vec<Rule>),
}

impl Default for Retention {
    fn default() -> Self {
        Self::Announced(ANNOUNCED_FOR)
    }
}

/// What keeps an older root. The age of a root is how much later the newest metadata block was made than the one that the
/// root was made at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// It is among so many newest ones.
    Newest(u64),
    /// It is not older than this.
    Within(Duration),
    /// It is the last one of its step in time; steps are counted from 1970.
    Last {
        /// How long a step is.
        step: Duration,
        /// Not older than this; absent: however old.
        within: Option<Duration>,
    },
}

impl Rule {
    /// The shortest time in it, if there is any.
    fn shortest(&self) -> Option<Duration> {
        match self {
            Self::Newest(_) => None,
            Self::Within(age) => Some(*age),
            Self::Last { step, within } => Some(within.map_or(*step, |within| within.min(*step))),
        }
    }
}

/// What [`retain`] gave up.
#[derive(Debug, Default)]
#[must_use = "what is not here any more is to be announced no more"]
pub struct GivenUp {
    /// How many roots.
    pub roots: u64,
    /// What was announced for them, and is part of no root that stays: for [`GivenUp::withdraw`].
    entities: Vec<Cid>,
}

impl GivenUp {
    /// Both together.
    pub(crate) fn and(mut self, more: Self) -> Self {
        self.roots += more.roots;
        self.entities.extend(more.entities);
        self
    }

    /// Stops announcing what was given up. `node` is the peer that runs on the store, if one does.
    ///
    /// # Errors
    /// The schedule cannot be written.
    pub async fn withdraw(self, local: &Local, node: Option<&Node>) -> Result<(), RoutingError> {
        match node {
            _ if self.entities.is_empty() => Ok(()),
            Some(node) => node.routing().unprovide(self.entities).await,
            None => Ok(routing::unprovide(local.store(), &self.entities)?),
        }
    }
}

/// Gives up the pinned older roots of the dataset that are not wanted any more. To be called after each change of it, at
/// `now`: from this it is known how long a root stood.
///
/// # Errors
/// The store failed; some may have been given up.
pub fn retain(
    local: &Local,
    dataset: &Dataset,
    retention: &Retention,
    now: SystemTime,
) -> Result<GivenUp, LayoutError> {
    let (store, id) = (local.store(), dataset.id());
    let Some(newest) = local.layout().latest(&id)? else {
        return Ok(GivenUp::default());
    };
    let before = Standing::of(store, &id);
    let mut standing = before.clone();
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = u64::try_from(now).unwrap_or(u64::MAX);
    if !standing.roots.iter().any(|(root, _)| *root == newest.cid) {
        standing.roots.push((newest.cid, now));
    }
    let mut unwanted = pass(store, &mut standing, newest.cid, |since| match retention {
        // A clock that was set back says nothing.
        Retention::Announced(limit) => now
            .checked_sub(since)
            .is_some_and(|stood| u128::from(stood) <= limit.as_millis()),
        Retention::All | Retention::Kept(_) => false,
    })?;
    if let Retention::Kept(rules) = retention {
        unwanted.extend(thin(store, &id.to_string(), newest.cid, rules, &mut standing)?);
    }
    // In this order: a root that was to be given up and was not, as the process died, is only kept.
    let mut given_up = GivenUp::default();
    for root in &unwanted {
        given_up.roots += u64::from(store.unpin(&id.to_string(), root)?);
    }
    if standing != before {
        standing.save(store, &id);
    }
    if !unwanted.is_empty() {
        // Of the roots that stay only a neighbour has entities of one that goes: a block without rows leaves the files as they
        // were. With rules the neighbours may be any.
        let staying: Vec<Cid> = match retention {
            Retention::Kept(_) => store
                .pins(Some(&id.to_string()))?
                .into_iter()
                .map(|pin| pin.cid)
                .collect(),
            _ => standing.staying(newest.cid),
        };
        given_up.entities = only_of(store, &unwanted, &staying)?;
    }
    Ok(given_up)
}

/// An older root that goes when the store has no room left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spare {
    /// When the metadata block was made that the root was made at, in milliseconds since 1970.
    made: i64,
    dataset: DatasetId,
    root: Cid,
}

/// The older roots of a dataset that may go when there is no room: those that are kept although no rule wants them. None, if
/// the newest one became that within [`ANNOUNCED_FOR`], since others may be about to fetch the one before it.
pub(crate) fn spare(
    local: &Local,
    id: DatasetId,
    retention: &Retention,
    now: SystemTime,
) -> Result<Vec<Spare>, LayoutError> {
    let (store, newest) = (local.store(), local.layout().latest(&id)?);
    let (Retention::Announced(_), Some(newest)) = (retention, newest) else {
        return Ok(Vec::new());
    };
    let standing = Standing::of(store, &id);
    let since = standing
        .roots
        .iter()
        .find(|(root, _)| *root == newest.cid)
        .map(|(_, since)| *since);
    let stands = since.and_then(|since| now.duration_since(UNIX_EPOCH + Duration::from_millis(since)).ok());
    if stands.is_none_or(|stands| stands <= ANNOUNCED_FOR) {
        return Ok(Vec::new());
    }
    let mut spare = Vec::new();
    for pin in store.pins(Some(&id.to_string()))? {
        if pin.cid != newest.cid && !ipns::is_named(store, &pin.cid)? {
            spare.extend(age_of(store, &pin.cid)?.map(|(made, _)| Spare {
                made: made.millis(),
                dataset: id,
                root: pin.cid,
            }));
        }
    }
    Ok(spare)
}

/// Gives up roots that [`spare`] gave.
pub(crate) fn give_up(local: &Local, roots: &[Spare]) -> Result<GivenUp, LayoutError> {
    let store = local.store();
    let mut given_up = GivenUp::default();
    for spare in roots {
        given_up.roots += u64::from(store.unpin(&spare.dataset.to_string(), &spare.root)?);
    }
    let mut of_dataset: Vec<(DatasetId, Cid)> = roots.iter().map(|spare| (spare.dataset, spare.root)).collect();
    of_dataset.sort_unstable();
    for gone in of_dataset.chunk_by(|left, right| left.0 == right.0) {
        let Some((id, _)) = gone.first() else { continue };
        let staying: Vec<Cid> = store
            .pins(Some(&id.to_string()))?
            .into_iter()
            .map(|pin| pin.cid)
            .collect();
        let gone: Vec<Cid> = gone.iter().map(|(_, root)| *root).collect();
        given_up.entities.extend(only_of(store, &gone, &staying)?);
    }
    Ok(given_up)
}

/// What is announced for roots `gone` and for none of those that are `staying`.
fn only_of(store: &Store, gone: &[Cid], staying: &[Cid]) -> Result<Vec<Cid>, StoreError> {
    let mut kept = HashSet::new();
    for root in staying {
        kept.extend(entities(store, root)?);
    }
    let mut only = Vec::new();
    for root in gone {
        only.extend(entities(store, root)?.into_iter().filter(|cid| !kept.contains(cid)));
    }
    Ok(only)
}

/// What is announced of a root that is here, as [`Root::entities`](crate::layout::Root::entities) says.
pub(crate) fn entities(store: &Store, root: &Cid) -> Result<Vec<Cid>, StoreError> {
    let mut cids = vec![*root];
    for key in ["files", "head"] {
        if let Some(Ipld::Link(cid)) = value(store, root, key)? {
            cids.push(cid);
        }
    }
    Ok(cids)
}

/// Takes roots that stand for the dataset no longer out of `standing`, and gives those that are `fleeting`, asked with since
/// when they stood.
fn pass(
    store: &Store,
    standing: &mut Standing,
    newest: Cid,
    fleeting: impl Fn(u64) -> bool,
) -> Result<Vec<Cid>, StoreError> {
    let (mut unwanted, mut standing_on) = (Vec::new(), Vec::new());
    for (root, since) in std::mem::take(&mut standing.roots) {
        if root == newest || (fleeting(since) && ipns::is_named(store, &root)?) {
            standing_on.push((root, since));
        } else if fleeting(since) {
            unwanted.push(root);
        } else {
            // It stood for long enough, and is kept for good.
            standing.kept = Some(root);
        }
    }
    standing.roots = standing_on;
    Ok(unwanted)
}

/// The roots of `owner` that none of the rules keeps, the oldest first.
fn thin(
    store: &Store,
    owner: &str,
    newest: Cid,
    rules: &[Rule],
    standing: &mut Standing,
) -> Result<Vec<Cid>, StoreError> {
    let Some((head, _)) = age_of(store, &newest)? else {
        return Ok(Vec::new());
    };
    if let Some(shortest) = rules.iter().filter_map(Rule::shortest).min() {
        let text = format!("{rules:?}");
        let stride = millis(shortest / THINNED_PER_TIME);
        let done = standing
            .thinned_by(&text)
            .map(|at| head.millis().saturating_sub(at.millis()));
        if done.is_some_and(|moved| (0..stride).contains(&moved)) {
            return Ok(Vec::new());
        }
        standing.thinned = Some((text, head.millis()));
    }
    let mut roots = Vec::new();
    for pin in store.pins(Some(owner))? {
        // A root whose age cannot be told is nothing to decide about.
        roots.extend(age_of(store, &pin.cid)?.map(|age| (age, pin.cid)));
    }
    roots.sort_unstable_by_key(|(age, _)| std::cmp::Reverse(*age));
    let mut kept = HashSet::from([newest]);
    for rule in rules {
        kept.extend(kept_by(rule, &roots, head, newest));
    }
    let mut given_up = Vec::new();
    for (_, root) in roots.iter().rev().filter(|(_, root)| !kept.contains(root)) {
        if !ipns::is_named(store, root)? {
            given_up.push(*root);
        }
    }
    Ok(given_up)
}

/// Time and sequence number of the metadata block that a root was made at.
type Age = (Timestamp, i128);

/// Which of `roots`, the newest first, a rule keeps.
fn kept_by(rule: &Rule, roots: &[(Age, Cid)], head: Timestamp, newest: Cid) -> Vec<Cid> {
    // One that is ahead of the head, after a reset, is not old.
    let is_within = |time: Timestamp, age: Duration| head.millis().saturating_sub(time.millis()) <= millis(age);
    let cids = |roots: &mut dyn Iterator<Item = &(Age, Cid)>| -> Vec<Cid> { roots.map(|(_, root)| *root).collect() };
    match rule {
        Rule::Newest(count) => {
            let count = usize::try_from(*count).unwrap_or(usize::MAX);
            cids(&mut roots.iter().filter(|(_, root)| *root != newest).take(count))
        }
        Rule::Within(age) => cids(&mut roots.iter().filter(|((time, _), _)| is_within(*time, *age))),
        Rule::Last { step, within } => {
            let mut last = None;
            let mut is_last = |time: Timestamp| {
                let number = time.millis().div_euclid(millis(*step).max(1));
                last.replace(number) != Some(number)
            };
            cids(
                &mut roots
                    .iter()
                    .filter(|((time, _), _)| is_last(*time) && within.is_none_or(|within| is_within(*time, within))),
            )
        }
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// The age of a root that odfs laid out. A history that was written again is newer and may be shorter.
fn age_of(store: &Store, root: &Cid) -> Result<Option<Age>, StoreError> {
    let Some(Ipld::Link(head)) = value(store, root, "head")? else {
        return Ok(None);
    };
    Ok(match (value(store, &head, "time")?, value(store, &head, "seq")?) {
        (Some(Ipld::String(time)), Some(Ipld::Integer(sequence))) => time.parse().ok().map(|time| (time, sequence)),
        _ => None,
    })
}

/// A value in a block that is here.
pub(crate) fn value(store: &Store, cid: &Cid, key: &str) -> Result<Option<Ipld>, StoreError> {
    Ok(store.get(cid)?.and_then(|block| dag::value_at(&block, &[key]).ok()))
}

#[cfg(test)]
mod tests {
    use odf_node::block::{Block, RAW};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// Roots at these hours of 1970, the newest first; the first is the one that is newest.
    fn roots(hours: &[i64]) -> Vec<(Age, Cid)> {
        let root = |(n, hour): (usize, &i64)| {
            let time = Timestamp::from_millis(hour * 3_600_000).unwrap();
            let cid = *Block::new(RAW, vec![n as u8]).unwrap().cid();
            ((time, (hours.len() - n) as i128), cid)
        };
        hours.iter().enumerate().map(root).collect()
    }

    /// The hours of those that a rule keeps beside the newest.
    fn kept(rule: Rule, hours: &[i64]) -> Vec<i64> {
        let roots = roots(hours);
        let ((head, _), newest) = roots[0];
        let kept = kept_by(&rule, &roots, head, newest);
        let older = roots.iter().filter(|(_, root)| *root != newest && kept.contains(root));
        older.map(|((time, _), _)| time.millis() / 3_600_000).collect()
    }

    #[test]
    fn a_count_is_of_the_newest_ones() {
        let hours = [9, 8, 8, 7, 1];
        assert!(kept(Rule::Newest(0), &hours).is_empty());
        assert_eq!(kept(Rule::Newest(2), &hours), [8, 8]);
        assert_eq!(kept(Rule::Newest(u64::MAX), &hours), [8, 8, 7, 1]);
    }

    #[test]
    fn an_age_is_counted_from_the_head() {
        let hours = [100, 99, 76, 75, 1];
        assert_eq!(kept(Rule::Within(DAY), &hours), [99, 76]);
        assert_eq!(kept(Rule::Within(HOUR), &hours), [99]);
        // The newest root of a history that was reset is older than others.
        let mut reset = roots(&[50, 40, 10]);
        reset.swap(0, 1);
        let ((head, _), newest) = reset[0];
        reset.sort_unstable_by_key(|(age, _)| std::cmp::Reverse(*age));
        assert_eq!(kept_by(&Rule::Within(HOUR), &reset, head, newest).len(), 2);
    }

    #[test]
    fn of_each_step_the_last_stays_and_it_stays_the_same_when_time_goes_on() {
        let daily = |within: Option<Duration>| Rule::Last { step: DAY, within };
        // Days 4, 4, 3, 3, 2, 2, 2, 0; the newest stands for its own day.
        let hours = [100, 97, 95, 72, 71, 60, 50, 1];
        assert_eq!(kept(daily(None), &hours), [95, 71, 1]);
        assert_eq!(kept(daily(Some(DAY * 2)), &hours), [95, 71]);
        let thinned = [100, 95, 71, 1];
        assert_eq!(kept(daily(None), &thinned), [95, 71, 1]);
        assert_eq!(kept(daily(None), &[121, 100, 95, 71, 1]), [100, 95, 71, 1]);
    }
}
