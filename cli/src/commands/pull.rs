//! `odfs pull`: brings datasets up to date, each in the way it has. One file a way; here is what they share.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use odf::dataset::{Dataset, DatasetName};
use odf::metadata::{DatasetId, Timestamp};
use url::Url;

use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output::Format;
use crate::session::Session;
use crate::settings::duration::duration_of;

mod beside;
mod history;
mod network;
pub(in crate::commands) mod news;
mod plan;
mod rebase;
mod report;
mod repository;
mod run;
mod source;
mod transform;
mod watch;
mod watermark;
mod workspace;

pub(super) use history::history;
pub(super) use network::carried;
pub(super) use run::run;

/// The shortest time between two questions: peers answer out of kindness.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Bring datasets up to date: from where they were pulled, from their sources, or from their inputs
///
/// An address is looked up on the network, and what is new comes here. A dataset that is here is brought up to date in
/// its own way: one that was pulled goes on from there, one with a polling source asks it, a derivative one is computed.
/// What is here already is not fetched again, also after an interruption.
#[derive(Args, Debug, Default)]
pub(crate) struct PullArgs {
    /// What to pull: datasets that are here, by name, id or a pattern with %, tickets (`odfs ticket`), or addresses: ipns://K,
    /// ipfs://CID, K, did:odf:…, file:///DIRECTORY, http(s)://HOST/PATH, odf+http(s)://HOST/PATH, REPOSITORY/DATASET
    #[arg(required_unless_present_any = ["all", "from_workspace"])]
    targets: Vec<String>,
    /// Bring every dataset up to date that has a way
    #[arg(short, long, conflicts_with_all = ["targets", "name"])]
    all: bool,
    /// Before a derivative dataset, bring up to date what it is computed from
    #[arg(short, long)]
    recursive: bool,
    /// Name for the dataset here [default: the last part of the address]. Where the dataset is here under another name with
    /// a history that went another way, the other history comes beside it under this name, as a copy to be looked at
    #[arg(long = "as", value_name = "NAME", overrides_with = "name")]
    name: Option<DatasetName>,
    /// Do not remember where the dataset is from
    #[arg(long)]
    no_alias: bool,
    /// Make the local dataset like the one it is pulled from, also if it is ahead or went another way: local blocks that
    /// the other lacks are dropped, after it was said how many they are, and asked; without a terminal --yes is needed
    #[arg(short, long)]
    force: bool,
    /// Where the local dataset went another way: put what was done here behind what was done there, rows by their primary
    /// key. What both sides changed, and not alike, is named, and nothing is changed then
    #[arg(long, conflicts_with_all = ["force", "all", "recursive", "name", "no_alias"])]
    rebase: bool,
    /// Ask sources that cannot say whether there is something new, and take all they have
    #[arg(long)]
    fetch_uncacheable: bool,
    /// Let a source without rows retract every row of a dataset that takes snapshots of it
    #[arg(long)]
    allow_empty: bool,
    /// Ask no source, but say that all rows up to this time (RFC 3339) are there
    #[arg(long, value_name = "TIME", conflicts_with_all = ["all", "recursive", "name", "fetch_uncacheable"])]
    set_watermark: Option<Timestamp>,
    /// Ask nobody: say of what time that is which is here, and compute what is computed from it
    #[arg(long, conflicts_with_all = ["force", "fetch_uncacheable", "peers", "gateways", "from_workspace", "set_watermark", "rebase"])]
    offline: bool,
    /// Drop the rows of a derivative dataset and compute all anew if the history of an input was rewritten
    #[arg(long)]
    reset_derivatives_on_diverged_input: bool,
    /// Take datasets out of a workspace of kamu, which is only read: those that are named, or all
    #[arg(long, value_name = "DIRECTORY", conflicts_with_all = ["all", "recursive", "set_watermark", "peers", "rebase"])]
    from_workspace: Option<PathBuf>,
    /// Address of a peer to ask, ending in /p2p/ID; may be repeated
    #[arg(long = "peer", value_name = "MULTIADDR")]
    peers: Vec<String>,
    /// Trustless gateway to ask over HTTP as well, such as `https://gateway.example`; may be repeated. Everything that comes is
    /// checked; network.gateways has those that are always asked
    #[arg(long = "gateway", value_name = "URL")]
    gateways: Vec<Url>,
    /// Stay, and print the rows that are new as they arrive, until Ctrl-C. Needs the name of one dataset. What a pull tells
    /// goes where messages go
    #[arg(long, conflicts_with_all = [
        "all", "recursive", "no_alias", "force", "rebase", "fetch_uncacheable", "allow_empty", "set_watermark", "offline",
        "reset_derivatives_on_diverged_input", "from_workspace",
    ])]
    watch: bool,
    /// How often --watch asks for news that nobody told it of, such as 10s or 5m
    #[arg(long, value_name = "TIME", requires = "watch", default_value = "30s", value_parser = interval)]
    interval: Interval,
    /// Form of the result [default: text], or of the rows that --watch prints [default: table on a terminal, ndjson otherwise]
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<PullFormat>,
}

impl PullArgs {
    /// Whether the command goes on until it is told to stop.
    pub(crate) fn stays(&self) -> bool {
        self.watch
    }
}

/// The form of what a pull tells, or of the rows that it prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PullFormat {
    /// For people
    Text,
    /// One JSON object for each dataset; with --watch an array of rows, which ends with the command
    Json,
    /// Rows in columns for people; only with --watch
    Table,
    /// Rows as one JSON object a line; only with --watch
    Ndjson,
    /// Rows as comma-separated values with a header; only with --watch
    Csv,
}

impl PullFormat {
    /// The form of rows.
    fn of_rows(self) -> Format {
        match self {
            Self::Text | Self::Table => Format::Table,
            Self::Json => Format::Json,
            Self::Ndjson => Format::Ndjson,
            Self::Csv => Format::Csv,
        }
    }
}

/// A time between two questions.
#[derive(Clone, Copy, Debug)]
struct Interval(Duration);

impl Default for Interval {
    fn default() -> Self {
        Self(Duration::from_secs(30))
    }
}

fn interval(text: &str) -> Result<Interval, String> {
    let time = duration_of(text).filter(|time| *time >= MIN_INTERVAL);
    time.map(Interval)
        .ok_or_else(|| "a time of a second or more is expected, such as 10s or 5m".to_owned())
}

/// How many datasets came to what.
#[derive(Default)]
struct Tally {
    updated: usize,
    current: usize,
    /// Nobody could be asked, or was to be.
    unasked: usize,
    /// What is here and what is there do not go together, and somebody has to say which holds.
    undecided: usize,
}

impl Tally {
    fn count(&mut self, updated: bool) {
        if updated {
            self.updated += 1;
        } else {
            self.current += 1;
        }
    }

    fn tell(&self, io: &mut Io) {
        let counts = [
            (self.updated, "updated"),
            (self.current, "up-to-date"),
            (self.unasked, "without an answer"),
            (self.undecided, "left as they were, for somebody to decide"),
        ];
        for (count, what) in counts {
            if count > 0 {
                io.say(format_args!("{count} dataset(s) {what}"));
            }
        }
    }
}

/// The dataset as it is now.
fn open(id: &DatasetId, session: &Session) -> Result<Dataset, Failure> {
    let dataset = session.workspace()?.catalog().by_id(id)?;
    dataset.ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("the dataset {id} is not here any more"))
            .next("`odfs list` shows the datasets that are here")
    })
}
