//! `odfs config`

use clap::Subcommand;

use odf::disk::Disk;

use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output::{Listing, OutputArgs};
use crate::settings::{self, KEYS};
use crate::workspace::WorkspaceDir;

/// Show or change the settings of the workspace
///
/// They stand in `config.toml` in the workspace. $ODFS_CONFIG goes over the file: `key=value` pairs, one a line or
/// separated by `;`. A running node takes a changed setting when it is started again.
#[derive(Subcommand, Debug)]
pub(crate) enum ConfigCommand {
    /// Print one setting
    Get {
        /// Dotted name, such as network.mdns
        key: String,
    },
    /// Change one setting in config.toml
    ///
    /// The file is written anew; comments in it are not kept.
    Set {
        /// Dotted name, such as network.mdns
        key: String,
        /// Value; lists as ["a","b"] or a,b. Without it the setting goes back to its default
        #[arg(allow_hyphen_values = true)]
        value: Option<String>,
    },
    /// List all settings, with where each comes from
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
}

pub(super) fn run(
    command: &ConfigCommand,
    disk: &Disk,
    workspace: &WorkspaceDir,
    environment: Option<&str>,
    io: &mut Io,
) -> Result<(), Failure> {
    let file = workspace.settings_file();
    match command {
        ConfigCommand::Get { key } => {
            let (_, key) = settings::key(key)?;
            let settings = settings::load(&file, environment)?.settings;
            let value = (key.show)(&settings).ok_or_else(|| {
                Failure::new(Kind::NotFound, format!("{} is not set", key.name))
                    .next(format!("set it with `odfs config set {} VALUE`", key.name))
            })?;
            io.line(plain(&value))
        }
        ConfigCommand::Set { key, value } => settings::store(disk, &file, key, value.as_deref()),
        ConfigCommand::List { output } => {
            let layers = settings::load(&file, environment)?;
            let mut listing = Listing::new(&["Key", "Value", "Origin", "About"]);
            for (key, origin) in KEYS.iter().zip(&layers.origins) {
                let value = (key.show)(&layers.settings);
                let cell = serde_json::to_value(&value).map_err(std::io::Error::from)?;
                let cell = match &value {
                    Some(value) => crate::output::Cell::shown(cell, plain(value)),
                    None => cell.into(),
                };
                listing.row([key.name.into(), cell, origin.word().into(), key.about.into()]);
            }
            listing.write(output.format(io), io)
        }
    }
}

/// A value without the quotes of TOML, as a script wants it.
fn plain(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
