//! What the host writes to its log while a case runs: lines of the plugin, and what became of a fault, with its output and its
//! backtrace.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer;
use tracing_subscriber::prelude::*;

/// The most lines that are kept between two looks.
const LINES: usize = 1000;

/// The log.
#[derive(Clone, Default)]
pub(super) struct Captured(Arc<Mutex<Vec<Line>>>);

/// A line of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    level: String,
    message: String,
    fields: Vec<(String, String)>,
}

impl Captured {
    /// Makes it the log of this process.
    ///
    /// # Errors
    /// Where there is one already.
    pub(super) fn install() -> Result<Self> {
        let captured = Self::default();
        // Of the others, compilers write whole books.
        let ours = Targets::new().with_target("wharf", LevelFilter::DEBUG);
        tracing_subscriber::registry()
            .with(captured.clone().with_filter(ours))
            .try_init()
            .context("the log cannot be read")?;
        Ok(captured)
    }

    /// Takes the lines since the last time.
    pub(super) fn take(&self) -> Vec<Line> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Subscriber> Layer<S> for Captured {
    fn on_event(&self, event: &Event<'_>, _: layer::Context<'_, S>) {
        let mut line = Line {
            level: event.metadata().level().as_str().to_lowercase(),
            ..Line::default()
        };
        event.record(&mut line);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < LINES {
            lines.push(line);
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), format!("{value:?}"));
    }
}

impl Line {
    fn set(&mut self, name: &str, value: String) {
        match name {
            "message" => self.message = value,
            // Known: they are what the command is about.
            "plugin" | "digest" | "request_id" => {}
            _ if value.is_empty() => {}
            _ => self.fields.push((name.to_owned(), value)),
        }
    }

    /// For programs.
    pub(super) fn document(&self) -> Value {
        let fields: serde_json::Map<String, Value> = self
            .fields
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        json!({ "level": self.level, "message": self.message, "fields": fields })
    }
}

/// For people: fields of several lines, such as a backtrace, each below its name.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.level, self.message)?;
        let (long, short): (Vec<_>, Vec<_>) = self
            .fields
            .iter()
            .partition(|(_, value)| value.trim_end().contains('\n'));
        for (name, value) in short {
            write!(f, " {name}={}", value.trim_end())?;
        }
        for (name, value) in long {
            write!(f, "\n  {name}:")?;
            for line in value.trim_end().lines() {
                f.write_char('\n')?;
                write!(f, "    {line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_several_lines_stand_below_their_name() {
        let mut line = Line {
            level: "error".to_owned(),
            message: "plugin trapped".to_owned(),
            ..Line::default()
        };
        line.set("during", "preprocess".to_owned());
        line.set("plugin", "shout".to_owned());
        line.set("output", "one\ntwo\n".to_owned());
        assert_eq!(
            line.to_string(),
            "error: plugin trapped during=preprocess\n  output:\n    one\n    two"
        );
    }

    #[test]
    fn events_are_captured_with_their_fields() {
        let captured = Captured::default();
        let subscriber = tracing_subscriber::registry().with(captured.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(value = 3, "the word");
        });
        let lines = captured.take();
        assert_eq!(lines[0].to_string(), "warn: the word value=3");
        assert!(captured.take().is_empty());
    }
}
