//! The walk over the text. It begins at one byte, goes on as long as a match may come of it, and begins anew behind the match or at
//! the next character. Between two pushes it stands where it is: no byte is walked over twice for the same begin.

use std::ops::Range;
use std::rc::Rc;

use regex_automata::Anchored;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::Cache;
use regex_automata::util::start;
use wharf_plugin_sdk::{Error, Result};

use crate::patterns::Patterns;

/// A match: where it is in the text, and the pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) place: Range<usize>,
    pub(crate) pattern: usize,
}

/// The text so far, as much of it as is needed. Places count from the begin of the text.
pub(crate) struct Scan {
    patterns: Rc<Patterns>,
    cache: Cache,
    /// The bytes from `base` on.
    text: Vec<u8>,
    base: usize,
    /// The byte before `base`.
    before: Option<u8>,
    /// What is before this place is decided: no match to come touches it.
    begin: usize,
    walk: Option<Walk>,
}

/// A walk from `begin` on.
struct Walk {
    state: LazyStateID,
    /// The next byte.
    at: usize,
    /// The longest match so far: its end, and the pattern.
    longest: Option<(usize, usize)>,
}

/// How a walk stands.
enum Step {
    /// A match may still come, or a longer one.
    Waits,
    /// It is over.
    Ended(Option<(usize, usize)>),
}

impl Scan {
    pub(crate) fn new(patterns: Rc<Patterns>) -> Self {
        Self {
            cache: patterns.automaton.create_cache(),
            patterns,
            text: Vec::new(),
            base: 0,
            before: None,
            begin: 0,
            walk: None,
        }
    }

    pub(crate) fn add(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
    }

    /// Walks over what was added; gives the matches that nothing can change any more.
    pub(crate) fn run(&mut self) -> Result<Vec<Match>> {
        self.matches(false)
    }

    /// Ends the text; gives the last matches.
    pub(crate) fn finish(&mut self) -> Result<Vec<Match>> {
        self.matches(true)
    }

    /// Up to where everything is decided.
    pub(crate) fn decided(&self) -> usize {
        self.begin
    }

    /// Drops the text before a place that is decided.
    pub(crate) fn forget(&mut self, place: usize) {
        let count = place.min(self.begin) - self.base;
        if let Some(last) = count.checked_sub(1) {
            self.before = Some(self.text[last]);
            self.text.drain(..count);
            self.base += count;
        }
    }
}

impl Scan {
    fn end(&self) -> usize {
        self.base + self.text.len()
    }

    /// The byte at a place, where it is known.
    fn byte(&self, place: usize) -> Option<u8> {
        match place.checked_sub(self.base) {
            Some(index) => self.text.get(index).copied(),
            None if place + 1 == self.base => self.before,
            None => None,
        }
    }

    fn byte_before(&self, place: usize) -> Option<u8> {
        place.checked_sub(1).and_then(|place| self.byte(place))
    }
}

/// The walks. `last` says that the text ends where it ends now.
impl Scan {
    fn matches(&mut self, last: bool) -> Result<Vec<Match>> {
        let mut matches = Vec::new();
        while self.begin < self.end() {
            // No match begins inside of a character, also where the rest of it came later.
            let inside = self
                .byte(self.begin)
                .is_some_and(|byte| byte & 0xc0 == 0x80);
            if inside && self.walk.is_none() {
                self.begin += 1;
                continue;
            }
            let mut walk = match self.walk.take() {
                Some(walk) => walk,
                None => self.set_out()?,
            };
            match self.go_on(&mut walk, last)? {
                Step::Waits => {
                    self.walk = Some(walk);
                    break;
                }
                Step::Ended(Some((end, pattern))) => {
                    matches.push(Match {
                        place: self.begin..end,
                        pattern,
                    });
                    self.begin = end;
                }
                Step::Ended(None) => self.begin += 1,
            }
        }
        Ok(matches)
    }

    fn set_out(&mut self) -> Result<Walk> {
        let config = start::Config::new()
            .anchored(Anchored::Yes)
            .look_behind(self.byte_before(self.begin));
        let state = self
            .patterns
            .automaton
            .start_state(&mut self.cache, &config)
            .map_err(|_| stuck())?;
        Ok(Walk {
            state,
            at: self.begin,
            longest: None,
        })
    }

    fn go_on(&mut self, walk: &mut Walk, last: bool) -> Result<Step> {
        let patterns = Rc::clone(&self.patterns);
        let automaton = &patterns.automaton;
        while let Some(byte) = self.byte(walk.at) {
            walk.state = automaton
                .next_state(&mut self.cache, walk.state, byte)
                .map_err(|_| stuck())?;
            if walk.state.is_tagged() {
                if walk.state.is_match() {
                    self.note(walk);
                } else if walk.state.is_dead() {
                    return Ok(Step::Ended(walk.longest));
                } else if walk.state.is_quit() {
                    return Err(stuck());
                }
            }
            walk.at += 1;
        }
        if !last {
            return Ok(Step::Waits);
        }
        walk.state = automaton
            .next_eoi_state(&mut self.cache, walk.state)
            .map_err(|_| stuck())?;
        if walk.state.is_match() {
            self.note(walk);
        }
        Ok(Step::Ended(walk.longest))
    }

    /// Notes the match that ends before the byte that was walked over last: automata see an end one byte late.
    fn note(&self, walk: &mut Walk) {
        let automaton = &self.patterns.automaton;
        let found = &self.text[self.begin - self.base..walk.at - self.base];
        let sides = [self.byte_before(self.begin), self.byte(walk.at)];
        let confirmed = (0..automaton.match_len(&self.cache, walk.state))
            .map(|index| {
                automaton
                    .match_pattern(&self.cache, walk.state, index)
                    .as_usize()
            })
            .filter(|pattern| self.patterns.confirms(*pattern, found, sides));
        if let Some(pattern) = confirmed.min() {
            walk.longest = Some((walk.at, pattern));
        }
    }
}

/// The automaton refuses no byte and no state, so this is a fault of the plugin; but a text that was not looked at must not pass.
fn stuck() -> Error {
    Error::failed("the text cannot be searched any further")
}
