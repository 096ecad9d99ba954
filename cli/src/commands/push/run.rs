//! From the arguments to where the push goes.

use odf::dataset::Dataset;
use odf::ingest::Effect;
use odf::place::Place;
use odf::pull::Address;
use odf_node::ipns::Name;
use odf_node::keystore::Keypair;

use super::{PushArgs, remember, repository};
use crate::commands::announce::Announcement;
use crate::commands::publish::own_key;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::session::Session;

/// Where a push goes.
enum Target {
    /// To a name on IPFS, by the key behind it.
    Name(Keypair),
    /// To a repository.
    Repository(Place),
}

pub(in crate::commands) fn run(args: &PushArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let mut dataset = session.workspace()?.catalog().find(&args.dataset)?;
    let target = match &args.to {
        Some(to) => target(to, &dataset, session)?,
        None => match dataset.remote_aliases()?.push_aliases.as_slice() {
            [] => Target::Name(own_key(&dataset, session)?),
            [only] => target(only, &dataset, session)?,
            several => {
                return Err(Failure::new(
                    Kind::Refused,
                    format!("{} is pushed to {}", args.dataset, several.join(", ")),
                )
                .next("choose one with --to"));
            }
        },
    };
    match target {
        Target::Name(key) => {
            let _turn = session.turn(&mut dataset, io)?;
            announce(&dataset, &key, args, session, io)
        }
        Target::Repository(place) => repository::push(&dataset, &place, args, session, io),
    }
}

fn announce(dataset: &Dataset, key: &Keypair, args: &PushArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let announcement = Announcement::make(session, dataset, key, args.force, session.is_lasting(), io)?;
    if args.to.is_some() && !args.no_alias {
        let name = Name::from_public_key(&key.public());
        remember(dataset, &Place::Ipfs(Address::Name(name)), session)?;
    }
    announcement.report(dataset, None, &Effect::default(), None, args.report, session, io)
}

/// What the text after `--to`, or an alias, stands for.
fn target(text: &str, dataset: &Dataset, session: &Session) -> Result<Target, Failure> {
    if text.starts_with("ipns://") || text.starts_with("ipfs://") {
        return key_of(text, session).map(Target::Name);
    }
    match session.repositories().resolve_target(text, &dataset.name()?)? {
        Place::Ipfs(address) => key_of(&address.to_string(), session).map(Target::Name),
        place => Ok(Target::Repository(place)),
    }
}

/// The key behind `ipns://K`.
fn key_of(to: &str, session: &Session) -> Result<Keypair, Failure> {
    if to.starts_with("ipfs://") {
        return Err(Failure::usage(format!("{to} is content, which a push cannot change"))
            .next("push to a name: ipns://KEY, where KEY is the id of a key (`odfs key list`)"));
    }
    let text = to.strip_prefix("ipns://").unwrap_or(to).trim_end_matches('/');
    if text.contains('/') {
        return Err(Failure::usage(format!("{to} has a path; a name holds one dataset")).next("push to ipns://KEY"));
    }
    let name: Name = text
        .parse()
        .map_err(|error| Failure::usage(format!("{to:?} is no IPNS name: {error}")))?;
    session.keys()?.find(&name.peer_id(), &[]).ok_or_else(|| {
        Failure::new(
            Kind::NotFound,
            format!("the private key of {name} is not in this workspace"),
        )
        .next("`odfs key list` shows the keys that are, `odfs key gen NAME` makes one")
    })
}
