//! Selectors taken apart and put together again.

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use proptest::prelude::*;

use super::*;
use crate::cel::Environment;
use crate::model::attribute::{AttributeValue, QualifiedName};

/// What is said of the false parts of a selector, and what would stand there instead.
fn taken_apart(selector: &str) -> Vec<(String, Option<String>)> {
    let named = |name: &str| QualifiedName::resolve(name, "d");
    let attributes = [
        (named("healthy"), AttributeValue::Bool(false)),
        (named("index"), AttributeValue::Int(3)),
        (named("model"), AttributeValue::String("NVIDIA H100".into())),
        (named("version"), AttributeValue::Version("12.2.0".parse().unwrap())),
    ];
    let capacity = [(named("memory"), "80Gi".parse().unwrap())];
    let device = Device {
        driver: "d",
        allow_multiple_allocations: None,
        attributes: &attributes,
        capacity: &capacity,
    };
    let anatomy = Anatomy::of(Environment::default(), selector).unwrap();
    let parts = anatomy.false_parts(&device);
    for part in &parts {
        // What is offered instead holds.
        let Some(edit) = &part.edit else { continue };
        let program = Environment::default().compile(&edit.becomes).unwrap();
        assert_eq!(program.matches(&device), Ok(true), "{}", edit.becomes);
    }
    parts.into_iter().map(|part| (part.says, part.edit.map(|edit| edit.becomes.to_string()))).collect()
}

#[test]
fn each_false_part_is_said_with_its_values() {
    let a = "device.attributes['d']";
    let c = "device.capacity['d']";
    let cases: Vec<(String, &str, Option<String>)> = vec![
        (
            format!("{c}.memory.compareTo(quantity('100Gi')) >= 0"),
            "memory 80Gi < 100Gi",
            Some(format!("{c}.memory.compareTo(quantity('80Gi')) >= 0")),
        ),
        (
            format!("{c}.memory.isGreaterThan(quantity('100Gi'))"),
            "memory 80Gi <= 100Gi",
            Some(format!("{c}.memory.compareTo(quantity('80Gi')) >= 0")),
        ),
        (
            format!("{c}.memory == quantity('40Gi')"),
            "memory is 80Gi, not 40Gi",
            Some(format!("{c}.memory.compareTo(quantity('80Gi')) == 0")),
        ),
        (
            format!("{a}.version.compareTo(semver('12.4.0')) > 0"),
            "version 12.2.0 <= 12.4.0",
            Some(format!("{a}.version.compareTo(semver('12.2.0')) >= 0")),
        ),
        (format!("{a}.index < 2"), "index 3 >= 2", Some(format!("{a}.index <= 3"))),
        (format!("4 <= {a}.index"), "index 3 < 4", Some(format!("{a}.index >= 3"))),
        (format!("{a}.index == -1"), "index is 3, not -1", Some(format!("{a}.index == 3"))),
        (format!("{a}.index != 3"), "index is 3", None),
        (
            format!("{a}['model'] == 'it\\'s'"),
            "model is NVIDIA H100, not it's",
            Some(format!("{a}['model'] == 'NVIDIA H100'")),
        ),
        (
            format!("{a}.model in ['A', 'B']"),
            "model is NVIDIA H100, not one of [A, B]",
            Some(format!("{a}.model in ['A', 'B', 'NVIDIA H100']")),
        ),
        (
            format!("{a}.model.startsWith('AMD')"),
            "model is NVIDIA H100, which does not start with AMD",
            Some(format!("{a}.model == 'NVIDIA H100'")),
        ),
        (
            format!("{a}.model.matches('H2.0$')"),
            "model is NVIDIA H100, which does not match H2.0$",
            Some(format!("{a}.model == 'NVIDIA H100'")),
        ),
        (format!("{a}.healthy"), "healthy is false", None),
        (format!("!({a}.healthy || true)"), "!(device.attributes['d'].healthy || true) is false", None),
        (format!("has({a}.rack)"), "it has no rack", None),
        (format!("'rack' in {a}"), "it has no rack", None),
        (format!("{a}.rack == 'r1'"), "device.attributes['d'].rack == 'r1' has no value", None),
        ("device.driver == 'e'".to_owned(), "driver is d, not e", Some("device.driver == 'd'".to_owned())),
        (
            format!("({a}.index == 1 || {a}.index == 2)"),
            "index is 3, not 1 and index is 3, not 2",
            Some(format!("({a}.index == 1 || {a}.index == 3)")),
        ),
        (
            format!("{a}.?rack.orValue('none') == 'r1'"),
            "rack is none, not r1",
            Some(format!("{a}.?rack.orValue('none') == 'none'")),
        ),
        (
            format!("[1, 2].exists(x, x == {a}.index)"),
            "[1, 2].exists(x, x == device.attributes['d'].index) is false",
            None,
        ),
    ];
    for (selector, says, becomes) in cases {
        let parts = taken_apart(&format!("device.driver != 'x' && {selector}"));
        assert_eq!(parts, [(says.to_owned(), becomes)], "{selector}");
    }
}

#[test]
fn parts_change_and_go_and_the_others_stay() {
    let anatomy =
        Anatomy::of(Environment::default(), "1 < 2 && (true || false) && (3 < 4 && 5 < 6)").unwrap();
    assert_eq!(anatomy.with(&[]).as_deref(), Some("1 < 2 && (true || false) && 3 < 4 && 5 < 6"));
    let changes = [(0, None), (2, Some("true".into()))];
    assert_eq!(anatomy.with(&changes).as_deref(), Some("(true || false) && true && 5 < 6"));
    let all: Vec<_> = (0..4).map(|index| (index, None)).collect();
    assert_eq!(anatomy.with(&all), None);
}

/// The same tree, whatever numbers the parser gave to its nodes.
fn same(one: &IdedExpr, other: &IdedExpr) -> bool {
    match (&one.expr, &other.expr) {
        (Expr::Call(one), Expr::Call(other)) => {
            one.func_name == other.func_name
                && one.args.len() == other.args.len()
                && one.args.iter().zip(&other.args).all(|(one, other)| same(one, other))
                && match (&one.target, &other.target) {
                    (Some(one), Some(other)) => same(one, other),
                    (None, None) => true,
                    _ => false,
                }
        }
        (Expr::Select(one), Expr::Select(other)) => {
            one.field == other.field && one.test == other.test && same(&one.operand, &other.operand)
        }
        (Expr::List(one), Expr::List(other)) => {
            one.optional_indices == other.optional_indices
                && one.elements.len() == other.elements.len()
                && one.elements.iter().zip(&other.elements).all(|(one, other)| same(one, other))
        }
        (Expr::Map(one), Expr::Map(other)) => {
            one.entries.len() == other.entries.len()
                && one.entries.iter().zip(&other.entries).all(|(one, other)| match (&one.expr, &other.expr) {
                    (EntryExpr::MapEntry(one), EntryExpr::MapEntry(other)) => {
                        one.optional == other.optional
                            && same(&one.key, &other.key)
                            && same(&one.value, &other.value)
                    }
                    _ => false,
                })
        }
        (one, other) => one == other,
    }
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("device".to_owned()),
        Just("x".to_owned()),
        Just("null".to_owned()),
        Just("true".to_owned()),
        (-5_i64..1_000).prop_map(|number| number.to_string()),
        (0_u64..9).prop_map(|number| format!("{number}u")),
        prop_oneof![Just("1.5"), Just("-2.0"), Just("1e300"), Just("-9223372036854775808")]
            .prop_map(str::to_owned),
        "[a-z'\"\\\\ \n\tä]{0,6}".prop_map(|text| quoted(&text)),
        Just("b'\\x00\\xff'".to_owned()),
        Just("r'\\d'".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let operator = prop_oneof![
            Just("+"),
            Just("-"),
            Just("*"),
            Just("/"),
            Just("%"),
            Just("<"),
            Just(">="),
            Just("=="),
            Just("!="),
            Just("in"),
            Just("&&"),
            Just("||"),
        ];
        prop_oneof![
            (inner.clone(), operator, inner.clone())
                .prop_map(|(one, sign, other)| format!("({one}) {sign} ({other})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(one, two, three)| format!("({one}) ? ({two}) : ({three})")),
            inner.clone().prop_map(|one| format!("!({one})")),
            inner.clone().prop_map(|one| format!("-({one})")),
            inner.clone().prop_map(|one| format!("({one}).field")),
            inner.clone().prop_map(|one| format!("({one}).?field")),
            (inner.clone(), inner.clone()).prop_map(|(one, two)| format!("({one})[{two}]")),
            (inner.clone(), inner.clone()).prop_map(|(one, two)| format!("({one})[?{two}]")),
            (inner.clone(), inner.clone()).prop_map(|(one, two)| format!("({one}).startsWith({two})")),
            (inner.clone(), inner.clone()).prop_map(|(one, two)| format!("size([{one}, ?{two}])")),
            (inner.clone(), inner.clone()).prop_map(|(one, two)| format!("{{{one}: {two}, ?'k': 1}}")),
            inner.prop_map(|one| format!("[1].all(x, {one})")),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_again_is_read_as_the_same(text in expression()) {
        let Ok(parsed) = syntax::parsed(&text) else { return Ok(()) };
        let again = written(&parsed).unwrap();
        let reparsed = syntax::parsed(&again);
        prop_assert!(reparsed.is_ok_and(|reparsed| same(&reparsed, &parsed)), "{} became {}", text, again);
    }
}
