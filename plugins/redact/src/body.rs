//! A body that comes in chunks. Its bytes are kept back only while a match may come of them.

use std::rc::Rc;

use wharf_plugin_sdk::{Filter, Result, Verdict};

use crate::MATCHES;
use crate::patterns::Patterns;
use crate::scan::{Match, Scan};

/// What is text beside `text/*`, by what stands behind the slash.
const TEXTS: [&str; 7] = [
    "json",
    "xml",
    "javascript",
    "x-ndjson",
    "jsonl",
    "yaml",
    "x-www-form-urlencoded",
];

/// The filter of one body. One that is no text passes as it is: digits in a picture are no telephone number.
pub(crate) struct Body {
    patterns: Rc<Patterns>,
    scan: Option<Scan>,
    /// The bytes that were not given yet, and where the first of them is in the body.
    waiting: Vec<u8>,
    begin: usize,
}

impl Body {
    pub(crate) fn new(patterns: &Rc<Patterns>, media_type: &str) -> Self {
        Self {
            patterns: Rc::clone(patterns),
            scan: is_text(media_type).then(|| Scan::new(Rc::clone(patterns))),
            waiting: Vec::new(),
            begin: 0,
        }
    }

    /// Gives the bytes before a place up to which all is decided, with its matches replaced.
    fn give(&mut self, decided: usize, matches: &[Match]) -> Vec<u8> {
        MATCHES.add(matches.len() as u64);
        let mut given = Vec::with_capacity(decided - self.begin);
        let mut place = self.begin;
        for found in matches {
            given.extend_from_slice(
                &self.waiting[place - self.begin..found.place.start - self.begin],
            );
            given.extend_from_slice(self.patterns.replacement(found.pattern).as_bytes());
            place = found.place.end;
        }
        given.extend_from_slice(&self.waiting[place - self.begin..decided - self.begin]);
        self.waiting.drain(..decided - self.begin);
        self.begin = decided;
        given
    }
}

impl Filter<Vec<u8>> for Body {
    fn push(&mut self, chunk: Vec<u8>) -> Result<Verdict<Vec<u8>>> {
        let Some(scan) = &mut self.scan else {
            return Ok(Verdict::Emit(chunk));
        };
        scan.add(&chunk);
        let matches = scan.run()?;
        let decided = scan.decided();
        scan.forget(decided);
        self.waiting.extend(chunk);
        Ok(Verdict::Emit(self.give(decided, &matches)))
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        let Some(scan) = &mut self.scan else {
            return Ok(Vec::new());
        };
        let matches = scan.finish()?;
        let end = self.begin + self.waiting.len();
        Ok(self.give(end, &matches))
    }
}

fn is_text(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let Some((kind, subtype)) = essence.split_once('/') else {
        return false;
    };
    let subtype = subtype.to_ascii_lowercase();
    let suffix = subtype.rsplit('+').next().unwrap_or_default();
    kind.eq_ignore_ascii_case("text") || TEXTS.contains(&suffix)
}
