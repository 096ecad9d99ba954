//! `odfs inspect about`

use clap::Args;
use odf::dataset::Dataset;
use odf::metadata::{DatasetKind, MergeStrategy};
use odf::pull::name_of;
use serde_json::json;

use crate::commands::announce::{ReportArgs, ReportFormat};
use crate::commands::as_of::AsOfArgs;
use crate::commands::describe::attached;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::output;
use crate::session::Session;

/// Show what a dataset is: description, keywords, licence, attached files, columns, key, where it comes from
///
/// `odfs alter` changes what it says of itself.
#[derive(Args, Debug)]
pub(crate) struct AboutArgs {
    /// Name or id of the dataset
    dataset: String,
    /// Print this attached file instead
    #[arg(long, value_name = "NAME", conflicts_with = "output")]
    attached: Option<String>,
    #[command(flatten)]
    as_of: AsOfArgs,
    #[command(flatten)]
    report: ReportArgs,
}

pub(super) fn run(args: &AboutArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let dataset = args.as_of.open(&args.dataset, session)?;
    if let Some(name) = &args.attached {
        return print(&dataset, name, io);
    }
    match args.report.output {
        ReportFormat::Text => in_words(&dataset, session, io),
        ReportFormat::Json => in_json(&dataset, io),
    }
}

/// Prints one of the files that are attached.
fn print(dataset: &Dataset, name: &str, io: &mut Io) -> Result<(), Failure> {
    let files = attached(dataset)?;
    match files.iter().find(|file| file.path == name) {
        Some(file) => io.text(&file.content),
        None => {
            let there: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
            let next = match there.is_empty() {
                true => "no file is attached at all".to_owned(),
                false => format!("attached are {}", there.join(", ")),
            };
            Err(Failure::new(Kind::NotFound, format!("no file {name} is attached")).next(next))
        }
    }
}

fn in_words(dataset: &Dataset, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let (state, name) = (dataset.state(), dataset.name()?);
    let nothing = |what: &str| format!("none; `odfs alter {name} {what}` gives it one");
    let info = state.info.clone().unwrap_or_default();
    let licence = state.license.as_ref();
    let licence = licence.map(|licence| format!("{}, {}", licence.name, licence.website_url));
    let files = attached(dataset)?.into_iter().map(|file| {
        let size = output::bytes(file.content.len() as u64);
        format!("{} ({size})", file.path)
    });
    let keywords = info.keywords.unwrap_or_default();
    let public = name_of(&dataset.id()).filter(|_| {
        session
            .workspace()
            .is_ok_and(|it| it.is_published(&dataset.id()).unwrap_or(false))
    });
    let mut lines = vec![
        (
            "description",
            info.description.unwrap_or_else(|| nothing("--description TEXT")),
        ),
        ("licence", licence.unwrap_or_else(|| nothing("--license SPDX"))),
    ];
    let mut line = |what: &'static str, text: String| {
        if !text.is_empty() {
            lines.push((what, text));
        }
    };
    line("keywords", keywords.join(", "));
    line("attached", files.collect::<Vec<_>>().join(", "));
    line("columns", columns(dataset).join(", "));
    line(
        "key",
        merge(dataset)
            .map(|merge| merge.primary_key().join(", "))
            .unwrap_or_default(),
    );
    line(
        "new rows",
        merge(dataset)
            .map(|merge| meaning(merge).to_owned())
            .unwrap_or_default(),
    );
    let from = dataset.remote_aliases()?.pull_aliases.join(", ");
    line(
        "from",
        match (from.is_empty(), state.kind) {
            (false, _) => from,
            (true, DatasetKind::Root) => "here".to_owned(),
            (true, DatasetKind::Derivative) => format!("computed here; `odfs inspect query {name}` shows how"),
        },
    );
    line(
        "name",
        public.map(|public| format!("ipns://{public}")).unwrap_or_default(),
    );
    line("changed", output::time(state.system_time.datetime()).to_string());
    io.line(name.as_str())?;
    for (what, text) in lines {
        io.line(format_args!("  {what:<12} {text}"))?;
    }
    Ok(())
}

fn in_json(dataset: &Dataset, io: &mut Io) -> Result<(), Failure> {
    let state = dataset.state();
    let info = state.info.clone().unwrap_or_default();
    let licence = state.license.as_ref().map(|licence| {
        json!({
            "name": licence.name,
            "shortName": licence.short_name,
            "spdxId": licence.spdx_id,
            "url": licence.website_url,
        })
    });
    let files = attached(dataset)?;
    let files: Vec<_> = files
        .iter()
        .map(|file| json!({ "name": file.path, "bytes": file.content.len() }))
        .collect();
    io.object(&json!({
        "dataset": dataset.name()?.as_str(),
        "id": dataset.id().to_string(),
        "description": info.description,
        "keywords": info.keywords.unwrap_or_default(),
        "license": licence,
        "attached": files,
        "columns": columns(dataset),
        "primaryKey": merge(dataset).map(MergeStrategy::primary_key).unwrap_or_default(),
        "merge": merge(dataset).map(|merge| merge.kind()),
        "from": dataset.remote_aliases()?.pull_aliases,
        "head": dataset.head().to_string(),
        "changed": state.system_time.to_string(),
    }))
}

fn merge(dataset: &Dataset) -> Option<&MergeStrategy> {
    dataset.state().merge_strategy()
}

/// The names of the columns but those that every dataset has.
fn columns(dataset: &Dataset) -> Vec<&str> {
    let vocabulary = dataset.state().vocabulary();
    let system = [
        &vocabulary.offset_column,
        &vocabulary.operation_type_column,
        &vocabulary.system_time_column,
    ];
    let schema = dataset.state().schema.as_ref().and_then(|event| event.schema.as_ref());
    let fields = schema.map(|schema| schema.fields.as_slice()).unwrap_or_default();
    let own = fields.iter().filter(|field| !system.contains(&&field.name));
    own.map(|field| field.name.as_str()).collect()
}

/// What a strategy does with rows that come.
fn meaning(merge: &MergeStrategy) -> &'static str {
    match merge {
        MergeStrategy::Append => "all are added (append)",
        MergeStrategy::Ledger { .. } => "added where their key is new (ledger)",
        MergeStrategy::Snapshot { .. } => "are all that holds: others are retracted (snapshot)",
        MergeStrategy::ChangelogStream { .. } => "say themselves what they do (changelog)",
        MergeStrategy::UpsertStream { .. } => "take the place of those with their key (upsert)",
    }
}
