//! `odfs new`

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use odf::dataset::DatasetName;

use crate::failure::{Failure, Kind};
use crate::io::Io;

/// Write a manifest to begin with, with a comment on every part
///
/// Edit it, then make the dataset with `odfs add FILE`.
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("kind").required(true).args(["root", "derivative"])))]
pub(crate) struct NewArgs {
    /// Name of the dataset
    name: DatasetName,
    /// For a dataset whose rows come from outside
    #[arg(long)]
    root: bool,
    /// For a dataset that is computed from others
    #[arg(long)]
    derivative: bool,
    /// File to write; `-` for standard output [default: NAME.yaml]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The manifest of a root dataset, `{name}` being the place of the name.
const ROOT: &str = include_str!("new/root.yaml");
/// The manifest of a derivative dataset.
const DERIVATIVE: &str = include_str!("new/derivative.yaml");

pub(super) fn run(args: &NewArgs, io: &mut Io) -> Result<(), Failure> {
    let template = if args.root { ROOT } else { DERIVATIVE };
    let text = template.replace("{name}", args.name.as_str());
    if args.output.as_deref() == Some(Path::new("-")) {
        return io.write(text.as_bytes());
    }
    let shown = args
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{}.yaml", args.name)));
    let path = io.resolve(&shown);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::new(Kind::Refused, format!("{} is there already", shown.display()))
            .next("name another file with --output, or remove that one"),
        _ => Failure::file(&path, &error),
    })?;
    io.say(format_args!(
        "Wrote {}; edit it, then `odfs add {}`",
        shown.display(),
        shown.display()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use odf::metadata::DatasetKind;

    #[test]
    fn templates_are_manifests() {
        for (template, kind) in [(ROOT, DatasetKind::Root), (DERIVATIVE, DatasetKind::Derivative)] {
            let text = template.replace("{name}", "my.data");
            let [snapshot] = &odf::yaml::read_snapshots(&text).unwrap()[..] else {
                panic!("one document")
            };
            assert_eq!((snapshot.name.as_str(), snapshot.kind), ("my.data", kind));
            assert!(!snapshot.metadata.is_empty());
        }
    }
}
