//! The documents of artifacts and uploads, and the fields of digests.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wharf_core::{
    Artifact, ArtifactPlace, Digest, Error, Name, NewUpload, Precondition, Result, Upload,
};

/// The digest of what is stored (RFC 9530).
pub(super) const REPR_DIGEST: &str = "repr-digest";
const CONTENT_DIGEST: &str = "content-digest";
const ALGORITHM: &str = "sha256:";

/// The artifacts of a model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ArtifactList {
    pub(super) artifacts: Vec<ArtifactDocument>,
}

/// An artifact.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Artifact)]
pub(crate) struct ArtifactDocument {
    version: u64,
    file: String,
    /// `weights`, `configuration`, `labels` or `feature-maps`.
    kind: &'static str,
    size: u64,
    /// `sha256:` and 64 hexadecimal digits.
    digest: String,
    /// Seconds since 1970.
    stored_at: u64,
    /// The operation that brings the version into the site, where the artifact came just now and the version is whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) operation: Option<String>,
}

impl From<&Artifact> for ArtifactDocument {
    fn from(artifact: &Artifact) -> Self {
        Self {
            version: artifact.place.version,
            file: artifact.place.file.to_string(),
            kind: artifact.kind.name(),
            size: artifact.size,
            digest: format!("{ALGORITHM}{}", artifact.digest),
            stored_at: seconds(artifact.stored_at),
            operation: None,
        }
    }
}

/// What an upload will be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(as = NewUpload)]
pub(crate) struct NewUploadDocument {
    /// The version of the model that the file belongs to, from 1 on.
    #[schema(minimum = 1, maximum = 9_223_372_036_854_775_807_u64)]
    version: u64,
    /// The name of the file.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    file: String,
    /// `weights`, `configuration`, `labels` or `feature-maps`.
    #[schema(pattern = "^(weights|configuration|labels|feature-maps)$")]
    kind: String,
    /// The length of the whole in bytes.
    size: u64,
    /// `sha256:` and the 64 hexadecimal digits of the whole.
    #[schema(pattern = "^sha256:[0-9a-fA-F]{64}$")]
    digest: String,
}

impl NewUploadDocument {
    /// Checks it. Nothing is made of a name before.
    ///
    /// # Errors
    /// `InvalidArgument` with the member as the field.
    pub(super) fn read(self, model: Name) -> Result<NewUpload> {
        if !(1..=i64::MAX as u64).contains(&self.version) {
            let message = "a version is a whole number from 1 on";
            return Err(Error::invalid("version", message));
        }
        let file =
            Name::new(&self.file).map_err(|error| Error::invalid("file", error.to_string()))?;
        let kind = self.kind.parse();
        let digest = self
            .digest
            .strip_prefix(ALGORITHM)
            .and_then(|digest| digest.parse().ok());
        Ok(NewUpload {
            place: ArtifactPlace {
                model,
                version: self.version,
                file,
            },
            kind: kind.map_err(|error: wharf_core::UnknownKind| {
                Error::invalid("kind", error.to_string())
            })?,
            size: self.size,
            digest: digest
                .ok_or_else(|| Error::invalid("digest", "is sha256: and 64 hexadecimal digits"))?,
            only_if: Precondition::None,
            tenant: None,
        })
    }
}

/// The uploads of a model that are under way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UploadList {
    pub(super) uploads: Vec<UploadDocument>,
}

/// An upload that is under way.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Upload)]
pub(crate) struct UploadDocument {
    id: String,
    version: u64,
    file: String,
    kind: &'static str,
    size: u64,
    digest: String,
    /// How many bytes are stored: the next part begins there.
    offset: u64,
    /// When it is given up unless more of it comes, in seconds since 1970.
    expires_at: u64,
}

impl From<&Upload> for UploadDocument {
    fn from(upload: &Upload) -> Self {
        let NewUpload {
            place,
            kind,
            size,
            digest,
            only_if: _,
            tenant: _,
        } = &upload.of;
        Self {
            id: upload.id.to_string(),
            version: place.version,
            file: place.file.to_string(),
            kind: kind.name(),
            size: *size,
            digest: format!("{ALGORITHM}{digest}"),
            offset: upload.offset,
            expires_at: seconds(upload.expires_at),
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// The digest of a whole body, by `Repr-Digest` or `Content-Digest`: without a coding they are the same.
///
/// # Errors
/// `InvalidArgument` where there is none of SHA-256, or two differ.
pub(super) fn digest_field(headers: &HeaderMap) -> Result<Digest> {
    let mut found = None;
    for name in [REPR_DIGEST, CONTENT_DIGEST] {
        let fields = headers.get_all(name).iter();
        let fields = fields.filter_map(|field| field.to_str().ok());
        for member in fields.flat_map(|field| field.split(',')) {
            let Some(value) = member.trim().strip_prefix("sha-256=") else {
                continue;
            };
            let digest = bytes(value).ok_or_else(|| Error::invalid(name, EXPECTED))?;
            if found.is_some_and(|found| found != digest) {
                return Err(Error::invalid(
                    name,
                    "is another digest than the request has already",
                ));
            }
            found = Some(digest);
        }
    }
    found.ok_or_else(|| Error::invalid(REPR_DIGEST, EXPECTED))
}

const EXPECTED: &str =
    "send the SHA-256 of the file as sha-256=:BASE64:, so that it is known to be whole";

fn bytes(value: &str) -> Option<Digest> {
    let text = value.strip_prefix(':')?.strip_suffix(':')?;
    let bytes: [u8; 32] = STANDARD.decode(text).ok()?.try_into().ok()?;
    Some(Digest::new(bytes))
}

/// The field of a digest.
pub(super) fn repr_digest(digest: Digest) -> String {
    format!("sha-256=:{}:", STANDARD.encode(digest.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_from_both_fields() {
        let digest = Digest::new([7; 32]);
        let field = repr_digest(digest);
        let of = |fields: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, value.parse().unwrap());
            }
            digest_field(&headers).map_err(|error| error.field().map(str::to_owned))
        };
        assert_eq!(of(&[("repr-digest", &field)]), Ok(digest));
        let several = format!("md5=:AAAA:, {field}");
        assert_eq!(of(&[("content-digest", &several)]), Ok(digest));
        let other = repr_digest(Digest::new([8; 32]));
        for fields in [
            [].as_slice(),
            &[("repr-digest", "sha-256=AAAA")],
            &[("repr-digest", "sha-256=:AAAA:")],
            &[("repr-digest", "md5=:AAAA:")],
        ] {
            assert_eq!(
                of(fields),
                Err(Some("repr-digest".to_owned())),
                "{fields:?}"
            );
        }
        let differ = of(&[("repr-digest", &field), ("content-digest", &other)]);
        assert_eq!(differ, Err(Some("content-digest".to_owned())));
    }
}
