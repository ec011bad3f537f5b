use std::path::Path;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;

fn policy(text: &str) -> Policy {
    let table: toml::Table = text.parse().unwrap();
    Policy::parse(&table["record"]).unwrap().unwrap()
}

fn files(bytes: usize) -> Files {
    let content = Bytes::from(vec![b'x'; bytes]);
    vec![("input.bin".to_owned(), content)]
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_oldest_goes_first() {
    let folder = TempDir::new().unwrap();
    let policy = policy("[record]\nkeep = 2");
    let mut shelf = Shelf::open(folder.path().to_owned()).unwrap();
    let put = |shelf: &mut Shelf, time, id: &str| shelf.put((time, id), &files(10), &policy);
    let first = put(&mut shelf, 1_000, "a").unwrap();
    assert_eq!(first, "0000000001000-a");
    // The same moment once more, and a clock that was set back.
    let second = put(&mut shelf, 1_000, "a").unwrap();
    let third = put(&mut shelf, 7, "b").unwrap();
    assert_eq!(names(folder.path()), [second, third]);
    // What is there counts after a start, too.
    let mut shelf = Shelf::open(folder.path().to_owned()).unwrap();
    let fourth = put(&mut shelf, 1_000, "c").unwrap();
    let kept = names(folder.path());
    assert_eq!((kept.len(), &kept[1]), (2, &fourth));
}

#[test]
fn bytes_are_bounded() {
    let folder = TempDir::new().unwrap();
    let policy = policy("[record]\nmax_kb = 1");
    let mut shelf = Shelf::open(folder.path().to_owned()).unwrap();
    for time in 0..10 {
        shelf.put((time, "a"), &files(400), &policy).unwrap();
    }
    assert_eq!((names(folder.path()).len(), shelf.bytes), (2, 800));
    shelf.put((20, "a"), &files(1000), &policy).unwrap();
    assert_eq!((names(folder.path()).len(), shelf.bytes), (1, 1000));
}

#[test]
fn what_others_put_there_stays_and_what_they_removed_is_no_error() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("mine")).unwrap();
    fs::write(folder.path().join("0000000000001-note"), "").unwrap();
    let policy = policy("[record]\nkeep = 1");
    let mut shelf = Shelf::open(folder.path().to_owned()).unwrap();
    let first = shelf.put((1, "a"), &files(1), &policy).unwrap();
    fs::remove_dir_all(folder.path().join(first)).unwrap();
    let second = shelf.put((2, "a"), &files(1), &policy).unwrap();
    assert_eq!(
        names(folder.path()),
        ["0000000000001-note", &second, "mine"]
    );
    fs::remove_dir_all(folder.path()).unwrap();
    let third = shelf.put((3, "a"), &files(1), &policy).unwrap();
    assert_eq!(names(folder.path()), [third]);
}

#[test]
fn a_name_of_no_time_is_not_ours() {
    let folder = TempDir::new().unwrap();
    let there = ["18446744073709551615-a", "9999999999999999-a"];
    for name in there {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let policy = policy("[record]\nkeep = 1");
    let mut shelf = Shelf::open(folder.path().to_owned()).unwrap();
    let first = shelf.put((1, "a"), &files(1), &policy).unwrap();
    assert_eq!(first, "0000000000001-a");
    assert_eq!(names(folder.path()), [&first, there[0], there[1]]);
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let mut shelf = Shelf::open(folder.path().to_owned()).unwrap();
    let twice = [files(1), files(1)].concat();
    let policy = policy("record = true");
    assert!(shelf.put((1, "a"), &twice, &policy).is_err());
    assert!(names(folder.path()).is_empty());
    // What an earlier process left half-written is taken away.
    fs::create_dir(folder.path().join(COMING)).unwrap();
    fs::write(folder.path().join(COMING).join("input.bin"), "old").unwrap();
    let name = shelf.put((2, "a"), &files(1), &policy).unwrap();
    assert_eq!(names(folder.path()), [name]);
}

#[test]
fn names_are_made_of_checked_text_alone() {
    for (id, expected) in [
        ("1f-00_A", "1f-00_A".to_owned()),
        ("", part_of("")),
        ("../../etc", part_of("../../etc")),
        ("a b;$(rm)", part_of("a b;$(rm)")),
        (".hidden", part_of(".hidden")),
    ] {
        let part = part_of(id);
        assert_eq!(part, expected);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        assert!(!part.is_empty() && part.bytes().all(plain), "{part}");
    }
    assert!(part_of(&"x".repeat(200)).starts_with("sha256_"));
    assert_ne!(part_of("../a"), part_of("../b"));
}

#[test]
fn recordings_are_for_the_host_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TempDir::new().unwrap();
    let plugin = folder.path().join("recordings/top-k");
    let mut shelf = Shelf::open(plugin.clone()).unwrap();
    let name = shelf
        .put((1, "a"), &files(1), &policy("record = true"))
        .unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&plugin.join(&name)), 0o700);
    assert_eq!(mode(&plugin.join(&name).join("input.bin")), 0o600);
}
