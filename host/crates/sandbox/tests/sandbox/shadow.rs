//! The plugin `shadow` as a component: what it passes on and what it mirrors are one and the same data.

use std::sync::Arc;

use bytes::Bytes;
use wharf_core::{Body, ModelCalls, Payload, Plugin, PluginHost, Tensor};
use wharf_testkit::FakeModelCalls;

use crate::site::{Log, Site, floats, guest, request};

/// A plugin that mirrors to one of the targets, and what it was given by them.
struct Mirroring {
    site: Site,
    models: Arc<FakeModelCalls>,
    shadow: Arc<dyn Plugin>,
}

impl Mirroring {
    fn new(targets: &[(&str, &str)], settings: &str) -> Self {
        let site = Site::new();
        let models = FakeModelCalls::new(targets);
        let calls: Arc<dyn ModelCalls> = models.clone();
        site.sandbox.connect(Arc::downgrade(&calls));
        let settings = format!("[grants.model]\ntargets = ['next']\n[settings]\n{settings}");
        let shadow = site.load("shadow", &guest("shadow"), &settings).unwrap();
        Self {
            site,
            models,
            shadow,
        }
    }

    fn count(&self, metric: &str) -> f64 {
        let name = format!("plugin_shadow_{metric}_total");
        self.site.metric(&name, &[("plugin", "shadow")])
    }
}

/// What a payload is made of: names or a media type, and where the data lies.
fn parts(payload: &Payload) -> Vec<(&str, *const u8)> {
    match payload {
        Payload::Tensors(tensors) => tensors
            .iter()
            .map(|tensor| (tensor.name(), tensor.data().as_ptr()))
            .collect(),
        Payload::Body(body) => vec![(&body.media_type, body.data.as_ptr())],
    }
}

#[tokio::test]
async fn what_is_mirrored_is_the_data_that_goes_on() {
    let settings = "target = 'next'\nversion = 'new'\npercent = 100";
    let mirroring = Mirroring::new(&[("next", "")], settings);
    let tensor = |name: &str| Tensor::from_vec(name, [1, 1000], vec![1.5_f32; 1000]).unwrap();
    let body = Body {
        media_type: "text/plain; charset=utf-8".into(),
        data: Bytes::from(vec![b'a'; 1000]),
    };
    for input in [
        Payload::Tensors(vec![tensor("x"), tensor("y")]),
        Payload::Body(body),
    ] {
        let output = mirroring.shadow.preprocess(&request(), input.clone()).await;
        let output = output.unwrap();
        let mirrored = mirroring.models.mirrored().pop().unwrap();
        assert_eq!(parts(&output), parts(&input));
        assert_eq!(parts(&mirrored.input), parts(&input));
        assert_eq!(mirrored.version.as_deref(), Some("new"));
    }
    assert_eq!(mirroring.count("mirrored"), 2.0);
}

#[tokio::test]
async fn what_cannot_be_mirrored_goes_on_all_the_same() {
    let full = Mirroring::new(&[("next", "full")], "target = 'next'\npercent = 100");
    let gone = Mirroring::new(&[], "target = 'next'\npercent = 100");
    let denied = Mirroring::new(&[("other", "")], "target = 'other'\npercent = 100");
    let nobody = Mirroring::new(&[("next", "")], "target = 'next'\npercent = 0");
    for (mirroring, counted) in [
        (&full, "full"),
        (&gone, "refused"),
        (&denied, "refused"),
        (&nobody, "none"),
    ] {
        let log = Log::default();
        let _kept = log.keep();
        let input = floats(&[1.0, 2.0]);
        let output = mirroring.shadow.preprocess(&request(), input.clone()).await;
        assert_eq!(parts(&output.unwrap()), parts(&input));
        assert_eq!(mirroring.models.mirrored().len(), 0);
        for metric in ["mirrored", "full", "refused"] {
            let wanted = f64::from(u8::from(metric == counted));
            assert_eq!(mirroring.count(metric), wanted, "{metric}");
        }
        let warned = log.text().contains("a request was not mirrored");
        assert_eq!(warned, counted == "refused", "{}", log.text());
        assert_eq!(mirroring.shadow.health().faults, 0);
    }
}

#[tokio::test]
async fn without_the_grant_it_is_not_loaded() {
    let site = Site::new();
    let settings = "[settings]\ntarget = 'next'\npercent = 1";
    let refused = site.load("shadow", &guest("shadow"), settings);
    let text = refused.map(drop).unwrap_err().to_string();
    assert!(text.contains("model"), "{text}");
}
