//! What a source may do here: what its owner agreed to, and the bounds of any agreement.

use std::path::{Path, PathBuf};

use odf_metadata::{FetchStep, SetPollingSource};
use url::Url;

use super::error::PollError;
use super::needs::Needs;
use super::{reach, template};

/// What of this machine a source may use.
#[derive(Clone, Copy, Debug)]
pub enum Consent<'a> {
    /// Nobody here has agreed to the source: it may ask public web servers, and nothing else.
    Missing,
    /// Its owner has agreed to what [`Needs`] tells of it.
    Given {
        /// The files and directories that it was agreed on reading, see [`paths`].
        paths: &'a [PathBuf],
        /// Whether the host that it names may be of this machine or its network.
        private: bool,
    },
}

/// What sources may use at most, whoever agreed to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The variables of the environment; `None`: whichever they were agreed to use.
    pub variables: Option<Vec<String>>,
    /// Directories with what is below them; `None`: whichever they were agreed to read.
    pub directories: Option<Vec<PathBuf>>,
}

/// The file, or the directory of the files, that a source would read now: the part of its pattern before the first
/// wildcard, absolute, links followed. A relative pattern begins in `base`. Empty for sources that read no files.
///
/// # Errors
/// A template has no value.
pub fn paths(
    source: &SetPollingSource,
    base: &Path,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<PathBuf>, PollError> {
    let path = match &source.fetch {
        FetchStep::FilesGlob { path, .. } => fixed_part(&template::expand(path, variables)?),
        FetchStep::Url { url, .. } => {
            let url = Url::parse(&template::expand(url, variables)?).ok();
            match url
                .filter(|url| url.scheme() == "file")
                .and_then(|url| url.to_file_path().ok())
            {
                Some(path) => path,
                None => return Ok(Vec::new()),
            }
        }
        _ => return Ok(Vec::new()),
    };
    Ok(vec![resolved(&base.join(path))])
}

/// The host on this machine or its network that a source would ask now, with its templates filled in and names looked up: as
/// it is written, or with the address that it stands for. Nothing if that is public, if the name cannot be looked up, or if
/// no host is asked.
///
/// # Errors
/// A template has no value.
pub fn private_now(
    source: &SetPollingSource,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, PollError> {
    let FetchStep::Url { url, .. } = &source.fetch else {
        return Ok(None);
    };
    let url = Url::parse(&template::expand(url, variables)?).ok();
    Ok(url.and_then(|url| reach::private_now(&url)))
}

/// The part of a pattern before its first wildcard; without one, all of it.
fn fixed_part(pattern: &str) -> PathBuf {
    let is_wild = |part: &std::ffi::OsStr| part.to_string_lossy().contains(['*', '?', '[']);
    Path::new(pattern)
        .components()
        .take_while(|component| !is_wild(component.as_os_str()))
        .collect()
}

/// A path with links followed, as far as it exists; `..` of the rest are taken away as they are written.
fn resolved(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut existing = path.to_owned();
    loop {
        if let Ok(found) = existing.canonicalize() {
            existing = found;
            break;
        }
        match (existing.parent(), existing.components().next_back()) {
            (Some(parent), Some(last)) => {
                rest.push(last.as_os_str().to_owned());
                existing = parent.to_owned();
            }
            _ => break,
        }
    }
    for part in rest.iter().rev() {
        match part.to_str() {
            Some("..") => {
                existing.pop();
            }
            Some(".") => {}
            _ => existing.push(part),
        }
    }
    existing
}

impl Consent<'_> {
    /// Whether a source may do what it needs.
    pub(super) fn covers(&self, source: &SetPollingSource) -> Result<(), PollError> {
        let needs = Needs::of(source);
        match self {
            Consent::Missing if needs.ask_for_consent() => Err(PollError::NotAgreed(Box::new(needs))),
            _ => Ok(()),
        }
    }

    /// Whether this file may be read.
    pub(super) fn covers_file(&self, path: &Path, bounds: &Bounds) -> Result<(), PollError> {
        let found = path
            .canonicalize()
            .map_err(|error| PollError::io("read", path, error))?;
        let below = |allowed: &PathBuf| found.starts_with(resolved(allowed));
        let agreed = match self {
            Consent::Missing => false,
            Consent::Given { paths, .. } => paths.iter().any(below),
        };
        if !agreed {
            return Err(PollError::OtherFile { path: found });
        }
        bounds.check_path(&found)
    }
}

impl Bounds {
    /// Whether sources may use what one of them needs, with these [`paths`].
    ///
    /// # Errors
    /// The first variable or path that they may not.
    pub fn check(&self, needs: &Needs, paths: &[PathBuf]) -> Result<(), PollError> {
        if let Some(allowed) = &self.variables
            && let Some(name) = needs.variables.iter().find(|name| !allowed.contains(name))
        {
            return Err(PollError::OutOfBounds {
                what: format!("the variable {name}"),
                setting: "source.variables",
            });
        }
        paths.iter().try_for_each(|path| self.check_path(path))
    }

    /// Whether sources may read this file or directory, whose links were followed.
    fn check_path(&self, path: &Path) -> Result<(), PollError> {
        match &self.directories {
            Some(directories) if !directories.iter().any(|allowed| path.starts_with(resolved(allowed))) => {
                Err(PollError::OutOfBounds {
                    what: format!("{}", path.display()),
                    setting: "source.directories",
                })
            }
            _ => Ok(()),
        }
    }
}
