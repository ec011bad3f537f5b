//! A scrape of `/metrics`, read as far as the tests need.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

/// The series of one scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    series: BTreeMap<String, f64>,
    kinds: BTreeMap<String, String>,
}

/// A metric with all its series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// The labels that any of its series has, without the bounds of buckets.
    pub labels: BTreeSet<String>,
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

    /// Each metric by its name.
    #[must_use]
    pub fn families(&self) -> BTreeMap<String, Family> {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        for series in self.series.keys() {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let of_histogram = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|part| name.strip_suffix(part))
                .filter(|name| {
                    self.kinds
                        .get(*name)
                        .is_some_and(|kind| kind == "histogram")
                });
            let name = of_histogram.unwrap_or(name);
            let family = families.entry(name.to_owned()).or_default();
            family.kind = self.kinds.get(name).cloned().unwrap_or_default();
            // Every other part between quotes is `{name=` or `,name=`: no value here has a quote in it.
            let names = labels.split('"').step_by(2);
            let names = names.filter_map(|part| part.trim_start_matches(',').strip_suffix('='));
            family
                .labels
                .extend(names.filter(|name| *name != "le").map(str::to_owned));
        }
        families
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
    fn families_have_the_labels_of_all_their_series() {
        let histogram = "# TYPE t histogram\nt_bucket{a=\"1\",le=\"2\"} 1\nt_sum{b=\"x\"} 1\nt_count{a=\"1\"} 1\n";
        let families = Metrics::parse(&format!("{SCRAPE}{histogram}"))
            .unwrap()
            .families();
        let labels = |name: &str| families[name].labels.iter().cloned().collect::<Vec<_>>();
        assert_eq!(families["t"].kind, "histogram");
        assert_eq!(labels("t"), ["a", "b"]);
        assert_eq!(labels("a_total"), ["x", "y"]);
        assert!(labels("memory").is_empty());
        assert_eq!(families.len(), 4);
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
