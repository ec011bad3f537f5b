//! The contract's own words: every function of it by its name in a component, with the line that declares it.

use crate::bindings::v1;

/// The functions of a version of the contract.
pub(crate) struct Contract {
    functions: Vec<Function>,
}

struct Function {
    interface: &'static str,
    /// As components name it: `process`, `[method]tensor.name`, `[static]tensor.from-fp32`, `[constructor]body`.
    name: String,
    line: &'static str,
}

impl Contract {
    /// Reads version 1 out of the text that the bindings are generated from.
    pub(crate) fn v1() -> Self {
        let mut functions = Vec::new();
        for text in v1::WIT {
            let (mut interface, mut resource) = (None, None);
            for line in text.lines() {
                let words = line.trim();
                if let Some(name) = opened(line, "interface ") {
                    interface = Some(name);
                } else if let Some(name) = opened(line, "    resource ") {
                    resource = Some(name);
                } else if line == "    }" {
                    resource = None;
                } else if let (Some(interface), Some(name)) = (interface, function(words, resource))
                {
                    functions.push(Function {
                        interface,
                        name,
                        line: words.trim_end_matches(';'),
                    });
                }
            }
        }
        Self { functions }
    }

    pub(super) fn version(&self) -> String {
        let (major, minor, patch) = v1::VERSION;
        format!("{major}.{minor}.{patch}")
    }

    /// The line that declares a function.
    pub(super) fn signature(&self, interface: &str, name: &str) -> Option<&'static str> {
        self.functions
            .iter()
            .find(|function| function.interface == interface && function.name == name)
            .map(|function| function.line)
    }

    /// The functions of an interface, with the lines that declare them.
    pub(crate) fn functions(&self, interface: &str) -> Vec<(&String, &'static str)> {
        self.functions
            .iter()
            .filter(|function| function.interface == interface)
            .map(|function| (&function.name, function.line))
            .collect()
    }
}

fn opened<'a>(line: &'a str, keyword: &str) -> Option<&'a str> {
    line.strip_prefix(keyword)?.strip_suffix(" {")
}

fn function(words: &str, resource: Option<&str>) -> Option<String> {
    if words.starts_with("constructor(") {
        return Some(format!("[constructor]{}", resource?));
    }
    let (name, rest) = words.split_once(": ")?;
    if name.contains(' ') {
        return None;
    }
    match resource {
        Some(resource) if rest.starts_with("static func(") => {
            Some(format!("[static]{resource}.{name}"))
        }
        Some(resource) if rest.starts_with("func(") => Some(format!("[method]{resource}.{name}")),
        None if rest.starts_with("func(") => Some(name.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_function_is_found() {
        let contract = Contract::v1();
        for (interface, name, line) in [
            (
                "preprocess",
                "process",
                "process: func(request: borrow<request>, input: payload) -> result<payload, error>",
            ),
            ("types", "[method]tensor.name", "name: func() -> string"),
            (
                "types",
                "[static]tensor.from-fp32",
                "from-fp32: static func(name: string, shape: list<u64>, data: list<f32>) -> result<tensor, error>",
            ),
            (
                "types",
                "[constructor]body",
                "constructor(media-type: string, data: list<u8>)",
            ),
            (
                "token-filter",
                "[method]filter.push",
                "push: func(tokens: list<token>) -> result<verdict, error>",
            ),
            ("settings", "read", "read: func() -> string"),
        ] {
            assert_eq!(contract.signature(interface, name), Some(line));
        }
        assert_eq!(contract.functions("lifecycle").len(), 3);
        assert_eq!(contract.functions("types").len(), 31);
    }
}
