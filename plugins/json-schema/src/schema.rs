//! A part of JSON Schema, draft 2020-12: the keywords in `README.md`, and no others. What is not checked is refused when the plugin
//! is loaded, so that a schema never says more than is true.

mod check;
mod compile;

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde_json::Value;

/// A schema that was checked. Its parts know each other by their index: a schema may name itself.
pub(crate) struct Schema {
    /// The whole is the first.
    nodes: Vec<Node>,
}

/// A schema or a subschema: what it asks, all of it.
#[derive(Default)]
struct Node {
    rules: Vec<Rule>,
}

enum Rule {
    /// The schema `false`.
    Nothing,
    Type(Types),
    /// `enum`, and `const` as one of one.
    OneOfValues(Vec<Value>),
    Minimum(f64),
    Maximum(f64),
    Above(f64),
    Below(f64),
    MultipleOf(f64),
    MinLength(u64),
    MaxLength(u64),
    Pattern(Box<Regex>),
    Items(Items),
    MinItems(u64),
    MaxItems(u64),
    UniqueItems,
    Members(Members),
    Required(Vec<String>),
    MinProperties(u64),
    MaxProperties(u64),
    /// `$ref` and `allOf`.
    All(Vec<usize>),
    Any(Vec<usize>),
    One(Vec<usize>),
    Not(usize),
}

struct Items {
    /// `prefixItems`.
    first: Vec<usize>,
    /// `items`.
    rest: Option<usize>,
}

struct Members {
    properties: BTreeMap<String, usize>,
    /// `additionalProperties`.
    rest: Option<usize>,
}

/// The values of `type`, a bit each.
#[derive(Clone, Copy, Default)]
struct Types(u8);

/// The names of types, in the order of their bits.
const TYPES: [&str; 7] = [
    "null", "boolean", "integer", "number", "string", "array", "object",
];

impl Types {
    /// Adds a type; false where there is none of the name.
    fn add(&mut self, name: &str) -> bool {
        let bit = TYPES.iter().position(|known| *known == name);
        if let Some(bit) = bit {
            self.0 |= 1 << bit;
        }
        bit.is_some()
    }

    fn has(self, name: &str) -> bool {
        TYPES
            .iter()
            .position(|known| *known == name)
            .is_some_and(|bit| self.0 & (1 << bit) != 0)
    }

    fn names(self) -> String {
        let names: Vec<&str> = TYPES.into_iter().filter(|name| self.has(name)).collect();
        names.join(" or ")
    }
}
