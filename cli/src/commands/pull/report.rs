//! What `odfs pull -o json` tells: one object for each dataset.

use std::collections::BTreeMap;

use odf::metadata::{DatasetId, Multihash};
use serde_json::{Value, json};

use super::plan::{Job, Way};
use crate::failure::{Failure, Kind};
use crate::session::Session;

/// A dataset at one moment.
struct Seen {
    name: Option<String>,
    head: Multihash,
    blocks: u64,
    /// Of its data files and checkpoints.
    bytes: u64,
}

/// What is here before a job is done, and what the job is.
pub(super) struct Before {
    label: String,
    from: Option<String>,
    dataset: Option<DatasetId>,
    seen: BTreeMap<DatasetId, Seen>,
}

impl Before {
    /// Looks at what is here.
    ///
    /// # Errors
    /// The workspace cannot be read.
    pub(super) fn look(job: &Job, session: &Session) -> Result<Self, Failure> {
        let (from, dataset) = match &job.way {
            Way::Network { address, dataset, .. } => (Some(address.to_string()), *dataset),
            Way::Repository { place, dataset, .. } => (Some(place.to_string()), *dataset),
            Way::Source(dataset) | Way::Transform(dataset) => (None, Some(*dataset)),
            Way::Blocked(_) | Way::Nothing => (None, None),
        };
        Ok(Self {
            label: job.label.clone(),
            from,
            dataset,
            seen: seen(session)?,
        })
    }

    /// Nobody was to be asked.
    pub(super) fn unasked(self) -> Value {
        let before = self.dataset.and_then(|id| self.seen.get(&id));
        json!({
            "dataset": before.and_then(|before| before.name.clone()),
            "id": self.dataset.map(|id| id.to_string()),
            "result": "notAsked",
            "head": before.map(|before| before.head.to_string()),
            "oldHead": before.map(|before| before.head.to_string()),
            "blocks": 0,
            "bytes": 0,
            "from": self.from,
        })
    }

    /// What came of the job.
    ///
    /// # Errors
    /// The workspace cannot be read.
    pub(super) fn then(self, outcome: &Result<bool, Failure>, session: &Session) -> Result<Value, Failure> {
        let now = seen(session)?;
        // What was not known before is what came.
        let id = self
            .dataset
            .or_else(|| now.keys().find(|id| !self.seen.contains_key(id)).copied())
            .or_else(|| {
                let called = |seen: &Seen| seen.name.as_ref() == Some(&self.label);
                now.iter().find(|(_, seen)| called(seen)).map(|(id, _)| *id)
            });
        let (before, after) = (id.and_then(|id| self.seen.get(&id)), id.and_then(|id| now.get(&id)));
        let grown = |of: fn(&Seen) -> u64| after.map_or(0, of).saturating_sub(before.map_or(0, of));
        let result = match outcome {
            Ok(true) if before.is_none() => "pulled",
            Ok(true) => "updated",
            Ok(false) => "upToDate",
            Err(failure) if failure.kind() == Kind::NotApproved => "notApproved",
            Err(_) => "failed",
        };
        let failure = outcome.as_ref().err();
        Ok(json!({
            "dataset": after.and_then(|after| after.name.clone()).unwrap_or(self.label),
            "id": id.map(|id| id.to_string()),
            "result": result,
            "head": after.map(|after| after.head.to_string()),
            "oldHead": before.map(|before| before.head.to_string()),
            "blocks": grown(|seen| seen.blocks),
            "bytes": grown(|seen| seen.bytes),
            "from": self.from,
            "error": failure.map(Failure::message),
            "next": failure.and_then(Failure::next_step),
        }))
    }
}

/// All datasets that can be read.
fn seen(session: &Session) -> Result<BTreeMap<DatasetId, Seen>, Failure> {
    let listing = session.workspace()?.catalog().listing()?;
    let readable = listing.into_iter().filter_map(|listed| {
        let summary = listed.summary.ok()?;
        let seen = Seen {
            name: listed.entry.name.as_ref().map(ToString::to_string),
            head: summary.head,
            blocks: summary.blocks(),
            bytes: summary.totals.data_bytes + summary.totals.checkpoint_bytes,
        };
        Some((listed.entry.id, seen))
    });
    Ok(readable.collect())
}
