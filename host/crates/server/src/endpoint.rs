//! The paths of both listeners, by what metrics and traces call them. A path that a client made up is none of them.

/// A path and the methods that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The template for metrics and traces; empty where no path matches.
    pub(crate) template: &'static str,
    /// The methods, as the field `Allow` has them.
    pub(crate) allow: &'static str,
}

pub(crate) const UNKNOWN: Endpoint = Endpoint {
    template: "",
    allow: "",
};

pub(crate) const INFER: Endpoint = Endpoint {
    template: "/v1/infer/{route}",
    allow: "POST",
};

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

    /// The endpoint of a path; for inference with the name of the route, unchecked.
    pub(crate) fn find(self, path: &str) -> (Endpoint, Option<&str>) {
        if self == Self::Public
            && let Some(route) = path.strip_prefix("/v1/infer/")
        {
            return (INFER, Some(route));
        }
        let endpoint = |template, allow| (Endpoint { template, allow }, None);
        const READ: &str = "GET, HEAD";
        match (self, path) {
            (Self::Public, "/") => endpoint("/", READ),
            (Self::Public, "/v1/routes") => endpoint("/v1/routes", READ),
            (Self::Public, "/v1/models") => endpoint("/v1/models", READ),
            (Self::Public, "/v1/plugins") => endpoint("/v1/plugins", READ),
            (Self::Public, "/v2/health/live") => endpoint("/v2/health/live", READ),
            (Self::Public, "/v2/health/ready") => endpoint("/v2/health/ready", READ),
            (Self::Admin, "/metrics") => endpoint("/metrics", READ),
            (Self::Admin, "/admin/snapshot") => endpoint("/admin/snapshot", READ),
            (Self::Admin, "/admin/reload") => endpoint("/admin/reload", "POST"),
            _ => (UNKNOWN, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart_by_listener() {
        let template = |surface: Surface, path| surface.find(path).0.template;
        assert_eq!(
            Surface::Public.find("/v1/infer/iris"),
            (INFER, Some("iris"))
        );
        assert_eq!(template(Surface::Admin, "/v1/infer/iris"), "");
        assert_eq!(template(Surface::Admin, "/metrics"), "/metrics");
        assert_eq!(template(Surface::Public, "/metrics"), "");
        assert_eq!(template(Surface::Public, "/v1/made/up"), "");
    }
}
