//! `odfs ipfs resolve`

use clap::Args;

use super::call::Call;
use super::name::{self, DhtLimits, Resolved};
use super::path::{IpfsPath, Root};
use crate::failure::Failure;
use crate::io::Io;

/// Print the path of the content that a path, or a name, leads to
#[derive(Args, Debug)]
pub(crate) struct ResolveArgs {
    /// /ipfs/CID/…, /ipns/NAME/… or CID/…
    #[arg(value_name = "PATH")]
    path: IpfsPath,
    /// Resolve until the result is no name any more
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    recursive: bool,
    #[command(flatten)]
    dht: DhtLimits,
}

pub(super) fn run(args: &ResolveArgs, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let path = match &args.path.root {
        Root::Name(name) if !args.recursive && args.path.rest.is_empty() => {
            name::resolve(*name, false, false, &args.dht, call, io)?
        }
        Root::Cid(cid) if args.path.rest.is_empty() => format!("/ipfs/{}", call.cid(cid)),
        _ => {
            let resolved = call.source()?.resolve(&args.path, io)?;
            let mut path = format!("/ipfs/{}", call.cid(&resolved.cid));
            for part in &resolved.remainder {
                path.push('/');
                path.push_str(part);
            }
            path
        }
    };
    call.answer(&Resolved { path: path.clone() }, path, io)
}
