//! What commands and a node cost in a workspace of very many datasets, each published under a name of its own.
//!
//! ```text
//! cargo run --release -p odfs --example many_datasets -- DIRECTORY ODFS NUMBER…
//! ```
//!
//! DIRECTORY is for the workspace, which is left there and grows to each of the numbers in turn. ODFS is the binary that is
//! measured, by its full path. The datasets are copies of one that it publishes first, made by the library: each has a key, a
//! slice with a row of its own, a pinned root and a signed name.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array};
use arrow::record_batch::RecordBatch;
use odf::Workspace;
use odf::dataset::{Dataset, NewDataset};
use odf::metadata::{AddData, DataSlice, DatasetId, DatasetKind, MetadataEvent, OffsetInterval};
use odf::slice::{SliceOptions, SliceReader, SliceWriter};
use odf_node::keystore::Keypair;
use odf_node::peer::Node;
use odf_node::store::StoreOptions;

type Outcome<T> = Result<T, Box<dyn Error>>;

const FIRST: &str = "first";
/// Neither peers nor ports of the machine.
const CONFIG: &str = "network.bootstrap=[];network.listen=[\"/ip4/127.0.0.1/tcp/0\"];network.mdns=false;\
                      gateway.listen=\"127.0.0.1:0\"";
/// How often each command is run.
const RUNS: u32 = 9;
/// How long a node is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(5);
/// How often the memory of a command is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// The kernel counts processor time in these.
const TICK_MS: u64 = 10;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let (dir, odfs) = (arguments.next(), arguments.next());
    let bench = Bench {
        dir: dir.ok_or("where?")?.into(),
        odfs: odfs.ok_or("which odfs?")?,
    };
    fs::create_dir_all(&bench.dir)?;
    for number in arguments {
        let number = number.parse()?;
        if !bench.workspace().exists() {
            bench.row(0)?;
            bench.odfs(&["publish", "row.ndjson", "--name", FIRST, "--append-all", "--exit"])?;
        }
        let began = Instant::now();
        let made = bench.grow_to(number)?;
        let took = began.elapsed().as_secs_f64();
        println!("{number} datasets, {made} of them made in {took:.0} s");
        bench.measure(number)?;
    }
    Ok(())
}

struct Bench {
    dir: PathBuf,
    odfs: String,
}

/// What one run of a command took.
struct Ran {
    took: Duration,
    /// The most memory, in MiB; of a quick one it may be missed.
    memory: f64,
}

impl Bench {
    fn workspace(&self) -> PathBuf {
        self.dir.join("ws")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.odfs);
        command.args(arguments).current_dir(&self.dir);
        command.env("ODFS_PATH", self.workspace()).env("ODFS_CONFIG", CONFIG);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn odfs(&self, arguments: &[&str]) -> Outcome<Ran> {
        let began = Instant::now();
        let mut process = self.command(arguments).spawn()?;
        let mut memory = 0.0;
        let status = loop {
            if let Some(status) = process.try_wait()? {
                break status;
            }
            memory = status_of(&process, "VmHWM:").unwrap_or(memory);
            std::thread::sleep(LOOK);
        };
        let took = began.elapsed();
        match status.success() {
            true => Ok(Ran { took, memory }),
            false => Err(format!("{arguments:?}: {status}").into()),
        }
    }

    /// Writes a file of one row.
    fn row(&self, number: u32) -> Outcome<()> {
        let text = format!("{{\"id\":{number},\"reading\":{number}}}\n");
        Ok(fs::write(self.dir.join("row.ndjson"), text)?)
    }

    /// Makes datasets until there are so many. Gives how many were made.
    fn grow_to(&self, number: usize) -> Outcome<usize> {
        let workspace = Workspace::open(&self.workspace(), StoreOptions::default())?;
        let first = workspace.catalog().find(FIRST)?;
        let template = Template::of(&first)?;
        let there = fs::read_dir(workspace.catalog().dir())?.count();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let peer = Node::builder(workspace.store())?.listen(Vec::new());
            let node = peer.bootstrap(Vec::new()).mdns(false).start().await?;
            for at in there..number {
                let name = format!("set-{at}");
                let key = Keypair::generate_ed25519();
                workspace.keys().insert(&name, &key)?;
                let id = DatasetId::from_public_key(key.public().try_into_ed25519()?.to_bytes());
                let dataset = template.copy(&first, &workspace, id, &name, at)?;
                odf::publish::publish(workspace.local(), &node, &dataset, &key, false).await?;
            }
            node.shutdown().await;
            Ok::<_, Box<dyn Error>>(())
        })?;
        workspace.store().flush()?;
        workspace.ends_well()?;
        Ok(number.saturating_sub(there))
    }

    fn told(&self, what: &str, arguments: &[&str]) -> Outcome<()> {
        let (before, mut times, mut memory) = (processor_of_children()?, Vec::new(), 0.0_f64);
        for run in 1..=RUNS {
            self.row(run)?;
            let ran = self.odfs(arguments)?;
            times.push(ran.took);
            memory = memory.max(ran.memory);
        }
        let processor = (processor_of_children()? - before).as_secs_f64() * 1e3 / f64::from(RUNS);
        times.sort_unstable();
        let least = times.first().copied().unwrap_or_default().as_secs_f64() * 1e3;
        println!("  {what:<30} {least:>10.1} ms at least {processor:>10.1} ms of processor {memory:>8.1} MiB");
        Ok(())
    }

    fn once(&self, what: &str, arguments: &[&str]) -> Outcome<()> {
        let before = processor_of_children()?;
        let ran = self.odfs(arguments)?;
        let processor = (processor_of_children()? - before).as_secs_f64() * 1e3;
        let (took, memory) = (ran.took.as_secs_f64() * 1e3, ran.memory);
        println!("  {what:<30} {took:>10.1} ms          {processor:>10.1} ms of processor {memory:>8.1} MiB");
        Ok(())
    }

    fn measure(&self, number: usize) -> Outcome<()> {
        let middle = format!("set-{}", (number / 2).max(1));
        // What the library left to be remembered is remembered after the first.
        self.once("first list", &["list"])?;
        self.odfs(&["log", &middle])?;
        println!(
            "  {:<30} {:>10} bytes",
            "index",
            bytes_below(&self.workspace().join("store"))?
        );
        let pins = fs::metadata(self.workspace().join("packs/pins"))?.len();
        println!("  {:<30} {pins:>10} bytes", "pins");
        self.told("list", &["list"])?;
        self.told("log of one", &["log", &middle])?;
        self.told("status", &["status"])?;
        self.told("ingest of one row", &["ingest", FIRST, "row.ndjson"])?;
        let new = format!("new-{number}");
        let publish = ["publish", "row.ndjson", "--name", &new, "--append-all", "--exit"];
        self.once("publish of a new one", &publish)?;
        self.once("a name looked up after that", &["log", &middle])?;
        self.once("delete of it", &["delete", &new, "--yes"])?;

        let began = Instant::now();
        let mut node = self.command(&["node"]).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(node.stdout.take().ok_or("no output")?).lines();
        for line in lines {
            if line?.starts_with("Repository: ") {
                break;
            }
        }
        let started = began.elapsed().as_secs_f64() * 1e3;
        println!("  {:<30} {started:>10.1} ms", "start of a node");
        std::thread::sleep(SETTLE);
        println!("  {:<30} {}", "its memory when idle", memory(&node)?);
        self.told("list through it", &["list"])?;
        self.told("ingest of one row through it", &["ingest", FIRST, "row.ndjson"])?;
        let push = ["publish", "row.ndjson", "--name", FIRST, "--append-all", "--exit"];
        self.told("publish of one row through it", &push)?;
        println!("  {:<30} {}", "its memory after that", memory(&node)?);
        let began = Instant::now();
        if !Command::new("kill").arg(node.id().to_string()).status()?.success() {
            node.kill()?;
        }
        node.wait()?;
        println!(
            "  {:<30} {:>10.1} ms",
            "end of a node",
            began.elapsed().as_secs_f64() * 1e3
        );
        self.once("collection of garbage", &["ipfs", "repo", "gc"])
    }
}

/// A line of `/proc/PID/status` in MiB.
fn status_of(process: &Child, which: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(which))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

fn memory(process: &Child) -> Outcome<String> {
    let of = |which| status_of(process, which).ok_or("no memory");
    let (all, own) = (of("VmRSS:")?, of("RssAnon:")?);
    Ok(format!("{all:>10.1} MiB, {own:.1} of them not the program's file"))
}

/// Processor time of the processes that ended.
fn processor_of_children() -> Outcome<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(13).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * TICK_MS))
}

fn bytes_below(dir: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        bytes += match entry.file_type()?.is_dir() {
            true => bytes_below(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(bytes)
}

/// What each copy has of the first dataset.
struct Template {
    events: Vec<MetadataEvent>,
    data: AddData,
    rows: RecordBatch,
}

impl Template {
    fn of(dataset: &Dataset) -> Outcome<Self> {
        let blocks = dataset.blocks()?.collect::<Result<Vec<_>, _>>()?;
        let (mut events, mut data) = (Vec::new(), None);
        for stored in blocks {
            match stored.block.into_block().event {
                MetadataEvent::Seed(_) => {}
                MetadataEvent::AddData(event) => {
                    data.get_or_insert(event);
                }
                event if data.is_none() => events.push(event),
                _ => {}
            }
        }
        let data = data.ok_or("a dataset without rows")?;
        let slice = data.new_data.as_ref().ok_or("a block without rows")?;
        let rows = SliceReader::open(&dataset.slice_path(&slice.physical_hash))?.next();
        let rows = rows.ok_or("a slice without rows")??;
        Ok(Self { events, data, rows })
    }

    fn copy(&self, first: &Dataset, of: &Workspace, id: DatasetId, name: &str, number: usize) -> Outcome<Dataset> {
        let medium = of.catalog().medium();
        let new = NewDataset::stage(of.catalog().dir(), id, &name.parse()?, medium)?;
        let mut columns = self.rows.columns().to_vec();
        let reading: ArrayRef = Arc::new(Int64Array::from(vec![i64::try_from(number)?]));
        *columns.last_mut().ok_or("no columns")? = reading;
        let rows = RecordBatch::try_new(self.rows.schema(), columns)?;
        let mut writer = SliceWriter::create(&medium.disk, &new.data_dir(), rows.schema(), &SliceOptions::default())?;
        writer.write(rows)?;
        let slice = writer.finish()?;
        let data = DataSlice {
            logical_hash: *slice.logical_hash(),
            physical_hash: *slice.physical_hash(),
            offset_interval: OffsetInterval { start: 0, end: 0 },
            size: slice.size(),
        };
        let data = AddData {
            new_data: Some(data),
            ..self.data.clone()
        };
        let events = self.events.iter().cloned();
        let events = events.chain([MetadataEvent::AddData(data)]).collect();
        let time = first.state().system_time;
        Ok(new.install_events(DatasetKind::Root, events, time, Some(slice))?.0)
    }
}
