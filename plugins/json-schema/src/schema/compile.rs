//! From the JSON of a schema to its rules. Every subschema is known by its JSON pointer, so that `$ref` finds it.

use std::collections::BTreeMap;

use regex_lite::RegexBuilder;
use serde_json::{Map, Value};
use wharf_plugin_sdk::{Error, Result};

use super::{Items, Members, Node, Rule, Schema, Types};

/// The most subschemas.
const MAX_NODES: usize = 4096;
/// The most subschemas that apply to one value inside each other, by `$ref` and the like. One that comes back to itself has more.
const MAX_NESTED: usize = 32;
/// The most memory of one pattern.
const MAX_PATTERN: usize = 256 * 1024;

/// Keywords that say something to people alone, or hold what `$ref` names.
const NOTES: [&str; 11] = [
    "$schema",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
];

impl Schema {
    /// Checks a schema and makes its rules.
    pub(crate) fn compile(root: &Value) -> Result<Self> {
        let mut compiler = Compiler {
            root,
            nodes: Vec::new(),
            pointers: Vec::new(),
            known: BTreeMap::new(),
        };
        compiler.node(String::new())?;
        let mut next = 0;
        while next < compiler.pointers.len() {
            let pointer = compiler.pointers[next].clone();
            let rules = compiler.rules(&pointer)?;
            compiler.nodes[next] = Node { rules };
            next += 1;
        }
        let mut nested = vec![None; compiler.nodes.len()];
        for index in 0..compiler.nodes.len() {
            if compiler.nested(index, &mut nested, 1) > MAX_NESTED {
                return Err(wrong(
                    &compiler.pointers[index],
                    "comes back to itself, or has too many schemas inside each other for one value",
                ));
            }
        }
        Ok(Self {
            nodes: compiler.nodes,
        })
    }
}

struct Compiler<'a> {
    root: &'a Value,
    nodes: Vec<Node>,
    /// The place of each node in the schema.
    pointers: Vec<String>,
    known: BTreeMap<String, usize>,
}

fn wrong(pointer: &str, message: &str) -> Error {
    Error::invalid_field(format!("schema{pointer}"), message)
}

fn member(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

impl<'a> Compiler<'a> {
    /// The index of the node at a place. Its rules are made later: a queue needs no stack, however deep the schema is.
    fn node(&mut self, pointer: String) -> Result<usize> {
        if let Some(index) = self.known.get(&pointer) {
            return Ok(*index);
        }
        let index = self.nodes.len();
        if index == MAX_NODES {
            return Err(wrong(
                "",
                &format!("has more than {MAX_NODES} schemas in it"),
            ));
        }
        self.nodes.push(Node::default());
        self.known.insert(pointer.clone(), index);
        self.pointers.push(pointer);
        Ok(index)
    }

    fn nodes_of(&mut self, pointer: &str, value: &Value) -> Result<Vec<usize>> {
        match value {
            Value::Array(items) if !items.is_empty() => (0..items.len())
                .map(|index| self.node(format!("{pointer}/{index}")))
                .collect(),
            _ => Err(wrong(pointer, "give a list of schemas")),
        }
    }

    fn rules(&mut self, pointer: &str) -> Result<Vec<Rule>> {
        let root: &'a Value = self.root;
        let keywords = match root.pointer(pointer) {
            Some(Value::Bool(true)) => return Ok(Vec::new()),
            Some(Value::Bool(false)) => return Ok(vec![Rule::Nothing]),
            Some(Value::Object(keywords)) => keywords,
            Some(_) => return Err(wrong(pointer, "give a schema: an object, or true or false")),
            None => return Err(wrong(pointer, "is named by a `$ref`, and is not there")),
        };
        let mut rules = Vec::new();
        for (keyword, value) in keywords {
            let place = member(pointer, keyword);
            if let Some(rule) = self.rule(keywords, (pointer, &place), keyword, value)? {
                rules.push(rule);
            }
        }
        // What is wrong with the type of a value says more than anything else.
        rules.sort_by_key(|rule| !matches!(rule, Rule::Type(_)));
        Ok(rules)
    }

    /// The rule of a keyword. `places` are those of the schema and of the keyword.
    fn rule(
        &mut self,
        keywords: &Map<String, Value>,
        places: (&str, &str),
        keyword: &str,
        value: &Value,
    ) -> Result<Option<Rule>> {
        let (pointer, place) = places;
        let rule = match keyword {
            "type" => Rule::Type(types(place, value)?),
            "const" => Rule::OneOfValues(vec![value.clone()]),
            "enum" => match value {
                Value::Array(values) if !values.is_empty() => Rule::OneOfValues(values.clone()),
                _ => return Err(wrong(place, "give a list of values")),
            },
            "minimum" => Rule::Minimum(number(place, value)?),
            "maximum" => Rule::Maximum(number(place, value)?),
            "exclusiveMinimum" => Rule::Above(number(place, value)?),
            "exclusiveMaximum" => Rule::Below(number(place, value)?),
            "multipleOf" => match number(place, value)? {
                step if step > 0.0 => Rule::MultipleOf(step),
                _ => return Err(wrong(place, "give a number above 0")),
            },
            "minLength" => Rule::MinLength(count(place, value)?),
            "maxLength" => Rule::MaxLength(count(place, value)?),
            "pattern" => pattern(place, value)?,
            "minItems" => Rule::MinItems(count(place, value)?),
            "maxItems" => Rule::MaxItems(count(place, value)?),
            "uniqueItems" => match value {
                Value::Bool(true) => Rule::UniqueItems,
                Value::Bool(false) => return Ok(None),
                _ => return Err(wrong(place, "give true or false")),
            },
            // One rule for two keywords: it is made by the first of them that is there.
            "items" if keywords.contains_key("prefixItems") => return Ok(None),
            "items" | "prefixItems" => self.items(pointer, keywords)?,
            "properties" if keywords.contains_key("additionalProperties") => return Ok(None),
            "properties" | "additionalProperties" => self.members(pointer, keywords)?,
            "required" => Rule::Required(texts(place, value)?),
            "minProperties" => Rule::MinProperties(count(place, value)?),
            "maxProperties" => Rule::MaxProperties(count(place, value)?),
            "allOf" => Rule::All(self.nodes_of(place, value)?),
            "anyOf" => Rule::Any(self.nodes_of(place, value)?),
            "oneOf" => Rule::One(self.nodes_of(place, value)?),
            "not" => Rule::Not(self.node(place.to_owned())?),
            "$ref" => match value.as_str().and_then(|text| text.strip_prefix('#')) {
                Some(target) if target.is_empty() || target.starts_with('/') => {
                    Rule::All(vec![self.node(target.to_owned())?])
                }
                _ => {
                    return Err(wrong(
                        place,
                        "give a place in this schema, such as `#/$defs/name`",
                    ));
                }
            },
            note if NOTES.contains(&note) => return Ok(None),
            _ => {
                return Err(wrong(
                    place,
                    "is no keyword that is checked here: leave it out, or write it in others",
                ));
            }
        };
        Ok(Some(rule))
    }

    fn items(&mut self, pointer: &str, keywords: &Map<String, Value>) -> Result<Rule> {
        let first = match keywords.get("prefixItems") {
            Some(value) => self.nodes_of(&member(pointer, "prefixItems"), value)?,
            None => Vec::new(),
        };
        let rest = match keywords.get("items") {
            Some(_) => Some(self.node(member(pointer, "items"))?),
            None => None,
        };
        Ok(Rule::Items(Items { first, rest }))
    }

    fn members(&mut self, pointer: &str, keywords: &Map<String, Value>) -> Result<Rule> {
        let mut properties = BTreeMap::new();
        if let Some(value) = keywords.get("properties") {
            let place = member(pointer, "properties");
            let Value::Object(schemas) = value else {
                return Err(wrong(&place, "give an object of schemas"));
            };
            for name in schemas.keys() {
                properties.insert(name.clone(), self.node(member(&place, name))?);
            }
        }
        let rest = match keywords.get("additionalProperties") {
            Some(_) => Some(self.node(member(pointer, "additionalProperties"))?),
            None => None,
        };
        Ok(Rule::Members(Members { properties, rest }))
    }

    /// How many nodes apply to one value inside each other from this one on; more than the most where they go round.
    fn nested(&self, index: usize, found: &mut [Option<usize>], level: usize) -> usize {
        if let Some(nested) = found[index] {
            return nested;
        }
        if level > MAX_NESTED {
            return level;
        }
        let inside = self.nodes[index].rules.iter().flat_map(|rule| match rule {
            Rule::All(nodes) | Rule::Any(nodes) | Rule::One(nodes) => nodes.as_slice(),
            Rule::Not(node) => std::slice::from_ref(node),
            _ => &[],
        });
        let mut most = 0;
        for node in inside {
            most = most.max(self.nested(*node, found, level + 1));
            if most > MAX_NESTED {
                return most;
            }
        }
        found[index] = Some(most + 1);
        most + 1
    }
}

fn types(place: &str, value: &Value) -> Result<Types> {
    let names = match value {
        Value::String(name) => vec![name.clone()],
        _ => texts(place, value)?,
    };
    let mut types = Types::default();
    for name in &names {
        if !types.add(name) {
            return Err(wrong(place, &format!("there is no type `{name}`")));
        }
    }
    Ok(types)
}

fn texts(place: &str, value: &Value) -> Result<Vec<String>> {
    let texts = value.as_array().and_then(|items| {
        let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
        texts.collect::<Option<Vec<_>>>()
    });
    texts.ok_or_else(|| wrong(place, "give a list of texts"))
}

fn number(place: &str, value: &Value) -> Result<f64> {
    value.as_f64().ok_or_else(|| wrong(place, "give a number"))
}

fn count(place: &str, value: &Value) -> Result<u64> {
    value
        .as_u64()
        .ok_or_else(|| wrong(place, "give a count, 0 or more"))
}

fn pattern(place: &str, value: &Value) -> Result<Rule> {
    let text = value
        .as_str()
        .ok_or_else(|| wrong(place, "give a regular expression"))?;
    let regex = RegexBuilder::new(text).size_limit(MAX_PATTERN).build();
    let regex = regex.map_err(|error| {
        wrong(
            place,
            &format!("is no regular expression that is known here: {error}"),
        )
    })?;
    Ok(Rule::Pattern(Box::new(regex)))
}
