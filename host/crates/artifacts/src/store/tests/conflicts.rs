//! Changes of the same artifact or model at the same time.

use futures_util::future::join_all;

use super::*;

/// A content that is cut in two, and what happens between.
struct Between<'a> {
    store: &'a Artifacts,
    parts: Vec<Bytes>,
}

impl ByteSource for Between<'_> {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>>> {
        Box::pin(async {
            if self.parts.len() == 1 {
                self.store.clear(&place(1).model).await.unwrap();
            }
            Ok(self.parts.pop())
        })
    }
}

fn is_gone<T>(answer: Answer<T>) -> bool {
    answer.is_err_and(|error| {
        let error = refused(error);
        (error.kind(), error.field()) == (ErrorKind::NotFound, Some("upload"))
    })
}

#[tokio::test]
async fn what_was_cleared_does_not_come_back() {
    let site = TempDir::new().unwrap();
    let (content, model) = (content(), place(1).model);
    for store in [on_disk(&site), in_memory(&site)] {
        upload(&store, 2, b"there").await;
        let other = NewUpload {
            place: ArtifactPlace {
                model: Name::new("digits2").unwrap(),
                ..place(1)
            },
            ..new(1, b"x")
        };
        whole(&store, other.clone(), b"x").await.unwrap();

        let waits = store.begin(new(1, b"12")).await.unwrap();
        store.append(&waits, 0, &mut pieces(b"1")).await.unwrap();
        store.clear(&model).await.unwrap();
        assert!(is_gone(store.append(&waits, 1, &mut pieces(b"2")).await));

        let under_way = store.begin(new(1, &content)).await.unwrap();
        let (first, last) = content.split_at(2_000_000);
        let mut between = Between {
            store: &store,
            parts: [last, first].map(Bytes::copy_from_slice).into(),
        };
        assert!(is_gone(store.append(&under_way, 0, &mut between).await));

        // Whole, and not entered yet.
        let held = store.0.contents.lock(digest_of(b"12")).await;
        let finishing = store.begin(new(1, b"12")).await.unwrap();
        let mut part = pieces(b"12");
        let path = store.0.spool.content(&finishing.id);
        let (finished, ()) = tokio::join!(store.append(&finishing, 0, &mut part), async {
            while fs::metadata(&path).unwrap().len() < 2 {
                tokio::task::yield_now().await;
            }
            store.clear(&model).await.unwrap();
            drop(held);
        });
        assert!(is_gone(finished));

        assert!(store.list(&model).await.unwrap().is_empty());
        assert!(store.uploads(&model).await.unwrap().is_empty());
        assert_eq!(store.list(&other.place.model).await.unwrap().len(), 1);
        store.clear(&other.place.model).await.unwrap();
    }
}

#[tokio::test]
async fn of_many_who_make_or_replace_an_artifact_one_does() {
    let site = TempDir::new().unwrap();
    for store in [on_disk(&site), in_memory(&site)] {
        let mut there = None;
        for round in 0..5 {
            let contents: Vec<_> = (0..6).map(|one| vec![round, one]).collect();
            let only_if = there.map_or(Precondition::Absent, Precondition::Is);
            let uploads = contents.iter().map(|content| {
                let new = NewUpload {
                    only_if,
                    ..new(1, content)
                };
                whole(&store, new, content)
            });
            let answers = join_all(uploads).await;
            let stored: Vec<_> = answers.iter().flatten().collect();
            let listed = store.list(&place(1).model).await.unwrap();
            assert_eq!((stored.len(), listed.len()), (1, 1), "{answers:?}");
            assert_eq!(*stored[0], listed[0]);
            let failed = |answer: &Answer<Artifact>| {
                matches!(answer, Err(ArtifactError::PreconditionFailed(_)))
            };
            assert_eq!(answers.iter().filter(|answer| failed(answer)).count(), 5);
            there = Some(listed[0].digest);
        }
        let other = Precondition::Is(digest_of(b"other"));
        let error = store.remove(&place(1), other).await.unwrap_err();
        assert!(matches!(error, ArtifactError::PreconditionFailed(_)));
        let only_if = there.map_or(Precondition::None, Precondition::Is);
        store.remove(&place(1), only_if).await.unwrap();
        assert!(store.uploads(&place(1).model).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn whoever_replaces_an_artifact_says_so_before_and_it_holds_to_the_end() {
    let site = TempDir::new().unwrap();
    let store = on_disk(&site);
    let early = store.begin(new(1, b"early")).await.unwrap();
    let there = upload(&store, 1, b"there").await;
    let unsaid = store.begin(new(1, b"late")).await;
    assert!(matches!(unsaid, Err(ArtifactError::PreconditionRequired)));
    let unsaid = store.append(&early, 0, &mut pieces(b"early")).await;
    assert!(matches!(unsaid, Err(ArtifactError::PreconditionRequired)));
    assert!(is_gone(store.upload(&place(1).model, &early.id).await));

    let said = NewUpload {
        only_if: Precondition::Is(there.digest),
        tenant: Some("acme".into()),
        ..new(1, b"late")
    };
    let late = store.begin(said.clone()).await.unwrap();
    let replaced = whole(&store, replacing(1, b"newer"), b"newer")
        .await
        .unwrap();
    // Another process reads what was said from the disk.
    let store = on_disk(&site);
    let found = store.upload(&place(1).model, &late.id).await.unwrap();
    assert_eq!(found.of, said);
    let failed = store.append(&found, 0, &mut pieces(b"late")).await;
    assert!(matches!(failed, Err(ArtifactError::PreconditionFailed(_))));
    assert_eq!(store.list(&place(1).model).await.unwrap(), [replaced]);
    assert_eq!(fs::read_dir(store.0.spool.folder()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_content_that_comes_again_is_not_swept() {
    let site = TempDir::new().unwrap();
    for store in [on_disk(&site), in_memory(&site)] {
        let artifact = upload(&store, 1, b"again").await;
        store.clear(&place(1).model).await.unwrap();
        let old = store.0.blobs.older(Duration::ZERO).await.unwrap();
        // It is being stored, and has no entry yet.
        let held = store.0.contents.lock(artifact.digest).await;
        store.remove_unused(old.clone()).await.unwrap();
        drop(held);
        // It was stored anew.
        let file = site.path().join("again");
        fs::write(&file, b"again").unwrap();
        store.0.blobs.put(artifact.digest, file).await.unwrap();
        store.remove_unused(old).await.unwrap();
        // It has an entry by now.
        let old = store.0.blobs.older(Duration::ZERO).await.unwrap();
        upload(&store, 2, b"again").await;
        store.remove_unused(old).await.unwrap();
        assert_eq!(read(&store, &artifact, 0..5).await, b"again");
        store.clear(&place(1).model).await.unwrap();
        store.sweep(Duration::ZERO).await.unwrap();
        assert!(store.read(&artifact, 0..5).await.is_err());
    }
}
