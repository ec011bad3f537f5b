//! Takes e-mail addresses, phone numbers, card numbers and own patterns out of a generated text or a body that comes in chunks,
//! wherever its tokens and chunks begin and end.
//! `README.md` has the settings.

mod body;
mod patterns;
mod scan;
mod settings;
#[cfg(test)]
mod tests;
mod tokens;

use std::rc::Rc;

use wharf_plugin_sdk::{
    ChunkFilter, Filter, Lifecycle, Metric, Plugin, Request, Result, Token, TokenFilter, Verdict,
};

use body::Body;
use patterns::Patterns;
use scan::Scan;
use settings::Settings;
use tokens::Tokens;

/// Matches that were replaced.
const MATCHES: Metric = Metric::counter("redact_matches_total", "Matches replaced.");

struct Redact {
    patterns: Rc<Patterns>,
}

impl Plugin for Redact {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            patterns: Rc::new(settings.compile()?),
        })
    }
}

impl TokenFilter for Redact {
    type Filter = Text;

    fn open(&self, _request: &Request) -> Result<Text> {
        Ok(Text {
            scan: Scan::new(Rc::clone(&self.patterns)),
            tokens: Tokens::new(Rc::clone(&self.patterns)),
        })
    }
}

impl ChunkFilter for Redact {
    type Filter = Body;

    fn open_body(&self, _request: &Request, media_type: &str) -> Result<Body> {
        Ok(Body::new(&self.patterns, media_type))
    }
}

impl Lifecycle for Redact {
    const METRICS: &'static [Metric] = &[MATCHES];
}

wharf_plugin_sdk::export!(Redact: token_filter, chunk_filter, lifecycle);

/// One text.
struct Text {
    scan: Scan,
    tokens: Tokens,
}

impl Filter for Text {
    fn push(&mut self, tokens: Vec<Token>) -> Result<Verdict> {
        for token in tokens {
            self.scan.add(token.text.as_bytes());
            self.tokens.add(token);
        }
        let matches = self.scan.run()?;
        MATCHES.add(matches.len() as u64);
        self.tokens.replace(matches);
        let given = self.tokens.give(self.scan.decided());
        self.scan.forget(self.tokens.begin());
        Ok(Verdict::Emit(given))
    }

    fn finish(&mut self) -> Result<Vec<Token>> {
        let matches = self.scan.finish()?;
        MATCHES.add(matches.len() as u64);
        self.tokens.replace(matches);
        Ok(self.tokens.give_all())
    }
}
