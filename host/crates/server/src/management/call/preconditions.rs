//! `If-Match` and `If-None-Match` (RFC 9110, 13): of two who change the same thing, the later one learns of the earlier.

use http::HeaderMap;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use wharf_core::{Digest, Error};
use wharf_serving::Precondition;

use crate::problem::Problem;

/// The entity tag of a content. It is strong: an equal tag is an equal content.
pub(crate) fn entity_tag(content: Digest) -> String {
    format!("\"{content}\"")
}

/// What a request says must be so.
///
/// # Errors
/// `InvalidArgument` where a field is neither `*` nor one tag.
pub(crate) fn precondition(headers: &HeaderMap) -> Result<Precondition, Problem> {
    let wanted = headers.get(IF_MATCH);
    let unwanted = headers.get(IF_NONE_MATCH);
    match (wanted, unwanted) {
        (None, None) => Ok(Precondition::None),
        (None, Some(value)) if value.as_bytes() == b"*" => Ok(Precondition::Absent),
        (Some(value), None) if value.as_bytes() == b"*" => Ok(Precondition::Present),
        (Some(value), None) => match value.to_str().ok().and_then(wanted_tag) {
            Some(digest) => Ok(Precondition::Is(digest)),
            None => {
                let message = "send one entity tag as the ETag has it, in its quotes, or *";
                Err(Error::invalid("if-match", message).into())
            }
        },
        (None, Some(_)) => {
            let message = "a change takes only If-None-Match: *, where nothing may be there yet";
            Err(Error::invalid("if-none-match", message).into())
        }
        (Some(_), Some(_)) => {
            let message = "send If-Match or If-None-Match, and not both";
            Err(Error::invalid("if-match", message).into())
        }
    }
}

/// Whether a field has the tag of a content, or is `*`. For reading, weak tags are as good.
pub(crate) fn has_tag(field: &str, content: Digest) -> bool {
    let tag = entity_tag(content);
    let mut tags = field.split(',').map(str::trim);
    tags.any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
}

/// The content that a list of tags names; none where it is no list of tags, or two of them are ours. Others are of no content that can be
/// there.
fn wanted_tag(field: &str) -> Option<Digest> {
    let tags = field.split(',').map(str::trim);
    if !tags
        .clone()
        .all(|tag| tag.starts_with('"') && tag.len() > 1 && tag.ends_with('"'))
    {
        return None;
    }
    let mut ours = tags.filter_map(digest);
    match (ours.next(), ours.next()) {
        (_, Some(_)) => None,
        (wanted, None) => Some(wanted.unwrap_or(Digest::new([0; 32]))),
    }
}

fn digest(tag: &str) -> Option<Digest> {
    let text = tag.strip_prefix('"')?.strip_suffix('"')?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_stars_are_read_and_the_rest_is_refused() {
        let content = Digest::new([0xab; 32]);
        let of = |fields: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.insert(*name, value.parse().unwrap());
            }
            precondition(&headers).ok()
        };
        let tag = entity_tag(content);
        assert_eq!(of(&[]), Some(Precondition::None));
        assert_eq!(of(&[("if-match", &tag)]), Some(Precondition::Is(content)));
        assert_eq!(of(&[("if-match", "*")]), Some(Precondition::Present));
        assert_eq!(of(&[("if-none-match", "*")]), Some(Precondition::Absent));
        assert!(matches!(
            of(&[("if-match", "\"other\"")]),
            Some(Precondition::Is(_))
        ));
        let other = entity_tag(Digest::new([0xcd; 32]));
        let (one, two) = (format!("\"x\", {tag}"), format!("{other}, {tag}"));
        assert_eq!(of(&[("if-match", &one)]), Some(Precondition::Is(content)));
        for fields in [
            [("if-match", "W/\"a\"")].as_slice(),
            &[("if-match", &*two)],
            &[("if-match", "abc")],
            &[("if-none-match", &tag)],
            &[("if-match", "*"), ("if-none-match", "*")],
        ] {
            assert_eq!(of(fields), None, "{fields:?}");
        }
        assert!(has_tag(&format!("\"x\", W/{tag}"), content) && has_tag("*", content));
        assert!(!has_tag("\"x\"", content));
        assert_eq!("+f".repeat(32).parse::<Digest>().ok(), None);
    }
}
