//! Values of the chart that the documentation names are values that the chart has.
//!
//! They are found in `--set` of commands, in blocks that begin with ```` ```yaml values ````, and in code within
//! sentences, where it begins with a section of the values.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::collections::BTreeSet;

use chart::helm::render;
use chart::values::described;
use docs::{Block, pages, repository};
use tempfile::NamedTempFile;

/// The arguments of `--set` and its kin in a block of commands; commands about other charts are passed over.
fn set(block: &Block) -> Vec<String> {
    let text = block.text.replace("\\\n", " ");
    let mut set = Vec::new();
    for command in text.lines().filter(|command| command.contains("dra-driver")) {
        let mut words = command.split_whitespace();
        while let Some(word) = words.next() {
            if ["--set", "--set-string", "--set-json"].contains(&word) {
                set.extend(words.next().map(|word| word.trim_matches(['"', '\'']).to_owned()));
            }
        }
    }
    set
}

/// Whether a value has this path, or lies within one that is described as a whole.
fn exists(paths: &BTreeSet<String>, path: &str) -> bool {
    let path = path.split(['[', '=']).next().unwrap();
    let mut end = path;
    loop {
        if paths.contains(end) {
            return true;
        }
        match end.rsplit_once('.') {
            // A label such as example\.com/name.
            Some((before, _)) => end = before.trim_end_matches('\\'),
            None => return false,
        }
    }
}

#[test]
fn every_value_that_is_named_exists() {
    let described = described().unwrap();
    let paths: BTreeSet<String> = described.iter().map(|value| value.path.clone()).collect();
    let whole: BTreeSet<String> =
        described.iter().filter(|value| value.default.is_some()).map(|value| value.path.clone()).collect();
    let sections: BTreeSet<&str> =
        paths.iter().filter_map(|path| path.split_once('.').map(|(section, _)| section)).collect();
    let mut seen = 0;
    let mut unknown = Vec::new();
    for page in pages().unwrap() {
        let in_commands = page.blocks().into_iter().flat_map(|block| {
            let line = block.line;
            set(&block).into_iter().map(move |value| (line, value))
        });
        let in_text = page.code().into_iter().filter(|(_, code)| {
            let first = code.split_once('.').map(|(first, rest)| (first, rest.chars().next()));
            let dotted = first.is_some_and(|(first, next)| {
                sections.contains(first) && next.is_some_and(|next| next.is_ascii_lowercase() || next == '…')
            });
            dotted && !code.contains('/') && !code.contains(' ')
        });
        for (line, name) in in_commands {
            seen += 1;
            if !exists(&whole, &name) {
                unknown.push(format!("{}:{line}: {name}", page.path));
            }
        }
        for (line, name) in in_text {
            seen += 1;
            let name = name.trim_end_matches(".*").trim_end_matches(".…");
            if !paths.contains(name) && !exists(&whole, name) {
                unknown.push(format!("{}:{line}: {name}", page.path));
            }
        }
    }
    assert!(seen > 20, "only {seen} values were found");
    assert!(unknown.is_empty(), "the chart has no such values:\n{}", unknown.join("\n"));
}

#[test]
fn helm_renders_the_chart_with_each_file_of_values() {
    let mut seen = 0;
    for page in pages().unwrap() {
        for block in page.blocks() {
            if block.language != "yaml" || !block.marks.iter().any(|mark| mark == "values") {
                continue;
            }
            seen += 1;
            let file = NamedTempFile::new().unwrap();
            fs_err::write(file.path(), &block.text).unwrap();
            render(&["--values", &file.path().display().to_string()])
                .unwrap_or_else(|error| panic!("{}:{}: {error}", page.path, block.line));
        }
    }
    assert!(seen > 0, "there is no file of values in the documentation");
    for entry in fs_err::read_dir(repository().join("deploy/examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("values-") {
            render(&["--values", &path.display().to_string()])
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}
