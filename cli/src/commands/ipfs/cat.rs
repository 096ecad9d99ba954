//! `odfs ipfs cat`

use clap::Args;
use odf_node::unixfs::export::FileCursor;
use odf_node::unixfs::node::{Stat, stat};

use super::call::Call;
use super::path::IpfsPath;
use super::source::whole_block;
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output;

/// Write the content of files to standard output
#[derive(Args, Debug)]
pub(crate) struct CatArgs {
    /// Paths to the files: /ipfs/CID/…, /ipns/NAME/… or CID/…
    #[arg(required = true, value_name = "IPFS_PATH")]
    paths: Vec<IpfsPath>,
    /// Byte to begin at, in all the files together
    #[arg(short, long, default_value_t = 0)]
    offset: u64,
    /// The most bytes to write
    #[arg(short, long)]
    length: Option<u64>,
}

pub(super) fn run(args: &CatArgs, call: &Call<'_>, io: &mut Io) -> Result<(), Failure> {
    let mut source = call.source()?;
    let mut skip = args.offset;
    let mut left = args.length.unwrap_or(u64::MAX);
    for path in &args.paths {
        if left == 0 {
            break;
        }
        let resolved = source.resolve(path, io)?;
        let cid = whole_block(&resolved, path)?;
        let root = source.block(&cid, io)?;
        let size = match stat(&root)? {
            Stat::File(size) => size,
            Stat::Directory => {
                return Err(Failure::new(Kind::BadInput, "this dag node is a directory")
                    .next(format!("list it with `odfs ipfs ls {}`", path.typed)));
            }
            Stat::Symlink(_) => return Err(Failure::new(Kind::BadInput, "this dag node is a symlink")),
        };
        if skip >= size && skip > 0 {
            skip -= size;
            continue;
        }
        let range = skip..skip.saturating_add(left);
        let mut done = skip;
        skip = 0;
        source.read(FileCursor::with_range(cid, range), io, &mut |bytes, size, io| {
            io.write(bytes)?;
            left = left.saturating_sub(bytes.len() as u64);
            done += bytes.len() as u64;
            if !io.terminal().output {
                io.progress().show(|| Step {
                    text: output::bytes(done),
                    done,
                    total: Some(size),
                });
            }
            Ok(())
        })?;
    }
    Ok(())
}
