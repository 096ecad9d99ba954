//! `odfs add`

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use odf::catalog::Entry;
use odf::dataset::{Dataset, DatasetName};
use odf::ingest::source::{Problem, check_step};
use odf::metadata::{DatasetId, MetadataEvent, Transform};
use odf::snapshot::{Added, Manifest, Options, Plan};
use odf::{sql, yaml};

use super::announce::ReportFormat;
use super::approve;
use super::input::read_text;
use crate::failure::{Failure, Kind};
use crate::io::Io;
use crate::session::Session;

/// How deep directories are searched for manifests.
const MAX_DIRECTORY_DEPTH: usize = 64;
/// The most manifest files that one call takes.
const MAX_FILES: usize = 10_000;
/// The engines of ODF. A manifest may name any: whoever runs it needs it, not whoever adds it.
const ENGINES: [&str; 4] = ["datafusion", "flink", "spark", "risingwave"];
/// In how many lines, comments apart, a file must say that it holds a dataset to be found by --recursive.
const LINES_TO_TELL: usize = 4;

/// Make datasets from manifests: YAML of the kind DatasetSnapshot
///
/// A file may hold several documents. All manifests of one call belong together: inputs are made before what is computed
/// from them, and if one manifest is wrong nothing is made. Datasets whose names are taken stay as they are. `odfs new`
/// writes a manifest to begin with.
///
/// Their sources are approved: what they say is what you say. Look at manifests of others before you add them.
#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// Manifests: files, http(s) URLs, or `-` for standard input; directories with --recursive
    #[arg(value_name = "FILE|-|URL", required_unless_present = "stdin")]
    manifests: Vec<String>,
    /// Read manifests from standard input
    #[arg(long, conflicts_with_all = ["manifests", "recursive"])]
    stdin: bool,
    /// Take every .yaml and .yml file below these directories that holds a DatasetSnapshot
    #[arg(short, long)]
    recursive: bool,
    /// Delete datasets of the same names first
    #[arg(long)]
    replace: bool,
    /// Name of the dataset, instead of that in the manifest; for one manifest
    #[arg(long)]
    name: Option<DatasetName>,
    /// Id of the dataset, instead of a new one; for one manifest. Its key is elsewhere, so publish it with `odfs push
    /// --to ipns://K`
    #[arg(long, value_name = "DID")]
    dataset_id: Option<DatasetId>,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t = ReportFormat::Text, value_name = "FORMAT")]
    output: ReportFormat,
}

pub(super) fn run(args: &AddArgs, session: &Session, io: &mut Io) -> Result<(), Failure> {
    let mut manifests = Vec::new();
    for origin in origins(args, io)? {
        io.check()?;
        let text = read_text(&origin, yaml::MAX_MANIFEST_BYTES as u64, io)?;
        let shown = if origin == "-" { "standard input" } else { &origin };
        let snapshots = yaml::read_snapshots(&text).map_err(|error| Failure::from(error).about(shown))?;
        manifests.extend((1..).zip(snapshots).map(|(document, snapshot)| Manifest {
            origin: shown.to_owned(),
            document,
            snapshot,
        }));
    }
    let mut doubts = Vec::new();
    for manifest in &manifests {
        check(manifest, &mut doubts)?;
    }
    if let Some(name) = &args.name {
        match manifests.as_mut_slice() {
            [one] => one.snapshot.name = name.to_string(),
            several => {
                let count = several.len();
                return Err(
                    Failure::usage(format!("--name is for one manifest, and there are {count}"))
                        .next("add the one manifest alone"),
                );
            }
        }
    }
    let options = Options {
        replace: args.replace,
        id: args.dataset_id,
    };
    let (workspace, now) = (session.workspace()?, io.now()?);
    // From the look at what is there until it has changed.
    let _making = session.making();
    let plan = Plan::make(workspace.catalog(), manifests, &options, now)?;
    let replaced: Vec<String> = plan.replaced().map(Entry::label).collect();
    if !replaced.is_empty() {
        let question = format!("Delete {} with all their rows, and add them anew?", replaced.join(", "));
        io.confirm(&question)?;
    }
    let skipped = plan.skipped().to_vec();
    let added = plan.carry_out(workspace.datasets(), workspace, now)?;
    for doubt in doubts {
        io.say(format_args!("Note: {doubt}; nothing can be taken until that is mended"));
    }
    for added in &added {
        for engine in unknown_engines(&added.dataset) {
            let name = &added.name;
            io.say(format_args!(
                "Note: the engine `{engine}` of {name} is not one of {}",
                ENGINES.join(", ")
            ));
        }
    }
    for added in &added {
        approve::added(&added.dataset, session, io)?;
    }
    report(&added, &skipped, args.output, io)
}

/// Refuses a manifest that computes its rows by a query that is none. Sources by which nothing can be read, with options that
/// nobody knows, columns that cannot be understood, or such a query, are only told of in `doubts`: kamu adds such a manifest,
/// and refuses the rows.
fn check(manifest: &Manifest, doubts: &mut Vec<String>) -> Result<(), Failure> {
    let about = |failure: Failure| failure.about(format_args!("{}, {}", manifest.origin, manifest.snapshot.name));
    for event in &manifest.snapshot.metadata {
        let (read, transform) = match event {
            MetadataEvent::AddPushSource(source) => (Some(&source.read), source.preprocess.as_ref()),
            MetadataEvent::SetPollingSource(source) => (Some(&source.read), source.preprocess.as_ref()),
            MetadataEvent::SetTransform(set) => (None, Some(&set.transform)),
            _ => continue,
        };
        let is_source = read.is_some();
        if let Some(read) = read {
            match check_step("its source", read) {
                Err(error) if matches!(error.problem, Problem::Declaration(_) | Problem::Option { .. }) => {
                    doubts.push(format!("{}, {}: {error}", manifest.origin, manifest.snapshot.name));
                }
                checked => checked.map_err(|error| about(error.into()))?,
            }
        }
        if let Some(transform) = transform {
            match sql::check(transform) {
                Err(error) if is_source => {
                    doubts.push(format!("{}, {}: {error}", manifest.origin, manifest.snapshot.name));
                }
                checked => checked.map_err(|error| about(error.into()))?,
            }
        }
    }
    Ok(())
}

/// The engines that SQL of the sources and the transform of a dataset names, apart from [`ENGINES`].
fn unknown_engines(dataset: &Dataset) -> BTreeSet<&str> {
    let state = dataset.state();
    let polling = state
        .polling_source
        .iter()
        .filter_map(|source| source.preprocess.as_ref());
    let push = state
        .push_sources
        .values()
        .filter_map(|source| source.preprocess.as_ref());
    let transform = state.transform.iter().map(|set| &set.transform);
    let engines = polling
        .chain(push)
        .chain(transform)
        .map(|Transform::Sql(sql)| sql.engine.as_str());
    engines.filter(|engine| !ENGINES.contains(engine)).collect()
}

fn report(added: &[Added], skipped: &[Entry], format: ReportFormat, io: &mut Io) -> Result<(), Failure> {
    if format == ReportFormat::Json {
        let skipped = skipped
            .iter()
            .map(|entry| serde_json::json!({"name": entry.label(), "id": entry.id.to_string(), "skipped": true}));
        let objects: Vec<serde_json::Value> = added.iter().map(object).chain(skipped).collect();
        return io.line(serde_json::to_string_pretty(&objects).map_err(std::io::Error::from)?);
    }
    for Added {
        dataset,
        name,
        replaced,
    } in added
    {
        let done = if replaced.is_some() { "Replaced" } else { "Added" };
        let blocks = dataset.state().blocks();
        io.line(format_args!(
            "{done} {name}: {}, {blocks} metadata block(s), {}",
            dataset.kind(),
            dataset.id()
        ))?;
    }
    for entry in skipped {
        io.line(format_args!(
            "Skipped {}: it exists already ({}) and stays as it is; --replace makes it anew, --name another one",
            entry.label(),
            entry.id
        ))?;
    }
    Ok(())
}

fn object(added: &Added) -> serde_json::Value {
    serde_json::json!({
        "name": added.name.as_str(),
        "id": added.dataset.id().to_string(),
        "kind": added.dataset.kind().name(),
        "head": added.dataset.head().to_string(),
        "blocks": added.dataset.state().blocks(),
        "replaced": added.replaced.map(|id| id.to_string()),
    })
}

/// What to read, in order, each once.
fn origins(args: &AddArgs, io: &Io) -> Result<Vec<String>, Failure> {
    if args.stdin {
        return Ok(vec!["-".to_owned()]);
    }
    let mut found = Vec::new();
    for manifest in &args.manifests {
        if args.recursive {
            search(Path::new(manifest), io, &mut found)?;
        } else if io.resolve(Path::new(manifest)).is_dir() {
            return Err(Failure::usage(format!("{manifest} is a directory"))
                .next("take the manifests below it with --recursive"));
        } else {
            found.push(manifest.clone());
        }
    }
    let mut seen = BTreeSet::new();
    found.retain(|origin| seen.insert(origin.clone()));
    if found.is_empty() {
        return Err(Failure::new(
            Kind::NotFound,
            "there is no DatasetSnapshot in any .yaml or .yml file there",
        ));
    }
    Ok(found)
}

/// The manifest files below a directory, in the order of their names. Links to directories are not followed.
fn search(root: &Path, io: &Io, found: &mut Vec<String>) -> Result<(), Failure> {
    let mut ahead: Vec<(PathBuf, usize)> = vec![(root.to_owned(), 0)];
    while let Some((shown, depth)) = ahead.pop() {
        io.check()?;
        let path = io.resolve(&shown);
        let failed = |error: std::io::Error| Failure::file(&path, &error);
        let is_dir = if depth == 0 {
            fs::metadata(&path).map_err(failed)?.is_dir()
        } else {
            fs::symlink_metadata(&path).map_err(failed)?.is_dir()
        };
        if is_dir {
            if depth == MAX_DIRECTORY_DEPTH {
                return Err(Failure::usage(format!(
                    "{}: directories nest deeper than {MAX_DIRECTORY_DEPTH}",
                    path.display()
                )));
            }
            let entries = fs::read_dir(&path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(failed)?;
            let mut names: Vec<_> = entries.into_iter().map(|entry| entry.file_name()).collect();
            names.sort_unstable_by(|a, b| b.cmp(a));
            ahead.extend(names.into_iter().map(|name| (shown.join(name), depth + 1)));
            continue;
        }
        let extension = path
            .extension()
            .and_then(|extension| extension.to_str())
            .unwrap_or_default();
        if depth > 0 && !matches!(extension, "yaml" | "yml") {
            continue;
        }
        if depth > 0 && !tells_of_a_dataset(&path)? {
            continue;
        }
        if found.len() == MAX_FILES {
            return Err(
                Failure::usage(format!("there are more than {MAX_FILES} manifest files"))
                    .next("add them directory by directory"),
            );
        }
        let name = shown.to_str().ok_or_else(|| {
            Failure::usage(format!("{} is no name in UTF-8", shown.display())).next("rename the file")
        })?;
        found.push(name.to_owned());
    }
    Ok(())
}

/// Whether the first lines of a file name the kind DatasetSnapshot. Other YAML lies around in most directories.
fn tells_of_a_dataset(path: &Path) -> Result<bool, Failure> {
    /// More than any first lines with comments.
    const MAX_HEAD_BYTES: u64 = 64 << 10;
    use std::io::Read;
    let mut head = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(MAX_HEAD_BYTES).read_to_end(&mut head));
    read.map_err(|error| Failure::file(path, &error))?;
    let head = String::from_utf8_lossy(&head);
    let lines = head.lines().map(str::trim);
    let mut lines = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .take(LINES_TO_TELL);
    Ok(lines.any(|line| line.contains("DatasetSnapshot")))
}
