//! Settings: typed, each with a default, from `config.toml` in the workspace and then from `$ODFS_CONFIG`.
//!
//! [`KEYS`] is the one list of what can be set. The file, the environment and `odfs config` all go through it, so a
//! key that is not in it is refused everywhere, with the nearest one that exists.

use std::fs;
use std::io;
use std::path::Path;

use toml::{Table, Value};

use odf::disk::{Access, Disk};

use crate::failure::{Failure, Kind};

pub(crate) mod duration;
mod fields;
mod keys;
mod rate;
mod retention;
mod values;

pub(crate) use fields::Settings;
pub(crate) use keys::{KEYS, Key};

/// The largest settings file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The most edits between a wrong key and the one that is suggested.
const MAX_SUGGESTION_EDITS: usize = 4;

/// Where the value of a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Compiled in.
    Default,
    /// `config.toml`.
    File,
    /// `$ODFS_CONFIG`.
    Environment,
}

impl Origin {
    /// The word for listings.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "config.toml",
            Self::Environment => "ODFS_CONFIG",
        }
    }
}

/// Settings and where each came from, in the order of [`KEYS`].
pub(crate) struct Layers {
    /// The settings in force.
    pub(crate) settings: Settings,
    /// Origin of each key of [`KEYS`].
    pub(crate) origins: Vec<Origin>,
}

/// Reads the settings of a workspace.
///
/// # Errors
/// The file or the environment has an unknown key or a wrong value, or the file cannot be read.
pub(crate) fn load(file: &Path, environment: Option<&str>) -> Result<Layers, Failure> {
    let mut layers = Layers {
        settings: Settings::default(),
        origins: vec![Origin::Default; KEYS.len()],
    };
    for (name, value) in flatten(read_table(file)?) {
        layers
            .apply(&name, value, Origin::File)
            .map_err(|failure| failure.about(file.display()))?;
    }
    for (name, text) in pairs(environment.unwrap_or_default())? {
        layers
            .apply(name, parse_value(text), Origin::Environment)
            .map_err(|failure| failure.about("ODFS_CONFIG"))?;
    }
    Ok(layers)
}

/// The key called `name`.
///
/// # Errors
/// There is none; the message suggests one.
pub(crate) fn key(name: &str) -> Result<(usize, &'static Key), Failure> {
    if let Some(found) = KEYS.iter().enumerate().find(|(_, key)| key.name == name) {
        return Ok(found);
    }
    let failure = Failure::usage(format!("there is no setting {name:?}"));
    let nearest = KEYS.iter().map(|key| (edits(name, key.name), key.name)).min();
    Err(match nearest {
        Some((edits, nearest)) if edits <= MAX_SUGGESTION_EDITS => failure.next(format!("did you mean {nearest}?")),
        _ => failure.next("`odfs config list` shows them all"),
    })
}

/// Writes one value to the file, or removes it when `text` is nothing. The file is replaced in one step; comments in
/// it are not kept.
///
/// # Errors
/// Unknown key, wrong value, or the file cannot be read or written; it is then as before.
pub(crate) fn store(disk: &Disk, file: &Path, name: &str, text: Option<&str>) -> Result<(), Failure> {
    let (_, key) = key(name)?;
    let mut table = read_table(file)?;
    let (inner, field) = table_of(&mut table, name)
        .ok_or_else(|| Failure::usage(format!("what holds {name} in {} is no table", file.display())))?;
    match text {
        Some(text) => {
            let value = parse_value(text);
            (key.set)(&mut Settings::default(), value.clone()).map_err(|wanted| wrong(name, &value, &wanted))?;
            inner.insert(field.to_owned(), value);
        }
        None => {
            inner.remove(field);
        }
    }
    drop_empty(&mut table);
    let text = toml::to_string(&table).map_err(|error| Failure::new(Kind::General, error))?;
    Ok(disk.replace(file, text.as_bytes(), Access::Readable)?)
}

impl Layers {
    fn apply(&mut self, name: &str, value: Value, origin: Origin) -> Result<(), Failure> {
        let (index, key) = key(name)?;
        (key.set)(&mut self.settings, value.clone()).map_err(|wanted| wrong(name, &value, &wanted))?;
        if let Some(slot) = self.origins.get_mut(index) {
            *slot = origin;
        }
        Ok(())
    }
}

fn wrong(name: &str, value: &Value, wanted: &str) -> Failure {
    Failure::usage(format!("{name} cannot be {value}: {wanted}"))
}

fn read_table(file: &Path) -> Result<Table, Failure> {
    match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Table::new()),
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
            return Err(Failure::usage(format!(
                "{} is larger than {MAX_FILE_BYTES} bytes",
                file.display()
            )));
        }
        _ => {}
    }
    let text = fs::read_to_string(file).map_err(|error| Failure::file(file, &error))?;
    text.parse().map_err(|error: toml::de::Error| {
        Failure::usage(format!("{}: {}", file.display(), error.to_string().trim_end()))
            .next("mend the file, or remove it to go back to the defaults")
    })
}

/// The leaves of a settings table, by dotted name.
fn flatten(table: Table) -> Vec<(String, Value)> {
    let mut leaves = Vec::new();
    let mut tables = vec![(String::new(), table)];
    while let Some((prefix, table)) = tables.pop() {
        for (name, value) in table {
            match value {
                Value::Table(inner) => tables.push((format!("{prefix}{name}."), inner)),
                value => leaves.push((format!("{prefix}{name}"), value)),
            }
        }
    }
    leaves
}

/// The table that holds the setting `name`, and the last part of the name. Tables on the way are made.
fn table_of<'a, 'n>(table: &'a mut Table, name: &'n str) -> Option<(&'a mut Table, &'n str)> {
    let Some((section, rest)) = name.split_once('.') else {
        return Some((table, name));
    };
    let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    table_of(entry.as_table_mut()?, rest)
}

/// Takes away tables that hold nothing.
fn drop_empty(table: &mut Table) {
    table.retain(|_, value| match value.as_table_mut() {
        Some(inner) => {
            drop_empty(inner);
            !inner.is_empty()
        }
        None => true,
    });
}

/// `key=value` pairs, one a line or separated by `;`.
fn pairs(text: &str) -> Result<Vec<(&str, &str)>, Failure> {
    text.split(['\n', ';'])
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("ODFS_CONFIG: {pair:?} is not of the form key=value")))?;
            Ok((name.trim(), value.trim()))
        })
        .collect()
}

/// A value as people type it: TOML where it is TOML, else the text itself.
fn parse_value(text: &str) -> Value {
    format!("value = {text}")
        .parse::<Table>()
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

/// The number of single-letter edits between two words (Levenshtein).
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut last = i + 1;
        let mut diagonal = i;
        for (cell, b) in row.iter_mut().skip(1).zip(&to) {
            let next = (diagonal + usize::from(a != *b)).min(last + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, next);
            last = next;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::time::Duration;

    use odf::retention::Retention;

    use super::*;

    #[test]
    fn the_environment_goes_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        fs::write(
            &file,
            "retention = 3\n[network]\nmdns = false\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\n",
        )
        .unwrap();
        let layers = load(&file, Some("network.bootstrap=[]; network.mdns=true\nretention=all")).unwrap();
        assert_eq!(layers.settings.listen, Some(vec!["/ip4/127.0.0.1/tcp/0".to_owned()]));
        assert_eq!(layers.settings.bootstrap, Some(vec![]));
        assert!(layers.settings.mdns);
        assert_eq!(layers.settings.retention, Retention::All);
    }

    #[test]
    fn a_wrong_key_names_the_right_one() {
        let failure = load(Path::new("/nonexistent"), Some("network.bootstraps=[]"))
            .map(|_| ())
            .unwrap_err();
        let mut text = Vec::new();
        failure.report(&mut text);
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("did you mean network.bootstrap?"), "{text}");
        assert_eq!(failure.kind(), Kind::Usage);
    }

    #[test]
    fn wrong_values_are_refused_and_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        for (name, value) in [
            ("network.mdns", "perhaps"),
            ("retention", "-1"),
            ("retention", "some"),
            ("publish.batch", "0s"),
            ("publish.batch", "61m"),
            ("publish.batch", "1"),
            ("provide.strategy", "pinned"),
            ("gateway.listen", "8080x"),
            ("gateway.tls", "443"),
            ("gateway.certificate", ""),
            ("gateway.domain", "https://data.example.org"),
            ("gateway.domain", "data.example.org:443"),
            ("gateway.acme", "http://authority.example/directory"),
            ("gateway.acmeContact", "mailto:me@example.org"),
            ("gateway.public", "example.org"),
            ("network.listen", "[1]"),
            ("network.bootstrapDataset", "[]"),
            ("network.key", "[]"),
            ("network.bandwidth", "5MB/s"),
            ("network.bandwidth.up", "5"),
            ("network.bandwidth.up", "15999B/s"),
            ("network.bandwidth.down", "0"),
            ("network.listen", "tcp/0"),
            ("source.http.connectTimeout", "30"),
            ("source.http.connectTimeout", "30x"),
            ("source.http.maxRedirects", "-1"),
            ("source.variables", "[1]"),
            ("source.unpackRatio", "0"),
            ("gateway.proxies", "localhost"),
            ("source.directories", "relative"),
            ("gateway.hosts", "https://data.example.org"),
            ("gateway.hosts", "data.example.org:8080"),
            ("gateway.fetch", "perhaps"),
        ] {
            assert_eq!(
                store(&Disk::new(), &file, name, Some(value)).unwrap_err().kind(),
                Kind::Usage,
                "{name}={value}"
            );
        }
        assert!(!file.exists());
    }

    #[test]
    fn what_is_set_is_read_back_and_can_be_unset() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        store(&Disk::new(), &file, "network.bootstrap", Some("")).unwrap();
        store(&Disk::new(), &file, "network.mdns", Some("false")).unwrap();
        store(&Disk::new(), &file, "network.bandwidth.up", Some("5 MB/s")).unwrap();
        store(&Disk::new(), &file, "parquet.createdBy", Some("my tool 1")).unwrap();
        store(&Disk::new(), &file, "source.http.userAgent", Some("me/1")).unwrap();
        store(&Disk::new(), &file, "source.http.connectTimeout", Some("1500ms")).unwrap();
        assert!(fs::read_to_string(&file).unwrap().contains("[source.http]"));
        let layers = load(&file, None).unwrap();
        assert_eq!(layers.settings.bootstrap, Some(vec![]));
        assert_eq!(layers.settings.bandwidth_up, NonZeroU64::new(5_000_000));
        assert_eq!(layers.settings.bandwidth_down, None);
        assert_eq!(layers.settings.parquet_created_by.as_deref(), Some("my tool 1"));
        assert_eq!(layers.settings.source_http.user_agent, "me/1");
        assert_eq!(layers.settings.source_http.connect_timeout, Duration::from_millis(1500));
        for key in [
            "network.bootstrap",
            "network.mdns",
            "network.bandwidth.up",
            "parquet.createdBy",
            "source.http.userAgent",
            "source.http.connectTimeout",
        ] {
            store(&Disk::new(), &file, key, None).unwrap();
        }
        assert_eq!(load(&file, None).unwrap().settings, Settings::default());
    }

    #[test]
    fn every_default_is_a_value_that_can_be_set() {
        for key in &KEYS {
            let mut settings = Settings::default();
            if let Some(value) = (key.show)(&settings) {
                (key.set)(&mut settings, value).unwrap();
            }
            assert_eq!(settings, Settings::default(), "{}", key.name);
        }
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("abc", "abc"), 0);
    }
}
