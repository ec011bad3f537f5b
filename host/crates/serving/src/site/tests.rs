use std::fs;
use std::time::SystemTime;

use wharf_core::Cancel;
use wharf_testkit::{FakeEngine, FakePluginHost, Site};

use super::*;

fn look(scanner: &mut Scanner, look: Look) -> Scan {
    let (engine, plugins) = (FakeEngine::default(), FakePluginHost::default());
    let ports = Ports {
        engine: &engine,
        plugins: &plugins,
        upstreams: None,
        cancel: &Cancel::default(),
    };
    scanner.scan(ports, look, &Whole::new())
}

/// Makes a file look so old.
fn age(site: &Site, file: &str, seconds: u64) {
    backdate(site, file, seconds);
    // The time of that change cannot be set.
    a_step_of_the_clock();
}

/// Sets the time of the last write, which is a change of now.
fn backdate(site: &Site, file: &str, seconds: u64) {
    let file = fs::File::options()
        .append(true)
        .open(site.path().join(file))
        .unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds))
        .unwrap();
}

/// The grain of the times of files passes, which is a tenth of a second at least.
fn a_step_of_the_clock() {
    std::thread::park_timeout(Duration::from_millis(300));
}

#[test]
fn what_is_being_written_is_left_alone_until_it_is_quiet() {
    let site = Site::new();
    site.plugin("a", "");
    site.route("r", "model = 'm'");
    let mut scanner = Scanner::new(site.path());
    let quiet = Look::AfterChange(Duration::from_secs(3600));
    let scan = look(&mut scanner, quiet);
    assert!(scan.unsettled);
    assert!(matches!(
        scan.plugins.found.values().next(),
        Some(Found::Held)
    ));
    assert!(matches!(
        scan.routes.found.values().next(),
        Some(Found::Held)
    ));
    for file in ["plugins/a.wasm", "routes/r.toml"] {
        age(&site, file, 7200);
    }
    let scan = look(&mut scanner, quiet);
    assert!(!scan.unsettled);
    assert!(matches!(
        scan.plugins.found.values().next(),
        Some(Found::Is(_))
    ));
    // A look from time to time takes what is there.
    site.plugin("a", "scale 2");
    assert!(!look(&mut scanner, Look::Rescan(Duration::ZERO)).unsettled);
}

#[test]
fn equal_sizes_and_times_prove_nothing_right_after_a_write() {
    let site = Site::new();
    let paths = [site.path().join("plugins/a.wasm")];
    // A write, and a copy that brings its time along.
    let changes: [&dyn Fn(); 2] = [&|| site.write("plugins/a.wasm", "scale 1\nend"), &|| {
        backdate(&site, "plugins/a.wasm", 60);
    }];
    for change in changes {
        // Now and then the clock takes its step between the change and the look.
        let proving = (0..100).filter(|_| {
            change();
            let first = Fingerprint::of(&paths);
            first.proves_same(&Fingerprint::of(&paths))
        });
        assert!(proving.count() < 50);
        a_step_of_the_clock();
        let first = Fingerprint::of(&paths);
        assert!(first.proves_same(&Fingerprint::of(&paths)));
        site.write("plugins/a.wasm", "scale 2\nend");
        assert!(!first.proves_same(&Fingerprint::of(&paths)));
    }
}

#[test]
fn what_is_no_regular_file_is_not_read() {
    let site = Site::new();
    fs::create_dir_all(site.path().join("routes/r.toml")).unwrap();
    fs::create_dir_all(site.path().join("plugins/p.wasm")).unwrap();
    let scan = look(&mut Scanner::new(site.path()), Look::Thorough);
    let files: Vec<&str> = scan
        .errors
        .iter()
        .map(|error| error.file.as_str())
        .collect();
    assert_eq!(files, ["plugins/p.wasm", "routes/r.toml"]);
}

#[test]
fn a_link_that_leads_nowhere_removes_nothing() {
    let site = Site::new();
    fs::create_dir_all(site.path().join("plugins")).unwrap();
    std::os::unix::fs::symlink("gone", site.path().join("plugins/p.wasm")).unwrap();
    let scan = look(&mut Scanner::new(site.path()), Look::Thorough);
    assert!(matches!(
        scan.plugins.found.values().next(),
        Some(Found::Refused(_))
    ));
}

#[test]
fn a_route_file_has_a_longest_length() {
    let site = Site::new();
    site.route("r", &"#".repeat(2 << 20));
    let scan = look(&mut Scanner::new(site.path()), Look::Thorough);
    let Some(Found::Refused(error)) = scan.routes.found.values().next() else {
        panic!("it is refused");
    };
    assert!(error.message.contains("longer"), "{error}");
}

#[test]
fn a_plugin_is_read_again_where_only_its_signature_changed() {
    let site = Site::new();
    site.plugin("a", "");
    site.write("plugins/a.wasm.sig", "one");
    for file in ["plugins/a.wasm", "plugins/a.wasm.sig"] {
        age(&site, file, 60);
    }
    let (engine, plugins) = (FakeEngine::default(), FakePluginHost::default());
    let ports = Ports {
        engine: &engine,
        plugins: &plugins,
        upstreams: None,
        cancel: &Cancel::default(),
    };
    let mut scanner = Scanner::new(site.path());
    scanner.scan(ports, Look::Rescan(Duration::ZERO), &Whole::new());
    scanner.scan(ports, Look::Rescan(Duration::ZERO), &Whole::new());
    assert_eq!(plugins.reads(), 1);
    site.write("plugins/a.wasm.sig", "two");
    scanner.scan(ports, Look::Rescan(Duration::ZERO), &Whole::new());
    assert_eq!(plugins.reads(), 2);
    site.remove("plugins/a.wasm.sig");
    scanner.scan(ports, Look::Rescan(Duration::ZERO), &Whole::new());
    assert_eq!(plugins.reads(), 3);
    let scan = scanner.scan(ports, Look::Rescan(Duration::ZERO), &Whole::new());
    assert_eq!(scan.plugins.found.len(), 1, "a signature is no plugin");
}

#[test]
fn a_plugin_is_read_again_where_a_file_that_it_names_changed() {
    let site = Site::new();
    let file = "plugins/words.json";
    site.plugin("a", &format!("file {file}"));
    age(&site, "plugins/a.wasm", 60);
    let (engine, plugins) = (FakeEngine::default(), FakePluginHost::default());
    let ports = Ports {
        engine: &engine,
        plugins: &plugins,
        upstreams: None,
        cancel: &Cancel::default(),
    };
    let mut scanner = Scanner::new(site.path());
    let mut digest_of = |look| {
        let scan = scanner.scan(ports, look, &Whole::new());
        let Some(Found::Is(plugin)) = scan.plugins.found.into_values().next() else {
            panic!("the plugin is read")
        };
        plugin.digest
    };
    let without = digest_of(Look::Rescan(Duration::ZERO));
    assert_eq!(digest_of(Look::Rescan(Duration::ZERO)), without);
    assert_eq!(plugins.reads(), 1);
    site.write(file, "one");
    let with_one = digest_of(Look::Rescan(Duration::ZERO));
    assert_ne!(with_one, without, "a file that came is a change");
    age(&site, file, 60);
    digest_of(Look::Rescan(Duration::ZERO));
    let reads = plugins.reads();
    assert_eq!(digest_of(Look::Rescan(Duration::ZERO)), with_one);
    assert_eq!(
        plugins.reads(),
        reads,
        "an unchanged file is not read again"
    );
    site.write(file, "two");
    assert_ne!(digest_of(Look::Rescan(Duration::ZERO)), with_one);
}

#[test]
fn a_release_is_held_while_it_is_written_though_a_time_is_in_the_future() {
    let site = Site::new();
    site.put("bundles/shop/1/plugins/a.wasm", "end\n");
    let file = site.path().join("bundles/shop/1/plugins/a.wasm");
    let file = fs::File::options().append(true).open(file).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(7200))
        .unwrap();
    for quiet in [Look::AfterChange, Look::Rescan] {
        let scan = look(
            &mut Scanner::new(site.path()),
            quiet(Duration::from_secs(3600)),
        );
        assert!(scan.unsettled);
    }
    assert!(!look(&mut Scanner::new(site.path()), Look::Thorough).unsettled);
}
