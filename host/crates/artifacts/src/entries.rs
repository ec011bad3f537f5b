//! The entries of a store: which artifact has which content. An entry is an object without content whose name says it all, so that
//! one listing gives every artifact of a model.
//!
//! ```text
//! artifacts/MODEL/VERSION/FILE/KIND.SIZE.SHA256
//! ```

use std::str::FromStr as _;

use object_store::ObjectMeta;
use object_store::path::Path;
use wharf_core::{Artifact, ArtifactPlace, Name, NewUpload};

/// The folder of all entries.
pub(crate) const ROOT: &str = "artifacts";

/// The folder of the entries of a model.
pub(crate) fn of_model(model: &Name) -> Path {
    Path::from_iter([ROOT, model.as_str()])
}

/// The folder of the entry of a file.
pub(crate) fn of_place(place: &ArtifactPlace) -> Path {
    let version = place.version.to_string();
    Path::from_iter([ROOT, place.model.as_str(), &version, place.file.as_str()])
}

/// The entry of an artifact.
pub(crate) fn of(upload: &NewUpload) -> Path {
    let name = format!("{}.{}.{}", upload.kind.name(), upload.size, upload.digest);
    of_place(&upload.place).join(name)
}

/// What an entry says; none where it is not ours.
pub(crate) fn parse(entry: &ObjectMeta) -> Option<Artifact> {
    let mut parts = entry.location.parts();
    let mut next = || parts.next().map(|part| part.as_ref().to_owned());
    if next()? != ROOT {
        return None;
    }
    let (model, version, file, name) = (next()?, next()?, next()?, next()?);
    if next().is_some() {
        return None;
    }
    let mut words = name.split('.');
    let (kind, size, digest) = (words.next()?, words.next()?, words.next()?);
    Some(Artifact {
        place: ArtifactPlace {
            model: Name::from_str(&model).ok()?,
            version: version.parse().ok()?,
            file: Name::from_str(&file).ok()?,
        },
        kind: kind.parse().ok()?,
        digest: digest.parse().ok()?,
        size: size.parse().ok()?,
        stored_at: entry.last_modified.into(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wharf_core::{ArtifactKind, Digest, Precondition};

    use super::*;

    proptest! {
        #[test]
        fn an_entry_reads_as_it_was_written(
            model in "[A-Za-z0-9][A-Za-z0-9._-]{0,20}", file in "[A-Za-z0-9][A-Za-z0-9._-]{0,20}",
            version: u64, size: u64, digest: [u8; 32], kind in 0..4usize,
        ) {
            let upload = NewUpload {
                place: ArtifactPlace {
                    model: Name::new(&model).unwrap(),
                    version,
                    file: Name::new(&file).unwrap(),
                },
                kind: ArtifactKind::ALL[kind],
                size,
                digest: Digest::new(digest),
                only_if: Precondition::None,
                tenant: None,
            };
            let now = std::time::SystemTime::now();
            let entry = ObjectMeta {
                location: of(&upload),
                last_modified: now.into(),
                size: 0,
                e_tag: None,
                version: None,
            };
            let artifact = parse(&entry).unwrap();
            prop_assert_eq!(artifact.place, upload.place);
            prop_assert_eq!((artifact.kind, artifact.size, artifact.digest), (upload.kind, size, upload.digest));
        }
    }

    #[test]
    fn what_is_no_digest_is_none() {
        for text in ["", "00", &"g".repeat(64), &"é".repeat(32), &"0".repeat(63)] {
            assert_eq!(text.parse::<Digest>().ok(), None, "{text}");
        }
        assert_eq!("ab".repeat(32).parse().ok(), Some(Digest::new([0xab; 32])));
    }
}
