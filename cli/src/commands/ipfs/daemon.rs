//! `odfs ipfs daemon`

use clap::Args;

use super::call::Call;
use crate::commands::place::{After, Gateway, Greeting};
use crate::failure::{Failure, Kind};
use crate::io::Io;

/// Run the peer and the HTTP gateway until stopped: `odfs node`, with what Kubo says when it starts
#[derive(Args, Debug)]
pub(crate) struct DaemonArgs {
    /// Taken for Kubo's sake; the workspace is made where it is missing
    #[arg(long, hide = true)]
    init: bool,
    /// Taken for Kubo's sake; other forms of the workspace are read as they are
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    migrate: bool,
    /// Taken for Kubo's sake: `odfs ipfs repo gc` collects garbage beside the node
    #[arg(long, hide = true)]
    enable_gc: bool,
    /// Taken for Kubo's sake: names go over PubSub where network.pubsub says so
    #[arg(long, hide = true)]
    enable_pubsub_experiment: bool,
    /// As --enable-pubsub-experiment
    #[arg(long, hide = true)]
    enable_namesys_pubsub: bool,
}

pub(super) fn run(_: &DaemonArgs, call: &Call<'_>, io: &mut Io) -> Result<After, Failure> {
    if call.is_offline() {
        call.session.set_offline();
    }
    io.line("Initializing daemon...")?;
    let gateway = Gateway {
        fetch: !call.is_offline(),
        greeting: Greeting::Kubo,
    };
    Ok(After::Serve { gateway: Some(gateway) })
}

/// Stop the node that serves this workspace
#[derive(Args, Debug)]
pub(crate) struct ShutdownArgs {}

pub(super) fn stop(call: &Call<'_>) -> Result<(), Failure> {
    if !call.session.is_lasting() {
        return Err(Failure::new(Kind::NotFound, "daemon not running"));
    }
    call.session.stopping().set();
    Ok(())
}
