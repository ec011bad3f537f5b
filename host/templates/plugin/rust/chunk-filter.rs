//! Replaces a word in the lines of a body that comes in chunks, and ends the body at a line.

use serde::Deserialize;
use wharf_plugin_sdk::{
    ChunkFilter, Error, Filter, Lifecycle, Plugin, Request, Result, Verdict,
};

struct Replace {
    settings: Settings,
}

/// `[settings]` of the plugin's settings file.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// What the client does not get.
    word: String,
    /// What it gets for it.
    replacement: String,
    /// The line at which the body ends.
    stop: String,
}

impl Plugin for Replace {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.word.is_empty() {
            return Err(Error::invalid_field("word", "give a word"));
        }
        Ok(Self { settings })
    }
}

/// The filter of one body.
struct Lines {
    settings: Settings,
    /// The line that has not ended yet: a word in it may go on in the next chunk.
    line: Vec<u8>,
}

impl ChunkFilter for Replace {
    type Filter = Lines;

    fn open_body(&self, _request: &Request, _media_type: &str) -> Result<Lines> {
        let settings = self.settings.clone();
        let line = Vec::new();
        Ok(Lines { settings, line })
    }
}

impl Lines {
    /// Gives the line that has ended, with the word replaced; nothing where it is the one to stop at.
    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        // What is no text passes as it is.
        let Ok(text) = std::str::from_utf8(&line) else {
            return Some(line);
        };
        if text.trim() == self.settings.stop {
            return None;
        }
        let replaced = text.replace(&self.settings.word, &self.settings.replacement);
        Some(replaced.into_bytes())
    }
}

impl Filter<Vec<u8>> for Lines {
    fn push(&mut self, chunk: Vec<u8>) -> Result<Verdict<Vec<u8>>> {
        let mut given = Vec::new();
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if !piece.ends_with(b"\n") {
                break;
            }
            match self.end_line() {
                Some(line) => given.extend(line),
                None => {
                    return Ok(Verdict::Stop {
                        last: given,
                        reason: "the body came to its last line".to_owned(),
                    });
                }
            }
        }
        Ok(Verdict::Emit(given))
    }

    fn finish(&mut self) -> Result<Vec<u8>> {
        Ok(self.end_line().unwrap_or_default())
    }
}

impl Lifecycle for Replace {}

wharf_plugin_sdk::export!(Replace: chunk_filter, lifecycle);

#[cfg(test)]
mod tests {
    use wharf_plugin_sdk::testing;

    use super::*;

    #[test]
    fn the_word_is_replaced_across_chunks_and_a_line_ends_the_body() {
        let settings = r#"{"word": "secret", "replacement": "***", "stop": "END"}"#;
        let plugin: Replace = testing::plugin(settings).unwrap();
        let request = Request::new("demo");
        let mut body = plugin.open_body(&request, "text/plain").unwrap();
        let verdict = body.push(b"a sec".to_vec()).unwrap();
        assert_eq!(verdict, Verdict::Emit(Vec::new()));
        let verdict = body.push(b"ret\nb\nEND\nc".to_vec()).unwrap();
        assert!(matches!(verdict, Verdict::Stop { last, .. } if last == b"a ***\nb\n"));
    }
}
