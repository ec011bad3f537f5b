//! The management of what a site has: models, their artifacts and versions, plugins and routes, over HTTP and JSON.
//!
//! The site folder is the one truth. What is read here is read from it, and what is changed here lands in it, as a load by request does:
//! checked, staged, and put there by a rename. Every handler says what it does with `may`, before it looks at a body.

mod call;

mod models;

mod artifacts;
mod operations;

mod plugins;
mod routes;

mod paths;
mod value;

use axum::routing::{delete, get, patch, post, put};

use crate::app::AppHandle;
use call::{boxed, handler};

pub(crate) use artifacts::{ArtifactDocument, ArtifactList, NewUploadDocument, UploadDocument};
pub(crate) use call::{IdempotencyKeys, Version};
pub(crate) use models::{
    FlatModel, MAX_LIMIT, ModelList, ProtocolModel, ProtocolModelList, flat_if_asked, superset,
};
pub(crate) use operations::{OperationDocument, OperationList, Operations, PromoteInput};
pub(crate) use paths::{ENDPOINTS, endpoint};

/// The paths of management.
pub(crate) fn router(app: &AppHandle) -> axum::Router {
    let on = |answer| handler(app, answer);
    let mut router = axum::Router::new();
    for models in ["/v1/models", "/v2/models"] {
        router = router.route(
            models,
            get(on(boxed(models::list))).merge(post(on(boxed(models::register)))),
        );
    }
    // Reading version 2 is the business of the protocol that it is a superset of.
    for model in ["/v1/models/{model}", "/v2/models/{model}"] {
        let writing = put(on(boxed(models::replace)))
            .merge(patch(on(boxed(models::patch))))
            .merge(delete(on(boxed(models::remove))));
        router = router.route(model, writing);
    }
    router
        .route("/v1/models/{model}", get(on(boxed(models::read))))
        .route(
            "/v1/models/{model}/artifacts",
            get(on(boxed(artifacts::list))).merge(post(on(boxed(artifacts::begin)))),
        )
        .route(
            "/v1/models/{model}/artifacts/uploads/{upload}",
            get(on(boxed(artifacts::upload)))
                .merge(patch(on(boxed(artifacts::append))))
                .merge(delete(on(boxed(artifacts::abandon)))),
        )
        .route(
            "/v1/models/{model}/artifacts/{version}/{file}",
            get(on(boxed(artifacts::download)))
                .merge(put(on(boxed(artifacts::put))))
                .merge(delete(on(boxed(artifacts::remove)))),
        )
        .route(
            "/v1/models/{model}/versions/{version}/promote",
            post(on(boxed(operations::promote))),
        )
        .route(
            "/v1/models/{model}/rollback",
            post(on(boxed(operations::roll_back))),
        )
        .route("/v1/operations", get(on(boxed(operations::list))))
        .route(
            "/v1/operations/{operation}",
            get(on(boxed(operations::read))),
        )
        .route(
            "/v1/plugins/{plugin}",
            get(on(boxed(plugins::read)))
                .merge(put(on(boxed(plugins::replace))))
                .merge(delete(on(boxed(plugins::remove)))),
        )
        .route(
            "/v1/plugins/{plugin}/settings",
            get(on(boxed(plugins::read_settings))).merge(put(on(boxed(plugins::replace_settings)))),
        )
        .route(
            "/v1/routes/{route}",
            get(on(boxed(routes::read)))
                .merge(put(on(boxed(routes::replace))))
                .merge(delete(on(boxed(routes::remove)))),
        )
}
