//! A log that only knows its levels.

use std::sync::Mutex;

use wharf_core::Result;
use wharf_server::{LogControl, LogLevels};

pub(super) struct FakeLog(Mutex<LogLevels>);

impl Default for FakeLog {
    fn default() -> Self {
        Self(Mutex::new(LogLevels {
            info: true,
            warning: true,
            error: true,
            verbose: 0,
        }))
    }
}

impl LogControl for FakeLog {
    fn levels(&self) -> LogLevels {
        *self.0.lock().unwrap()
    }

    fn set_levels(&self, levels: LogLevels) -> Result<()> {
        *self.0.lock().unwrap() = levels;
        Ok(())
    }

    fn format(&self) -> &'static str {
        "text"
    }
}
