//! `odfs ipfs name`

use std::time::Duration;

use clap::{ArgAction, Subcommand};
use odf_node::ipns::{DEFAULT_VALIDITY, Freshness, Name, PublishOptions};
use odf_node::keystore::Keypair;
use serde::Serialize;

use super::call::{Call, duration};
use super::path::{IpfsPath, Root};
use crate::failure::{Failure, Kind};
use crate::io::Io;
use odf::workspace::PEER_KEY;

/// Names that are followed before giving up, one naming the next; Kubo's figure.
const MAX_NAME_DEPTH: usize = 32;

/// Work with IPNS names
#[derive(Subcommand, Debug)]
pub(crate) enum NameCommand {
    /// Make a name lead to a path
    Publish {
        /// Where it is to lead: /ipfs/CID/…, /ipns/NAME/… or CID
        #[arg(value_name = "IPFS_PATH")]
        path: IpfsPath,
        /// Name or IPNS name of the key
        #[arg(short, long, default_value = PEER_KEY)]
        key: String,
        /// Look first whether the path is there
        #[arg(long, default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
        resolve: bool,
        /// How long the record lasts [default: 30 days]
        #[arg(short = 't', long, value_parser = duration, value_name = "TIME")]
        lifetime: Option<Duration>,
        /// How long others may keep it before they look again
        #[arg(long, value_parser = duration, value_name = "TIME", default_value = "5m")]
        ttl: Duration,
        /// Print the name only
        #[arg(short = 'Q', long)]
        quieter: bool,
        /// Publish also where nobody else can be told now: they are told as soon as somebody appears
        #[arg(long)]
        allow_offline: bool,
        /// The least number of the record
        #[arg(long, value_name = "N")]
        sequence: Option<u64>,
        /// Taken for Kubo's sake; records always have both signatures
        #[arg(long, default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set, hide = true)]
        v1compat: bool,
        /// Taken for Kubo's sake; names are always in base36
        #[arg(long, value_parser = ["base36"], default_value = "base36", hide = true)]
        ipns_base: String,
    },
    /// Print what a name leads to
    Resolve {
        /// The name: /ipns/K, ipns://K or K. Without it, that of this peer
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// Resolve until the result is no name any more
        #[arg(short, long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = ArgAction::Set)]
        recursive: bool,
        /// Do not use a record from memory even if nobody can be asked
        #[arg(short, long)]
        nocache: bool,
        #[command(flatten)]
        dht: DhtLimits,
    },
}

/// How far the DHT is asked.
#[derive(clap::Args, Debug)]
pub(crate) struct DhtLimits {
    /// Taken for Kubo's sake; records are always compared over all peers that answer
    #[arg(long = "dht-record-count", value_name = "N")]
    dht_record_count: Option<u32>,
    /// The longest wait for peers, such as 30s
    #[arg(long = "dht-timeout", value_name = "TIME", value_parser = duration)]
    dht_timeout: Option<Duration>,
    /// Taken for Kubo's sake; one answer is given
    #[arg(short, long, hide = true)]
    stream: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Published {
    name: String,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Resolved {
    pub(super) path: String,
}

pub(super) fn run(command: &NameCommand, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    match command {
        NameCommand::Resolve {
            name,
            recursive,
            nocache,
            dht,
        } => {
            let name = match name {
                Some(text) => name_of(text)?,
                None => call.session.peer_name()?,
            };
            let path = resolve(name, *recursive, *nocache, dht, call, io)?;
            call.answer(&Resolved { path: path.clone() }, path, io)
        }
        NameCommand::Publish {
            path,
            key,
            resolve,
            lifetime,
            ttl,
            quieter,
            allow_offline,
            sequence,
            ..
        } => {
            let options = PublishOptions {
                min_sequence: sequence.unwrap_or_default().saturating_sub(1),
                validity: lifetime.unwrap_or(DEFAULT_VALIDITY),
                ttl: *ttl,
                join: !allow_offline,
                ..PublishOptions::default()
            };
            if call.is_offline() && !allow_offline {
                return Err(Failure::new(
                    Kind::Refused,
                    "can't publish while offline: pass `--allow-offline` to override or `--allow-delegated` if \
                     Ipns.DelegatedPublishers are set up",
                ));
            }
            if *resolve {
                let mut source = call.source()?;
                let there = source.resolve(path, io)?.cid;
                source.block(&there, io)?;
            }
            let key = key_of(key, call)?;
            publish(&key, path, options, *quieter, call, io)
        }
    }
}

fn publish(
    key: &Keypair,
    path: &IpfsPath,
    options: PublishOptions,
    quieter: bool,
    call: &Call<'_>,
    io: &mut Io,
) -> Result<(), Failure> {
    let value = path.to_string();
    let names = call.node()?.names();
    let published = call.wait(io, names.publish(key, &value, options))?;
    if published.holders == 0 && !call.is_offline() {
        io.say(format_args!(
            "nobody else holds the name yet; a running node (`odfs node`, `ipfs daemon`) tells others as soon as somebody appears"
        ));
    }
    let published = Published {
        name: published.name.to_string(),
        value,
    };
    let text = match quieter {
        true => published.name.clone(),
        false => format!("Published to {}: {}", published.name, published.value),
    };
    call.answer(&published, text, io)
}

/// The key with a name, or of an IPNS name.
fn key_of(text: &str, call: &Call<'_>) -> Result<Keypair, Failure> {
    let keys = call.session.keys()?;
    if text == PEER_KEY {
        return Ok(keys.get_or_generate(PEER_KEY)?);
    }
    let found = match text.parse::<Name>() {
        Ok(name) => keys.find(&name.peer_id(), &[]),
        Err(_) => keys.get(text)?,
    };
    found.ok_or_else(|| Failure::new(Kind::NotFound, "no key by the given name was found"))
}

/// The name in `/ipns/K`, `ipns://K` or `K`.
pub(super) fn name_of(text: &str) -> Result<Name, Failure> {
    let text = text
        .strip_prefix("/ipns/")
        .or_else(|| text.strip_prefix("ipns://"))
        .unwrap_or(text);
    let text = text.trim_end_matches('/');
    text.parse()
        .map_err(|error| Failure::usage(format!("{text:?} is no IPNS name: {error}")))
}

/// The path that a name leads to, of another name only where `recursive` is not wanted.
pub(super) fn resolve(
    mut name: Name,
    recursive: bool,
    nocache: bool,
    dht: &DhtLimits,
    call: &Call<'_>,
    io: &Io,
) -> Result<String, Failure> {
    let node = call.node()?;
    let freshness = if call.is_offline() {
        Freshness::Cached
    } else {
        Freshness::Network
    };
    for _ in 0..=MAX_NAME_DEPTH {
        let asked = node.names().resolve(&name, freshness);
        let found = call.wait(io, async {
            match dht.dht_timeout {
                None => asked.await.map_err(Failure::from),
                Some(limit) => match tokio::time::timeout(limit, asked).await {
                    Ok(found) => found.map_err(Failure::from),
                    // As Kubo does: what is known here is the answer when time is up.
                    Err(_) => node
                        .names()
                        .resolve(&name, Freshness::Cached)
                        .await
                        .map_err(Failure::from),
                },
            }
        });
        let found = found.map_err(|failure| failure.about("could not resolve name"))?;
        if nocache && found.age.is_none_or(|age| !age.is_zero()) {
            return Err(Failure::new(
                Kind::Unreachable,
                format!("could not resolve name: nobody was asked for {name}"),
            ));
        }
        match found.value.parse::<IpfsPath>() {
            Ok(IpfsPath {
                root: Root::Name(next),
                rest,
                ..
            }) if recursive && rest.is_empty() => name = next,
            _ => return Ok(found.value),
        }
    }
    Err(Failure::new(
        Kind::BadRecord,
        format!("could not resolve name: more than {MAX_NAME_DEPTH} names in a row"),
    ))
}
