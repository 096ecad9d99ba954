//! `odfs follow` and `odfs unfollow`: datasets that `odfs node` keeps up to date by itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use odf::dataset::DatasetName;
use odf::follows::{self, Outcome, Wish};
use serde_json::Value;

use super::dial::dial;
use super::pull::news::{Subject, is_passing, note_taken, pull_once};
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output::{self, Cell, Format, Listing, OutputArgs};
use crate::session::Session;

pub(super) mod upkeep;

/// Keep a dataset up to date from now on, or show which are
///
/// It is pulled at once. From then on `odfs node` brings what is new, as soon as it hears of it and by asking every
/// follow.interval; what was missed while no node ran is brought when one starts. Nothing is dropped for that: where the owner
/// took rows back or the history went another way, the dataset stays as it is, and `odfs status` says so. The rows are given to
/// others who ask for them, and the name stays findable without its owner.
#[derive(Args, Debug)]
pub(crate) struct FollowArgs {
    /// What to follow: ipns://K, K, did:odf:…, or a dataset that was pulled by such an address [default: show what is followed]
    dataset: Option<String>,
    /// Keep every version that comes, however old
    #[arg(long, requires = "dataset")]
    mirror: bool,
    /// How many older versions stay [default: as the setting retention says]
    #[arg(long, value_name = "N", conflicts_with = "mirror", requires = "dataset")]
    keep: Option<u64>,
    /// Name for a dataset that is new here [default: the last part of the address]
    #[arg(long = "as", value_name = "NAME", requires = "dataset")]
    name: Option<DatasetName>,
    /// Address of a peer to ask now, ending in /p2p/ID; may be repeated
    #[arg(long = "peer", value_name = "MULTIADDR", requires = "dataset")]
    peers: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Stop keeping a dataset up to date
///
/// The rows stay here, and the name is kept findable from here like that of everything that was pulled.
#[derive(Args, Debug)]
pub(crate) struct UnfollowArgs {
    /// What is followed: the dataset's name or id here, or the address that was given
    dataset: String,
}

pub(super) fn run(args: &FollowArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let format = args.output.format(io);
    let Some(target) = &args.dataset else {
        let wishes = session.wishes(io)?;
        listing(&wishes, session)?.write(format, io)?;
        if format == Format::Table {
            sentences(&wishes, session)?
                .into_iter()
                .for_each(|sentence| io.say(sentence));
        }
        return Ok(());
    };
    let (name, mut subject) = Subject::named(target, "followed", session)?;
    subject.called.clone_from(&args.name);
    subject.peers = dial(&args.peers, session, io)?;
    let pulled = match format {
        Format::Table => pull_once(&subject, session, io),
        _ => io.redirected(std::io::sink(), |io| pull_once(&subject, session, io)),
    };
    let mut outcome = Outcome::default();
    match pulled {
        Ok(id) => {
            subject.dataset = Some(id);
            outcome.checked = now();
        }
        Err(failure) if is_passing(&failure) => {
            io.warn(format_args!("{}; it is asked for again by the node", failure.message()));
            outcome.failure = Some(failure.message().to_owned());
            outcome.next = failure.next_step().map(str::to_owned);
        }
        Err(failure) => return Err(failure),
    }
    let address = subject.address.clone();
    let wish = Wish::of(address).map(|wish| Wish {
        dataset: subject.dataset.or(wish.dataset),
        called: args.name.clone(),
        mirror: args.mirror,
        keep: args.keep,
        ticket: subject.ticket.as_deref().cloned(),
        ..wish
    });
    let Some(wish) = wish else {
        return Err(Failure::usage(format!("{} is no name", subject.address)));
    };
    session.follows().put(&wish)?;
    let store = session.workspace()?.store();
    follows::note(store, &name, &outcome)?;
    store.flush()?;
    session.follows_changed().notify_one();
    let here = wish
        .dataset
        .map(|id| session.workspace()?.catalog().by_id(&id).map_err(Failure::from));
    let here = here.transpose()?.flatten();
    if let Some(dataset) = &here {
        session.retain(dataset)?;
        session.wait(io, note_taken(dataset, &wish.address, session))?;
    }
    let label = label(&wish, session)?;
    let told = format!("{label} is followed: {}", keeps(&wish));
    match format {
        Format::Table => io.line(told)?,
        _ => io.say(told),
    }
    io.say(match session.is_lasting() {
        true => "The node that runs here brings what is new.",
        false => "No node runs here now; `odfs node` brings what is new, for as long as it runs.",
    });
    match format {
        Format::Table => Ok(()),
        format => listing(&[wish], session)?.write(format, io),
    }
}

pub(super) fn stop(args: &UnfollowArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let (workspace, target) = (session.workspace()?, &args.dataset);
    let id = match workspace.catalog().find(target) {
        Ok(dataset) => Some(dataset.id()),
        // It may be followed and not be here yet.
        Err(_) => None,
    };
    let address = session
        .repositories()
        .resolve(target)
        .ok()
        .map(|place| place.to_string());
    let is_meant = |wish: &&Wish| {
        id.is_some_and(|id| wish.is_of(&id))
            || address.as_ref() == Some(&wish.address.to_string())
            || wish.called.as_ref().is_some_and(|called| called.as_str() == target)
    };
    let all = session.wishes(io)?;
    let Some(wish) = all.iter().find(is_meant) else {
        return Err(
            Failure::new(Kind::NotFound, format!("{target} is not followed")).next("`odfs follow` shows what is")
        );
    };
    let label = label(wish, session)?;
    end(wish, session)?;
    io.line(format_args!("{label} is followed no longer; what came stays here"))
}

/// Follows a name no longer.
///
/// # Errors
/// What is kept of it cannot be removed.
pub(super) fn end(wish: &Wish, session: &Session) -> Result<(), Failure> {
    session.follows().remove(&wish.name)?;
    follows::forget(session.workspace()?.store(), &wish.name)?;
    session.follows_changed().notify_one();
    Ok(())
}

/// What messages call a dataset that is followed.
fn label(wish: &Wish, session: &Session) -> Result<String, Failure> {
    let name = wish
        .dataset
        .and_then(|id| session.workspace().ok()?.catalog().name(&id));
    Ok(match (name, &wish.called) {
        (Some(name), _) => name.to_string(),
        (None, Some(called)) => called.to_string(),
        (None, None) => wish.address.to_string(),
    })
}

fn keeps(wish: &Wish) -> String {
    match (wish.mirror, wish.keep) {
        (true, _) => "every version stays".to_owned(),
        (false, Some(0)) => "no older version stays".to_owned(),
        (false, Some(1)) => "1 older version stays".to_owned(),
        (false, Some(count)) => format!("{count} older versions stay"),
        (false, None) => "older versions stay as the setting retention says".to_owned(),
    }
}

/// What is followed, and what came of it.
///
/// # Errors
/// The index cannot be read.
pub(super) fn listing(wishes: &[Wish], session: &Session) -> Result<Listing, Failure> {
    let columns = [
        "Dataset", "Name", "Address", "Mirror", "Keep", "Updated", "Checked", "Failed", "Failure", "Next",
    ];
    let mut listing = Listing::new(&columns)
        .in_words(&[
            ("Dataset", Some("Followed")),
            ("Name", None),
            ("Address", None),
            ("Mirror", Some("Versions")),
            ("Keep", None),
            ("Updated", Some("Last news")),
            ("Checked", Some("Up to date as of")),
            ("Failed", None),
            ("Failure", None),
            ("Next", None),
        ])
        .when_empty("nothing is followed: `odfs follow ADDRESS` keeps a dataset up to date");
    for wish in wishes {
        let outcome = follows::outcome(session.workspace()?.store(), &wish.name)?;
        let text = |text: Option<String>| text.map_or(Value::Null, Value::String);
        listing.row([
            label(wish, session)?.into(),
            wish.name.to_string().into(),
            wish.address.to_string().into(),
            Cell::shown(wish.mirror, keeps(wish)),
            wish.keep.map_or(Value::Null, Value::from).into(),
            time(outcome.updated),
            time(outcome.checked),
            Cell::from(u64::from(outcome.failed)),
            text(outcome.failure).into(),
            text(outcome.next).into(),
        ]);
    }
    Ok(listing)
}

/// What is in the way of those that are not up to date.
///
/// # Errors
/// The index cannot be read.
pub(super) fn sentences(wishes: &[Wish], session: &Session) -> Result<Vec<String>, Failure> {
    let mut sentences = Vec::new();
    for wish in wishes {
        let outcome = follows::outcome(session.workspace()?.store(), &wish.name)?;
        if let Some(failure) = outcome.failure {
            let next = outcome.next.map(|next| format!("; {next}")).unwrap_or_default();
            sentences.push(format!(
                "{} is followed and not up to date: {failure}{next}",
                label(wish, session)?
            ));
        }
    }
    Ok(sentences)
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// When, for programs; how long ago, for people.
fn time(seconds: u64) -> Cell {
    if seconds == 0 {
        return Value::Null.into();
    }
    let at = UNIX_EPOCH + Duration::from_secs(seconds);
    let ago = SystemTime::now().duration_since(at).unwrap_or_default();
    Cell::shown(
        DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Secs, true),
        format!("{} ago", output::duration(ago)),
    )
}
