//! What separates the columns of a file whose separator nobody said.
//!
//! The header tells, and the rows behind it have to agree: a separator counts if every record that is looked at has the
//! same number of fields, and more than one. A comma that counts is taken; else the only other that does. A file whose
//! header has none of them has one column.

use std::cmp::Reverse;
use std::io::Read as _;

use csv::ReaderBuilder;

use crate::chunks::line_breaks;
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
    /// The first record with another number of fields than the header.
    uneven: Option<Uneven>,
}

#[derive(Clone, Copy)]
struct Uneven {
    fields: usize,
    /// Where it begins in the sample, the line break before it included.
    at: usize,
}

/// Finds the separator of `source`.
///
/// # Errors
/// The header has one or several of them and no comma, and the rows do not say which it is: the first one is named that
/// does not agree with the header, by the separator with which most of them do.
pub(crate) fn sniff(source: &Source) -> Result<u8, SourceError> {
    let mut sample = Vec::new();
    let read = source.open_at(0)?.take(SAMPLE_BYTES).read_to_end(&mut sample);
    read.map_err(|error| source.error(Problem::Io(error)))?;
    let whole = (sample.len() as u64) < SAMPLE_BYTES;
    let comma = widths(source, &sample, whole, b',');
    if comma.uneven.is_none() && comma.header > 1 {
        return Ok(b',');
    }
    let others = OTHERS.map(|separator| (separator, widths(source, &sample, whole, separator)));
    let split = || others.iter().filter(|(_, widths)| widths.header > 1);
    let mut even = split().filter(|(_, widths)| widths.uneven.is_none());
    match (even.next(), even.next()) {
        (Some((separator, _)), None) => Ok(*separator),
        _ if comma.header > 1 => Ok(b','),
        (Some(_), Some(_)) => Err(source.error(Problem::Separator(
            split()
                .map(|(separator, _)| in_words(*separator))
                .collect::<Vec<_>>()
                .join(" or "),
        ))),
        (None, _) => {
            let broken = split().filter_map(|(separator, widths)| Some((*separator, widths.header, widths.uneven?)));
            match broken.min_by_key(|(_, _, uneven)| Reverse(uneven.at)) {
                Some((separator, header, uneven)) => Err(refusal(source, &sample, separator, header, uneven)),
                None => Ok(b','),
            }
        }
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
    let mut records = Vec::new();
    for record in reader.byte_records().take(SAMPLE_RECORDS) {
        let Ok(record) = record else {
            break;
        };
        let at = record.position().map_or(0, csv::Position::byte);
        records.push(Uneven {
            fields: record.len(),
            at: usize::try_from(at).unwrap_or(usize::MAX),
        });
    }
    if !whole && records.len() > 1 && records.len() < SAMPLE_RECORDS {
        // The sample may end within it.
        records.pop();
    }
    let header = records.first().map_or(0, |header| header.fields);
    Widths {
        header,
        uneven: records.into_iter().find(|record| record.fields != header),
    }
}

/// The refusal of a file whose records do not agree with its header whichever of the separators it is.
fn refusal(source: &Source, sample: &[u8], separator: u8, header: usize, uneven: Uneven) -> SourceError {
    let (before, rest) = sample.split_at(uneven.at.min(sample.len()));
    let blank = rest.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
    let line = 1 + line_breaks(&sample[..before.len() + blank], None);
    let problem = Problem::Uneven {
        found: uneven.fields as u64,
        expected: header as u64,
        separator: in_words(separator),
    };
    source.error_at(line, None, problem)
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
        let error = sniffed("a;b\tc\n1;2\t3\n").unwrap_err();
        assert!(
            error.contains("`;` or a tab") && error.contains("--separator"),
            "{error}"
        );
    }

    #[test]
    fn the_row_that_does_not_agree_is_named_by_its_line() {
        for (text, line, found, expected, separator) in [
            ("a|b\nx\n", 2, 1, 2, "`|`"),
            ("a;b\n1;2\n3;4;5\n6;7\n", 3, 3, 2, "`;`"),
            ("\u{feff}a;b\r\n1;2\r\n3\r\n", 3, 1, 2, "`;`"),
            ("a\tb\r1\t2\r3\r", 3, 1, 2, "a tab"),
            // Blank lines are lines, and so are line breaks within quotes.
            ("\na;b\n\n\"1\n\";2\n\n3\n", 7, 1, 2, "`;`"),
            // By the one that more rows agree with.
            ("a;b\tc\n1;2\t3\n4\t5\n6\n", 4, 1, 2, "a tab"),
        ] {
            let wanted = format!(
                "t, line {line}: {found} field(s) where the header has {expected}, if {separator} separates the columns"
            );
            assert_eq!(sniffed(text), Err(wanted), "{text:?}");
        }
        // Where the sample ends within a row, that row says nothing.
        let rows = format!("1;{}\n", "x".repeat(1000)).repeat(100);
        assert_eq!(sniffed(&format!("a;b\n{rows}")), Ok(';'));
    }
}
