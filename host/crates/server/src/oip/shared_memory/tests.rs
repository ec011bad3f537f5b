use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// An object that goes with the test.
struct Object(String);

impl Object {
    fn new(content: &[u8]) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let object = Self(format!("wharf-test-{}-{number}", std::process::id()));
        fs::write(object.path(), content).unwrap();
        object
    }

    fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.0)
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.path());
    }
}

fn registry(max: usize) -> SharedMemory {
    SharedMemory::new(Arc::new(BodyBudget::new(max)), max)
}

fn region(name: &str, offset: u64, byte_size: u64) -> Region {
    Region {
        name: name.to_owned(),
        offset,
        byte_size,
    }
}

#[test]
fn a_part_of_a_region_is_read_and_written() {
    let object = Object::new(b"0123456789");
    let memory = registry(100);
    let key = format!("/{}", object.0);
    memory.register(&region("r", 2, 8), &key).unwrap();
    assert_eq!(memory.read(&region("r", 1, 3)).unwrap(), "345");
    memory.write(&region("r", 0, 4), b"ab").unwrap();
    assert_eq!(fs::read(object.path()).unwrap(), b"01ab456789");
    let status = memory.status(Some("r")).unwrap();
    assert_eq!((status[0].offset, status[0].byte_size), (2, 8));
    assert_eq!(status[0].key, key);
    memory.unregister(Some("r"));
    memory.unregister(Some("r"));
    assert!(memory.status(None).unwrap().is_empty());
    let error = memory.status(Some("r")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn what_is_not_inside_is_refused() {
    let object = Object::new(&[0; 10]);
    let memory = registry(100);
    for (offset, size) in [
        (0, 11),
        (10, 1),
        (0, 0),
        (u64::MAX, 1),
        (1, u64::MAX),
        (1 << 63, 1),
    ] {
        let error = memory
            .register(&region("r", offset, size), &object.0)
            .unwrap_err();
        assert_eq!(error.field(), Some("byte_size"), "{offset} {size}");
    }
    memory.register(&region("r", 2, 8), &object.0).unwrap();
    for (offset, size) in [(0, 9), (8, 1), (u64::MAX, 2), (2, u64::MAX)] {
        let part = region("r", offset, size);
        assert_eq!(memory.read(&part).unwrap_err().field(), Some(FIELD));
        assert_eq!(memory.write(&part, b"x").unwrap_err().field(), Some(FIELD));
    }
    let error = memory.write(&region("r", 0, 2), b"abc").unwrap_err();
    assert!(error.message().contains("3 bytes"), "{error}");
    assert_eq!(
        memory.read(&region("other", 0, 1)).unwrap_err().field(),
        Some(FIELD)
    );
}

#[test]
fn an_object_that_is_cut_short_is_an_error() {
    let object = Object::new(&[7; 10_000]);
    let memory = registry(100_000);
    memory.register(&region("r", 0, 10_000), &object.0).unwrap();
    let shorter = OpenOptions::new().write(true).open(object.path()).unwrap();
    shorter.set_len(5000).unwrap();
    let error = memory.read(&region("r", 0, 10_000)).unwrap_err();
    assert!(error.message().contains("shorter"), "{error}");
    assert!(memory.write(&region("r", 4999, 2), b"ab").is_err());
    assert_eq!(size(&shorter).unwrap(), 5000);
    assert_eq!(memory.read(&region("r", 0, 5000)).unwrap().len(), 5000);
}

#[test]
fn keys_that_leave_the_folder_are_refused() {
    let memory = registry(100);
    let long = "x".repeat(256);
    for key in [
        "",
        "/",
        ".",
        "..",
        "/..",
        "//x",
        "a/b",
        "../etc/passwd",
        "/../etc/passwd",
        "a\0b",
        &long,
    ] {
        let error = memory.register(&region("r", 0, 1), key).unwrap_err();
        assert_eq!(error.field(), Some("key"), "{key:?}");
        assert!(!error.message().contains("/dev"), "{error}");
    }
    let error = memory
        .register(&region("r", 0, 1), "wharf-test-none")
        .unwrap_err();
    assert!(error.message().contains("make it first"), "{error}");
}

#[test]
fn links_and_folders_are_no_objects() {
    let object = Object::new(b"secret");
    let link = Object(format!("{}-link", object.0));
    std::os::unix::fs::symlink(object.path(), link.path()).unwrap();
    let memory = registry(100);
    assert!(memory.register(&region("r", 0, 1), &link.0).is_err());
    let folder = Path::new(FOLDER).join(format!("{}-folder", object.0));
    fs::create_dir(&folder).unwrap();
    let refused = memory.register(&region("r", 0, 1), &format!("{}-folder", object.0));
    fs::remove_dir(&folder).unwrap();
    assert_eq!(refused.unwrap_err().field(), Some("key"));
}

#[test]
fn names_are_taken_once_and_are_not_endless() {
    let object = Object::new(b"x");
    let memory = registry(100);
    for name in ["", "a\nb", &"x".repeat(256)] {
        let error = memory.register(&region(name, 0, 1), &object.0).unwrap_err();
        assert_eq!(error.field(), Some("name"), "{name:?}");
    }
    for number in 0..MAX_REGIONS {
        memory
            .register(&region(&format!("r{number}"), 0, 1), &object.0)
            .unwrap();
    }
    let error = memory.register(&region("r0", 0, 1), &object.0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let error = memory
        .register(&region("one more", 0, 1), &object.0)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    memory.unregister(None);
    memory.register(&region("r0", 0, 1), &object.0).unwrap();
}

#[test]
fn what_is_read_counts_until_it_is_dropped() {
    let object = Object::new(&[1; 100]);
    let memory = registry(100);
    memory.register(&region("r", 0, 100), &object.0).unwrap();
    let kept = memory.read(&region("r", 0, 60)).unwrap();
    let slice = kept.slice(1..2);
    drop(kept);
    let error = memory.read(&region("r", 0, 50)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    drop(slice);
    assert_eq!(memory.read(&region("r", 0, 50)).unwrap().len(), 50);
    let small = registry(99);
    small.register(&region("r", 0, 100), &object.0).unwrap();
    let error = small.read(&region("r", 0, 100)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}
