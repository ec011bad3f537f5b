//! The paths of management, by what metrics and traces call them.

use crate::endpoint::Endpoint;

const LIST: &str = "GET, HEAD, POST";
const MODEL: &str = "GET, HEAD, PUT, PATCH, DELETE";
const FILE: &str = "GET, HEAD, PUT, DELETE";
const UPLOAD: &str = "GET, HEAD, PATCH, DELETE";
const SETTINGS: &str = "GET, HEAD, PUT";
const READ: &str = "GET, HEAD";
const POST: &str = "POST";

/// The endpoints, as the index of the server lists them.
pub(crate) const ENDPOINTS: [&str; 35] = [
    "GET /v1/models",
    "POST /v1/models",
    "GET /v2/models",
    "POST /v2/models",
    "GET /v1/models/{model}",
    "PUT /v1/models/{model}",
    "PATCH /v1/models/{model}",
    "DELETE /v1/models/{model}",
    "PUT /v2/models/{model}",
    "PATCH /v2/models/{model}",
    "DELETE /v2/models/{model}",
    "GET /v1/models/{model}/artifacts",
    "POST /v1/models/{model}/artifacts",
    "GET /v1/models/{model}/artifacts/uploads/{upload}",
    "HEAD /v1/models/{model}/artifacts/uploads/{upload}",
    "PATCH /v1/models/{model}/artifacts/uploads/{upload}",
    "DELETE /v1/models/{model}/artifacts/uploads/{upload}",
    "GET /v1/models/{model}/artifacts/{version}/{file}",
    "HEAD /v1/models/{model}/artifacts/{version}/{file}",
    "PUT /v1/models/{model}/artifacts/{version}/{file}",
    "DELETE /v1/models/{model}/artifacts/{version}/{file}",
    "POST /v1/models/{model}/versions/{version}/promote",
    "POST /v1/models/{model}/rollback",
    "GET /v1/operations",
    "GET /v1/operations/{operation}",
    "GET /v1/plugins/{plugin}",
    "HEAD /v1/plugins/{plugin}",
    "PUT /v1/plugins/{plugin}",
    "DELETE /v1/plugins/{plugin}",
    "GET /v1/plugins/{plugin}/settings",
    "PUT /v1/plugins/{plugin}/settings",
    "GET /v1/routes/{route}",
    "HEAD /v1/routes/{route}",
    "PUT /v1/routes/{route}",
    "DELETE /v1/routes/{route}",
];

/// The endpoint of a path.
pub(crate) fn endpoint(path: &str) -> Option<Endpoint> {
    let mut parts = path.strip_prefix('/')?.split('/');
    let mut next = || parts.next();
    let parts = [
        next(),
        next(),
        next(),
        next(),
        next(),
        next(),
        next(),
        next(),
    ];
    // A name that is empty is none.
    if parts.iter().flatten().skip(2).any(|part| part.is_empty()) || parts[7].is_some() {
        return None;
    }
    let of = |template, allow| Some(Endpoint { template, allow });
    let [version, kind, name, part, first, second, third, _] = parts;
    match (version?, kind?, name, (part, first, second, third)) {
        ("v1", "models", None, _) => of("/v1/models", LIST),
        ("v2", "models", None, _) => of("/v2/models", LIST),
        ("v1", "models", Some(_), rest) => of_model(rest),
        ("v2", "models", Some(name), (None, ..)) if name != "stats" => {
            of("/v2/models/{model}", MODEL)
        }
        ("v1", "operations", None, _) => of("/v1/operations", READ),
        ("v1", "operations", Some(_), (None, ..)) => of("/v1/operations/{operation}", READ),
        ("v1", "plugins", Some(_), (None, ..)) => of("/v1/plugins/{plugin}", FILE),
        ("v1", "plugins", Some(_), (Some("settings"), None, ..)) => {
            of("/v1/plugins/{plugin}/settings", SETTINGS)
        }
        ("v1", "routes", Some(_), (None, ..)) => of("/v1/routes/{route}", FILE),
        _ => None,
    }
}

type Rest<'a> = (
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
);

fn of_model(rest: Rest<'_>) -> Option<Endpoint> {
    let (template, allow) = match rest {
        (None, ..) => ("/v1/models/{model}", MODEL),
        (Some("rollback"), None, ..) => ("/v1/models/{model}/rollback", POST),
        (Some("versions"), Some(_), Some("promote"), None) => {
            ("/v1/models/{model}/versions/{version}/promote", POST)
        }
        (Some("artifacts"), None, ..) => ("/v1/models/{model}/artifacts", LIST),
        (Some("artifacts"), Some("uploads"), Some(_), None) => {
            ("/v1/models/{model}/artifacts/uploads/{upload}", UPLOAD)
        }
        (Some("artifacts"), Some(_), Some(_), None) => {
            ("/v1/models/{model}/artifacts/{version}/{file}", FILE)
        }
        _ => return None,
    };
    Some(Endpoint { template, allow })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_of_the_index_has_its_template() {
        for line in ENDPOINTS {
            let (method, template) = line.split_once(' ').unwrap();
            let found = endpoint(template).unwrap_or_else(|| panic!("{template}"));
            assert_eq!(found.template, template);
            assert!(
                found.allow.split(", ").any(|allowed| allowed == method),
                "{line}"
            );
        }
    }

    #[test]
    fn made_up_paths_are_none() {
        for path in [
            "/",
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
            "/v2/models/a/artifacts",
            "/v2/models/stats",
            "/v3/models",
            "/v1/plugins",
            "/v1/plugins/a/b",
            "/v1/routes/a/b",
            "/v1/operations/a/b",
        ] {
            assert_eq!(endpoint(path), None, "{path}");
        }
    }
}
