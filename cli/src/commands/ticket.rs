//! `odfs ticket`

mod qr;

use clap::Args;
use odf::dataset::{Dataset, DatasetName};
use odf::pull::{Address, name_of};
use odf::ticket::Ticket;
use odf_node::address::{Reach, reach};
use odf_node::ipns;

use super::announce::{ReportArgs, ReportFormat};
use super::contact;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::session::Session;

/// Print one word by which another machine pulls a dataset from this one
///
/// It holds the name of the dataset and the addresses at which the node here can be reached, so that `odfs pull TICKET` finds
/// both where nothing else would: without the public network, and without a name server. It is no key and holds no secret, but
/// whoever reads it learns these addresses. Who made it does not matter: what comes is checked against the name. Addresses
/// change; a new ticket has those of now.
#[derive(Args, Debug)]
pub(crate) struct TicketArgs {
    /// Name or id of a dataset that was published here, or pulled from elsewhere
    dataset: String,
    /// Draw it as a QR code too
    #[arg(long)]
    qr: bool,
    #[command(flatten)]
    report: ReportArgs,
}

pub(super) fn run(args: &TicketArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let as_json = args.report.output == ReportFormat::Json;
    if args.qr && as_json {
        return Err(Failure::usage("--qr draws for people, and -o json is for programs").next("leave one of them out"));
    }
    let dataset = session.workspace()?.catalog().find(&args.dataset)?;
    let name = dataset.name()?;
    let address = address_of(&dataset, session)?;
    let node = session.running_node().filter(|_| session.is_lasting());
    let contact = match node {
        Some(node) => contact::here(node),
        None => contact::later(session)?,
    };
    if contact.addresses.is_empty() {
        return Err(nobody_there(&name, node.is_some()));
    }
    let best = contact.addresses.iter().map(reach).max();
    let ticket = Ticket::new(&address, Some(&name), vec![contact])?;
    if as_json {
        let contacts = ticket.contacts().iter();
        let addresses = contacts.flat_map(|contact| {
            contact
                .addresses
                .iter()
                .map(move |at| format!("{at}/p2p/{}", contact.peer))
        });
        return io.object(&serde_json::json!({
            "dataset": name.as_str(),
            "id": dataset.id().to_string(),
            "ticket": ticket.to_string(),
            "from": address.to_string(),
            "addresses": addresses.collect::<Vec<_>>(),
            "running": node.is_some(),
        }));
    }
    io.line(&ticket)?;
    if args.qr {
        draw(&ticket, io)?;
    }
    let from = match best {
        Some(Reach::Public) => "other machines",
        Some(Reach::Private) => "machines on the same local network",
        _ => "this machine alone, as network.listen has no other address",
    };
    match node {
        Some(_) => io.say(format_args!(
            "`odfs pull TICKET` gets {name} from here, on {from}, while the node runs"
        )),
        None => io.say(format_args!(
            "Nobody serves {name} until `odfs node` runs here; then `odfs pull TICKET` gets it, on {from}"
        )),
    }
    Ok(())
}

fn nobody_there(name: &DatasetName, is_running: bool) -> Failure {
    let why = match is_running {
        true => format!("the node here listens on no address, so a ticket for {name} would lead to nobody"),
        false => format!("no node runs here, so a ticket for {name} would lead to nobody"),
    };
    Failure::new(Kind::Unreachable, why).next(match is_running {
        true => "`odfs config set network.listen`, without a value, has it listen as usual from its next start on",
        false => {
            "start `odfs node`, and run the command again while it runs; or give it a fixed address: `odfs config set \
             network.listen '[\"/ip4/ADDRESS/tcp/4001\"]'`"
        }
    })
}

/// By what others find a dataset that is here: the name that is published or followed here, else the content that it was
/// pulled as.
pub(super) fn address_of(dataset: &Dataset, session: &Session) -> Result<Address, Failure> {
    let store = session.workspace()?.store();
    let aliases = dataset.remote_aliases()?;
    let places = aliases.push_aliases.iter().chain(&aliases.pull_aliases);
    let mut addresses: Vec<Address> = name_of(&dataset.id()).map(Address::Name).into_iter().collect();
    addresses.extend(places.filter_map(|place| place.parse().ok()));
    for address in &addresses {
        let status = match address.name() {
            Some(name) => ipns::status(store, name)?,
            None => None,
        };
        if status.is_some_and(|status| (status.own || status.followed) && !status.withdrawn) {
            return Ok(address.clone());
        }
    }
    let root = addresses
        .into_iter()
        .find(|address| matches!(address, Address::Root { path, .. } if path.is_empty()));
    let name = dataset.name()?;
    root.ok_or_else(|| {
        Failure::new(
            Kind::NotFound,
            format!("{name} is not published from here, so there is no name by which others could get it"),
        )
        .next(format!(
            "`odfs push {name}` publishes it: whoever knows the name or has a ticket can have all rows of it then"
        ))
    })
}

fn draw(ticket: &Ticket, io: &mut Io) -> Result<(), Failure> {
    let (terminal, text) = (io.terminal(), ticket.to_string());
    // A file or a pipe has no width that it would have to fit.
    let width = terminal.output.then_some(usize::from(terminal.width));
    match qr::draw(&text, width, terminal.output) {
        Ok(drawn) => io.write(drawn.as_bytes()),
        Err(qr::TooWide { columns }) => {
            io.warn(format_args!(
                "The QR code needs {columns} columns, and the terminal has {}: make it wider, or its letters smaller",
                terminal.width
            ));
            Ok(())
        }
    }
}
