//! `dra-controller allocate` as the documentation shows it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::io::Write;
use std::process::{Command, Stdio};

use docs::Block;
use serde_json::Value;

/// What the program prints, and its exit code.
fn allocate(words: &[&str], input: &str) -> (String, Option<i32>) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_dra-controller"))
        .arg("allocate")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    program.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = program.wait_with_output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

/// What is changed in the case's one request: a field and its value.
type Change = (String, Value);

/// The page's case, and its answers, each with what is changed.
fn example() -> (Value, Vec<(Option<Change>, Value)>) {
    let blocks = docs::page("docs/allocator.md").unwrap().blocks();
    let named = |name: &'static str| {
        let is_it =
            move |block: &&Block| block.language == "json" && block.marks.first().is_some_and(|m| m == name);
        blocks.iter().filter(is_it)
    };
    let case = serde_json::from_str(&named("case").next().expect("the page has a case").text).unwrap();
    let answers = named("answer").map(|block| {
        let change = block.marks.get(1).map(|mark| {
            let (field, value) = mark.split_once('=').expect("a mark is FIELD=VALUE");
            (field.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| Value::from(value)))
        });
        (change, serde_json::from_str(&block.text).unwrap())
    });
    (case, answers.collect())
}

fn changed(case: &Value, change: Option<&Change>) -> Value {
    let mut case = case.clone();
    if let Some((field, value)) = change {
        let request = case.pointer_mut("/claims/0/spec/devices/requests/0/exactly").unwrap();
        assert!(request.get(field).is_some(), "the request has no {field}");
        request[field] = value.clone();
    }
    case
}

#[test]
fn the_documentation_shows_what_is_printed() {
    let (case, answers) = example();
    let mut codes = Vec::new();
    for (change, expected) in &answers {
        let (printed, code) = allocate(&[], &changed(&case, change.as_ref()).to_string());
        let answer: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(answer, *expected, "{change:?}: in truth\n{answer:#}");
        assert_eq!(printed.lines().count(), 1, "{printed}");
        codes.push(code);
    }
    assert_eq!(codes, [Some(0), Some(1), Some(2)], "it fits, it does not fit, there is no answer");
}

#[test]
fn a_stream_is_answered_line_by_line_and_goes_on_after_nonsense() {
    let (case, answers) = example();
    let mut lines = Vec::new();
    for (number, (change, _)) in answers.iter().enumerate() {
        let mut case = changed(&case, change.as_ref());
        case["id"] = number.into();
        lines.push(case.to_string());
        lines.push(String::new());
        lines.push("{\"slices\": 1}".to_owned());
    }
    let (printed, code) = allocate(&["--stream"], &lines.join("\n"));
    assert_eq!(code, Some(0));
    let printed: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(printed.len(), 2 * answers.len());
    for (number, (pair, (_, expected))) in printed.chunks(2).zip(&answers).enumerate() {
        let mut expected = expected.clone();
        expected["id"] = number.into();
        assert_eq!(pair[0], expected);
        assert_eq!(pair[1]["kind"], "input");
        assert!(pair[1]["error"].as_str().unwrap().contains("at slices"), "{}", pair[1]);
    }
}
