//! Messages that the documentation quotes are messages that the programs print.
//!
//! In a table with the heading `message`, each piece of code in that column is a message of ours, with `…` for what
//! differs from time to time. Messages of Kubernetes and of container runtimes stand under `message of …`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::path::Path;

use docs::{pages, repository};

/// Where the programs' sources lie.
const SOURCES: [&str; 5] = [
    "driver/src",
    "driver/runtime/src",
    "kubelet-plugin/src",
    "controller/src",
    "deploy/helm/dra-driver/templates",
];

/// The texts between the places where values are put in: of Rust, of all texts in quotes; of templates, of all.
fn texts() -> Vec<String> {
    let mut files = Vec::new();
    for folder in SOURCES {
        find(&repository().join(folder), &mut files);
    }
    let mut texts = Vec::new();
    for file in files {
        let source = fs_err::read_to_string(&file).unwrap();
        if file.extension().is_some_and(|extension| extension == "rs") {
            // What a unit test at the end of a file says, the program does not.
            let product = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
            texts.extend(literals(product).iter().flat_map(|literal| pieces(literal)));
        } else {
            texts.push(source);
        }
    }
    assert!(texts.len() > 500, "only {} texts were found", texts.len());
    texts
}

fn find(path: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(path).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, found);
        } else if !path.ends_with("tests.rs") && path.extension().is_some_and(|e| e != "snap") {
            found.push(path);
        }
    }
}

/// The texts in quotes of a Rust source, with continued lines joined. Quotes in comments and in characters can shift
/// what counts as a text; so each line that is a comment is passed over, and `'"'` is known.
fn literals(source: &str) -> Vec<String> {
    let code: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n").replace("'\"'", "");
    let mut literals = Vec::new();
    let mut letters = code.chars();
    while letters.by_ref().any(|letter| letter == '"') {
        let mut text = String::new();
        while let Some(letter) = letters.next().filter(|letter| *letter != '"') {
            if letter != '\\' {
                text.push(letter);
                continue;
            }
            match letters.next() {
                Some('\n') => {
                    let rest = letters.as_str().trim_start();
                    letters = rest.chars();
                }
                Some('n') => text.push('\n'),
                Some(escaped) => text.push(escaped),
                None => {}
            }
        }
        literals.push(text);
    }
    literals
}

/// What is between the `{…}` of a text.
fn pieces(literal: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut depth = 0_usize;
    for letter in literal.chars() {
        match letter {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                pieces.push(String::new());
            }
            _ if depth == 0 => pieces.last_mut().unwrap().push(letter),
            _ => {}
        }
    }
    pieces
}

#[test]
fn every_quoted_message_is_in_the_sources() {
    let texts = texts();
    let mut quoted = 0;
    let mut unknown = Vec::new();
    for page in pages().unwrap() {
        for table in page.tables() {
            let Some(column) = table.head.iter().position(|cell| cell.text == "message") else { continue };
            for row in &table.rows {
                let cell = &row[column];
                assert!(!cell.code.is_empty(), "{}:{}: there is no message in the row", page.path, cell.line);
                for message in &cell.code {
                    quoted += 1;
                    let mut said = message.split('…').map(str::trim).filter(|piece| !piece.is_empty());
                    let longest = message.split('…').map(str::len).max().unwrap_or_default();
                    let known = said.all(|piece| texts.iter().any(|text| text.contains(piece)));
                    if !known || longest < 8 {
                        unknown.push(format!("{}:{}: {message}", page.path, cell.line));
                    }
                }
            }
        }
    }
    assert!(quoted > 20, "only {quoted} messages were found");
    assert!(unknown.is_empty(), "the programs do not say:\n{}", unknown.join("\n"));
}

#[test]
fn texts_are_found_as_programs_print_them() {
    let source =
        "let a = '\"'; // no \"comment\n/// \"doc\nx(\"one {a} two \\\n      three\", \"\\\"four\\\"\")";
    let source = source.replace("// no \"comment", "");
    assert_eq!(literals(&source), ["one {a} two three", "\"four\""]);
    assert_eq!(pieces("one {a} two {b:?}"), ["one ", " two ", ""]);
}
