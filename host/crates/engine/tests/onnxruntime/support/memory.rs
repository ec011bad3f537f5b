//! The memory of this process, for tests that measure it.

use tokio::sync::{Mutex, MutexGuard};

static MEASURING: Mutex<()> = Mutex::const_new(());

/// Waits until no other test measures memory. Those that measure take much of it themselves.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    MEASURING.lock().await
}

/// The resident memory of this process, in bytes.
pub(crate) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
