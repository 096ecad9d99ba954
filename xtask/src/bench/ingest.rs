//! Taking tables in: three million flights from Parquet and from CSV, a ledger against itself, and a ledger over ten
//! million earlier rows.
//!
//! The flights are made up, unless `--flights` names a Parquet file with real ones. With `--duckdb` each file is also copied
//! to a Parquet file by DuckDB, with as many threads as there are processors: it reads, finds the types and writes, and
//! neither hashes nor syncs.

use super::row::{Beside, Figure, Row, Scale};
use crate::Failure;
use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampMillisecondArray};
use arrow::record_batch::RecordBatch;
use interop_tests::Workspace;
use interop_tests::process::{Finished, run};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// How long one ingest may take before the benchmark gives up.
const LIMIT: Duration = Duration::from_secs(300);
/// Files that the earlier rows of the large ledger come in.
const PARTS: u64 = 10;
/// Rows that are made at a time.
const STEP: u64 = 1 << 16;
/// What DuckDB is asked: the seconds that a copy takes, without those of Python's start.
const DUCKDB_COPIES: &str = "
import sys, time, duckdb
source, target = sys.argv[1:]
connection = duckdb.connect()
began = time.perf_counter()
connection.execute(f\"COPY (SELECT * FROM '{source}') TO '{target}' (FORMAT parquet)\")
print(time.perf_counter() - began)
";
/// Columns of the flights that tell one from another.
const FLIGHT_KEY: &str = "[date, origin, destination, delay, distance]";

/// Each row is an `odfs ingest` from its start to its end, with the slice hashed, written, synced and laid out.
pub(super) fn rows(scale: &Scale) -> Result<Vec<Row>, Failure> {
    let mut rows = Flights::new(scale.flights, scale.real_flights.as_deref())?.rows(scale.duckdb.as_deref())?;
    rows.push(large_ledger(scale.ledger)?);
    Ok(rows)
}

/// The same flights as Parquet, CSV and NDJSON.
struct Flights {
    workspace: Workspace,
    parquet: PathBuf,
    csv: PathBuf,
    ndjson: PathBuf,
    rows: u64,
    /// What the rows are.
    of: &'static str,
}

impl Flights {
    /// `limit` of them: the first ones of `real`, a Parquet file, or made up.
    fn new(limit: u64, real: Option<&Path>) -> Result<Self, Failure> {
        let workspace = Workspace::new()?;
        let [parquet, csv, ndjson] =
            ["parquet", "csv", "ndjson"].map(|form| workspace.path().join(format!("flights.{form}")));
        let batches: Box<dyn Iterator<Item = Result<RecordBatch, Failure>>> = match real {
            Some(file) => {
                let opened = File::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
                let reader = ParquetRecordBatchReaderBuilder::try_new(opened)
                    .map_err(text)?
                    .with_limit(usize::try_from(limit).unwrap_or(usize::MAX))
                    .build()
                    .map_err(text)?;
                Box::new(reader.map(|batch| batch.map_err(text)))
            }
            None => Box::new((0..limit.div_ceil(STEP)).map(move |step| made_up_flights(step * STEP, limit))),
        };
        let mut table = arrow::csv::Writer::new(BufWriter::new(File::create(&csv)?));
        let mut objects = arrow::json::LineDelimitedWriter::new(BufWriter::new(File::create(&ndjson)?));
        let mut columns = None;
        let mut rows = 0;
        for batch in batches {
            let batch = batch?;
            table.write(&batch).map_err(text)?;
            objects.write(&batch).map_err(text)?;
            rows += batch.num_rows() as u64;
            if columns.is_none() {
                columns = Some(writer(&parquet, &batch)?);
            }
            if let Some(columns) = &mut columns {
                columns.write(&batch).map_err(text)?;
            }
        }
        columns.ok_or("no flights")?.close().map_err(text)?;
        objects.finish().map_err(text)?;
        objects.into_inner().into_inner().map_err(text)?;
        if rows < limit {
            return Err(format!("{rows} flights instead of {limit}").into());
        }
        if let Some(real) = real.filter(|_| limit == 3_000_000) {
            // As it came, for figures that others can repeat.
            std::fs::copy(real, &parquet)?;
        }
        Ok(Self {
            workspace,
            parquet,
            csv,
            ndjson,
            rows,
            of: if real.is_some() { "flights" } else { "made-up flights" },
        })
    }

    fn rows(&self, duckdb: Option<&Path>) -> Result<Vec<Row>, Failure> {
        let columns = "schema: {fields: [{name: date, type: Timestamp}, {name: delay, type: Int64}, {name: distance, type: \
                       Int64}, {name: origin, type: String}, {name: destination, type: String}]}";
        let csv = format!("{{kind: Csv, header: true, {columns}}}");
        let ndjson = format!("{{kind: NdJson, {columns}}}");
        let append = "{kind: Append}";
        let ledger = format!("{{kind: Ledger, primaryKey: {FLIGHT_KEY}}}");
        add(&self.workspace, "from.parquet", "{kind: Parquet}", append, "date")?;
        add(&self.workspace, "from.csv", &csv, append, "date")?;
        add(&self.workspace, "from.ndjson", &ndjson, append, "date")?;
        add(&self.workspace, "ledger", "{kind: Parquet}", &ledger, "date")?;
        let parquet = ingest(&self.workspace, "from.parquet", &self.parquet)?;
        let from_csv = ingest(&self.workspace, "from.csv", &self.csv)?;
        let from_ndjson = ingest(&self.workspace, "from.ndjson", &self.ndjson)?;
        ingest(&self.workspace, "ledger", &self.parquet)?;
        let again = ingest(&self.workspace, "ledger", &self.parquet)?;
        if self.workspace.dataset("ledger")?.records != self.rows {
            return Err("the ledger took a row twice".into());
        }
        let millions = self.rows as f64 / 1e6;
        let mut rows = Vec::new();
        for (from, finished, file, wanted, duckdb) in [
            ("Parquet", parquet, &self.parquet, "2.33 s, 1 GiB (kamu: 3.5 s)", duckdb),
            ("CSV", from_csv, &self.csv, "1.80 s, 1 GiB (kamu: 2.7 s)", duckdb),
            ("NDJSON", from_ndjson, &self.ndjson, "1 GiB, 0.8x of DuckDB", duckdb),
            (
                "Parquet again, ledger",
                again,
                &self.parquet,
                "1.47 s, 1 GiB (kamu: 2.2 s)",
                None,
            ),
        ] {
            let what = format!("ingest {millions:.2} M {}, {from}", self.of);
            let mut row = row(what, &finished, self.rows, std::fs::metadata(file)?.len(), wanted);
            if let Some(python) = duckdb {
                let (beside, peak) = copy_by_duckdb(python, file)?;
                row.beside = Some(beside);
                row.more = format!("{}, DuckDB's peak {:.0} MiB", row.more, mebibytes(peak));
            }
            rows.push(row);
        }
        Ok(rows)
    }
}

/// Copies `file` to a Parquet file by DuckDB: what it took, and the most memory that it and its Python had resident.
fn copy_by_duckdb(python: &Path, file: &Path) -> Result<(Beside, u64), Failure> {
    let mut command = Command::new(python);
    let target = file.with_extension("duckdb.parquet");
    command.args(["-c", DUCKDB_COPIES]).arg(file).arg(&target);
    let finished = run(command, LIMIT)?.success()?;
    std::fs::remove_file(&target)?;
    let seconds: f64 = finished.text().parse().map_err(text)?;
    let beside = Beside {
        who: "DuckDB",
        figure: Figure::Took(Duration::from_secs_f64(seconds)),
    };
    Ok((beside, finished.peak_memory))
}

/// A batch that is half known against `earlier` rows.
fn large_ledger(earlier: u64) -> Result<Row, Failure> {
    let workspace = Workspace::new()?;
    add(
        &workspace,
        "large",
        "{kind: Parquet}",
        "{kind: Ledger, primaryKey: [id]}",
        "at",
    )?;
    let part = workspace.path().join("part.parquet");
    let size = earlier / PARTS;
    for at in 0..PARTS {
        generate(&part, at * size, size)?;
        ingest(&workspace, "large", &part)?;
    }
    generate(&part, earlier - size / 2, size)?;
    let finished = ingest(&workspace, "large", &part)?;
    let records = workspace.dataset("large")?.records;
    if records != earlier + size / 2 {
        return Err(format!("{records} rows after all").into());
    }
    let what = format!("ledger: {size} rows over {:.1} M earlier", earlier as f64 / 1e6);
    let bytes = std::fs::metadata(&part)?.len();
    Ok(row(what, &finished, size, bytes, "1 GiB"))
}

/// Adds a dataset with one push source.
fn add(workspace: &Workspace, name: &str, read: &str, merge: &str, event_time: &str) -> Result<(), Failure> {
    let manifest = format!(
        "kind: DatasetSnapshot\nversion: 1\ncontent:\n  name: {name}\n  kind: Root\n  metadata:\n    \
         - {{kind: AddPushSource, sourceName: default, read: {read}, merge: {merge}}}\n    \
         - {{kind: SetVocab, eventTimeColumn: {event_time}}}\n"
    );
    let file = workspace
        .write(&format!("{name}.yaml"), manifest)?
        .display()
        .to_string();
    workspace.odfs(["add", &file])?;
    Ok(())
}

fn ingest(workspace: &Workspace, name: &str, file: &Path) -> Result<Finished, Failure> {
    let file = file.display().to_string();
    run(workspace.command(["ingest", name, &file])?, LIMIT)?.success()
}

/// Flights from number `first` on, at most [`STEP`] and none from `limit` on, one a minute and so each of them different.
fn made_up_flights(first: u64, limit: u64) -> Result<RecordBatch, Failure> {
    let ids: Vec<i64> = (first..limit.min(first + STEP)).map(|id| id as i64).collect();
    let each = |of: fn(i64) -> i64| Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| of(*id)))) as ArrayRef;
    let airport = |of: fn(i64) -> i64| {
        let name = |id: &i64| format!("A{:02}", of(*id));
        Arc::new(StringArray::from_iter_values(ids.iter().map(name))) as ArrayRef
    };
    let date = ids.iter().map(|id| 978_307_200_000 + id * 60_000);
    RecordBatch::try_from_iter([
        (
            "date",
            Arc::new(TimestampMillisecondArray::from_iter_values(date)) as ArrayRef,
        ),
        ("delay", each(|id| id * 7_919 % 181 - 60)),
        ("distance", each(|id| 100 + id * 104_729 % 2_600)),
        ("origin", airport(|id| id * 31 % 97)),
        ("destination", airport(|id| id * 17 % 89)),
    ])
    .map_err(text)
}

/// Rows of a large table: an id that counts, a time, a place, a measurement.
fn generate(path: &Path, first: u64, rows: u64) -> Result<(), Failure> {
    let mut columns = None;
    let ids: Vec<i64> = (first..first + rows).map(|id| id as i64).collect();
    for ids in ids.chunks(STEP as usize) {
        let at = TimestampMillisecondArray::from_iter_values(ids.iter().map(|id| 1_500_000_000_000 + id * 1_000));
        let place = StringArray::from_iter_values(ids.iter().map(|id| format!("station-{}", id % 1_000)));
        let value = Float64Array::from_iter_values(ids.iter().map(|id| (id * 7_919 % 100_003) as f64 / 8.0));
        let batch = RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef),
            ("at", Arc::new(at.with_timezone("UTC"))),
            ("place", Arc::new(place)),
            ("value", Arc::new(value)),
        ])
        .map_err(text)?;
        if columns.is_none() {
            columns = Some(writer(path, &batch)?);
        }
        if let Some(columns) = &mut columns {
            columns.write(&batch).map_err(text)?;
        }
    }
    columns.ok_or("no rows")?.close().map_err(text)?;
    Ok(())
}

fn writer(path: &Path, like: &RecordBatch) -> Result<ArrowWriter<File>, Failure> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    ArrowWriter::try_new(File::create(path)?, like.schema(), Some(properties)).map_err(text)
}

fn row(what: String, finished: &Finished, rows: u64, bytes: u64, wanted: &'static str) -> Row {
    let rate = rows as f64 / finished.took.as_secs_f64() / 1e6;
    Row {
        what,
        odfs: Figure::Took(finished.took),
        beside: None,
        wanted,
        more: format!(
            "{rate:.2} M rows/s, {:.1} MB in, peak {:.0} MiB",
            bytes as f64 / 1e6,
            mebibytes(finished.peak_memory)
        ),
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn text(error: impl std::fmt::Display) -> Failure {
    error.to_string().into()
}
