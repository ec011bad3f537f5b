//! The line that shows a load while it goes on. It is written only to a terminal.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::drive::Progress;

/// How often the line is written anew.
const INTERVAL: Duration = Duration::from_millis(250);

pub(super) struct ProgressLine {
    bar: ProgressBar,
    progress: Arc<Progress>,
    begun: Instant,
    warmup: Duration,
}

impl ProgressLine {
    /// Starts the line for a load that takes so long in all.
    pub(super) fn new(progress: &Arc<Progress>, warmup: Duration, duration: Duration) -> Self {
        let whole = u64::try_from((warmup + duration).as_millis()).unwrap_or(u64::MAX);
        // On anything but a terminal it draws nothing.
        let bar = ProgressBar::with_draw_target(Some(whole), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            progress: Arc::clone(progress),
            begun: Instant::now(),
            warmup,
        }
    }

    /// Writes the line again and again, until it is dropped.
    pub(super) async fn watch(&self) -> std::convert::Infallible {
        let mut ticks = tokio::time::interval(INTERVAL);
        let (mut at, mut succeeded_before) = (self.begun, 0);
        loop {
            ticks.tick().await;
            let now = Instant::now();
            let succeeded = self.progress.succeeded.load(Ordering::Relaxed);
            let since = now.saturating_duration_since(at).as_secs_f64();
            let rate = (succeeded - succeeded_before) as f64 / since.max(f64::EPSILON);
            (at, succeeded_before) = (now, succeeded);
            let passed = now.saturating_duration_since(self.begun);
            self.bar
                .set_position(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX));
            self.bar.set_message(self.text(passed, rate));
        }
    }

    fn text(&self, passed: Duration, rate: f64) -> String {
        let phase = if passed < self.warmup {
            "warm-up, "
        } else {
            ""
        };
        let refused = self.progress.refused.load(Ordering::Relaxed);
        let failed = self.progress.failed.load(Ordering::Relaxed);
        format!(
            "{phase}{:.1} s, {rate:.0}/s, {refused} refused, {failed} failed",
            passed.as_secs_f64()
        )
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_line_says_how_far_the_load_is() {
        let progress = Arc::new(Progress::default());
        progress.succeeded.store(500, Ordering::Relaxed);
        progress.refused.store(3, Ordering::Relaxed);
        let line = ProgressLine::new(&progress, Duration::from_secs(2), Duration::from_secs(10));
        let text = line.text(Duration::from_millis(1500), 1234.4);
        assert_eq!(text, "warm-up, 1.5 s, 1234/s, 3 refused, 0 failed");
        assert_eq!(
            line.text(Duration::from_secs(3), 0.0),
            "3.0 s, 0/s, 3 refused, 0 failed"
        );
        let watched = tokio::time::timeout(INTERVAL * 2, line.watch()).await;
        assert!(watched.is_err());
        assert!(line.bar.message().ends_with("3 refused, 0 failed"));
    }
}
