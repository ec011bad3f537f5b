//! The chapters of the plugin guide, and the snippets in them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use wharf_e2e::repository;

/// A chapter, in the order of the book.
pub(super) struct Chapter {
    /// Its file, such as `stages.md`.
    pub(super) file: String,
    pub(super) text: String,
    pub(super) snippets: Vec<Snippet>,
}

/// What stands between two fences.
pub(super) struct Snippet {
    /// Where it begins, for messages: `stages.md:12`.
    pub(super) place: String,
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// What a snippet is, by the words after its fence. Each kind is checked in a way of its own; there is none that is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A doc test of the SDK.
    Rust,
    /// Commands that are run.
    Shell,
    /// Commands that need a network: only their flags are checked.
    Console,
    /// What the commands before write, among other lines.
    Output,
    /// A file that the reader writes, by its path.
    File(String),
    /// A file of a site, whose first line is a comment with its path.
    Settings,
    /// An excerpt of an example or of the contract.
    Excerpt,
}

impl Kind {
    fn of(info: &str) -> Result<Self> {
        let (language, file) = info.split_once(' ').unwrap_or((info, ""));
        Ok(match (language, file) {
            ("rust", "") => Self::Rust,
            ("sh", "") => Self::Shell,
            ("console", "") => Self::Console,
            ("text", "") => Self::Output,
            ("toml", "") => Self::Settings,
            ("toml" | "json", file) if !file.is_empty() => Self::File(file.to_owned()),
            ("python" | "javascript" | "c" | "wit", "") => Self::Excerpt,
            _ => bail!("nothing checks a snippet with ```{info}"),
        })
    }
}

/// The folder of the chapters.
pub(super) fn folder() -> PathBuf {
    repository("examples/plugins/guide/src")
}

/// Reads the chapters that the summary names, in its order.
pub(super) fn chapters() -> Result<Vec<Chapter>> {
    let summary = read(&folder().join("SUMMARY.md"))?;
    links(&summary)
        .map(|file| {
            let text = read(&folder().join(file))?;
            let snippets = snippets(file, &text)?;
            let file = file.to_owned();
            Ok(Chapter {
                file,
                text,
                snippets,
            })
        })
        .collect()
}

/// The targets of the links in a text.
pub(super) fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
}

pub(super) fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn snippets(file: &str, text: &str) -> Result<Vec<Snippet>> {
    let mut found = Vec::new();
    let mut open: Option<Snippet> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                let place = format!("{file}:{}", number + 1);
                let kind = Kind::of(info.trim()).with_context(|| place.clone())?;
                let text = String::new();
                open = Some(Snippet { place, kind, text });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some(snippet)) => {
                snippet.text.push_str(line);
                snippet.text.push('\n');
            }
            (None, None) => {}
        }
    }
    ensure!(open.is_none(), "{file}: a snippet does not end");
    Ok(found)
}
