//! A plugin host that computes nothing worth computing: its plugin shows what a stage gets to see.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use wharf_core::{
    Body, BoxFuture, Candidate, Digest, Error, Filter, Isolation, LoadError, ModelCalls, Payload,
    Plugin, PluginFile, PluginHealth, PluginHost, PluginInfo, PluginRelease, RequestContext,
    Result, Stage, Tensor, Token,
};

pub(super) struct FakePlugins;

impl PluginHost for FakePlugins {
    fn read(&self, file: &PluginFile) -> Result<PluginRelease, LoadError> {
        Ok(PluginRelease {
            site: file.site.clone(),
            name: file.name.clone(),
            digest: Digest::new([2; 32]),
            component: Bytes::new(),
            content: Digest::new([2; 32]),
            settings: Arc::from(""),
            files: Arc::from([]),
            owner: None,
        })
    }

    fn load(&self, release: &PluginRelease) -> Result<Arc<dyn Plugin>, LoadError> {
        Ok(Arc::new(FakePlugin(PluginInfo {
            name: release.name.clone(),
            digest: release.digest,
            version: "1".to_owned(),
            summary: String::new(),
            contract: "1.0.0".to_owned(),
            stages: vec![Stage::Preprocess, Stage::Postprocess],
            isolation: Isolation::Request,
        })))
    }

    fn connect(&self, _: Weak<dyn ModelCalls>) {}
}

/// Reads a body as its length twice, and writes a tensor as text; faults when the body says so.
struct FakePlugin(PluginInfo);

impl Plugin for FakePlugin {
    fn info(&self) -> &PluginInfo {
        &self.0
    }

    fn preprocess<'a>(
        &'a self,
        _: &'a Arc<RequestContext>,
        input: Payload,
    ) -> BoxFuture<'a, Result<Payload>> {
        Box::pin(async move {
            let Payload::Body(body) = input else {
                return Err(Error::invalid("input", "is no body"));
            };
            if &*body.data == b"trap" {
                return Err(
                    Error::new(wharf_core::ErrorKind::PluginFault, "the plugin trapped")
                        .with_source("wasm trap in /secret/plugin.wasm"),
                );
            }
            let sizes = vec![body.data.len() as f32, body.media_type.len() as f32];
            let tensor = Tensor::from_vec("x", [1, 2], sizes).map_err(Error::internal)?;
            Ok(Payload::Tensors(vec![tensor]))
        })
    }

    fn postprocess<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
        output: Payload,
    ) -> BoxFuture<'a, Result<Payload>> {
        Box::pin(async move {
            let Payload::Tensors(tensors) = output else {
                return Err(Error::invalid("output", "is a body"));
            };
            let sizes = tensors[0].as_slice::<f32>().map_err(Error::internal)?;
            let user = request.headers.get("x-user").unwrap_or("nobody");
            Ok(Payload::Body(Body {
                media_type: "text/plain".into(),
                data: format!("{sizes:?} for {user}").into(),
            }))
        })
    }

    fn route<'a>(
        &'a self,
        _: &'a Arc<RequestContext>,
        _: &'a [Candidate],
    ) -> BoxFuture<'a, Result<usize>> {
        Box::pin(async { Ok(0) })
    }

    fn filter_tokens<'a>(
        &'a self,
        _: &'a Arc<RequestContext>,
    ) -> BoxFuture<'a, Result<Box<dyn Filter<Vec<Token>>>>> {
        Box::pin(async { Err(Error::internal("this fake has no token filter")) })
    }

    fn filter_chunks<'a>(
        &'a self,
        _: &'a Arc<RequestContext>,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Filter<Bytes>>>> {
        Box::pin(async { Err(Error::internal("this fake has no chunk filter")) })
    }

    fn health(&self) -> PluginHealth {
        PluginHealth::default()
    }
}
