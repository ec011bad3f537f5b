//! Whether a value is what a schema asks. The first thing that is wrong is said, with its place.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;
use wharf_plugin_sdk::{Error, Result};

use super::{Items, Members, Rule, Schema, Types};
use crate::place;

/// The most subschemas that are applied to one document: alternatives inside alternatives may be many more than its values.
const MAX_STEPS: u32 = 4_000_000;
/// The most subschemas inside each other, by nesting and by `$ref` and the like: a guest's stack is small.
const MAX_DEPTH: u32 = 512;

/// What is wrong, and where: keys and indices, the innermost first.
struct Wrong {
    path: Vec<String>,
    message: String,
}

type Checked = Result<(), Wrong>;

fn wrong(message: impl Into<String>) -> Wrong {
    Wrong {
        path: Vec::new(),
        message: message.into(),
    }
}

impl Wrong {
    fn within(mut self, key: &str) -> Self {
        self.path.push(key.replace('~', "~0").replace('/', "~1"));
        self
    }
}

impl Schema {
    /// Checks a document.
    ///
    /// # Errors
    /// `invalid-input` with the JSON pointer of what is wrong as the field.
    pub(crate) fn check(&self, document: &Value) -> Result<()> {
        let mut check = Check {
            schema: self,
            steps: MAX_STEPS,
            depth: 0,
        };
        check.node(0, document).map_err(|Wrong { path, message }| {
            let pointer: String = path.iter().rev().map(|key| format!("/{key}")).collect();
            Error::invalid_field(place(&pointer), message)
        })
    }
}

struct Check<'a> {
    schema: &'a Schema,
    /// Those that are left.
    steps: u32,
    depth: u32,
}

impl Check<'_> {
    fn node(&mut self, index: usize, value: &Value) -> Checked {
        self.steps = self
            .steps
            .checked_sub(1)
            .ok_or_else(|| wrong("takes too long to check: send less"))?;
        if self.depth == MAX_DEPTH {
            // What was not checked fits no alternative, and `not` must not take that for an answer.
            self.steps = 0;
            return Err(wrong("is nested too deep to be checked"));
        }
        self.depth += 1;
        let schema = self.schema;
        let rules = &schema.nodes[index].rules;
        let checked = rules.iter().try_for_each(|rule| self.rule(rule, value));
        self.depth -= 1;
        checked
    }

    fn rule(&mut self, rule: &Rule, value: &Value) -> Checked {
        match rule {
            Rule::Nothing => Err(wrong("must not be there")),
            Rule::Type(types) => is_of(*types, value),
            Rule::OneOfValues(values) => one_of(values, value),
            Rule::All(nodes) => nodes.iter().try_for_each(|node| self.node(*node, value)),
            Rule::Any(nodes) => self.any(nodes, value),
            Rule::One(nodes) => match self.fitting(nodes, value)? {
                1 => Ok(()),
                count => Err(wrong(format!(
                    "fits {count} of the alternatives, and exactly one is needed"
                ))),
            },
            Rule::Not(node) => match self.fitting(&[*node], value)? {
                0 => Ok(()),
                _ => Err(wrong("is what the schema excludes")),
            },
            Rule::Items(items) => self.items(items, value),
            Rule::Members(members) => self.members(members, value),
            _ => match value {
                Value::Number(_) => number(rule, value.as_f64().unwrap_or(f64::NAN)),
                Value::String(text) => string(rule, text),
                Value::Array(items) => array(rule, items),
                Value::Object(members) => object(rule, members),
                Value::Null | Value::Bool(_) => Ok(()),
            },
        }
    }

    fn any(&mut self, nodes: &[usize], value: &Value) -> Checked {
        let mut last = None;
        for node in nodes {
            match self.node(*node, value) {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        match (last, nodes.len()) {
            // With one alternative, what is wrong with it is what is wrong.
            (Some(error), 1) => Err(error),
            (_, count) => Err(wrong(format!("fits none of the {count} alternatives"))),
        }
    }

    /// How many nodes fit. Running out of steps is no answer.
    fn fitting(&mut self, nodes: &[usize], value: &Value) -> Result<usize, Wrong> {
        let mut count = 0;
        for node in nodes {
            match self.node(*node, value) {
                Ok(()) => count += 1,
                Err(error) if self.steps == 0 => return Err(error),
                Err(_) => {}
            }
        }
        Ok(count)
    }

    fn items(&mut self, rule: &Items, value: &Value) -> Checked {
        let Value::Array(items) = value else {
            return Ok(());
        };
        for (index, item) in items.iter().enumerate() {
            let Some(node) = rule.first.get(index).or(rule.rest.as_ref()) else {
                break;
            };
            self.node(*node, item)
                .map_err(|error| error.within(&index.to_string()))?;
        }
        Ok(())
    }

    fn members(&mut self, rule: &Members, value: &Value) -> Checked {
        let Value::Object(members) = value else {
            return Ok(());
        };
        for (key, member) in members {
            if let Some(node) = rule.properties.get(key).or(rule.rest.as_ref()) {
                self.node(*node, member)
                    .map_err(|error| error.within(key))?;
            }
        }
        Ok(())
    }
}

fn is_of(types: Types, value: &Value) -> Checked {
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) => {
            let whole = number.as_f64().is_some_and(|number| number.fract() == 0.0);
            if whole && types.has("integer") {
                return Ok(());
            }
            "number"
        }
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if types.has(is) {
        return Ok(());
    }
    Err(wrong(format!(
        "needs the type {}, and is {is}",
        types.names()
    )))
}

fn one_of(values: &[Value], value: &Value) -> Checked {
    if values.contains(value) {
        return Ok(());
    }
    let given = canonical(value);
    if values.iter().any(|allowed| canonical(allowed) == given) {
        return Ok(());
    }
    // A few are enough to see what is meant.
    let some: Vec<String> = values.iter().take(8).map(Value::to_string).collect();
    let more = if some.len() < values.len() {
        ", ..."
    } else {
        ""
    };
    Err(wrong(format!("must be one of: {}{more}", some.join(", "))))
}

fn number(rule: &Rule, number: f64) -> Checked {
    let (holds, needs, bound) = match rule {
        Rule::Minimum(least) => (number >= *least, "at least", least),
        Rule::Maximum(most) => (number <= *most, "at most", most),
        Rule::Above(bound) => (number > *bound, "more than", bound),
        Rule::Below(bound) => (number < *bound, "less than", bound),
        Rule::MultipleOf(step) => {
            let times = number / step;
            // 0.3 is a multiple of 0.1, whatever binary64 says.
            let near = (times - times.round()).abs() <= 1e-9 * times.abs().max(1.0);
            (near, "a multiple of", step)
        }
        _ => return Ok(()),
    };
    if holds {
        return Ok(());
    }
    Err(wrong(format!("must be {needs} {bound}")))
}

fn string(rule: &Rule, text: &str) -> Checked {
    let length = || text.chars().count() as u64;
    let message = match rule {
        Rule::MinLength(least) if length() < *least => {
            format!("must have at least {least} characters")
        }
        Rule::MaxLength(most) if length() > *most => {
            format!("must have at most {most} characters")
        }
        Rule::Pattern(regex) if !regex.is_match(text) => {
            format!("must match the pattern `{}`", regex.as_str())
        }
        _ => return Ok(()),
    };
    Err(wrong(message))
}

fn array(rule: &Rule, items: &[Value]) -> Checked {
    let count = items.len() as u64;
    match rule {
        Rule::MinItems(least) if count < *least => Err(wrong(format!(
            "must have at least {least} elements, and has {count}"
        ))),
        Rule::MaxItems(most) if count > *most => Err(wrong(format!(
            "must have at most {most} elements, and has {count}"
        ))),
        Rule::UniqueItems => {
            let mut seen = BTreeSet::new();
            match items.iter().position(|item| !seen.insert(canonical(item))) {
                Some(index) => Err(wrong("is there before").within(&index.to_string())),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn object(rule: &Rule, members: &serde_json::Map<String, Value>) -> Checked {
    let count = members.len() as u64;
    match rule {
        Rule::Required(names) => match names.iter().find(|name| !members.contains_key(*name)) {
            Some(name) => Err(wrong("is missing").within(name)),
            None => Ok(()),
        },
        Rule::MinProperties(least) if count < *least => Err(wrong(format!(
            "must have at least {least} members, and has {count}"
        ))),
        Rule::MaxProperties(most) if count > *most => Err(wrong(format!(
            "must have at most {most} members, and has {count}"
        ))),
        _ => Ok(()),
    }
}

/// A text that equal values share: members are in order, and 1.0 is 1.
fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    // Writing to a text cannot fail.
    match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            let _ = match float {
                Some(float) if float.fract() == 0.0 && float.abs() < 1e15 => {
                    write!(text, "{}", float as i64)
                }
                _ => write!(text, "{number}"),
            };
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write_canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Object(members) => {
            text.push('{');
            for (key, member) in members {
                let _ = write!(text, "{}:", Value::String(key.clone()));
                write_canonical(member, text);
                text.push(',');
            }
            text.push('}');
        }
        other => {
            let _ = write!(text, "{other}");
        }
    }
}
