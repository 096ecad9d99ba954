//! `odfs ipfs key`

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use odf_node::ipns::Name;
use odf_node::keystore::{Keypair, Keystore, KeystoreError};
use serde::Serialize;

use super::call::{Call, columns};
use crate::commands::key;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use odf::workspace::PEER_KEY;

/// Work with the keys of IPNS names
#[derive(Subcommand, Debug)]
pub(crate) enum KeyCommand {
    /// Make a key and print its IPNS name
    Gen {
        /// Name of the new key
        name: String,
        /// Kind of key
        #[arg(short, long = "type", value_enum, default_value_t = KeyKind::Ed25519, value_name = "KIND")]
        kind: KeyKind,
        /// Size of the key: of an ed25519 key there is one only
        #[arg(short, long, hide = true)]
        size: Option<u32>,
        #[command(flatten)]
        base: IpnsBase,
    },
    /// List the keys
    #[command(visible_alias = "list")]
    Ls {
        /// Print IPNS names, too
        #[arg(short)]
        long: bool,
        #[command(flatten)]
        base: IpnsBase,
    },
    /// Give a key another name
    Rename {
        /// The name it has
        name: String,
        /// The name it is to have
        new_name: String,
        /// Remove a key that has that name
        #[arg(short, long)]
        force: bool,
        #[command(flatten)]
        base: IpnsBase,
    },
    /// Remove keys; without a copy, what was published under them can never be changed again
    Rm {
        /// Names of the keys
        #[arg(required = true)]
        names: Vec<String>,
        /// Print IPNS names, too
        #[arg(short)]
        long: bool,
        #[command(flatten)]
        base: IpnsBase,
    },
    /// Write a private key to a file
    Export {
        /// Name of the key
        name: String,
        /// File to write [default: NAME.key]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Read a private key from a file, and print its IPNS name
    Import {
        /// Name for the key
        name: String,
        /// File to read
        file: PathBuf,
        #[command(flatten)]
        base: IpnsBase,
    },
}

/// How names are written.
#[derive(clap::Args, Debug)]
pub(crate) struct IpnsBase {
    /// Taken for Kubo's sake; names are always in base36, the form that domains and gateways need
    #[arg(long, value_parser = ["base36"], default_value = "base36", hide = true)]
    ipns_base: String,
}

/// The kinds of keys that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyKind {
    /// Small and fast
    Ed25519,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Key {
    name: String,
    id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Keys {
    keys: Vec<Key>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Renamed<'a> {
    was: &'a str,
    now: &'a str,
    id: String,
    overwrite: bool,
}

impl Key {
    fn of(name: &str, key: &Keypair) -> Self {
        Self {
            name: name.to_owned(),
            id: Name::from_public_key(&key.public()).to_string(),
        }
    }
}

impl Keys {
    fn text(&self, long: bool) -> String {
        let rows: Vec<Vec<String>> = match long {
            true => self
                .keys
                .iter()
                .map(|key| vec![key.id.clone(), key.name.clone()])
                .collect(),
            false => self.keys.iter().map(|key| vec![key.name.clone()]).collect(),
        };
        columns(&rows, long).trim_end_matches('\n').to_owned()
    }

    /// Without keys there is no line.
    fn answer(&self, long: bool, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
        if self.keys.is_empty() && !call.is_json() {
            return Ok(());
        }
        call.answer(self, self.text(long), io)
    }
}

pub(super) fn run(command: &KeyCommand, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let keys = call.session.keys()?;
    match command {
        KeyCommand::Gen { name, .. } => {
            refuse_own(name, "create")?;
            let made = keys.generate(name).map_err(|error| match error {
                KeystoreError::Exists { name } => exists(&name),
                other => other.into(),
            })?;
            let key = Key::of(name, &made);
            call.answer(&key, &key.id, io)
        }
        KeyCommand::Ls { long, .. } => all(keys)?.answer(*long, call, io),
        KeyCommand::Rename {
            name, new_name, force, ..
        } => {
            refuse_own(name, "rename")?;
            refuse_own(new_name, "overwrite")?;
            let overwrite = keys.get(new_name)?.is_some() && name != new_name;
            keys.rename(name, new_name, *force).map_err(|error| match error {
                KeystoreError::NotFound { name } => unknown(&name),
                KeystoreError::Exists { .. } => {
                    Failure::new(Kind::Refused, "key by that name already exists, refusing to overwrite")
                }
                other => other.into(),
            })?;
            let key = keys.get(new_name)?.ok_or_else(|| unknown(new_name))?;
            let Key { id, .. } = Key::of(new_name, &key);
            let text = match overwrite {
                true => format!("Key {id} renamed to {new_name} with overwriting"),
                false => format!("Key {id} renamed to {new_name}"),
            };
            let renamed = Renamed {
                was: name,
                now: new_name,
                id,
                overwrite,
            };
            call.answer(&renamed, text, io)
        }
        KeyCommand::Rm { names, long, .. } => {
            let mut gone = Keys { keys: Vec::new() };
            for name in names {
                refuse_own(name, "remove")?;
                let found = keys.get(name)?.ok_or_else(|| unknown(name))?;
                if let Some(dataset) = key::dataset_of(&found, call.session)? {
                    return Err(Failure::new(
                        Kind::Refused,
                        format!("the key {name} is the one of the dataset {dataset}"),
                    )
                    .next(format!("`odfs key rm {name}` removes it after a question")));
                }
                gone.keys.push(Key::of(name, &found));
            }
            for name in names {
                keys.remove(name)?;
            }
            gone.answer(*long, call, io)
        }
        KeyCommand::Export { name, output } => {
            let found = keys.get(name)?.ok_or_else(|| unknown(name))?;
            let output = output.clone().unwrap_or_else(|| format!("{name}.key").into());
            key::write_private(&found, name, &output, io)
        }
        KeyCommand::Import { name, file, .. } => {
            refuse_own(name, "import")?;
            let read = key::read_private(file, io)?;
            keys.insert(name, &read).map_err(|error| match error {
                KeystoreError::Exists { name } => exists(&name),
                other => other.into(),
            })?;
            let key = Key::of(name, &read);
            call.answer(&key, &key.id, io)
        }
    }
}

/// The key of the peer first, the others by name.
fn all(keys: &Keystore) -> Result<Keys, Failure> {
    // It has one from its first look on, as Kubo has from `init`.
    let own = keys.get_or_generate(PEER_KEY)?;
    let mut listed = vec![Key::of(PEER_KEY, &own)];
    let mut names = keys.names()?;
    names.sort();
    for name in names.iter().filter(|name| *name != PEER_KEY) {
        if let Some(key) = keys.get(name)? {
            listed.push(Key::of(name, &key));
        }
    }
    Ok(Keys { keys: listed })
}

fn refuse_own(name: &str, what: &str) -> Result<(), Failure> {
    if name == PEER_KEY {
        return Err(Failure::new(
            Kind::Refused,
            format!("cannot {what} key with name '{PEER_KEY}'"),
        ));
    }
    Ok(())
}

fn exists(name: &str) -> Failure {
    Failure::new(Kind::Refused, format!("key with name '{name}' already exists"))
}

fn unknown(name: &str) -> Failure {
    Failure::new(Kind::NotFound, format!("no key named {name} was found"))
}
