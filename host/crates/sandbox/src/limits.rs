//! What a plugin may take: every limit, its default and its bounds, in one table.

use std::fmt;

use serde::Deserialize;

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident = $default:literal in $min:literal..=$max:literal;)+) => {
        /// The limits of a plugin. Each is on by default; `[limits]` of `plugins/NAME.toml` changes it for one plugin, and
        /// the host's settings for all.
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: u32,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Limits {
            /// The names of all limits.
            const NAMES: &[&str] = &[$(stringify!($name)),+];

            /// Every limit: its name and its value, in the order of the reference.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, u32)> {
                vec![$((stringify!($name), self.$name)),+]
            }

            /// Sets the named limit.
            ///
            /// # Errors
            /// A sentence that says which names there are, or between which bounds the value must lie.
            pub(crate) fn set(&mut self, name: &str, value: &toml::Value) -> Result<(), String> {
                match name {
                    $(stringify!($name) => {
                        self.$name = in_bounds(value, $min, $max)?;
                        Ok(())
                    })+
                    _ => Err(format!("there is no such limit: use one of {}", Self::NAMES.join(", "))),
                }
            }

            /// Checks that every limit lies within its bounds.
            ///
            /// # Errors
            /// The name of the limit, and a sentence that gives the bounds.
            pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
                $(in_bounds(&toml::Value::Integer(self.$name.into()), $min, $max)
                    .map_err(|message| (stringify!($name), message))?;)+
                Ok(())
            }
        }
    };
}

limits! {
    /// The most memory of an instance, in MiB: all its memories, and the data that the host keeps for its handles.
    memory_mb = 256 in 1..=4096;
    /// The longest call of a stage, in milliseconds, without the time in which the guest waits for the host: for models that
    /// it calls, answers over HTTP, codecs. The request's deadline, which counts everything, may end it before.
    call_ms = 1000 in 1..=600_000;
    /// The longest start of an instance, its `init`, and the longest self-test, in milliseconds.
    init_ms = 10_000 in 1..=600_000;
    /// The most calls at one time; one more is refused as unavailable.
    instances = 256 in 1..=10_000;
    /// The most instances that stand ready for isolation by request.
    ready_instances = 32 in 1..=1000;
    /// The most memory that ready instances take together, in MiB.
    ready_mb = 256 in 1..=65_536;
    /// The most tenants that have kept instances at one time, for isolation by tenant; the one longest idle gives way.
    tenants = 64 in 1..=100_000;
    /// The time after which an idle kept instance is given up, in seconds.
    idle_s = 300 in 1..=86_400;
    /// The most elements of a table.
    table_elements = 100_000 in 1..=100_000;
    /// The most tables of an instance.
    tables = 64 in 1..=1000;
    /// The most memories of an instance.
    memories = 16 in 1..=100;
    /// The most core modules that an instance is made of.
    core_instances = 256 in 1..=1000;
    /// The most handles of tensors, bodies and tokenizers that an instance holds at one time, and the most of WASI resources.
    handles = 10_000 in 16..=1_000_000;
    /// The most data that one host call takes from the guest, in MiB.
    host_call_mb = 64 in 1..=4096;
    /// The most data that a stage gives, in MiB; of a filter, over a whole text or body.
    output_mb = 64 in 1..=4096;
    /// The most log lines a second; lines beyond are dropped and counted.
    log_lines_per_second = 100 in 0..=100_000;
    /// The most faults that are logged a second; faults beyond are counted with the dropped lines.
    fault_lines_per_second = 10 in 1..=100_000;
    /// The most tokens that a token filter takes one after another without giving any.
    held_tokens = 16_384 in 1..=1_000_000;
    /// The most text and tokens that it takes so, and bytes that a chunk filter does, in KiB.
    held_kb = 1024 in 1..=1_048_576;
    /// How much of an instance's standard output and error is kept for the log, in KiB.
    output_text_kb = 16 in 1..=1024;
}

fn in_bounds(value: &toml::Value, min: u32, max: u32) -> Result<u32, String> {
    value
        .as_integer()
        .and_then(|value| u32::try_from(value).ok())
        .filter(|value| (min..=max).contains(value))
        .ok_or_else(|| format!("must be a whole number from {min} to {max}"))
}

/// A limit that a guest ran into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitBroken {
    /// What there was too much of.
    pub(crate) what: &'static str,
    /// The setting, below `limits`.
    pub(crate) setting: &'static str,
    /// The value of the setting.
    pub(crate) value: u32,
}

impl LimitBroken {
    /// There were more than so many handles.
    pub(crate) fn handles(most: u32) -> Self {
        Self {
            what: "the guest holds too many handles",
            setting: "handles",
            value: most,
        }
    }
}

impl fmt::Display for LimitBroken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            setting,
            value,
        } = self;
        write!(
            f,
            "{what}: the limit is limits.{setting} = {value}; raise it in the plugin's settings if the plugin needs more"
        )
    }
}

impl std::error::Error for LimitBroken {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_set_within_its_bounds() {
        let mut limits = Limits::default();
        assert_eq!(limits.set("memory_mb", &toml::Value::Integer(64)), Ok(()));
        assert_eq!(limits.memory_mb, 64);
        for value in [0, -1, 4097, i64::MAX] {
            let error = limits
                .set("memory_mb", &toml::Value::Integer(value))
                .unwrap_err();
            assert_eq!(error, "must be a whole number from 1 to 4096");
        }
        assert!(
            limits
                .set("memory", &toml::Value::Integer(1))
                .unwrap_err()
                .contains("memory_mb")
        );
    }

    #[test]
    fn the_defaults_are_within_their_bounds() {
        assert_eq!(Limits::default().check(), Ok(()));
    }
}
