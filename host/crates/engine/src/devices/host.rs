//! Memory of the host, as Linux tells it: what is available on the machine, and what the control group leaves.

use std::fs;

use super::DeviceMemory;

/// The host's memory; none where the system does not say.
pub(super) fn memory() -> Option<DeviceMemory> {
    let machine = parse_meminfo(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let limit = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let current = fs::read_to_string("/sys/fs/cgroup/memory.current").ok();
    Some(
        match (
            limit.as_deref().and_then(parse_bytes),
            current.as_deref().and_then(parse_bytes),
        ) {
            (Some(limit), Some(current)) => DeviceMemory {
                free: machine.free.min(limit.saturating_sub(current)),
                total: machine.total.min(limit),
            },
            _ => machine,
        },
    )
}

fn parse_meminfo(text: &str) -> Option<DeviceMemory> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_end_matches("kB")
            .trim()
            .parse::<u64>()
            .ok()?
            .checked_mul(1024)
    };
    Some(DeviceMemory {
        free: field("MemAvailable:")?,
        total: field("MemTotal:")?,
    })
}

/// A number of bytes; none for `max`.
fn parse_bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_in_kibibytes() {
        let memory =
            parse_meminfo("MemTotal:       24 kB\nMemFree: 1 kB\nMemAvailable:   16 kB\n").unwrap();
        assert_eq!(
            memory,
            DeviceMemory {
                free: 16384,
                total: 24576
            }
        );
        assert_eq!(parse_meminfo("nothing"), None);
        assert_eq!(parse_bytes("max\n"), None);
        assert!(self::memory().is_some_and(|memory| memory.total >= memory.free));
    }
}
