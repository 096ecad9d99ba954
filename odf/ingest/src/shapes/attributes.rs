//! The attributes of shapes: a dBASE table (`.dbf`), read row by row.

use std::io::{self, BufRead, Read};

use arrow::datatypes::DataType;

use super::codepage::CodePage;
use super::numbers::{Needs, in_json};
use crate::json::Refused;
use crate::source::{MAX_ROW_BYTES, Problem};
use odf_tables::timestamp;

/// Length of the header, and of the description of each field.
const HEADER_BYTES: usize = 32;
/// Ends the descriptions of fields.
const END_OF_FIELDS: u8 = 0x0d;
/// May stand behind the last row.
const END_OF_FILE: u8 = 0x1a;
/// Number of the day 1970-01-01 in the count of days that times use.
const UNIX_DAY: i64 = 2_440_588;
/// Digits of a currency value: it is a whole number of 64 bits of ten-thousandths.
const CURRENCY_DIGITS: (usize, usize) = (19, 4);

struct Field {
    name: String,
    kind: u8,
    length: usize,
    /// Digits behind the point, as the header says.
    decimals: usize,
    needs: Needs,
}

impl Field {
    /// Length of a value where the type sets it; the header of one of another length is not of the table that follows.
    fn fixed_length(kind: u8) -> Option<usize> {
        match kind {
            b'I' => Some(4),
            b'B' | b'O' | b'Y' | b'T' | b'@' | b'D' => Some(8),
            b'L' => Some(1),
            _ => None,
        }
    }

    /// The type of the column that holds every value of this field, of which all have been read. `as_kamu`: the one kamu
    /// sees, if that holds them; none then for what it finds out from the values. `decimal`: numbers with a point are to
    /// be decimals.
    fn data_type(&self, as_kamu: bool, decimal: bool) -> Option<DataType> {
        let number = |digits, decimals| match as_kamu {
            true => self.needs.float_if_exact(digits, decimals),
            false => Some(self.needs.narrowest(digits, decimals, self.kind == b'F', decimal)),
        };
        match self.kind {
            b'N' | b'F' => number(self.length, self.decimals),
            b'Y' if as_kamu => number(CURRENCY_DIGITS.0 + 1, CURRENCY_DIGITS.1),
            b'Y' => Some(DataType::Decimal128(19, 4)),
            _ if as_kamu => None,
            b'C' => Some(DataType::Utf8),
            b'L' => Some(DataType::Boolean),
            b'D' => Some(DataType::Date32),
            b'I' => Some(DataType::Int64),
            b'B' | b'O' => Some(DataType::Float64),
            _ => Some(timestamp()),
        }
    }
}

/// The rows of a dBASE table.
pub(super) struct Attributes {
    input: Box<dyn BufRead + Send>,
    fields: Vec<Field>,
    page: CodePage,
    row: Vec<u8>,
}

impl Attributes {
    /// `named` is the code page that stands in a `.cpg`; without one the language byte of the header decides.
    pub(super) fn open(input: impl BufRead + Send + 'static, named: Option<CodePage>) -> Result<Attributes, Refused> {
        let mut input: Box<dyn BufRead + Send> = Box::new(input);
        let refused = |what: &str| (None, Problem::Syntax(what.to_owned()));
        let broken = || refused("the .dbf is not a dBASE table");
        let mut header = [0; HEADER_BYTES];
        input.read_exact(&mut header).map_err(|_| broken())?;
        if header[0] & 7 == 4 {
            return Err(refused(
                "the .dbf has the layout of dBASE 7, which is not read; save it as dBASE III or IV",
            ));
        }
        let page = match named {
            Some(page) if page != CodePage::Unknown => page,
            _ => CodePage::of_language(header[29]).map_err(|problem| (None, problem))?,
        };
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
            let length = usize::from(description[16]);
            let known = b"CNFLDIBOYT@".contains(&kind) && Field::fixed_length(kind).is_none_or(|fixed| fixed == length);
            if !known {
                let what = format!("`{}` of dBASE, in {length} bytes,", char::from(kind).escape_default());
                return Err((Some(name), Problem::Unsupported(what)));
            }
            fields.push(Field {
                name,
                kind,
                length,
                decimals: usize::from(description[17]),
                needs: Needs::default(),
            });
        }
        // The first byte of a row says whether it was deleted.
        let taken = |fields: &[Field]| 1 + fields.iter().map(|field| field.length).sum::<usize>();
        if taken(&fields) != row_length {
            // FoxPro and Clipper have text of more than 255 bytes; the rest of its length stands where decimals are counted.
            for field in fields.iter_mut().filter(|field| field.kind == b'C') {
                field.length += field.decimals << 8;
            }
        }
        if fields.is_empty() || taken(&fields) > row_length {
            return Err(broken());
        }
        const { assert!(u16::MAX as usize <= MAX_ROW_BYTES) };
        let row = vec![0; row_length];
        Ok(Attributes {
            input,
            fields,
            page,
            row,
        })
    }

    /// The columns that hold every value read so far; none for a type that is to be found out from the values.
    pub(super) fn types(&self, as_kamu: bool, decimal: bool) -> impl Iterator<Item = (&str, Option<DataType>)> {
        let fields = self.fields.iter();
        fields.map(move |field| (field.name.as_str(), field.data_type(as_kamu, decimal)))
    }

    /// Gives the column of a field another name, if there is such a field.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        for field in self.fields.iter_mut().filter(|field| field.name == from) {
            to.clone_into(&mut field.name);
        }
    }

    /// Appends the members of the next row to `text`, commas between them; false for a row that was deleted, none at the
    /// end.
    pub(super) fn next(&mut self, text: &mut Vec<u8>) -> Result<Option<bool>, Refused> {
        let read = read_full(&mut self.input, &mut self.row).map_err(|error| (None, Problem::Io(error)))?;
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
        for (index, field) in self.fields.iter_mut().enumerate() {
            let bytes = &self.row[at..at + field.length];
            at += field.length;
            let value = value(field, self.page, bytes).map_err(|problem| (Some(field.name.clone()), problem))?;
            if index > 0 {
                text.push(b',');
            }
            text.extend(quoted(&field.name).bytes());
            text.push(b':');
            text.extend(value.bytes());
        }
        Ok(Some(true))
    }
}

/// A value as JSON: numbers with the digits they are written with.
fn value(field: &mut Field, page: CodePage, bytes: &[u8]) -> Result<String, Problem> {
    let null = || Ok("null".to_owned());
    let not = |expected: &str| Problem::NotType {
        value: bytes.escape_ascii().to_string(),
        expected: expected.to_owned(),
    };
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let written = text.trim_ascii();
    match field.kind {
        b'C' => {
            // Blanks fill the field up behind the text; those before it are part of it.
            let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
            match &text[..end] {
                [] => null(),
                text => Ok(quoted(&page.decode(text)?)),
            }
        }
        // Stars stand for a number that did not fit.
        b'N' | b'F' if written.iter().all(|byte| *byte == b'*') => null(),
        b'N' | b'F' => {
            let text = std::str::from_utf8(written).ok().and_then(in_json);
            let text = text.ok_or_else(|| not("a number"))?;
            field.needs.add(&text);
            Ok(text)
        }
        b'L' => match written {
            b"T" | b"t" | b"Y" | b"y" => Ok("true".to_owned()),
            b"F" | b"f" | b"N" | b"n" => Ok("false".to_owned()),
            b"" | b"?" => null(),
            _ => Err(not("a truth value (T, F, Y, N or `?`)")),
        },
        b'D' if written.iter().all(|byte| *byte == b'0') => null(),
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
        kind => {
            let eight: [u8; 8] = bytes.try_into().map_err(|_| not("a value of eight bytes"))?;
            match kind {
                b'Y' => {
                    let amount = i64::from_le_bytes(eight);
                    let (sign, amount) = (if amount < 0 { "-" } else { "" }, amount.unsigned_abs());
                    let text = format!("{sign}{}.{:04}", amount / 10_000, amount % 10_000);
                    field.needs.add(&text);
                    Ok(text)
                }
                b'B' | b'O' => {
                    let float = f64::from_le_bytes(eight);
                    let number = serde_json::Number::from_f64(float).map(|number| number.to_string());
                    number.ok_or_else(|| Problem::NotType {
                        value: float.to_string(),
                        expected: "a finite number".to_owned(),
                    })
                }
                _ => moment(eight)
                    .ok_or_else(|| not("a time"))?
                    .map_or_else(null, |text| Ok(quoted(&text))),
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

/// A time from the number of a day, which is 0 where there is none, and the milliseconds in it. None if there is no such
/// time.
fn moment(bytes: [u8; 8]) -> Option<Option<String>> {
    let [a, b, c, d, e, f, g, h] = bytes;
    let day = i64::from(i32::from_le_bytes([a, b, c, d]));
    let millis = i64::from(i32::from_le_bytes([e, f, g, h]));
    if day == 0 {
        return Some(None);
    }
    let time = chrono::DateTime::from_timestamp_millis((day - UNIX_DAY) * crate::moment::DAY_MILLIS + millis)?;
    Some(Some(time.format("%Y-%m-%d %H:%M:%S%.f").to_string()))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table with these fields (name, type, length) and rows.
    fn dbf<N: AsRef<[u8]>>(fields: &[(N, u8, u8)], rows: &[&[u8]]) -> Vec<u8> {
        let header = HEADER_BYTES * (fields.len() + 1) + 1;
        let row: usize = 1 + fields.iter().map(|(_, _, length)| usize::from(*length)).sum::<usize>();
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[0] = 3;
        bytes[8..10].copy_from_slice(&u16::try_from(header).unwrap().to_le_bytes());
        bytes[10..12].copy_from_slice(&u16::try_from(row).unwrap().to_le_bytes());
        for (name, kind, length) in fields {
            let mut description = [0; HEADER_BYTES];
            let name = name.as_ref();
            description[..name.len()].copy_from_slice(name);
            description[11] = *kind;
            description[16] = *length;
            bytes.extend(description);
        }
        bytes.push(END_OF_FIELDS);
        bytes.extend(rows.concat());
        bytes
    }

    fn read(bytes: Vec<u8>) -> Result<Vec<String>, Refused> {
        rows(&mut Attributes::open(std::io::Cursor::new(bytes), None)?)
    }

    fn rows(table: &mut Attributes) -> Result<Vec<String>, Refused> {
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
            ("y", b'Y', 8),
            ("b", b'B', 8),
        ];
        let mut first = b" M\xfcl  2.50T20240229".to_vec();
        first.extend(7i32.to_le_bytes());
        first.extend(2_440_589i32.to_le_bytes());
        first.extend(3_723_001i32.to_le_bytes());
        first.extend((-9_223_372_036_854_775_807i64).to_le_bytes());
        first.extend(0.1f64.to_le_bytes());
        let mut second = b"     *****?        ".to_vec();
        second.extend([0; 28]);
        let mut deleted = second.clone();
        deleted[0] = b'*';
        let bytes = dbf(&fields, &[&first, &deleted, &second, &[END_OF_FILE]]);
        let mut table = Attributes::open(std::io::Cursor::new(bytes), None).unwrap();
        assert_eq!(
            rows(&mut table).unwrap(),
            [
                "\"c\":\"Mül\",\"n\":2.50,\"l\":true,\"d\":\"2024-02-29\",\"i\":7,\"t\":\"1970-01-02 01:02:03.001\",\
                 \"y\":-922337203685477.5807,\"b\":0.1",
                "\"c\":null,\"n\":null,\"l\":null,\"d\":null,\"i\":0,\"t\":null,\"y\":0.0000,\"b\":0.0",
            ]
        );
        let types: Vec<_> = table
            .types(false, false)
            .map(|(_, data_type)| data_type.unwrap())
            .collect();
        assert_eq!(
            types,
            [
                DataType::Utf8,
                DataType::Float64,
                DataType::Boolean,
                DataType::Date32,
                DataType::Int64,
                timestamp(),
                DataType::Decimal128(19, 4),
                DataType::Float64,
            ]
        );
        // Kamu takes numbers for floats, and looks at the values of the rest.
        let types: Vec<_> = table.types(true, false).map(|(_, data_type)| data_type).collect();
        assert_eq!(types[..2], [None, Some(DataType::Float64)]);
        assert_eq!(types[6], Some(DataType::Decimal128(19, 4)), "a float would lose digits");
    }

    #[test]
    fn text_keeps_its_blanks_but_those_that_fill_the_field() {
        let rows = read(dbf(&[("c", b'C', 5)], &[b"  a b ", b" \x80\0xyz", b"      "])).unwrap();
        assert_eq!(rows, ["\"c\":\" a b\"", "\"c\":\"€\"", "\"c\":null"]);
    }

    #[test]
    fn the_language_byte_counts_unless_a_code_page_is_named() {
        let mut bytes = dbf(&[(b"\x93\x8c", b'C', 4)], &[b" \x8b\x9e  "]);
        bytes[29] = 0x13;
        let open = |bytes: &[u8], page| Attributes::open(std::io::Cursor::new(bytes.to_vec()), page);
        assert_eq!(rows(&mut open(&bytes, None).unwrap()).unwrap(), ["\"東\":\"京\""]);
        let empty = CodePage::named("").unwrap();
        assert_eq!(
            rows(&mut open(&bytes, Some(empty)).unwrap()).unwrap(),
            ["\"東\":\"京\""]
        );
        let latin = CodePage::named("1252").unwrap();
        assert_eq!(
            rows(&mut open(&bytes, Some(latin)).unwrap()).unwrap(),
            ["\"“Œ\":\"‹ž\""]
        );
        bytes[29] = 0x77;
        let refused = open(&bytes, None).err().unwrap().1.to_string();
        assert!(refused.contains("0x77"), "{refused}");
        assert!(open(&bytes, Some(latin)).is_ok());
    }

    #[test]
    fn text_may_be_longer_than_one_byte_counts() {
        let long = |kind: u8, row: usize| {
            let mut bytes = dbf(&[("c", kind, 44)], &[]);
            bytes[HEADER_BYTES + 17] = 1;
            bytes[10..12].copy_from_slice(&u16::try_from(row).unwrap().to_le_bytes());
            let text = [b" ".to_vec(), vec![b'x'; row - 1]].concat();
            bytes.extend(text);
            read(bytes)
        };
        assert_eq!(long(b'C', 301).unwrap(), [format!("\"c\":\"{}\"", "x".repeat(300))]);
        assert!(long(b'C', 40).is_err());
    }

    #[test]
    fn bad_tables_are_refused() {
        let refusal = |bytes: Vec<u8>| read(bytes).unwrap_err();
        let in_column = |field: (&str, u8, u8), row: &[u8], what: &str| {
            let (column, problem) = refusal(dbf(&[field], &[row]));
            assert_eq!(column.as_deref(), Some(field.0));
            assert!(problem.to_string().contains(what), "{problem}");
        };
        in_column(("m", b'M', 10), b"", "`M` of dBASE");
        in_column(("b", b'B', 10), b"", "`B` of dBASE");
        in_column(("t", b'T', 7), b"", "`T` of dBASE");
        in_column(("n", b'N', 2), b" xy", "`xy` is not a number, the type of this column");
        in_column(("n", b'N', 3), b" nan", "`nan` is not a number");
        in_column(("l", b'L', 1), b" x", "is not a truth value");
        in_column(("d", b'D', 8), b" 2024-1-1", "is not a date");
        in_column(
            ("b", b'B', 8),
            &[&b" "[..], &f64::NAN.to_le_bytes()].concat(),
            "is not a finite number",
        );
        in_column(("t", b'T', 8), b" \xff\xff\xff\x7f    ", "is not a time");
        assert!(
            refusal(dbf(&[("c", b'C', 8)], &[b" x"]))
                .1
                .to_string()
                .contains("ends within a row")
        );
        let whole = dbf(&[("c", b'C', 8)], &[]);
        for cut in 0..whole.len() {
            assert!(read(whole[..cut].to_vec()).is_err(), "{cut}");
        }
        assert!(read(dbf::<&str>(&[], &[])).is_err());
        let mut seventh = whole;
        seventh[0] = 4;
        assert!(refusal(seventh).1.to_string().contains("dBASE 7"));
    }
}
