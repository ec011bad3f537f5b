//! A token filter that does what the tokens say.

use std::cell::Cell;
use std::rc::Rc;

use wharf_plugin_sdk::{Error, Filter, Result, Token, Verdict};

use crate::behaviour::Behaviour;

/// The filter of a text. A token whose text is one of these does it; any other passes through:
///
/// - `hold`: keeps this and all later tokens back;
/// - `flood`: gives a megabyte;
/// - `filters`: gives how many filters live in this instance;
/// - `refuse`: refuses;
/// - a [`Behaviour`] that needs no payload, such as `trap` or `spin`.
pub(crate) struct Obedient {
    held: Option<Vec<Token>>,
    filters: Rc<Cell<u32>>,
}

impl Obedient {
    pub(crate) fn new(filters: &Rc<Cell<u32>>) -> Self {
        filters.set(filters.get() + 1);
        Self {
            held: None,
            filters: Rc::clone(filters),
        }
    }

    fn obey(&mut self, mut token: Token) -> Result<Option<Token>> {
        match token.text.as_str() {
            "hold" => self.held = Some(Vec::new()),
            "flood" => token.text = "x".repeat(1 << 20),
            "filters" => token.text = self.filters.get().to_string(),
            "refuse" => return Err(Error::invalid_field("text", "hostile: refuses")),
            text => {
                if let Some(behaviour) = Behaviour::named(text) {
                    behaviour.alone("push")?;
                }
            }
        }
        match &mut self.held {
            Some(held) => {
                held.push(token);
                Ok(None)
            }
            None => Ok(Some(token)),
        }
    }
}

impl Filter for Obedient {
    fn push(&mut self, tokens: Vec<Token>) -> Result<Verdict> {
        let mut given = Vec::new();
        for token in tokens {
            given.extend(self.obey(token)?);
        }
        Ok(Verdict::Emit(given))
    }

    fn finish(&mut self) -> Result<Vec<Token>> {
        Ok(self.held.take().unwrap_or_default())
    }
}

impl Drop for Obedient {
    fn drop(&mut self) {
        self.filters.set(self.filters.get() - 1);
    }
}
