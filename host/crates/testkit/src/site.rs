//! A site folder for a test.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::script::END;

/// A site in a folder of its own, which goes with it. Every path is relative to the site.
pub struct Site(TempDir);

impl Site {
    /// Makes an empty site.
    ///
    /// # Panics
    /// Where the machine has no temporary folder.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Puts a version of a model there, whole at once. The lines are a script of [`crate::FakeEngine`].
    pub fn model(&self, name: &str, version: u64, lines: &str) {
        self.put(
            &format!("models/{name}/{version}/model.onnx"),
            &format!("{lines}\n{END}\n"),
        );
    }

    /// Puts a plugin there, whole at once. The lines are a script of [`crate::FakePluginHost`].
    pub fn plugin(&self, name: &str, lines: &str) {
        self.put(
            &format!("plugins/{name}.wasm"),
            &format!("{lines}\n{END}\n"),
        );
    }

    /// Puts a route file there, whole at once.
    pub fn route(&self, name: &str, toml: &str) {
        self.put(&format!("routes/{name}.toml"), toml);
    }

    /// Puts an upstream there, whole at once. The lines are a script of [`crate::FakeUpstreams`].
    pub fn upstream(&self, name: &str, lines: &str) {
        self.put(
            &format!("upstreams/{name}.toml"),
            &format!("{lines}\n{END}\n"),
        );
    }

    /// Puts a file there by a rename, so that nobody sees it half-written.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub fn put(&self, path: &str, content: &str) {
        let path = self.path().join(path);
        let folder = path.parent().expect("a file in the site");
        fs::create_dir_all(folder).expect("the folder is made");
        let temporary = folder.join(".tmp");
        fs::write(&temporary, content).expect("the file is written");
        fs::rename(&temporary, &path).expect("the file is renamed");
    }

    /// Writes a file in place.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub fn write(&self, path: &str, content: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a file in the site")).expect("the folder is made");
        fs::write(path, content).expect("the file is written");
    }

    /// Removes a file or a whole folder.
    ///
    /// # Panics
    /// Where it is not there.
    pub fn remove(&self, path: &str) {
        let path = self.path().join(path);
        if path.is_dir() {
            fs::remove_dir_all(path).expect("the folder is removed");
        } else {
            fs::remove_file(path).expect("the file is removed");
        }
    }
}
