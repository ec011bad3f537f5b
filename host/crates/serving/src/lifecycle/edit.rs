//! Changes keys of a `model.toml`, and leaves the rest of the text as its author wrote it.

use toml_edit::{Array, DocumentMut, InlineTable, Item, Key, Table, TableLike, Value};
use wharf_core::{Error, ErrorKind, LoadError, Name, Result};

use super::change::{SettingEdit, SettingValue};

/// Gives the text with the settings changed.
///
/// # Errors
/// Where the text is no TOML, or a key leads through what is no table.
pub(super) fn edited(name: &Name, text: &str, edits: &[SettingEdit]) -> Result<String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        let error = LoadError::new(format!("models/{name}/model.toml"), error.message());
        let message = format!("the model's settings are no TOML: {}", error.message);
        Error::new(ErrorKind::Unprocessable, message).with_source(error)
    })?;
    for edit in edits {
        set(document.as_table_mut(), edit).ok_or_else(|| {
            let message = format!("{}: part of this key is no table in model.toml", edit.key);
            Error::invalid("config", message)
        })?;
    }
    Ok(document.to_string())
}

/// Sets one key. None where it leads through what is no table.
fn set(root: &mut dyn TableLike, edit: &SettingEdit) -> Option<()> {
    let mut tables = names(&edit.key);
    let key = tables.pop()?;
    let value = value_of(&edit.value);
    let mut table = root;
    for name in &tables {
        if !table.contains_key(name) {
            if value.is_none() {
                return Some(());
            }
            let mut new = Table::new();
            new.set_implicit(true);
            table.insert(name, Item::Table(new));
        }
        table = table.get_mut(name)?.as_table_like_mut()?;
    }
    match (value, table.get_mut(&key)) {
        (None, _) => {
            table.remove(&key);
        }
        // A comment behind the old value stays.
        (Some(mut value), Some(Item::Value(old))) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        (Some(value), _) => {
            table.insert(&key, Item::Value(value));
        }
    }
    Some(())
}

/// The names that a key is made of. One with a dot in it stands in quotes; other names need none.
pub(super) fn names(key: &str) -> Vec<String> {
    match Key::parse(key) {
        Ok(keys) => keys.iter().map(|key| key.get().to_owned()).collect(),
        Err(_) => key.split('.').map(str::to_owned).collect(),
    }
}

/// The value in TOML; none for the default.
pub(crate) fn value_of(value: &SettingValue) -> Option<Value> {
    Some(match value {
        SettingValue::Bool(value) => (*value).into(),
        SettingValue::Integer(value) => (*value).into(),
        SettingValue::Decimal(value) => (*value).into(),
        SettingValue::Text(value) => value.as_str().into(),
        SettingValue::List(values) => {
            let mut array = Array::new();
            array.extend(values.iter().filter_map(value_of));
            array.into()
        }
        SettingValue::Table(entries) => {
            let mut table = InlineTable::new();
            for (key, value) in entries {
                if let Some(value) = value_of(value) {
                    table.insert(key, value);
                }
            }
            table.into()
        }
        SettingValue::Default => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(text: &str, edits: &[(&str, SettingValue)]) -> Result<String> {
        let edits: Vec<SettingEdit> = edits
            .iter()
            .map(|(key, value)| SettingEdit {
                key: (*key).to_owned(),
                value: value.clone(),
            })
            .collect();
        edited(&Name::new("m").unwrap(), text, &edits)
    }

    #[test]
    fn what_is_not_changed_stays_with_its_comments() {
        let text = "# about\n[batching]   # joins\nmax_rows = 4  # measured\ndelay_ms = 1\n";
        let edits = [
            ("batching.max_rows", SettingValue::Integer(8)),
            ("batching.delay_ms", SettingValue::Default),
            ("batching.none.at_all", SettingValue::Default),
            ("versions.labels.stable", SettingValue::Integer(2)),
            (
                "instances.devices",
                SettingValue::List(vec![SettingValue::Text("cpu".to_owned())]),
            ),
            ("cache.enabled", SettingValue::Bool(true)),
            ("a.b", SettingValue::Decimal(0.1)),
        ];
        assert_eq!(
            change(text, &edits).unwrap(),
            "# about\n[batching]   # joins\nmax_rows = 8  # measured\n\n[versions.labels]\nstable = 2\n\n\
             [instances]\ndevices = [\"cpu\"]\n\n[cache]\nenabled = true\n\n[a]\nb = 0.1\n"
        );
    }

    #[test]
    fn inline_and_dotted_tables_are_tables() {
        let text = "versions = { policy = \"all\" }\nwarmup.enabled = true\n";
        let edits = [
            ("versions.labels.a", SettingValue::Integer(1)),
            ("warmup.enabled", SettingValue::Bool(false)),
            ("outputs.x:0.y", SettingValue::Table(Vec::new())),
            ("outputs.\"a.b\".y", SettingValue::Bool(true)),
        ];
        let changed: toml::Table = change(text, &edits).unwrap().parse().unwrap();
        let expected = "[versions]\npolicy = 'all'\nlabels = { a = 1 }\n[warmup]\nenabled = false\n\
                        [outputs]\n'x:0' = { y = {} }\n'a.b' = { y = true }";
        assert_eq!(changed, expected.parse().unwrap());
    }

    #[test]
    fn what_cannot_be_changed_is_said() {
        let through = [("versions.a", SettingValue::Bool(true))];
        let error = change("versions = 1", &through).unwrap_err();
        assert_eq!(error.field(), Some("config"));
        let error = change("[versions", &through).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unprocessable);
    }
}
