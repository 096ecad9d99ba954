//! `odfs node`, and the serving that a publish goes on with.

use clap::Args;

use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;

/// Run the peer and the HTTP gateway until stopped
///
/// Serves everything in the workspace to other peers, keeps the names published here alive, and answers
/// `/ipfs/…` and `/ipns/…` on gateway.listen. Other odfs commands on this workspace work through it.
#[derive(Args, Debug)]
pub(crate) struct NodeArgs {}

/// Serves until told to stop.
pub(crate) fn serve(session: &Session, _gateway: bool, io: &mut Io) -> Result<(), Failure> {
    session.set_lasting();
    session.wait(io, std::future::pending::<Result<(), Failure>>())
}
