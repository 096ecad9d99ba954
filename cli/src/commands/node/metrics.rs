//! The figures of a node as OpenMetrics text, taken when they are asked for: nothing is counted for them that is not counted
//! anyway.

use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use odf_node::exchange::Stats;
use odf_node::ipns::NameStatus;
use odf_node::peer::Node;
use odf_node::routing::{RecordBytes, TableSizes};
use odf_node::store::{Store, StoreStats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

/// What the text is.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Ticks of a second in which the kernel tells of processor time (`USER_HZ`).
const TICKS: f64 = 100.0;

/// All figures of this moment.
///
/// # Errors
/// In words: the store cannot be read.
pub(super) async fn text(node: &Node, store: &Store) -> Result<String, String> {
    let figures = Figures {
        exchange: node.exchange().stats(),
        tables: node.routing().table_sizes(),
        records: node.routing().record_bytes(),
        addresses: node.reachable_at().len(),
        names: node.names().list().await.map_err(|error| error.to_string())?,
        store: store.stats().map_err(|error| error.to_string())?,
        free_bytes: store.free_bytes(),
        process: Process::now(),
        now: SystemTime::now(),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(figures));
    let mut text = String::new();
    let encoded = prometheus_client::encoding::text::encode(&mut text, &registry);
    encoded.map_err(|error| error.to_string())?;
    Ok(text)
}

#[derive(Debug)]
struct Figures {
    exchange: Stats,
    tables: TableSizes,
    records: RecordBytes,
    addresses: usize,
    names: Vec<NameStatus>,
    store: StoreStats,
    free_bytes: Option<u64>,
    process: Process,
    now: SystemTime,
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let out = &mut encoder;
        let build = [("version", env!("CARGO_PKG_VERSION"))];
        family(out, "odfs_build", "The version that runs", &[(build, 1.0)])?;
        let Self { exchange, store, .. } = self;
        gauge(out, "odfs_peers", "Connected peers", exchange.peers)?;
        let tables = [
            ([("network", "lan")], self.tables.lan as f64),
            ([("network", "wan")], self.tables.wan as f64),
        ];
        family(out, "odfs_dht_peers", "Peers in the routing table of each DHT", &tables)?;
        let records = [
            ([("kind", "providers lan")], self.records.lan as f64),
            ([("kind", "providers wan")], self.records.wan as f64),
            ([("kind", "values")], self.records.values as f64),
        ];
        let help = "Memory of the records that peers left here, within a budget";
        family(out, "odfs_dht_record_bytes", help, &records)?;
        gauge(
            out,
            "odfs_told_addresses",
            "Addresses under which others are told that this peer is reached",
            self.addresses,
        )?;
        counter(out, "odfs_blocks_sent", "Blocks sent to peers", exchange.blocks_sent)?;
        counter(out, "odfs_blocks_sent_bytes", "Their bytes", exchange.bytes_sent)?;
        counter(
            out,
            "odfs_blocks_received",
            "Blocks received that were wanted",
            exchange.blocks_received,
        )?;
        counter(
            out,
            "odfs_blocks_received_bytes",
            "Their bytes",
            exchange.bytes_received,
        )?;
        counter(
            out,
            "odfs_blocks_duplicate",
            "Blocks received once more than needed",
            exchange.duplicates,
        )?;
        counter(
            out,
            "odfs_blocks_unrequested",
            "Blocks received that nobody had asked for",
            exchange.unrequested,
        )?;
        gauge(out, "odfs_wants", "Blocks wanted here", exchange.wants)?;
        gauge(out, "odfs_peer_wants", "Blocks wanted by peers", exchange.peer_wants)?;
        gauge(out, "odfs_store_blocks", "Blocks in the store", store.blocks)?;
        let parts = [
            ([("part", "files")], store.file_bytes as f64),
            ([("part", "index")], store.index_bytes as f64),
            ([("part", "packs")], store.pack_bytes as f64),
        ];
        family(out, "odfs_store_bytes", "Bytes of the store by where they are", &parts)?;
        gauge(out, "odfs_store_pins", "Pins", store.pins)?;
        if let Some(free) = self.free_bytes {
            gauge(out, "odfs_disk_free_bytes", "Bytes free where the workspace is", free)?;
        }
        self.encode_names(out)?;
        self.process.encode(out)
    }
}

impl Figures {
    fn encode_names(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let own = || self.names.iter().filter(|name| name.own);
        let followed = self.names.iter().filter(|name| name.followed && !name.own).count();
        let roles = [
            ([("role", "published")], own().count() as f64),
            ([("role", "followed")], followed as f64),
        ];
        family(out, "odfs_names", "Names that are kept alive from here", &roles)?;
        let unsafe_now = own()
            .filter(|name| name.safe_until.is_none_or(|until| until < self.now))
            .count();
        let help = "Published names that nobody else could resolve if this node stopped now";
        gauge(out, "odfs_names_held_here_only", help, unsafe_now)?;
        let rivals = own().filter(|name| name.rival.is_some()).count();
        let help = "Published names of which somebody else with the same key published something else";
        gauge(out, "odfs_names_with_rival", help, rivals)?;
        let first = (self.names.iter())
            .filter(|name| name.own || name.followed)
            .filter_map(|name| name.valid_until?.duration_since(UNIX_EPOCH).ok())
            .min();
        match first {
            Some(first) => {
                let help = "When the first record of a name that is kept alive here expires";
                gauge(out, "odfs_names_valid_until_timestamp_seconds", help, first.as_secs())
            }
            None => Ok(()),
        }
    }
}

/// What the kernel says of this process, under the names that all programs use for it.
#[derive(Debug, Default)]
struct Process {
    resident_bytes: Option<u64>,
    open_fds: Option<u64>,
    max_fds: Option<u64>,
    cpu_seconds: Option<f64>,
}

impl Process {
    fn now() -> Self {
        let read = |file: &str| fs::read_to_string(format!("/proc/self/{file}")).ok();
        // `Name:   123 kB`
        let line = |text: String, name: &str| -> Option<u64> {
            let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
            rest.split_whitespace().next()?.parse().ok()
        };
        // Everything behind the command in brackets, which may itself have blanks: utime and stime are 14 and 15 of all.
        let ticks = |text: String| -> Option<u64> {
            let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
            Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
        };
        Self {
            resident_bytes: read("status")
                .and_then(|text| line(text, "VmRSS:"))
                .map(|kib| kib << 10),
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
            max_fds: read("limits").and_then(|text| line(text, "Max open files")),
            cpu_seconds: read("stat").and_then(ticks).map(|ticks| ticks as f64 / TICKS),
        }
    }

    fn encode(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let figures = [
            ("process_resident_memory_bytes", "Resident memory", self.resident_bytes),
            ("process_open_fds", "Open file descriptors", self.open_fds),
            ("process_max_fds", "The most of them", self.max_fds),
        ];
        for (name, help, value) in figures {
            if let Some(value) = value {
                gauge(out, name, help, value)?;
            }
        }
        match self.cpu_seconds {
            Some(seconds) => counter(out, "process_cpu_seconds", "Processor time used", seconds),
            None => Ok(()),
        }
    }
}

fn gauge(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: impl TryInto<i64>) -> fmt::Result {
    let gauge = ConstGauge::new(value.try_into().unwrap_or(i64::MAX));
    let encoder = out.encode_descriptor(name, help, NO_UNIT, gauge.metric_type())?;
    gauge.encode(encoder)
}

fn counter<N>(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: N) -> fmt::Result
where
    N: prometheus_client::encoding::EncodeCounterValue + Clone + fmt::Debug + Copy,
{
    let counter = ConstCounter::new(value);
    let encoder = out.encode_descriptor(name, help, NO_UNIT, counter.metric_type())?;
    counter.encode(encoder)
}

/// A figure that there is several times, told apart by a label.
fn family<const N: usize>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &[([(&'static str, &'static str); N], f64)],
) -> fmt::Result {
    let kind = ConstGauge::new(0.0).metric_type();
    let mut encoder = out.encode_descriptor(name, help, NO_UNIT, kind)?;
    for (labels, value) in values {
        ConstGauge::new(*value).encode(encoder.encode_family(labels)?)?;
    }
    Ok(())
}

/// Names end in their unit where they have one.
const NO_UNIT: Option<&Unit> = None;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_text_that_prometheus_reads() {
        let figures = Figures {
            exchange: Stats::default(),
            tables: TableSizes { lan: 3, wan: 0 },
            records: RecordBytes {
                values: 9,
                ..RecordBytes::default()
            },
            addresses: 1,
            names: Vec::new(),
            store: StoreStats::default(),
            free_bytes: Some(7),
            process: Process::now(),
            now: SystemTime::now(),
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(figures));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for expected in [
            "# TYPE odfs_peers gauge\nodfs_peers 0\n",
            "odfs_dht_peers{network=\"lan\"} 3.0\n",
            "odfs_dht_record_bytes{kind=\"values\"} 9.0\n",
            "# TYPE odfs_blocks_sent counter\nodfs_blocks_sent_total 0\n",
            "odfs_disk_free_bytes 7\n",
            "process_cpu_seconds_total ",
            "# EOF\n",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        let process = Process::now();
        assert!(
            process.resident_bytes.is_some_and(|bytes| bytes > 1 << 20),
            "{process:?}"
        );
        assert!(process.max_fds > process.open_fds, "{process:?}");
    }
}
