//! What separates the columns of a file whose separator nobody said.
//!
//! The header tells, and the rows behind it have to agree: a separator counts if every record that is looked at has the
//! same number of fields, and more than one. A comma that counts is taken; else the only other that does. A file whose
//! header has none of them has one column.

use std::io::Read as _;

use csv::ReaderBuilder;

use crate::source::{Problem, Source, SourceError};

/// What is looked for, besides the comma.
const OTHERS: [u8; 3] = *b";\t|";

/// How much of the file is looked at.
const SAMPLE_BYTES: u64 = 64 << 10;
const SAMPLE_RECORDS: usize = 200;

/// How many fields the records have.
#[derive(Clone, Copy)]
struct Widths {
    header: usize,
    /// All records have as many.
    even: bool,
}

/// Finds the separator of `source`.
///
/// # Errors
/// The header has one or several of them and no comma, and the rows do not say which it is.
pub(crate) fn sniff(source: &Source) -> Result<u8, SourceError> {
    let mut sample = Vec::new();
    let read = source.open_at(0)?.take(SAMPLE_BYTES).read_to_end(&mut sample);
    read.map_err(|error| source.error(Problem::Io(error)))?;
    let whole = (sample.len() as u64) < SAMPLE_BYTES;
    let comma = widths(source, &sample, whole, b',');
    if comma.even && comma.header > 1 {
        return Ok(b',');
    }
    let others = OTHERS.map(|separator| (separator, widths(source, &sample, whole, separator)));
    let split = || others.iter().filter(|(_, widths)| widths.header > 1);
    let mut even = split().filter(|(_, widths)| widths.even);
    match (even.next(), even.next()) {
        (Some((separator, _)), None) => Ok(*separator),
        _ if comma.header > 1 || split().next().is_none() => Ok(b','),
        _ => Err(source.error(Problem::Separator(
            split()
                .map(|(separator, _)| in_words(*separator))
                .collect::<Vec<_>>()
                .join(" or "),
        ))),
    }
}

fn widths(source: &Source, sample: &[u8], whole: bool, separator: u8) -> Widths {
    let options = source.options();
    let mut reader = ReaderBuilder::new()
        .delimiter(separator)
        .quote(options.quote)
        .escape(options.escape)
        .has_headers(false)
        .flexible(true)
        .from_reader(sample);
    let mut lengths = Vec::new();
    for record in reader.byte_records().take(SAMPLE_RECORDS) {
        match record {
            Ok(record) => lengths.push(record.len()),
            Err(_) => break,
        }
    }
    if !whole && lengths.len() > 1 && lengths.len() < SAMPLE_RECORDS {
        // The sample may end within it.
        lengths.pop();
    }
    let header = lengths.first().copied().unwrap_or(0);
    Widths {
        header,
        even: lengths.iter().all(|length| *length == header),
    }
}

/// A separator as messages name it.
fn in_words(separator: u8) -> String {
    match separator {
        b'\t' => "a tab".to_owned(),
        other => format!("`{}`", char::from(other)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::source::{Format, ReadOptions};

    fn sniffed(text: &str) -> Result<char, String> {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let source = Source::bytes("t", bytes, Format::Csv, ReadOptions::default());
        sniff(&source).map(char::from).map_err(|error| error.to_string())
    }

    #[test]
    fn the_header_and_the_rows_tell_the_separator() {
        for (text, separator) in [
            ("a,b\n1,2\n", ','),
            ("a;b\n1;2,5\n3;4\n", ';'),
            ("a\tb\n1\t2\n", '\t'),
            ("a|b\n1|2\n", '|'),
            ("a;b\n", ';'),
            ("\u{feff}a;b\r\n1;2\r\n", ';'),
            // One column, whatever its values hold.
            ("text\nx;y\nz\n", ','),
            ("text\n", ','),
            ("", ','),
            // Inside of quotes they separate nothing.
            ("\"a;b\",c\n1,\"x;y\"\n", ','),
            ("\"a,b\";c\n\"1,2\";3\n", ';'),
            ("a,b;c\n1,2;3\n", ','),
            // Ragged with commas: told with its line later.
            ("a,b\n1,2\n3\n", ','),
            ("a,b;c\n1;2\n", ';'),
        ] {
            assert_eq!(sniffed(text), Ok(separator), "{text:?}");
        }
        let long = format!("a;b\n{}", "1;2\n".repeat(40_000));
        assert_eq!(sniffed(&long), Ok(';'));
        for (text, seen) in [("a|b\nx\n", "`|`"), ("a;b\tc\n1;2\t3\n", "`;` or a tab")] {
            let error = sniffed(text).unwrap_err();
            assert!(error.contains(seen) && error.contains("--separator"), "{error}");
        }
    }
}
