//! The memory of this process, for tests that measure it.

use tokio::sync::{Mutex, MutexGuard};

static MEASURING: Mutex<()> = Mutex::const_new(());

/// Waits until no other test measures memory. Those that measure take much of it themselves.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    MEASURING.lock().await
}

/// The resident memory of this process, in bytes.
pub(crate) fn resident() -> u64 {
    status("VmRSS:")
}

/// The most resident memory of this process since the last [`forget_peak`], in bytes.
pub(crate) fn peak() -> u64 {
    status("VmHWM:")
}

/// Lets the peak begin anew.
pub(crate) fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn status(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
