//! The keywords of a schema, alone.

use serde_json::{Value, json};

use crate::schema::Schema;

/// The place and the text of what is wrong; none where the document is what the schema asks.
fn wrong(schema: Value, document: Value) -> Option<(String, String)> {
    let error = Schema::compile(&schema).unwrap().check(&document).err()?;
    Some((
        error.field().unwrap().to_owned(),
        error.message().to_owned(),
    ))
}

/// Checks that the first values are accepted and the second ones refused.
fn check(schema: Value, good: Value, bad: Value) {
    for value in good.as_array().unwrap() {
        assert_eq!(
            wrong(schema.clone(), value.clone()),
            None,
            "{schema}: {value}"
        );
    }
    for value in bad.as_array().unwrap() {
        assert!(
            wrong(schema.clone(), value.clone()).is_some(),
            "{schema}: {value}"
        );
    }
}

#[test]
fn every_keyword_accepts_and_refuses() {
    let check_all = [
        (json!(true), json!([1, null]), json!([])),
        (json!(false), json!([]), json!([1, null])),
        (
            json!({"type": "integer"}),
            json!([1, 1.0, -3]),
            json!([1.5, "1", null, true]),
        ),
        (
            json!({"type": ["null", "array"]}),
            json!([null, []]),
            json!([{}, 0]),
        ),
        (
            json!({"const": {"a": 1}}),
            json!([{"a": 1}, {"a": 1.0}]),
            json!([{"a": 2}, {}]),
        ),
        (
            json!({"enum": ["a", 1, null]}),
            json!(["a", 1.0, null]),
            json!(["b", "1", false]),
        ),
        (
            json!({"minimum": 2, "maximum": 3}),
            json!([2, 3.0, "x"]),
            json!([1.9, 3.1]),
        ),
        (
            json!({"exclusiveMinimum": 2, "exclusiveMaximum": 3}),
            json!([2.5]),
            json!([2, 3]),
        ),
        (
            json!({"multipleOf": 0.1}),
            json!([0.3, 7, -0.7]),
            json!([0.35]),
        ),
        (
            json!({"minLength": 2, "maxLength": 3}),
            json!(["äö", "abc", 1]),
            json!(["ä", "abcd"]),
        ),
        (
            json!({"pattern": "^[a-z]+$"}),
            json!(["abc", 1]),
            json!(["", "Abc"]),
        ),
        (
            json!({"minItems": 1, "maxItems": 2}),
            json!([[1], [1, 2], "x"]),
            json!([[], [1, 2, 3]]),
        ),
        (
            json!({"uniqueItems": true}),
            json!([[1, 2], [[1], [2]]]),
            json!([[1, 1.0], [{"a": 1}, {"a": 1}]]),
        ),
        (
            json!({"items": {"type": "string"}}),
            json!([[], ["a"], 1]),
            json!([["a", 1]]),
        ),
        (
            json!({"prefixItems": [{"type": "string"}], "items": false}),
            json!([[], ["a"]]),
            json!([[1], ["a", 1]]),
        ),
        (
            json!({"properties": {"a": {"type": "string"}}, "additionalProperties": false}),
            json!([{}, {"a": "x"}, 1]),
            json!([{"a": 1}, {"b": 1}]),
        ),
        (
            json!({"additionalProperties": {"type": "number"}}),
            json!([{"a": 1}]),
            json!([{"a": "1"}]),
        ),
        (
            json!({"required": ["a", "b"]}),
            json!([{"a": 1, "b": null}, 1]),
            json!([{"a": 1}]),
        ),
        (
            json!({"minProperties": 1, "maxProperties": 1}),
            json!([{"a": 1}]),
            json!([{}, {"a": 1, "b": 1}]),
        ),
        (
            json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}),
            json!([1, 2]),
            json!([0, 3]),
        ),
        (
            json!({"anyOf": [{"maximum": 1}, {"minimum": 3}]}),
            json!([1, 3]),
            json!([2]),
        ),
        (
            json!({"oneOf": [{"minimum": 1}, {"minimum": 3}]}),
            json!([1]),
            json!([0, 3]),
        ),
        (json!({"not": {"type": "null"}}), json!([0]), json!([null])),
        (
            json!({"$ref": "#/$defs/x", "$defs": {"x": {"type": "null"}}, "title": "t"}),
            json!([null]),
            json!([0]),
        ),
    ];
    for (schema, good, bad) in check_all {
        check(schema, good, bad);
    }
}

#[test]
fn what_is_wrong_has_its_place() {
    let schema = json!({
        "type": "object",
        "properties": {
            "a/b": {"items": {"properties": {"n": {"type": "integer"}}}},
            "c": {"required": ["d"]},
            "e": {"uniqueItems": true},
        },
    });
    let place = |document: Value| wrong(schema.clone(), document).unwrap().0;
    assert_eq!(place(json!({"a/b": [{}, {"n": "x"}]})), "/a~1b/1/n");
    assert_eq!(place(json!({"c": {}})), "/c/d");
    assert_eq!(place(json!({"e": [1, 2, 1]})), "/e/2");
    assert_eq!(place(json!([])), "body");
    let (_, text) = wrong(json!({"type": ["string", "null"]}), json!(1)).unwrap();
    assert_eq!(text, "needs the type null or string, and is number");
}

#[test]
fn a_schema_may_name_itself() {
    let tree = json!({
        "type": "object",
        "properties": {"children": {"items": {"$ref": "#"}}},
        "additionalProperties": false,
    });
    let good = json!({"children": [{"children": []}, {}]});
    assert_eq!(wrong(tree.clone(), good), None);
    let bad = json!({"children": [{"children": [{"x": 1}]}]});
    assert_eq!(wrong(tree, bad).unwrap().0, "/children/0/children/0/x");
}

#[test]
fn alternatives_inside_alternatives_end() {
    let twice = json!({"properties": {"x": {"$ref": "#"}}, "required": ["x"]});
    let schema = json!({"anyOf": [twice, twice]});
    let mut document = json!({});
    for _ in 0..100 {
        document = json!({"x": document});
    }
    let (_, text) = wrong(schema, document).unwrap();
    assert!(
        text.contains("alternatives") || text.contains("too long"),
        "{text}"
    );
}

#[test]
fn a_document_is_checked_as_deep_as_the_stack_is() {
    let schema = json!({"items": {"anyOf": [{"allOf": [{"oneOf": [{"$ref": "#"}]}]}]}});
    let mut document = json!([]);
    for _ in 0..120 {
        document = json!([document]);
    }
    let (_, text) = wrong(schema, document).unwrap();
    assert!(
        text.contains("exactly one") || text.contains("too deep"),
        "{text}"
    );
}

#[test]
fn a_wrong_schema_is_refused_with_its_place() {
    let long: Vec<Value> = (0..5000).map(|number| json!({"minimum": number})).collect();
    for (schema, place) in [
        (
            json!({"properties": {"a": {"minimun": 1}}}),
            "schema/properties/a/minimun",
        ),
        (json!({"format": "date"}), "schema/format"),
        (json!({"if": {}}), "schema/if"),
        (json!({"type": "int"}), "schema/type"),
        (json!({"type": 1}), "schema/type"),
        (json!({"items": [{}]}), "schema/items"),
        (json!({"enum": []}), "schema/enum"),
        (json!({"multipleOf": 0}), "schema/multipleOf"),
        (json!({"minLength": -1}), "schema/minLength"),
        (json!({"pattern": "(?=a)"}), "schema/pattern"),
        (json!({"required": [1]}), "schema/required"),
        (json!({"anyOf": []}), "schema/anyOf"),
        (json!({"not": 1}), "schema/not"),
        (json!({"$ref": "https://example.com"}), "schema/$ref"),
        (json!({"$ref": "#/$defs/x"}), "schema/$defs/x"),
        (json!({"$ref": "#"}), "schema"),
        (json!({"allOf": [{"anyOf": [{"$ref": "#"}]}]}), "schema"),
        (json!({"allOf": long}), "schema"),
        (json!([]), "schema"),
    ] {
        let error = Schema::compile(&schema).err().unwrap();
        assert_eq!(error.field(), Some(place), "{schema}: {error}");
    }
}
