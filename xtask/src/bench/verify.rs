//! Every byte of a dataset of many slices checked again.

use super::row::{Beside, Figure, Row, Scale};
use crate::Failure;
use interop_tests::process::{Running, run};
use interop_tests::{Workspace, content};
use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long either side may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Bytes of a slice, about.
const SLICE_BYTES: usize = 400 << 10;

/// `odfs verify` on one core and on all, and OpenSSL's SHA3-256 over the same slices on the same cores, a process on each, which
/// checks no chain.
pub(super) fn rows(scale: &Scale) -> Result<Vec<Row>, Failure> {
    let workspace = Workspace::new()?;
    let manifest = "kind: DatasetSnapshot\nversion: 1\ncontent:\n  name: noise\n  kind: Root\n  metadata:\n    \
                    - {kind: AddPushSource, sourceName: default, read: {kind: NdJson, schema: {fields: [{name: noise, type: String}]}}, \
                    merge: {kind: Append}}\n";
    let manifest = workspace.write("noise.yaml", manifest)?.display().to_string();
    workspace.odfs(["add", &manifest])?;
    let files = (0..scale.slices.first().copied().unwrap_or(1))
        .map(|at| {
            let mut table = String::new();
            for row in content::bytes(SLICE_BYTES, u64::from(at)).chunks(64) {
                table.push_str("{\"noise\":\"");
                for byte in row {
                    let _ = write!(table, "{byte:02x}");
                }
                table.push_str("\"}\n");
            }
            let file = workspace.write(&format!("{at}.ndjson"), table)?;
            Ok(file.display().to_string())
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    for some in files.chunks(100) {
        let mut ingest = workspace.command(["ingest", "noise"])?;
        ingest.args(some);
        run(ingest, LIMIT)?.success()?;
    }

    let dataset = workspace.dataset("noise")?;
    let data = workspace
        .store()
        .join("datasets")
        .join(dataset.id.trim_start_matches("did:odf:"))
        .join("data");
    let slices = std::fs::read_dir(&data)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>, Failure>>()?;
    let bytes = slices
        .iter()
        .map(|slice| Ok(std::fs::metadata(slice)?.len()))
        .sum::<Result<u64, Failure>>()?;

    let cores = std::thread::available_parallelism()?.get();
    let rate = |took: Duration| bytes as f64 / took.as_secs_f64() / 1e6;
    let mut rows = Vec::new();
    for (cores, wanted) in [(1, "300 MB/s"), (cores, "ratio of 1 at least")] {
        let last = cores - 1;
        let on_cores = format!("0-{last}");
        let odfs = workspace.command(["verify", "noise"])?;
        let mut pinned = Command::new("taskset");
        pinned
            .args(["-c", &on_cores])
            .arg(odfs.get_program())
            .args(odfs.get_args());
        pinned.current_dir(workspace.path()).env_clear();
        for (name, value) in odfs.get_envs() {
            if let Some(value) = value {
                pinned.env(name, value);
            }
        }
        let verified = run(pinned, LIMIT)?.success()?.took;
        let began = Instant::now();
        let hashing = slices
            .chunks(slices.len().div_ceil(cores))
            .enumerate()
            .map(|(core, part)| {
                let mut openssl = Command::new("taskset");
                openssl
                    .args(["-c", &core.to_string(), "openssl", "dgst", "-sha3-256"])
                    .args(part);
                Running::start(openssl)
            });
        for hashing in hashing.collect::<Result<Vec<_>, _>>()? {
            hashing.finish(LIMIT)?.success()?;
        }
        let hashed = began.elapsed();
        rows.push(Row {
            what: format!(
                "verify {} slices, {:.0} MB, {cores} core(s)",
                slices.len(),
                bytes as f64 / 1e6
            ),
            odfs: Figure::Took(verified),
            beside: Some(Beside {
                who: "OpenSSL",
                figure: Figure::Took(hashed),
            }),
            wanted,
            more: format!("{:.0} MB/s; OpenSSL {:.0} MB/s", rate(verified), rate(hashed)),
        });
    }
    Ok(rows)
}
