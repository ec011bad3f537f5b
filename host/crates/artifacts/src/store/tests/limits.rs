//! How many uploads there may be, and how much room they find.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

#[tokio::test]
async fn limits_are_kept() {
    let site = TempDir::new().unwrap();
    let config = Config {
        max_bytes: 10,
        max_total_bytes: 15,
        max_uploads: 2,
        ..Config::default()
    };
    let store = Artifacts::open(config, site.path()).unwrap();
    let error = store.begin(new(1, b"12345678901")).await.unwrap_err();
    assert_eq!(refused(error).kind(), ErrorKind::TooLarge);
    upload(&store, 1, b"1234567890").await;
    // The same content counts once.
    upload(&store, 2, b"1234567890").await;
    let error = store.begin(new(3, b"123456")).await.unwrap_err();
    let error = refused(error);
    assert_eq!(error.kind(), ErrorKind::NoRoom);
    assert!(error.message().contains("max_total_bytes"), "{error}");
    // Also where all of them come at the same time.
    let (one, two, three) = tokio::join!(
        store.begin(new(3, b"1")),
        store.begin(new(3, b"2")),
        store.begin(new(3, b"3")),
    );
    let begun = [one, two, three];
    assert_eq!(begun.iter().flatten().count(), 2);
    let error = begun.into_iter().find_map(Result::err).unwrap();
    assert_eq!(refused(error).kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_tenant_has_a_part_of_the_uploads() {
    let site = TempDir::new().unwrap();
    let config = Config {
        max_uploads_per_tenant: 2,
        ..Config::default()
    };
    let store = Artifacts::open(config, site.path()).unwrap();
    let of = |tenant: &str| NewUpload {
        tenant: Some(tenant.into()),
        ..new(1, b"1")
    };
    let begun = store.begin(of("acme")).await.unwrap();
    store.begin(of("acme")).await.unwrap();
    let error = store.begin(of("acme")).await.unwrap_err();
    assert_eq!(refused(error).kind(), ErrorKind::QuotaExceeded);
    store.begin(of("globex")).await.unwrap();
    store.begin(new(1, b"1")).await.unwrap();
    store.abandon(&begun).await.unwrap();
    store.begin(of("acme")).await.unwrap();
    assert_eq!(store.uploads(&place(1).model).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_full_disk_is_said_before_and_while_an_upload_comes() {
    let site = TempDir::new().unwrap();
    let free = Arc::new(AtomicU64::new(1_000));
    let mut store = on_disk(&site);
    let there = Arc::clone(&free);
    let asked = move |_: &Path| -> io::Result<u64> { Ok(there.load(Ordering::SeqCst)) };
    Arc::get_mut(&mut store.0).unwrap().room = Room::with(100, Arc::new(asked));
    let error = store.begin(new(1, &[0; 901])).await.unwrap_err();
    assert_eq!(refused(error).kind(), ErrorKind::NoRoom);
    let begun = store.begin(new(1, &[0; 900])).await.unwrap();
    // What was announced counts, although it is not there yet.
    let error = store.begin(new(2, &[0; 1])).await.unwrap_err();
    assert_eq!(refused(error).kind(), ErrorKind::NoRoom);
    free.store(150, Ordering::SeqCst);
    let error = store
        .append(&begun, 0, &mut pieces(&[0; 900]))
        .await
        .unwrap_err();
    assert_eq!(refused(error).kind(), ErrorKind::NoRoom);
    free.store(10_000, Ordering::SeqCst);
    let whole = store
        .append(&begun, 0, &mut pieces(&[0; 900]))
        .await
        .unwrap();
    let Appended::Whole(artifact) = whole else {
        panic!("it is whole");
    };
    free.store(0, Ordering::SeqCst);
    let file = site.path().join("fetched");
    let error = store.fetch(&artifact, &file).await.unwrap_err();
    assert_eq!(refused(error).kind(), ErrorKind::NoRoom);
    assert!(!file.exists());
}
