//! Errors of datasets: catalog, chain, ingest, publish, pull, verify.

use arrow::error::ArrowError;
use odf::OpenError;
use odf::catalog::CatalogError;
use odf::chain::ChainError;
use odf::dataset::{DatasetError, NameError, StateError};
use odf::export::ExportError;
use odf::ingest::MergeOptionError;
use odf::ingest::merge::MergeError;
use odf::ingest::plan::PlanError;
use odf::ingest::source::{Problem, SourceError, UnknownFormat};
use odf::layout::LayoutError;
use odf::publish::PublishError;
use odf::pull::{AddressError, PullError, RemoteError};
use odf::slice::SliceError;
use odf::verify::VerifyError;
use odf::workspace::{TakeError, WorkspaceError};
use odf_node::exchange;
use odf_node::fetch::FetchError;

use super::{MEND, damaged, disk_full, of_io, untrusted};
use crate::failure::{Failure, Kind, chain};

/// What helps when a table has more columns than its dataset.
const NEW_COLUMNS: &str = "--add-columns takes new columns into the dataset, as optional ones; else mend the columns of the \
                           file, or publish it under another name with --name";

impl From<CatalogError> for Failure {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Unknown { .. } => {
                Failure::new(Kind::NotFound, &error).next("`odfs list` shows the datasets that are here")
            }
            CatalogError::Ambiguous { .. } => Failure::usage(&error).next("use more of the id"),
            CatalogError::NameTaken { .. } => Failure::new(Kind::Refused, &error)
                .next("choose another name, or rename that one with `odfs rename DATASET NAME`"),
            CatalogError::Leaving(_) => Failure::new(Kind::Busy, &error)
                .next("stop odfs processes on this workspace and run the command again: the next start removes it"),
            CatalogError::Io { ref source, .. } => of_io(&error, source),
            CatalogError::Dataset(error) => error.into(),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Failure::usage(&error)
    }
}

impl From<DatasetError> for Failure {
    fn from(error: DatasetError) -> Self {
        if error.is_disk_full() {
            return disk_full(&error);
        }
        match error {
            DatasetError::Io { ref source, .. } => of_io(&error, source),
            DatasetError::Busy { .. } | DatasetError::HeadMoved { .. } => {
                Failure::new(Kind::Busy, &error).next("run the command again")
            }
            DatasetError::NoBlock { .. } | DatasetError::NotInChain(_) => {
                Failure::new(Kind::NotFound, &error).next("`odfs log DATASET` shows the blocks of the chain")
            }
            DatasetError::OtherDataset { .. } => {
                Failure::new(Kind::Refused, &error).next("`odfs list` shows which dataset has which id")
            }
            DatasetError::Exists(_) => Failure::new(Kind::Refused, &error).next("`odfs list` shows it"),
            DatasetError::Chain(error) => error.into(),
            DatasetError::Slice(error) => error.into(),
            DatasetError::Mirror(error) => error.into(),
            error => damaged(&error),
        }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Dataset(error) => error.into(),
            error => Failure::new(Kind::General, format!("the current state cannot be told: {error}"))
                .next("`odfs export DATASET FILE --history` writes every row with what it did"),
        }
    }
}

impl From<ChainError> for Failure {
    fn from(error: ChainError) -> Self {
        Failure::new(Kind::Integrity, chain(&error))
            .next("the chain was not changed; `odfs verify` checks what is there")
    }
}

impl From<SliceError> for Failure {
    fn from(error: SliceError) -> Self {
        if error.is_disk_full() {
            return disk_full(&error);
        }
        match &error {
            SliceError::Io { source, .. } => of_io(&error, source),
            SliceError::Digest(_) | SliceError::NoColumn { .. } => Failure::new(Kind::Schema, chain(&error)),
            SliceError::NoRows => Failure::new(Kind::EmptyInput, &error),
            _ => damaged(&error),
        }
    }
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Self {
        match error {
            ArrowError::IoError(_, error) => error.into(),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<WorkspaceError> for Failure {
    fn from(error: WorkspaceError) -> Self {
        match error {
            WorkspaceError::Open(error) => error.into(),
            WorkspaceError::Keystore(error) => error.into(),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Store(error) => error.into(),
            OpenError::Catalog(error) => error.into(),
            OpenError::Dataset(error) => error.into(),
            OpenError::Layout(error) => error.into(),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<LayoutError> for Failure {
    fn from(error: LayoutError) -> Self {
        match error {
            LayoutError::Store(error) => error.into(),
            LayoutError::Add(error) => error.into(),
            LayoutError::Dataset(error) => error.into(),
            LayoutError::Block(error) => error.into(),
            LayoutError::Read { ref source, .. } => of_io(&error, source),
            LayoutError::Length { .. } => damaged(&error),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        let failure = |kind| Failure::new(kind, &error);
        match &error.problem {
            Problem::NotFound => failure(Kind::NotFound).next("check the path"),
            Problem::Sheet { .. } => failure(Kind::Usage).next("say which one with --sheet NAME"),
            Problem::Directory => failure(Kind::Usage).next("name one of the files in it"),
            Problem::FormatUnknown => {
                failure(Kind::Usage).next("`odfs publish FILE --format csv` reads it as CSV, whatever its name is")
            }
            Problem::NoColumn(_) => failure(Kind::Usage).next("use a column that is there"),
            Problem::Io(source) => of_io(&error, source),
            Problem::Empty | Problem::NoRows => failure(Kind::EmptyInput).next("publish it again when it has rows"),
            Problem::NotInDataset(_) => failure(Kind::Schema).next(NEW_COLUMNS),
            Problem::Columns(difference) if difference.only_adds() => failure(Kind::Schema).next(NEW_COLUMNS),
            Problem::NotInFile | Problem::Columns(_) => {
                failure(Kind::Schema).next("mend the columns of the file, or publish it under another name with --name")
            }
            Problem::Header(difference) if difference.only_adds() => failure(Kind::Schema).next(
                "`odfs ingest DATASET FILE --add-columns` takes new columns into the dataset, as optional ones; else leave them out of the \
                 file; nothing was taken",
            ),
            Problem::Header(_) | Problem::NothingDeclared(_) | Problem::Case(_) => failure(Kind::Schema)
                .next("mend the names in the file, or those that the source of the dataset declares; nothing was taken"),
            Problem::Separator(_) => failure(Kind::Usage).next("say what separates the columns with --separator"),
            Problem::Uneven { .. } => failure(Kind::BadInput)
                .next("mend the row, or say what separates the columns with --separator; nothing was changed"),
            Problem::Emptied => failure(Kind::Refused).next(
                "look at what the source gives; nothing was taken, and it is asked again the next time. If it is empty \
                 indeed, run the command again with --allow-empty",
            ),
            Problem::Option { .. } | Problem::Declaration(_) => failure(Kind::BadInput).next(MEND),
            Problem::NotType { .. } | Problem::Missing => failure(Kind::Schema)
                .next("mend the value, or publish the file under another name, `odfs publish FILE --name NAME`: its schema is found anew"),
            Problem::Changes { .. } => failure(Kind::Schema)
                .next("declare the column so that it holds the value, or mend the value; nothing was taken"),
            Problem::Unsupported(_) | Problem::NotATime(_) => failure(Kind::Schema),
            Problem::Query(_) => {
                failure(Kind::BadInput).next("mend the query of the source, or the rows; nothing was taken")
            }
            Problem::Cancelled => Failure::interrupted(),
            _ => failure(Kind::BadInput).next("mend the file and run the command again; nothing was changed"),
        }
    }
}

impl From<UnknownFormat> for Failure {
    fn from(error: UnknownFormat) -> Self {
        Failure::usage(&error)
    }
}

impl From<MergeOptionError> for Failure {
    fn from(error: MergeOptionError) -> Self {
        Failure::usage(&error).next("`odfs publish --help` tells what each strategy does")
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Source(error) => error.into(),
            error => Failure::new(Kind::Schema, chain(&error)),
        }
    }
}

impl From<MergeError> for Failure {
    fn from(error: MergeError) -> Self {
        match error {
            MergeError::Source(error) => error.into(),
            MergeError::Slice(error) => error.into(),
            MergeError::NullKey { .. } | MergeError::RepeatedKey { .. } => {
                Failure::new(Kind::BadInput, &error).next(
                    "mend the file, or the primary key: --primary-key of `odfs publish FILE` names other columns, else the source \
                     of the dataset does; nothing was taken",
                )
            }
            MergeError::NoKeyColumn(_) => Failure::usage(&error)
                .next("name columns of the data: with --primary-key of `odfs publish FILE`, else in the source of the dataset"),
            MergeError::NoOperation { .. } | MergeError::NotAnOperation { .. } => {
                Failure::new(Kind::BadInput, &error).next("mend the file; nothing was taken of it")
            }
            MergeError::EmptyKey | MergeError::NoCompareColumn(_) => Failure::new(Kind::Schema, &error)
                .next("give the dataset a source whose merge strategy names columns of the data"),
            MergeError::History { .. } => damaged(&error),
            error => Failure::new(Kind::Schema, chain(&error)),
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Layout(error) => error.into(),
            PublishError::Dataset(error) => error.into(),
            PublishError::Store(error) => error.into(),
            PublishError::Name(error) => error.into(),
            PublishError::Routing(error) => error.into(),
            PublishError::Diverged { ref name, .. } => Failure::new(Kind::Refused, &error).next(format!(
                "look at it with `odfs pull ipns://{name} --as other`, put what was done here behind it with `odfs pull \
                 ipns://{name} --rebase`; --force publishes over it"
            )),
            PublishError::Unreadable { source, name, .. } => Failure::from(*source)
                .about(format!("what is published under ipns://{name} cannot be had now"))
                .next("run the command again when a machine that has it is in reach; --force publishes over it, and what is new there is lost"),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl Failure {
    /// Why a pull did not end well; `what` is what it was to bring.
    pub(crate) fn of_pull(error: PullError, what: &str) -> Self {
        match &error {
            // The name was found, and the first block that it leads to was not.
            PullError::Remote(RemoteError::Fetch(FetchError::Exchange(exchange::FetchError::NotFound { .. }))) => {
                tracing::info!(reason = chain(&error), "what was to come is not found");
                Failure::new(Kind::Unreachable, format!("nobody in reach has {what}")).next(
                    "run the command again when a machine that has them is on, or name one with --peer (`odfs status` there \
                     shows its address)",
                )
            }
            _ => error.into(),
        }
    }
}

impl From<PullError> for Failure {
    fn from(error: PullError) -> Self {
        match error {
            PullError::Resolve(error) => error.into(),
            PullError::Routing(error) => error.into(),
            PullError::NoName(_) => Failure::usage(&error).next("name it with --as"),
            PullError::Remote(error) => error.into(),
            PullError::Receive(error) => error.into(),
            PullError::Layout(error) => error.into(),
            PullError::Store(error) => error.into(),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Fetch(error) => error.into(),
            RemoteError::Store(error) => error.into(),
            RemoteError::NotADataset { .. } | RemoteError::NotAPath(_) => Failure::new(Kind::BadInput, chain(&error))
                .next("`odfs ipfs ls PATH` shows what is there; `odfs ipfs get PATH` saves files"),
            RemoteError::NewerFormat { .. } => Failure::new(Kind::BadInput, &error).next("update odfs"),
            error => untrusted(&error),
        }
    }
}

impl From<AddressError> for Failure {
    fn from(error: AddressError) -> Self {
        Failure::usage(&error).next("`odfs list` shows the datasets that are here by their names")
    }
}

impl From<TakeError> for Failure {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Ingest(error) => error.into(),
            TakeError::Catalog(error) => error.into(),
            TakeError::Dataset(error) => error.into(),
            TakeError::Keystore(error) => error.into(),
            TakeError::Store(error) => error.into(),
            TakeError::Transform(error) => error.into(),
            TakeError::Lacking(_) => damaged(&error),
            TakeError::NothingTaken => Failure::new(Kind::EmptyInput, &error).next("publish it again when it has rows"),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Dataset(error @ (DatasetError::Io { .. } | DatasetError::Mirror(_))) => error.into(),
            error => damaged(&error),
        }
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Push(error) => error.into(),
            ExportError::NotEmpty(_) => {
                Failure::new(Kind::Refused, &error).next("name a directory that is new or empty")
            }
            ExportError::Io { ref source, .. } => of_io(&error, source),
            error => Failure::new(Kind::General, chain(&error)),
        }
    }
}
