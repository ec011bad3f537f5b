//! A scrape of `/metrics`, read as far as the tests need.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// The series of one scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    series: BTreeMap<String, f64>,
    kinds: BTreeMap<String, String>,
}

impl Metrics {
    /// Reads the text format of Prometheus.
    ///
    /// # Errors
    /// Where a line is not of that format.
    pub fn parse(text: &str) -> Result<Self> {
        let mut metrics = Self::default();
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind
                    .split_once(' ')
                    .with_context(|| format!("odd line: {line}"))?;
                metrics.kinds.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') && !line.is_empty() {
                let (series, value) = line
                    .rsplit_once(' ')
                    .with_context(|| format!("odd line: {line}"))?;
                let value = value
                    .parse()
                    .with_context(|| format!("odd value: {line}"))?;
                metrics.series.insert(series.to_owned(), value);
            }
        }
        Ok(metrics)
    }

    /// Adds up the series of a metric that have all the labels given, each written `name="value"`.
    #[must_use]
    pub fn sum(&self, metric: &str, labels: &[&str]) -> f64 {
        let of_metric = |series: &str| series.split('{').next() == Some(metric);
        self.series
            .iter()
            .filter(|(series, _)| {
                of_metric(series) && labels.iter().all(|label| series.contains(label))
            })
            .map(|(_, value)| value)
            .sum()
    }

    /// How many series there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The gauges of work under way that are not 0: requests, calls of plugins, queues. What stands ready or is loaded is
    /// not among them, nor is the work of the scrape itself.
    #[must_use]
    pub fn busy(&self) -> BTreeMap<&str, f64> {
        const WORK: &[&str] = &["in_use", "in_flight", "queue"];
        self.series
            .iter()
            .filter(|(series, value)| {
                let name = series.split('{').next().unwrap_or_default();
                self.kinds.get(name).is_some_and(|kind| kind == "gauge")
                    && WORK.iter().any(|work| name.contains(work))
                    && **value != 0.0
            })
            .map(|(series, value)| (series.as_str(), *value))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAPE: &str = "# HELP a_total Counted\n# TYPE a_total counter\na_total{x=\"1\",y=\"2\"} 3\n\
        a_total{x=\"2\",y=\"2\"} 4\n# TYPE in_flight gauge\nin_flight{route=\"r\"} 1\nin_flight{route=\"s\"} 0\n\
        # TYPE memory gauge\nmemory 5e6\n";

    #[test]
    fn series_are_summed_by_labels() {
        let metrics = Metrics::parse(SCRAPE).unwrap();
        assert_eq!(metrics.sum("a_total", &["y=\"2\""]), 7.0);
        assert_eq!(metrics.sum("a_total", &["x=\"1\"", "y=\"2\""]), 3.0);
        assert_eq!(metrics.sum("a", &[]), 0.0);
        assert_eq!(metrics.len(), 5);
    }

    #[test]
    fn only_gauges_of_work_count_as_busy() {
        let metrics = Metrics::parse(SCRAPE).unwrap();
        assert_eq!(
            metrics.busy(),
            BTreeMap::from([("in_flight{route=\"r\"}", 1.0)])
        );
    }
}
