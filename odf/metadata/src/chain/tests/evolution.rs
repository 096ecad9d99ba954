//! How a schema may change.

use super::*;

fn set(fields: Vec<DataField>) -> SetDataSchema {
    SetDataSchema {
        schema: Some(DataSchema { fields, extra: None }),
        raw_arrow_schema: None,
    }
}

fn field(name: &str, data_type: DataType) -> DataField {
    DataField::new(name, data_type)
}

fn list(item: DataType) -> DataType {
    DataType::List {
        item_type: Box::new(item),
        fixed_length: None,
    }
}

fn structure(fields: Vec<DataField>) -> DataType {
    DataType::Struct { fields }
}

fn timestamp(unit: Option<TimeUnit>, timezone: Option<&str>) -> DataType {
    DataType::Timestamp {
        unit,
        timezone: timezone.map(str::to_owned),
    }
}

fn start() -> Vec<DataField> {
    let inner = vec![field("x", DataType::Int32), field("y", DataType::Int32.optional())];
    vec![
        field("a", DataType::Int64),
        field("b", DataType::String.optional()),
        field("t", timestamp(None, None)),
        field("s", structure(inner.clone())),
        field("l", list(structure(inner))),
    ]
}

fn chain() -> Chain {
    Chain::new().with(set(start()))
}

fn changed(index: usize, data_type: DataType) -> Vec<DataField> {
    let mut fields = start();
    fields[index].data_type = data_type;
    fields
}

#[test]
fn the_same_schema_is_a_no_op() {
    chain().calls_no_op(set(start()));
    let spelled = changed(2, timestamp(Some(TimeUnit::Millisecond), Some("UTC")));
    chain().calls_no_op(set(spelled));
    Chain::new().calls_invalid(SetDataSchema::default(), "there is no schema");
}

#[test]
fn attributes_order_and_optional_fields_may_change() {
    let mut attributes = start();
    attributes[0].extra = Some(ExtraAttributes::from_json(r#"{"a":1}"#).unwrap());
    let chain = chain().with(set(attributes)).with(set(start()));
    let mut reordered = start();
    reordered.reverse();
    let chain = chain.with(set(reordered));
    let mut extended = start();
    extended.insert(0, field("new", DataType::Bool.optional()));
    chain.with(set(extended));

    let more = vec![
        field("z", DataType::Bool.optional()),
        field("y", DataType::Int32.optional()),
        field("x", DataType::Int32),
    ];
    super::Chain::new()
        .with(set(start()))
        .with(set(changed(3, structure(more.clone()))));
    super::Chain::new()
        .with(set(start()))
        .with(set(changed(4, list(structure(more)))));
}

#[test]
fn what_old_rows_would_not_survive_is_refused() {
    let refused = |fields: Vec<DataField>, said: &str| chain().calls_invalid(set(fields), said);
    refused(start().split_off(1), "`a` was removed");
    let mut extended = start();
    extended.push(field("new", DataType::Bool));
    refused(extended, "`new` is required");
    refused(changed(0, DataType::Int32), "`a` changed from Int64 to Int32");
    refused(
        changed(0, DataType::Int64.optional()),
        "`a` changed from Int64 to optional Int64",
    );
    refused(
        changed(1, DataType::String),
        "`b` changed from optional String to String",
    );
    refused(changed(1, DataType::Bool.optional()), "`b` changed from String to Bool");
    let micro = timestamp(Some(TimeUnit::Microsecond), None);
    refused(
        changed(2, micro),
        "`t` changed from Timestamp to Timestamp(Microsecond, UTC)",
    );
    refused(changed(2, timestamp(None, Some("CET"))), "`t` changed");
    refused(changed(3, structure(Vec::new())), "`s.x` was removed");
    let wider = vec![field("x", DataType::Int64), field("y", DataType::Int32.optional())];
    refused(
        changed(3, structure(wider.clone())),
        "`s.x` changed from Int32 to Int64",
    );
    refused(changed(4, list(structure(wider))), "`l[].x` changed");
    let DataType::List { item_type, .. } = start().remove(4).data_type else {
        panic!()
    };
    refused(
        changed(
            4,
            DataType::List {
                item_type,
                fixed_length: Some(3),
            },
        ),
        "`l` changed",
    );
}

#[test]
fn the_legacy_form_does_not_say_what_is_optional() {
    let legacy = SetDataSchema {
        raw_arrow_schema: Some(crate::codec::legacy::tests::int64_and_bool()),
        schema: None,
    };
    let chain = Chain::new().with(legacy.clone());
    // Kamu compares nothing with a schema of that form, and so do we.
    chain.clone().with(legacy.clone());
    Chain::new().with(set(start())).with(legacy);
    let fields = |a, b| vec![field("a", a), field("b", b)];
    chain.calls_no_op(set(fields(DataType::Int64, DataType::Bool)));
    chain
        .clone()
        .with(set(fields(DataType::Int64.optional(), DataType::Bool)));
    chain.calls_invalid(
        set(fields(DataType::String, DataType::Bool)),
        "`a` changed from Int64 to String",
    );
    chain.calls_invalid(set(vec![field("a", DataType::Int64)]), "`b` was removed");
    let damaged = SetDataSchema {
        raw_arrow_schema: Some(ArrowSchemaBytes(vec![1, 2, 3])),
        schema: None,
    };
    let chain = Chain::new().with(damaged);
    chain.calls_invalid(set(start()), "broken block");
    Chain::new().calls_invalid(
        SetDataSchema {
            raw_arrow_schema: None,
            schema: None,
        },
        "there is no schema",
    );
}

#[test]
fn nothing_changes_within_a_map() {
    let map = |value_type: DataType| {
        vec![field(
            "m",
            DataType::Map {
                key_type: Box::new(DataType::String),
                value_type: Box::new(value_type),
                keys_sorted: None,
            },
        )]
    };
    let value = |fields| map(structure(fields));
    let chain = Chain::new().with(set(value(vec![field("a", DataType::Int64)])));
    chain.calls_no_op(set(value(vec![field("a", DataType::Int64)])));
    let more = vec![field("a", DataType::Int64), field("b", DataType::Int64.optional())];
    chain.calls_invalid(set(value(more)), "`m` changed from Map to Map");
}
