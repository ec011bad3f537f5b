//! What the handles of a guest stand for.
//!
//! wasmtime has a table for such, which WASI uses. It takes values of any type, each in a box of its own, and knows which was made
//! out of which; for the few kinds of the contract that costs more than the rest of what the host does for a handle.

use slab::Slab;
use wasmtime::component::Resource;
use wharf_core::{Body, Tensor};

use crate::abilities::codec::Tokenizer;
use crate::limits::LimitBroken;

/// The handles of an instance.
pub(crate) struct Handles {
    values: Slab<Value>,
    most: u32,
}

/// What a handle stands for.
pub(crate) enum Value {
    Tensor(Tensor),
    Body(Body),
    Tokenizer(Tokenizer),
}

/// A kind of what handles stand for.
pub(crate) trait Kind: Sized + 'static {
    fn value(self) -> Value;
    fn of(value: &Value) -> Option<&Self>;
    fn out_of(value: Value) -> Option<Self>;
}

macro_rules! kinds {
    ($($kind:ident)+) => {
        $(impl Kind for $kind {
            fn value(self) -> Value {
                Value::$kind(self)
            }

            fn of(value: &Value) -> Option<&Self> {
                match value {
                    Value::$kind(it) => Some(it),
                    _ => None,
                }
            }

            fn out_of(value: Value) -> Option<Self> {
                match value {
                    Value::$kind(it) => Some(it),
                    _ => None,
                }
            }
        })+
    };
}

kinds!(Tensor Body Tokenizer);

impl Handles {
    /// Handles of which there may be so many.
    pub(crate) fn new(most: u32) -> Self {
        Self {
            values: Slab::new(),
            most,
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.values.len()
    }

    /// Makes a handle.
    ///
    /// # Errors
    /// Where there are too many.
    pub(crate) fn keep<T: Kind>(&mut self, value: T) -> Result<Resource<T>, LimitBroken> {
        if self.count() >= self.most as usize {
            return Err(LimitBroken::handles(self.most));
        }
        // There are fewer than 2^32.
        let rep = self.values.insert(value.value()) as u32;
        Ok(Resource::new_own(rep))
    }

    /// What a handle stands for.
    ///
    /// # Errors
    /// Where there is no such handle: wasmtime gives guests only what is there, so that this is a mistake of the host.
    pub(crate) fn get<T: Kind>(&self, handle: &Resource<T>) -> wasmtime::Result<&T> {
        let value = self.values.get(handle.rep() as usize);
        value.and_then(T::of).ok_or_else(unknown)
    }

    /// Takes a value back together with its handle.
    ///
    /// # Errors
    /// See [`Self::get`].
    #[expect(clippy::needless_pass_by_value, reason = "the handle is gone with it")]
    pub(crate) fn take<T: Kind>(&mut self, handle: Resource<T>) -> wasmtime::Result<T> {
        debug_assert!(handle.owned(), "what is lent is somebody else's");
        let value = self.values.try_remove(handle.rep() as usize);
        value.and_then(T::out_of).ok_or_else(unknown)
    }
}

fn unknown() -> wasmtime::Error {
    wasmtime::format_err!("the guest has no such handle")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &'static str) -> Body {
        Body {
            media_type: "text/plain".into(),
            data: text.into(),
        }
    }

    #[test]
    fn a_handle_stands_for_one_value_of_its_kind() {
        let mut handles = Handles::new(2);
        let first = handles.keep(body("first")).unwrap();
        let second = handles.keep(body("second")).unwrap();
        assert_eq!(handles.get(&first).unwrap().data, "first");
        assert_eq!(handles.get(&second).unwrap().data, "second");
        let rep = first.rep();
        assert!(handles.get(&Resource::<Tensor>::new_own(rep)).is_err());
        assert_eq!(handles.take(first).unwrap().data, "first");
        let gone = Resource::<Body>::new_own(rep);
        assert!(handles.get(&gone).is_err());
        assert!(handles.take(gone).is_err());
        assert_eq!(handles.count(), 1);
    }

    #[test]
    fn there_are_no_more_than_the_limit() {
        let mut handles = Handles::new(1);
        let first = handles.keep(body("first")).unwrap();
        let broken = handles.keep(body("second")).unwrap_err();
        assert_eq!((broken.setting, broken.value), ("handles", 1));
        handles.take(first).unwrap();
        handles.keep(body("second")).unwrap();
    }
}
