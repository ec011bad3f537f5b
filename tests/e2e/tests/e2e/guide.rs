//! The plugin guide is true: its commands do what it says, its settings are what the host takes, its snippets are those of the
//! examples, and its links lead somewhere. Its Rust is compiled and run by the doc tests of the SDK.

mod book;
mod desk;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use wharf_e2e::{Site, check, guest, quickstart, repository};

use book::{Kind, chapters, folder, links, read};
use desk::{Desk, check_flags};

/// Plugins that the guide has settings for and that nobody wrote: a guest that needs no other grants stands in for each.
const STAND_INS: [(&str, &str); 4] = [
    ("quota", "scale"),
    ("mix", "ensemble"),
    ("photos", "vision"),
    ("lookup", "outbound"),
];

/// Where excerpts come from.
const SOURCES: [&str; 8] = [
    "examples/plugins/python/plugin.py",
    "examples/plugins/python/wit/world.wit",
    "examples/plugins/javascript/plugin.js",
    "examples/plugins/c/plugin.c",
    "wit/v1/abilities.wit",
    "wit/v1/stages.wit",
    "wit/v1/types.wit",
    "wit/v1/worlds.wit",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_do_what_the_guide_says() -> Result<()> {
    let mut desk = Desk::new()?;
    for chapter in chapters()? {
        desk.begin()?;
        let mut snippets = chapter.snippets.iter().peekable();
        while let Some(snippet) = snippets.next() {
            match &snippet.kind {
                Kind::File(file) => desk.write(file, &snippet.text)?,
                Kind::Console => check_flags(&snippet.text)?,
                Kind::Shell => {
                    let output = snippets.next_if(|next| next.kind == Kind::Output);
                    let expected = output.map_or("", |output| &output.text);
                    desk.run(&snippet.text, expected)
                        .await
                        .with_context(|| snippet.place.clone())?;
                }
                Kind::Output => {
                    anyhow::bail!("{}: no command writes this", snippet.place);
                }
                Kind::Rust | Kind::Settings | Kind::Excerpt => {}
            }
        }
    }
    Ok(())
}

#[test]
fn the_host_takes_the_settings_of_the_guide() -> Result<()> {
    let mut checked = 0;
    for chapter in chapters()? {
        let site = site()?;
        let mut written = BTreeSet::new();
        for snippet in &chapter.snippets {
            if snippet.kind != Kind::Settings {
                continue;
            }
            let place = snippet
                .text
                .lines()
                .next()
                .and_then(|line| line.strip_prefix("# "))
                .with_context(|| format!("{}: no comment says which file", snippet.place))?;
            // The chapter has the file once more: what it was before has to be good by itself.
            if !written.insert(place) {
                expect_nothing_to_mend(&site, &chapter.file)?;
            }
            if let Some(plugin) = plugin_of(place) {
                let stand_in = STAND_INS.iter().find(|(name, _)| *name == plugin);
                let component = guest(stand_in.map_or(plugin, |(_, guest)| guest))?;
                site.write(&format!("plugins/{plugin}.wasm"), component)?;
            }
            site.write(place, &snippet.text)?;
            checked += 1;
        }
        if !written.is_empty() {
            expect_nothing_to_mend(&site, &chapter.file)?;
        }
    }
    ensure!(checked > 0, "no settings were found");
    Ok(())
}

/// A site with what the guide's routes and settings name.
fn site() -> Result<Site> {
    let site = quickstart()?;
    site.plugin("scale", "scale")?;
    site.write("secrets/features", "s3cret\n")?;
    for model in ["small", "large"] {
        site.adder(model, 1, 1.0)?;
    }
    Ok(site)
}

fn plugin_of(place: &str) -> Option<&str> {
    place.strip_prefix("plugins/")?.strip_suffix(".toml")
}

fn expect_nothing_to_mend(site: &Site, chapter: &str) -> Result<()> {
    let output = check(site)?;
    ensure!(
        output.status.success(),
        "{chapter}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn excerpts_are_what_the_examples_and_the_contract_have() -> Result<()> {
    let sources: Vec<String> = SOURCES
        .iter()
        .map(|source| read(&repository(source)))
        .collect::<Result<_>>()?;
    for chapter in chapters()? {
        for snippet in chapter.snippets {
            ensure!(
                snippet.kind != Kind::Excerpt
                    || sources.iter().any(|source| source.contains(&snippet.text)),
                "{}: no example has\n{}",
                snippet.place,
                snippet.text
            );
        }
    }
    Ok(())
}

#[test]
fn the_snippets_in_rust_are_doc_tests_of_the_sdk() -> Result<()> {
    let doc_tests = read(&repository("plugin-sdk/src/guide.rs"))?;
    for chapter in chapters()? {
        let has_rust = chapter.snippets.iter().any(|s| s.kind == Kind::Rust);
        ensure!(
            !has_rust || doc_tests.contains(&format!("/{}\")", chapter.file)),
            "plugin-sdk/src/guide.rs lacks {}",
            chapter.file
        );
    }
    Ok(())
}

#[test]
fn every_chapter_is_in_the_summary_and_every_link_leads_somewhere() -> Result<()> {
    let chapters = chapters()?;
    let mut listed: BTreeSet<String> = chapters.iter().map(|c| c.file.clone()).collect();
    listed.insert("SUMMARY.md".to_owned());
    let mut there = BTreeSet::new();
    for entry in std::fs::read_dir(folder())? {
        there.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    assert_eq!(listed, there);

    let mut broken = String::new();
    for chapter in &chapters {
        for link in links(&chapter.text).filter(|link| !link.starts_with("https://")) {
            if !folder().join(link).exists() {
                writeln!(broken, "{}: {link}", chapter.file)?;
            }
        }
    }
    ensure!(broken.is_empty(), "links that lead nowhere:\n{broken}");
    Ok(())
}
