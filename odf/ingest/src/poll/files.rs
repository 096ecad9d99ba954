//! Sources that are files of this machine: one `file://` URL, or a pattern of paths taken one by one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, SubsecRound as _, Utc};

use super::spool::Content;
use super::{Fetched, PollError, State, Surroundings, event_time, template};
use odf_metadata::{EventTimeSource, SourceOrdering, Timestamp};

/// The file at `path`, read where it is, if it was modified since. Its state is its modification time to the
/// millisecond.
pub(super) fn fetch_file(
    path: &Path,
    event_time: Option<&EventTimeSource>,
    previous: Option<&State>,
    around: &Surroundings<'_>,
) -> Result<Option<Fetched>, PollError> {
    let modified = modified(path)?;
    around.consent.covers_file(path, around.bounds)?;
    let state = State::LastModified(modified);
    if previous == Some(&state) {
        return Ok(None);
    }
    Ok(Some(Fetched {
        event_time: event_time::of_url(event_time, Some(modified), around.now)?,
        content: Content::InPlace(path.to_owned()),
        name: path.display().to_string(),
        state: Some(state.write()),
        has_more: false,
        seen: None,
    }))
}

fn modified(path: &Path) -> Result<Timestamp, PollError> {
    let failed = |error| PollError::io("read", path, error);
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(PollError::BadFile {
            path: path.to_owned(),
            reason: "it is a directory; a FilesGlob source takes files of a directory",
        });
    }
    let modified: SystemTime = metadata.modified().map_err(failed)?;
    Timestamp::try_from(DateTime::<Utc>::from(modified).round_subsecs(3)).map_err(|_| PollError::BadFile {
        path: path.to_owned(),
        reason: "its modification time is not in the years 0 to 9999",
    })
}

/// The next file of the pattern: the one with the least name after that in the state. The state is its name, without
/// the directories.
pub(super) fn next_of_glob(
    pattern: &str,
    event_time: Option<&EventTimeSource>,
    order: Option<SourceOrdering>,
    previous: Option<&State>,
    around: &Surroundings<'_>,
) -> Result<Option<Fetched>, PollError> {
    if order == Some(SourceOrdering::ByEventTime) {
        return Err(PollError::Order("ByEventTime"));
    }
    let expanded = template::expand(pattern, around.variables)?;
    let after = match previous {
        Some(State::Etag(name)) => Some(name.as_str()),
        _ => None,
    };
    let Some(Next { name, path, has_more }) = next_file(&expanded, after, around)? else {
        return match previous {
            Some(_) => Ok(None),
            None => Err(PollError::NotFound(format!("a file like {pattern}"))),
        };
    };
    around.consent.covers_file(&path, around.bounds)?;
    Ok(Some(Fetched {
        event_time: event_time::of_file_name(event_time, &name, around.now)?,
        content: Content::InPlace(path.clone()),
        state: Some(State::Etag(name).write()),
        name: path.display().to_string(),
        has_more,
        seen: None,
    }))
}

struct Next {
    name: String,
    path: PathBuf,
    has_more: bool,
}

/// The file with the least name after `after`. Keeps two paths at most, however many files there are.
fn next_file(pattern: &str, after: Option<&str>, around: &Surroundings<'_>) -> Result<Option<Next>, PollError> {
    let absolute = if Path::new(pattern).is_absolute() {
        pattern.to_owned()
    } else {
        let base = around.base.to_str().ok_or_else(|| PollError::BadFile {
            path: around.base.to_owned(),
            reason: "its name is not UTF-8",
        })?;
        format!("{}/{pattern}", glob::Pattern::escape(base))
    };
    let paths = glob::glob(&absolute).map_err(|error| PollError::Glob {
        pattern: pattern.to_owned(),
        reason: error.to_string(),
    })?;
    let mut next: Option<Next> = None;
    let mut twin = None;
    for path in paths {
        around.check()?;
        let path = path.map_err(|error| {
            let path = error.path().to_owned();
            PollError::io("list", &path, error.into())
        })?;
        if !path.is_file() {
            continue;
        }
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| PollError::BadFile {
                path: path.clone(),
                reason: "its name is not UTF-8",
            })?
            .to_owned();
        if after.is_some_and(|after| name.as_str() <= after) {
            continue;
        }
        match &mut next {
            None => {
                next = Some(Next {
                    name,
                    path,
                    has_more: false,
                });
            }
            Some(least) => {
                least.has_more = true;
                match name.cmp(&least.name) {
                    std::cmp::Ordering::Less => {
                        (least.name, least.path) = (name, path);
                        twin = None;
                    }
                    std::cmp::Ordering::Equal => twin = Some(path),
                    std::cmp::Ordering::Greater => {}
                }
            }
        }
    }
    match (next, twin) {
        (Some(next), Some(second)) => Err(PollError::SameName {
            first: next.path,
            second,
        }),
        (next, _) => Ok(next),
    }
}
