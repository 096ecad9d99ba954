//! `odfs export`: a dataset as files for other programs, its rows or all of it.

mod rows;

use std::path::Path;

use clap::Args;
use odf::export;
use serde_json::json;

use super::announce::{ReportArgs, ReportFormat};
use super::as_of::AsOfArgs;
use crate::failure::Failure;
use crate::io::Io;
use crate::output;
use crate::session::Session;

use rows::{TableFormat, Wanted};

/// Write the rows of a dataset to a file, or the whole of it as a plain ODF dataset directory
///
/// A name that ends in .csv, .ndjson, .json or .parquet, or `-` for standard output, gets the rows: those that hold now,
/// with corrections and retractions applied, or with --history all that ever came and what each did. A name without such an
/// ending, or one that ends in /, is a directory, new or empty, that gets metadata blocks, data files and checkpoints as kamu
/// and any web server take them.
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Name or id of the dataset
    dataset: String,
    /// Where to
    #[arg(value_name = "FILE|-|DIRECTORY")]
    to: String,
    /// Form of the rows [default: by the name of the file; csv for -]
    #[arg(long, value_name = "FORMAT")]
    format: Option<TableFormat>,
    /// All rows in the order in which they came, with system columns; `op` says in words what each did
    #[arg(long)]
    history: bool,
    /// Write over a file that is there
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    as_of: AsOfArgs,
    #[command(flatten)]
    report: ReportArgs,
}

pub(super) fn run(args: &ExportArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let dataset = args.as_of.open(&args.dataset, session)?;
    let name = dataset.name()?;
    let format = args.format.or_else(|| TableFormat::of(&args.to));
    if let Some(format) = format {
        let wanted = Wanted {
            to: &args.to,
            format,
            history: args.history,
            force: args.force,
        };
        if args.to == "-" && args.report.output == ReportFormat::Json {
            return Err(
                Failure::usage("-o json is a report on standard output, where the rows go")
                    .next("`--format json` writes the rows as JSON; else name a file"),
            );
        }
        let wrote = rows::write(&dataset, &wanted, io)?;
        return args.report.object(io, || {
            json!({
                "dataset": name.as_str(),
                "id": dataset.id().to_string(),
                "to": args.to,
                "rows": wrote.rows,
                "bytes": wrote.bytes,
            })
        });
    }
    let path = io.resolve(Path::new(&args.to));
    if !args.to.ends_with('/') && !path.is_dir() && looks_like_a_file(&args.to) {
        return Err(Failure::usage(format!(
            "{} has the name of a file, and rows are written as csv, ndjson, json or parquet",
            args.to
        ))
        .next(format!(
            "end the name in .csv, .ndjson, .json or .parquet, or say --format; `odfs export {name} {}/` makes a directory of \
             that name with the whole dataset",
            args.to
        )));
    }
    if args.history || args.force {
        return Err(Failure::usage(
            "--history and --force are for a file of rows, and the name is that of a directory",
        )
        .next("end the name in .csv, .ndjson, .json or .parquet, or say --format"));
    }
    let exported = export::export(&dataset, &path)?;
    io.say(format_args!(
        "Exported {} metadata block(s) and {} file(s), {}, to the directory {}",
        output::count(exported.blocks),
        output::count(exported.objects),
        output::bytes(exported.bytes),
        args.to
    ));
    args.report.object(io, || {
        json!({
            "dataset": name.as_str(),
            "id": dataset.id().to_string(),
            "to": args.to,
            "blocks": exported.blocks,
            "files": exported.objects,
            "bytes": exported.bytes,
        })
    })
}

/// Endings of names that people have in mind for tables, and that no form of rows here has. A name with any other ending
/// can be that of a directory, as a dataset's can.
const OTHER_ENDINGS: [&str; 14] = [
    "arrow", "db", "feather", "geojson", "gz", "ods", "orc", "sqlite", "tsv", "txt", "xls", "xlsx", "yaml", "zip",
];

/// Whether a name ends as those of files do that are no directory.
fn looks_like_a_file(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| OTHER_ENDINGS.iter().any(|other| ending.eq_ignore_ascii_case(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_are_those_of_files() {
        for name in ["t.xlsx", "a/t.tsv", "t.csv.gz", "T.TXT"] {
            assert!(looks_like_a_file(name), "{name}");
        }
        for name in ["t", "a.b/t", "t.v2", "sensors.push", ".hidden", "t.", "t.xlsx.d"] {
            assert!(!looks_like_a_file(name), "{name}");
        }
    }
}
