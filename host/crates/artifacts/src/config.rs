//! The settings of the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, parse_url_opts};
use serde::Deserialize;
use url::Url;

/// The folder of the site that is the store where no other is named, and the spool in any case. Nothing in it is served or watched.
const FOLDER: &str = ".artifacts";

const NO_FOLDER: &str = "a folder is named with three slashes, such as file:///var/lib/wharf";

/// The settings of the store: the table `[artifacts]` of `wharf.toml`. Every key is optional.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where artifacts are kept: `file:///folder`, `s3://bucket/prefix`, `gs://...`, `az://...`. Credentials come from the usual variables of
    /// the environment. Without, the folder `.artifacts` of the site.
    pub url: Option<String>,
    /// The largest artifact.
    pub max_bytes: u64,
    /// What all artifacts may take together, with what is being uploaded.
    pub max_total_bytes: u64,
    /// What uploads leave free of the disk.
    pub min_free_bytes: u64,
    /// Uploads that may be under way at one time.
    pub max_uploads: usize,
    /// Those of them that may be of one tenant.
    pub max_uploads_per_tenant: usize,
    /// An upload that rests longer is given up.
    pub upload_idle_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: None,
            max_bytes: 16 << 30,
            max_total_bytes: 256 << 30,
            min_free_bytes: 256 << 20,
            max_uploads: 64,
            max_uploads_per_tenant: 16,
            upload_idle_s: 86_400,
        }
    }
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting is wrong.
    #[error("artifacts.{key}: {message}")]
    Setting {
        /// The key in the table.
        key: &'static str,
        /// What is wrong, and how to mend it.
        message: String,
    },
    /// The site's folder cannot be found.
    #[error("the site's folder cannot be found: {0}")]
    Folder(#[from] std::io::Error),
}

/// Where content is kept.
pub(crate) struct Place {
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// The folder, where the store is one.
    pub(crate) folder: Option<PathBuf>,
    /// Where uploads are spooled.
    pub(crate) spool: PathBuf,
}

impl Config {
    /// Checks the settings, without opening anything.
    ///
    /// # Errors
    /// Names the first that is wrong.
    pub fn check(&self) -> Result<(), OpenError> {
        let wrong = |key, message: &str| {
            let message = message.to_owned();
            Err(OpenError::Setting { key, message })
        };
        if self.max_bytes == 0 {
            return wrong(
                "max_bytes",
                "is 0: nothing could be uploaded; use at least 1",
            );
        }
        if self.max_total_bytes < self.max_bytes {
            return wrong(
                "max_total_bytes",
                "is less than artifacts.max_bytes; raise it",
            );
        }
        for (key, uploads) in [
            ("max_uploads", self.max_uploads),
            ("max_uploads_per_tenant", self.max_uploads_per_tenant),
        ] {
            if !(1..=10_000).contains(&uploads) {
                return wrong(key, "is out of range: use 1 to 10000");
            }
        }
        if !(60..=31_536_000).contains(&self.upload_idle_s) {
            return wrong(
                "upload_idle_s",
                "is out of range: use 60 to 31536000 (a year)",
            );
        }
        self.address().map(drop)
    }

    fn address(&self) -> Result<Option<Url>, OpenError> {
        let parsed = self.url.as_deref().map(str::parse::<Url>).transpose();
        parsed.map_err(|error| wrong_url(&error))
    }

    pub(crate) fn upload_idle(&self) -> Duration {
        Duration::from_secs(self.upload_idle_s)
    }

    /// Finds what the settings name. Folders are made when something comes into them: a site that cannot be written serves as any other.
    pub(crate) fn place(&self, site: &Path) -> Result<Place, OpenError> {
        self.check()?;
        let own = std::path::absolute(site.join(FOLDER))?;
        let spool = own.join("uploads");
        let folder = match self.address()? {
            Some(url) if url.scheme() != "file" => {
                return Ok(Place {
                    objects: remote(&url)?,
                    folder: None,
                    spool,
                });
            }
            Some(url) => url.to_file_path().map_err(|()| OpenError::Setting {
                key: "url",
                message: NO_FOLDER.to_owned(),
            })?,
            None => own,
        };
        let prefix = ObjectPath::from_absolute_path(&folder);
        let prefix = prefix.map_err(|error| wrong_url(&error))?;
        let disk = LocalFileSystem::new().with_fsync(true);
        Ok(Place {
            objects: Arc::new(PrefixStore::new(disk, prefix)),
            folder: Some(folder),
            spool,
        })
    }
}

fn remote(url: &Url) -> Result<Arc<dyn ObjectStore>, OpenError> {
    // Only what is meant for stores: a variable of the name BUCKET would else be taken for a setting.
    let prefixes = ["AWS_", "AZURE_", "GOOGLE_"];
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)));
    let (objects, path) = parse_url_opts(url, variables).map_err(|error| wrong_url(&error))?;
    let objects: Arc<dyn ObjectStore> = objects.into();
    Ok(match path == ObjectPath::default() {
        true => objects,
        false => Arc::new(PrefixStore::new(objects, path)),
    })
}

fn wrong_url(error: &dyn std::error::Error) -> OpenError {
    OpenError::Setting {
        key: "url",
        message: format!(
            "there is no such store: {error}; use file:///folder or s3://bucket/prefix"
        ),
    }
}
