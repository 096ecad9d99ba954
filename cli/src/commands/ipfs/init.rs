//! `odfs ipfs init`

use clap::Args;
use odf::disk::Disk;
use odf::workspace::PEER_KEY;
use odf_node::keystore::Keystore;

use super::profile::{self, SettingsProfile};
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::workspace::WorkspaceDir;

/// Make the workspace with the key of its peer; it is not needed, as other commands do so when they are first used
#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// Settings to begin with
    #[arg(short, long, value_enum, value_delimiter = ',', value_name = "PROFILE")]
    profile: Vec<SettingsProfile>,
    /// Kind of the peer's key
    #[arg(short, long, value_parser = ["ed25519"], default_value = "ed25519", hide = true)]
    algorithm: String,
    /// Taken for Kubo's sake; a new workspace is empty
    #[arg(short, long, hide = true)]
    empty_repo: bool,
}

pub(super) fn run(args: &InitArgs, disk: &Disk, workspace: &WorkspaceDir, io: &mut Io) -> Result<(), Failure> {
    let keys = Keystore::open_on(disk.clone(), &workspace.root().join("keys"))?;
    if keys.get(PEER_KEY)?.is_some() {
        return Err(Failure::new(
            Kind::Refused,
            "ipfs configuration file already exists!\nReinitializing would overwrite your keys",
        ));
    }
    for profile in &args.profile {
        profile::apply(*profile, disk, &workspace.settings_file())?;
    }
    let peer = keys.get_or_generate(PEER_KEY)?.public().to_peer_id();
    io.line("generating ED25519 keypair...done")?;
    io.line(format_args!("peer identity: {peer}"))?;
    io.line(format_args!("initializing IPFS node at {}", workspace.root().display()))
}
