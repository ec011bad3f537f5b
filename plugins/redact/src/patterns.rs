//! What is looked for: all patterns as one automaton, which walks over a text byte by byte and so can wait between two of them.

use regex_automata::MatchKind;
use regex_automata::hybrid::dfa::{Config, DFA};
use regex_automata::nfa::thompson::{Compiler, Config as NfaConfig};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Hir;
use serde::Deserialize;

/// The longest match of an own pattern in bytes: as much of a text is kept back at most, beside the tokens that it is in.
const MAX_LENGTH: usize = 1024;
/// The most memory of all patterns together, before the text.
const MAX_SIZE: usize = 4 * 1024 * 1024;

/// The patterns that need no settings.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Known {
    Email,
    Phone,
    Card,
}

impl Known {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Card => "card",
        }
    }

    pub(crate) fn pattern(self) -> &'static str {
        match self {
            // Local part and labels as long as RFC 5321 and RFC 1035 let them be.
            Self::Email => {
                r"\b[A-Za-z0-9_](?:[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{0,63})@(?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z]{2,24}"
            }
            // International: 8 to 15 digits, as E.164 has them. North American: three parts.
            Self::Phone => {
                r"(?:\+|\b00)[1-9](?:[ .()/-]{0,2}[0-9]){7,14}|(?:\([0-9]{3}\) ?|\b[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4}\b"
            }
            // 13 to 19 digits, as ISO/IEC 7812 has them. The check digit is looked at beside.
            Self::Card => r"[0-9](?:[ -]?[0-9]){12,18}",
        }
    }
}

/// One pattern.
pub(crate) struct Pattern {
    /// None for an own pattern.
    pub(crate) known: Option<Known>,
    pub(crate) hir: Hir,
    pub(crate) replacement: String,
}

/// Reads a pattern: over bytes, with the classes of ASCII.
pub(crate) fn parse(pattern: &str) -> Result<Hir, String> {
    let hir = ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .build()
        .parse(pattern)
        .map_err(|error| match error {
            regex_syntax::Error::Parse(error) => {
                format!("is no regular expression: {}", error.kind())
            }
            regex_syntax::Error::Translate(error) => {
                format!("is no regular expression: {}", error.kind())
            }
            _ => "is no regular expression".to_owned(),
        })?;
    let properties = hir.properties();
    match (properties.minimum_len(), properties.maximum_len()) {
        (Some(0), _) => {
            Err("matches where there is nothing: let it match at least one byte".to_owned())
        }
        (_, Some(longest)) if longest <= MAX_LENGTH => Ok(hir),
        (_, Some(longest)) => Err(format!(
            "matches up to {longest} bytes: let it match at most {MAX_LENGTH}"
        )),
        (_, None) => Err(format!(
            "matches without a bound: write {{1,64}} instead of + or *, {MAX_LENGTH} bytes in all at most"
        )),
    }
}

/// All patterns.
pub(crate) struct Patterns {
    pub(crate) automaton: DFA,
    known: Vec<Option<Known>>,
    replacements: Vec<String>,
    /// The id of tokens that are no longer the model's.
    pub(crate) replacement_id: u32,
}

impl Patterns {
    pub(crate) fn compile(patterns: Vec<Pattern>, replacement_id: u32) -> Result<Self, String> {
        let hirs: Vec<&Hir> = patterns.iter().map(|pattern| &pattern.hir).collect();
        let too_large = |_| "are too large together: give fewer, or shorter ones".to_owned();
        let nfa = Compiler::new()
            .configure(NfaConfig::new().utf8(false).nfa_size_limit(Some(MAX_SIZE)))
            .build_many_from_hir(&hirs)
            .map_err(too_large)?;
        // All matches, so that the longest can be taken.
        let config = Config::new().match_kind(MatchKind::All);
        let automaton = DFA::builder()
            .configure(config)
            .build_from_nfa(nfa)
            .map_err(|_| "are too large together: give fewer, or shorter ones".to_owned())?;
        Ok(Self {
            automaton,
            known: patterns.iter().map(|pattern| pattern.known).collect(),
            replacements: patterns
                .into_iter()
                .map(|pattern| pattern.replacement)
                .collect(),
            replacement_id,
        })
    }

    pub(crate) fn replacement(&self, pattern: usize) -> &str {
        &self.replacements[pattern]
    }

    /// Whether what matched is a match indeed, with the bytes on either side of it.
    pub(crate) fn confirms(&self, pattern: usize, found: &[u8], sides: [Option<u8>; 2]) -> bool {
        let digit = |side: Option<u8>| side.is_some_and(|byte| byte.is_ascii_digit());
        match self.known[pattern] {
            // A part of a longer number is no card number.
            Some(Known::Card) => !sides.into_iter().any(digit) && has_check_digit(found),
            Some(Known::Email | Known::Phone) => true,
            // A pattern over bytes may end in the middle of a character.
            None => sides[1].is_none_or(|byte| byte & 0xc0 != 0x80),
        }
    }
}

/// Luhn's formula.
fn has_check_digit(found: &[u8]) -> bool {
    let digits = found.iter().rev().filter(|byte| byte.is_ascii_digit());
    let sum: u32 = digits
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte - b'0');
            match place % 2 {
                0 => digit,
                _ if digit > 4 => 2 * digit - 9,
                _ => 2 * digit,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}
