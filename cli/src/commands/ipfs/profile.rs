//! Kubo's profiles, as settings of odfs.

use std::path::Path;

use clap::ValueEnum;
use odf::disk::Disk;

use crate::failure::Failure;
use crate::settings;

/// Settings for a kind of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SettingsProfile {
    /// For tests: on this machine only, on any free port
    Test,
    /// For a machine in a data centre: nobody is looked for on the local network, no router asked
    Server,
    /// The opposite of that
    LocalDiscovery,
    /// For a machine on a metered link
    Lowpower,
    /// Any free port for peers
    Randomports,
    /// The usual ports and bootstrap peers
    DefaultNetworking,
}

impl SettingsProfile {
    /// Which settings it changes; without a value they go back to their default.
    fn settings(self) -> &'static [(&'static str, Option<&'static str>)] {
        match self {
            Self::Test => &[
                ("network.listen", Some("[\"/ip4/127.0.0.1/tcp/0\"]")),
                ("network.bootstrap", Some("[]")),
                ("network.mdns", Some("false")),
                ("network.portMapping", Some("false")),
                ("gateway.listen", Some("127.0.0.1:0")),
                ("api.listen", Some("127.0.0.1:0")),
            ],
            Self::Server => &[("network.mdns", Some("false")), ("network.portMapping", Some("false"))],
            Self::LocalDiscovery => &[("network.mdns", None), ("network.portMapping", None)],
            Self::Lowpower => &[("network.lowPower", Some("true"))],
            Self::Randomports => &[(
                "network.listen",
                Some("[\"/ip4/0.0.0.0/tcp/0\",\"/ip4/0.0.0.0/udp/0/quic-v1\"]"),
            )],
            Self::DefaultNetworking => &[
                ("network.listen", None),
                ("network.bootstrap", None),
                ("network.mdns", None),
                ("network.portMapping", None),
                ("gateway.listen", None),
                ("api.listen", None),
            ],
        }
    }
}

/// Writes the settings of a profile to the file.
///
/// # Errors
/// The file cannot be read or written.
pub(super) fn apply(profile: SettingsProfile, disk: &Disk, file: &Path) -> Result<(), Failure> {
    let mut settings = profile.settings().iter();
    settings.try_for_each(|(name, value)| settings::store(disk, file, name, *value))
}
