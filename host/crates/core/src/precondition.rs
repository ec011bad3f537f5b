//! What a client says must be so for its change to be made: without it, of two who change the same thing the later one would undo
//! what the earlier did, and neither would know.

use crate::{Digest, Error, ErrorKind, Result};

/// The field that a refusal names; the server tells by it that a precondition failed.
pub const IF_MATCH: &str = "if-match";
/// The same where nothing was to be there.
pub const IF_NONE_MATCH: &str = "if-none-match";

/// What must be so for a change to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// Nothing is there yet.
    Absent,
    /// Something is there.
    Present,
    /// What is there has this content.
    Is(Digest),
}

impl Precondition {
    /// Compares with what is there.
    ///
    /// # Errors
    /// `Conflict` with [`IF_MATCH`] or [`IF_NONE_MATCH`] as the field.
    pub fn check(self, there: Option<Digest>) -> Result<()> {
        let refused =
            |field, message| Err(Error::new(ErrorKind::Conflict, message).with_field(field));
        match (self, there) {
            (Self::None, _) | (Self::Absent, None) | (Self::Present, Some(_)) => Ok(()),
            (Self::Is(wanted), Some(there)) if wanted == there => Ok(()),
            (Self::Absent, Some(_)) => refused(
                IF_NONE_MATCH,
                "it is there already; read it, and change what it is now",
            ),
            (Self::Present | Self::Is(_), None) => refused(IF_MATCH, "it is not there"),
            (Self::Is(_), Some(_)) => refused(
                IF_MATCH,
                "it was changed since it was read; read it again, and change what it is now",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_compared() {
        let (old, new) = (Digest::new([1; 32]), Digest::new([2; 32]));
        for (precondition, there, refused) in [
            (Precondition::None, None, None),
            (Precondition::None, Some(old), None),
            (Precondition::Absent, None, None),
            (Precondition::Absent, Some(old), Some(IF_NONE_MATCH)),
            (Precondition::Present, Some(old), None),
            (Precondition::Present, None, Some(IF_MATCH)),
            (Precondition::Is(old), Some(old), None),
            (Precondition::Is(old), Some(new), Some(IF_MATCH)),
            (Precondition::Is(old), None, Some(IF_MATCH)),
        ] {
            let checked = precondition.check(there);
            let field = checked.as_ref().err().and_then(Error::field);
            assert_eq!(field, refused, "{precondition:?} {there:?}");
        }
    }
}
