//! The elements of nested lists, and the shape that these have.

use serde_json::Value;

/// The elements in row-major order.
pub(super) struct Leaves<'a> {
    pub(super) values: Vec<&'a Value>,
    pub(super) shape: Vec<u64>,
    /// The dimensions of length 1 that the lists leave out, outermost first.
    left_out: usize,
}

/// Where in the value something is wrong, as the rest of a JSON pointer, and what.
type Wrong = (String, String);

impl<'a> Leaves<'a> {
    /// Flattens a value of this shape; none stands for a dimension of any length. Leading dimensions of 1 may be left out.
    pub(super) fn of(value: &'a Value, wanted: &[Option<u64>]) -> Result<Self, Wrong> {
        let depth = depth(value);
        let left_out = wanted.len().saturating_sub(depth);
        if depth > wanted.len() || wanted[..left_out].iter().any(|side| *side != Some(1)) {
            let message = match wanted.len() {
                0 => "needs one value, no list".to_owned(),
                rank => format!(
                    "needs lists of the shape {}, {rank} inside each other, and is {depth}",
                    text(wanted)
                ),
            };
            return Err((String::new(), message));
        }
        let mut walk = Walk {
            wanted: &wanted[left_out..],
            found: wanted[left_out..].to_vec(),
            values: Vec::new(),
        };
        walk.add(value, 0).map_err(|Reversed { path, message }| {
            let path = path.iter().rev().map(|index| format!("/{index}")).collect();
            (path, message)
        })?;
        let found = walk.found.iter().map(|side| side.unwrap_or(0));
        Ok(Self {
            shape: std::iter::repeat_n(1, left_out).chain(found).collect(),
            values: walk.values,
            left_out,
        })
    }

    /// The rest of the JSON pointer of an element.
    pub(super) fn path(&self, mut index: usize) -> String {
        let mut places = Vec::new();
        for side in self.shape[self.left_out..].iter().rev() {
            let side = (*side).max(1) as usize;
            places.push(index % side);
            index /= side;
        }
        places
            .iter()
            .rev()
            .map(|place| format!("/{place}"))
            .collect()
    }
}

/// How many lists are inside each other, by the first elements.
fn depth(mut value: &Value) -> usize {
    let mut depth = 0;
    while let Value::Array(items) = value {
        depth += 1;
        match items.first() {
            Some(first) => value = first,
            None => break,
        }
    }
    depth
}

fn text(shape: &[Option<u64>]) -> String {
    let side = |side: &Option<u64>| side.map_or("any".to_owned(), |side| side.to_string());
    format!(
        "[{}]",
        shape.iter().map(side).collect::<Vec<_>>().join(", ")
    )
}

struct Walk<'a, 'w> {
    wanted: &'w [Option<u64>],
    /// The lengths so far; none where no list of the dimension was seen.
    found: Vec<Option<u64>>,
    values: Vec<&'a Value>,
}

/// What is wrong, and where, innermost index first.
struct Reversed {
    path: Vec<usize>,
    message: String,
}

impl<'a> Walk<'a, '_> {
    fn add(&mut self, value: &'a Value, level: usize) -> Result<(), Reversed> {
        let wrong = |message: String| Reversed {
            path: Vec::new(),
            message,
        };
        if level == self.wanted.len() {
            if value.is_array() {
                return Err(wrong("needs one value, no list".to_owned()));
            }
            self.values.push(value);
            return Ok(());
        }
        let Value::Array(items) = value else {
            return Err(wrong(format!(
                "needs lists of the shape {}",
                text(&self.wanted[level..])
            )));
        };
        let length = items.len() as u64;
        match self.found[level] {
            Some(side) if side != length => {
                return Err(wrong(format!(
                    "has {length} elements, and {side} are needed"
                )));
            }
            _ => self.found[level] = Some(length),
        }
        // The elements of an innermost list are many: no call for each.
        if level + 1 == self.wanted.len() && !items.iter().any(Value::is_array) {
            self.values.extend(items);
            return Ok(());
        }
        for (index, item) in items.iter().enumerate() {
            self.add(item, level + 1).map_err(|mut wrong| {
                wrong.path.push(index);
                wrong
            })?;
        }
        Ok(())
    }
}
