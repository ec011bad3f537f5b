//! Scripts: what a fake is to do, as lines of `WORD ARGUMENT..`.

use std::hash::{DefaultHasher, Hash, Hasher};

use wharf_core::{Digest, Error, ErrorKind};

/// The last line of a whole script: without it, the file is half-written.
pub(crate) const END: &str = "end";

/// The lines of a script.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script(Vec<(String, String)>);

impl Script {
    /// Takes a text apart. None where it is cut short.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let (last, lines) = lines.split_last()?;
        let split = |line: &&str| {
            let (word, argument) = line.split_once(' ').unwrap_or((line, ""));
            (word.to_owned(), argument.trim().to_owned())
        };
        (*last == END).then(|| Self(lines.iter().map(split).collect()))
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        self.get(word).is_some()
    }

    pub(crate) fn get(&self, word: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == word)
            .map(|(_, argument)| argument.as_str())
    }

    /// The arguments of every line that begins with the word.
    pub(crate) fn all<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.0.iter().filter(move |(key, _)| key == word);
        lines.map(|(_, argument)| argument.as_str())
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, word: &str) -> Option<T> {
        self.get(word).map(|argument| {
            argument
                .parse()
                .unwrap_or_else(|_| panic!("{word} takes a number"))
        })
    }

    /// The error of the line `refuse KIND`.
    pub(crate) fn refusal(&self) -> Option<Error> {
        let name = self.get("refuse")?;
        let kind = ErrorKind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.expect("refuse takes the name of an error kind");
        Some(Error::new(kind, "refused by script").said_by_guest())
    }
}

/// A digest that differs where the parts differ. Good enough to tell files of a test apart.
pub(crate) fn digest(parts: &[&[u8]]) -> Digest {
    let mut bytes = [0; 32];
    for (index, chunk) in bytes.chunks_exact_mut(8).enumerate() {
        let mut hasher = DefaultHasher::new();
        (index, parts).hash(&mut hasher);
        chunk.copy_from_slice(&hasher.finish().to_le_bytes());
    }
    Digest::new(bytes)
}
