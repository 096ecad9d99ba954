//! `odfs ipfs version`

use clap::Args;
use serde::Serialize;

use super::call::{Encoding, answer};
use crate::failure::Failure;
use crate::io::Io;

/// The release of Kubo whose commands and outputs these are. Programs look at it before they go on.
pub(super) const KUBO: &str = "0.43.0";
/// The form of Kubo's repository at that release.
pub(super) const REPO: &str = "18";

/// Print the release of Kubo whose output this is
#[derive(Args, Debug)]
pub(crate) struct VersionArgs {
    /// Print the number only
    #[arg(short, long)]
    number: bool,
    /// Print what it was built from: nothing, as it is not Kubo
    #[arg(long)]
    commit: bool,
    /// Print the form of the repository only
    #[arg(long)]
    repo: bool,
    /// Print everything, with the release of odfs
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: &'static str,
    commit: String,
    repo: &'static str,
    system: String,
    golang: &'static str,
}

/// Both releases and the machine, a line each.
pub(in crate::commands) fn release() -> String {
    format!(
        "Kubo version: {KUBO} (odfs {})\nRepo version: {REPO}\nSystem version: {}\nGolang version: none",
        env!("CARGO_PKG_VERSION"),
        system()
    )
}

/// The machine, as Go calls it.
fn system() -> String {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{machine}/{}", std::env::consts::OS)
}

pub(super) fn run(args: &VersionArgs, encoding: Encoding, io: &mut Io) -> Result<(), Failure> {
    let version = Version {
        version: KUBO,
        commit: format!("odfs-{}", env!("CARGO_PKG_VERSION")),
        repo: REPO,
        system: system(),
        golang: "none",
    };
    let text = match (args.all, args.repo, args.number) {
        (true, ..) => release(),
        (_, true, _) => REPO.to_owned(),
        (_, _, true) => KUBO.to_owned(),
        _ => format!("ipfs version {KUBO}"),
    };
    answer(encoding, &version, text, io)
}
