//! Replaces the words of the setting `words` in a generated text, and stops the text before the word of `stop`.
//!
//! A word may come in several tokens, so what may be its beginning is held back until it is decided. The text is looked at
//! a character at a time: how it is cut into tokens and pushes changes nothing.

use std::mem::take;

use serde::Deserialize;
use wharf_plugin_sdk::{Filter, Lifecycle, Plugin, Request, Result, Token, TokenFilter, Verdict};

struct Censor {
    settings: Settings,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// What is replaced.
    words: Vec<String>,
    /// By what.
    by: String,
    /// What the text ends before; nothing where it is empty.
    stop: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            words: vec!["secret".to_owned()],
            by: "***".to_owned(),
            stop: "STOP".to_owned(),
        }
    }
}

impl Plugin for Censor {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self { settings })
    }
}

impl TokenFilter for Censor {
    type Filter = Text;

    fn open(&self, _request: &Request) -> Result<Text> {
        Ok(Text {
            settings: self.settings.clone(),
            held: Vec::new(),
            given: Vec::new(),
            tokens: 0,
        })
    }
}

/// A text on its way.
struct Text {
    settings: Settings,
    /// What may be the beginning of a word.
    held: Vec<Held>,
    /// What goes to the client at the end of this call.
    given: Vec<(u64, Token)>,
    /// The tokens so far.
    tokens: u64,
}

/// A character with the token that it came in.
#[derive(Clone)]
struct Held {
    number: u64,
    id: u32,
    logprob: Option<f32>,
    character: char,
}

impl Filter for Text {
    fn push(&mut self, tokens: Vec<Token>) -> Result<Verdict> {
        for token in tokens {
            self.tokens += 1;
            for character in token.text.chars() {
                self.held.push(Held {
                    number: self.tokens,
                    id: token.id,
                    logprob: token.logprob,
                    character,
                });
                if self.ends_with(&self.settings.stop) {
                    self.release(self.settings.stop.chars().count());
                    return Ok(Verdict::Stop {
                        last: self.take(),
                        reason: "the text came to its stop word".to_owned(),
                    });
                }
                self.replace();
                self.release(self.beginning());
            }
        }
        Ok(Verdict::Emit(self.take()))
    }

    fn finish(&mut self) -> Result<Vec<Token>> {
        self.release(0);
        Ok(self.take())
    }
}

impl Text {
    fn ends_with(&self, word: &str) -> bool {
        let mut held = self.held.iter().rev();
        !word.is_empty()
            && word
                .chars()
                .rev()
                .all(|character| held.next().is_some_and(|held| held.character == character))
    }

    /// Replaces a word that is complete.
    fn replace(&mut self) {
        let complete = |word: &&String| self.ends_with(word);
        let Some(word) = self.settings.words.iter().find(complete) else {
            return;
        };
        let length = word.chars().count();
        self.release(length);
        if let Some(first) = take(&mut self.held).into_iter().next() {
            let by = Token {
                id: first.id,
                text: self.settings.by.clone(),
                logprob: first.logprob,
            };
            self.given.push((0, by));
        }
    }

    /// The longest end of what is held that a word begins with.
    fn beginning(&self) -> usize {
        let words = self.settings.words.iter().chain([&self.settings.stop]);
        let begins = |length: usize, word: &String| {
            let end = &self.held[self.held.len() - length..];
            word.chars().count() > length
                && word
                    .chars()
                    .zip(end)
                    .all(|(character, held)| character == held.character)
        };
        let words: Vec<_> = words.collect();
        (1..=self.held.len())
            .rev()
            .find(|length| words.iter().any(|word| begins(*length, word)))
            .unwrap_or(0)
    }

    /// Gives all but the last `kept` characters.
    fn release(&mut self, kept: usize) {
        let free = self.held.len().saturating_sub(kept);
        for held in self.held.drain(..free) {
            match self.given.last_mut() {
                Some((number, token)) if *number == held.number => token.text.push(held.character),
                _ => self.given.push((
                    held.number,
                    Token {
                        id: held.id,
                        text: held.character.to_string(),
                        logprob: held.logprob,
                    },
                )),
            }
        }
    }

    fn take(&mut self) -> Vec<Token> {
        take(&mut self.given)
            .into_iter()
            .map(|(_, token)| token)
            .collect()
    }
}

impl Lifecycle for Censor {}

wharf_plugin_sdk::export!(Censor: token_filter, lifecycle);
