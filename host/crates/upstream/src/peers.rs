//! Opens upstreams: the port of core, implemented.

use std::path::{Component, Path};
use std::sync::Arc;

use opentelemetry::metrics::Meter;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use wharf_core::{
    Changed, Digest, LoadError, SiteFile, Upstream, UpstreamFile, UpstreamRelease, Upstreams,
};

use crate::connection::Secured;
use crate::metrics::Instruments;
use crate::opened::Opened;
use crate::peer::Peer;
use crate::settings::{Address, Settings, file_of};
use crate::tls::{MAX_FILE_BYTES, Roots};

/// What all upstreams share: the machine's authorities and the instruments. Connections they do not.
pub struct Peers {
    instruments: Instruments,
    roots: Roots,
}

impl Peers {
    /// Makes what opens upstreams.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        Self {
            instruments: Instruments::new(meter),
            roots: Roots::default(),
        }
    }

    fn secured(
        &self,
        settings: &Settings,
        files: &[SiteFile],
    ) -> Result<Option<Secured>, (&'static str, String)> {
        if !settings.addresses.iter().any(Address::is_secure) {
            return Ok(None);
        }
        Ok(Some(Secured {
            config: settings.tls.config(&self.roots, files)?,
            name: settings.tls.name()?,
        }))
    }
}

impl Upstreams for Peers {
    fn read(&self, file: &UpstreamFile) -> Result<UpstreamRelease, LoadError> {
        let settings = Settings::parse(&file.name, &file.text)?;
        let files: Arc<[SiteFile]> = settings
            .files()
            .map(|path| read_file(&file.site, path))
            .collect();
        Ok(UpstreamRelease {
            name: file.name.clone(),
            digest: digest(&file.text, &files),
            settings: Arc::clone(&file.text),
            files,
            tenants: settings.tenants,
        })
    }

    fn open(
        &self,
        release: &UpstreamRelease,
        changed: Changed,
    ) -> Result<Arc<dyn Upstream>, LoadError> {
        let settings = Settings::parse(&release.name, &release.settings)?;
        let tls = self
            .secured(&settings, &release.files)
            .map_err(|(key, what)| LoadError::new(file_of(&release.name), what).with_key(key))?;
        let peer = Peer::new(settings, tls, &self.instruments);
        let runtime = Handle::current();
        let _entered = runtime.enter();
        let opened = Opened::new(peer, release.digest, changed);
        runtime.block_on(opened.asked());
        Ok(Arc::new(opened))
    }
}

/// Reads a file that the settings name. What is wrong with it is said when the upstream is opened, so that its coming is a change.
fn read_file(site: &Path, path: &str) -> SiteFile {
    let content = content(site, path);
    let digest = content.as_ref().ok().map(|content| {
        let digest: [u8; 32] = Sha256::digest(content).into();
        Digest::new(digest)
    });
    SiteFile {
        path: path.into(),
        content: content.map_err(Arc::from),
        digest,
    }
}

fn content(site: &Path, path: &str) -> Result<Arc<[u8]>, String> {
    use std::io::Read as _;
    let leads_out = Path::new(path)
        .components()
        .any(|part| part == Component::ParentDir);
    if leads_out {
        return Err("leads out of the site; write an absolute path where that is meant".to_owned());
    }
    // Joined with an absolute path, it is that one.
    let path = site.join(path);
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let metadata = std::fs::metadata(&path).map_err(cannot)?;
    // Reading a pipe would wait for ever.
    if !metadata.is_file() {
        return Err("is no regular file".to_owned());
    }
    let mut content = Vec::new();
    std::fs::File::open(&path)
        .map_err(cannot)?
        .take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut content)
        .map_err(cannot)?;
    match content.len() > MAX_FILE_BYTES {
        true => Err(format!("is larger than {MAX_FILE_BYTES} bytes")),
        false => Ok(content.into()),
    }
}

/// The digest of the settings and of what they name.
fn digest(text: &str, files: &[SiteFile]) -> Digest {
    let mut sha256 = Sha256::new();
    sha256.update((text.len() as u64).to_le_bytes());
    sha256.update(text);
    for file in files {
        sha256.update((file.path.len() as u64).to_le_bytes());
        sha256.update(&*file.path);
        match &file.digest {
            Some(digest) => sha256.update(digest.as_bytes()),
            None => sha256.update([0]),
        }
    }
    Digest::new(sha256.finalize().into())
}
