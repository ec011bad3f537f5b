//! The memory of a test's process.

/// The resident memory of this process, in MiB.
///
/// # Panics
/// Where the system does not tell.
#[must_use]
pub fn resident_mb() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("the system tells");
    let pages = statm.split_whitespace().nth(1);
    let pages: f64 = pages
        .and_then(|pages| pages.parse().ok())
        .expect("a number of pages");
    pages * 4096.0 / f64::from(1 << 20)
}
