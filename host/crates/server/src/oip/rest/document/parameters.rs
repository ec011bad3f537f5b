//! Plain values: names, and the parameters of requests, inputs and outputs.

use std::borrow::Cow;

use wharf_core::{Error, Result};

use crate::json::{Cursor, Fault, Plain, Unplaced, shorten};
use crate::oip::parameters::Value;

/// Reads text.
pub(super) fn text<'a>(cursor: &mut Cursor<'a>) -> Result<Cow<'a, str>, Fault> {
    match cursor.plain()? {
        Some(Plain::Text(text)) => Ok(text),
        _ => Err(Fault::new("is text")),
    }
}

/// Reads text; none for `null`, which clients send for what they leave out.
pub(super) fn text_or_null(cursor: &mut Cursor<'_>) -> Result<Option<String>, Fault> {
    if null(cursor) {
        return Ok(None);
    }
    text(cursor).map(|text| Some(text.into_owned()))
}

/// Moves past `null`; says whether it was there.
pub(super) fn null(cursor: &mut Cursor<'_>) -> bool {
    let is_null = cursor.peek() == Some(b'n');
    is_null && matches!(cursor.plain(), Ok(Some(Plain::Null)))
}

/// Reads an object of parameters. The values are plain; `null` is a parameter that is not there.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    field: &str,
    mut set: impl FnMut(&str, Value<'_>) -> Result<()>,
) -> Result<()> {
    if null(cursor) {
        return Ok(());
    }
    let read = cursor.members(|cursor, name| {
        let at = || format!("{field}.{}", shorten(name));
        match cursor.plain().map_err(|fault| fault.within(at()))? {
            Some(Plain::Null) => {}
            Some(Plain::Bool(value)) => set(name, Value::Bool(value))?,
            Some(Plain::Text(text)) => set(name, Value::Text(&text))?,
            Some(Plain::Number(number)) => {
                let integer = number.integer();
                let value = match (integer.map(u64::try_from), integer.map(i64::try_from)) {
                    (Some(Ok(number)), _) => Value::Uint(number),
                    (_, Some(Ok(number))) => Value::Int(number),
                    _ => Value::Double(number.to_f64()),
                };
                set(name, value)?;
            }
            Some(Plain::NotFinite) | None => {
                return Err(Error::invalid(at(), "is text, a number, true or false").into());
            }
        }
        Ok::<_, Unplaced>(())
    });
    read.map_err(|error| error.within(field))
}
