//! What `odfs publish` and `odfs push` share: a head becomes a signed name, and the user is told how to use it.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use odf::dataset::Dataset;
use odf::elsewhere::Copies;
use odf::ingest::{ColumnNote, Effect};
use odf::publish::{self, Before, Published};
use odf::pull::{Address, name_of};
use odf::workspace::Grown;
use odf_node::ipns::{self, Name};
use odf_node::keystore::Keypair;

use super::effect::{in_words, into_json};
use super::safety::Demand;
use super::{contact, rival, safety};
use crate::failure::Failure;
use crate::io::{Io, Step};
use crate::output;
use crate::session::Session;

/// The form of the report.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct ReportArgs {
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Text, value_name = "FORMAT")]
    pub(super) output: ReportFormat,
}

impl ReportArgs {
    /// Lines for people become messages, if the report is for programs.
    pub(super) fn begin(self, io: &mut Io) {
        if self.output == ReportFormat::Json {
            io.put_lines_aside();
        }
    }

    /// Writes the report, if it is for programs.
    ///
    /// # Errors
    /// The reader went away.
    pub(super) fn object(self, io: &mut Io, report: impl FnOnce() -> serde_json::Value) -> Result<(), Failure> {
        match self.output {
            ReportFormat::Json => io.object(&report()),
            ReportFormat::Text => Ok(()),
        }
    }
}

/// Words or an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object
    Json,
}

/// A head that a name stands for, or will soon.
pub(super) struct Announcement {
    name: Name,
    state: State,
    /// Command that fetches the dataset on another machine.
    pull: String,
    /// This process serves it from now on.
    stays: bool,
}

#[expect(clippy::large_enum_variant, reason = "one at a time, and looked at right away")]
enum State {
    Published(Published),
    /// The node moves the name, in this time.
    Left(Duration),
}

impl Announcement {
    /// Publishes the head of `dataset` under the name of `key`. `stays`: this process will serve it.
    ///
    /// # Errors
    /// The peer does not start, or the name leads to something else and `force` is not set.
    pub(super) fn make(
        session: &Session,
        dataset: &Dataset,
        key: &Keypair,
        force: bool,
        stays: bool,
        io: &mut Io,
    ) -> Result<Self, Failure> {
        io.progress().show(|| Step {
            text: "announcing".to_owned(),
            ..Step::default()
        });
        let (workspace, node) = (session.workspace()?, session.node()?);
        // GC must not take what has no pin yet.
        let hold = workspace.store().hold();
        let published = session.wait(io, publish::publish(workspace.local(), node, dataset, key, force))?;
        drop(hold);
        let is_own = name_of(&dataset.id()) == Some(published.name);
        session.batches().made(dataset.id(), is_own);
        session.retain(dataset)?;
        Ok(Self {
            name: published.name,
            pull: pull_command(&published.name, dataset, session, stays)?,
            stays,
            state: State::Published(published),
        })
    }

    /// The name of `key` will be moved by the node, in the time `due`.
    ///
    /// # Errors
    /// The peer does not start.
    pub(super) fn left(
        session: &Session,
        dataset: &Dataset,
        key: &Keypair,
        due: Duration,
        stays: bool,
    ) -> Result<Self, Failure> {
        let name = Name::from_public_key(&key.public());
        Ok(Self {
            name,
            state: State::Left(due),
            pull: pull_command(&name, dataset, session, stays)?,
            stays,
        })
    }

    /// How many other peers hold the name; nothing if the node is still to give it to them.
    pub(super) fn holders(&self) -> Option<usize> {
        match &self.state {
            State::Published(published) => Some(published.holders),
            State::Left(_) => None,
        }
    }

    /// Waits until other machines have what the name stands for; see [`safety::wait`]. Nobody has it if the name is still to be
    /// moved.
    ///
    /// # Errors
    /// The peer cannot be used, or the user wants to stop.
    pub(super) fn until_safe(&self, demand: &Demand, session: &Session, io: &mut Io) -> Result<Copies, Failure> {
        match &self.state {
            State::Published(published) => safety::wait(demand, &self.name, published.root.cid, session, io),
            State::Left(_) => Ok(Copies::default()),
        }
    }

    /// Tells the user what was done and how others get it. `update` is what was appended just before, if anything was, and
    /// `effect` what the rows did that were read for it; `copies` is who else was found to have it, if that was waited for.
    ///
    /// # Errors
    /// The reader went away.
    #[expect(clippy::too_many_arguments, reason = "a report has all of it")]
    pub(super) fn report(
        &self,
        dataset: &Dataset,
        update: Option<&Grown>,
        effect: &Effect,
        copies: Option<&Copies>,
        args: ReportArgs,
        session: &Session,
        io: &mut Io,
    ) -> Result<(), Failure> {
        let name = &self.name;
        let gateway = session.gateway().map(|url| format!("{url}ipns/{name}/"));
        let public = session.settings().gateway_public.as_ref();
        let public = public.map(|url| format!("{url}/ipns/{name}/"));
        let (published, due) = match &self.state {
            State::Published(published) => (Some(published), None),
            State::Left(due) => (None, Some(*due)),
        };
        // How far the name has come, whoever appended the blocks, and when; or will have, if nothing else is appended.
        let blocks = match published.map(|published| published.before) {
            Some(Before::Same) => Some(0),
            Some(Before::Earlier { blocks }) => Some(blocks),
            Some(Before::Nothing) => Some(dataset.state().blocks()),
            Some(Before::Other) => None,
            None => update.map(|update| update.blocks.len() as u64),
        };
        let local = dataset.name()?;
        let node = session.running_node().filter(|_| self.stays);
        let ticket = node.and_then(|node| contact::ticket(&Address::Name(*name), Some(&local), node));
        if args.output == ReportFormat::Json {
            let mut report = serde_json::json!({
                "dataset": local.as_str(),
                "id": dataset.id().to_string(),
                "result": match (update, blocks) {
                    (Some(update), _) if update.old_head.is_none() => "created",
                    (_, Some(0)) => "upToDate",
                    _ => "updated",
                },
                "head": dataset.head().to_string(),
                "blocks": blocks,
                "rows": update.map_or(0, |update| update.rows),
                "rowsWithoutEventTime": update.map_or(0, |update| update.without_event_time),
                "notes": update.map(|update| update.notes.iter().map(in_json).collect::<Vec<_>>()).unwrap_or_default(),
                "name": name.to_string(),
                "root": published.map(|published| published.root.cid.to_string()),
                "sequence": published.map(|published| published.sequence),
                "validUntil": published.map(|published| output::time(DateTime::<Utc>::from(published.valid_until))),
                "holders": published.map(|published| published.holders),
                "dueInMs": due.map(in_millis),
                "gateway": gateway,
                "publicGateway": public,
                "pull": self.pull,
                "ticket": ticket.map(|ticket| ticket.to_string()),
            });
            into_json(effect, &mut report);
            if let (Some(copies), Some(report)) = (copies, report.as_object_mut()) {
                report.extend(safety::in_json(copies));
            }
            io.line(report)?;
            return self.say_end(session, io);
        }
        match update {
            Some(update) if update.old_head.is_none() => {
                io.line(format_args!(
                    "Created {local} with {} row(s)",
                    output::count(update.rows)
                ))?;
            }
            _ => match blocks {
                Some(0) => io.line(format_args!("{local} is up to date"))?,
                Some(blocks) => io.line(format_args!(
                    "Updated {local} to {} ({} block(s))",
                    dataset.head(),
                    output::count(blocks)
                ))?,
                // It led to another history, or one that is not here.
                None => io.line(format_args!("Updated {local} to {}", dataset.head()))?,
            },
        }
        if update.is_some_and(|update| update.old_head.is_some()) {
            io.line(format_args!("  rows     {}", in_words(effect)))?;
        }
        io.line(format_args!("  name     ipns://{name}"))?;
        if let Some(published) = published
            && io.in_terms()
        {
            io.line(format_args!("  root     {}", published.root.cid))?;
        }
        for url in gateway.iter().chain(&public) {
            io.line(format_args!("  gateway  {url}"))?;
        }
        io.line(format_args!("  pull     {}", self.pull))?;
        if let Some(ticket) = ticket {
            io.line(format_args!("  ticket   {ticket}"))?;
        }
        let is_new = update.is_some_and(|update| update.old_head.is_none());
        if is_new {
            io.say(format_args!(
                "It is public now: whoever knows the name can have all rows of it. `odfs unpublish {local}` stops announcing it; \
                 what others have by then stays with them."
            ));
        }
        if is_new {
            // A key that was called so before is another one.
            let called = session.keys()?.get(local.as_str())?;
            let is_its = called.is_none_or(|key| Name::from_public_key(&key.public()) == *name);
            let of = if is_its { local.to_string() } else { name.to_string() };
            io.say(format_args!(
                "Only who has its key can ever publish under this name: `odfs key export {of}` writes a copy, to be kept \
                 elsewhere."
            ));
        }
        io.say(match &self.state {
            State::Left(due) => format!(
                "The rows are taken. The name still leads to what was before: the node moves it in {} ms, with what else is \
                 appended until then (publish.batch).",
                in_millis(*due)
            ),
            State::Published(Published {
                holders, valid_until, ..
            }) => match holders {
                0 if self.stays => "Nobody is in reach yet; the name goes out as soon as somebody is.".to_owned(),
                0 => "Nobody is in reach, so nobody knows the name yet: the next `odfs node`, publish or push sends it."
                    .to_owned(),
                1 => format!("One other machine knows the name, which is valid until {}.", day(*valid_until)),
                n => format!("{n} other machines know the name, which is valid until {}.", day(*valid_until)),
            },
        });
        self.say_end(session, io)
    }

    /// Says what another machine published with the key, and what holds of the rows once this process has ended, if it does: a
    /// name that others know leads to rows that somebody must give.
    fn say_end(&self, session: &Session, io: &mut Io) -> Result<(), Failure> {
        if let Some(status) = ipns::status(session.workspace()?.store(), &self.name)?
            && let Some(sentence) = rival::sentence(&status, session, io)?
        {
            io.warn(sentence);
        }
        if self.stays {
            return Ok(());
        }
        // Nobody can have what was not announced before.
        let announced = matches!(
            &self.state,
            State::Published(Published {
                before: Before::Same,
                holders: 1..,
                ..
            })
        );
        if announced {
            safety::look(Some(&self.name), safety::LOOK, session)?;
        }
        io.say(match announced && safety::is_elsewhere(&self.name, session)? {
            true => "This process ends now; another machine has the newest rows and gives them to others while it runs.",
            false => "This process ends now, and nobody else is known to have the newest rows; `odfs node` keeps the dataset \
                      within reach of others.",
        });
        Ok(())
    }
}

/// A time as it stands in JSON, in milliseconds.
pub(super) fn in_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The command that fetches what `name` stands for on another machine, where it gets the name that it has here.
fn pull_command(name: &Name, dataset: &Dataset, session: &Session, stays: bool) -> Result<String, Failure> {
    let mut pull = format!("odfs pull ipns://{name} --as {}", dataset.name()?);
    // Without the public network nobody finds the name by itself, except neighbours by mDNS.
    let settings = session.settings();
    if stays
        && settings.bootstrap.as_ref().is_some_and(Vec::is_empty)
        && !settings.mdns
        && let Some(address) = session.node()?.listen_addrs().first()
    {
        pull.push_str(&format!(" --peer {address}"));
    }
    Ok(pull)
}

fn day(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).format("%Y-%m-%d").to_string()
}

/// A note for programs: the column, what it is in one word, of how many values if it is about values, and the words for people.
pub(super) fn in_json(ColumnNote { column, note }: &ColumnNote) -> serde_json::Value {
    serde_json::json!({
        "column": column,
        "kind": note.name(),
        "values": note.values(),
        "text": note.to_string(),
    })
}
