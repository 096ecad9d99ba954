//! What came of a run, as one line of JSON.

use std::fmt;
use std::time::Duration;

use odf_node::routing::Walked;

use crate::crowd::{Crowd, Joining, processor_time, resident, tell};
use crate::sweep::Swept;

/// Of a hundred operations so many have to succeed.
const SUCCEED: usize = 99;

/// What came of a run.
#[derive(Default)]
pub(crate) struct Report {
    nodes: usize,
    joined: Duration,
    joining: Joining,
    connections: f64,
    tables: f64,
    resident: u64,
    costs: Vec<Cost>,
    pub(crate) swept: Option<Swept>,
}

/// What some operations of one kind have cost.
pub(crate) struct Cost {
    what: &'static str,
    count: usize,
    succeeded: usize,
    times: Vec<Duration>,
    walks: u64,
    messages: u64,
    unanswered: u64,
    hops: u64,
}

impl Cost {
    /// Of `count` operations of which some succeeded, with what all walks have cost before and after.
    pub(crate) fn of(
        what: &'static str,
        (count, succeeded): (usize, usize),
        mut times: Vec<Duration>,
        (before, after): (Walked, Walked),
    ) -> Self {
        times.sort_unstable();
        let messages = after.messages - before.messages;
        Self {
            what,
            count,
            succeeded,
            times,
            walks: after.walks - before.walks,
            messages,
            unanswered: messages - (after.answered - before.answered),
            hops: after.hops - before.hops,
        }
    }

    fn each(&self, sum: u64) -> f64 {
        sum as f64 / self.count.max(1) as f64
    }

    fn millis(&self, of_a_hundred: usize) -> f64 {
        let at = (self.times.len() * of_a_hundred / 100).min(self.times.len().saturating_sub(1));
        self.times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            r#"{{"operation":"{}","count":{},"succeeded":{},"hops":{:.2},"messages":{:.1},"unanswered":{:.1},"median_ms":{:.0},"p90_ms":{:.0}}}"#,
            self.what,
            self.count,
            self.succeeded,
            self.hops as f64 / self.walks.max(1) as f64,
            self.each(self.messages),
            self.each(self.unanswered),
            self.millis(50),
            self.millis(90),
        )
    }
}

impl Report {
    /// Notes how the peers stand that have gathered.
    pub(crate) async fn gathered(&mut self, crowd: &mut Crowd) {
        self.nodes = crowd.members.len();
        self.joined = crowd.took;
        self.joining = std::mem::take(&mut crowd.joining);
        self.connections = crowd.connections().await;
        self.tables = crowd.tables();
        self.resident = resident();
        tell(&format!(
            "{} peers in {:.0} s, {:.0} s of a processor, {} connections made, {} walks, {} messages; {:.1} connections, {:.1} peers in a table, {} MiB",
            self.nodes,
            self.joined.as_secs_f64(),
            self.joining.processor.as_secs_f64(),
            self.joining.connections,
            self.joining.walks,
            self.joining.messages,
            self.connections,
            self.tables,
            self.resident >> 20
        ));
    }

    /// Adds what some operations have cost.
    pub(crate) fn add(&mut self, cost: Cost) {
        tell(&cost);
        self.costs.push(cost);
    }

    /// Whether 99 of 100 did, of each kind.
    pub(crate) fn succeeded(&self) -> bool {
        let operations = self.costs.iter().map(|cost| (cost.succeeded, cost.count));
        let found = self.swept.iter().map(Swept::found);
        let mut all = operations.chain(found);
        all.all(|(succeeded, count)| 100 * succeeded >= SUCCEED * count)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let costs: Vec<String> = self.costs.iter().map(Cost::to_string).collect();
        write!(
            f,
            r#"{{"nodes":{},"joined_s":{:.0},"joining":{{"cpu_s":{:.0},"connections":{},"walks":{},"messages":{}}},"cpu_s":{:.0},"connections":{:.1},"table":{:.1},"resident_mib":{},"operations":[{}]"#,
            self.nodes,
            self.joined.as_secs_f64(),
            self.joining.processor.as_secs_f64(),
            self.joining.connections,
            self.joining.walks,
            self.joining.messages,
            processor_time().as_secs_f64(),
            self.connections,
            self.tables,
            self.resident >> 20,
            costs.join(",")
        )?;
        if let Some(swept) = &self.swept {
            write!(f, r#","sweep":{swept}"#)?;
        }
        f.write_str("}")
    }
}
