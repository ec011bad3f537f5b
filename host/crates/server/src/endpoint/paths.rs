//! Every path but those of inference, with the methods that it takes.

use std::sync::LazyLock;

use super::{Endpoint, Surface};

const READ: &str = "GET, HEAD";
const POST: &str = "POST";
/// Settings of the server: a POST without changes reads them.
const READ_OR_CHANGE: &str = "GET, HEAD, POST";
/// What is managed: lists, their entries, and what an entry has.
const LIST: &str = "GET, HEAD, POST";
const MODEL: &str = "GET, HEAD, PUT, PATCH, DELETE";
const FILE: &str = "GET, HEAD, PUT, DELETE";
const UPLOAD: &str = "GET, HEAD, PATCH, DELETE";
const SETTINGS: &str = "GET, HEAD, PUT";

/// On both listeners.
pub(crate) const COMMON: [Endpoint; 4] = [
    of("/openapi.json", READ),
    of("/docs", READ),
    of("/docs/", READ),
    of("/docs/{asset}", READ),
];

/// On the public listener.
pub(crate) const PUBLIC: [Endpoint; 45] = [
    of("/", READ),
    // The Open Inference Protocol.
    of("/v2", READ),
    of("/v2/health/live", READ),
    of("/v2/health/ready", READ),
    // Its other methods are those of management.
    of("/v2/models/{model}", MODEL),
    of("/v2/models/{model}/ready", READ),
    of("/v2/models/{model}/config", READ),
    of("/v2/models/{model}/stats", READ),
    of("/v2/models/{model}/versions/{version}", READ),
    of("/v2/models/{model}/versions/{version}/ready", READ),
    of("/v2/models/{model}/versions/{version}/config", READ),
    of("/v2/models/{model}/versions/{version}/stats", READ),
    of("/v2/models/stats", READ),
    of("/v2/repository/index", POST),
    of("/v2/repository/models/{model}/load", POST),
    of("/v2/repository/models/{model}/unload", POST),
    of("/v2/systemsharedmemory/status", READ),
    of("/v2/systemsharedmemory/unregister", POST),
    of("/v2/systemsharedmemory/region/{region}/status", READ),
    of("/v2/systemsharedmemory/region/{region}/register", POST),
    of("/v2/systemsharedmemory/region/{region}/unregister", POST),
    of("/v2/cudasharedmemory/status", READ),
    of("/v2/cudasharedmemory/unregister", POST),
    of("/v2/cudasharedmemory/region/{region}/status", READ),
    of("/v2/cudasharedmemory/region/{region}/register", POST),
    of("/v2/cudasharedmemory/region/{region}/unregister", POST),
    of("/v2/trace/setting", READ_OR_CHANGE),
    of("/v2/models/{model}/trace/setting", READ_OR_CHANGE),
    of("/v2/logging", READ_OR_CHANGE),
    // Management.
    of("/v1/models", LIST),
    of("/v2/models", LIST),
    of("/v1/models/{model}", MODEL),
    of("/v1/models/{model}/artifacts", LIST),
    of("/v1/models/{model}/artifacts/uploads", READ),
    of("/v1/models/{model}/artifacts/uploads/{upload}", UPLOAD),
    of("/v1/models/{model}/artifacts/{version}/{file}", FILE),
    of("/v1/models/{model}/versions/{version}/promote", POST),
    of("/v1/models/{model}/rollback", POST),
    of("/v1/operations", READ),
    of("/v1/operations/{operation}", READ),
    of("/v1/plugins", READ),
    of("/v1/plugins/{plugin}", FILE),
    of("/v1/plugins/{plugin}/settings", SETTINGS),
    of("/v1/routes", READ),
    of("/v1/routes/{route}", FILE),
];

/// On the admin listener.
const ADMIN: [Endpoint; 6] = [
    of("/metrics", READ),
    of("/admin/snapshot", READ),
    of("/admin/reload", POST),
    of("/admin/bundles", READ),
    of("/admin/bundles/{bundle}/promote", POST),
    of("/admin/bundles/{bundle}/rollback", POST),
];

const fn of(template: &'static str, allow: &'static str) -> Endpoint {
    Endpoint { template, allow }
}

type Router = matchit::Router<Endpoint>;

/// The endpoint of a path, as the router of the listener finds it.
pub(super) fn find(surface: Surface, path: &str) -> Option<Endpoint> {
    static ROUTERS: LazyLock<[Router; 2]> = LazyLock::new(|| [router(&PUBLIC), router(&ADMIN)]);
    // A name that is empty is none, though a template would take it.
    if path.contains("//") {
        return None;
    }
    let [public, admin] = &*ROUTERS;
    let router = match surface {
        Surface::Public => public,
        Surface::Admin => admin,
    };
    router.at(path).ok().map(|found| *found.value)
}

fn router(endpoints: &[Endpoint]) -> Router {
    let mut router = Router::new();
    for endpoint in endpoints.iter().chain(&COMMON) {
        // Templates that are in each other's way would be refused; a test finds each of them.
        let _ = router.insert(endpoint.template, *endpoint);
    }
    router
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_found_by_its_template() {
        for (surface, endpoints) in [
            (Surface::Public, &PUBLIC[..]),
            (Surface::Public, &COMMON),
            (Surface::Admin, &ADMIN),
            (Surface::Admin, &COMMON),
        ] {
            for endpoint in endpoints {
                assert_eq!(find(surface, endpoint.template), Some(*endpoint));
            }
        }
    }

    #[test]
    fn made_up_paths_are_none() {
        for path in [
            "/v1",
            "/v1/models/",
            "/v1/models/a/",
            "/v1/models/a/b",
            "/v1/models/a/artifacts/",
            "/v1/models/a/artifacts/1",
            "/v1/models/a/artifacts/1/f/x",
            "/v1/models/a/artifacts/1/f/x/y/z",
            "/v1/models/a/versions/1",
            "/v1/models//rollback",
            "/v1/plugins/a/b",
            "/v1/routes/a/b",
            "/v1/operations/a/b",
            "/v2/",
            "/v2x",
            "/v2/models/",
            "/v2/models//ready",
            "/v2/models/a/",
            "/v2/models/a/b",
            "/v2/models/a/artifacts",
            "/v2/models/a/versions",
            "/v2/models/a/versions/",
            "/v2/models/a/versions/1/",
            "/v2/models/a/versions/1/x",
            "/v2/repository/models//load",
            "/v2/repository/models/a",
            "/v2/systemsharedmemory/region//status",
            "/v2/cudasharedmemory",
            "/v2/cudasharedmemory/region//status",
            "/v3/models",
            "/docs/a/b",
            "/admin/bundles",
            "/metrics",
        ] {
            assert_eq!(find(Surface::Public, path), None, "{path}");
        }
        for path in [
            "/admin/bundles/shop/3/promote",
            "/admin/bundles//promote",
            "/admin/bundles/",
            "/v1/models",
        ] {
            assert_eq!(find(Surface::Admin, path), None, "{path}");
        }
    }
}
