use notify::event::{CreateKind, DataChange, Flag, RemoveKind};

use super::*;

const SITE: &str = "/a/.staging/site";
const DEBOUNCE: Duration = Duration::from_secs(3600);

fn event(kind: EventKind, paths: &[&str]) -> notify::Result<notify::Event> {
    let mut event = notify::Event::new(kind);
    event.paths = paths
        .iter()
        .map(|path| Path::new(SITE).join(path))
        .collect();
    Ok(event)
}

const MADE: EventKind = EventKind::Create(CreateKind::File);
const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
const REMOVED: EventKind = EventKind::Remove(RemoveKind::File);

fn renamed(mode: RenameMode) -> EventKind {
    EventKind::Modify(ModifyKind::Name(mode))
}

/// What the reports come to: whether the next look waits for quiet, and what it may take as whole.
fn after(reports: &[(EventKind, &[&str])]) -> (bool, Vec<String>) {
    let changes = Changes::new(Path::new(SITE));
    for (kind, paths) in reports {
        changes.note(&event(*kind, paths));
    }
    let waits = changes.patience(DEBOUNCE) == DEBOUNCE;
    let mut whole: Vec<String> = (changes.take(DEBOUNCE).iter())
        .map(|path| path.strip_prefix(SITE).unwrap().display().to_string())
        .collect();
    whole.sort();
    (waits, whole)
}

fn whole(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

#[test]
fn what_we_stage_or_read_is_no_change() {
    let site = Path::new(SITE);
    let noticed = |kind: EventKind, paths: &[&str]| matters(&event(kind, paths), site);
    assert!(noticed(MADE, &["models/a/1"]));
    assert!(noticed(MADE, &["models/.staging/1"]));
    assert!(noticed(MADE, &[]));
    assert!(!noticed(MADE, &[".staging"]));
    assert!(!noticed(MADE, &[".staging/7-a/models/a/1/model.onnx"]));
    let moved = renamed(RenameMode::Both);
    assert!(noticed(moved, &[".staging/7-a/models/a/1", "models/a/1"]));
    let read = EventKind::Access(AccessKind::Open(AccessMode::Read));
    assert!(!noticed(read, &["models/a/1"]));
    assert!(noticed(CLOSED, &["models/a/1/model.onnx"]));
    let lost = notify::Event::new(EventKind::Other).set_flag(Flag::Rescan);
    assert!(matters(&Ok(lost), site));
    assert!(matters(&Err(notify::Error::generic("lost")), site));
}

#[test]
fn a_file_that_was_closed_is_whole() {
    let file: &[&str] = &["plugins/a.wasm"];
    assert_eq!(after(&[(MADE, file)]), (true, whole(&[])));
    assert_eq!(after(&[(MADE, file), (WRITTEN, file)]), (true, whole(&[])));
    let copied = [(MADE, file), (WRITTEN, file), (CLOSED, file)];
    assert_eq!(after(&copied), (false, whole(file)));
    // It is written again.
    let again = [&copied[..], &[(WRITTEN, file)]].concat();
    assert_eq!(after(&again), (true, whole(&[])));
    // An editor's own file beside it stays open.
    let editor = [&copied[..], &[(MADE, &["plugins/.a.wasm.swp"])]].concat();
    assert_eq!(after(&editor), (false, whole(file)));
    // Its settings are not closed yet.
    let settings: &[&str] = &["plugins/a.toml"];
    let both = [&copied[..], &[(MADE, settings)]].concat();
    assert_eq!(after(&both), (true, whole(file)));
    let both = [&both[..], &[(CLOSED, settings)]].concat();
    assert_eq!(
        after(&both),
        (false, whole(&["plugins/a.toml", "plugins/a.wasm"]))
    );
}

#[test]
fn a_file_that_was_renamed_into_its_place_is_whole() {
    let from_outside = (renamed(RenameMode::To), &["routes/r.toml"][..]);
    assert_eq!(after(&[from_outside]), (false, whole(&["routes/r.toml"])));
    let ends: &[&str] = &["plugins/.a.part", "plugins/a.wasm"];
    let within = [
        (MADE, &ends[..1]),
        (CLOSED, &ends[..1]),
        (renamed(RenameMode::From), &ends[..1]),
        (renamed(RenameMode::To), &ends[1..]),
        (renamed(RenameMode::Both), ends),
    ];
    assert_eq!(after(&within), (false, whole(&ends[1..])));
}

#[test]
fn everything_else_waits_for_quiet() {
    let closed = (CLOSED, &["plugins/a.wasm"][..]);
    for other in [
        (CLOSED, &["models/m/1/model.onnx"][..]),
        (CLOSED, &["wharf.toml"]),
        (MADE, &["plugins/..data/a.wasm"]),
        (EventKind::Any, &[]),
    ] {
        assert_eq!(after(&[other]), (true, whole(&[])), "{other:?}");
        assert!(after(&[closed, other]).0, "{other:?}");
    }
    assert_eq!(after(&[(REMOVED, closed.1)]), (true, whole(&[])));
    assert_eq!(after(&[closed, (REMOVED, closed.1)]).1, whole(&[]));
}

#[test]
fn a_look_takes_what_is_new_and_forgets_what_is_old() {
    let changes = Changes::new(Path::new(SITE));
    changes.note(&event(CLOSED, &["plugins/a.wasm"]));
    assert_eq!(changes.take(DEBOUNCE).len(), 1);
    // Nothing arrived since, but the file is as young as it was.
    assert_eq!(changes.patience(DEBOUNCE), DEBOUNCE);
    assert_eq!(changes.take(DEBOUNCE).len(), 1);
    assert!(changes.take(Duration::ZERO).is_empty());
    assert!(changes.take(DEBOUNCE).is_empty());
}

#[test]
fn a_look_ahead_counts_where_nothing_changed_since() {
    let changes = Changes::new(Path::new(SITE));
    let note = |kind, path| changes.note(&event(kind, &[path]));
    note(CLOSED, "plugins/a.wasm");
    assert_eq!(changes.look_ahead(DEBOUNCE).len(), 1);
    // Its settings came meanwhile: the next look is as near as if there had been none, and has both.
    note(CLOSED, "plugins/a.toml");
    assert!(!changes.has_stayed());
    assert_eq!(changes.patience(DEBOUNCE), TOGETHER);
    assert_eq!(changes.look_ahead(DEBOUNCE).len(), 2);
    // A change of its mode is one, and nothing that quiet is waited for.
    note(
        EventKind::Modify(ModifyKind::Metadata(notify::event::MetadataKind::Any)),
        "plugins/a.wasm",
    );
    assert!(!changes.has_stayed());
    assert_eq!(changes.patience(DEBOUNCE), TOGETHER);
    assert_eq!(changes.look_ahead(DEBOUNCE).len(), 2);
    assert!(changes.has_stayed());
    assert_eq!(changes.patience(DEBOUNCE), DEBOUNCE);
}

#[tokio::test]
async fn a_change_that_a_look_has_seen_is_none_any_more() {
    let changes = Changes::new(Path::new(SITE));
    let notice = || tokio::time::timeout(Duration::from_millis(10), changes.changed());
    changes.note(&event(CLOSED, &["plugins/a.wasm"]));
    notice().await.unwrap();
    changes.note(&event(CLOSED, &["plugins/a.toml"]));
    changes.take(DEBOUNCE);
    assert!(notice().await.is_err());
    changes.note(&event(CLOSED, &["plugins/a.toml"]));
    notice().await.unwrap();
}
