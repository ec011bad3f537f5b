//! The version of the documents: by the path, or by the media type that the client accepts, which wins.

use http::header::ACCEPT;
use http::request::Parts;

use crate::problem::{Problem, Refusal};

/// How a media type of ours begins and ends: `application/vnd.wharf.v1+json`.
const VENDOR: &str = "application/vnd.wharf.";
const JSON: &str = "+json";
/// What the documents are as well, in the version of the path.
const PLAIN: [&str; 3] = ["application/json", "application/*", "*/*"];

/// A version of the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Flat.
    One,
    /// A superset of the documents of the Open Inference Protocol.
    Two,
}

impl Version {
    /// The version that a request asks for.
    ///
    /// # Errors
    /// 406 where it accepts only versions that there are not.
    pub(crate) fn of(parts: &Parts) -> Result<Self, Problem> {
        let by_path = match parts.uri.path().starts_with("/v2/") {
            true => Self::Two,
            false => Self::One,
        };
        Ok(Self::accepted(parts)?.unwrap_or(by_path))
    }

    /// The version that a request asks for by its media type.
    ///
    /// # Errors
    /// As [`Version::of`].
    pub(crate) fn accepted(parts: &Parts) -> Result<Option<Self>, Problem> {
        let fields = parts.headers.get_all(ACCEPT).iter();
        let ranges = fields.filter_map(|field| field.to_str().ok());
        let (mut best, mut unknown, mut anything) = (None::<(f32, Self)>, false, false);
        for range in ranges.flat_map(|field| field.split(',')) {
            let mut parts = range
                .split(';')
                .map(|part| part.trim().to_ascii_lowercase());
            let essence = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.trim().parse().ok());
            let weight: f32 = weight.unwrap_or(1.0);
            let Some(rest) = essence.strip_prefix(VENDOR) else {
                anything |= weight > 0.0 && PLAIN.contains(&&*essence);
                continue;
            };
            match rest.strip_suffix(JSON) {
                _ if weight <= 0.0 => {}
                Some("v1") => best = better(best, (weight, Self::One)),
                Some("v2") => best = better(best, (weight, Self::Two)),
                _ => unknown = true,
            }
        }
        if best.is_none() && unknown && !anything {
            let detail = "there is no such version; accept application/vnd.wharf.v1+json or application/vnd.wharf.v2+json";
            return Err(Refusal::not_acceptable(detail).into());
        }
        Ok(best.map(|(_, version)| version))
    }

    /// The media type of its documents.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::One => "application/vnd.wharf.v1+json",
            Self::Two => "application/vnd.wharf.v2+json",
        }
    }

    /// The path of a model in this version.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::One => "/v1/models",
            Self::Two => "/v2/models",
        }
    }
}

/// The one that the client prefers; of two, the first.
fn better(best: Option<(f32, Version)>, other: (f32, Version)) -> Option<(f32, Version)> {
    match best {
        Some(best) if best.0 >= other.0 => Some(best),
        _ => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_wins_over_the_path() {
        let of = |path: &str, accept: &str| {
            let request = http::Request::builder().uri(path).header(ACCEPT, accept);
            let (parts, ()) = request.body(()).unwrap().into_parts();
            Version::of(&parts).map_err(|problem| problem.status().as_u16())
        };
        let (one, two) = (
            "application/vnd.wharf.v1+json",
            "application/vnd.wharf.v2+json",
        );
        assert_eq!(of("/v1/models", "*/*"), Ok(Version::One));
        assert_eq!(of("/v2/models/a", "application/json"), Ok(Version::Two));
        assert_eq!(of("/v2/models/a", one), Ok(Version::One));
        assert_eq!(
            of("/v1/models/a", &format!("text/html, {two};q=0.5")),
            Ok(Version::Two)
        );
        assert_eq!(
            of("/v1/models", "Application/Vnd.Wharf.V2+JSON"),
            Ok(Version::Two)
        );
        let unknown = "application/vnd.wharf.v3+json";
        assert_eq!(of("/v1/models", unknown), Err(406));
        assert_eq!(
            of("/v1/models", &format!("{unknown}, {one}")),
            Ok(Version::One)
        );
        assert_eq!(of("/v1/models", "application/vnd.wharf.v1"), Err(406));
    }
}
