//! The paths of the protocol but those of inference, by what metrics and traces call them.

use crate::endpoint::Endpoint;

const READ: &str = "GET, HEAD";
const POST: &str = "POST";
const BOTH: &str = "GET, HEAD, POST";

/// The endpoints, as the index of the server lists them.
pub(crate) const ENDPOINTS: [&str; 20] = [
    "GET /v2",
    "GET /v2/models/{model}[/versions/{version}]",
    "GET /v2/models/{model}[/versions/{version}]/ready",
    "GET /v2/models/{model}[/versions/{version}]/config",
    "GET /v2/models/{model}[/versions/{version}]/stats",
    "GET /v2/models/stats",
    "POST /v2/repository/index",
    "POST /v2/repository/models/{model}/load",
    "POST /v2/repository/models/{model}/unload",
    "GET /v2/systemsharedmemory/status",
    "GET /v2/systemsharedmemory/region/{region}/status",
    "POST /v2/systemsharedmemory/region/{region}/register",
    "POST /v2/systemsharedmemory/region/{region}/unregister",
    "POST /v2/systemsharedmemory/unregister",
    "GET /v2/trace/setting",
    "POST /v2/trace/setting",
    "GET /v2/models/{model}/trace/setting",
    "POST /v2/models/{model}/trace/setting",
    "GET /v2/logging",
    "POST /v2/logging",
];

/// The endpoint of a path.
pub(crate) fn endpoint(path: &str) -> Option<Endpoint> {
    let path = path.strip_prefix("/v2")?;
    if path.is_empty() {
        return Some(of("/v2", READ));
    }
    if let Some(path) = path.strip_prefix("/models/") {
        return model(path);
    }
    if let Some(path) = path.strip_prefix("/repository/") {
        return repository(path);
    }
    if let Some(path) = path.strip_prefix("/systemsharedmemory/") {
        return shared_memory(path);
    }
    // Not in the index: of the memory of a GPU, nothing can be registered.
    if let Some(path) = path.strip_prefix("/cudasharedmemory/") {
        return gpu_memory(path);
    }
    match path {
        "/trace/setting" => Some(of("/v2/trace/setting", BOTH)),
        "/logging" => Some(of("/v2/logging", BOTH)),
        _ => None,
    }
}

fn of(template: &'static str, allow: &'static str) -> Endpoint {
    Endpoint { template, allow }
}

fn model(path: &str) -> Option<Endpoint> {
    let Some((name, rest)) = path.split_once('/') else {
        return match path {
            "" => None,
            "stats" => Some(of("/v2/models/stats", READ)),
            // Its other methods are those of management.
            _ => Some(of("/v2/models/{model}", "GET, HEAD, PUT, PATCH, DELETE")),
        };
    };
    if name.is_empty() {
        return None;
    }
    let template = match rest {
        "ready" => "/v2/models/{model}/ready",
        "config" => "/v2/models/{model}/config",
        "stats" => "/v2/models/{model}/stats",
        "trace/setting" => return Some(of("/v2/models/{model}/trace/setting", BOTH)),
        _ => return version(rest.strip_prefix("versions/")?),
    };
    Some(of(template, READ))
}

fn version(path: &str) -> Option<Endpoint> {
    let (version, rest) = path.split_once('/').unwrap_or((path, ""));
    let template = match rest {
        _ if version.is_empty() => return None,
        "" if path.len() == version.len() => "/v2/models/{model}/versions/{version}",
        "ready" => "/v2/models/{model}/versions/{version}/ready",
        "config" => "/v2/models/{model}/versions/{version}/config",
        "stats" => "/v2/models/{model}/versions/{version}/stats",
        _ => return None,
    };
    Some(of(template, READ))
}

fn repository(path: &str) -> Option<Endpoint> {
    if path == "index" {
        return Some(of("/v2/repository/index", POST));
    }
    let (name, action) = path.strip_prefix("models/")?.split_once('/')?;
    let template = match action {
        _ if name.is_empty() => return None,
        "load" => "/v2/repository/models/{model}/load",
        "unload" => "/v2/repository/models/{model}/unload",
        _ => return None,
    };
    Some(of(template, POST))
}

fn shared_memory(path: &str) -> Option<Endpoint> {
    match path {
        "status" => return Some(of("/v2/systemsharedmemory/status", READ)),
        "unregister" => return Some(of("/v2/systemsharedmemory/unregister", POST)),
        _ => {}
    }
    let (name, action) = path.strip_prefix("region/")?.split_once('/')?;
    match action {
        _ if name.is_empty() => None,
        "status" => Some(of("/v2/systemsharedmemory/region/{region}/status", READ)),
        "register" => Some(of("/v2/systemsharedmemory/region/{region}/register", POST)),
        "unregister" => Some(of(
            "/v2/systemsharedmemory/region/{region}/unregister",
            POST,
        )),
        _ => None,
    }
}

fn gpu_memory(path: &str) -> Option<Endpoint> {
    match path {
        "status" => return Some(of("/v2/cudasharedmemory/status", READ)),
        "unregister" => return Some(of("/v2/cudasharedmemory/unregister", POST)),
        _ => {}
    }
    let (name, action) = path.strip_prefix("region/")?.split_once('/')?;
    match action {
        _ if name.is_empty() => None,
        "status" => Some(of("/v2/cudasharedmemory/region/{region}/status", READ)),
        "register" => Some(of("/v2/cudasharedmemory/region/{region}/register", POST)),
        "unregister" => Some(of("/v2/cudasharedmemory/region/{region}/unregister", POST)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_of_the_index_has_its_template() {
        for line in ENDPOINTS {
            let (method, template) = line.split_once(' ').unwrap();
            let long = template.replace(['[', ']'], "");
            let short = template
                .split_once('[')
                .and_then(|(before, rest)| Some(format!("{before}{}", rest.split_once(']')?.1)));
            for template in short.into_iter().chain([long]) {
                let found = endpoint(&template).unwrap();
                assert_eq!(found.template, template);
                assert!(found.allow.contains(method), "{line}");
            }
        }
    }

    #[test]
    fn made_up_paths_are_none() {
        for path in [
            "/v2/",
            "/v2x",
            "/v2/models",
            "/v2/models/",
            "/v2/models//ready",
            "/v2/models/a/",
            "/v2/models/a/b",
            "/v2/models/a/versions",
            "/v2/models/a/versions/",
            "/v2/models/a/versions/1/",
            "/v2/models/a/versions/1/x",
            "/v2/repository/models//load",
            "/v2/repository/models/a",
            "/v2/systemsharedmemory/region//status",
            "/v2/cudasharedmemory",
            "/v2/cudasharedmemory/region//status",
            "/v1/routes",
        ] {
            assert_eq!(endpoint(path), None, "{path}");
        }
    }
}
