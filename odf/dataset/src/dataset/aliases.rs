//! Names and remote addresses of a dataset, kept beside its chain in the files that kamu uses (odf-facts §4).

use std::path::Path;

use serde::{Deserialize, Serialize};

use odf_disk::{Access, Disk};

use super::error::DatasetError;
use super::head::{read_text, read_text_if_there};

/// The longest name of a dataset or account.
pub const MAX_NAME_BYTES: usize = 100;

/// Longest `info/alias` and `info/config` that are read.
const MAX_INFO_BYTES: u64 = 1 << 20;

/// A name that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` is not a dataset name: use letters and digits, words joined by `-` or `.`, at most {MAX_NAME_BYTES} \
     characters{}",
    .suggestion.as_ref().map(|s| format!("; `{s}` would do")).unwrap_or_default()
)]
pub struct NameError {
    /// The name, shortened.
    pub name: String,
    /// A name like it that is valid.
    pub suggestion: Option<String>,
}

/// The name of a dataset: letters and digits in words joined by `-` and `.`, as in `ca.van.weather-2024`. Case is kept and
/// does not matter when names are compared.
#[derive(Clone, Debug)]
pub struct DatasetName(String);

impl DatasetName {
    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes a name out of any text, such as a file name: what does not belong becomes `-`. None if nothing is left.
    pub fn from_text(text: &str) -> Option<DatasetName> {
        let words = text.split('.').map(|part| {
            let pieces: Vec<&str> = part
                .split(|c: char| !c.is_ascii_alphanumeric())
                .filter(|w| !w.is_empty())
                .collect();
            pieces.join("-")
        });
        let mut name = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(".");
        name.truncate(MAX_NAME_BYTES);
        let name = name.trim_end_matches(['.', '-']);
        is_valid(name).then(|| DatasetName(name.to_owned()))
    }
}

fn is_valid(name: &str) -> bool {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric());
    name.len() <= MAX_NAME_BYTES && name.split('.').all(|part| part.split('-').all(word))
}

impl std::fmt::Display for DatasetName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl PartialEq for DatasetName {
    fn eq(&self, other: &DatasetName) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for DatasetName {}

impl std::str::FromStr for DatasetName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_valid(text) {
            Ok(DatasetName(text.to_owned()))
        } else {
            let suggestion = (text.len() <= MAX_NAME_BYTES)
                .then(|| DatasetName::from_text(text))
                .flatten();
            Err(NameError {
                name: text.chars().take(MAX_NAME_BYTES).collect(),
                suggestion: suggestion.map(|n| n.0),
            })
        }
    }
}

/// Where a dataset is pulled from and pushed to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteAliases {
    /// Addresses it was pulled from, the first being the one to use.
    #[serde(default)]
    pub pull_aliases: Vec<String>,
    /// Addresses it is pushed to.
    #[serde(default)]
    pub push_aliases: Vec<String>,
}

impl RemoteAliases {
    /// Those of the dataset in a directory, without opening it: `info/config`, which kamu has too.
    ///
    /// # Errors
    /// The file cannot be read, or is not what it must be.
    pub fn in_directory(dataset: &Path) -> Result<Self, DatasetError> {
        read_remote(dataset)
    }
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    kind: String,
    version: i32,
    content: RemoteAliases,
}

const CONFIG_KIND: &str = "DatasetConfig";

/// Reads `info/alias`. A name with an account in front of it (`account/name`) gives the name.
pub(super) fn read_name(dataset: &Path) -> Result<DatasetName, DatasetError> {
    let path = dataset.join("info/alias");
    let text = read_text(&path, MAX_INFO_BYTES)?;
    let name = text.trim();
    let name = name.rsplit_once('/').map_or(name, |(_, name)| name);
    name.parse().map_err(|error: NameError| DatasetError::Damaged {
        path,
        reason: error.to_string(),
    })
}

pub(super) fn write_name(disk: &Disk, dataset: &Path, name: &DatasetName) -> Result<(), DatasetError> {
    let path = dataset.join("info/alias");
    Ok(disk.replace(&path, name.as_str().as_bytes(), Access::Readable)?)
}

/// Reads `info/config`; a dataset without one has no remote aliases.
pub(super) fn read_remote(dataset: &Path) -> Result<RemoteAliases, DatasetError> {
    let path = dataset.join("info/config");
    let Some(text) = read_text_if_there(&path, MAX_INFO_BYTES)? else {
        return Ok(RemoteAliases::default());
    };
    let damaged = |reason: String| DatasetError::Damaged {
        path: path.clone(),
        reason,
    };
    let manifest: Manifest = serde_norway::from_str(&text).map_err(|e| damaged(e.to_string()))?;
    if manifest.kind != CONFIG_KIND {
        return Err(damaged(format!("kind {} where {CONFIG_KIND} is wanted", manifest.kind)));
    }
    Ok(manifest.content)
}

/// Changes `info/config` while nobody else does. Gives what `change` gives; the file is only written if it differs then.
pub(super) fn change_remote<T>(
    disk: &Disk,
    dataset: &Path,
    change: impl FnOnce(&mut RemoteAliases) -> T,
) -> Result<T, DatasetError> {
    let _turn = disk.lock_dir(&dataset.join("info"))?;
    let before = read_remote(dataset)?;
    let mut aliases = before.clone();
    let given = change(&mut aliases);
    if aliases != before {
        write_remote(disk, dataset, &aliases)?;
    }
    Ok(given)
}

pub(super) fn write_remote(disk: &Disk, dataset: &Path, aliases: &RemoteAliases) -> Result<(), DatasetError> {
    let manifest = Manifest {
        kind: CONFIG_KIND.to_owned(),
        version: 1,
        content: aliases.clone(),
    };
    let path = dataset.join("info/config");
    let text = serde_norway::to_string(&manifest).map_err(|e| DatasetError::Damaged {
        path: path.clone(),
        reason: e.to_string(),
    })?;
    Ok(disk.replace(&path, text.as_bytes(), Access::Readable)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar_of_odf() {
        for good in ["a", "A1", "ca.van", "net.example-2.x", "0", &"a".repeat(MAX_NAME_BYTES)] {
            assert!(good.parse::<DatasetName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "a.",
            "-a",
            "a--b",
            "a..b",
            "a_b",
            "a b",
            "a/b",
            "é",
            "%",
            &"a".repeat(MAX_NAME_BYTES + 1),
        ] {
            assert!(bad.parse::<DatasetName>().is_err(), "{bad}");
        }
        assert_eq!("Ca.Van".parse::<DatasetName>().unwrap(), "ca.van".parse().unwrap());
        assert_ne!("ca.van".parse::<DatasetName>().unwrap(), "ca-van".parse().unwrap());
    }

    #[test]
    fn any_file_name_gives_a_name_or_none() {
        for (text, name) in [
            ("earthquakes", Some("earthquakes")),
            ("My_table (final)", Some("My-table-final")),
            ("a..b.-c-", Some("a.b.c")),
            ("été 2024", Some("t-2024")),
            ("___", None),
            ("", None),
        ] {
            assert_eq!(
                DatasetName::from_text(text).as_ref().map(DatasetName::as_str),
                name,
                "{text}"
            );
        }
        let long = DatasetName::from_text(&"ab-".repeat(60)).unwrap();
        assert!(long.as_str().len() <= MAX_NAME_BYTES);
        let error = "my_table".parse::<DatasetName>().unwrap_err();
        assert_eq!(error.suggestion.as_deref(), Some("my-table"));
    }
}
