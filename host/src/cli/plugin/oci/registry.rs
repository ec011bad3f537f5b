//! A registry, by the OCI distribution API: manifests, blobs, and the sign-in that it asks for.

mod sign_in;
mod transport;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};

use self::sign_in::SignIn;
use self::transport::{Answer, Message, Transport};
use super::artifact::{Artifact, MANIFEST, digest, read_manifest};
use super::credentials::Credentials;
use super::reference::Reference;

/// The largest manifest: what registries take.
const MANIFEST_BYTES: usize = 4 << 20;
/// The largest text of an error that is read.
const ERROR_BYTES: usize = 64 << 10;

/// One artifact's place in a registry.
pub(super) struct Registry<'a> {
    reference: &'a Reference,
    transport: Transport,
    sign_in: SignIn,
}

impl<'a> Registry<'a> {
    /// # Errors
    /// Where this machine trusts no certificate authority.
    pub(super) fn connect(reference: &'a Reference, credentials: Credentials) -> Result<Self> {
        Ok(Self {
            transport: Transport::open(reference.is_local())?,
            sign_in: SignIn::new(credentials),
            reference,
        })
    }

    /// Uploads what the registry lacks, and then the manifest. Gives its digest.
    pub(super) async fn push(mut self, artifact: &Artifact) -> Result<String> {
        for blob in artifact.blobs() {
            self.push_blob(blob).await?;
        }
        let manifest = artifact.manifest();
        let expected = digest(&manifest);
        if self
            .reference
            .digest()
            .is_some_and(|pinned| pinned != expected)
        {
            bail!(
                "the artifact is {expected}, and the reference names another digest: push to a tag"
            );
        }
        let path = format!("manifests/{}", self.reference.version());
        let message = Message::new(Method::PUT, self.url(&path))
            .with(header::CONTENT_TYPE, MANIFEST)?
            .with_body(manifest);
        let answer = self.send(message, ERROR_BYTES).await?;
        answer.expect(&[StatusCode::CREATED], "the manifest")?;
        if let Some(stored) = answer.field("docker-content-digest")
            && stored != expected
        {
            bail!("the registry stored {stored} for {expected}: it changes what it is given");
        }
        Ok(expected)
    }

    async fn push_blob(&mut self, blob: &Bytes) -> Result<()> {
        let digest = digest(blob);
        let known = Message::new(Method::HEAD, self.url(&format!("blobs/{digest}")));
        if self.send(known, 0).await?.status == StatusCode::OK {
            return Ok(());
        }
        let begin = Message::new(Method::POST, self.url("blobs/uploads/"));
        let begun = self.send(begin, ERROR_BYTES).await?;
        begun.expect(&[StatusCode::ACCEPTED], "an upload")?;
        let place = begun
            .field("location")
            .context("the registry gives an upload no place")?;
        let mut place = begun
            .url
            .join(place)
            .context("the registry gives an upload no place")?;
        place.query_pairs_mut().append_pair("digest", &digest);
        let upload = Message::new(Method::PUT, place)
            .with(header::CONTENT_TYPE, "application/octet-stream")?
            .with_body(blob.clone());
        let answer = self.send(upload, ERROR_BYTES).await?;
        answer.expect(&[StatusCode::CREATED], "the content")
    }

    /// Reads the manifest and the component, and checks both against their digests. Gives that of the manifest.
    pub(super) async fn pull(mut self) -> Result<(String, Artifact)> {
        let path = format!("manifests/{}", self.reference.version());
        let message = Message::new(Method::GET, self.url(&path)).with(header::ACCEPT, MANIFEST)?;
        let answer = self.send(message, MANIFEST_BYTES).await?;
        answer.expect(&[StatusCode::OK], "the manifest")?;
        let manifest_digest = digest(&answer.body);
        if self
            .reference
            .digest()
            .is_some_and(|pinned| pinned != manifest_digest)
        {
            bail!("the registry gave {manifest_digest} for the digest of the reference");
        }
        let found = read_manifest(&answer.body)?;
        let message = Message::new(
            Method::GET,
            self.url(&format!("blobs/{}", found.layer.digest)),
        );
        let size = usize::try_from(found.layer.size).context("the component is too large")?;
        let blob = self.send(message, size.max(ERROR_BYTES)).await?;
        blob.expect(&[StatusCode::OK], "the component")?;
        let got = digest(&blob.body);
        if blob.body.len() != size || got != found.layer.digest {
            bail!(
                "the component came damaged: {} bytes with {got}, and the manifest names {size} with {}",
                blob.body.len(),
                found.layer.digest
            );
        }
        Ok((manifest_digest, Artifact::found(blob.body, found.settings)))
    }

    /// Sends a message, and once more after signing in where the registry asks for that.
    async fn send(&mut self, message: Message, most: usize) -> Result<Answer> {
        let first = self.transport.send(self.signed(&message), most).await?;
        if first.status != StatusCode::UNAUTHORIZED || !self.is_ours(&first) {
            return Ok(first);
        }
        let asked = first.headers.get_all(header::WWW_AUTHENTICATE);
        let asked: Vec<&str> = asked
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let writes = ![Method::GET, Method::HEAD].contains(&message.method);
        self.sign_in
            .answer(&asked, (self.reference, writes), &self.transport)
            .await?;
        self.transport.send(self.signed(&message), most).await
    }

    /// The message with what signs it in. Only the registry itself gets that.
    fn signed(&self, message: &Message) -> Message {
        let mut message = message.clone();
        if message.url.origin() == self.url("").origin()
            && let Some(value) = self.sign_in.value()
        {
            message.headers.insert(header::AUTHORIZATION, value);
        }
        message
    }

    fn is_ours(&self, answer: &Answer) -> bool {
        answer.url.origin() == self.url("").origin()
    }

    fn url(&self, path: &str) -> url::Url {
        let text = format!(
            "{}/v2/{}/{path}",
            self.reference.server(),
            self.reference.name
        );
        text.parse().expect("the parts of a reference are checked")
    }
}

impl Answer {
    /// A header field that is text.
    fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// # Errors
    /// Where the status is another, with what the registry says of it.
    fn expect(&self, wanted: &[StatusCode], what: &str) -> Result<()> {
        if wanted.contains(&self.status) {
            return Ok(());
        }
        let advice = match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                "; log in with `docker login` or `podman login`, and check what the login may do"
            }
            StatusCode::NOT_FOUND => "; check the name and the tag",
            _ => "",
        };
        bail!(
            "the registry refuses {what}: {}{}{advice}",
            self.status,
            said(&self.headers, &self.body)
        )
    }
}

/// What a registry says of an error, by the distribution API.
fn said(headers: &HeaderMap, body: &[u8]) -> String {
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    let document: serde_json::Value = match serde_json::from_slice(body) {
        Ok(document) if is_json => document,
        _ => return String::new(),
    };
    let first = &document["errors"][0];
    let text = first["message"]
        .as_str()
        .or(first["code"].as_str())
        .unwrap_or_default();
    // It goes to a terminal.
    let text: String = text
        .chars()
        .filter(|char| !char.is_control())
        .take(200)
        .collect();
    if text.is_empty() {
        text
    } else {
        format!(" ({text})")
    }
}
