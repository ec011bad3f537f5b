//! A place in a JSON text, moved on by what is read. It keeps no tree and copies nothing: what is read goes straight to where
//! it is used.

use std::borrow::Cow;

use super::Fault;
use super::number::Decimal;

/// What a reader skips may nest this deep: more than any client's own parameters do.
const MAX_SKIP_DEPTH: usize = 64;

/// A place in a JSON text.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

/// A value that is no array and no object.
#[derive(Clone, Debug)]
pub(crate) enum Plain<'a> {
    Null,
    Bool(bool),
    Number(Decimal<'a>),
    /// What JSON has no number for.
    NotFinite,
    Text(Cow<'a, str>),
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The bytes that are left: no more elements than that can follow.
    pub(crate) fn left(&self) -> usize {
        self.text.len() - self.at
    }

    /// The first byte of what follows; none at the end.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                byte => return byte.copied(),
            }
        }
    }

    /// Moves on where this byte follows.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Says what should have followed.
    #[cold]
    pub(crate) fn expected(&self, what: &str) -> Fault {
        let there = match self.text.get(self.at..).unwrap_or_default() {
            [] => "the text ends",
            _ => "there is something else",
        };
        Fault::new(format!(
            "is not valid JSON: {there} at byte {} where {what} should be",
            self.at
        ))
    }

    /// Checks that nothing follows.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.expected("the end")),
        }
    }

    /// Reads an object whose brace follows, a member at a time.
    pub(crate) fn members<E: From<Fault>>(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.take(b'{') {
            return Err(self.expected("an object").into());
        }
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.expected("a key").into());
            }
            let key = self.text()?;
            if !self.take(b':') {
                return Err(self.expected("a colon").into());
            }
            member(self, &key)?;
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err(self.expected("a comma or a brace").into());
            }
        }
    }

    /// Reads an array whose bracket follows, an element at a time.
    pub(crate) fn elements<E: From<Fault>>(
        &mut self,
        mut element: impl FnMut(&mut Self, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.take(b'[') {
            return Err(self.expected("an array").into());
        }
        let mut more = !self.take(b']');
        let mut index = 0;
        while more {
            element(self, index)?;
            index += 1;
            more = self.comma()?;
        }
        Ok(())
    }

    /// Moves past the comma or the bracket after an element; says whether another follows.
    #[inline]
    pub(crate) fn comma(&mut self) -> Result<bool, Fault> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(b']') => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(self.expected("a comma or a bracket")),
        }
    }

    /// Reads text whose quote follows. It is borrowed where nothing in it is escaped.
    pub(crate) fn text(&mut self) -> Result<Cow<'a, str>, Fault> {
        debug_assert_eq!(self.peek(), Some(b'"'));
        let start = self.at + 1;
        let rest = self.text.get(start..).unwrap_or_default();
        let mut end = 0;
        let mut escaped = false;
        loop {
            let found = memchr::memchr2(b'"', b'\\', rest.get(end..).unwrap_or_default());
            match found {
                Some(offset) if rest[end + offset] == b'"' => {
                    end += offset;
                    break;
                }
                // What is escaped is looked at below.
                Some(offset) => {
                    escaped = true;
                    end += offset + 2;
                }
                None => {
                    self.at = self.text.len();
                    return Err(self.expected("a quote"));
                }
            }
        }
        let text = if escaped {
            serde_json::from_slice(&self.text[start - 1..=start + end])
                .ok()
                .map(Cow::Owned)
        } else if rest[..end].iter().any(|byte| *byte < 0x20) {
            None
        } else {
            std::str::from_utf8(&rest[..end]).ok().map(Cow::Borrowed)
        };
        let text = text.ok_or_else(|| self.expected("text of UTF-8 with its escapes"))?;
        self.at = start + end + 1;
        Ok(text)
    }

    /// Reads a number; none where no number follows.
    #[inline]
    pub(crate) fn number(&mut self) -> Option<Decimal<'a>> {
        let number = Decimal::read(self.text.get(self.at..)?)?;
        self.at += number.text.len();
        Some(number)
    }

    /// Reads what JSON has no number for, as Python and Triton write it: `NaN`, `Infinity`, `-Infinity`; none where none of
    /// them follows.
    #[cold]
    pub(crate) fn not_finite(&mut self) -> Option<f64> {
        let literals: [(&[u8], f64); 3] = [
            (b"NaN", f64::NAN),
            (b"Infinity", f64::INFINITY),
            (b"-Infinity", f64::NEG_INFINITY),
        ];
        let mut literals = literals.into_iter();
        literals.find_map(|(literal, value)| self.literal(literal).then_some(value))
    }

    /// Moves past `null`; says whether it was there.
    pub(crate) fn null(&mut self) -> bool {
        self.literal(b"null")
    }

    /// Reads `true` or `false`; none where neither follows.
    pub(crate) fn boolean(&mut self) -> Option<bool> {
        if self.literal(b"true") {
            Some(true)
        } else {
            self.literal(b"false").then_some(false)
        }
    }

    fn literal(&mut self, literal: &[u8]) -> bool {
        let found = self.text[self.at..].starts_with(literal);
        self.at += if found { literal.len() } else { 0 };
        found
    }

    /// Reads a value that is no array and no object; none where one of these follows.
    pub(crate) fn plain(&mut self) -> Result<Option<Plain<'a>>, Fault> {
        Ok(Some(match self.peek() {
            Some(b'[' | b'{') => return Ok(None),
            Some(b'"') => Plain::Text(self.text()?),
            Some(_) if self.null() => Plain::Null,
            Some(_) => match self.boolean() {
                Some(value) => Plain::Bool(value),
                None => match self.number() {
                    Some(number) => Plain::Number(number),
                    None if self.not_finite().is_some() => Plain::NotFinite,
                    None => return Err(self.expected("a value")),
                },
            },
            None => return Err(self.expected("a value")),
        }))
    }

    /// Moves past a value of any kind; gives a cursor that reads it.
    pub(crate) fn skip(&mut self) -> Result<Self, Fault> {
        self.peek();
        let start = self.at;
        self.skip_nested(0)?;
        Ok(Self {
            text: &self.text[..self.at],
            at: start,
        })
    }

    fn skip_nested(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            Some(b'[' | b'{') if depth == MAX_SKIP_DEPTH => Err(Fault::new(format!(
                "nests more than {MAX_SKIP_DEPTH} arrays and objects"
            ))),
            Some(b'[') => self.elements(|cursor, _| cursor.skip_nested(depth + 1)),
            Some(b'{') => self.members(|cursor, _| cursor.skip_nested(depth + 1)),
            _ => self.plain().map(drop),
        }
    }
}
