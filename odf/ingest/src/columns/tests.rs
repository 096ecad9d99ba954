//! Which types a column can be of.

use arrow::datatypes::Fields;
use odf_tables::types::MAX_FIXED_LENGTH;

use super::*;

#[test]
fn fixed_lengths_have_a_limit_however_they_are_nested() {
    let list = |item: DataType, length| DataType::FixedSizeList(Arc::new(Field::new("item", item, true)), length);
    let reading = Reading {
        lax: true,
        cut_times: false,
        nested: true,
        tells: false,
    };
    let made = |data_type| Column::new(&Field::new("x", data_type, true), None, reading).is_some();
    let most = i32::try_from(MAX_FIXED_LENGTH).unwrap();
    assert!(made(list(DataType::Int8, most)));
    assert!(!made(list(DataType::Int8, most + 1)));
    assert!(!made(list(DataType::Int8, -1)));
    assert!(made(DataType::FixedSizeBinary(most)));
    assert!(!made(DataType::FixedSizeBinary(most + 1)));
    assert!(!made(DataType::FixedSizeBinary(-1)));
    assert!(made(list(list(DataType::Int8, 256), most / 256)));
    assert!(!made(list(list(DataType::Int8, 256), most / 256 + 1)));
    assert!(made(list(DataType::FixedSizeBinary(256), most / 256)));
    assert!(!made(list(DataType::FixedSizeBinary(256), most / 256 + 1)));
    for nothing in [DataType::Struct(Fields::empty()), list(DataType::Int8, 0)] {
        assert!(made(list(nothing.clone(), most)));
        assert!(!made(list(nothing, most + 1)));
    }
    let pair = DataType::Struct(
        vec![
            Field::new("a", DataType::Int8, true),
            Field::new("b", DataType::Int8, true),
        ]
        .into(),
    );
    assert!(made(list(pair.clone(), most / 2)));
    assert!(!made(list(pair, most / 2 + 1)));
}
