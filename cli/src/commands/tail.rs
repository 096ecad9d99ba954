//! `odfs tail`

use clap::Args;
use odf::metadata::MergeStrategy;

use super::as_of::AsOfArgs;
use crate::failure::Failure;
use crate::io::Io;
use crate::output::{self, Format, OutputArgs, records};
use crate::session::Session;

/// Show the last rows of a dataset, as they came
///
/// A row that was corrected or retracted later is among them, and so is what did that; `odfs export` writes the rows that hold
/// now. However many they are, they are read and written one after another. On a terminal they come in tables of a thousand rows.
#[derive(Args, Debug)]
pub(crate) struct TailArgs {
    /// Name or id of the dataset
    dataset: String,
    /// How many rows
    #[arg(short, long, default_value_t = 10, value_name = "N")]
    num_records: u64,
    /// Rows to leave out at the end
    #[arg(short, long, default_value_t = 0, value_name = "N")]
    skip_records: u64,
    #[command(flatten)]
    as_of: AsOfArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(args: &TailArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let dataset = args.as_of.open(&args.dataset, session)?;
    let format = args.output.format(io);
    match dataset.newest(args.num_records, args.skip_records)? {
        Some(newest) if newest.rows() == 0 && format == Format::Table => {
            let rows = dataset.state().next_offset();
            io.say(format_args!(
                "none of the dataset's {} row(s) is left to be shown",
                output::count(rows)
            ));
            Ok(())
        }
        Some(newest) => {
            records::write(&newest.schema().clone(), newest, format, io)?;
            let takes_back = !matches!(
                dataset.state().merge_strategy(),
                None | Some(MergeStrategy::Append | MergeStrategy::Ledger { .. })
            );
            if takes_back && format == Format::Table {
                io.say(format_args!(
                    "These are the changes as they came, with rows that hold no longer; `odfs export {} -` writes the rows that \
                     hold now",
                    dataset.name()?
                ));
            }
            Ok(())
        }
        None if format == Format::Table => {
            io.say("the dataset has no rows yet");
            Ok(())
        }
        None => format.nothing().map_or(Ok(()), |nothing| io.line(nothing)),
    }
}
