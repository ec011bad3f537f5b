//! Where a secret comes from, and its text.

use std::fmt;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::loader::open_file;

/// The largest secret, in bytes.
const SECRET_BYTES: u64 = 64 * 1024;

/// The folders of a site whose content clients may get to see: as models, or by what is said of a file that is no good.
const SERVED: [&str; 3] = ["models", "plugins", "routes"];

/// `[plugins.secrets.NAME]` of `wharf.toml`: where a secret comes from. One of the keys is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecretSource {
    /// The name of a variable of the host's environment.
    pub env: Option<String>,
    /// A file, absolute or relative to the site. A newline at its end is not part of the secret. What changes in it is picked up.
    pub file: Option<PathBuf>,
}

/// Where a secret of a site comes from.
pub(super) enum Place {
    Variable(String),
    File { path: PathBuf, site: PathBuf },
}

/// The text of a secret. It is wiped out when it is dropped, and never shown.
#[derive(Clone)]
pub(super) struct SecretText(Zeroizing<String>);

impl Deref for SecretText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

impl SecretSource {
    /// Checks that exactly one of the keys is set.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) fn check(&self) -> Result<(), String> {
        let empty = self.env.as_ref().is_some_and(String::is_empty)
            || (self.file.as_ref()).is_some_and(|file| file.as_os_str().is_empty());
        if self.env.is_some() == self.file.is_some() || empty {
            return Err("must have one of `env` and `file`, and not an empty one".to_owned());
        }
        Ok(())
    }

    pub(super) fn place(&self, site: &Path) -> Place {
        match (&self.env, &self.file) {
            (None, Some(file)) => Place::File {
                path: site.join(file),
                site: site.to_owned(),
            },
            (variable, _) => Place::Variable(variable.clone().unwrap_or_default()),
        }
    }
}

impl Place {
    /// The key that says it.
    pub(super) fn setting(&self) -> &'static str {
        match self {
            Self::Variable(_) => "env",
            Self::File { .. } => "file",
        }
    }

    /// Whether it may have another value later: what the environment says is said for good.
    pub(super) fn may_change(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    /// # Errors
    /// What is wrong with it, to follow the word "names". No path, and nothing of the content.
    pub(super) fn read(&self) -> Result<SecretText, String> {
        let text = match self {
            Self::Variable(name) => {
                let value = std::env::var_os(name)
                    .ok_or_else(|| format!("the variable {name}, which is not set"))?;
                let text = value.into_string().map(Zeroizing::new);
                text.map_err(|_| format!("the variable {name}, which is not UTF-8"))?
            }
            Self::File { path, site } => read(path, site)?,
        };
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            return Err("an empty value".to_owned());
        }
        if line.len() as u64 > SECRET_BYTES {
            return Err(too_large());
        }
        Ok(SecretText(Zeroizing::new(line.to_owned())))
    }
}

fn read(path: &Path, site: &Path) -> Result<Zeroizing<String>, String> {
    let unreadable = |error: std::io::Error| format!("a file that cannot be read: {error}");
    let real = path.canonicalize().map_err(unreadable)?;
    let served = |folder: &Path| folder.canonicalize().is_ok_and(|it| real.starts_with(it));
    if SERVED.iter().any(|folder| served(&site.join(folder))) {
        return Err(format!(
            "a file in a folder that is served: move it out of {}",
            SERVED.join(", ")
        ));
    }
    let file = open_file(&real).map_err(unreadable)?;
    // Made large enough at once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES as usize + 64));
    file.take(SECRET_BYTES + 3)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > SECRET_BYTES + 2 {
        return Err(too_large());
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "a file that is not UTF-8".to_owned())?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn too_large() -> String {
    format!("a value of more than {SECRET_BYTES} bytes")
}
