//! Datasets of a query that are not here: who has them, and how much of them came.

use std::collections::HashMap;
use std::time::Instant;

use odf::pull::{Address, OnDemand};
use odf::select::Query;
use odf::ticket::Ticket;
use odf_node::PeerId;
use odf_node::fetch::Fetcher;
use odf_node::ipns::Freshness;

use crate::commands::contact::meet;
use crate::failure::Failure;
use crate::io::{Io, Step};
use crate::output;
use crate::session::Session;

/// The datasets of queries that are not here.
#[derive(Default)]
pub(super) struct Elsewhere {
    /// By what a query calls them.
    pub(super) tables: HashMap<String, OnDemand>,
    /// What brings them; none if there are none.
    pub(super) fetcher: Option<Fetcher>,
    /// Bytes of all their slices.
    bytes: u64,
}

/// What a text leads to, if it is meant as an address.
pub(super) struct Place {
    pub(super) address: Address,
    ticket: Option<Ticket>,
}

impl Place {
    /// What is written as an address. An id that is also one of a dataset here is the name of that.
    pub(super) fn of(text: &str, session: &Session) -> Result<Option<Self>, Failure> {
        if Ticket::is_meant(text) {
            return Ok(text.parse::<Ticket>().ok().map(|ticket| Self {
                address: ticket.address().clone(),
                ticket: Some(ticket),
            }));
        }
        let is_written_out = ["ipns://", "ipfs://", "did:odf:", "k51", "bafy"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        let address = text.parse::<Address>().ok().filter(|_| is_written_out);
        if text.contains("://") {
            return Ok(address.map(|address| Self { address, ticket: None }));
        }
        match address {
            Some(address) if session.workspace()?.catalog().find_entry(text).is_err() => {
                Ok(Some(Self { address, ticket: None }))
            }
            _ => Ok(None),
        }
    }
}

impl Elsewhere {
    /// Finds the datasets that queries name by their address.
    ///
    /// # Errors
    /// One of them cannot be found, or its chain is not in order.
    pub(super) fn find(queries: &[Query], peers: &[PeerId], session: &Session, io: &mut Io) -> Result<Self, Failure> {
        let mut found = Self::default();
        for text in queries.iter().flat_map(Query::mentions) {
            if let Some(place) = Place::of(&text, session)? {
                found.open(&text, &place, peers, session, io)?;
            }
        }
        Ok(found)
    }

    /// Whether there are any.
    pub(super) fn is_some(&self) -> bool {
        self.fetcher.is_some()
    }

    /// Finds one of them, unless that was done.
    pub(super) fn open(
        &mut self,
        text: &str,
        place: &Place,
        peers: &[PeerId],
        session: &Session,
        io: &mut Io,
    ) -> Result<(), Failure> {
        if self.tables.contains_key(text) {
            return Ok(());
        }
        let met = match &place.ticket {
            Some(ticket) => meet(ticket, session, io)?,
            None => None,
        };
        let (workspace, node, address) = (session.workspace()?, session.node()?, &place.address);
        let fetcher = self
            .fetcher
            .get_or_insert_with(|| Fetcher::new(workspace.store().clone(), Some(node.exchange().session())));
        if let Some(exchange) = fetcher.session() {
            peers.iter().chain(&met).for_each(|peer| exchange.add_provider(*peer));
        }
        io.progress().show(|| Step {
            text: format!("looking for {address}"),
            ..Step::default()
        });
        let freshness = match met {
            Some(_) => Freshness::Near,
            None => Freshness::Network,
        };
        let found = session.wait(io, async {
            let found = OnDemand::at(workspace.local(), node, fetcher, address, freshness).await;
            found.map_err(|error| Failure::of_pull(error, &address.to_string()))
        })?;
        let sizes = found.chain().slices.iter().map(|slice| slice.size);
        self.bytes = self.bytes.saturating_add(sizes.fold(0, u64::saturating_add));
        self.tables.insert(text.to_owned(), found);
        Ok(())
    }

    /// Says how much came, of how much there is.
    pub(super) fn report(&self, began: Instant, io: &mut Io) {
        let Some(fetcher) = &self.fetcher else { return };
        let (fetched, took) = (fetcher.fetched(), output::duration(began.elapsed()));
        let blocks = output::count(fetched.blocks);
        match io.in_terms() {
            true => io.say(format_args!(
                "{} of {} bytes fetched, {blocks} block(s), in {took}",
                fetched.bytes, self.bytes
            )),
            false => io.say(format_args!(
                "{} of {} fetched, {blocks} block(s), in {took}",
                output::bytes(fetched.bytes),
                output::bytes(self.bytes)
            )),
        }
    }
}
