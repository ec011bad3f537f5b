use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;

use wharf_core::Name;

use super::*;
use crate::CudaProbe;
use crate::metrics::Metrics;

fn metrics() -> Metrics {
    let meter = SdkMeterProvider::default().meter("test");
    Metrics::new(&meter, Arc::new(CudaProbe::new()))
}

fn cache(bytes: u64) -> Arc<ResponseCache> {
    ResponseCache::new(bytes, metrics().evictions())
}

fn open(cache: &Arc<ResponseCache>) -> ModelCache {
    cache.open(metrics().lookups(&Name::new("m").unwrap(), 1))
}

fn request(value: u32) -> Vec<Tensor> {
    vec![Tensor::from_vec("x", [1], vec![value]).unwrap()]
}

/// Asks for an answer of so many bytes.
async fn ask(model: &ModelCache, value: u32, bytes: usize) -> CacheLookup {
    let answer = match model.look(&request(value)).await.unwrap() {
        Lookup::Hit(inference) => inference,
        Lookup::Miss(miss) => miss.store(Inference {
            outputs: vec![Tensor::from_vec("y", [bytes as u64], vec![value as u8; bytes]).unwrap()],
            timings: Timings::default(),
        }),
    };
    let data = answer.outputs[0].as_slice::<u8>().unwrap();
    assert!(data.len() == bytes && data.iter().all(|byte| *byte == value as u8));
    answer.timings.cache.expect("the model has a cache")
}

fn is_hit(lookup: CacheLookup) -> bool {
    matches!(lookup, CacheLookup::Hit(_))
}

#[tokio::test]
async fn an_answer_is_remembered_for_its_model_until_it_is_unloaded() {
    let cache = cache(1 << 20);
    let (one, other) = (open(&cache), open(&cache));
    assert!(!is_hit(ask(&one, 1, 100).await));
    assert!(is_hit(ask(&one, 1, 100).await));
    assert!(!is_hit(ask(&one, 2, 100).await));
    assert!(!is_hit(ask(&other, 1, 100).await));
    assert_eq!(cache.bytes(), 3 * (100 + ENTRY + OUTPUT));
    drop(one);
    assert_eq!(cache.bytes(), 100 + ENTRY + OUTPUT);
    assert!(is_hit(ask(&other, 1, 100).await));
}

#[tokio::test]
async fn the_bytes_are_bounded() {
    let cache = cache(100_000);
    let model = open(&cache);
    for value in 0..1000 {
        ask(&model, value, 1000).await;
        assert!(cache.bytes() <= 100_000);
    }
    assert!(cache.bytes() > 50_000, "{}", cache.bytes());
    assert!(!is_hit(ask(&model, 2000, 60_000).await));
    assert!(!is_hit(ask(&model, 2000, 60_000).await), "it is too large");
}

#[tokio::test]
async fn what_nobody_stores_is_not_remembered() {
    let cache = cache(1 << 20);
    let model = open(&cache);
    let looked = model.look(&request(1)).await.unwrap();
    assert!(matches!(looked, Lookup::Miss(_)));
    drop(looked);
    assert!(!is_hit(ask(&model, 1, 10).await));
}

#[tokio::test]
async fn large_inputs_are_hashed_elsewhere() {
    let cache = cache(1 << 20);
    let model = open(&cache);
    let large = [Tensor::from_vec("x", [3 << 20], vec![7_u8; 3 << 20]).unwrap()];
    let Lookup::Miss(miss) = model.look(&large).await.unwrap() else {
        panic!("nothing was stored");
    };
    miss.store(Inference {
        outputs: request(1),
        timings: Timings::default(),
    });
    let looked = model.look(&large).await.unwrap();
    assert!(matches!(looked, Lookup::Hit(_)));
}
