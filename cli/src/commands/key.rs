//! `odfs key`

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum as _};
use odf::pull::name_of;
use odf_node::ipns::Name;
use odf_node::keystore::{self, Keypair, Keystore, MAX_KEY_BYTES, words};

use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output::{Format, Listing, OutputArgs};
use crate::session::Session;
use odf::workspace::PEER_KEY;

/// Work with the keys of the workspace
///
/// A dataset made here has its own key, called like the dataset at first: it signs the name that the dataset is published under. The key `self` is that of the peer. Whoever has a key can publish under its name: keep a copy of those that
/// matter with `odfs key export`, and keep it to yourself.
#[derive(Subcommand, Debug)]
pub(crate) enum KeyCommand {
    /// List the keys with their IPNS names
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Make an ed25519 key and print its IPNS name
    Gen {
        /// Name of the new key
        name: String,
    },
    /// Write a private key to a file, in the form of `ipfs key export`, or print it as words for paper
    Export {
        /// Name of the dataset whose key it is, name of the key, or the published name (`k51…`)
        name: String,
        /// File to write; `-` for standard output [default: NAME.key, and with --words standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// The key as 24 words (BIP-39), to be written down on paper
        #[arg(long)]
        words: bool,
    },
    /// Read a private key that `odfs key export` or `ipfs key export` wrote, and print its IPNS name
    Import {
        /// Name for the key
        name: String,
        /// File to read; `-` for standard input
        file: Option<PathBuf>,
        /// Read the 24 words that `odfs key export --words` printed; without a file they are asked for
        #[arg(long)]
        words: bool,
    },
    /// Make the key of a private network in the workspace, or show which is there
    ///
    /// It is written to swarm.key, in the form of Kubo. Peers with a copy of that file speak with each other and with nobody else,
    /// from their next start on. Its fingerprint says whether two machines have the same, and gives nothing away.
    Swarm,
    /// Remove keys; without a copy, what was published under them can never be changed again
    #[command(visible_alias = "remove")]
    Rm {
        /// Names of the keys
        #[arg(required = true)]
        names: Vec<String>,
    },
}

pub(super) fn run(command: &KeyCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let keys = session.keys()?;
    match command {
        KeyCommand::List { output } => {
            let mut listing = Listing::new(&["Name", "ID", "Type"]).when_empty("no keys yet");
            for name in keys.names()? {
                if let Some(key) = keys.get(&name)? {
                    let kind = format!("{:?}", key.key_type()).to_ascii_lowercase();
                    listing.row([
                        name.into(),
                        Name::from_public_key(&key.public()).to_string().into(),
                        kind.into(),
                    ]);
                }
            }
            listing.write(output.format(io), io)
        }
        KeyCommand::Gen { name } => {
            refuse_reserved(name)?;
            let key = keys.generate(name)?;
            io.line(Name::from_public_key(&key.public()))
        }
        KeyCommand::Export { name, output, words } => {
            let key = meant(name, session)?;
            if *words {
                let text = on_paper(&words::to_words(&key)?);
                let output = output.as_deref().unwrap_or(Path::new("-"));
                return export(text.as_bytes(), name, output, io);
            }
            let output = output.clone().unwrap_or_else(|| format!("{name}.key").into());
            write_private(&key, name, &output, io)
        }
        KeyCommand::Import { name, file, words } => {
            refuse_reserved(name)?;
            let key = match (file, words) {
                (file, true) => spoken(file.as_deref().unwrap_or(Path::new("-")), io)?,
                (Some(file), false) => read_private(file, io)?,
                (None, false) => {
                    return Err(Failure::usage("there is no file to read the key from").next(format!(
                        "`odfs key import {name} FILE` reads one that `odfs key export` wrote, `odfs key import {name} --words` \
                         asks for the words"
                    )));
                }
            };
            keys.insert(name, &key)?;
            io.line(Name::from_public_key(&key.public()))
        }
        KeyCommand::Swarm => {
            let (key, is_new) = session.network_key_or_new()?;
            io.line(format_args!(
                "{} {}",
                key.fingerprint(),
                session.network_key_file().display()
            ))?;
            if is_new {
                io.say("Copy that file to the other machines of the network, and keep it to yourselves: whoever has it can join");
            }
            Ok(())
        }
        KeyCommand::Rm { names } => remove(keys, names, session, io),
    }
}

/// The key that is meant by a name. A dataset that was renamed, or whose name was taken once before, has a key of another
/// name, and a copy of the wrong key is found out when it is needed.
fn meant(name: &str, session: &Session) -> Result<Keypair, Failure> {
    let (keys, workspace) = (session.keys()?, session.workspace()?);
    let of_dataset = match workspace.catalog().find_entry(name) {
        Ok(entry) => workspace.key_of(&entry.id),
        Err(_) => None,
    };
    let called = match name.parse::<Name>() {
        Ok(published) => keys.find(&published.peer_id(), &[]),
        // What cannot be the name of a key can be that of a dataset.
        Err(_) => match keys.get(name) {
            Err(_) if of_dataset.is_some() => None,
            called => called?,
        },
    };
    match (of_dataset, called) {
        (Some(of_dataset), Some(called)) if of_dataset.public() != called.public() => {
            let [of_dataset, called] = [of_dataset, called].map(|key| Name::from_public_key(&key.public()));
            Err(Failure::new(
                Kind::Refused,
                format!("the key that is called {name} is not the one of the dataset {name}"),
            )
            .next(format!(
                "`odfs key export {of_dataset}` writes that of the dataset, `odfs key export {called}` the other"
            )))
        }
        (of_dataset, called) => of_dataset.or(called).ok_or_else(|| unknown(name)),
    }
}

/// Words in lines of six.
fn on_paper(words: &[&str]) -> String {
    let lines = words.chunks(6).map(|line| line.join(" ") + "\n");
    lines.collect()
}

/// The key that the words in a file, or typed at the terminal, stand for.
fn spoken(file: &Path, io: &mut Io) -> Result<Keypair, Failure> {
    let (text, what) = if file == Path::new("-") {
        if io.terminal().input {
            io.say(format_args!("Type the {} words, in one line or more:", words::WORDS));
        }
        (typed(io)?, "what was typed".to_owned())
    } else {
        let text = String::from_utf8_lossy(&read(file, io)?).into_owned();
        (text, file.display().to_string())
    };
    words::from_words(&text, &what).map_err(|error| {
        Failure::new(Kind::BadInput, error).next("compare each word with the paper; four letters of each are enough")
    })
}

/// Lines from standard input until they hold as many words as a key has, so that nobody at a terminal needs to end them.
fn typed(io: &mut Io) -> Result<String, Failure> {
    let mut text = String::new();
    let mut input = io.input().take(MAX_KEY_BYTES + 1);
    while text
        .split_whitespace()
        .filter(|word| word.starts_with(char::is_alphabetic))
        .count()
        < words::WORDS
    {
        if input.read_line(&mut text)? == 0 {
            break;
        }
    }
    Ok(text)
}

fn export(bytes: &[u8], name: &str, shown: &Path, io: &mut Io) -> Result<(), Failure> {
    // `-o json` is the form of a report elsewhere, and would be a private key in a file of that name here.
    if shown.to_str().is_some_and(|text| Format::from_str(text, true).is_ok()) {
        return Err(Failure::usage("-o is the file to write here, not a form")
            .next(format!("`--output ./{}` if a file is to be called so", shown.display())));
    }
    if shown == Path::new("-") {
        return io.write(bytes);
    }
    let path = io.resolve(shown);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(Kind::Refused, format!("{} is there already", shown.display()))
                .next("name another file with --output, or remove that one")
        }
        _ => Failure::file(&path, &error),
    })?;
    io.say(format_args!(
        "Wrote the private key {name} to {}; keep it to yourself",
        shown.display()
    ));
    Ok(())
}

fn read(file: &Path, io: &mut Io) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io.input().take(MAX_KEY_BYTES + 1).read_to_end(&mut bytes)?;
    } else {
        let path = io.resolve(file);
        let opened = fs::File::open(&path).and_then(|file| file.take(MAX_KEY_BYTES + 1).read_to_end(&mut bytes));
        opened.map_err(|error| Failure::file(&path, &error))?;
    }
    if bytes.is_empty() {
        return Err(Failure::new(Kind::EmptyInput, format!("{} is empty", file.display())));
    }
    Ok(bytes)
}

/// The name of the dataset here that is published with a key, if it has one.
pub(super) fn dataset_of(key: &Keypair, session: &Session) -> Result<Option<String>, Failure> {
    published_under(&Name::from_public_key(&key.public()), session)
}

fn published_under(name: &Name, session: &Session) -> Result<Option<String>, Failure> {
    let entries = session.workspace()?.catalog().entries()?;
    let used = entries
        .into_iter()
        .find(|entry| name_of(&entry.id).is_some_and(|own| own == *name));
    Ok(used.and_then(|entry| entry.name).map(|name| name.to_string()))
}

/// Writes a private key to a file that is not there yet, in the form of Kubo.
pub(super) fn write_private(key: &Keypair, name: &str, file: &Path, io: &mut Io) -> Result<(), Failure> {
    export(&keystore::encode(key)?, name, file, io)
}

/// Reads a private key in the form of Kubo from a file.
pub(super) fn read_private(file: &Path, io: &mut Io) -> Result<Keypair, Failure> {
    Ok(keystore::decode(&read(file, io)?, &file.display().to_string())?)
}

fn remove(keys: &Keystore, names: &[String], session: &Session, io: &mut Io) -> Result<(), Failure> {
    let mut gone = Vec::new();
    for name in names {
        if name == PEER_KEY {
            return Err(Failure::new(Kind::Refused, "`self` is the key of this peer and stays"));
        }
        let key = keys.get(name)?.ok_or_else(|| unknown(name))?;
        gone.push((name, Name::from_public_key(&key.public())));
    }
    for (name, ipns) in &gone {
        let use_of = match published_under(ipns, session)? {
            Some(dataset) => format!("; the dataset {dataset} is published with it"),
            None => String::new(),
        };
        io.confirm(&format!("Remove the private key {name} ({ipns}){use_of}?"))?;
    }
    for (name, ipns) in gone {
        keys.remove(name)?;
        io.line(format_args!("{ipns} {name}"))?;
    }
    Ok(())
}

fn unknown(name: &str) -> Failure {
    Failure::new(Kind::NotFound, format!("no key named {name:?} was found")).next("`odfs key list` shows them all")
}

fn refuse_reserved(name: &str) -> Result<(), Failure> {
    if name == PEER_KEY {
        return Err(Failure::new(Kind::Refused, "`self` is the key of this peer").next("choose another name"));
    }
    Ok(())
}
