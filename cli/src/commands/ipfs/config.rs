//! `odfs ipfs config`: settings of odfs under the names that Kubo has for them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::{Args, Subcommand};
use odf::disk::Disk;
use odf::workspace::PEER_KEY;
use odf_node::Multiaddr;
use odf_node::address::Protocol;
use odf_node::gateway::Audience;
use odf_node::keystore::Keystore;
use serde_json::{Map, Value, json};

use super::profile::{self, SettingsProfile};
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::settings::{self, Settings};
use crate::workspace::WorkspaceDir;

/// Show or change settings, under the names that Kubo has for them
///
/// Those that odfs has, too: `odfs ipfs config show` lists them. A running daemon takes a changed setting when it is started
/// again.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: Option<ConfigCommand>,
    /// Name of the setting, such as Addresses.Gateway
    key: Option<String>,
    /// Its new value
    #[arg(allow_hyphen_values = true)]
    value: Option<String>,
    /// The value is JSON
    #[arg(long)]
    json: bool,
    /// The value is true or false
    #[arg(long)]
    bool: bool,
}

#[derive(Subcommand, Debug)]
enum ConfigCommand {
    /// Print all that odfs has of Kubo's settings, as JSON
    Show,
    /// Change several settings at once
    #[command(subcommand)]
    Profile(ProfileCommand),
}

#[derive(Subcommand, Debug)]
enum ProfileCommand {
    /// Apply a profile
    Apply {
        /// Which
        #[arg(value_enum)]
        profile: SettingsProfile,
        /// Change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// A setting of Kubo's.
struct Setting {
    /// What Kubo calls it.
    name: &'static str,
    /// What odfs calls it.
    own: &'static str,
    show: fn(&Settings) -> Value,
    /// The value of the setting of odfs; none for a value that is none of Kubo's.
    set: fn(&Value) -> Option<String>,
}

const OPTIONS: &[Setting] = &[
    Setting {
        name: "Addresses.API",
        own: "api.listen",
        show: |settings| json!(multiaddr_of(&settings.api_listen.unwrap_or(DEFAULT_API).to_string())),
        set: |value| socket_of(value.as_str()?).map(|address| address.to_string()),
    },
    Setting {
        name: "Addresses.Gateway",
        own: "gateway.listen",
        show: |settings| json!(multiaddr_of(&settings.gateway_listen)),
        set: |value| socket_of(value.as_str()?).map(|address| address.to_string()),
    },
    Setting {
        name: "Addresses.Swarm",
        own: "network.listen",
        show: |settings| match &settings.listen {
            Some(list) => json!(list),
            None => json!(odf_node::peer::DEFAULT_LISTEN),
        },
        set: list,
    },
    Setting {
        name: "Bootstrap",
        own: "network.bootstrap",
        show: |settings| match &settings.bootstrap {
            Some(list) => json!(list),
            None => json!(odf_node::peer::BOOTSTRAP_PEERS),
        },
        set: list,
    },
    Setting {
        name: "Discovery.MDNS.Enabled",
        own: "network.mdns",
        show: |settings| json!(settings.mdns),
        set: |value| value.as_bool().map(|on| on.to_string()),
    },
    Setting {
        name: "Experimental.GatewayOverLibp2p",
        own: "gateway.libp2p",
        show: |settings| json!(settings.gateway_libp2p),
        set: |value| value.as_bool().map(|on| on.to_string()),
    },
    Setting {
        name: "Gateway.NoFetch",
        own: "gateway.fetch",
        show: |settings| json!(settings.gateway_fetch == Audience::Nobody),
        set: |value| {
            value
                .as_bool()
                .map(|none| if none { "false" } else { "local" }.to_owned())
        },
    },
    Setting {
        name: "Ipns.UsePubsub",
        own: "network.pubsub",
        show: |settings| json!(settings.pubsub),
        set: |value| value.as_bool().map(|on| on.to_string()),
    },
    Setting {
        name: "Swarm.ConnMgr.HighWater",
        own: "network.maxConnections",
        show: |settings| json!(settings.max_connections),
        set: |value| value.as_u64().map(|limit| limit.to_string()),
    },
    Setting {
        name: "Swarm.DisableNatPortMap",
        own: "network.portMapping",
        show: |settings| json!(!settings.port_mapping),
        set: |value| value.as_bool().map(|off| (!off).to_string()),
    },
];

/// Where Kubo's RPC is, unless it is said.
pub(in crate::commands) const DEFAULT_API: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5001);
/// The setting that is read only.
const PEER_ID: &str = "Identity.PeerID";

pub(super) fn run(
    args: &ConfigArgs,
    disk: &Disk,
    workspace: &WorkspaceDir,
    environment: Option<&str>,
    io: &mut Io,
) -> Result<(), Failure> {
    let file = workspace.settings_file();
    let whole = || -> Result<Value, Failure> {
        let settings = settings::load(&file, environment)?.settings;
        let keys = Keystore::open_on(disk.clone(), &workspace.root().join("keys"))?;
        let peer = keys.get_or_generate(PEER_KEY)?.public().to_peer_id();
        Ok(document(&settings, &peer.to_string()))
    };
    match (&args.command, &args.key, &args.value) {
        (Some(ConfigCommand::Show), ..) => show(&whole()?, io),
        (Some(ConfigCommand::Profile(ProfileCommand::Apply { profile, dry_run })), ..) => match dry_run {
            true => Ok(()),
            false => profile::apply(*profile, disk, &file),
        },
        (None, Some(key), None) => {
            let whole = whole()?;
            let found = key.split('.').try_fold(&whole, |value, part| value.get(part));
            show(found.ok_or_else(|| unknown(key))?, io)
        }
        (None, Some(key), Some(text)) => {
            let option = OPTIONS.iter().find(|option| option.name == key.as_str());
            let option = option.ok_or_else(|| unknown(key))?;
            let value = match args.json || args.bool {
                true => serde_json::from_str(text)
                    .map_err(|error| Failure::usage(format!("{text:?} is no JSON: {error}")))?,
                false => Value::String(text.clone()),
            };
            // As Kubo does with what is no text, so that `--json` may be left out.
            let value = (option.set)(&value).or_else(|| (option.set)(&serde_json::from_str(text).ok()?));
            let value = value.ok_or_else(|| Failure::usage(format!("{key} cannot be {text}")))?;
            settings::store(disk, &file, option.own, Some(&value))
        }
        (None, None, _) => {
            Err(Failure::usage("the name of a setting is missing").next("`odfs ipfs config show` prints them all"))
        }
    }
}

/// A text as it is, anything else as JSON.
fn show(value: &Value, io: &mut Io) -> Result<(), Failure> {
    match value.as_str() {
        Some(text) => io.line(text),
        None => io.object(value),
    }
}

/// Kubo's file, as far as it means something here.
fn document(settings: &Settings, peer: &str) -> Value {
    let mut whole = Value::Object(Map::new());
    let own = (PEER_ID, json!(peer));
    for (name, value) in OPTIONS
        .iter()
        .map(|option| (option.name, (option.show)(settings)))
        .chain([own])
    {
        let mut inner = &mut whole;
        for part in name.split('.') {
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            inner = &mut inner[part];
        }
        *inner = value;
    }
    whole
}

fn unknown(key: &str) -> Failure {
    let message = match key == PEER_ID {
        true => format!("{key} cannot be changed: it is said by the key of the peer"),
        false => format!("failed to get config value: {key:?} is none that odfs has"),
    };
    Failure::new(Kind::NotFound, message)
        .next("`odfs ipfs config show` prints those that are there, `odfs config list` all settings of odfs")
}

fn list(value: &Value) -> Option<String> {
    let list = value.as_array()?;
    list.iter().all(Value::is_string).then(|| value.to_string())
}

/// `127.0.0.1:8080` as `/ip4/127.0.0.1/tcp/8080`.
pub(in crate::commands) fn multiaddr_of(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(SocketAddr::V4(v4)) => format!("/ip4/{}/tcp/{}", v4.ip(), v4.port()),
        Ok(SocketAddr::V6(v6)) => format!("/ip6/{}/tcp/{}", v6.ip(), v6.port()),
        Err(_) => address.to_owned(),
    }
}

/// The other way.
fn socket_of(address: &str) -> Option<SocketAddr> {
    let address: Multiaddr = address.parse().ok()?;
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match (parts.next()?, parts.next()) {
        (Protocol::Tcp(port), None) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::KEYS;

    #[test]
    fn each_is_a_setting_of_odfs() {
        for option in OPTIONS {
            assert!(KEYS.iter().any(|key| key.name == option.own), "{}", option.name);
        }
    }

    #[test]
    fn addresses_go_both_ways() {
        for (socket, multiaddr) in [
            ("127.0.0.1:8080", "/ip4/127.0.0.1/tcp/8080"),
            ("[::1]:80", "/ip6/::1/tcp/80"),
        ] {
            assert_eq!(multiaddr_of(socket), multiaddr);
            assert_eq!(socket_of(multiaddr), socket.parse().ok());
        }
        assert_eq!(socket_of("/dns/a.example/tcp/80"), None);
        assert_eq!(socket_of("/ip4/1.2.3.4/tcp/80/ws"), None);
        assert_eq!(socket_of("127.0.0.1:8080"), None);
    }

    #[test]
    fn names_nest_as_in_the_file_of_kubo() {
        let whole = document(&Settings::default(), "12D3");
        assert_eq!(whole["Addresses"]["Gateway"], "/ip4/127.0.0.1/tcp/8080");
        assert_eq!(whole["Identity"]["PeerID"], "12D3");
        assert_eq!(whole["Discovery"]["MDNS"]["Enabled"], true);
    }
}
