//! `odfs alter`: what a dataset says of itself, as new events of its chain.

use clap::Args;
use odf::dataset::Dataset;
use odf::metadata::{AttachmentEmbedded, Attachments, MetadataEvent, SetAttachments, SetInfo, SetLicense};
use odf::yaml;

use super::batch::committed;
use super::input::read_text;
use super::owner::pulled_from;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::session::Session;

/// The longest file that is attached.
const MAX_ATTACHMENT_BYTES: u64 = 1 << 20;

/// Change what a dataset says of itself: description, keywords, licence, attached files
///
/// Each change is a block of the chain, with its time, and travels with the dataset. What is not named stays as it is.
/// `odfs push` then announces the new head. New columns come with rows: `odfs publish --add-columns`, `odfs ingest --add-columns`.
#[derive(Args, Debug)]
pub(crate) struct AlterArgs {
    /// Name or id of the dataset
    dataset: String,
    /// What it is about, in a sentence
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Words to find it by, in place of those that it has; may be repeated
    #[arg(long = "keyword", value_name = "WORD")]
    keywords: Vec<String>,
    /// Under which licence it is: an SPDX identifier, such as CC-BY-4.0, CC0-1.0 or ODbL-1.0
    #[arg(long, value_name = "SPDX", value_parser = spdx)]
    license: Option<String>,
    /// Where the licence can be read [default: its page at spdx.org]
    #[arg(long, value_name = "URL", requires = "license")]
    license_url: Option<String>,
    /// Text file to attach under its own name, in place of one with that name; may be repeated
    #[arg(long = "attach", value_name = "FILE")]
    attached: Vec<String>,
    /// Name of an attached file to take away; may be repeated
    #[arg(long = "detach", value_name = "NAME")]
    detached: Vec<String>,
    /// File, http(s) URL or `-` with MetadataEvent manifests, which are appended as they stand
    #[arg(short, long, value_name = "EVENTS")]
    file: Option<String>,
}

pub(super) fn run(args: &AlterArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let mut dataset = session.workspace()?.catalog().find(&args.dataset)?;
    let name = dataset.name()?;
    if let Some(alias) = pulled_from(&dataset, session)? {
        return Err(Failure::new(
            Kind::Refused,
            format!(
                "{name} is pulled from {alias}; a block added here would make its history differ from the one there"
            ),
        )
        .next(format!("alter it where it comes from, then `odfs pull {name}`")));
    }
    let given = match &args.file {
        Some(file) => events_of(file, io)?,
        None => Vec::new(),
    };
    let files = args.attached.iter().map(|file| attachment(file, io));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let turn = session.turn(&mut dataset, io)?;
    let mut events = given;
    events.extend(info(args, &dataset));
    events.extend(license(args, &dataset));
    events.extend(attachments(files, &args.detached, &dataset)?);
    if events.is_empty() {
        let asks = args.description.is_some()
            || !args.keywords.is_empty()
            || args.license.is_some()
            || !args.attached.is_empty()
            || !args.detached.is_empty();
        return match asks {
            true => io.line(format_args!("{name} is up to date")),
            false => Err(Failure::usage("nothing is said that should change")
                .next("`odfs alter --help` shows what can: --description, --keyword, --license, --attach")),
        };
    }
    let time = io.now()?.max(dataset.state().system_time);
    let blocks = dataset.append_events(events, time, None)?;
    committed(&dataset, session, io)?;
    drop(turn);
    io.line(format_args!(
        "{name}: updated to {} ({} block(s))",
        dataset.head(),
        blocks.len()
    ))?;
    if session.workspace()?.is_published(&dataset.id())? {
        io.say(format_args!("`odfs push {name}` announces it"));
    }
    Ok(())
}

/// The events of a file. Those that only odfs itself can make are none of it.
fn events_of(file: &str, io: &mut Io) -> Result<Vec<MetadataEvent>, Failure> {
    let text = read_text(file, yaml::MAX_MANIFEST_BYTES as u64, io)?;
    let events = yaml::read_events(&text).map_err(|error| Failure::from(error).about(file))?;
    let made = |event: &&MetadataEvent| {
        matches!(
            event,
            MetadataEvent::Seed(_) | MetadataEvent::AddData(_) | MetadataEvent::ExecuteTransform(_)
        )
    };
    if events.iter().find(made).is_some() {
        return Err(
            Failure::usage(format!("{file} holds an event that comes with rows or makes a dataset"))
                .next("rows are added with `odfs ingest`, datasets with `odfs add`; take the event out of the file"),
        );
    }
    Ok(events)
}

/// What the dataset is about, if that changes.
fn info(args: &AlterArgs, dataset: &Dataset) -> Option<MetadataEvent> {
    let before = dataset.state().info.clone();
    let now = SetInfo {
        description: args
            .description
            .clone()
            .or_else(|| before.as_ref().and_then(|info| info.description.clone())),
        keywords: match args.keywords.is_empty() {
            true => before.as_ref().and_then(|info| info.keywords.clone()),
            false => Some(args.keywords.clone()),
        },
    };
    let is_asked = args.description.is_some() || !args.keywords.is_empty();
    (is_asked && before.as_ref() != Some(&now)).then_some(MetadataEvent::SetInfo(now))
}

/// Its licence, if that changes.
fn license(args: &AlterArgs, dataset: &Dataset) -> Option<MetadataEvent> {
    let id = args.license.clone()?;
    let url = args.license_url.clone();
    let now = SetLicense {
        short_name: id.clone(),
        name: id.clone(),
        website_url: url.unwrap_or_else(|| format!("https://spdx.org/licenses/{id}.html")),
        spdx_id: Some(id),
    };
    (dataset.state().license.as_ref() != Some(&now)).then_some(MetadataEvent::SetLicense(now))
}

/// Its attached files, if they change.
fn attachments(
    new: Vec<AttachmentEmbedded>,
    detached: &[String],
    dataset: &Dataset,
) -> Result<Option<MetadataEvent>, Failure> {
    if new.is_empty() && detached.is_empty() {
        return Ok(None);
    }
    let before = match dataset.state().attachments {
        Some(at) => match dataset
            .block_by_hash(&at.hash)?
            .map(|stored| stored.block.into_block().event)
        {
            Some(MetadataEvent::SetAttachments(SetAttachments {
                attachments: Attachments::Embedded { items },
            })) => items,
            _ => Vec::new(),
        },
        None => Vec::new(),
    };
    for name in detached {
        if !before.iter().any(|item| item.path == *name) {
            let there: Vec<&str> = before.iter().map(|item| item.path.as_str()).collect();
            return Err(
                Failure::new(Kind::NotFound, format!("no file {name} is attached")).next(match there.is_empty() {
                    true => "no file is attached at all".to_owned(),
                    false => format!("attached are {}", there.join(", ")),
                }),
            );
        }
    }
    let mut items = before.clone();
    items.retain(|item| !detached.contains(&item.path));
    for file in new {
        match items.iter_mut().find(|item| item.path == file.path) {
            Some(item) => *item = file,
            None => items.push(file),
        }
    }
    Ok(
        (items != before).then_some(MetadataEvent::SetAttachments(SetAttachments {
            attachments: Attachments::Embedded { items },
        })),
    )
}

/// A text file under its own name.
fn attachment(file: &str, io: &mut Io) -> Result<AttachmentEmbedded, Failure> {
    let name = file
        .rsplit(['/', '\\'])
        .next()
        .filter(|name| !name.is_empty() && *name != "-");
    let name = name.ok_or_else(|| Failure::usage(format!("`{file}` has no name to attach it under")))?;
    Ok(AttachmentEmbedded {
        path: name.to_owned(),
        content: read_text(file, MAX_ATTACHMENT_BYTES, io)?,
    })
}

/// An identifier in the form of SPDX; whether the list has it is not looked up.
fn spdx(text: &str) -> Result<String, String> {
    let is_one = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '+');
    match !text.is_empty() && text.len() <= 64 && text.chars().all(is_one) {
        true => Ok(text.to_owned()),
        false => Err("letters, digits, - and . are expected, as in CC-BY-4.0".to_owned()),
    }
}
