//! `bundles/NAME/state.toml`: what became of the releases, so that a restart goes on where the process ended. The host writes it, and
//! reads it when it first sees the bundle.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::Deserialize;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};
use wharf_core::{Digest, LoadError, Name};

/// The most releases whose rejection is remembered; older ones have long been replaced.
const MOST_REJECTED: usize = 64;

const HEADER: &str =
    "# Written by the server: what became of the releases. Settings belong in bundle.toml.\n";

/// What is known of the releases of a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// The release in force.
    pub(crate) promoted: Option<u64>,
    /// Those that were rolled back: not tried again until their content is another.
    rejected: Vec<Rejected>,
}

/// A release that was rolled back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub(crate) release: u64,
    pub(crate) digest: Digest,
    pub(crate) reason: String,
}

#[derive(Deserialize)]
struct RecordFile {
    promoted: Option<u64>,
    #[serde(default)]
    rejected: Vec<RejectedEntry>,
}

#[derive(Deserialize)]
struct RejectedEntry {
    release: u64,
    sha256: String,
    #[serde(default)]
    reason: String,
}

impl Record {
    pub(crate) fn rejection(&self, release: u64, digest: Digest) -> Option<&Rejected> {
        self.rejected
            .iter()
            .find(|rejected| (rejected.release, rejected.digest) == (release, digest))
    }

    /// Whether a release was rejected, whatever its content is now.
    pub(crate) fn has_rejected(&self, release: u64) -> bool {
        self.rejected
            .iter()
            .any(|rejected| rejected.release == release)
    }

    pub(crate) fn reject(&mut self, release: u64, digest: Digest, reason: String) {
        self.forgive(release);
        if self.rejected.len() == MOST_REJECTED {
            self.rejected.remove(0);
        }
        self.rejected.push(Rejected {
            release,
            digest,
            reason,
        });
    }

    /// Takes back that a release was rejected.
    pub(crate) fn forgive(&mut self, release: u64) {
        self.rejected.retain(|rejected| rejected.release != release);
    }

    /// Parses the text of the file. It has been written by a host, so that what it does not know is from a newer one.
    ///
    /// # Errors
    /// Where it is no such file.
    pub(crate) fn parse(bundle: &Name, text: &str) -> Result<Self, LoadError> {
        let wrong = |message: &str| {
            let message =
                format!("it is not readable: {message}; remove it, and its bundle begins anew");
            LoadError::new(format!("bundles/{bundle}/state.toml"), message)
        };
        let file: RecordFile = toml::from_str(text).map_err(|error| wrong(error.message()))?;
        let mut record = Self {
            promoted: file.promoted,
            rejected: Vec::new(),
        };
        for entry in file.rejected {
            let digest = entry.sha256.parse().ok();
            let digest = digest.ok_or_else(|| wrong("sha256 is no digest"))?;
            record.reject(entry.release, digest, entry.reason);
        }
        Ok(record)
    }

    fn to_text(&self) -> String {
        let mut document = DocumentMut::new();
        // Numbers of TOML are signed; a release that is larger was refused where its folder was read.
        let number = |release: u64| value(i64::try_from(release).unwrap_or(i64::MAX));
        if let Some(promoted) = self.promoted {
            document["promoted"] = number(promoted);
        }
        let mut rejected = ArrayOfTables::new();
        for one in &self.rejected {
            let mut table = Table::new();
            table["release"] = number(one.release);
            table["sha256"] = value(one.digest.to_string());
            table["reason"] = value(one.reason.as_str());
            rejected.push(table);
        }
        if !rejected.is_empty() {
            document["rejected"] = Item::ArrayOfTables(rejected);
        }
        format!("{HEADER}{document}")
    }

    /// Writes the file beside its place, and renames it: whoever reads it, also after a kill at any moment, finds the old one or the
    /// new one. Blocks.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        let (coming, place) = (folder.join(".state.toml.new"), folder.join("state.toml"));
        let text = self.to_text();
        if fs::read_to_string(&place).is_ok_and(|there| there == text) {
            return Ok(());
        }
        let mut file = File::create(&coming)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&coming, &place)?;
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let mut record = Record {
            promoted: Some(2),
            ..Record::default()
        };
        record.reject(
            3,
            Digest::new([0xa5; 32]),
            "it \"failed\"\nbadly".to_owned(),
        );
        record
    }

    #[test]
    fn what_is_written_is_read() {
        let bundle = Name::new("b").unwrap();
        for record in [Record::default(), record()] {
            assert_eq!(Record::parse(&bundle, &record.to_text()).unwrap(), record);
        }
        for text in [
            "promoted = 'x'",
            "[[rejected]]\nrelease = 1\nsha256 = 'ab'",
            "promoted =",
        ] {
            let error = Record::parse(&bundle, text).unwrap_err();
            assert_eq!(error.file, "bundles/b/state.toml");
        }
    }

    #[test]
    fn a_rejection_is_of_a_content() {
        let mut record = record();
        assert!(record.rejection(3, Digest::new([0xa5; 32])).is_some());
        assert!(record.rejection(3, Digest::new([1; 32])).is_none());
        assert!(record.rejection(4, Digest::new([0xa5; 32])).is_none());
        for release in 10..200 {
            record.reject(release, Digest::new([2; 32]), String::new());
        }
        assert_eq!(record.rejected.len(), MOST_REJECTED);
        record.forgive(199);
        assert!(record.rejection(199, Digest::new([2; 32])).is_none());
    }

    #[test]
    fn the_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        // What a process that was killed in the middle left behind.
        fs::write(folder.path().join(".state.toml.new"), "promo").unwrap();
        record().write(folder.path()).unwrap();
        let read = fs::read_to_string(folder.path().join("state.toml")).unwrap();
        assert!(read.starts_with("# Written by the server"));
        assert!(read.contains("promoted = 2"));
        assert!(!folder.path().join(".state.toml.new").exists());
    }
}
