//! Ten million earlier rows within half a gigabyte, whatever the strategy. Takes minutes without optimization:
//! `cargo test --release -p odf ten_million -- --ignored --nocapture`.

use std::fs::File;
use std::time::Instant;

use parquet::arrow::ArrowWriter;

use super::*;

const EARLIER: i64 = 10_000_000;
const SLICE: i64 = 1_000_000;
const NEW: i64 = 3_000_000;
const MOST_BYTES: u64 = 512 << 20;

/// A key that no range of statistics tells apart from the others.
fn key(n: i64) -> String {
    format!("{:016x}-{n}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()))
}

/// Rows made as they are asked for, so that they take no memory themselves.
struct Made<'s> {
    shape: &'s Shape,
    next: i64,
    end: i64,
}

impl Made<'_> {
    fn batch(&self, rows: std::ops::Range<i64>) -> RecordBatch {
        let columns = self.shape.schema().fields().iter().map(|field| -> ArrayRef {
            match field.name().as_str() {
                "event_time" => Arc::new(TimestampMillisecondArray::from_iter_values(rows.clone()).with_timezone(UTC)),
                "op" => Arc::new(Int64Array::new_null(rows.clone().count())),
                "k" => Arc::new(StringArray::from_iter_values(rows.clone().map(key))),
                _ => Arc::new(Int64Array::from_iter_values(rows.clone().map(|n| n % 1000))),
            }
        });
        RecordBatch::try_new(self.shape.schema().clone(), columns.collect()).unwrap()
    }
}

impl Batches for Made<'_> {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let end = self.end.min(self.next + 8192);
        let rows = self.next..end;
        self.next = end;
        Ok((!rows.is_empty()).then(|| self.batch(rows)))
    }

    fn bytes(&self) -> u64 {
        0
    }
}

/// Counts what it is given.
#[derive(Default)]
struct Count([usize; 4]);

impl Sink for Count {
    fn accept(&mut self, batch: &RecordBatch, operations: Operations<'_>) -> Result<(), MergeError> {
        match operations {
            Operations::All(operation) => self.0[operation as usize] += batch.num_rows(),
            Operations::Each(each) => {
                for operation in each {
                    self.0[usize::try_from(*operation).unwrap()] += 1;
                }
            }
        }
        Ok(())
    }
}

/// The most memory that this process ever had.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
#[ignore = "takes minutes"]
fn ten_million_earlier_rows_fit_into_memory() {
    let dir = tempfile::tempdir().unwrap();
    let vocabulary = Vocabulary::default();
    let schema = Arc::new(Schema::new(vec![
        Field::new("offset", DataType::Int64, false),
        Field::new("op", DataType::Int32, false),
        Field::new("system_time", timestamp(), false),
        Field::new("event_time", timestamp(), false),
        Field::new("k", DataType::Utf8, false),
        Field::new("v", DataType::Int64, true),
        Field::new("w", DataType::Int64, true),
    ]));
    let plan = |strategy: &MergeStrategy| Plan::of_rows(schema.clone(), schema.clone(), &vocabulary, strategy);
    let append = plan(&MergeStrategy::Append);
    let slices: Vec<PathBuf> = (0..EARLIER / SLICE)
        .map(|slice| {
            let path = dir.path().join(slice.to_string());
            let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), schema.clone(), None).unwrap();
            for start in (slice * SLICE..(slice + 1) * SLICE).step_by(8192) {
                let rows = start..(start + 8192).min((slice + 1) * SLICE);
                let count = rows.clone().count();
                let made = Made {
                    shape: append.shape(),
                    next: 0,
                    end: 0,
                };
                let mut columns: Vec<ArrayRef> = vec![
                    Arc::new(Int64Array::from_iter_values(rows.clone())),
                    Arc::new(arrow::array::Int32Array::from_value(0, count)),
                    Arc::new(TimestampMillisecondArray::from_value(0, count).with_timezone(UTC)),
                ];
                columns.extend(made.batch(rows).columns().iter().cloned());
                writer
                    .write(&RecordBatch::try_new(schema.clone(), columns).unwrap())
                    .unwrap();
            }
            writer.close().unwrap();
            path
        })
        .collect();
    let primary_key = || vec!["k".to_owned()];
    let half = EARLIER - NEW / 2;
    // Half of the new rows are known; of a snapshot all are, and some that were there are gone.
    for (strategy, rows, wanted) in [
        (
            MergeStrategy::Ledger {
                primary_key: primary_key(),
            },
            half..half + NEW,
            [NEW / 2, 0, 0, 0],
        ),
        (
            MergeStrategy::UpsertStream {
                primary_key: primary_key(),
            },
            half..half + NEW,
            [NEW / 2, 0, 0, 0],
        ),
        (
            MergeStrategy::Snapshot {
                primary_key: primary_key(),
                compare_columns: None,
            },
            NEW..EARLIER,
            [0, NEW, 0, 0],
        ),
    ] {
        let plan = plan(&strategy);
        let setting = Setting {
            shape: plan.shape(),
            history: History {
                slices: &slices,
                vocabulary: &vocabulary,
                ranges: None,
            },
            event_time: 0,
            scratch: dir.path(),
            memory: Memory::default(),
            compared: 0,
            singles: false,
        };
        let mut made = Made {
            shape: plan.shape(),
            next: rows.start,
            end: rows.end,
        };
        let mut count = Count::default();
        let begin = Instant::now();
        merge(
            &strategy,
            &mut made,
            &setting,
            Reading::AsTheyCome,
            &mut count,
            &mut |_| Ok(()),
        )
        .unwrap();
        println!("{strategy:?}: {:.2?}, peak {} MiB", begin.elapsed(), peak() >> 20);
        assert_eq!(count.0.map(|rows| rows as i64), wanted);
        assert!(peak() < MOST_BYTES);
    }
}
