//! Finds settings that contradict each other, or that nothing can be made of.

use wharf_core::{InvalidName, LoadError, Tenants};

use super::{Batching, Policy, Settings, Versions, Warmup};

/// The most instances of a model, and threads of one: each is a thread of the process.
const MAX_THREADS: u32 = 256;
/// The longest that a warm-up may take, in milliseconds: other changes of the site wait for it.
const MAX_WARMUP_MS: u64 = 600_000;
/// The most requests of a warm-up, and how often each may be run.
const MAX_SAMPLES: usize = 64;
const MAX_RUNS: u32 = 1000;

impl Settings {
    pub(super) fn check(&self, file: &str) -> Result<(), LoadError> {
        let Versions {
            policy,
            count,
            list,
            labels: _,
        } = &self.versions;
        let wrong = |key: &str, message: &str| Err(LoadError::new(file, message).with_key(key));
        match policy {
            Policy::Listed if list.as_ref().is_none_or(Vec::is_empty) => wrong(
                "versions.list",
                "policy \"listed\" needs the versions, such as list = [1, 3]",
            ),
            Policy::All | Policy::Latest if list.is_some() => wrong(
                "versions.list",
                "only policy \"listed\" takes a list; remove it or change the policy",
            ),
            Policy::All | Policy::Listed if count.is_some() => wrong(
                "versions.count",
                "only policy \"latest\" takes a count; remove it or change the policy",
            ),
            _ if !self.batching.delay_ms.is_zero() && self.batching.rows() == 1 => wrong(
                "batching.delay_ms",
                "a delay is of no use where nothing is joined; set batching.max_rows too",
            ),
            _ if self
                .instances
                .count
                .is_some_and(|count| count.get() > MAX_THREADS) =>
            {
                wrong("instances.count", "use at most 256")
            }
            _ if self
                .threads
                .intra
                .is_some_and(|count| count.get() > MAX_THREADS) =>
            {
                wrong("threads.intra", "use at most 256")
            }
            _ if self
                .threads
                .inter
                .is_some_and(|count| count.get() > MAX_THREADS) =>
            {
                wrong("threads.inter", "use at most 256")
            }
            _ => self.batching.check(file),
        }?;
        if let Some(registry) = &self.registry {
            registry.check(file)?;
        }
        self.warmup.check(file)?;
        self.check_names(file)
    }

    fn check_names(&self, file: &str) -> Result<(), LoadError> {
        let wrong = |key: String, message: &str| Err(LoadError::new(file, message).with_key(key));
        if let Err(index) = Tenants::of_setting(self.tenants.as_deref()) {
            return wrong(format!("tenants[{index}]"), &InvalidName.to_string());
        }
        // A label stands where a number may stand, in paths too.
        let is_label = |label: &str| {
            wharf_core::Name::new(label).is_ok() && !label.bytes().all(|byte| byte.is_ascii_digit())
        };
        if let Some(label) = self.versions.labels.keys().find(|label| !is_label(label)) {
            return wrong(
                format!("versions.labels.{}", LoadError::key_part(label)),
                "a label is made of letters, digits, '-', '_' and '.', and is no number",
            );
        }
        if self.instances.device.is_some() && self.instances.devices.is_some() {
            return wrong(
                "instances.devices".to_owned(),
                "use either device or devices; remove one of them",
            );
        }
        if self.instances.devices.as_ref().is_some_and(|devices| {
            devices.is_empty()
                || devices
                    .iter()
                    .enumerate()
                    .any(|(index, device)| devices[..index].contains(device))
        }) {
            return wrong(
                "instances.devices".to_owned(),
                "name at least one device, and each of them once",
            );
        }
        if self
            .sequences
            .as_ref()
            .is_some_and(|sequences| sequences.idle_ms == 0)
        {
            return wrong("sequences.idle_ms".to_owned(), "use at least 1");
        }
        Ok(())
    }
}

impl Warmup {
    fn check(&self, file: &str) -> Result<(), LoadError> {
        let wrong = |key: String, message: String| Err(LoadError::new(file, message).with_key(key));
        if !(1..=MAX_WARMUP_MS).contains(&self.timeout_ms) {
            let message = format!("use 1 to {MAX_WARMUP_MS}");
            return wrong("warmup.timeout_ms".to_owned(), message);
        }
        if self.samples.len() > MAX_SAMPLES {
            let message = format!("give at most {MAX_SAMPLES} samples");
            return wrong("warmup.samples".to_owned(), message);
        }
        let mut samples = self.samples.iter();
        match samples.position(|sample| sample.count.get() > MAX_RUNS) {
            Some(index) => {
                let message = format!("run a sample at most {MAX_RUNS} times");
                wrong(format!("warmup.samples[{index}].count"), message)
            }
            None => Ok(()),
        }
    }
}

impl Batching {
    /// The most rows of a batch that are asked for. What the graph allows beyond is no ground for other settings.
    fn rows(&self) -> u64 {
        self.max_rows.map_or(1, |rows| u64::from(rows.get()))
    }

    fn check(&self, file: &str) -> Result<(), LoadError> {
        let wrong = |key: &str, message: &str| Err(LoadError::new(file, message).with_key(key));
        let max_rows = self.rows();
        let levels = self.priority_levels;
        if !self.preferred_rows.is_sorted()
            || self
                .preferred_rows
                .iter()
                .any(|rows| *rows == 0 || *rows > max_rows)
        {
            wrong(
                "batching.preferred_rows",
                "give numbers in ascending order, from 1 to batching.max_rows",
            )
        } else if self.queue_timeout_ms == Some(0) {
            wrong("batching.queue_timeout_ms", "use at least 1")
        } else if levels > 32 {
            wrong("batching.priority_levels", "use at most 32")
        } else if self
            .default_priority
            .is_some_and(|level| level.get() > levels)
        {
            wrong(
                "batching.default_priority",
                "use 1 to batching.priority_levels",
            )
        } else {
            Ok(())
        }
    }
}
