//! Where data comes from and what is done to it on the way in: fetch, prepare, read, transform, merge.

use super::DataSchema;
use super::declare::{scalar_enum, table, union};
use crate::codec::DecodeError;
use crate::codec::field::{Builder, Element, Field, Written};
use crate::codec::reader::Table;

/// Name of the source of a dataset that has only one, in push sources and in source states.
pub const DEFAULT_SOURCE: &str = "default";

union! {
    /// How the raw data of a polling source is fetched.
    pub enum FetchStep {
        /// One file by URL.
        Url {
            /// The URL; may hold `${{ env.NAME }}`.
            url: String,
            /// Where the event time comes from.
            event_time: Option<EventTimeSource>,
            /// How long a fetched copy is good.
            cache: Option<SourceCaching>,
            /// HTTP headers to send.
            headers: Option<Vec<RequestHeader>>,
        } = 1,
        /// Files of the local file system, one after another.
        FilesGlob {
            /// Path with wildcards.
            path: String,
            /// Where the event time comes from.
            event_time: Option<EventTimeSource>,
            /// How long a fetched copy is good.
            cache: Option<SourceCaching>,
            /// In which order files are taken.
            order: Option<SourceOrdering>,
        } = 2,
        /// What a container prints.
        Container {
            /// Image name.
            image: String,
            /// Entry point.
            command: Option<Vec<String>>,
            /// Its arguments.
            args: Option<Vec<String>>,
            /// Its environment.
            env: Option<Vec<EnvVar>>,
        } = 3,
        /// Messages of an MQTT broker.
        Mqtt {
            /// Host name.
            host: String,
            /// TCP port.
            port: i32,
            /// User name.
            username: Option<String>,
            /// Password.
            password: Option<String>,
            /// Topics to subscribe to.
            topics: Vec<MqttTopicSubscription>,
        } = 4,
        /// Event logs of an EVM chain.
        EthereumLogs {
            /// Number of the chain.
            chain_id: Option<u64>,
            /// URL of the node.
            node_url: Option<String>,
            /// SQL filter.
            filter: Option<String>,
            /// Solidity signature of the event.
            signature: Option<String>,
        } = 5,
    }
}

union! {
    /// Where the event time of fetched data comes from if the data has none.
    pub enum EventTimeSource(short) {
        /// The time that the server gives (Last-Modified, mtime).
        FromMetadata = 1,
        /// A part of the path.
        FromPath {
            /// Regular expression whose first group is the time.
            pattern: String,
            /// How the time is written, in chrono's notation.
            timestamp_format: Option<String>,
        } = 2,
        /// The time of the fetch.
        FromSystemTime = 3,
    }
}

union! {
    /// How long a fetched copy of a source is good.
    pub enum SourceCaching(short) {
        /// It never changes.
        Forever = 1,
    }
}

scalar_enum! {
    /// Order in which files are taken.
    pub enum SourceOrdering: i32 {
        /// By event time.
        ByEventTime = 0,
        /// By file name.
        ByName = 1,
    }
}

table! {
    /// An HTTP header.
    pub struct RequestHeader {
        /// Name.
        pub name: String,
        /// Value; may hold `${{ env.NAME }}`.
        pub value: String,
    }
}

table! {
    /// A variable of a container's environment.
    pub struct EnvVar {
        /// Name.
        pub name: String,
        /// Value; absent means the value of the caller's environment.
        pub value: Option<String>,
    }
}

table! {
    /// A subscription of an MQTT source.
    pub struct MqttTopicSubscription {
        /// Topic filter.
        pub path: String,
        /// Quality of service.
        pub qos: Option<MqttQos>,
    }
}

scalar_enum! {
    /// MQTT quality of service.
    pub enum MqttQos: i32 {
        /// Fire and forget.
        AtMostOnce = 0,
        /// Acknowledged.
        AtLeastOnce = 1,
        /// Assured.
        ExactlyOnce = 2,
    }
}

union! {
    /// One step between fetching and reading.
    pub enum PrepStep {
        /// Unpacks.
        Decompress {
            /// Format of the archive.
            format: CompressionFormat,
            /// File in the archive, if it holds several.
            sub_path: Option<String>,
        } = 1,
        /// Sends the data through a command.
        Pipe {
            /// The command and its arguments.
            command: Vec<String>,
        } = 2,
    }
}

/// A vector cannot hold unions, so every step lies in `table PrepStepWrapper { value: PrepStep }`, written right
/// after the step.
impl Element for PrepStep {
    fn write_element(&self, builder: &mut Builder) -> Written {
        let member = self.prepare(builder);
        let wrapper = builder.start_table();
        Self::push(member, builder, 0);
        builder.end_table(wrapper).as_union_value()
    }

    fn read_element(table: &Table<'_>, at: usize) -> Result<Self, DecodeError> {
        Self::read(&table.table(at, "PrepStepWrapper")?, 0, "value")
    }
}

scalar_enum! {
    /// Archive formats.
    pub enum CompressionFormat: i32 {
        /// gzip.
        Gzip = 0,
        /// zip.
        Zip = 1,
    }
}

union! {
    /// How bytes become rows. Columns are declared by `schema`, or by `ddl_schema` (SQL, the older way), never both.
    pub enum ReadStep {
        /// Comma-separated values.
        Csv(ReadStepCsv) = 1,
        /// One GeoJSON feature collection.
        GeoJson {
            /// Columns in SQL.
            ddl_schema: Option<Vec<String>>,
            /// Columns.
            schema: Option<DataSchema>,
        } = 2,
        /// ESRI shapefile in a zip.
        EsriShapefile {
            /// Columns in SQL.
            ddl_schema: Option<Vec<String>>,
            /// File in the zip; may be a glob.
            sub_path: Option<String>,
            /// Columns.
            schema: Option<DataSchema>,
        } = 3,
        /// Apache Parquet.
        Parquet {
            /// Columns in SQL.
            ddl_schema: Option<Vec<String>>,
            /// Columns.
            schema: Option<DataSchema>,
        } = 4,
        /// One JSON document.
        Json {
            /// Dotted path to the array of records.
            sub_path: Option<String>,
            /// Columns in SQL.
            ddl_schema: Option<Vec<String>>,
            /// How dates are written.
            date_format: Option<String>,
            /// Character encoding.
            encoding: Option<String>,
            /// How times are written.
            timestamp_format: Option<String>,
            /// Columns.
            schema: Option<DataSchema>,
        } = 5,
        /// One JSON object a line.
        NdJson {
            /// Columns in SQL.
            ddl_schema: Option<Vec<String>>,
            /// How dates are written.
            date_format: Option<String>,
            /// Character encoding.
            encoding: Option<String>,
            /// How times are written.
            timestamp_format: Option<String>,
            /// Columns.
            schema: Option<DataSchema>,
        } = 6,
        /// One GeoJSON feature a line.
        NdGeoJson {
            /// Columns in SQL.
            ddl_schema: Option<Vec<String>>,
            /// Columns.
            schema: Option<DataSchema>,
        } = 7,
    }
}

impl ReadStep {
    /// The declared columns, in whichever of the two ways.
    pub fn schemas(&self) -> (Option<&[String]>, Option<&DataSchema>) {
        let (ddl, schema) = match self {
            Self::Csv(ReadStepCsv { ddl_schema, schema, .. })
            | Self::GeoJson { ddl_schema, schema }
            | Self::EsriShapefile { ddl_schema, schema, .. }
            | Self::Parquet { ddl_schema, schema }
            | Self::Json { ddl_schema, schema, .. }
            | Self::NdJson { ddl_schema, schema, .. }
            | Self::NdGeoJson { ddl_schema, schema } => (ddl_schema, schema),
        };
        (ddl.as_deref(), schema.as_ref())
    }
}

table! {
    /// Options of reading CSV.
    #[derive(Default)]
    pub struct ReadStepCsv {
        /// Columns in SQL.
        pub ddl_schema: Option<Vec<String>>,
        /// Between columns; absent means `,`.
        pub separator: Option<String>,
        /// Character encoding; absent means utf8.
        pub encoding: Option<String>,
        /// Around values; absent means `"`.
        pub quote: Option<String>,
        /// Before a quote inside a value; absent means `\`.
        pub escape: Option<String>,
        /// Whether the first line names the columns; absent means no.
        pub header: Option<bool>,
        /// Whether types are guessed; absent means no.
        pub infer_schema: Option<bool>,
        /// Text that stands for null.
        pub null_value: Option<String>,
        /// How dates are written.
        pub date_format: Option<String>,
        /// How times are written.
        pub timestamp_format: Option<String>,
        /// Columns.
        pub schema: Option<DataSchema>,
    }
}

union! {
    /// What new rows mean for those that are there.
    pub enum MergeStrategy {
        /// All new rows are new events.
        Append = 1,
        /// Rows whose key was seen before are dropped.
        Ledger {
            /// Columns of the key.
            primary_key: Vec<String>,
        } = 2,
        /// The rows are the whole state; differences become retractions and corrections.
        Snapshot {
            /// Columns of the key.
            primary_key: Vec<String>,
            /// Columns whose change counts; absent means all others.
            compare_columns: Option<Vec<String>>,
        } = 3,
        /// The rows carry their own operations.
        ChangelogStream {
            /// Columns of the key.
            primary_key: Vec<String>,
        } = 4,
        /// The rows replace those with the same key.
        UpsertStream {
            /// Columns of the key.
            primary_key: Vec<String>,
        } = 5,
    }
}

impl MergeStrategy {
    /// The columns of the primary key; none of append.
    pub fn primary_key(&self) -> &[String] {
        match self {
            Self::Append => &[],
            Self::Ledger { primary_key }
            | Self::Snapshot { primary_key, .. }
            | Self::ChangelogStream { primary_key }
            | Self::UpsertStream { primary_key } => primary_key,
        }
    }
}

union! {
    /// A computation over tables.
    pub enum Transform {
        /// SQL.
        Sql(TransformSql) = 1,
    }
}

table! {
    /// SQL for some engine.
    pub struct TransformSql {
        /// Name of the engine: `datafusion`, `spark`, `flink`, `risingwave`.
        pub engine: String,
        /// Version of the engine.
        pub version: Option<String>,
        /// Short form of one unnamed query; a normalised transform has none.
        pub query: Option<String>,
        /// The queries in order; all but the last are named.
        pub queries: Option<Vec<SqlQueryStep>>,
        /// Inputs to be seen as tables that change over time.
        pub temporal_tables: Option<Vec<TemporalTable>>,
    }
}

table! {
    /// One query of a transform.
    pub struct SqlQueryStep {
        /// Name under which later queries see the result; the last query has none.
        pub alias: Option<String>,
        /// The SQL.
        pub query: String,
    }
}

table! {
    /// An input to be seen as a table that changes over time.
    pub struct TemporalTable {
        /// Name of the input.
        pub name: String,
        /// Columns of its key.
        pub primary_key: Vec<String>,
    }
}
