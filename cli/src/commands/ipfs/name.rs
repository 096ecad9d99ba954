//! `odfs ipfs name`

use std::time::Duration;

use clap::{ArgAction, Subcommand};
use odf_node::ipns::{Freshness, Name};

use super::path::{IpfsPath, Root};
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::session::Session;

/// Names that are followed before giving up, one naming the next; Kubo's figure.
const MAX_NAME_DEPTH: usize = 32;

/// Work with IPNS names
#[derive(Subcommand, Debug)]
pub(crate) enum NameCommand {
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
        /// Taken for Kubo's sake; records are always compared over all peers that answer
        #[arg(long = "dht-record-count", value_name = "N")]
        dht_record_count: Option<u32>,
        /// The longest wait for peers, such as 30s
        #[arg(long = "dht-timeout", value_name = "TIME", value_parser = duration)]
        dht_timeout: Option<Duration>,
    },
}

pub(super) fn run(command: &NameCommand, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let NameCommand::Resolve {
        name,
        recursive,
        nocache,
        dht_timeout,
        ..
    } = command;
    let node = session.node()?;
    let mut name: Name = match name {
        Some(text) => {
            let text = text
                .strip_prefix("/ipns/")
                .or_else(|| text.strip_prefix("ipns://"))
                .unwrap_or(text);
            let text = text.trim_end_matches('/');
            text.parse()
                .map_err(|error| Failure::usage(format!("{text:?} is no IPNS name: {error}")))?
        }
        None => session.peer_name()?,
    };
    for _ in 0..=MAX_NAME_DEPTH {
        let asked = node.names().resolve(&name, Freshness::Network);
        let found = session.wait(io, async {
            match dht_timeout {
                None => asked.await.map_err(Failure::from),
                Some(limit) => match tokio::time::timeout(*limit, asked).await {
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
        if *nocache && found.age.is_none_or(|age| !age.is_zero()) {
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
            }) if *recursive && rest.is_empty() => name = next,
            _ => return io.line(found.value),
        }
    }
    Err(Failure::new(
        Kind::BadRecord,
        format!("could not resolve name: more than {MAX_NAME_DEPTH} names in a row"),
    ))
}

/// A time with a unit, as Kubo writes it: `1s`, `500ms`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number
        .parse()
        .map_err(|_| "a time such as 30s or 500ms is expected".to_owned())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err("the unit must be ms, s, m or h".to_owned()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_go() {
        assert_eq!(duration("1s").unwrap(), Duration::from_secs(1));
        assert_eq!(duration("1.5m").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        assert!(duration("5").is_err());
        assert!(duration("-1s").is_err());
        assert!(duration("s").is_err());
    }
}
