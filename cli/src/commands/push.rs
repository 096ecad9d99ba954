//! `odfs push`

use clap::{Args, ValueEnum};
use odf::dataset::Dataset;
use odf::place::Place;
use odf::repository::smart;

use super::announce::ReportArgs;
use crate::failure::Failure;
use crate::session::Session;

mod repository;
mod run;

pub(super) use run::run;

/// Announce the head of a dataset under its name, or bring a repository up to date with it
///
/// Nothing is appended. On IPFS others can fetch the dataset while a peer serves it: keep `odfs node` running here, or
/// let somebody pull it. A repository gets the files themselves.
#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// Name or id of the dataset
    dataset: String,
    /// Where to: ipns://K of a key in this workspace, file:///DIRECTORY, odf+http(s)://HOST/PATH, a repository, or
    /// REPOSITORY/DATASET [default: where it was pushed last, else its own name]
    #[arg(long, value_name = "PLACE")]
    to: Option<String>,
    /// Do not remember --to for the next push
    #[arg(long)]
    no_alias: bool,
    /// Move the name, or the head of the repository, even if it leads to something that is not part of the dataset's
    /// history
    #[arg(short, long)]
    force: bool,
    /// Who may see a dataset that the push makes, at servers that have accounts
    #[arg(long, value_enum, default_value = "private")]
    visibility: Visibility,
    #[command(flatten)]
    report: ReportArgs,
}

/// Who may see a dataset that a push makes.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Visibility {
    /// Its owner, and whom that allows
    Private,
    /// Everybody
    Public,
}

impl From<Visibility> for smart::Visibility {
    fn from(visibility: Visibility) -> Self {
        match visibility {
            Visibility::Private => Self::Private,
            Visibility::Public => Self::Public,
        }
    }
}

/// Keeps a place for the next push, unless it is kept already, be it by another word.
fn remember(dataset: &Dataset, place: &Place, session: &Session) -> Result<(), Failure> {
    let repositories = session.repositories();
    let is_it = |alias: &String| repositories.resolve(alias).is_ok_and(|known| known == *place);
    dataset.change_remote_aliases(|aliases| {
        if !aliases.push_aliases.iter().any(is_it) {
            aliases.push_aliases.push(place.to_string());
        }
    })?;
    Ok(())
}
