//! `wharf plugin new`.

mod sdk;
mod templates;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use wharf_core::Name;
use wharf_toolchain::Source;

use super::language::{Language, NewStage};
use crate::cli::{output, usage_error};
use templates::Values;

/// What `--help` says at its end.
pub(super) const HELP: &str = "\
Examples:
  wharf plugin new shout --lang rust --stage preprocess
  wharf plugin new shout --lang python
  wharf plugin new pick --stage router --in plugins --sdk ../wharf/plugin-sdk

Nothing that is there is ever overwritten. --json writes one line with the keys folder, name, language and files.";

/// Flags of `wharf plugin new`.
#[derive(Args)]
pub(super) struct New {
    /// The name of the plugin, and of its folder: lower-case letters, digits and hyphens.
    name: String,
    /// The language.
    #[arg(long = "lang", value_enum, default_value_t = Language::Rust)]
    language: Language,
    /// The stage.
    #[arg(long, value_enum, default_value_t = NewStage::Preprocess)]
    stage: NewStage,
    /// The folder that the plugin's folder is made in.
    #[arg(long = "in", value_name = "DIR", default_value = ".")]
    parent: PathBuf,
    /// The folder of the Rust SDK, `plugin-sdk` of Wharf's source [default: found beside this program or above this folder].
    #[arg(long, value_name = "DIR", env = "WHARF_SDK")]
    sdk: Option<PathBuf>,
    /// Writes what was made as JSON.
    #[arg(long)]
    json: bool,
}

impl New {
    /// Makes the folder, whole or not at all.
    pub(super) fn run(self) -> Result<ExitCode> {
        if let Err(message) = check_name(&self.name, self.language) {
            return usage_error(&message);
        }
        // As short as it can be said: `shout` rather than `./shout`.
        let folder: PathBuf = self.parent.join(&self.name).components().collect();
        let folder = folder.strip_prefix(".").unwrap_or(&folder).to_owned();
        let values = Values {
            name: &self.name,
            stage: self.stage,
            sdk: match self.language {
                Language::Rust => Some(sdk::find(self.sdk.as_deref(), &self.parent)?),
                Language::Foreign(_) => None,
            },
        };
        let files = templates::files(self.language, &values);
        write(&folder, &files)?;
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        if self.json {
            let made = json!({
                "folder": folder, "name": self.name, "language": self.language.name(), "files": names,
            });
            output::line(made)?;
        } else {
            output::line(format_args!("made {}:", folder.display()))?;
            for name in names {
                output::line(format_args!("  {name}"))?;
            }
            let setup = self
                .language
                .setup()
                .map_or_else(String::new, |setup| format!(" && {setup}"));
            output::line(format_args!(
                "next: cd {}{setup} && wharf plugin build && wharf plugin test",
                in_shell(&folder)
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Names that are good for a plugin are good for a crate as well.
fn check_name(name: &str, language: Language) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(allowed)
        && !name.ends_with('-')
        && !name.contains("--")
        && Name::new(name).is_ok();
    if !good {
        return Err(format!(
            "{name:?} cannot be a plugin's name: use lower-case letters, digits and single hyphens, a letter first, such as `top-k`"
        ));
    }
    match language {
        Language::Foreign(_) if !Source::can_be_named(name) => Err(format!(
            "{name:?} cannot be the name of a plugin in {}: it is a word of WIT, the language of wit/world.wit; choose another, such \
             as `my-{name}`",
            language.name()
        )),
        _ => Ok(()),
    }
}

/// A path as a shell takes it.
fn in_shell(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+".contains(c);
    if path.chars().all(plain) {
        path
    } else {
        format!("'{}'", path.replace('\'', "'\\''"))
    }
}

/// Writes the files into a new folder. What is there stays as it is.
fn write(folder: &Path, files: &[(String, String)]) -> Result<()> {
    let parent = folder
        .parent()
        .context("a plugin's folder lies in a folder")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    match fs::create_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => bail!(
            "{} is there already, and nothing is overwritten: choose another name, or move it away",
            folder.display()
        ),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot make {}", folder.display()));
        }
    }
    let written = files.iter().try_for_each(|(name, text)| {
        let path = folder.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, text)
    });
    if let Err(error) = written {
        // Half a plugin helps nobody; the folder was made here.
        drop(fs::remove_dir_all(folder));
        return Err(error).with_context(|| format!("cannot write {}", folder.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use wharf_toolchain::Foreign;

    #[test]
    fn a_name_is_one_that_cargo_and_the_host_take() {
        for good in ["a", "top-k", "resize2"] {
            for language in Language::value_variants() {
                assert_eq!(check_name(good, *language), Ok(()), "{good}");
            }
        }
        for bad in ["", "2fast", "Top", "a_b", "a-", "a--b", "../up", "a b", "é"] {
            assert!(check_name(bad, Language::Rust).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_word_of_wit_is_no_name_where_the_plugin_has_a_world() {
        assert_eq!(check_name("list", Language::Rust), Ok(()));
        let error = check_name("list", Language::Foreign(Foreign::C)).unwrap_err();
        assert!(error.contains("`my-list`"), "{error}");
    }

    #[test]
    fn a_path_is_quoted_where_a_shell_would_split_it() {
        assert_eq!(in_shell(Path::new("../a/shout")), "../a/shout");
        assert_eq!(
            in_shell(Path::new("my plugins/it's")),
            "'my plugins/it'\\''s'"
        );
    }

    #[test]
    fn what_is_there_is_never_overwritten() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("shout");
        write(&folder, &[("src/lib.rs".to_owned(), "first".to_owned())]).unwrap();
        let error = write(&folder, &[("src/lib.rs".to_owned(), "second".to_owned())]).unwrap_err();
        assert!(
            error.to_string().contains("nothing is overwritten"),
            "{error}"
        );
        assert_eq!(
            fs::read_to_string(folder.join("src/lib.rs")).unwrap(),
            "first"
        );
    }
}
