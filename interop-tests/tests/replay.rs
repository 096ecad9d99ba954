//! kamu's own datasets made again from their manifests and inputs with nothing but the command line: every metadata
//! block, every slice and the head must come out byte for byte.

use interop_tests::peers::note;
use interop_tests::reference::golden;
use interop_tests::site::Site;
use interop_tests::{Outcome, Workspace};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What kamu 0.265 writes into the footers of its slices.
const CREATED_BY: &str = "datafusion version 54.1.0";
/// When all manifests were added.
const ADDED: &str = "2026-01-01T00:00:00.123456789Z";
/// Where the manifests of polling sources say that their data is.
const SITE: &str = "127.0.0.1:18123";

/// How the inputs of a dataset were taken in, as the reference data's own description has it.
enum Taken {
    /// `ingest`, hourly from the first of June.
    Pushed,
    /// The same with `--event-time` on the first of a month, January first.
    PushedMonthly,
    /// `pull`, at these times.
    Polled(&'static [&'static str]),
    /// Never.
    Never,
}

const DATASETS: [(&str, Taken); 8] = [
    ("sensors.push", Taken::Pushed),
    ("counter.long", Taken::Pushed),
    ("cities.snapshot", Taken::PushedMonthly),
    ("cities.upsertstream", Taken::PushedMonthly),
    ("cities.changelog", Taken::PushedMonthly),
    (
        "weather.seattle",
        Taken::Polled(&[
            "2026-01-15T12:00:00Z",
            "2026-02-15T12:00:01Z",
            "2026-03-15T12:00:02Z",
            "2026-04-15T12:00:03Z",
        ]),
    ),
    (
        "earthquakes.usgs",
        Taken::Polled(&["2026-04-01T00:00:00Z", "2026-04-02T00:00:00Z"]),
    ),
    // Its input is weather.seattle, which has to be there.
    ("weather.monthly", Taken::Never),
];

#[test]
fn datasets_of_kamu_are_made_again_from_the_command_line() -> Outcome {
    let golden = golden();
    let workspace = Workspace::new()?;
    workspace.odfs(["config", "set", "parquet.createdBy", CREATED_BY])?;
    let site = Site::at(SITE)?;
    let mut table = String::from("replayed                blocks  slices  head\n");
    for (name, taken) in DATASETS {
        let dir = golden.join(name);
        replay(&workspace, &site, name, &taken, &dir).map_err(|failure| failure.during(name))?;
        table.push_str(&compare(&workspace, name, &dir.join("dataset")).map_err(|failure| failure.during(name))?);
    }
    note(&table);
    Ok(())
}

/// Adds the manifest and takes in every input.
fn replay(workspace: &Workspace, site: &Site, name: &str, taken: &Taken, dir: &Path) -> Outcome {
    let id = fs::read_to_string(dir.join("id.txt"))?;
    let manifest = dir.join("manifest.yaml").display().to_string();
    workspace.odfs(["--system-time", ADDED, "add", &manifest, "--dataset-id", id.trim()])?;
    for (at, input) in inputs(dir).into_iter().enumerate() {
        let file = input.display().to_string();
        let hour = format!("2026-06-{:02}T{:02}:00:00.5Z", 1 + at / 24, at % 24);
        let month = format!("2026-{:02}-01T00:00:00Z", at + 1);
        match taken {
            Taken::Pushed => workspace.odfs(["--system-time", &hour, "ingest", name, &file])?,
            Taken::PushedMonthly => {
                workspace.odfs(["--system-time", &hour, "ingest", name, &file, "--event-time", &month])?
            }
            Taken::Polled(times) => {
                let extension = input.extension().unwrap_or_default().to_string_lossy();
                // One day later each time: the first of January 2026 was a Thursday.
                let weekday = ["Thu", "Fri", "Sat", "Sun"][at % 4];
                let modified = format!("{weekday}, {:02} Jan 2026 00:00:00 GMT", at + 1);
                site.put(&format!("/{name}/source.{extension}"), fs::read(&input)?, &modified);
                let time = times.get(at).ok_or("more inputs than times")?;
                workspace.odfs(["--system-time", time, "pull", name])?
            }
            Taken::Never => return Err("an input that nobody took".into()),
        };
    }
    Ok(())
}

/// `in0`, `in1` and so on, whatever their extensions.
fn inputs(dir: &Path) -> Vec<PathBuf> {
    let find = |at: usize| {
        let with = |extension: &str| dir.join(format!("in{at}.{extension}"));
        ["csv", "ndjson", "geojson"]
            .into_iter()
            .map(with)
            .find(|path| path.exists())
    };
    (0..).map_while(find).collect()
}

/// Exports the dataset and compares every file of it with kamu's; a line for the table.
fn compare(workspace: &Workspace, name: &str, theirs: &Path) -> Outcome<String> {
    let ours = workspace.path().join(format!("export-{name}"));
    workspace.odfs(["export", name, &ours.display().to_string()])?;
    let head = fs::read_to_string(theirs.join("refs/head"))?;
    let (mut blocks, mut slices) = (0, 0);
    // What differs first in the chain says more than the head does.
    let log = |log: String| log.lines().map(str::to_owned).collect::<Vec<_>>();
    let printed = workspace.odfs(["log", name, "--output", "yaml"])?.stdout;
    let our_log = log(String::from_utf8_lossy(&printed).into_owned());
    let their_log = log(fs::read_to_string(theirs.with_file_name("log.yaml"))?);
    for (at, (ours, theirs)) in our_log.iter().rev().zip(their_log.iter().rev()).enumerate() {
        if ours != theirs {
            return Err(format!("log, line {at} from the end:\n  ours {ours}\nkamu's {theirs}").into());
        }
    }
    for part in ["blocks", "data", "checkpoints", "refs"] {
        let (ours, theirs) = (files(&ours.join(part))?, files(&theirs.join(part))?);
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        if names(&ours) != names(&theirs) {
            return Err(format!("{part}: {:?}\ninstead of {:?}", names(&ours), names(&theirs)).into());
        }
        if let Some((name, _)) = ours.iter().find(|(name, bytes)| theirs.get(*name) != Some(*bytes)) {
            return Err(format!("{part}/{name} has other bytes").into());
        }
        match part {
            "blocks" => blocks = ours.len(),
            "data" => slices = ours.len(),
            _ => {}
        }
    }
    Ok(format!("{name:<22} {blocks:>7} {slices:>7}  {head}\n"))
}

/// The files of a folder with their content; none if there is no folder.
fn files(folder: &Path) -> Outcome<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    if folder.is_dir() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            files.insert(
                entry.file_name().to_string_lossy().into_owned(),
                fs::read(entry.path())?,
            );
        }
    }
    Ok(files)
}
