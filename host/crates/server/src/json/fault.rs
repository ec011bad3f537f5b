//! What is wrong with a JSON text, and where.

use std::borrow::Cow;

use wharf_core::Error;

/// What is wrong with a value, and where inside it. Boxed: readers give it back from their innermost loops.
#[derive(Debug)]
pub(crate) struct Fault(Box<Inner>);

#[derive(Debug)]
struct Inner {
    /// The indices from the value to what is wrong: `[3][1]`.
    place: String,
    message: Cow<'static, str>,
}

impl Fault {
    #[cold]
    pub(crate) fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            place: String::new(),
            message: message.into(),
        }))
    }

    /// Says where it is.
    #[cold]
    pub(crate) fn at(mut self, indices: &[u64]) -> Self {
        for index in indices {
            self.0.place.push('[');
            self.0.place.push_str(itoa::Buffer::new().format(*index));
            self.0.place.push(']');
        }
        self
    }

    /// Makes it an error of the request, in the named field.
    #[cold]
    pub(crate) fn within(self, field: impl Into<String>) -> Error {
        let mut field = field.into();
        field.push_str(&self.0.place);
        Error::invalid(field, self.0.message)
    }
}

/// An error of the request, or a fault whose field the reader around it knows.
pub(crate) enum Unplaced {
    Fault(Fault),
    Error(Error),
}

impl Unplaced {
    /// Makes it an error of the request, in the named field where it has none yet.
    #[cold]
    pub(crate) fn within(self, field: impl Into<String>) -> Error {
        match self {
            Self::Fault(fault) => fault.within(field),
            Self::Error(error) => error,
        }
    }
}

impl From<Fault> for Unplaced {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Error> for Unplaced {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}
