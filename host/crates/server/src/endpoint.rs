//! The paths of both listeners, by what metrics and traces call them. A path that a client made up is none of them.

mod paths;

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

pub(crate) use paths::{COMMON, PUBLIC};

/// A path and the methods that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The template for metrics and traces; empty where no path matches.
    pub(crate) template: &'static str,
    /// The methods, as the field `Allow` has them.
    pub(crate) allow: &'static str,
}

impl Endpoint {
    /// The methods but HEAD, each with the path, as an index lists them.
    pub(crate) fn lines(self) -> impl Iterator<Item = String> {
        let methods = self.allow.split(", ").filter(|method| *method != "HEAD");
        methods.map(move |method| format!("{method} {}", self.template))
    }

    /// Whether everybody may ask: what says that a server is here and how it is, and nothing of what it serves.
    pub(crate) fn is_open(self) -> bool {
        const OPEN: [&str; 8] = [
            "/",
            "/v2",
            "/v2/health/live",
            "/v2/health/ready",
            "/openapi.json",
            "/docs",
            "/docs/",
            "/docs/{asset}",
        ];
        OPEN.contains(&self.template)
    }
}

pub(crate) const UNKNOWN: Endpoint = Endpoint {
    template: "",
    allow: "",
};

/// Where inference is asked for. Each has a series of its own for what goes well.
pub(crate) const INFER: [Endpoint; 3] = [
    post("/v1/infer/{route}"),
    post("/v2/models/{model}/infer"),
    post("/v2/models/{model}/versions/{version}/infer"),
];

const fn post(template: &'static str) -> Endpoint {
    let allow = "POST";
    Endpoint { template, allow }
}

/// What an inference is asked of, as the path has it once it is decoded: nothing of it is checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    /// A route, in the native protocol.
    Route(Cow<'a, str>),
    /// A model, in the Open Inference Protocol, with the version where the path names one.
    Model {
        name: Cow<'a, str>,
        version: Option<Cow<'a, str>>,
    },
}

impl<'a> Target<'a> {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Route(name) | Self::Model { name, .. } => name,
        }
    }

    /// Whatever lies between is the name: one with a slash is refused as a name, and is no other path.
    fn model(path: &'a str) -> Option<(Endpoint, Self)> {
        let path = path.strip_prefix("/v2/models/")?.strip_suffix("/infer")?;
        Some(match path.split_once("/versions/") {
            None => {
                let (name, version) = (decoded(path), None);
                (INFER[1], Self::Model { name, version })
            }
            Some((name, version)) => {
                let (name, version) = (decoded(name), Some(decoded(version)));
                (INFER[2], Self::Model { name, version })
            }
        })
    }
}

/// Which listener a path is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    Public,
    Admin,
}

impl Surface {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Admin => "admin",
        }
    }

    /// The endpoint of a path; for inference with what it is asked of.
    pub(crate) fn find(self, path: &str) -> (Endpoint, Option<Target<'_>>) {
        if self == Self::Public {
            if let Some(route) = path.strip_prefix("/v1/infer/") {
                return (INFER[0], Some(Target::Route(decoded(route))));
            }
            if let Some((endpoint, target)) = Target::model(path) {
                return (endpoint, Some(target));
            }
        }
        (paths::find(self, path).unwrap_or(UNKNOWN), None)
    }
}

/// Undoes the percent-encoding of a part of a path (RFC 3986, 2.1). What is not UTF-8 then stays as it is: a percent sign is
/// in no name.
fn decoded(part: &str) -> Cow<'_, str> {
    let encoded = memchr::memchr(b'%', part.as_bytes());
    encoded.map_or(Cow::Borrowed(part), |_| {
        percent_decode_str(part)
            .decode_utf8()
            .unwrap_or(Cow::Borrowed(part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart_by_listener() {
        let template = |surface: Surface, path| surface.find(path).0.template;
        assert_eq!(
            Surface::Public.find("/v1/infer/iris"),
            (INFER[0], Some(Target::Route("iris".into())))
        );
        let model = |name: &'static str, version: Option<&'static str>| {
            let (name, version) = (name.into(), version.map(Cow::from));
            Some(Target::Model { name, version })
        };
        for (path, index, target) in [
            ("/v2/models/iris/infer", 1, model("iris", None)),
            ("/v2/models/a/b/infer", 1, model("a/b", None)),
            ("/v2/models//infer", 1, model("", None)),
            ("/v2/models/%69ris/infer", 1, model("iris", None)),
            ("/v2/models/a%2fb%ff/infer", 1, model("a%2fb%ff", None)),
            (
                "/v2/models/a%2Fversions%2F1/infer",
                1,
                model("a/versions/1", None),
            ),
            (
                "/v2/models/iris/versions/%31/infer",
                2,
                model("iris", Some("1")),
            ),
            (
                "/v2/models/iris/versions//infer",
                2,
                model("iris", Some("")),
            ),
            (
                "/v2/models/iris/versions/stable/infer",
                2,
                model("iris", Some("stable")),
            ),
            (
                "/v2/models/iris/versions/../../1/infer",
                2,
                model("iris", Some("../../1")),
            ),
        ] {
            assert_eq!(Surface::Public.find(path), (INFER[index], target));
            assert_eq!(Surface::Admin.find(path), (UNKNOWN, None));
        }
        for surface in [Surface::Public, Surface::Admin] {
            assert_eq!(template(surface, "/docs/swagger-ui.css"), "/docs/{asset}");
        }
        assert_eq!(template(Surface::Admin, "/v1/infer/iris"), "");
        assert_eq!(template(Surface::Admin, "/metrics"), "/metrics");
        assert_eq!(template(Surface::Public, "/metrics"), "");
        assert_eq!(template(Surface::Public, "/v1/made/up"), "");
    }
}
