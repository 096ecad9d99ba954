//! Tables in every format of ours: types are settled, and rows of the settled types come out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use odf_ingest::plan::Plan;
use odf_ingest::source::{Format, ReadOptions, Source, Span};
use odf_metadata::{MergeStrategy, Vocabulary};
use std::ops::ControlFlow;

fuzz_target!(|data: &[u8]| {
    let Some((format, content)) = data.split_first() else {
        return;
    };
    // Parquet is decoded by the parquet crate, which is fuzzed where it is made.
    let formats: Vec<Format> = Format::ALL.into_iter().filter(|format| *format != Format::Parquet).collect();
    let format = formats[usize::from(*format) % formats.len()];
    let len = content.len() as u64;
    let source = Source::bytes("fuzz", content.to_vec().into(), format, ReadOptions::default());
    let Ok(inferred) = source.infer(len, &mut |_| ControlFlow::Continue(())) else {
        return;
    };
    let Ok(plan) = Plan::infer(&source, &inferred, &Vocabulary::default(), false, &[], &MergeStrategy::Append) else {
        return;
    };
    let span = Span { start: 0, line: 0, end: len };
    let Ok(mut rows) = source.rows(plan.shape(), span) else {
        return;
    };
    let mut read = 0;
    while let Ok(Some(batch)) = rows.next_batch() {
        read += batch.num_rows() as u64;
    }
    assert!(read <= inferred.rows, "{read} rows of {}", inferred.rows);
});
