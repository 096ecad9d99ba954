//! GeoJSON: what of a feature becomes a column, and what features may stand in.

use super::*;
use odf_ingest::shape::type_name;

fn feature(id: Option<&str>, properties: &str) -> String {
    let id = id.map_or_else(String::new, |id| format!("\"id\":{id},"));
    format!(
        "{{\"type\":\"Feature\",{id}\"bbox\":[1,2],\"geometry\":{{\"type\":\"Point\",\
         \"coordinates\":[10.123456789012345678,2.50,1E7,-0]}},\"properties\":{properties}}}"
    )
}

const POINT: &str = "{\"coordinates\":[10.123456789012345678,2.50,1e+7,0],\"type\":\"Point\"}";

fn collection(features: &[String]) -> String {
    format!(
        "{{\"type\":\"FeatureCollection\",\"features\":[{}]}}",
        features.join(",")
    )
}

/// The columns of the dataset, and its rows without their geometry.
fn shown(world: &World) -> (Vec<String>, Vec<String>) {
    let dataset = world.dataset();
    let schema = dataset.state().schema.as_ref().unwrap().schema.clone().unwrap();
    let schema = types::to_arrow(&schema).unwrap();
    let columns = schema.fields().iter().skip(4);
    let columns = columns.map(|field| format!("{}:{}", field.name(), type_name(field.data_type())));
    let rows = world.rows().into_iter().map(|row| {
        assert!(row.ends_with(POINT), "{row}");
        row.splitn(4, ' ')
            .last()
            .unwrap()
            .replace(POINT, "")
            .trim_end()
            .to_owned()
    });
    (columns.collect(), rows.collect())
}

fn published(features: &[String]) -> (Vec<String>, Vec<String>) {
    let mut world = World::new();
    updated(world.publish_text(&collection(features), Format::GeoJson, &Options::default()));
    shown(&world)
}

#[test]
fn the_id_of_a_feature_is_a_column() {
    let mixed = [
        feature(Some("\"w123\""), "{\"name\":\"A\"}"),
        feature(Some("7"), "{\"name\":\"B\"}"),
    ];
    let (columns, rows) = published(&mixed);
    assert_eq!(columns, ["id:String", "name:String", "geometry:String"]);
    assert_eq!(rows, ["w123 A", "7 B"]);

    let numbers = [
        feature(Some("7"), "{}"),
        feature(None, "null"),
        feature(Some("null"), "{}"),
    ];
    assert_eq!(published(&numbers).0, ["id:Int64", "geometry:String"]);
    assert_eq!(published(&numbers).1, ["7", "-", "-"]);
    // None has one.
    assert_eq!(
        published(&[feature(None, "{\"a\":1}")]).0,
        ["a:Int64", "geometry:String"]
    );
}

#[test]
fn the_id_of_a_feature_may_be_the_key() {
    let mut world = World::new();
    let options = keyed("snapshot", &["id"]);
    let first = [feature(Some("1"), "{\"v\":\"a\"}"), feature(Some("2"), "{\"v\":\"b\"}")];
    updated(world.publish_text(&collection(&first), Format::GeoJson, &options));
    let second = [feature(Some("2"), "{\"v\":\"b\"}"), feature(Some("3"), "{\"v\":\"c\"}")];
    updated(world.publish_text(&collection(&second), Format::GeoJson, &options));
    // The first is retracted.
    let (_, mut rows) = shown(&world);
    rows.sort();
    assert_eq!(rows, ["1 a", "1 a", "2 b", "3 c"]);
}

#[test]
fn no_property_is_lost_to_a_name_that_features_use_themselves() {
    let (columns, rows) = published(&[
        feature(
            Some("1"),
            "{\"id\":\"p\",\"geometry\":\"shadow\",\"type\":\"t\",\"properties\":5,\"bbox\":true}",
        ),
        feature(None, "{\"id\":2}"),
    ]);
    assert_eq!(
        columns,
        [
            "id:Int64",
            "_id:String",
            "_geometry:String",
            "type:String",
            "properties:Int64",
            "bbox:Bool",
            "geometry:String",
        ]
    );
    assert_eq!(rows, ["1 p shadow t 5 true", "2 - - - - -"]);
    // Without an id of the feature nothing is in the way of the property, not even one that looks like it was renamed.
    let (columns, rows) = published(&[feature(None, "{\"id\":1,\"_id\":2}")]);
    assert_eq!(columns, ["id:Int64", "_id:Int64", "geometry:String"]);
    assert_eq!(rows, ["1 2"]);
    for (id, properties, column) in [
        (Some("1"), "{\"id\":1,\"_id\":2}", "_id"),
        (None, "{\"geometry\":1,\"_geometry\":2}", "_geometry"),
    ] {
        let text = collection(&[feature(id, properties)]);
        let error = World::new().publish_text(&text, Format::GeoJson, &Options::default());
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains(&format!("column `{column}`: this column appears twice")),
            "{error}"
        );
    }
    let twice = "{\"type\":\"Feature\",\"geometry\":null,\"properties\":{},\"properties\":{\"a\":1}}";
    let error = World::new().publish_text(twice, Format::NdGeoJson, &Options::default());
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("line 1: the feature has two members `properties`"),
        "{error}"
    );
}

#[test]
fn what_was_published_is_pushed_in_the_same_way() {
    let text = collection(&[
        feature(Some("1"), "{\"id\":\"p\",\"geometry\":\"shadow\"}"),
        feature(Some("2"), "{}"),
    ]);
    let mut world = World::new();
    updated(world.publish_text(&text, Format::GeoJson, &Options::default()));
    let file = world.dir.path().join("x.geojson");
    std::fs::write(&file, &text).unwrap();
    let mut dataset = world.dataset();
    let progress = &mut |_| ControlFlow::Continue(());
    push(
        &mut dataset,
        "x.geojson",
        &file,
        &PushOptions::default(),
        hour(9),
        progress,
    )
    .unwrap();
    let rows = shown(&world).1;
    assert_eq!(rows, ["1 p shadow", "2 - -", "1 p shadow", "2 - -"]);
}

#[test]
fn sequences_are_read_whatever_lines_their_texts_have() {
    let one = feature(Some("1"), "{\"a\":1}");
    let two = feature(Some("2"), "{\n  \"a\": 2\n}");
    let three = feature(Some("3"), "{\"a\":3}");
    let sequence = format!("\u{1e}{one}\n\u{1e}{two}\n\u{1e}\u{1e}{three}\n");
    for text in [
        sequence.clone(),
        format!("\u{feff}{sequence}"),
        format!("\n {sequence}"),
        // The last text may end without a line feed, if it is whole.
        sequence.trim_end().to_owned(),
    ] {
        let mut world = World::new();
        updated(world.publish_text(&text, Format::NdGeoJson, &Options::default()));
        let (columns, rows) = shown(&world);
        assert_eq!(columns, ["id:Int64", "a:Int64", "geometry:String"]);
        assert_eq!(rows, ["1 1", "2 2", "3 3"]);
    }
    // Places are lines still, and what is added behind is taken.
    let mut world = World::new();
    updated(world.publish_text(&sequence, Format::NdGeoJson, &Options::default()));
    let more = format!("{sequence}\u{1e}{}\n", feature(Some("4"), "{\"a\":4}"));
    updated(world.publish_text(&more, Format::NdGeoJson, &Options::default()));
    assert_eq!(shown(&world).1, ["1 1", "2 2", "3 3", "4 4"]);
    let unended = format!("{more}\u{1e}{{\n\"type\":");
    up_to_date(world.publish_text(&unended, Format::NdGeoJson, &Options::default()));
    let bad = format!("{unended}\n");
    let error = world.publish_text(&bad, Format::NdGeoJson, &Options::default());
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("t.ndgeojson, line 7: not a JSON object"), "{error}");

    // Plain objects too (RFC 7464).
    let mut world = World::new();
    let text = "\u{1e}{\"a\":\n1}\n\u{1e}{\"a\":2}\n";
    updated(world.publish_text(text, Format::Ndjson, &Options::default()));
    assert_eq!(world.rows().len(), 2);
    let error = World::new().publish_text(&sequence, Format::GeoJson, &Options::default());
    assert!(error.unwrap_err().to_string().contains("--format ndjson, or ndgeojson"));
}

#[test]
fn long_sequences_are_cut_between_their_texts() {
    let rows = 30_000;
    let text: String = (0..rows)
        .map(|row| format!("\u{1e}{{\n\"a\":{row},\n\"b\":\"{}\"\n}}\n", "x".repeat(100)))
        .collect();
    let source = World::source(&text, Format::Ndjson);
    let inferred = source
        .infer(text.len() as u64, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    assert_eq!(inferred.rows, rows);
}
