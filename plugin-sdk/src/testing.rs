//! For native tests of a plugin: what stands in for the host. The guest has none of this.
//!
//! Lines and numbers that a plugin gives the host are kept for the thread that runs the test.

use std::cell::RefCell;

pub use crate::secret::memory::set_secret;
pub use crate::state::memory::{clear_state, pass_time};
use crate::{Metric, MetricKind, Plugin, Result, log::Level};

/// A line that the plugin wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// Its text.
    pub message: String,
    /// Its fields: name and value.
    pub fields: Vec<(String, String)>,
}

thread_local! {
    static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    static VALUES: RefCell<Vec<(&'static str, f64)>> = const { RefCell::new(Vec::new()) };
}

/// Makes a plugin from its settings as JSON, as the host does.
///
/// # Errors
/// Those of [`Plugin::new`], and `invalid-input` with the setting's name where the JSON is not that of the settings.
pub fn plugin<P: Plugin>(settings: &str) -> Result<P> {
    P::new(crate::settings::parse(settings)?)
}

/// Answers the calls of a model or a route ([`crate::model`]) on this thread by a closure. A target that has none is `denied`, as
/// where the grant does not name it.
pub fn serve_model(
    target: &str,
    answer: impl Fn(crate::model::Call) -> Result<crate::Payload> + 'static,
) {
    crate::model::raw::serve(target, answer);
}

/// Takes the lines that were written on this thread since the last call.
pub fn take_lines() -> Vec<Line> {
    LINES.take()
}

/// Takes the numbers that were reported on this thread since the last call: the metric's name and the value.
pub fn take_values() -> Vec<(&'static str, f64)> {
    VALUES.take()
}

pub(crate) fn record_line(level: Level, message: &str, fields: &[(String, String)]) {
    let line = Line {
        level,
        message: message.to_owned(),
        fields: fields.to_vec(),
    };
    LINES.with_borrow_mut(|lines| lines.push(line));
}

pub(crate) fn record_value(metric: Metric, kind: MetricKind, value: f64) {
    assert_eq!(
        metric.kind, kind,
        "`{}` is a {:?}: the host drops what is given here",
        metric.name, metric.kind
    );
    VALUES.with_borrow_mut(|values| values.push((metric.name, value)));
}
