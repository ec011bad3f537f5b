//! A registry, by the OCI distribution API: manifests, blobs, and the sign-in that it asks for.

mod sign_in;
mod transport;

use std::fs::File;
use std::io::Write as _;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use sha2::{Digest as _, Sha256};

use self::sign_in::SignIn;
use self::transport::{Answer, Message, Opened, Transport};
use super::{Content, Credentials, Descriptor, MANIFEST, Part, Reference, digest, written};

/// The largest manifest: what registries take.
const MANIFEST_BYTES: usize = 4 << 20;
/// The largest text of an error that is read.
const ERROR_BYTES: usize = 64 << 10;

/// One artifact's place in a registry.
pub(crate) struct Registry<'a> {
    reference: &'a Reference,
    transport: Transport,
    sign_in: SignIn,
}

impl<'a> Registry<'a> {
    /// # Errors
    /// Where this machine trusts no certificate authority.
    pub(crate) fn connect(reference: &'a Reference, credentials: Credentials) -> Result<Self> {
        Ok(Self {
            transport: Transport::open(reference.is_local())?,
            sign_in: SignIn::new(credentials),
            reference,
        })
    }

    /// Uploads a part, where the registry lacks it.
    pub(crate) async fn push_part(&mut self, part: &Part) -> Result<()> {
        let Part { digest, content } = part;
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
        place.query_pairs_mut().append_pair("digest", digest);
        let upload = Message::new(Method::PUT, place)
            .with(header::CONTENT_TYPE, "application/octet-stream")?
            .with_body(content.clone());
        let answer = self.send(upload, ERROR_BYTES).await?;
        answer.expect(&[StatusCode::CREATED], "the content")
    }

    /// Puts the manifest there, once its parts are. Gives its digest.
    pub(crate) async fn push_manifest(mut self, manifest: Bytes) -> Result<String> {
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
            .with_body(Content::Bytes(manifest));
        let answer = self.send(message, ERROR_BYTES).await?;
        answer.expect(&[StatusCode::CREATED], "the manifest")?;
        if let Some(stored) = answer.field("docker-content-digest")
            && stored != expected
        {
            bail!("the registry stored {stored} for {expected}: it changes what it is given");
        }
        Ok(expected)
    }

    /// Reads the manifest. Gives its digest, which is that of the reference where that has one.
    pub(crate) async fn manifest(&mut self) -> Result<(String, Bytes)> {
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
        Ok((manifest_digest, answer.body))
    }

    /// Reads a part, and checks it against its digest.
    pub(crate) async fn read(&mut self, part: &Descriptor, what: &str) -> Result<Bytes> {
        let size = usize::try_from(part.size).with_context(|| format!("{what} is too large"))?;
        let opened = self.open(self.part(part)).await?;
        let blob = opened.take(size.max(ERROR_BYTES)).await?;
        blob.expect(&[StatusCode::OK], what)?;
        let got = digest(&blob.body);
        undamaged(part, what, (blob.body.len() as u64, &got))?;
        Ok(blob.body)
    }

    /// Writes a part to a file piece by piece, and checks it against its digest. `progress` learns of each piece.
    pub(crate) async fn save(
        &mut self,
        part: &Descriptor,
        what: &str,
        file: &mut File,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let mut opened = self.open(self.part(part)).await?;
        if opened.status != StatusCode::OK {
            return opened
                .take(ERROR_BYTES)
                .await?
                .expect(&[StatusCode::OK], what);
        }
        let (mut size, mut sha256) = (0, Sha256::new());
        while let Some(piece) = opened.piece().await? {
            size += piece.len() as u64;
            if size > part.size {
                // Not to the end: there may be none.
                break;
            }
            sha256.update(&piece);
            file.write_all(&piece)
                .with_context(|| format!("{what} cannot be written"))?;
            progress(piece.len() as u64);
        }
        undamaged(part, what, (size, &written(&sha256.finalize())))
    }

    fn part(&self, part: &Descriptor) -> Message {
        Message::new(Method::GET, self.url(&format!("blobs/{}", part.digest)))
    }

    /// Sends a message, and once more after signing in where the registry asks for that.
    async fn send(&mut self, message: Message, most: usize) -> Result<Answer> {
        self.open(message).await?.take(most).await
    }

    async fn open(&mut self, message: Message) -> Result<Opened> {
        let first = self.transport.begin(self.signed(&message)).await?;
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
        self.transport.begin(self.signed(&message)).await
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

    fn is_ours(&self, answer: &Opened) -> bool {
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

/// # Errors
/// Where what came is not what the manifest names.
fn undamaged(part: &Descriptor, what: &str, (size, digest): (u64, &str)) -> Result<()> {
    if size == part.size && digest == part.digest {
        return Ok(());
    }
    bail!(
        "{what} came damaged: {size} bytes with {digest}, and the manifest names {} with {}",
        part.size,
        part.digest
    )
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
