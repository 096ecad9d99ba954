//! An answer that can be cited: `odfs sql --cite FILE`.

use std::collections::HashMap;

use odf::citation::{Citation, Cited};
use odf::digest::LogicalHasher;
use odf::metadata::Multihash;
use odf::pull::{OnDemand, id_of};
use odf::select::{self, Query};
use odf::tables::WorkspaceTables;
use odf_node::fetch::Fetcher;
use odf_node::ipns::{self, Name};
use odf_node::{PeerId, store::Blocks as _};

use super::elsewhere::{Elsewhere, Place};
use super::engine::{batches, engine, failed};
use super::rows::{self, RowFormat};
use crate::commands::car::Sink;
use crate::commands::ticket::address_of;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output;
use crate::session::Session;

/// What answers, in citations.
pub(super) fn answerer() -> String {
    format!("{} in odfs {}", select::engine(), env!("CARGO_PKG_VERSION"))
}

/// Answers a query, and writes what it takes to ask it again to a file.
///
/// One thread answers, so that the order of rows and of sums is the same the next time.
#[allow(clippy::too_many_arguments)]
pub(super) fn write(
    query: &Query,
    file: &str,
    force: bool,
    format: RowFormat,
    peers: &[PeerId],
    session: &Session,
    io: &mut Io,
) -> Result<(), Failure> {
    let mut sink = Sink::open(file, force, io)?;
    let now = io.now()?;
    let (mut named, mut elsewhere) = (Vec::new(), Elsewhere::default());
    for text in query.mentions() {
        if named.iter().all(|(known, _)| *known != text)
            && let Some(name) = name_of(&text, &mut elsewhere, peers, session, io)?
        {
            named.push((text, name));
        }
    }
    let exchange = elsewhere
        .fetcher
        .as_ref()
        .and_then(|fetcher| fetcher.session().cloned());
    let store = session.workspace()?.store();
    let fetcher = Fetcher::new(store.clone(), exchange).recording();
    let (mut tables, mut cited) = (HashMap::new(), Vec::new());
    for (text, name) in named {
        let record = ipns::record(store, &name)?.ok_or_else(|| unsigned(&text))?;
        let found = Cited::new(text.clone(), record, Multihash::sha3_256(b""))?;
        let (local, place) = (session.workspace()?.local(), name.to_string());
        let far = session.wait(io, OnDemand::below(local, &fetcher, found.root, place, id_of(&name)))?;
        cited.push(Cited {
            head: far.chain().state.head,
            ..found
        });
        tables.insert(text, far);
    }
    let tables = WorkspaceTables {
        workspace: session.workspace()?.clone(),
        elsewhere: tables,
        by_blocks: true,
    };
    let engine = engine(tables, 1, now, session)?;
    let answer = engine.select(query).map_err(|error| failed(error, session))?;
    let schema = answer.schema().clone();
    let (mut hasher, mut count) = (LogicalHasher::new(&schema)?, 0);
    let hashed = batches(answer, session, io).map(|batch| {
        let batch = batch?;
        hasher.update(&batch)?;
        count += batch.num_rows() as u64;
        Ok(batch)
    });
    rows::write(&schema, hashed, format, io)?;
    let citation = Citation {
        query: query.to_string(),
        time: now,
        engine: answerer(),
        rows: count,
        result: hasher.finish(),
        datasets: cited,
    };
    let looked_into = fetcher.recorded();
    let blocks = looked_into.iter().map(|cid| {
        let block = store.get(cid)?;
        block.ok_or_else(|| {
            Failure::new(
                Kind::DiskFull,
                format!("the block {cid} was read and is not here any more"),
            )
            .next("make room: `odfs config get store.max`, and ask again")
        })
    });
    let written = sink.write_these(&citation.block()?, blocks, io)?;
    sink.finish(io)?;
    io.say(format_args!(
        "{file}: the answer, and the {} block(s) of {} that it came from; `odfs replay {file}` asks again, anywhere",
        output::count(written.blocks - 1),
        output::bytes(written.bytes)
    ));
    for cited in &citation.datasets {
        io.say(format_args!(
            "  {} is {}, at {}",
            cited.table,
            cited.record.name(),
            cited.head
        ));
    }
    Ok(())
}

/// The name by which the owner signed the dataset that a text names, if it names one. The record of it is remembered.
fn name_of(
    text: &str,
    elsewhere: &mut Elsewhere,
    peers: &[PeerId],
    session: &Session,
    io: &mut Io,
) -> Result<Option<Name>, Failure> {
    let address = match Place::of(text, session)? {
        Some(place) => {
            elsewhere.open(text, &place, peers, session, io)?;
            place.address
        }
        None => match session.workspace()?.catalog().find(text) {
            Ok(dataset) => address_of(&dataset, session)?,
            // A text that is none.
            Err(_) => return Ok(None),
        },
    };
    let name = address.name().copied().ok_or_else(|| unsigned(text))?;
    Ok(Some(name))
}

fn unsigned(text: &str) -> Failure {
    Failure::new(
        Kind::NotFound,
        format!("{text} is known by its content alone: nobody signed a name for it that could be cited"),
    )
    .next("publish it (`odfs push`), or name it by its owner's name, and ask again")
}
