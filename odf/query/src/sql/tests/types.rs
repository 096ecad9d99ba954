//! Which functions there are, and which types and orders come out.

use super::*;

/// The columns of a query as `name:type`, with `?` where they may be missing: as the schema says, and as a slice has them.
fn columns(query: &str) -> (Vec<String>, Vec<String>) {
    let query = plan_of(&[(None, query)]).unwrap();
    let text = |schema: &SchemaRef| {
        let optional = |field: &Field| if field.is_nullable() { "?" } else { "" };
        let fields = schema.fields().iter();
        fields
            .map(|field| format!("{}:{}{}", field.name(), field.data_type(), optional(field)))
            .collect()
    };
    (text(query.schema()), text(&query.stored.schema))
}

#[test]
fn functions_for_json_are_there() {
    let json = r#"'{"a": -7, "b": {"c": "x"}, "l": [1, 2]}'"#;
    let whole = |expression: &str| run(1, &[(None, &format!("select {expression} as v from input"))]).unwrap();
    assert_eq!(whole(&format!("json_get_int({json}, 'a')")), [-7]);
    assert_eq!(whole(&format!("json_length({json}, 'l')::bigint")), [2]);
    assert_eq!(whole(&format!("({json}->>'a')::bigint")), [-7]);
    assert_eq!(whole(&format!("json_get({json}, 'l', 1)::bigint")), [2]);
    assert_eq!(
        whole(&format!("case when json_contains({json}, 'b', 'c') then 1 else 0 end")),
        [1]
    );
    let (columns, _) = columns(
        "select json_get_int(Name,'a') i, json_get_str(Name,'a') s, json_get_float(Name,'a') f, json_get_bool(Name,'a') b, \
         json_get_json(Name,'a') j, json_object_keys(Name) k, json_length(Name) n, \
         json_as_text(Name,'a') t, Name->'a'->>'b' o from input",
    );
    assert_eq!(
        columns,
        [
            "i:Int64?",
            "s:Utf8?",
            "f:Float64?",
            "b:Boolean?",
            "j:Utf8?",
            "k:List(Utf8)?",
            "n:UInt64?",
            "t:Utf8?",
            "o:Utf8?"
        ]
    );
}

#[test]
fn results_have_the_types_that_the_reference_implementation_gives_them() {
    let (columns, _) = columns(
        "select left(Name,1) a, right(Name,1) b, substr(Name,2) c, substring(Name from 2 for 1) d, substr(Name,1)||'x' e, \
         round(n) f, round(1.25,1) g, regexp_count(Name,'a') h, column1 i from input, (values (1)) v",
    );
    assert_eq!(
        columns,
        [
            "a:Utf8View?",
            "b:Utf8View?",
            "c:Utf8View?",
            "d:Utf8View?",
            "e:Utf8View?",
            "f:Float64",
            "g:Float64",
            "h:Int64?",
            "i:Int64?"
        ]
    );
    assert_eq!(
        run(1, &[(None, "select regexp_count(null, 'a') as v from input")]).unwrap(),
        [0]
    );
    let version = "select cast(version() like 'Apache DataFusion 54.1.0, % on %' as bigint) as v from input";
    assert_eq!(run(1, &[(None, version)]).unwrap(), [1]);
    let counted = "select regexp_count(case when n > 0 then 'a-a' end, 'a') as v from input";
    assert_eq!(run(2, &[(None, counted)]).unwrap(), [0, 2]);
    assert_eq!(
        run(1, &[(None, "select cast(substr('a12',2) as bigint) as v from input")]).unwrap(),
        [12]
    );
    assert_eq!(
        run(1, &[(None, "select cast(round(7) as bigint) as v from input")]).unwrap(),
        [7]
    );
}

#[test]
fn functions_that_came_later_are_not_there() {
    for call in [
        "array_sum([n])",
        "list_sum([n])",
        "array_add([n], [n])",
        "any_value(n)",
        "input_file_name()",
    ] {
        let error = plan_of(&[(None, &format!("select {call} as v from input"))])
            .err()
            .unwrap();
        assert!(error.to_string().contains("Invalid function"), "{error}");
    }
}

#[test]
fn what_cannot_be_missing_is_required_in_the_slice_only() {
    let (columns, stored) = columns("select power(2, 3) p, nullif(n, 1) q, to_hex(255) h, n from input");
    assert_eq!(columns, ["p:Float64?", "q:Int64?", "h:Utf8?", "n:Int64"]);
    assert_eq!(stored, ["p:Float64", "q:Int64?", "h:Utf8", "n:Int64"]);
}

#[test]
fn types_are_those_that_come_out() {
    let (schema, stored) = columns("select cast(n as int) as x from input union all select n + 1 from input");
    assert_eq!(schema[0].split('?').next(), Some("x:Int64"));
    assert_eq!(stored[0].split('?').next(), Some("x:Int64"));
    let (schema, _) = columns("select json_get(Name, 'a')::text as x from input");
    assert_eq!(schema, ["x:Utf8?"]);
}

#[test]
fn the_order_that_a_query_asks_for_is_known() {
    let order = |query: &str| {
        let query = plan_of(&[(None, query)]).unwrap();
        let columns = query.stored.order.iter();
        columns
            .map(|by| {
                format!(
                    "{}{}{}",
                    by.column,
                    if by.descending { " desc" } else { "" },
                    if by.nulls_first { " nulls first" } else { "" }
                )
            })
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(order("select n, Name from input"), "");
    assert_eq!(
        order("select n, Name from input order by Name desc, n"),
        "Name desc nulls first, n"
    );
    assert_eq!(
        order("select Name, n as x from input order by n desc limit 2"),
        "x desc nulls first"
    );
    assert_eq!(order("select n from input order by Name"), "");
    assert_eq!(order("select n, row_number() over (order by n) as r from input"), "r");
}
