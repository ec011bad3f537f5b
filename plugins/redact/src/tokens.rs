//! The tokens that are kept back, and what becomes of those that a match touches: one token, whose text is what is left of theirs
//! with the replacement in it. Their ids go, for they would tell the text.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use wharf_plugin_sdk::Token;

use crate::patterns::Patterns;
use crate::scan::Match;

/// Tokens that were not given yet. Places count from the begin of the text.
pub(crate) struct Tokens {
    patterns: Rc<Patterns>,
    waiting: VecDeque<Token>,
    /// Where the first of them begins, and where the last ends.
    begin: usize,
    end: usize,
    matches: VecDeque<Match>,
}

impl Tokens {
    pub(crate) fn new(patterns: Rc<Patterns>) -> Self {
        Self {
            patterns,
            waiting: VecDeque::new(),
            begin: 0,
            end: 0,
            matches: VecDeque::new(),
        }
    }

    pub(crate) fn add(&mut self, token: Token) {
        self.end += token.text.len();
        self.waiting.push_back(token);
    }

    /// Takes matches, in the order of the text.
    pub(crate) fn replace(&mut self, matches: Vec<Match>) {
        self.matches.extend(matches);
    }

    /// Where the first token that waits begins.
    pub(crate) fn begin(&self) -> usize {
        self.begin
    }

    /// Gives the tokens before a place up to which all is decided.
    pub(crate) fn give(&mut self, decided: usize) -> Vec<Token> {
        // A part of a character, which has no text yet, waits for what it is a part of.
        let mut given = Vec::new();
        while let Some(group) = self.group() {
            let place = &group.place;
            let unfinished = place.is_empty() && place.end == self.end;
            if place.end > decided || unfinished {
                break;
            }
            given.push(self.take(&group));
        }
        given
    }

    /// Gives all tokens: the text is over.
    pub(crate) fn give_all(&mut self) -> Vec<Token> {
        let mut given = Vec::new();
        while let Some(group) = self.group() {
            given.push(self.take(&group));
        }
        given
    }
}

/// The first tokens that wait: one, or those that matches join.
struct Group {
    tokens: usize,
    matches: usize,
    place: Range<usize>,
}

impl Tokens {
    fn group(&self) -> Option<Group> {
        let first = self.waiting.front()?;
        let mut group = Group {
            tokens: 1,
            matches: 0,
            place: self.begin..self.begin + first.text.len(),
        };
        for found in &self.matches {
            // A token without text joins the match that begins behind it: it is a part of its first character.
            let joins = found.place.start < group.place.end
                || (group.place.is_empty() && found.place.start == group.place.end);
            if !joins {
                break;
            }
            group.matches += 1;
            while group.place.end < found.place.end {
                group.place.end += self.waiting[group.tokens].text.len();
                group.tokens += 1;
            }
        }
        Some(group)
    }

    fn take(&mut self, group: &Group) -> Token {
        self.begin = group.place.end;
        if group.matches == 0 {
            let token = self.waiting.pop_front();
            return token.expect("a group has a token");
        }
        let text: String = self
            .waiting
            .drain(..group.tokens)
            .map(|token| token.text)
            .collect();
        let mut replaced = String::new();
        let mut place = group.place.start;
        for found in self.matches.drain(..group.matches) {
            replaced += &text[place - group.place.start..found.place.start - group.place.start];
            replaced += self.patterns.replacement(found.pattern);
            place = found.place.end;
        }
        replaced += &text[place - group.place.start..];
        Token {
            id: self.patterns.replacement_id,
            text: replaced,
            logprob: None,
        }
    }
}
