//! What is in a CAR.

use std::collections::HashSet;
use std::path::Path;

use odf_node::block::{Cid, inherent};
use odf_node::car::CarError;
use odf_node::dag;

use super::open::Opened;
use crate::failure::{Failure, Kind};
use crate::io::{Io, Step};
use crate::output::{self, Cell, Listing, OutputArgs};

pub(super) fn ls(file: &Path, output: OutputArgs, io: &mut Io) -> Result<(), Failure> {
    let mut car = Opened::new(file, io)?;
    let roots: HashSet<Cid> = car.reader.roots().iter().copied().collect();
    let mut listing = Listing::new(&["CID", "Size", "Root"]).when_empty("no blocks");
    while let Some(block) = car.reader.block().map_err(|error| failed(&car, error))? {
        io.check()?;
        let is_root = roots.contains(block.cid());
        listing.row([
            block.cid().to_string().into(),
            Cell::bytes(block.data().len() as u64),
            Cell::shown(is_root, if is_root { "yes" } else { "" }),
        ]);
    }
    listing.write(output.format(io), io)
}

pub(super) fn verify(file: &Path, part: bool, io: &mut Io) -> Result<(), Failure> {
    let mut car = Opened::new(file, io)?;
    let mut wanted: HashSet<Cid> = car.reader.roots().iter().copied().collect();
    let mut here: HashSet<Cid> = HashSet::new();
    let mut bytes = 0;
    while let Some(block) = car.reader.block().map_err(|error| failed(&car, error))? {
        io.check()?;
        bytes += block.data().len() as u64;
        io.progress().show(|| Step {
            text: output::bytes(bytes),
            done: bytes,
            total: car.total,
        });
        if !part {
            let links =
                dag::links(&block).map_err(|error| Failure::new(Kind::BadInput, format!("{}: {error}", car.what)))?;
            wanted.extend(links);
        }
        here.insert(*block.cid());
    }
    let mut absent = wanted
        .iter()
        .filter(|cid| inherent(cid).is_none() && !here.contains(*cid));
    if let Some(first) = absent.next() {
        let others = match absent.count() {
            0 => String::new(),
            count => format!(" and {} more", output::count(count as u64)),
        };
        return Err(Failure::new(
            Kind::NotFound,
            format!(
                "{} is not whole: it lacks {first}{others}; what it has is what it says",
                car.what
            ),
        )
        .next("get the file again, or say --part if it is to be a part of something"));
    }
    io.line(format_args!(
        "{} block(s), {}: each is what its CID says{}",
        output::count(here.len() as u64),
        output::bytes(bytes),
        if part { "" } else { ", and nothing is missing" }
    ))
}

fn failed(car: &Opened, error: CarError) -> Failure {
    car.failed(error).next("get the file again")
}
