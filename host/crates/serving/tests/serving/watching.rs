//! Changes that nobody announces: they are noticed, however they are made.

use std::fs;
use std::os::unix::fs::symlink;

use wharf_serving::{Config, EventKind};
use wharf_testkit::{Site, eventually};

use crate::harness::{Harness, watching};

fn site() -> Site {
    let site = Site::new();
    site.model("sum", 1, "add 1");
    site.plugin("tens", "scale 10");
    site.route("sum", "model = 'sum'\npre = ['tens']\npost = ['tens']");
    site
}

impl Harness {
    /// Waits until a route answers 1 with this.
    async fn answers(&self, route: &str, answer: &str) {
        let (mut last, mut generation) = (self.ask(route, "1").await, 0);
        while last != answer {
            eventually(&format!("{answer} instead of {last}"), || {
                let now = self.serving.snapshot().generation();
                std::mem::replace(&mut generation, now) != now
            })
            .await;
            last = self.ask(route, "1").await;
        }
    }
}

#[tokio::test]
async fn renames_and_writes_in_place_are_noticed() {
    let harness = Harness::start(site(), watching()).await;
    harness.site.plugin("tens", "scale 2");
    harness.answers("sum", "6").await;
    harness.site.write("plugins/tens.wasm", "scale 3\nend\n");
    harness.answers("sum", "12").await;
    harness.site.model("sum", 2, "add 2");
    harness.answers("sum", "15").await;
    harness.site.write(
        "routes/sum.toml",
        "model = 'sum'\npre = ['tens']\npost = ['tens']\nversion = 2\ntimeout_ms = 77",
    );
    eventually("the route changes", || {
        let snapshot = harness.serving.snapshot();
        snapshot.route("sum").unwrap().timeout().as_millis() == 77
    })
    .await;
    assert!(harness.errors().is_empty());
    harness.serving.shutdown().await;
}

#[tokio::test]
async fn a_config_map_swap_is_noticed() {
    let site = site();
    site.remove("plugins/tens.wasm");
    let plugins = site.path().join("plugins");
    let fill = |folder: &str, script: &str| {
        fs::create_dir_all(plugins.join(folder)).unwrap();
        fs::write(plugins.join(folder).join("tens.wasm"), script).unwrap();
    };
    fill("..2026_01", "scale 2\nend");
    symlink("..2026_01", plugins.join("..data")).unwrap();
    symlink("..data/tens.wasm", plugins.join("tens.wasm")).unwrap();
    let harness = Harness::start(site, watching()).await;
    harness.answers("sum", "6").await;
    fill("..2026_02", "scale 3\nend");
    symlink("..2026_02", plugins.join("..data_tmp")).unwrap();
    fs::rename(plugins.join("..data_tmp"), plugins.join("..data")).unwrap();
    fs::remove_dir_all(plugins.join("..2026_01")).unwrap();
    harness.answers("sum", "12").await;
    assert!(harness.errors().is_empty());
}

#[tokio::test]
async fn what_editors_leave_is_ignored() {
    let harness = Harness::start(site(), watching()).await;
    let loads = harness.plugins.loads();
    for name in [
        "tens.wasm~",
        ".tens.wasm.swp",
        "tens.wasm.bak",
        "#tens.wasm#",
        "4913",
    ] {
        harness
            .site
            .write(&format!("plugins/{name}"), "scale 9\nend");
        harness
            .site
            .write(&format!("routes/{name}"), "scale 9\nend");
    }
    harness.site.write("models/notes.txt", "hello");
    // What is put after them shows that they were looked at.
    harness.site.plugin("new", "scale 1");
    eventually("the new plugin", || {
        harness.serving.snapshot().plugins().count() == 2
    })
    .await;
    assert_eq!(harness.plugins.loads(), loads + 1);
    assert!(harness.errors().is_empty());
}

#[tokio::test]
async fn a_half_copied_file_is_served_when_it_is_whole() {
    let harness = Harness::start(site(), watching()).await;
    harness.site.write("plugins/tens.wasm", "scale 2\n");
    eventually("it is refused", || {
        harness.happened(EventKind::Refused, "plugins/tens.wasm") == 1
    })
    .await;
    assert_eq!(harness.ask("sum", "1").await, "110");
    harness.site.write("plugins/tens.wasm", "scale 2\nend\n");
    harness.answers("sum", "6").await;
    eventually("the error is gone", || harness.errors().is_empty()).await;
}

#[tokio::test]
async fn a_folder_that_is_removed_and_made_again_is_watched() {
    let harness = Harness::start(site(), watching()).await;
    harness.site.remove("models");
    eventually("the route goes", || {
        harness.serving.snapshot().route("sum").is_none()
    })
    .await;
    harness.site.model("sum", 5, "add 5");
    eventually("the route returns", || {
        harness.serving.snapshot().route("sum").is_some()
    })
    .await;
    harness.site.model("sum", 6, "add 6");
    harness.answers("sum", "160").await;
}

#[tokio::test]
async fn what_no_event_reports_is_found_by_looking() {
    let config = Config {
        rescan_ms: 100,
        ..watching()
    };
    let harness = Harness::start(site(), config).await;
    // Another folder in the place of the site: the watch is on the one that was there.
    let (path, aside) = (
        harness.site.path(),
        harness.site.path().with_extension("aside"),
    );
    fs::rename(path, &aside).unwrap();
    harness.site.model("sum", 9, "add 9");
    harness.site.plugin("tens", "scale 10");
    harness
        .site
        .route("sum", "model = 'sum'\npre = ['tens']\npost = ['tens']");
    harness.answers("sum", "190").await;
    fs::remove_dir_all(&aside).unwrap();
}

#[tokio::test]
async fn looking_is_cheap_where_nothing_changed() {
    let config = Config {
        rescan_ms: 100,
        ..watching()
    };
    let site = site();
    // A time in the future proves nothing, so that each look reads this one.
    site.plugin("unproven", "scale 1");
    let file = fs::File::open(site.path().join("plugins/unproven.wasm")).unwrap();
    let future = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    file.set_modified(future).unwrap();
    // Longer than the grain of the times of files: then equal times prove equal content.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let harness = Harness::start(site, config).await;
    let looks = harness.engine.looks();
    let reads = harness.plugins.reads();
    eventually("there are some looks", || {
        harness.plugins.reads() > reads + 2
    })
    .await;
    assert_eq!(harness.engine.looks(), looks);
    assert_eq!(harness.plugins.loads(), 2);
}

#[tokio::test]
async fn the_program_is_told_of_its_settings() {
    let site = site();
    site.put("wharf.toml", "a = 1");
    let harness = Harness::start(site, watching()).await;
    let mut changed = harness.serving.site_config_changed();
    assert!(!changed.has_changed().unwrap());
    harness.site.put("wharf.toml", "a = 2");
    changed.changed().await.unwrap();
    assert_eq!(&**changed.borrow_and_update(), "a = 2");
}
