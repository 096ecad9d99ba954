//! `odfs push`

use clap::Args;
use odf::dataset::Dataset;
use odf_node::ipns::Name;
use odf_node::keystore::Keypair;

use super::announce::{Announcement, ReportArgs};
use super::publish::own_key;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::session::Session;

/// Announce the head of a dataset under its name, or under another key
///
/// Nothing is appended. Others can fetch the dataset while a peer serves it: keep `odfs node` running here, or let
/// somebody pull it.
#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// Name or id of the dataset
    dataset: String,
    /// Name to publish under, ipns://K, of a key in this workspace [default: where it was pushed last, else its own]
    #[arg(long, value_name = "ipns://K")]
    to: Option<String>,
    /// Do not remember --to for the next push
    #[arg(long)]
    no_alias: bool,
    /// Move the name even if it stands for something that is not part of the dataset's history
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    report: ReportArgs,
}

pub(super) fn run(args: &PushArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let dataset = session.workspace()?.catalog().find(&args.dataset)?;
    let key = match &args.to {
        Some(to) => key_of(to, session)?,
        None => match dataset.remote_aliases()?.push_aliases.as_slice() {
            [] => own_key(&dataset, session)?,
            [only] => key_of(only, session)?,
            several => {
                return Err(Failure::new(
                    Kind::Refused,
                    format!("{} is pushed to {}", args.dataset, several.join(", ")),
                )
                .next("choose one with --to"));
            }
        },
    };
    let announcement = Announcement::make(session, &dataset, &key, args.force, session.is_lasting(), io)?;
    if args.to.is_some() && !args.no_alias {
        remember(&dataset, &Name::from_public_key(&key.public()))?;
    }
    announcement.report(&dataset, None, args.report, session, io)?;
    if !session.is_lasting() {
        io.say("This process ends now; `odfs node` keeps the dataset within reach of others.");
    }
    Ok(())
}

/// The key behind `ipns://K`.
fn key_of(to: &str, session: &Session) -> Result<Keypair, Failure> {
    if to.starts_with("ipfs://") {
        return Err(Failure::usage(format!("{to} is content, which a push cannot change"))
            .next("push to a name: ipns://K, where K is the id of a key (`odfs key list`)"));
    }
    let text = to.strip_prefix("ipns://").unwrap_or(to).trim_end_matches('/');
    if text.contains('/') {
        return Err(Failure::usage(format!("{to} has a path; a name holds one dataset")).next("push to ipns://K"));
    }
    let name: Name = text
        .parse()
        .map_err(|error| Failure::usage(format!("{to:?} is no IPNS name: {error}")))?;
    session
        .keys()?
        .find(|key| Name::from_public_key(&key.public()) == name)
        .ok_or_else(|| {
            Failure::new(
                Kind::NotFound,
                format!("the private key of {name} is not in this workspace"),
            )
            .next("`odfs key list` shows the keys that are, `odfs key gen` makes one")
        })
}

fn remember(dataset: &Dataset, name: &Name) -> Result<(), Failure> {
    let alias = format!("ipns://{name}");
    let mut aliases = dataset.remote_aliases()?;
    if !aliases.push_aliases.contains(&alias) {
        aliases.push_aliases.push(alias);
        dataset.set_remote_aliases(&aliases)?;
    }
    Ok(())
}
