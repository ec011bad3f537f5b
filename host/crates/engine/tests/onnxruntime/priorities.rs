//! Levels of priority.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Site, eventually, infer, onnx, request, turns};

const LEVELS: &str =
    "[instances]\ncount = 1\n[batching]\npriority_levels = 3\nqueue_wait_ms = 600000";

#[tokio::test]
async fn higher_levels_go_first_and_equal_ones_in_their_order() {
    let site = Site::new();
    let model = site.serve(&onnx::slow(), LEVELS);
    let first = tokio::spawn({
        let model = Arc::clone(&model);
        async move { infer(&model, turns(1_000_000_000_000)).await }
    });
    eventually("the first runs", || model.load().in_flight == 1).await;
    let (done, mut order) = tokio::sync::mpsc::unbounded_channel();
    // The default is the middle one, also for a level that is not there.
    let levels = [Some(3), Some(1), None, Some(2), Some(4), Some(3), Some(1)];
    for (index, level) in levels.into_iter().enumerate() {
        let (model_of_task, done) = (Arc::clone(&model), done.clone());
        tokio::spawn(async move {
            let mut context = request(Duration::from_secs(60));
            context.scheduling.priority = level.and_then(NonZeroU32::new);
            // Long enough that the answers come one after another.
            model_of_task.infer(&context, turns(2000)).await.unwrap();
            done.send(index).unwrap();
        });
        eventually("it waits", || model.load().queue_depth as usize > index).await;
    }
    first.abort();
    let mut found = Vec::new();
    for _ in levels {
        found.push(order.recv().await.unwrap());
    }
    assert_eq!(found, [1, 6, 2, 3, 4, 0, 5]);
}

#[tokio::test]
async fn a_model_without_levels_does_not_look_at_them() {
    let site = Site::new();
    let mut context = request(Duration::from_secs(60));
    context.scheduling.priority = NonZeroU32::new(4);
    let model = site.serve(&onnx::slow(), "");
    model.infer(&context, turns(1)).await.unwrap();
}
