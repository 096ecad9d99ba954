//! A history that is needed before something else can be done.

use odf::dataset::DatasetName;
use odf::pull::Address;

use super::network::Asked;
use super::{PullArgs, network};
use crate::failure::Failure;
use crate::io::Io;
use crate::session::Session;

/// Brings a dataset that is not here from an address on IPFS and calls it `name`; gives the number of its rows. What a pull
/// tells on standard output is not told.
///
/// # Errors
/// Those of a pull.
pub(in crate::commands) fn history(
    name: &DatasetName,
    address: Address,
    peers: &[odf_node::PeerId],
    session: &Session,
    io: &mut Io,
) -> Result<u64, Failure> {
    let args = PullArgs {
        name: Some(name.clone()),
        no_alias: true,
        ..PullArgs::default()
    };
    io.redirected(std::io::sink(), |io| {
        network::one(&address, None, &args, &Asked::of(peers), session, io)
    })?;
    let dataset = session.workspace()?.catalog().find(name.as_str())?;
    Ok(dataset.state().totals.records)
}
