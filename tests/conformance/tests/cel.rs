//! Device selectors: our side and Kubernetes' own, on the same expressions and devices.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

#[path = "cel/generate/mod.rs"]
mod generate;
#[path = "cel/questions.rs"]
mod questions;

use std::process::Command;

use conformance::program::Program;
use questions::{Answer, Question};

/// The program that answers with Kubernetes' own compiler; `cargo xtask test` builds it and names it here.
const ORACLE: &str = "DRA_CEL_ORACLE";

fn oracle() -> Program {
    let program = std::env::var_os(ORACLE)
        .unwrap_or_else(|| panic!("{ORACLE} names no program: run `cargo xtask test --only tests`"));
    Program::start(&mut Command::new(program)).unwrap()
}

/// Asks both sides: the disagreements as text, and how many costs were the same of how many.
fn compare(questions: &[Question]) -> (Vec<String>, usize, usize) {
    let lines: Vec<String> = questions.iter().map(Question::line).collect();
    let theirs = oracle().ask(&lines).unwrap();
    let (mut disagreements, mut same_costs, mut costs) = (Vec::new(), 0, 0);
    for (question, theirs) in questions.iter().zip(theirs) {
        let (ours, theirs) = (question.ours(), questions::theirs(&theirs));
        if !ours.same_as(&theirs) {
            disagreements.push(question.shown(&ours, &theirs));
        }
        if let (Answer::Matches(_, cost), Answer::Matches(_, their_cost)) = (&ours, &theirs) {
            costs += 1;
            same_costs += usize::from(cost == their_cost);
            if cost != their_cost {
                println!("Another cost: {}", question.shown(&ours, &theirs));
            }
        }
    }
    (disagreements, same_costs, costs)
}

#[test]
fn the_table_has_the_answers_that_kubernetes_gives() {
    let questions = questions::table();
    let (disagreements, same_costs, costs) = compare(&questions);
    println!(
        "{} expressions, {} disagreements, {same_costs} of {costs} costs equal",
        questions.len(),
        disagreements.len()
    );
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
}

/// Compares expressions of these seeds.
fn generated(make: fn(u64) -> Question, seeds: std::ops::Range<u64>) {
    let questions: Vec<Question> = seeds.map(make).collect();
    let (disagreements, same_costs, costs) = compare(&questions);
    println!(
        "{} expressions, {} disagreements, {same_costs} of {costs} costs equal",
        questions.len(),
        disagreements.len()
    );
    assert!(costs > questions.len() / 4, "hardly any expression has a result");
    assert!(
        disagreements.is_empty(),
        "{} of {}:\n{}",
        disagreements.len(),
        questions.len(),
        disagreements.join("\n")
    );
}

#[test]
fn generated_expressions_have_the_answers_that_kubernetes_gives() {
    generated(generate::question, 0..2_000);
}

#[test]
fn generated_patterns_match_what_they_match_in_kubernetes() {
    generated(generate::patterns::question, 0..5_000);
}

#[test]
#[ignore = "long: 100,000 expressions and as many patterns"]
fn many_generated_expressions_have_the_answers_that_kubernetes_gives() {
    for start in (1_000_000..1_100_000).step_by(10_000) {
        generated(generate::question, start..start + 10_000);
        generated(generate::patterns::question, start..start + 10_000);
    }
}
