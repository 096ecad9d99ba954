//! `odfs sql`: questions to datasets.

mod cite;
mod elsewhere;
mod engine;
pub(super) mod replay;
mod rows;
mod shell;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::time::Instant;

use clap::Args;
use odf::select::Query;
use odf::sql::MAX_QUERY_BYTES;
use odf::tables::WorkspaceTables;
use url::Url;

use super::dial::dial;
use super::input;
use crate::failure::Failure;
use crate::io::Io;
use crate::output;
use crate::session::Session;
use elsewhere::Elsewhere;
use engine::{batches, engine, failed, processors};
use rows::RowFormat;

/// From so many bytes on it is said before how much may have to be fetched.
const MUCH: u64 = 64 << 20;

/// Ask datasets questions in SQL
///
/// Each dataset here is a table by its name, in quotes if it has other signs than letters, digits, `_` and dots; one that is not
/// here by its address. Its rows are there as they came, with the columns that say how. `"name@POINT"` or
/// `as_of('name', 'POINT')` is the dataset as it was at a block (its number or hash) or a time; `to_table('name')` has the rows
/// that hold now, with corrections and retractions applied, and `to_table('name', 'POINT')` those that held then. Queries only
/// read.
#[derive(Args, Debug)]
pub(crate) struct SqlArgs {
    /// The query, or several with semicolons between them; `-` reads them from standard input. Without one a shell begins on a
    /// terminal, and elsewhere they are read from standard input
    query: Option<String>,
    /// As QUERY
    #[arg(short, long, value_name = "QUERY", conflicts_with = "query")]
    command: Option<String>,
    /// Read the queries from a file
    #[arg(short, long, value_name = "FILE", visible_alias = "script", conflicts_with_all = ["query", "command"])]
    file: Option<String>,
    /// Show how the query would be run, in place of its rows
    #[arg(long)]
    explain: bool,
    /// Address of a peer to ask for datasets that are not here, ending in /p2p/ID; may be repeated
    #[arg(long = "peer", value_name = "MULTIADDR")]
    peers: Vec<String>,
    /// Trustless gateway to ask for them over HTTP as well; may be repeated. Everything that comes is checked
    #[arg(long = "gateway", value_name = "URL")]
    gateways: Vec<Url>,
    /// Write a file that anybody can ask again, without a network: the query, what its datasets were called by their owners,
    /// and those of their blocks that it needed; `odfs replay FILE` does that. The datasets must be published
    #[arg(long, value_name = "FILE", conflicts_with = "explain")]
    cite: Option<String>,
    /// Write over such a file that is there
    #[arg(long, requires = "cite")]
    force: bool,
    /// Form of the rows [default: table on a terminal, json otherwise]
    #[arg(short, long, value_name = "FORMAT", alias = "output-format")]
    output: Option<RowFormat>,
}

impl SqlArgs {
    /// Whether statements are to be typed at a terminal.
    pub(super) fn is_shell(&self) -> bool {
        let named = self.query.is_some() || self.command.is_some() || self.file.is_some();
        !named && std::io::stdin().is_terminal()
    }

    /// The queries.
    fn queries(&self, session: &Session, io: &mut Io) -> Result<Vec<Query>, Failure> {
        let limit = MAX_QUERY_BYTES as u64;
        let text = match (self.query.as_deref().or(self.command.as_deref()), &self.file) {
            (Some("-"), _) | (None, None) => input::read_text("-", limit, io)?,
            (Some(query), _) => query.to_owned(),
            (None, Some(file)) => input::read_text(file, limit, io)?,
        };
        let queries = Query::all(&text).map_err(|error| failed(error, session))?;
        if queries.is_empty() {
            return Err(Failure::usage("there is no query")
                .next("`odfs sql 'select * from \"NAME\" limit 10'` shows rows of a dataset"));
        }
        Ok(match self.explain {
            true => {
                let explained: Result<_, _> = queries.into_iter().map(Query::explained).collect();
                explained.map_err(|error| failed(error, session))?
            }
            false => queries,
        })
    }
}

/// Has statements typed at a terminal.
pub(super) fn run_anywhere(args: &SqlArgs, io: &mut Io) -> Result<(), Failure> {
    let mut passed_on = Vec::new();
    let peers = args.peers.iter().map(|peer| ("--peer", peer.clone()));
    let gateways = args.gateways.iter().map(|url| ("--gateway", url.to_string()));
    for (name, value) in peers.chain(gateways) {
        passed_on.extend([OsString::from(name), OsString::from(value)]);
    }
    if args.explain {
        passed_on.push("--explain".into());
    }
    shell::run(passed_on, io)
}

pub(super) fn run(args: &SqlArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let began = Instant::now();
    let queries = args.queries(session, io)?;
    let format = args.output.unwrap_or_else(|| RowFormat::usual(io));
    if queries.len() > 1 && (!format.is_text() || args.cite.is_some()) {
        return Err(Failure::usage("rows of several queries are not one file").next("ask one query at a time"));
    }
    let peers = match args.peers.is_empty() {
        true => Vec::new(),
        false => dial(&args.peers, session, io)?,
    };
    let _gateways = match args.gateways.is_empty() {
        true => None,
        false => Some(session.node()?.exchange().gateways().add(&args.gateways)?),
    };
    // Nothing of what is fetched is collected before it is read.
    let _hold = session.workspace()?.store().hold();
    if let (Some(file), [query]) = (&args.cite, &queries[..]) {
        return cite::write(query, file, args.force, format, &peers, session, io);
    }
    let elsewhere = Elsewhere::find(&queries, &peers, session, io)?;
    let tables = WorkspaceTables {
        workspace: session.workspace()?.clone(),
        elsewhere: elsewhere.tables.clone(),
        by_blocks: false,
    };
    let engine = engine(tables, processors(), io.now()?, session)?;
    for query in queries {
        let answer = engine.select(&query).map_err(|error| failed(error, session))?;
        let wanted = engine.read().wanted();
        if elsewhere.is_some() && wanted >= MUCH {
            io.say(format_args!("up to {} may have to be fetched", output::bytes(wanted)));
        }
        let schema = answer.schema().clone();
        rows::write(&schema, batches(answer, session, io), format, io)?;
    }
    elsewhere.report(began, io);
    Ok(())
}
