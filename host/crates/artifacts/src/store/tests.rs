use std::fs;
use std::time::SystemTime;

use bytes::Bytes;
use object_store::memory::InMemory;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use wharf_core::{ArtifactKind, Error, ErrorKind, Result};

use super::*;

mod conflicts;
mod limits;

/// Pieces that come, and what comes after them.
struct Pieces(Vec<Bytes>, Option<ErrorKind>);

impl ByteSource for Pieces {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>>> {
        let next = if self.0.is_empty() {
            match self.1 {
                Some(kind) => Err(Error::new(kind, "broken off")),
                None => Ok(None),
            }
        } else {
            Ok(Some(self.0.remove(0)))
        };
        Box::pin(std::future::ready(next))
    }
}

fn pieces(content: &[u8]) -> Pieces {
    let pieces = content.chunks(700_000).map(Bytes::copy_from_slice);
    Pieces(pieces.collect(), None)
}

fn digest_of(content: &[u8]) -> Digest {
    Digest::new(Sha256::digest(content).into())
}

fn place(version: u64) -> ArtifactPlace {
    ArtifactPlace {
        model: Name::new("digits").unwrap(),
        version,
        file: Name::new("model.onnx").unwrap(),
    }
}

fn new(version: u64, content: &[u8]) -> NewUpload {
    NewUpload {
        place: place(version),
        kind: ArtifactKind::Weights,
        size: content.len() as u64,
        digest: digest_of(content),
        only_if: Precondition::None,
        tenant: None,
    }
}

/// An upload that replaces what is there.
fn replacing(version: u64, content: &[u8]) -> NewUpload {
    NewUpload {
        only_if: Precondition::Present,
        ..new(version, content)
    }
}

/// Some megabytes that differ.
fn content() -> Vec<u8> {
    (0..3_000_000_u32)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

fn on_disk(site: &TempDir) -> Artifacts {
    Artifacts::open(Config::default(), site.path()).unwrap()
}

fn in_memory(site: &TempDir) -> Artifacts {
    let spool = site.path().join("uploads");
    fs::create_dir_all(&spool).unwrap();
    let config = Config::default();
    let room = Room::new(config.min_free_bytes);
    let place = Place {
        objects: Arc::new(InMemory::new()),
        folder: None,
        spool,
    };
    Artifacts::with(config, place, room)
}

async fn upload(store: &Artifacts, version: u64, content: &[u8]) -> Artifact {
    whole(store, new(version, content), content).await.unwrap()
}

async fn whole(store: &Artifacts, new: NewUpload, content: &[u8]) -> Answer<Artifact> {
    let upload = store.begin(new).await?;
    match store.append(&upload, 0, &mut pieces(content)).await? {
        Appended::Whole(artifact) => Ok(artifact),
        Appended::Partial(upload) => panic!("not whole: {upload:?}"),
    }
}

async fn read(store: &Artifacts, artifact: &Artifact, range: Range<u64>) -> Vec<u8> {
    let mut source = store.read(artifact, range).await.unwrap();
    let mut content = Vec::new();
    while let Some(piece) = source.next().await.unwrap() {
        content.extend_from_slice(&piece);
    }
    content
}

fn refused(error: ArtifactError) -> Error {
    match error {
        ArtifactError::Refused(error) => error,
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn what_is_uploaded_is_read_in_ranges_and_fetched() {
    let site = TempDir::new().unwrap();
    let content = content();
    for store in [on_disk(&site), in_memory(&site)] {
        let artifact = upload(&store, 1, &content).await;
        assert_eq!(artifact.digest, digest_of(&content));
        assert_eq!(
            store.list(&place(1).model).await.unwrap(),
            std::slice::from_ref(&artifact)
        );
        assert!(read(&store, &artifact, 0..artifact.size).await == content);
        assert!(read(&store, &artifact, 5..2_000_005).await == content[5..2_000_005]);
        assert!(read(&store, &artifact, 7..7).await.is_empty());
        let file = site.path().join("fetched");
        store.fetch(&artifact, &file).await.unwrap();
        assert!(fs::read(&file).unwrap() == content);
        fs::remove_file(file).unwrap();
        store
            .remove(&artifact.place, Precondition::None)
            .await
            .unwrap();
        assert!(store.list(&place(1).model).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_upload_goes_on_after_a_torn_connection_and_a_restart() {
    let site = TempDir::new().unwrap();
    let content = content();
    let begun = on_disk(&site).begin(new(1, &content)).await.unwrap();
    let model = place(1).model;
    let mut torn = pieces(&content[..1_500_000]);
    torn.1 = Some(ErrorKind::InvalidArgument);
    let error = on_disk(&site)
        .append(&begun, 0, &mut torn)
        .await
        .unwrap_err();
    assert_eq!(refused(error).message(), "broken off");
    // As a process that was killed leaves it: another one finds what came.
    let store = on_disk(&site);
    let found = store.upload(&model, &begun.id).await.unwrap();
    assert_eq!((found.offset, &found.of), (1_500_000, &begun.of));
    for offset in [0, 1_499_999, 1_500_001] {
        let error = store.append(&found, offset, &mut pieces(b"x")).await;
        assert!(matches!(
            error,
            Err(ArtifactError::Offset { offset: 1_500_000 })
        ));
    }
    let rest = &mut pieces(&content[1_500_000..]);
    let whole = store.append(&found, 1_500_000, rest).await.unwrap();
    assert!(matches!(whole, Appended::Whole(artifact) if artifact.digest == digest_of(&content)));
    let error = store.upload(&model, &begun.id).await.unwrap_err();
    assert_eq!(refused(error).kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_whole_upload_that_was_not_finished_is_finished_by_an_empty_part() {
    let site = TempDir::new().unwrap();
    let store = on_disk(&site);
    let upload = store.begin(new(1, b"content")).await.unwrap();
    fs::write(store.0.spool.content(&upload.id), b"content").unwrap();
    let whole = store.append(&upload, 7, &mut pieces(b"")).await.unwrap();
    assert!(matches!(whole, Appended::Whole(_)));
}

#[tokio::test]
async fn what_is_not_what_it_was_said_to_be_is_refused() {
    let site = TempDir::new().unwrap();
    let store = on_disk(&site);
    let wrong = store.begin(new(1, b"right")).await.unwrap();
    let error = store
        .append(&wrong, 0, &mut pieces(b"wrong"))
        .await
        .unwrap_err();
    let error = refused(error);
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::Unprocessable, Some("digest"))
    );
    assert!(store.list(&place(1).model).await.unwrap().is_empty());
    let error = store.upload(&place(1).model, &wrong.id).await.unwrap_err();
    assert_eq!(refused(error).field(), Some("upload"));

    let more = store.begin(new(1, b"12345")).await.unwrap();
    let error = store
        .append(&more, 0, &mut pieces(b"123456"))
        .await
        .unwrap_err();
    assert_eq!(refused(error).field(), Some("body"));
    // It is still there, and can go on.
    let whole = store.append(&more, 0, &mut pieces(b"12345")).await.unwrap();
    assert!(matches!(whole, Appended::Whole(_)));

    let other = store.begin(new(2, b"x")).await.unwrap();
    let error = store.upload(&Name::new("faces").unwrap(), &other.id).await;
    assert_eq!(refused(error.unwrap_err()).kind(), ErrorKind::NotFound);
    store.abandon(&other).await.unwrap();
    assert_eq!(fs::read_dir(store.0.spool.folder()).unwrap().count(), 0);
}

#[tokio::test]
async fn two_requests_do_not_write_to_one_upload() {
    let site = TempDir::new().unwrap();
    let store = on_disk(&site);
    let upload = store.begin(new(1, b"x")).await.unwrap();
    let busy = store.0.busy.try_lock(upload.id.clone()).unwrap();
    let error = store
        .append(&upload, 0, &mut pieces(b"x"))
        .await
        .unwrap_err();
    assert_eq!(refused(error).kind(), ErrorKind::Conflict);
    let error = store.abandon(&upload).await.unwrap_err();
    assert_eq!(refused(error).kind(), ErrorKind::Conflict);
    drop(busy);
    store.abandon(&upload).await.unwrap();
}

#[tokio::test]
async fn what_nobody_needs_goes() {
    let site = TempDir::new().unwrap();
    let store = on_disk(&site);
    let (one, two) = (
        upload(&store, 1, b"one").await,
        upload(&store, 2, b"two").await,
    );
    upload(&store, 3, b"one").await;
    let idle = store.begin(new(4, b"idle")).await.unwrap();
    let content = fs::File::options()
        .append(true)
        .open(store.0.spool.content(&idle.id));
    let long_ago = SystemTime::now() - Duration::from_secs(100_000);
    content.unwrap().set_modified(long_ago).unwrap();
    for place in [&one.place, &two.place] {
        store.remove(place, Precondition::None).await.unwrap();
    }
    store.sweep(GRACE).await.unwrap();
    assert_eq!(
        read(&store, &two, 0..3).await,
        b"two",
        "it may be about to be used"
    );
    store.sweep(Duration::ZERO).await.unwrap();
    assert_eq!(
        read(&store, &one, 0..3).await,
        b"one",
        "another artifact has it"
    );
    let error = store.read(&two, 0..3).await.err().unwrap();
    assert_eq!(refused(error).kind(), ErrorKind::NotFound);
    assert_eq!(fs::read_dir(store.0.spool.folder()).unwrap().count(), 0);
    let error = store.upload(&place(4).model, &idle.id).await.unwrap_err();
    assert_eq!(refused(error).field(), Some("upload"));
}

#[tokio::test]
async fn an_artifact_is_replaced_whole() {
    let site = TempDir::new().unwrap();
    for store in [on_disk(&site), in_memory(&site)] {
        upload(&store, 1, b"old").await;
        let new = replacing(1, b"newer");
        let new = whole(&store, new, b"newer").await.unwrap();
        assert_eq!(
            store.list(&place(1).model).await.unwrap(),
            std::slice::from_ref(&new)
        );
        assert_eq!(read(&store, &new, 0..5).await, b"newer");
    }
}

#[test]
fn wrong_settings_are_named() {
    let site = TempDir::new().unwrap();
    let with = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        match Artifacts::open(config, site.path()).err() {
            Some(OpenError::Setting { key, .. }) => key,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(with(|config| config.max_bytes = 0), "max_bytes");
    assert_eq!(with(|config| config.max_total_bytes = 1), "max_total_bytes");
    assert_eq!(with(|config| config.max_uploads = 0), "max_uploads");
    assert_eq!(
        with(|config| config.max_uploads_per_tenant = 0),
        "max_uploads_per_tenant"
    );
    assert_eq!(with(|config| config.upload_idle_s = 1), "upload_idle_s");
    assert_eq!(
        with(|config| config.url = Some("ftp://a/b".to_owned())),
        "url"
    );
    assert_eq!(
        with(|config| config.url = Some("nowhere".to_owned())),
        "url"
    );
    let folder = site.path().join("elsewhere");
    let config = Config {
        url: Some(format!("file://{}", folder.display())),
        ..Config::default()
    };
    Artifacts::open(config, site.path()).unwrap();
    assert!(!folder.exists() && !site.path().join(".artifacts").exists());
}
