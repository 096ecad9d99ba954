//! The attributes of shapes: a dBASE table (`.dbf`), read row by row.

use std::io::{self, BufRead, Read};

use serde_json::value::RawValue;

use crate::json::Refused;
use crate::source::{MAX_ROW_BYTES, Problem};

/// Length of the header, and of the description of each field.
const HEADER_BYTES: usize = 32;
/// Ends the descriptions of fields.
const END_OF_FIELDS: u8 = 0x0d;
/// May stand behind the last row.
const END_OF_FILE: u8 = 0x1a;
/// Number of the day 1970-01-01 in the count of days that times use.
const UNIX_DAY: i64 = 2_440_588;

/// How text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CodePage {
    /// As UTF-8, or if it is not that, as Windows-1252.
    Unknown,
    Utf8,
    Windows1252,
}

impl CodePage {
    /// From the content of a `.cpg`.
    pub(super) fn named(name: &str) -> Result<CodePage, Problem> {
        let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        match letters.to_ascii_uppercase().as_str() {
            "" => Ok(CodePage::Unknown),
            "UTF8" | "65001" | "CP65001" => Ok(CodePage::Utf8),
            "1252" | "CP1252" | "WINDOWS1252" | "ANSI1252" | "ISO88591" | "88591" | "LATIN1" => {
                Ok(CodePage::Windows1252)
            }
            _ => {
                let name = crate::source::shorten(name);
                let what =
                    format!("the attributes are in the code page `{name}`; it can only be UTF-8 or Windows-1252");
                Err(Problem::Syntax(what))
            }
        }
    }

    fn decode(self, bytes: &[u8]) -> Result<String, Problem> {
        match (self, std::str::from_utf8(bytes)) {
            (CodePage::Utf8 | CodePage::Unknown, Ok(text)) => Ok(text.to_owned()),
            (CodePage::Utf8, Err(_)) => Err(Problem::NotUtf8("")),
            _ => Ok(bytes.iter().map(|byte| windows_1252(*byte)).collect()),
        }
    }
}

fn windows_1252(byte: u8) -> char {
    const FROM_80: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => FROM_80[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

struct Field {
    name: String,
    kind: u8,
    length: usize,
}

/// The rows of a dBASE table.
pub(super) struct Attributes {
    input: Box<dyn BufRead + Send>,
    fields: Vec<Field>,
    page: CodePage,
    /// Numbers are given as they are written; otherwise as floats, which is how kamu reads them.
    exact: bool,
    row: Vec<u8>,
}

impl Attributes {
    pub(super) fn open(
        input: impl BufRead + Send + 'static,
        page: CodePage,
        exact: bool,
    ) -> Result<Attributes, Refused> {
        let mut input: Box<dyn BufRead + Send> = Box::new(input);
        let broken = || (None, Problem::Syntax("the .dbf is not a dBASE table".to_owned()));
        let mut header = [0; HEADER_BYTES];
        input.read_exact(&mut header).map_err(|_| broken())?;
        let header_length = usize::from(u16::from_le_bytes([header[8], header[9]]));
        let row_length = usize::from(u16::from_le_bytes([header[10], header[11]]));
        let mut rest = vec![0; header_length.checked_sub(HEADER_BYTES).ok_or_else(broken)?];
        input.read_exact(&mut rest).map_err(|_| broken())?;
        let mut fields = Vec::new();
        for description in rest.chunks_exact(HEADER_BYTES) {
            if description[0] == END_OF_FIELDS {
                break;
            }
            let name = description[..11].split(|byte| *byte == 0).next().unwrap_or_default();
            let name = page.decode(name.trim_ascii()).map_err(|problem| (None, problem))?;
            let kind = description[11];
            if !b"CNFLDIBOYT@".contains(&kind) {
                let what = format!("`{}` of dBASE", char::from(kind).escape_default());
                return Err((Some(name), Problem::Unsupported(what)));
            }
            let length = usize::from(description[16]);
            fields.push(Field { name, kind, length });
        }
        // The first byte of a row says whether it was deleted.
        let taken: usize = 1 + fields.iter().map(|field| field.length).sum::<usize>();
        if taken > row_length || fields.is_empty() {
            return Err(broken());
        }
        const { assert!(u16::MAX as usize <= MAX_ROW_BYTES) };
        let row = vec![0; row_length];
        Ok(Attributes {
            input,
            fields,
            page,
            exact,
            row,
        })
    }

    /// Appends the members of the next row to `text`, commas between them; false for a row that was deleted, none at the
    /// end.
    pub(super) fn next(&mut self, text: &mut Vec<u8>) -> Result<Option<bool>, Refused> {
        let mut row = std::mem::take(&mut self.row);
        let read = read_full(&mut self.input, &mut row).map_err(|error| (None, Problem::Io(error)))?;
        self.row = row;
        if read == 0 || self.row[0] == END_OF_FILE {
            return Ok(None);
        }
        if read < self.row.len() {
            return Err((None, Problem::Syntax("the .dbf ends within a row".to_owned())));
        }
        if self.row[0] == b'*' {
            return Ok(Some(false));
        }
        let mut at = 1;
        for (index, field) in self.fields.iter().enumerate() {
            let bytes = &self.row[at..at + field.length];
            at += field.length;
            let value = self
                .value(field, bytes)
                .map_err(|problem| (Some(field.name.clone()), problem))?;
            if index > 0 {
                text.push(b',');
            }
            text.extend(quoted(&field.name).bytes());
            text.push(b':');
            text.extend(value.bytes());
        }
        Ok(Some(true))
    }

    /// A value as JSON.
    fn value(&self, field: &Field, bytes: &[u8]) -> Result<String, Problem> {
        let null = || Ok("null".to_owned());
        let not = |expected: &str| Problem::NotType {
            value: bytes.escape_ascii().to_string(),
            expected: expected.to_owned(),
        };
        let written = bytes.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii();
        match field.kind {
            b'C' if written.is_empty() => null(),
            b'C' => Ok(quoted(&self.page.decode(written)?)),
            b'N' | b'F' if written.iter().all(|byte| *byte == b'*') => null(),
            b'N' | b'F' => {
                let text = std::str::from_utf8(written).map_err(|_| not("a number"))?;
                let float: f64 = text.parse().map_err(|_| not("a number"))?;
                let is_json = serde_json::from_str::<&RawValue>(text).is_ok();
                Ok(if self.exact && is_json {
                    text.to_owned()
                } else {
                    number(float)
                })
            }
            b'L' => match written {
                b"T" | b"t" | b"Y" | b"y" => Ok("true".to_owned()),
                b"F" | b"f" | b"N" | b"n" => Ok("false".to_owned()),
                _ => null(),
            },
            b'D' if written.is_empty() || written.iter().all(|byte| *byte == b'0') => null(),
            b'D' => match written {
                [y1, y2, y3, y4, m1, m2, d1, d2] if written.iter().all(u8::is_ascii_digit) => {
                    let date = [*y1, *y2, *y3, *y4, b'-', *m1, *m2, b'-', *d1, *d2];
                    Ok(quoted(&String::from_utf8_lossy(&date)))
                }
                _ => Err(not("a date")),
            },
            b'I' => match bytes {
                [a, b, c, d] => Ok(i32::from_le_bytes([*a, *b, *c, *d]).to_string()),
                _ => Err(not("an integer")),
            },
            _ => {
                let eight: [u8; 8] = bytes.try_into().map_err(|_| not("a value of eight bytes"))?;
                Ok(match field.kind {
                    b'Y' => {
                        #[expect(clippy::cast_precision_loss, reason = "kamu takes currency as a float")]
                        let amount = i64::from_le_bytes(eight) as f64;
                        number(amount / 10_000.0)
                    }
                    b'B' | b'O' => number(f64::from_le_bytes(eight)),
                    _ => return moment(eight).map_or_else(null, |moment| Ok(quoted(&moment))),
                })
            }
        }
    }
}

/// Fills the buffer as far as there are bytes, and says how far.
pub(super) fn read_full(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A time from the number of a day and the milliseconds in it.
fn moment(bytes: [u8; 8]) -> Option<String> {
    let [a, b, c, d, e, f, g, h] = bytes;
    let day = i64::from(i32::from_le_bytes([a, b, c, d]));
    let millis = i64::from(i32::from_le_bytes([e, f, g, h]));
    let time = chrono::DateTime::from_timestamp_millis((day - UNIX_DAY) * crate::moment::DAY_MILLIS + millis)?;
    (day != 0).then(|| time.format("%Y-%m-%d %H:%M:%S").to_string())
}

fn number(float: f64) -> String {
    serde_json::Number::from_f64(float).map_or_else(|| "null".to_owned(), |number| number.to_string())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table with these fields (name, type, length) and rows.
    pub(super) fn dbf(fields: &[(&str, u8, u8)], rows: &[&[u8]]) -> Vec<u8> {
        let header = HEADER_BYTES * (fields.len() + 1) + 1;
        let row: usize = 1 + fields.iter().map(|(_, _, length)| usize::from(*length)).sum::<usize>();
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[0] = 3;
        bytes[8..10].copy_from_slice(&u16::try_from(header).unwrap().to_le_bytes());
        bytes[10..12].copy_from_slice(&u16::try_from(row).unwrap().to_le_bytes());
        for (name, kind, length) in fields {
            let mut description = [0; HEADER_BYTES];
            description[..name.len()].copy_from_slice(name.as_bytes());
            description[11] = *kind;
            description[16] = *length;
            bytes.extend(description);
        }
        bytes.push(END_OF_FIELDS);
        bytes.extend(rows.concat());
        bytes
    }

    fn read(bytes: Vec<u8>, exact: bool) -> Result<Vec<String>, Refused> {
        let mut table = Attributes::open(std::io::Cursor::new(bytes), CodePage::Unknown, exact)?;
        let mut rows = Vec::new();
        let mut text = Vec::new();
        while let Some(kept) = table.next(&mut text)? {
            if kept {
                rows.push(String::from_utf8(std::mem::take(&mut text)).unwrap());
            }
        }
        Ok(rows)
    }

    #[test]
    fn every_type_of_field_is_read() {
        let fields = [
            ("c", b'C', 4),
            ("n", b'N', 5),
            ("l", b'L', 1),
            ("d", b'D', 8),
            ("i", b'I', 4),
            ("t", b'T', 8),
        ];
        let mut first = b" M\xfcl  2.50T20240229".to_vec();
        first.extend(7i32.to_le_bytes());
        first.extend(2_440_589i32.to_le_bytes());
        first.extend(3_723_000i32.to_le_bytes());
        let mut second = b"     *****?        ".to_vec();
        second.extend([0; 12]);
        let mut deleted = second.clone();
        deleted[0] = b'*';
        let bytes = dbf(&fields, &[&first, &deleted, &second, &[END_OF_FILE]]);
        let rows = read(bytes.clone(), true).unwrap();
        assert_eq!(
            rows,
            [
                "\"c\":\"Mül\",\"n\":2.50,\"l\":true,\"d\":\"2024-02-29\",\"i\":7,\"t\":\"1970-01-02 01:02:03\"",
                "\"c\":null,\"n\":null,\"l\":null,\"d\":null,\"i\":0,\"t\":null",
            ]
        );
        assert!(read(bytes, false).unwrap()[0].contains("\"n\":2.5,"));
        let whole = |exact| read(dbf(&[("n", b'N', 3)], &[b"  12"]), exact).unwrap().concat();
        assert_eq!(
            (whole(true), whole(false)),
            ("\"n\":12".to_owned(), "\"n\":12.0".to_owned())
        );
        let euro = read(dbf(&[("c", b'C', 1)], &[b" \x80"]), true).unwrap();
        assert_eq!(euro, ["\"c\":\"€\""]);
    }

    #[test]
    fn bad_tables_are_refused() {
        let refusal = |bytes: Vec<u8>| read(bytes, true).unwrap_err();
        let (column, problem) = refusal(dbf(&[("m", b'M', 10)], &[]));
        assert_eq!(
            (column.as_deref(), problem.to_string().contains("`M` of dBASE")),
            (Some("m"), true)
        );
        let (column, problem) = refusal(dbf(&[("n", b'N', 2)], &[b" xy"]));
        assert_eq!(column.as_deref(), Some("n"));
        assert_eq!(problem.to_string(), "`xy` is not a number, the type of this column");
        assert!(
            refusal(dbf(&[("d", b'D', 8)], &[b" 2024-1-1"]))
                .1
                .to_string()
                .contains("is not a date")
        );
        assert!(
            refusal(dbf(&[("c", b'C', 8)], &[b" x"]))
                .1
                .to_string()
                .contains("ends within a row")
        );
        assert!(
            refusal(dbf(&[("t", b'T', 7)], &[b" 1234567"]))
                .1
                .to_string()
                .contains("eight bytes")
        );
        let whole = dbf(&[("c", b'C', 8)], &[]);
        for cut in 0..whole.len() {
            assert!(read(whole[..cut].to_vec(), true).is_err(), "{cut}");
        }
        assert!(read(dbf(&[], &[]), true).is_err());
        assert!(CodePage::named("CP932").unwrap_err().to_string().contains("CP932"));
        assert_eq!(CodePage::named("UTF-8").unwrap(), CodePage::Utf8);
        assert!(CodePage::Utf8.decode(b"\xff").is_err());
    }
}
