//! What a client asks to be changed with a load.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use wharf_core::{Error, LoadError, ModelInfo, Name, Result};

use super::author::Author;
use super::edit;
use super::precondition::Precondition;
use crate::registry::ModelDocument;
use crate::watcher::unprocessable;

/// What a load is to change before: files and settings land in the site, together or not at all.
#[derive(Clone, Debug, Default)]
pub struct ModelChange {
    /// Keys of `model.toml` to set; the others stay as they are.
    pub settings: Vec<SettingEdit>,
    /// What `model.toml` is to say instead of what it says, before `settings` are set. A model that is not there is registered with it,
    /// and needs no version yet.
    pub document: Option<ModelDocument>,
    /// Files of versions. A version that is given is replaced as a whole.
    pub files: Vec<ModelFile>,
    /// What must be true of the versions that would serve.
    pub check: Option<ModelCheck>,
    /// What must be so for the change to be made at all. The content that it compares is that of `model.toml`.
    pub only_if: Precondition,
    /// Who asks for it.
    pub by: Author,
}

/// Looks at each version that would serve, once it is loaded and warmed up, and before anything has changed. Where it
/// refuses one, nothing changes.
#[derive(Clone)]
pub struct ModelCheck(Arc<Check>);

type Check = dyn Fn(&ModelInfo) -> Result<()> + Send + Sync;

/// A key of `model.toml` and its new value.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingEdit {
    /// The key with its tables: `batching.max_rows`. A name with a dot in it stands in quotes.
    pub key: String,
    /// The value.
    pub value: SettingValue,
}

/// A value of `model.toml`.
#[derive(Clone, Debug, PartialEq)]
pub enum SettingValue {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number with decimals.
    Decimal(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<SettingValue>),
    /// A table in a list: `{ input = "state_in", output = "state_out" }`.
    Table(Vec<(String, SettingValue)>),
    /// The key is taken out, and its default holds.
    Default,
}

/// A file of a version.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// The version.
    pub version: u64,
    /// The path inside the version's folder, as the client wrote it: `model.onnx`. It is checked before any path is made.
    pub path: String,
    /// What is in it.
    pub data: FileContent,
}

/// What is in a file of a version.
#[derive(Clone, Debug)]
pub enum FileContent {
    /// These bytes.
    Bytes(Bytes),
    /// What a file has, which is moved into the site. Where the change ends before that, it stays where it is.
    Moved(PathBuf),
}

impl From<Bytes> for FileContent {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for FileContent {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// The most files and settings of one change, and how long and deep their names may be. A model has far fewer; the size of all
/// files together is bounded by the body that brought them.
const MAX_FILES: usize = 1024;
const MAX_SETTINGS: usize = 256;
const MAX_PATH: usize = 512;
const MAX_NAME: usize = 255;
const MAX_DEPTH: usize = 4;
/// How deep values may be: samples of a warm-up are lists of tables of tables of tables of lists.
const MAX_NESTING: usize = 5;

impl ModelChange {
    /// Whether there is nothing to change.
    pub(crate) fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.files.is_empty() && self.document.is_none()
    }

    /// Whether `model.toml` changes.
    pub(crate) fn has_settings(&self) -> bool {
        !self.settings.is_empty() || self.document.is_some()
    }

    /// Checks what a client wrote, before any path is made of it.
    pub(crate) fn validate(&self) -> Result<()> {
        let most = |count: usize, most: usize, what: &'static str| match count > most {
            true => Err(Error::invalid(
                what,
                format!("{count} are too many; send at most {most}"),
            )),
            false => Ok(()),
        };
        most(self.files.len(), MAX_FILES, "files")?;
        most(self.settings.len(), MAX_SETTINGS, "config")?;
        for edit in &self.settings {
            edit.check()?;
        }
        if let Some(document) = &self.document {
            most(document.settings.len(), MAX_SETTINGS, "settings")?;
            document.settings.iter().try_for_each(check_entry)?;
        }
        let mut known = BTreeSet::new();
        for file in &self.files {
            file.check()?;
            if !known.insert((file.version, file.path.as_str())) {
                return Err(file.invalid("the file is given twice; send it once"));
            }
        }
        for file in &self.files {
            let folders = file
                .path
                .match_indices('/')
                .map(|(end, _)| &file.path[..end]);
            for folder in folders {
                if known.contains(&(file.version, folder)) {
                    return Err(file.invalid("its folder is given as a file; rename one of them"));
                }
            }
        }
        Ok(())
    }

    /// What a client is told where the change of a model cannot be loaded: that a setting of its own is wrong, or else that
    /// the model is.
    pub(crate) fn refused(&self, model: &Name, error: LoadError) -> Error {
        let within = |whole: &str, part: &str| {
            let rest = whole.strip_prefix(part);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        // The table of a setting may be what is wrong: an output that the model does not have.
        let is_own = |key: &str| {
            let mut settings = self.settings.iter();
            settings.find(|edit| within(key, &edit.key) || within(&edit.key, key))
        };
        let of_settings = error.file == format!("models/{model}/model.toml");
        if let Some(key) = error
            .key
            .as_deref()
            .filter(|_| of_settings && self.document.is_some())
        {
            let field = match key.strip_prefix("registry.") {
                Some(key) => key.to_owned(),
                None => format!("settings.{key}"),
            };
            return Error::invalid(field, error.client_message().to_owned()).with_source(error);
        }
        let own = error.key.as_deref().and_then(is_own);
        match own.filter(|_| of_settings) {
            Some(edit) => {
                let message = error.client_message().to_owned();
                Error::invalid(format!("config.{}", edit.key), message).with_source(error)
            }
            None => unprocessable(error),
        }
    }
}

impl ModelCheck {
    /// A check by a function that neither blocks nor computes for long.
    #[must_use]
    pub fn new(check: impl Fn(&ModelInfo) -> Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }

    pub(crate) fn run(&self, model: &ModelInfo) -> Result<()> {
        (self.0)(model)
    }
}

impl fmt::Debug for ModelCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ModelCheck")
    }
}

impl ModelFile {
    fn check(&self) -> Result<()> {
        if self.path.len() > MAX_PATH {
            return Err(self.invalid("the path is too long; 512 bytes are the most"));
        }
        if self.path.chars().any(|c| c.is_control() || c == '\\') {
            return Err(
                self.invalid("the path has a control character or a backslash; use names and '/'")
            );
        }
        let names: Vec<&str> = self.path.split('/').collect();
        if names.len() > MAX_DEPTH {
            return Err(self.invalid("the path is too deep; four names are the most"));
        }
        for name in names {
            if name.is_empty() {
                return Err(self.invalid("a name in the path is empty; write it as model.onnx"));
            }
            if name.len() > MAX_NAME {
                return Err(self.invalid("a name in the path is too long; 255 bytes are the most"));
            }
            // `.` and `..` among them.
            if name.starts_with('.') {
                return Err(self.invalid(
                    "a name in the path begins with a dot; files lie in the version's folder",
                ));
            }
        }
        Ok(())
    }

    /// An error that names the parameter, as the client wrote it.
    pub(super) fn invalid(&self, message: &'static str) -> Error {
        let path = self.path.chars().flat_map(char::escape_debug);
        let path: String = path.take(MAX_PATH).collect();
        Error::invalid(format!("file:{}/{path}", self.version), message)
    }
}

/// A table of a whole document.
fn check_entry((key, value): &(String, SettingValue)) -> Result<()> {
    let field = || format!("settings.{}", LoadError::key_part(key));
    if key == "registry" {
        let message = "is said beside the settings: description, modalities and labels";
        return Err(Error::invalid(field(), message));
    }
    if key.is_empty() || key.len() > MAX_PATH || !value.within(MAX_NESTING + 1) {
        let field: String = field().chars().take(MAX_NAME).collect();
        return Err(Error::invalid(
            field,
            "the name is empty or too long, or the value is nested too deep",
        ));
    }
    Ok(())
}

impl SettingEdit {
    fn check(&self) -> Result<()> {
        let plain = self.key.len() <= MAX_PATH && !self.key.chars().any(char::is_control) && {
            let names = edit::names(&self.key);
            names.len() <= 2 * MAX_DEPTH && names.iter().all(|name| !name.is_empty())
        };
        if !plain {
            return Err(Error::invalid(
                "config",
                "a setting's name is empty, too long or too deep",
            ));
        }
        if !self.value.within(MAX_NESTING) {
            return Err(Error::invalid(
                "config",
                format!("{}: lists are nested too deep", self.key),
            ));
        }
        Ok(())
    }
}

impl SettingValue {
    fn within(&self, depth: usize) -> bool {
        match self {
            Self::Table(entries) => {
                depth > 0 && entries.iter().all(|(_, value)| value.within(depth - 1))
            }
            Self::List(values) => depth > 0 && values.iter().all(|value| value.within(depth - 1)),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(paths: &[&str]) -> Result<()> {
        let files = paths.iter().map(|path| ModelFile {
            version: 1,
            path: (*path).to_owned(),
            data: Bytes::new().into(),
        });
        let change = ModelChange {
            files: files.collect(),
            ..ModelChange::default()
        };
        change.validate()
    }

    #[test]
    fn paths_that_could_leave_the_version_are_refused_with_their_field() {
        let long = "x".repeat(MAX_NAME + 1);
        for path in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../2/model.onnx",
            "a/../b",
            "./a",
            "a//b",
            "a/",
            ".hidden",
            "a/.hidden",
            "a\\b",
            "C:\\x",
            "a\0b",
            "a\nb",
            "a/b/c/d/e",
            &long,
        ] {
            let error = checked(&[path]).unwrap_err();
            let field = error.field().unwrap();
            assert!(field.starts_with("file:1/"), "{path:?}: {field}");
            assert!(!field.contains(['\0', '\n']), "{path:?}");
        }
        assert!(checked(&["model.onnx", "a/b/c/weights.bin", "model.onnx.data"]).is_ok());
        assert!(checked(&["a", "a"]).is_err());
        assert!(checked(&["a/b", "a"]).is_err());
        let many: Vec<String> = (0..=MAX_FILES).map(|index| index.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(checked(&many).unwrap_err().field(), Some("files"));
    }

    #[test]
    fn a_setting_is_to_blame_where_it_or_its_table_is_wrong() {
        let change = ModelChange {
            settings: vec![SettingEdit {
                key: "outputs.\"y.z\".classes".to_owned(),
                value: SettingValue::Text("labels.txt".to_owned()),
            }],
            ..ModelChange::default()
        };
        let name = Name::new("m").unwrap();
        let blamed = |file: &str, key: &str| {
            let error = change.refused(&name, LoadError::new(file, "wrong").with_key(key));
            error.field().map(str::to_owned)
        };
        let own = Some("config.outputs.\"y.z\".classes".to_owned());
        for key in ["outputs", "outputs.\"y.z\"", "outputs.\"y.z\".classes"] {
            assert_eq!(blamed("models/m/model.toml", key), own, "{key}");
        }
        // An output `y`, and a table in it.
        for key in ["outputs.y", "outputs.y.z.classes", "outputs.\"y.z\".class"] {
            assert_eq!(blamed("models/m/model.toml", key), None, "{key}");
        }
        assert_eq!(blamed("models/m/1/model.onnx", "outputs"), None);
    }

    #[test]
    fn settings_are_bounded() {
        let checked = |key: &str, value: SettingValue| {
            let edit = SettingEdit {
                key: key.to_owned(),
                value,
            };
            edit.check()
        };
        assert!(checked("batching.max_rows", SettingValue::Integer(8)).is_ok());
        let mut deep = SettingValue::Default;
        for _ in 0..100 {
            deep = SettingValue::List(vec![deep]);
        }
        assert!(checked("a", deep).is_err());
        for key in ["", ".", "a.", "a..b", "a\nb", "1.2.3.4.5.6.7.8.9"] {
            assert!(checked(key, SettingValue::Bool(true)).is_err(), "{key:?}");
        }
    }
}
