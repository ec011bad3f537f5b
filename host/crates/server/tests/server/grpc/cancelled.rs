//! What becomes of requests whose client leaves, in the statistics.

use serde_json::Value;
use wharf_server::inference::ModelStatisticsRequest;
use wharf_testkit::eventually;

use super::start;
use crate::support::grpc::floats;

#[tokio::test]
async fn a_cancelled_request_has_failed_over_rest_and_grpc_alike() {
    let server = start().await;
    let mut client = server.client().await;
    let mut leaving = client.clone();
    let call = tokio::spawn(async move { leaving.model_infer(floats("slow", &[1.0, 2.0])).await });
    server.gate().arrived(1).await;
    call.abort();
    eventually("the request is gone", || server.in_flight() == 0).await;

    // Triton counts it so: in its protocol only the answers of models that give several have a counter `cancel`.
    let asked = ModelStatisticsRequest {
        name: "slow".to_owned(),
        version: String::new(),
    };
    let told = client.model_statistics(asked).await.unwrap().into_inner();
    let model = &told.model_stats[0];
    let fail = model.inference_stats.unwrap().fail.unwrap();
    assert_eq!(fail.count, 1);
    assert!(fail.ns > 0 && model.response_stats.is_empty());
    let told = server.json("/v2/models/slow/stats").await;
    let stats = &told["model_stats"][0]["inference_stats"];
    assert_eq!(stats["fail"]["count"], 1);
    assert_eq!(stats["fail"]["ns"], fail.ns);
    assert_eq!(stats["success"]["count"], 0);
    assert_eq!(stats["cancel"], Value::Null);
    server.gate().open();
    server.end().await;
}
