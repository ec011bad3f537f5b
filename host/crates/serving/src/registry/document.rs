//! Writes a whole document over the text of a file, so that what stays the same keeps its place and its comments.

use toml_edit::{DocumentMut, Item, Table, TableLike};
use wharf_core::{Error, ErrorKind, LoadError, Result};

use super::{ModelDocument, Registration};
use crate::lifecycle::{SettingValue, value_of};

/// The tables of a `model.toml`, or a route file, as values.
pub(crate) fn values_of(table: toml::Table) -> Vec<(String, SettingValue)> {
    let entry = |(key, value)| (key, value_from(value));
    table.into_iter().map(entry).collect()
}

/// What a file of TOML says.
///
/// # Errors
/// `Unprocessable` where it is no TOML.
pub fn read_entries(file: &str, text: &[u8]) -> Result<Vec<(String, SettingValue)>> {
    let text = String::from_utf8_lossy(text);
    let table = text.parse::<toml::Table>();
    table.map(values_of).map_err(|error| {
        let message = format!("what is there is no TOML: {}", error.message());
        let source = LoadError::new(file, error.message());
        Error::new(ErrorKind::Unprocessable, message).with_source(source)
    })
}

fn value_from(value: toml::Value) -> SettingValue {
    match value {
        toml::Value::String(text) => SettingValue::Text(text),
        toml::Value::Integer(number) => SettingValue::Integer(number),
        toml::Value::Float(number) => SettingValue::Decimal(number),
        toml::Value::Boolean(value) => SettingValue::Bool(value),
        toml::Value::Datetime(time) => SettingValue::Text(time.to_string()),
        toml::Value::Array(values) => {
            SettingValue::List(values.into_iter().map(value_from).collect())
        }
        toml::Value::Table(table) => SettingValue::Table(values_of(table)),
    }
}

/// The text with the document in the place of what it said. Of a text that is no TOML, nothing stays.
pub(crate) fn lay(text: &str, entries: &[(String, SettingValue)]) -> String {
    let mut document: DocumentMut = text.parse().unwrap_or_default();
    replace(document.as_table_mut(), entries);
    document.to_string()
}

fn replace(table: &mut dyn TableLike, entries: &[(String, SettingValue)]) {
    let there: Vec<String> = table.iter().map(|(key, _)| key.to_owned()).collect();
    for key in there {
        if !entries.iter().any(|(name, _)| *name == key) {
            table.remove(&key);
        }
    }
    for (key, value) in entries {
        put(table, key, value);
    }
}

fn put(table: &mut dyn TableLike, key: &str, value: &SettingValue) {
    if let SettingValue::Table(entries) = value {
        if let Some(there) = table.get_mut(key).and_then(Item::as_table_like_mut) {
            return replace(there, entries);
        }
        let mut new = Table::new();
        replace(&mut new, entries);
        table.insert(key, Item::Table(new));
        return;
    }
    let Some(mut value) = value_of(value) else {
        table.remove(key);
        return;
    };
    match table.get_mut(key) {
        // What is the same stays as it was written, and a comment behind what is not stays too.
        Some(Item::Value(old)) => {
            *value.decor_mut() = old.decor().clone();
            if old.to_string() != value.to_string() {
                *old = value;
            }
        }
        _ => {
            table.insert(key, Item::Value(value));
        }
    }
}

impl ModelDocument {
    /// The tables of `model.toml`, with the history that it has.
    pub(crate) fn entries(&self, history: &[u64]) -> Vec<(String, SettingValue)> {
        let mut entries = self.settings.clone();
        let registration = Registration {
            history: history.to_vec(),
            ..self.registration.clone()
        };
        entries.push(("registry".to_owned(), registration.value()));
        entries
    }
}

impl Registration {
    fn value(&self) -> SettingValue {
        let text = |text: &str| SettingValue::Text(text.to_owned());
        let mut entries = Vec::new();
        let mut put = |key: &str, value| entries.push((key.to_owned(), value));
        if !self.description.is_empty() {
            put("description", text(&self.description));
        }
        let modalities = self.modalities.iter();
        put(
            "modalities",
            SettingValue::List(modalities.map(|one| text(one.name())).collect()),
        );
        if !self.labels.is_empty() {
            let label = |(name, value): (&String, &String)| (name.clone(), text(value));
            put(
                "labels",
                SettingValue::Table(self.labels.iter().map(label).collect()),
            );
        }
        if !self.history.is_empty() {
            let version =
                |version: &u64| SettingValue::Integer((*version).try_into().unwrap_or(i64::MAX));
            put(
                "history",
                SettingValue::List(self.history.iter().map(version).collect()),
            );
        }
        SettingValue::Table(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(text: &str, document: &str) -> String {
        let entries = values_of(document.parse().unwrap());
        let laid = lay(text, &entries);
        assert_eq!(
            laid.parse::<toml::Table>().unwrap(),
            document.parse::<toml::Table>().unwrap(),
            "{laid}"
        );
        laid
    }

    #[test]
    fn what_stays_the_same_keeps_its_comments() {
        let text = "# mine\n[batching]  # joins\nmax_rows = 8  # measured\ndelay_ms = 1\n[cache]\nenabled = true\n";
        let document = "[batching]\nmax_rows = 16\n[registry]\nlabels = { team = 'a' }\n";
        assert_eq!(
            laid(text, document),
            "# mine\n[batching]  # joins\nmax_rows = 16  # measured\n\n[registry]\n\n[registry.labels]\nteam = \"a\"\n"
        );
    }

    #[test]
    fn tables_in_every_form_are_replaced() {
        let text = "versions = { policy = 'all' }\nwarmup.enabled = true\nlist = [{ a = 1 }]\n[[many]]\nx = 1\n";
        for document in [
            "",
            "[versions]\npolicy = 'listed'\nlist = [1]\n[warmup]\nenabled = false\n[[many]]\nx = 2\n[[many]]\nx = 3",
            "versions = 1\nlist = 'text'\nmany = 1.5\n",
        ] {
            laid(text, document);
        }
    }

    #[test]
    fn what_is_no_toml_is_replaced_as_a_whole() {
        assert_eq!(laid("# mine\nmax_rows = = 1\n", "a = 1\n"), "a = 1\n");
    }
}
