//! Filters that do what the tokens and the chunks say.

use std::cell::Cell;
use std::mem::take;
use std::rc::Rc;

use wharf_plugin_sdk::{Error, Filter, Result, Token, Verdict};

use crate::behaviour::Behaviour;

/// The filter of a text or a body. A token or chunk whose text is one of these does it; any other passes through:
///
/// - `hold`: keeps this and all later ones back;
/// - `flood`: gives a megabyte;
/// - `filters`: gives how many filters live in this instance;
/// - `stop`: ends the text with what is kept back;
/// - `refuse`: refuses;
/// - a [`Behaviour`] that needs no payload, such as `trap` or `spin`.
pub(crate) struct Obedient<P> {
    held: Option<P>,
    filters: Rc<Cell<u32>>,
}

/// What stands for a piece of what came.
enum Instead {
    This(String),
    Itself,
    TheEnd,
}

impl<P: Default> Obedient<P> {
    pub(crate) fn new(filters: &Rc<Cell<u32>>) -> Self {
        filters.set(filters.get() + 1);
        Self {
            held: None,
            filters: Rc::clone(filters),
        }
    }

    fn obey(&mut self, text: &str) -> Result<Instead> {
        match text {
            "hold" => self.held = Some(P::default()),
            "flood" => return Ok(Instead::This("x".repeat(1 << 20))),
            "filters" => return Ok(Instead::This(self.filters.get().to_string())),
            "stop" => return Ok(Instead::TheEnd),
            "refuse" => return Err(Error::invalid_field("text", "hostile: refuses")),
            text => {
                if let Some(behaviour) = Behaviour::named(text) {
                    behaviour.alone("push")?;
                }
            }
        }
        Ok(Instead::Itself)
    }
}

fn stopped<P>(last: P) -> Verdict<P> {
    Verdict::Stop {
        last,
        reason: "it says stop".to_owned(),
    }
}

impl Filter for Obedient<Vec<Token>> {
    fn push(&mut self, tokens: Vec<Token>) -> Result<Verdict> {
        let mut given = Vec::new();
        for mut token in tokens {
            match self.obey(&token.text)? {
                Instead::This(text) => token.text = text,
                Instead::Itself => {}
                Instead::TheEnd => {
                    given.extend(self.finish()?);
                    return Ok(stopped(given));
                }
            }
            self.held.as_mut().unwrap_or(&mut given).push(token);
        }
        Ok(Verdict::Emit(given))
    }

    fn finish(&mut self) -> Result<Vec<Token>> {
        Ok(self.held.take().unwrap_or_default())
    }
}

impl Filter<Vec<u8>> for Obedient<Vec<u8>> {
    fn push(&mut self, mut chunk: Vec<u8>) -> Result<Verdict<Vec<u8>>> {
        match self.obey(&String::from_utf8_lossy(&chunk))? {
            Instead::This(text) => chunk = text.into_bytes(),
            Instead::Itself => {}
            Instead::TheEnd => return Ok(stopped(self.finish()?)),
        }
        if let Some(held) = &mut self.held {
            held.extend(take(&mut chunk));
        }
        Ok(Verdict::Emit(chunk))
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        Ok(self.held.take().unwrap_or_default())
    }
}

impl<P> Drop for Obedient<P> {
    fn drop(&mut self) {
        self.filters.set(self.filters.get() - 1);
    }
}
