//! Lines that guests write to the host's log, bounded in rate and length.

use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::abilities::Abilities;
use crate::guest::PluginFacts;

/// The longest message, and the longest text of all fields together, in bytes.
const TEXT_BYTES: usize = 8192;

/// How much a line matters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Severity {
    Debug,
    Info,
    Warn,
    Error,
}

/// A line of a guest.
pub(crate) struct Line<'a> {
    pub(crate) severity: Severity,
    pub(crate) message: &'a str,
    pub(crate) fields: &'a [(String, String)],
}

/// How many lines the instances of a plugin may write.
pub(crate) struct LogBudget {
    lines_per_second: u32,
    window: Mutex<Window>,
}

struct Window {
    began: Instant,
    written: u32,
    dropped: u64,
}

impl LogBudget {
    pub(crate) fn new(lines_per_second: u32) -> Self {
        Self {
            lines_per_second,
            window: Mutex::new(Window {
                began: Instant::now(),
                written: 0,
                dropped: 0,
            }),
        }
    }

    /// Writes a line, or counts it as dropped.
    pub(crate) fn write(&self, plugin: &PluginFacts, request_id: &str, line: &Line<'_>) {
        let Some(dropped) = self.admit(Instant::now()) else {
            plugin.metrics.line_dropped();
            return;
        };
        let (name, digest) = (&plugin.name, &plugin.digest);
        if dropped > 0 {
            tracing::warn!(
                plugin = %name, digest, dropped,
                setting = "log_lines_per_second", value = self.lines_per_second,
                "plugin wrote more log lines than its limit allows"
            );
        }
        let message = plugin.abilities.hide(line.message, TEXT_BYTES);
        let fields = Fields(line.fields, &plugin.abilities);
        macro_rules! event {
            ($level:ident) => {
                tracing::event!(
                    target: "wharf::plugin", tracing::Level::$level,
                    plugin = %name, digest, request_id, fields = %fields, "{message}"
                )
            };
        }
        match line.severity {
            Severity::Debug => event!(DEBUG),
            Severity::Info => event!(INFO),
            Severity::Warn => event!(WARN),
            Severity::Error => event!(ERROR),
        }
    }

    /// Admits a line: gives how many were dropped in the second before. None where this one is to be dropped.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock();
        let mut dropped = 0;
        if now.saturating_duration_since(window.began) >= Duration::from_secs(1) {
            dropped = window.dropped;
            *window = Window {
                began: now,
                written: 0,
                dropped: 0,
            };
        }
        if window.written >= self.lines_per_second {
            window.dropped += 1 + dropped;
            return None;
        }
        window.written += 1;
        Some(dropped)
    }
}

/// Writes `name=value` pairs, cut to a bearable length.
struct Fields<'a>(&'a [(String, String)], &'a Abilities);

impl fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = TEXT_BYTES;
        for (index, (name, value)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            let (name, value) = (self.1.hide(name, 128), self.1.hide(value, left));
            write!(f, "{separator}{name}={value:?}")?;
            left = left.saturating_sub(name.len() + value.len() + 1);
            if left == 0 {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_rate_are_dropped_and_counted() {
        let budget = LogBudget::new(2);
        let now = Instant::now();
        let admitted: Vec<_> = (0..5).map(|_| budget.admit(now)).collect();
        assert_eq!(admitted, [Some(0), Some(0), None, None, None]);
        assert_eq!(budget.admit(now + Duration::from_secs(1)), Some(3));
    }
}
