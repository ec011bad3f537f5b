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

mod value;

use axum::routing::{delete, get, patch, post, put};

use crate::app::AppHandle;
use crate::call::handler;
use call::managed;

pub(crate) use artifacts::{
    ArtifactDocument, ArtifactList, NewUploadDocument, UploadDocument, UploadList,
};
pub(crate) use call::{IdempotencyKeys, Version};
pub(crate) use models::{
    FlatModel, MAX_LIMIT, ModelList, ProtocolModel, ProtocolModelList, flat_if_asked, superset,
};
pub(crate) use operations::{OperationDocument, OperationList, Operations, PromoteInput};

/// The paths of management.
pub(crate) fn router(app: &AppHandle) -> axum::Router {
    let on = |answer| handler(app, answer);
    let mut router = axum::Router::new();
    for models in ["/v1/models", "/v2/models"] {
        router = router.route(
            models,
            get(on(managed(models::list))).merge(post(on(managed(models::register)))),
        );
    }
    // Reading version 2 is the business of the protocol that it is a superset of.
    for model in ["/v1/models/{model}", "/v2/models/{model}"] {
        let writing = put(on(managed(models::replace)))
            .merge(patch(on(managed(models::patch))))
            .merge(delete(on(managed(models::remove))));
        router = router.route(model, writing);
    }
    router
        .route("/v1/models/{model}", get(on(managed(models::read))))
        .route(
            "/v1/models/{model}/artifacts",
            get(on(managed(artifacts::list))).merge(post(on(managed(artifacts::begin)))),
        )
        .route(
            "/v1/models/{model}/artifacts/uploads",
            get(on(managed(artifacts::uploads))),
        )
        .route(
            "/v1/models/{model}/artifacts/uploads/{upload}",
            get(on(managed(artifacts::upload)))
                .merge(patch(on(managed(artifacts::append))))
                .merge(delete(on(managed(artifacts::abandon)))),
        )
        .route(
            "/v1/models/{model}/artifacts/{version}/{file}",
            get(on(managed(artifacts::download)))
                .merge(put(on(managed(artifacts::put))))
                .merge(delete(on(managed(artifacts::remove)))),
        )
        .route(
            "/v1/models/{model}/versions/{version}/promote",
            post(on(managed(operations::promote))),
        )
        .route(
            "/v1/models/{model}/rollback",
            post(on(managed(operations::roll_back))),
        )
        .route("/v1/operations", get(on(managed(operations::list))))
        .route(
            "/v1/operations/{operation}",
            get(on(managed(operations::read))),
        )
        .route(
            "/v1/plugins/{plugin}",
            get(on(managed(plugins::read)))
                .merge(put(on(managed(plugins::replace))))
                .merge(delete(on(managed(plugins::remove)))),
        )
        .route(
            "/v1/plugins/{plugin}/settings",
            get(on(managed(plugins::read_settings)))
                .merge(put(on(managed(plugins::replace_settings)))),
        )
        .route(
            "/v1/routes/{route}",
            get(on(managed(routes::read)))
                .merge(put(on(managed(routes::replace))))
                .merge(delete(on(managed(routes::remove)))),
        )
}
