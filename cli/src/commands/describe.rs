//! What a dataset says of itself, as `odfs alter` and `odfs publish` take it: description, keywords, licence, attached files.

use clap::Args;
use odf::dataset::Dataset;
use odf::metadata::{AttachmentEmbedded, Attachments, MetadataEvent, SetAttachments, SetInfo, SetLicense};

use super::input::read_text;
use crate::failure::{Failure, Kind};
use crate::io::Io;

mod licence;

use licence::spdx;

/// The longest file that is attached.
const MAX_ATTACHMENT_BYTES: u64 = 1 << 20;

/// What a dataset is to say of itself. What is not named stays as it is.
#[derive(Args, Debug)]
pub(crate) struct DescribeArgs {
    /// What the dataset is about, in a sentence
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
}

impl DescribeArgs {
    /// Whether anything is named.
    pub(super) fn says_something(&self) -> bool {
        self.says_info() || self.license.is_some() || !self.attached.is_empty()
    }

    fn says_info(&self) -> bool {
        self.description.is_some() || !self.keywords.is_empty()
    }

    /// The same with the files that are to be attached, so that what cannot be read fails before anything is changed.
    ///
    /// # Errors
    /// A file cannot be read, or is too long.
    pub(super) fn read(&self, io: &mut Io) -> Result<Description<'_>, Failure> {
        let files = self.attached.iter().map(|file| attachment(file, io));
        let files = files.collect::<Result<Vec<_>, _>>()?;
        Ok(Description { args: self, files })
    }
}

/// What a dataset is to say of itself, ready to be said.
pub(super) struct Description<'a> {
    args: &'a DescribeArgs,
    files: Vec<AttachmentEmbedded>,
}

impl Description<'_> {
    /// The events that say so on top of `before`, which is none for a dataset that comes into being. None where that changes
    /// nothing. The attached files of these names go.
    ///
    /// # Errors
    /// No file of that name is attached; the chain cannot be read.
    pub(super) fn events(&self, before: Option<&Dataset>, detached: &[String]) -> Result<Vec<MetadataEvent>, Failure> {
        let mut events = Vec::new();
        events.extend(self.info(before));
        events.extend(self.license(before));
        events.extend(self.attachments(before, detached)?);
        Ok(events)
    }

    fn info(&self, dataset: Option<&Dataset>) -> Option<MetadataEvent> {
        let before = dataset.and_then(|dataset| dataset.state().info.clone());
        let said = self.args.description.clone();
        let now = SetInfo {
            description: said.or_else(|| before.as_ref().and_then(|info| info.description.clone())),
            keywords: match self.args.keywords.is_empty() {
                true => before.as_ref().and_then(|info| info.keywords.clone()),
                false => Some(self.args.keywords.clone()),
            },
        };
        (self.args.says_info() && before.as_ref() != Some(&now)).then_some(MetadataEvent::SetInfo(now))
    }

    fn license(&self, dataset: Option<&Dataset>) -> Option<MetadataEvent> {
        let id = self.args.license.clone()?;
        let url = self.args.license_url.clone();
        let now = SetLicense {
            short_name: id.clone(),
            name: id.clone(),
            website_url: url.unwrap_or_else(|| format!("https://spdx.org/licenses/{id}.html")),
            spdx_id: Some(id),
        };
        let before = dataset.and_then(|dataset| dataset.state().license.as_ref());
        (before != Some(&now)).then_some(MetadataEvent::SetLicense(now))
    }

    fn attachments(&self, dataset: Option<&Dataset>, detached: &[String]) -> Result<Option<MetadataEvent>, Failure> {
        if self.files.is_empty() && detached.is_empty() {
            return Ok(None);
        }
        let before = dataset.map_or_else(|| Ok(Vec::new()), attached)?;
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
        for file in &self.files {
            match items.iter_mut().find(|item| item.path == file.path) {
                Some(item) => *item = file.clone(),
                None => items.push(file.clone()),
            }
        }
        Ok(
            (items != before).then_some(MetadataEvent::SetAttachments(SetAttachments {
                attachments: Attachments::Embedded { items },
            })),
        )
    }
}

/// The files that are attached.
///
/// # Errors
/// The chain cannot be read.
pub(super) fn attached(dataset: &Dataset) -> Result<Vec<AttachmentEmbedded>, Failure> {
    let Some(at) = dataset.state().attachments else {
        return Ok(Vec::new());
    };
    let event = dataset
        .block_by_hash(&at.hash)?
        .map(|stored| stored.block.into_block().event);
    Ok(match event {
        Some(MetadataEvent::SetAttachments(SetAttachments {
            attachments: Attachments::Embedded { items },
        })) => items,
        _ => Vec::new(),
    })
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
