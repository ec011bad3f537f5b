//! Where the commands of the guide are run: a folder with a site in it, as a reader has them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use wharf_e2e::{Site, Wharf, execute, guest_build, program, repository, wait_for};

/// The addresses that the guide has; a test serves on others.
const PUBLIC: &str = "127.0.0.1:8080";

pub(super) struct Desk {
    folder: TempDir,
    /// The folder `site` on the desk is a link to it.
    site: Site,
    server: Option<Wharf>,
}

impl Desk {
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let site = Site::empty()?;
        std::os::unix::fs::symlink(site.path(), folder.path().join("site"))?;
        Ok(Self {
            folder,
            site,
            server: None,
        })
    }

    /// Begins a chapter: the reader is in the folder itself, and nothing is served.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.server = None;
        let folder = self.folder.path().to_string_lossy();
        std::fs::write(self.place(), &*folder)?;
        Ok(())
    }

    /// Writes a file as the reader does.
    pub(super) fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.folder.path().join(file);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, text).with_context(|| format!("cannot write {file}"))
    }

    /// Runs commands, and checks that they write the lines expected, in their order. What a server answers may take a moment
    /// to become that.
    pub(super) async fn run(&mut self, script: &str, expected: &str) -> Result<()> {
        if script.trim() == "wharf serve --site site" {
            self.server = Some(Wharf::serve(&self.site).await?);
            return Ok(());
        }
        if script.contains("curl ") {
            let what = format!("{expected:?} as the answer to {script:?}");
            return wait_for(&what, async || {
                let output = self.output(script).await.ok()?;
                missing(&output, expected).is_none().then_some(())
            })
            .await;
        }
        let output = self.output(script).await?;
        match missing(&output, expected) {
            Some(line) => bail!("{script}\ndoes not write {line:?}, but:\n{output}"),
            None => Ok(()),
        }
    }

    /// Runs commands in the folder where the last ones ended, with a shell of their own. Gives what they write.
    async fn output(&self, script: &str) -> Result<String> {
        let script = match &self.server {
            Some(server) => script.replace(PUBLIC, &server.listen().to_string()),
            None => script.to_owned(),
        };
        let wharf = PathBuf::from(program()?.get_program());
        let programs = wharf.parent().context("a program lies in a folder")?;
        let others = std::env::var("PATH").context("PATH is not set")?;
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c"])
            .arg(format!("trap 'pwd > \"$GUIDE_PLACE\"' EXIT\n{script}"))
            .current_dir(std::fs::read_to_string(self.place())?.trim())
            .env("GUIDE_PLACE", self.place())
            .env("PATH", format!("{}:{others}", programs.display()))
            .env("WHARF", repository(""))
            .env("WHARF_SDK", repository("plugin-sdk"))
            .env("CARGO_TARGET_DIR", guest_build()?);
        execute(&script, command).await
    }

    /// The file that says where the reader is.
    fn place(&self) -> PathBuf {
        self.folder.path().join(".place")
    }
}

/// The flags of commands that cannot be run are those of the program.
pub(super) fn check_flags(commands: &str) -> Result<()> {
    for line in commands.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Requests to a server that nobody has started.
        if words.first() == Some(&"curl") {
            continue;
        }
        let ["wharf", group, command, ..] = words[..] else {
            bail!("{line} is no command of wharf");
        };
        let output = program()?.args([group, command, "--help"]).output()?;
        ensure!(output.status.success(), "there is no {group} {command}");
        let help = String::from_utf8(output.stdout)?;
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            let known = help.lines().any(|line| {
                line.trim_start().starts_with(&format!("{flag} ")) || line.trim() == *flag
            });
            ensure!(known, "{group} {command} has no {flag}:\n{help}");
        }
    }
    Ok(())
}

/// The first line that is expected and not there after those before it. How much space is between words does not matter.
fn missing<'a>(output: &str, expected: &'a str) -> Option<&'a str> {
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines = output.lines().map(squeezed);
    expected
        .lines()
        .find(|wanted| !lines.any(|line| line.contains(&squeezed(wanted))))
}

#[test]
fn a_line_that_is_missing_or_too_early_is_found() {
    let output = "first  line\nsecond line\n";
    assert_eq!(missing(output, "first line\nsecond\n"), None);
    assert_eq!(missing(output, "second\nfirst\n"), Some("first"));
    assert_eq!(missing(output, "third"), Some("third"));
}
