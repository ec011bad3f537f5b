use super::*;

/// A scope with room for some entries, at a moment that the test sets.
struct Bench {
    scope: Scope,
    version: AtomicU64,
    start: Instant,
    ms: u64,
}

impl Bench {
    fn new() -> Self {
        Self {
            scope: Scope::default(),
            version: AtomicU64::new(0),
            start: Instant::now(),
            ms: 0,
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    fn set(&mut self, key: &str, value: &str, expires_ms: Option<u64>) -> Result<u64, Refused> {
        let now = self.now();
        let terms = terms(&self.version, now).until(expires_ms);
        self.scope.set(key, value.as_bytes().to_vec(), terms)
    }

    fn add(&mut self, key: &str, by: i64, expires_ms: Option<u64>) -> Result<i64, NotCounted> {
        let now = self.now();
        let terms = terms(&self.version, now).until(expires_ms);
        self.scope.increment(key, by, terms).unwrap()
    }

    fn get(&self, key: &str) -> Option<Vec<u8>> {
        let found = self.scope.get(key, self.now())?;
        Some(found.value.to_vec())
    }
}

fn terms(version: &AtomicU64, now: Instant) -> Terms<'_> {
    Terms {
        entries: 100,
        bytes: 1000,
        version,
        now,
        expires_at: None,
    }
}

#[test]
fn a_value_lives_as_long_as_it_was_given() {
    let mut bench = Bench::new();
    bench.set("short", "1", Some(100)).unwrap();
    bench.set("long", "2", Some(u64::MAX)).unwrap();
    bench.set("never", "3", Some(0)).unwrap();
    assert_eq!(bench.get("never"), None);
    bench.ms = 99;
    assert!(bench.get("short").is_some());
    bench.ms = 100;
    assert_eq!(bench.get("short"), None);
    assert!(!bench.scope.delete("short", bench.now()));
    assert_eq!(bench.scope.keys("", 9, bench.now()).len(), 1);
    // A value that is written anew has the end of the new one.
    bench.set("long", "2", Some(10)).unwrap();
    bench.set("long", "2", None).unwrap();
    bench.ms = 1_000_000;
    assert!(bench.get("long").is_some());
    assert!(bench.scope.ends.is_empty());
}

#[test]
fn what_is_over_makes_room() {
    let mut bench = Bench::new();
    for key in 0..100 {
        bench
            .set(&format!("{key:02}"), "12345678", Some(100 + key))
            .unwrap();
    }
    assert_eq!(bench.scope.bytes(), 1000);
    assert_eq!(bench.set("x", "", None), Err(Refused::Entries));
    assert_eq!(bench.set("00", "123456789", None), Err(Refused::Bytes));
    assert!(bench.get("00").is_some(), "what is there stays");
    bench.ms = 100;
    bench.set("x", "", None).unwrap();
    assert_eq!(bench.scope.len(), 100);
    // All at once: more than one hold of the lock drops by itself, and as many as are needed.
    bench.ms = 1000;
    let value = "v".repeat(990);
    bench.set("y", &value, None).unwrap();
    assert_eq!(bench.scope.keys("", 9, bench.now()).len(), 2);
    while bench.scope.expire(bench.now()) {}
    assert_eq!((bench.scope.len(), bench.scope.bytes()), (2, 992));
}

#[test]
fn an_end_counts_from_the_first_addition() {
    let mut bench = Bench::new();
    assert_eq!(bench.add("n", 2, Some(100)), Ok(2));
    bench.ms = 60;
    assert_eq!(bench.add("n", -5, Some(100)), Ok(-3));
    bench.ms = 100;
    assert_eq!(bench.add("n", 1, Some(100)), Ok(1));
    assert_eq!(bench.get("n").as_deref(), Some(&b"1"[..]));
}

#[test]
fn what_is_no_number_is_not_added_to() {
    let mut bench = Bench::new();
    for value in ["", "ten", "1.5", "9223372036854775808"] {
        bench.set("n", value, None).unwrap();
        assert_eq!(
            bench.add("n", 1, None),
            Err(NotCounted::NoNumber),
            "{value}"
        );
    }
    bench.set("n", &i64::MAX.to_string(), None).unwrap();
    assert_eq!(bench.add("n", 1, None), Err(NotCounted::Overflow));
    assert_eq!(bench.add("n", i64::MIN, None), Ok(-1));
    assert_eq!(bench.add("m", i64::MIN, None), Ok(i64::MIN));
}

#[test]
fn keys_are_those_of_the_prefix_in_order() {
    let mut bench = Bench::new();
    for key in ["b/2", "a", "b/1", "b", "c", "b/10"] {
        bench.set(key, "", None).unwrap();
    }
    let keys = |prefix: &str, limit| -> Vec<String> {
        let keys = bench.scope.keys(prefix, limit, bench.now());
        keys.iter().map(|key| key.to_string()).collect()
    };
    assert_eq!(keys("b/", 9), ["b/1", "b/10", "b/2"]);
    assert_eq!(keys("b/", 2), ["b/1", "b/10"]);
    assert_eq!(keys("", 2), ["a", "b"]);
    assert!(keys("b/", 0).is_empty() && keys("d", 9).is_empty());
}

#[test]
fn a_swap_needs_the_version_that_is_there() {
    let mut bench = Bench::new();
    let now = bench.now();
    let mut swap = |version, value: &str| {
        let terms = terms(&bench.version, now);
        let value = value.as_bytes().to_vec();
        bench
            .scope
            .compare_and_swap("k", version, value, terms)
            .unwrap()
    };
    assert_eq!(swap(7, "a"), Swap::Differs(None));
    let Swap::Done(first) = swap(0, "a") else {
        panic!("nothing was there");
    };
    let Swap::Differs(Some(there)) = swap(0, "b") else {
        panic!("something is there");
    };
    assert_eq!((&there.value[..], there.version), (&b"a"[..], first));
    let Swap::Done(second) = swap(first, "b") else {
        panic!("this version is there");
    };
    assert!(second > first);
}
