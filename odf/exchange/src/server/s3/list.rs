//! Listings, a page at a time.

use std::collections::HashMap;
use std::ops::ControlFlow;

use axum::response::Response;
use odf_dataset::{Dataset, DatasetError};

use super::super::Server;
use super::super::answer::Refusal;
use super::keys::{self, Entry, Part};
use super::problem::Problem;
use super::xml;

/// The parameters of a query.
pub(super) type Parameters = HashMap<String, String>;

/// The most keys and common prefixes on one page, as S3 has it.
const MAX_KEYS: usize = 1000;
/// The most blocks that are read for one page. A page without keys says where the next begins, too.
const MAX_BLOCKS: usize = 10_000;
/// The most buckets on one page. Each is opened.
const MAX_BUCKETS: usize = 1000;

/// What a listing is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    prefix: String,
    /// Where keys that have it behind the prefix are one line.
    delimiter: String,
    /// Keys and common prefixes behind this.
    after: String,
    /// Lines.
    most: usize,
}

/// Part of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    entries: Vec<Entry>,
    common: Vec<String>,
    /// Behind what the next page begins, if this is not the last.
    next: Option<String>,
}

/// A page while it is made.
struct Making<'a> {
    wanted: &'a Wanted,
    page: Page,
    /// The last key that was looked at.
    last: String,
    blocks: usize,
}

impl Making<'_> {
    /// Whether this key, or some that begin with this, can be on the page.
    fn may_have(&self, beginning: &str) -> bool {
        beginning.starts_with(&self.wanted.prefix) || self.wanted.prefix.starts_with(beginning)
    }

    /// What stands for keys that begin with this, if it is known to be one line.
    fn common(&self, key: &str) -> Option<String> {
        let Wanted { prefix, delimiter, .. } = self.wanted;
        let at = match delimiter.is_empty() {
            true => return None,
            false => key.strip_prefix(prefix.as_str())?.find(delimiter.as_str())?,
        };
        key.get(..prefix.len() + at + delimiter.len()).map(str::to_owned)
    }

    /// Takes the next key in their order; breaks when the page is full.
    fn take(&mut self, entry: Entry) -> ControlFlow<()> {
        if !entry.key.starts_with(&self.wanted.prefix) || entry.key <= self.wanted.after {
            return ControlFlow::Continue(());
        }
        let common = self.common(&entry.key);
        // A common prefix that a page before has had is before what that ended with, or is that.
        let is_told = common
            .as_ref()
            .is_some_and(|common| *common <= self.wanted.after || self.page.common.last() == Some(common));
        if !is_told {
            if self.page.entries.len() + self.page.common.len() >= self.wanted.most {
                self.page.next = Some(std::mem::take(&mut self.last));
                return ControlFlow::Break(());
            }
            self.last.clone_from(common.as_ref().unwrap_or(&entry.key));
            match common {
                Some(common) => self.page.common.push(common),
                None => self.page.entries.push(entry),
            }
        }
        ControlFlow::Continue(())
    }

    /// Takes the keys of a part of the bucket; breaks when the page is full.
    fn take_part(&mut self, part: Part, dataset: &Dataset) -> Result<ControlFlow<()>, DatasetError> {
        if part.is_empty(dataset) || !self.may_have(part.directory()) {
            return Ok(ControlFlow::Continue(()));
        }
        // All keys of the part are then one line.
        let is_one_line = self.common(part.directory()).is_some();
        let behind = self.wanted.after.as_str().max(self.wanted.prefix.as_str());
        let first = part.first_behind(behind, dataset.state().blocks());
        for block in dataset.blocks_from(first)? {
            let block = block?;
            if let Some(entry) = part.entry(&block) {
                if entry.key > self.wanted.prefix && !entry.key.starts_with(&self.wanted.prefix) {
                    break;
                }
                if self.take(entry).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                if is_one_line {
                    break;
                }
            }
            if self.counts_too_many(part, block.block.block().sequence_number) {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whether no more blocks are to be read than up to this one.
    fn counts_too_many(&mut self, part: Part, number: u64) -> bool {
        self.blocks += 1;
        let is_full = self.blocks >= MAX_BLOCKS;
        if is_full {
            self.page.next = Some(part.end_of(number));
        }
        is_full
    }
}

fn page(dataset: &Dataset, wanted: &Wanted) -> Result<Page, DatasetError> {
    let mut making = Making {
        wanted,
        page: Page::default(),
        last: wanted.after.clone(),
        blocks: 0,
    };
    if wanted.most == 0 {
        return Ok(making.page);
    }
    for part in Part::ALL {
        if making.take_part(part, dataset)?.is_break() {
            return Ok(making.page);
        }
    }
    // It is the last key, and a page that it does not fit on has said so.
    let _ = making.take(keys::head(dataset));
    Ok(making.page)
}

/// A page of the keys of a dataset.
pub(super) fn objects(dataset: &Dataset, bucket: &str, parameters: &Parameters) -> Result<Response, Problem> {
    let text = |name: &str| parameters.get(name).cloned().unwrap_or_default();
    let is_second = match parameters.get("list-type").map(String::as_str) {
        None => false,
        Some("2") => true,
        Some(other) => return Err(Problem::invalid(format!("there is no list-type {other}"))),
    };
    let (token, start_after) = (text("continuation-token"), text("start-after"));
    let is_url = match parameters.get("encoding-type").map(String::as_str) {
        None => false,
        Some("url") => true,
        Some(other) => return Err(Problem::invalid(format!("there is no encoding-type {other}"))),
    };
    let wanted = Wanted {
        prefix: text("prefix"),
        delimiter: text("delimiter"),
        after: match is_second {
            true if !token.is_empty() => token.clone(),
            true => start_after.clone(),
            false => text("marker"),
        },
        most: number(parameters, "max-keys", MAX_KEYS)?,
    };
    let found = page(dataset, &wanted)?;
    let told = |text: &str| match is_url {
        true => url::form_urlencoded::byte_serialize(text.as_bytes()).collect(),
        false => text.to_owned(),
    };
    let mut document = format!("<ListBucketResult xmlns=\"{}\">", xml::NAMESPACE);
    let mut element = |name: &str, text: &str| xml::element(&mut document, name, text);
    element("Name", bucket);
    element("Prefix", &told(&wanted.prefix));
    element("MaxKeys", &wanted.most.to_string());
    if !wanted.delimiter.is_empty() {
        element("Delimiter", &told(&wanted.delimiter));
    }
    if is_url {
        element("EncodingType", "url");
    }
    element("IsTruncated", if found.next.is_some() { "true" } else { "false" });
    if is_second {
        let lines = found.entries.len() + found.common.len();
        element("KeyCount", &lines.to_string());
        if !token.is_empty() {
            element("ContinuationToken", &token);
        }
        if !start_after.is_empty() {
            element("StartAfter", &told(&start_after));
        }
        if let Some(next) = &found.next {
            element("NextContinuationToken", next);
        }
    } else {
        element("Marker", &told(&wanted.after));
        if let Some(next) = &found.next {
            element("NextMarker", &told(next));
        }
    }
    for entry in &found.entries {
        document.push_str("<Contents>");
        let mut element = |name: &str, text: &str| xml::element(&mut document, name, text);
        element("Key", &told(&entry.key));
        element("LastModified", &xml::time(entry.time));
        element("ETag", &format!("\"{}\"", entry.hash));
        element("Size", &entry.size.to_string());
        element("StorageClass", "STANDARD");
        document.push_str("</Contents>");
    }
    for common in &found.common {
        document.push_str("<CommonPrefixes>");
        xml::element(&mut document, "Prefix", &told(common));
        document.push_str("</CommonPrefixes>");
    }
    document.push_str("</ListBucketResult>");
    Ok(xml::document(&document))
}

/// A page of the datasets that are shared, by name.
pub(super) fn buckets(server: &Server, parameters: &Parameters) -> Result<Response, Problem> {
    let token = parameters
        .get("continuation-token")
        .map(|token| token.to_ascii_lowercase());
    let most = number(parameters, "max-buckets", MAX_BUCKETS)?;
    let catalog = server.datasets.catalog();
    let entries = catalog.entries().map_err(Refusal::from)?;
    let shared = entries.into_iter().filter_map(|entry| {
        let name = entry.name?;
        let is_behind = token
            .as_ref()
            .is_none_or(|token| name.as_str().to_ascii_lowercase() > *token);
        (is_behind && catalog.is_shared(&entry.id)).then_some((name, entry.id))
    });
    let mut document = format!(
        "<ListAllMyBucketsResult xmlns=\"{}\"><Owner><ID>odfs</ID></Owner><Buckets>",
        xml::NAMESPACE
    );
    let (mut told, mut last, mut next) = (0, None, None);
    for (name, id) in shared {
        if told >= most {
            next = last;
            break;
        }
        // One that is damaged has no head to read from.
        let Ok(Some(dataset)) = server.by_id(&id) else { continue };
        let Ok(Some(seed)) = dataset.block_by_sequence(0) else {
            continue;
        };
        document.push_str("<Bucket>");
        xml::element(&mut document, "Name", name.as_str());
        xml::element(
            &mut document,
            "CreationDate",
            &xml::time(seed.block.block().system_time),
        );
        document.push_str("</Bucket>");
        told += 1;
        last = Some(name);
    }
    document.push_str("</Buckets>");
    if let Some(next) = next {
        xml::element(&mut document, "ContinuationToken", next.as_str());
    }
    document.push_str("</ListAllMyBucketsResult>");
    Ok(xml::document(&document))
}

/// A number of lines, `most` at most.
fn number(parameters: &Parameters, name: &str, most: usize) -> Result<usize, Problem> {
    let Some(text) = parameters.get(name).filter(|text| !text.is_empty()) else {
        return Ok(most);
    };
    let wanted = text.parse::<u32>().ok().and_then(|wanted| usize::try_from(wanted).ok());
    match wanted {
        Some(wanted) => Ok(wanted.min(most)),
        None => Err(Problem::invalid(format!("{name} is no number"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::Served;
    use super::*;
    use crate::smart::sample;

    #[test]
    fn more_lines_than_there_are_on_a_page_are_not_given() {
        for (name, most) in [("max-keys", MAX_KEYS), ("max-buckets", MAX_BUCKETS)] {
            let asked = |count: usize| Parameters::from([(name.to_owned(), count.to_string())]);
            assert_eq!(number(&asked(most - 1), name, most).unwrap(), most - 1);
            assert_eq!(number(&asked(most + 1), name, most).unwrap(), most);
        }
    }

    /// A chain with one block more than are read for a page, and no data but behind it.
    #[test]
    fn a_page_ends_where_enough_blocks_were_read() {
        let id = sample::id(1);
        let (mut blocks, files) = sample::with_files(id, 1);
        let mut chain = sample::chain(id, MAX_BLOCKS as u64, 0, "");
        let data = blocks.split_off(1);
        for block in data {
            let next = sample::after(chain.last().unwrap(), block.block().event.clone());
            chain.push(next);
        }
        let served = Served::new().holding("long", &chain, &files);
        let dataset = served.workspace.catalog().find("long").unwrap();
        let mut wanted = Wanted {
            prefix: "data/".to_owned(),
            delimiter: String::new(),
            after: String::new(),
            most: MAX_KEYS,
        };
        let first = page(&dataset, &wanted).unwrap();
        assert!(first.entries.is_empty());
        wanted.after = first.next.unwrap();
        let second = page(&dataset, &wanted).unwrap();
        assert_eq!((second.entries.len(), second.next), (1, None));
    }
}
