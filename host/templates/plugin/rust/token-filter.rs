//! Replaces a token of a generated text by another text, and ends the text at a stop word.

use serde::Deserialize;
use wharf_plugin_sdk::{
    Error, Filter, Lifecycle, Plugin, Request, Result, Token, TokenFilter, Verdict,
};

struct Replace {
    settings: Settings,
}

/// `[settings]` of the plugin's settings file.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The text of a token that the client does not get, without spaces around it.
    word: String,
    /// What the client gets for it.
    replacement: String,
    /// The token at which the text ends.
    stop: String,
}

impl Plugin for Replace {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.word.trim().is_empty() {
            return Err(Error::invalid_field("word", "give the text of a token"));
        }
        Ok(Self { settings })
    }
}

/// The filter of one text.
struct Text {
    settings: Settings,
}

impl TokenFilter for Replace {
    type Filter = Text;

    fn open(&self, _request: &Request) -> Result<Text> {
        let settings = self.settings.clone();
        Ok(Text { settings })
    }
}

impl Filter for Text {
    fn push(&mut self, tokens: Vec<Token>) -> Result<Verdict> {
        let mut given = Vec::new();
        for mut token in tokens {
            if token.text.trim() == self.settings.stop {
                return Ok(Verdict::Stop {
                    last: given,
                    reason: "the text came to a stop word".to_owned(),
                });
            }
            if token.text.trim() == self.settings.word {
                token.text = token.text.replace(&self.settings.word, &self.settings.replacement);
            }
            given.push(token);
        }
        Ok(Verdict::Emit(given))
    }
}

impl Lifecycle for Replace {}

wharf_plugin_sdk::export!(Replace: token_filter, lifecycle);

#[cfg(test)]
mod tests {
    use wharf_plugin_sdk::testing;

    use super::*;

    fn token(text: &str) -> Token {
        Token {
            id: 0,
            text: text.to_owned(),
            logprob: None,
        }
    }

    #[test]
    fn the_word_is_replaced_and_the_stop_word_ends_the_text() {
        let settings = r#"{"word": "secret", "replacement": "***", "stop": "END"}"#;
        let plugin: Replace = testing::plugin(settings).unwrap();
        let mut text = plugin.open(&Request::new("demo")).unwrap();
        let verdict = text.push(vec![token("a"), token(" secret")]).unwrap();
        assert_eq!(verdict, Verdict::Emit(vec![token("a"), token(" ***")]));
        let verdict = text.push(vec![token("b"), token("END")]).unwrap();
        assert!(matches!(verdict, Verdict::Stop { last, .. } if last == [token("b")]));
    }
}
