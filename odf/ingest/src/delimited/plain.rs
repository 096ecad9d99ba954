//! Records whose fields stand in the text as they are: between separators, or in quotes that have none of their own in them.
//! They go from the bytes of the file into the columns without a copy.
//!
//! A chunk is taken as a whole or not at all. One that has anything else in it, or anything wrong, is left to the general
//! parser, which knows what the rest means and on which line it stands.

use arrow::record_batch::RecordBatch;

use super::layout::Layout;
use crate::chunks::{BYTE_ORDER_MARK, Chunk};
use crate::columns::Table;
use crate::eight::{equal, first};
use crate::source::{MAX_ROW_BYTES, Source};
use odf_tables::slice::bytes_of_rows;

/// Bytes that the rows of a chunk may take in memory. More, of which columns that the file lacks make most, are taken batch by
/// batch in the general way.
pub(super) const MAX_BATCHES_BYTES: usize = 32 << 20;

/// The rows of a chunk; none if they are not all plain and right. `table` is an empty one.
pub(super) fn batches(source: &Source, chunk: &Chunk, layout: &Layout, mut table: Table) -> Option<Vec<RecordBatch>> {
    let options = source.options();
    let separator = options.separator.unwrap_or(b',');
    let (quote, escape) = (options.quote, options.escape);
    let marks = [separator, quote];
    let are_distinct = separator != quote && !marks.iter().any(|mark| matches!(mark, b'\n' | b'\r'));
    if !are_distinct || chunk.open || chunk.bytes.len() >= MAX_ROW_BYTES {
        return None;
    }
    let bytes = match chunk.bytes.strip_prefix(BYTE_ORDER_MARK) {
        Some(bytes) if chunk.start == 0 => bytes,
        _ => &chunk.bytes,
    };
    let text = std::str::from_utf8(bytes).ok()?;
    // As in the general way: where kamu's rules hold, quotes around nothing are nothing.
    let quotes_matter = !source.has_step();
    let ends = |eight| equal(eight, separator) | equal(eight, b'\n') | equal(eight, b'\r');
    let mut batches = Vec::new();
    let mut left = MAX_BATCHES_BYTES;
    let mut at = 0;
    loop {
        while let Some(b'\n' | b'\r') = bytes.get(at) {
            at += 1;
        }
        if at == bytes.len() {
            break;
        }
        let (mut width, mut length) = (0, 0);
        loop {
            let is_quoted = bytes.get(at) == Some(&quote);
            let begins = at + usize::from(is_quoted);
            let field = if is_quoted {
                let end = first(bytes, begins, |eight| equal(eight, quote));
                if end == bytes.len() {
                    return None;
                }
                at = end + 1;
                let field = text.get(begins..end)?;
                if escape.is_some_and(|escape| field.as_bytes().contains(&escape)) {
                    return None;
                }
                field
            } else {
                at = first(bytes, begins, ends);
                text.get(begins..at)?
            };
            if let Some(target) = *layout.targets.get(width)? {
                let column = table.column(target);
                let pushed = match is_quoted && quotes_matter && field.is_empty() {
                    true => column.push_quoted_nothing(),
                    false => column.push_text(field),
                };
                pushed.ok()?;
            }
            width += 1;
            length += field.len();
            match bytes.get(at) {
                Some(byte) if *byte == separator => at += 1,
                None | Some(b'\n' | b'\r') => break,
                // A doubled quote, or text behind a closing one.
                Some(_) => return None,
            }
        }
        if width != layout.names.len() {
            return None;
        }
        for absent in &layout.absent {
            table.column(*absent).push_null().ok()?;
        }
        table.row_done(length);
        if table.full() {
            let batch = table.take().ok()??;
            left = left.checked_sub(bytes_of_rows(&batch, 0..batch.num_rows()))?;
            batches.push(batch);
        }
    }
    batches.extend(table.take().ok()?);
    table.tell(source);
    Some(batches)
}
