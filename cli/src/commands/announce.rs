//! What `odfs publish` and `odfs push` share: a head becomes a signed name, and the user is told how to use it.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use odf::dataset::Dataset;
use odf::publish::{self, Before, Published};
use odf::workspace::Grown;
use odf_node::keystore::Keypair;

use crate::failure::Failure;
use crate::io::{Io, Step};
use crate::output;
use crate::session::Session;

/// The form of the report.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct ReportArgs {
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Text, value_name = "FORMAT")]
    pub(super) output: ReportFormat,
}

/// Words or an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// A published head.
pub(super) struct Announcement {
    published: Published,
    /// Command that fetches the dataset on another machine.
    pull: String,
}

impl Announcement {
    /// Publishes the head of `dataset` under the name of `key`. `stays`: this process will serve it.
    ///
    /// # Errors
    /// The peer does not start, or the name stands for something else and `force` is not set.
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
        if let Some(keep) = session.settings().retention {
            publish::retain(workspace.local(), dataset, keep)?;
        }
        let mut pull = format!("odfs pull ipns://{}", published.name);
        // Without the public network nobody finds the name by itself, except neighbours by mDNS.
        let settings = session.settings();
        if stays
            && settings.bootstrap.as_ref().is_some_and(Vec::is_empty)
            && !settings.mdns
            && let Some(address) = node.listen_addrs().first()
        {
            pull.push_str(&format!(" --peer {address}"));
        }
        Ok(Self { published, pull })
    }

    /// Tells the user what was done and how others get it. `update` is what was appended just before, if anything was.
    ///
    /// # Errors
    /// The reader went away.
    pub(super) fn report(
        &self,
        dataset: &Dataset,
        update: Option<&Grown>,
        args: ReportArgs,
        session: &Session,
        io: &mut Io,
    ) -> Result<(), Failure> {
        let Published {
            name,
            root,
            holders,
            valid_until,
            sequence,
            before,
        } = &self.published;
        let gateway = session.gateway().map(|url| format!("{url}ipns/{name}/"));
        let public = session.settings().gateway_public.as_ref();
        let public = public.map(|url| format!("{url}/ipns/{name}/"));
        // How far the name has come, whoever appended the blocks, and when.
        let blocks = match before {
            Before::Same => Some(0),
            Before::Earlier { blocks } => Some(*blocks),
            Before::Nothing => Some(dataset.state().blocks()),
            Before::Other => None,
        };
        let local = dataset.name()?;
        if args.output == ReportFormat::Json {
            return io.line(serde_json::json!({
                "dataset": local.as_str(),
                "id": dataset.id().to_string(),
                "head": dataset.head().to_string(),
                "blocks": blocks,
                "rows": update.map_or(0, |update| update.rows),
                "name": name.to_string(),
                "root": root.cid.to_string(),
                "sequence": sequence,
                "validUntil": output::time(DateTime::<Utc>::from(*valid_until)),
                "holders": holders,
                "gateway": gateway,
                "publicGateway": public,
                "pull": self.pull,
            }));
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
                    "Updated to {} ({} block(s))",
                    dataset.head(),
                    output::count(blocks)
                ))?,
                // It stood for another history, or one that is not here.
                None => io.line(format_args!("Updated to {}", dataset.head()))?,
            },
        }
        io.line(format_args!("  name     ipns://{name}"))?;
        io.line(format_args!("  root     {}", root.cid))?;
        for url in gateway.iter().chain(&public) {
            io.line(format_args!("  gateway  {url}"))?;
        }
        io.line(format_args!("  pull     {}", self.pull))?;
        io.say(match holders {
            0 => "Nobody is in reach yet; the name goes out as soon as somebody is.".to_owned(),
            1 => format!("One peer holds the name, which is valid until {}.", day(*valid_until)),
            n => format!("{n} peers hold the name, which is valid until {}.", day(*valid_until)),
        });
        Ok(())
    }
}

fn day(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).format("%Y-%m-%d").to_string()
}
