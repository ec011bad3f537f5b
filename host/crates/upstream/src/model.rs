//! A model of a peer, as a model of this process.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;
use wharf_core::{
    BoxFuture, Digest, Inference, Model, ModelInfo, ModelLoad, Queueing, RequestContext, Result,
    Tensor, TensorSpec, Timings, VersionPolicy,
};

use crate::oip::{self, Metadata, Question};
use crate::peer::Peer;
use crate::settings::Settings;

/// What metadata calls a model that another server runs.
pub(crate) const PLATFORM: &str = "wharf_upstream";
/// And the device that it runs on: which one that is, the peer knows.
pub(crate) const DEVICE: &str = "upstream";

/// A model that a peer runs.
pub(crate) struct RemoteModel {
    info: ModelInfo,
    peer: Arc<Peer>,
    outputs: Arc<[TensorSpec]>,
    binary: bool,
    /// Told of an answer that the metadata does not fit.
    doubt: Arc<Notify>,
}

impl RemoteModel {
    pub(crate) fn new(
        peer: Arc<Peer>,
        digest: Digest,
        metadata: &Metadata,
        doubt: Arc<Notify>,
    ) -> Self {
        let info = ModelInfo {
            inputs: metadata.inputs.clone(),
            outputs: metadata.outputs.clone(),
            ..info(&peer.settings, digest)
        };
        Self {
            info,
            peer,
            outputs: metadata.outputs.as_slice().into(),
            binary: metadata.binary,
            doubt,
        }
    }
}

/// What is known of every upstream.
pub(crate) fn info(settings: &Settings, digest: Digest) -> ModelInfo {
    ModelInfo {
        name: settings.name.clone(),
        version: settings.version.unwrap_or(1),
        digest,
        platform: PLATFORM,
        device: DEVICE.to_owned(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        // Whether the peer joins requests is its own business.
        max_batch_rows: 1,
        instances: 1,
        policy: VersionPolicy::Latest(1),
        queueing: Queueing::default(),
    }
}

impl Model for RemoteModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn check_room(&self) -> Result<()> {
        self.peer.check_room()
    }

    fn infer<'a>(
        &'a self,
        request: &'a RequestContext,
        inputs: Vec<Tensor>,
    ) -> BoxFuture<'a, Result<Inference>> {
        Box::pin(async move {
            oip::check_inputs(&inputs, &self.info.inputs)?;
            let rows = inputs.first().map_or(1, Tensor::rows);
            let question = Question {
                inputs,
                outputs: Arc::clone(&self.outputs),
                binary: self.binary,
            };
            let began = Instant::now();
            let outputs = oip::infer(&self.peer, request, question, || self.doubt.notify_one());
            Ok(Inference {
                outputs: outputs.await?,
                timings: Timings {
                    compute_infer: began.elapsed(),
                    run_rows: Some(rows),
                    ..Timings::default()
                },
            })
        })
    }

    fn load(&self) -> ModelLoad {
        self.peer.load()
    }
}
