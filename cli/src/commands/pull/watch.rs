//! `odfs pull --watch`: after the pull it stays, and prints rows as they arrive, whoever brings them.

use std::time::Duration;

use arrow::array::RecordBatch;
use odf::dataset::Dataset;
use odf::metadata::{DatasetId, Multihash};
use odf_node::ipns::{self, Freshness, Name, Origin};
use odf_node::peer::Node;
use tokio::time::Instant;

use super::news::{Subject, about, bring, is_passing, pull_once};
use super::{PullArgs, PullFormat, open};
use crate::commands::dial::dial;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output::flow::Flow;
use crate::output::{self, Format};
use crate::session::Session;

/// How long what could not be fetched is left alone at first, and at most; the time doubles.
const RETRY: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(60)];

/// How far the rows of a dataset are printed.
struct Printed {
    head: Multihash,
    blocks: u64,
    rows: u64,
}

impl Printed {
    fn of(dataset: &Dataset) -> Self {
        Self {
            head: *dataset.head(),
            blocks: dataset.state().blocks(),
            rows: dataset.state().next_offset(),
        }
    }

    /// Whether the dataset goes on from there.
    fn is_before(&self, dataset: &Dataset) -> Result<bool, Failure> {
        let Some(since) = dataset.state().blocks().checked_sub(self.blocks) else {
            return Ok(false);
        };
        let mut blocks = dataset.blocks()?.rev();
        let last = blocks.nth(usize::try_from(since).unwrap_or(usize::MAX)).transpose()?;
        Ok(last.is_some_and(|last| *last.block.hash() == self.head))
    }
}

pub(super) fn run(args: &PullArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    io.put_lines_aside();
    let [target] = args.targets.as_slice() else {
        return Err(Failure::usage("--watch prints the rows of one dataset, and several are named").next("name one"));
    };
    let (name, mut subject) = Subject::named(target, "watched", session)?;
    subject.called.clone_from(&args.name);
    subject.peers = dial(&args.peers, session, io)?;
    let _added = session.node()?.exchange().gateways().add(&args.gateways)?;
    let before = subject.dataset.map(|id| open(&id, session)).transpose()?;
    let id = match (pull_once(&subject, session, io), subject.dataset) {
        (Ok(id), _) => id,
        // What is not there yet is waited for.
        (Err(failure), Some(id)) if is_passing(&failure) => {
            io.warn(format_args!(
                "{}; it is asked again from time to time",
                failure.message()
            ));
            id
        }
        (Err(failure), _) => return Err(failure),
    };
    subject.dataset = Some(id);
    let dataset = open(&id, session)?;
    let format = match args.output {
        Some(format) => PullFormat::of_rows(format),
        None if io.terminal().output => Format::Table,
        None => Format::Ndjson,
    };
    let node = session.node()?;
    session.set_staying();
    let news = node.names().watch(&name);
    let mut watch = Watch {
        subject,
        id,
        name,
        news,
        interval: args.interval.0,
        // What comes with the first pull of a dataset is not news.
        printed: Printed::of(before.as_ref().unwrap_or(&dataset)),
        flow: Flow::new(format),
        // There may have been more by the end of the pull.
        taken: None,
    };
    io.say(format_args!(
        "{} has {} row(s); more are printed as they arrive, until Ctrl-C",
        dataset.name()?,
        output::count(dataset.state().next_offset())
    ));
    let done = watch
        .begin(format, &dataset, io)
        .and_then(|()| watch.go_on(node, session, io));
    let ended = watch.flow.end(io);
    match done {
        Err(failure) if io.cancel().is_set() && failure.kind() != Kind::PipeClosed => ended,
        done => done.and(ended),
    }
}

/// What a name stands for, as far as it is known here.
async fn value(node: &Node, name: &Name) -> Result<Option<String>, Failure> {
    Ok(node.names().status(name).await?.and_then(|status| status.value))
}

/// Why it was waited for no longer.
enum Woken {
    /// The name stands for something else.
    Heard,
    /// It is time to ask.
    Due,
    /// The process ends.
    Ending,
}

struct Watch {
    subject: Subject,
    id: DatasetId,
    name: Name,
    /// Says that something better is known of the name.
    news: ipns::Watch,
    interval: Duration,
    printed: Printed,
    flow: Flow,
    /// What the name stood for when the rows came that are here.
    taken: Option<String>,
}

impl Watch {
    /// Writes the columns where a program that reads the rows needs them first.
    fn begin(&mut self, format: Format, dataset: &Dataset, io: &mut Io) -> Result<(), Failure> {
        if format != Format::Csv {
            return Ok(());
        }
        let Some(newest) = dataset.newest(0, 0)? else {
            return Ok(());
        };
        let nothing = RecordBatch::new_empty(newest.schema().clone());
        self.flow
            .write(newest.schema(), std::iter::once(Ok::<_, Failure>(nothing)), io)
    }

    /// Prints what arrives. Ends with a failure, or when the user wants that.
    fn go_on(&mut self, node: &Node, session: &Session, io: &mut Io) -> Result<(), Failure> {
        let mut due = Instant::now() + about(self.interval);
        // Since when, and for how long, what was heard is left alone.
        let (mut rest, mut after) = (RETRY[0], Instant::now());
        let mut told = None;
        loop {
            self.print(session, io)?;
            match session.wait(io, self.wait(node, session, due, after))? {
                Woken::Heard => {}
                Woken::Due => {
                    due = Instant::now() + about(self.interval);
                    let unasked = match session.wait(io, self.ask(node)) {
                        Ok(unasked) => unasked.then(|| "nobody can be asked for news at the moment".to_owned()),
                        Err(failure) if is_passing(&failure) => Some(failure.message().to_owned()),
                        Err(failure) => return Err(failure),
                    };
                    tell(&mut told, unasked, io);
                    continue;
                }
                Woken::Ending => {
                    return Err(Failure::new(
                        Kind::Busy,
                        "the process that has the workspace open ends, and this command worked through it",
                    )
                    .next("run the command again; rows that come meanwhile are printed then"));
                }
            }
            let known = session.wait(io, value(node, &self.name))?;
            match session.wait(io, bring(&self.subject, true, session)) {
                Ok(_) => {
                    self.taken = known;
                    rest = RETRY[0];
                    tell(&mut told, None, io);
                }
                Err(failure) if is_passing(&failure) => {
                    after = Instant::now() + rest;
                    rest = (rest * 2).min(RETRY[1]);
                    tell(&mut told, Some(failure.message().to_owned()), io);
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Asks what the name stands for, until something is heard. Whether nobody could be asked.
    async fn ask(&mut self, node: &Node) -> Result<bool, Failure> {
        let name = self.name;
        tokio::select! {
            resolved = node.names().resolve(&name, Freshness::Network) => {
                Ok(matches!(resolved?.source, Origin::Cache { .. }))
            }
            heard = self.heard(node) => heard.map(|()| false),
        }
    }

    /// Waits until the name stands for something else than what is here.
    async fn heard(&mut self, node: &Node) -> Result<(), Failure> {
        while value(node, &self.name).await? == self.taken {
            if !self.news.changed().await {
                // The peer has stopped, and so will this.
                std::future::pending::<()>().await;
            }
        }
        Ok(())
    }

    /// Prints the rows that are here and were not printed.
    fn print(&mut self, session: &Session, io: &mut Io) -> Result<(), Failure> {
        let dataset = open(&self.id, session)?;
        if *dataset.head() == self.printed.head {
            return Ok(());
        }
        if !self.printed.is_before(&dataset)? {
            io.warn(format_args!(
                "the history of {0} was written again, and the rows that were printed may not be in it any more: `odfs export {0} -` \
                 writes those that hold; newer ones follow here",
                dataset.name()?
            ));
            self.printed = Printed::of(&dataset);
            return Ok(());
        }
        let count = dataset.state().next_offset().saturating_sub(self.printed.rows);
        if count > 0
            && let Some(newest) = dataset.newest(count, 0)?
        {
            self.flow.write(&newest.schema().clone(), newest, io)?;
        }
        self.printed = Printed::of(&dataset);
        Ok(())
    }

    /// Waits until there is something to do.
    async fn wait(&mut self, node: &Node, session: &Session, due: Instant, after: Instant) -> Result<Woken, Failure> {
        let heard = async {
            tokio::time::sleep_until(after).await;
            self.heard(node).await
        };
        tokio::select! {
            () = session.ending().wait() => Ok(Woken::Ending),
            heard = heard => heard.map(|()| Woken::Heard),
            () = tokio::time::sleep_until(due) => Ok(Woken::Due),
        }
    }
}

/// Says what is in the way, once, and that it is not any more.
fn tell(told: &mut Option<String>, now: Option<String>, io: &mut Io) {
    if *told == now {
        return;
    }
    match &now {
        Some(reason) => io.warn(format_args!("{reason}; it is asked again from time to time")),
        None => io.say("it is reached again"),
    }
    *told = now;
}
