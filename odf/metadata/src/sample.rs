//! Arbitrary values of every schema type, drawn from a tape of bytes that proptest makes and shrinks.

use super::{ArrowSchemaBytes, DatasetId, ExtraAttributes, Multihash, Timestamp};

/// How deep data types may nest in a sample.
const MAX_NESTING: usize = 4;

/// Bytes that decide; zeros when they run out, so every sample ends.
pub(crate) struct Tape<'a> {
    bytes: &'a [u8],
    nesting: usize,
}

impl<'a> Tape<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, nesting: 0 }
    }

    fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((first, rest)) => {
                self.bytes = rest;
                *first
            }
            None => 0,
        }
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    pub(crate) fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }
}

/// A type with arbitrary values.
pub(crate) trait Sample {
    fn sample(tape: &mut Tape<'_>) -> Self;
}

impl<T: Sample> Sample for Option<T> {
    fn sample(tape: &mut Tape<'_>) -> Self {
        (tape.byte() % 2 == 1).then(|| T::sample(tape))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(tape: &mut Tape<'_>) -> Self {
        (0..tape.byte() % 4).map(|_| T::sample(tape)).collect()
    }
}

impl Sample for Box<super::DataType> {
    fn sample(tape: &mut Tape<'_>) -> Self {
        if tape.nesting == MAX_NESTING {
            return Box::new(super::DataType::Bool);
        }
        tape.nesting += 1;
        let sample = super::DataType::sample(tape);
        tape.nesting -= 1;
        Box::new(sample)
    }
}

impl Sample for String {
    fn sample(tape: &mut Tape<'_>) -> Self {
        let pieces = [
            "",
            "a",
            "Zed",
            "did:odf:",
            "\n",
            "雨 ",
            "\"quoted\"",
            "- : #",
            "true",
            "1.0",
            " tail ",
            "\u{0}",
        ];
        (0..tape.byte() % 4).map(|_| tape.choose(&pieces)).collect()
    }
}

impl Sample for bool {
    fn sample(tape: &mut Tape<'_>) -> Self {
        tape.byte() % 2 == 1
    }
}

macro_rules! number {
    ($($ty:ty),+) => {$(
        impl Sample for $ty {
            fn sample(tape: &mut Tape<'_>) -> Self {
                match tape.byte() % 4 {
                    0 => 0,
                    1 => <$ty>::from(tape.byte()),
                    2 => <$ty>::MAX,
                    _ => <$ty>::from_le_bytes(tape.array()),
                }
            }
        }
    )+};
}

number!(u32, u64, i32);

impl Sample for Multihash {
    fn sample(tape: &mut Tape<'_>) -> Self {
        match tape.byte() % 3 {
            0 => Multihash::from_sha3_256(tape.array()),
            1 => Multihash::from_arrow0_sha3_256(tape.array()),
            _ => Multihash::wrap(0x12, &tape.array::<5>()).unwrap(),
        }
    }
}

impl Sample for DatasetId {
    fn sample(tape: &mut Tape<'_>) -> Self {
        DatasetId::from_public_key(tape.array())
    }
}

impl Sample for Timestamp {
    fn sample(tape: &mut Tape<'_>) -> Self {
        let year = i32::from(u16::from_le_bytes(tape.array())) % 10_000;
        let ordinal = u16::from_le_bytes(tape.array()) % 365 + 1;
        let seconds = u32::from_le_bytes(tape.array()) % 86_400;
        let fraction = tape.choose(&[0, 500_000_000, 123_456_000, 999_999_999, 1]);
        Timestamp::from_parts(year, ordinal, seconds, fraction).unwrap()
    }
}

impl Sample for ExtraAttributes {
    fn sample(tape: &mut Tape<'_>) -> Self {
        let samples = [
            "{}",
            r#"{"b":{"d":null,"c":[1,-2,1.5,true]},"a":"x"}"#,
            r#"{"opendatafabric.org/type":{"kind":"ObjectLink"}}"#,
        ];
        ExtraAttributes::from_json(tape.choose(&samples)).unwrap()
    }
}

impl Sample for ArrowSchemaBytes {
    fn sample(tape: &mut Tape<'_>) -> Self {
        let len = usize::from(tape.byte() % 9);
        ArrowSchemaBytes((0..len).map(|_| tape.byte()).collect())
    }
}
