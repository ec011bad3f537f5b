//! Upstreams of a site, opened as serving opens them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use wharf_core::{
    Error, LoadError, Model, Name, RequestContext, Tensor, Upstream, UpstreamFile, UpstreamRelease,
    Upstreams,
};
use wharf_testkit::{eventually, request_with};
use wharf_upstream::Peers;

/// A site folder, and what opens its upstreams.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    peers: Arc<Peers>,
    pub(crate) changes: Arc<AtomicUsize>,
}

impl Site {
    pub(crate) fn new() -> Self {
        let meter = opentelemetry::global::meter("test");
        Self {
            folder: tempfile::tempdir().unwrap(),
            peers: Arc::new(Peers::new(&meter)),
            changes: Arc::default(),
        }
    }

    pub(crate) fn read(&self, text: &str) -> Result<UpstreamRelease, LoadError> {
        self.peers.read(&UpstreamFile {
            site: self.folder.path().to_owned(),
            name: Name::new("echo").unwrap(),
            text: text.into(),
        })
    }

    pub(crate) async fn open(&self, text: &str) -> Result<Arc<dyn Upstream>, LoadError> {
        let (release, peers) = (self.read(text)?, Arc::clone(&self.peers));
        let changes = Arc::clone(&self.changes);
        let changed = Arc::new(move || {
            changes.fetch_add(1, Ordering::SeqCst);
        });
        tokio::task::spawn_blocking(move || peers.open(&release, changed))
            .await
            .unwrap()
    }

    /// Opens an upstream that is reached at once.
    pub(crate) async fn model(&self, text: &str) -> Arc<dyn Model> {
        let upstream = self.open(text).await.unwrap();
        let problem = upstream.problem();
        let model = upstream.model().unwrap_or_else(|| panic!("{problem:?}"));
        // It goes on being asked what it is for as long as the test runs.
        std::mem::forget(upstream);
        model
    }
}

/// The settings of endpoints, with some more lines.
pub(crate) fn settings(protocol: &str, endpoints: &[String], more: &str) -> String {
    format!("protocol = '{protocol}'\nendpoints = {endpoints:?}\n{more}\n")
}

pub(crate) fn x(values: &[f32]) -> Tensor {
    Tensor::from_vec("x", [values.len() as u64], values.to_vec()).unwrap()
}

/// Asks a model of `y = x`, with so much time.
pub(crate) async fn ask_within(
    model: &Arc<dyn Model>,
    time: Duration,
    values: &[f32],
) -> Result<Vec<f32>, Error> {
    infer(
        model,
        &request_with("echo", time, &[("x-user", "7")]),
        values,
    )
    .await
}

/// Asks a model of `y = x` in a request.
pub(crate) async fn infer(
    model: &Arc<dyn Model>,
    request: &RequestContext,
    values: &[f32],
) -> Result<Vec<f32>, Error> {
    let inference = model.infer(request, vec![x(values)]).await?;
    assert_eq!(inference.outputs[0].name(), "y");
    Ok(inference.outputs[0].as_slice().unwrap().to_vec())
}

pub(crate) async fn ask(model: &Arc<dyn Model>, values: &[f32]) -> Result<Vec<f32>, Error> {
    ask_within(model, Duration::from_secs(20), values).await
}

/// Waits until nothing is under way.
pub(crate) async fn idle(model: &Arc<dyn Model>) {
    eventually("nothing is under way", || model.load().in_flight == 0).await;
}
