use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const ENVIRONMENT: Environment = Environment { list_attributes: true };

fn named(name: &str) -> QualifiedName {
    QualifiedName::resolve(name, "gpu.example.com")
}

/// Asks about a device that has one attribute of each type.
fn asked(expression: &str) -> Result<Result<bool, EvaluationError>, CompileError> {
    let attributes = [
        (named("healthy"), AttributeValue::Bool(true)),
        (named("index"), AttributeValue::Int(3)),
        (named("model"), AttributeValue::String("h100".into())),
        (named("ports"), AttributeValue::Strings(["a".into(), "b".into()].into())),
        (named("version"), AttributeValue::Version("1.2.3".parse().unwrap())),
    ];
    let capacity = [(named("memory"), "80Gi".parse().unwrap())];
    let program = ENVIRONMENT.compile(expression)?;
    let device = Device {
        driver: "gpu.example.com",
        allow_multiple_allocations: None,
        attributes: &attributes,
        capacity: &capacity,
    };
    Ok(program.matches(&device))
}

#[test]
fn what_an_expression_reads_is_known_before_it_runs() {
    let attribute = |name: &str| Read::Attribute { domain: "gpu.example.com".into(), name: name.into() };
    let capacity = |name: &str| Read::Capacity { domain: "gpu.example.com".into(), name: name.into() };
    let cases: [(&str, &str, Option<Vec<Read>>); 13] = [
        ("nothing", "true", Some(vec![])),
        ("the driver", "device.driver == 'x'", Some(vec![Read::Driver])),
        ("sharing", "device.allowMultipleAllocations", Some(vec![Read::AllowMultipleAllocations])),
        ("an attribute", "device.attributes['gpu.example.com'].model == 'x'", Some(vec![attribute("model")])),
        (
            "a part of it",
            "device.attributes['gpu.example.com'].model.size() == 1",
            Some(vec![attribute("model")]),
        ),
        ("presence", "has(device.attributes['gpu.example.com'].model)", Some(vec![attribute("model")])),
        (
            "an optional",
            "device.attributes['gpu.example.com'].?model.hasValue()",
            Some(vec![attribute("model")]),
        ),
        (
            "a capacity and an attribute in a loop",
            "[1].all(x, x == device.attributes['gpu.example.com'].index \
             && device.capacity['gpu.example.com'].memory == quantity('1'))",
            Some(vec![attribute("index"), capacity("memory")]),
        ),
        (
            "a domain by a name",
            "cel.bind(d, device.attributes['gpu.example.com'], d.healthy && d.?index.hasValue())",
            Some(vec![attribute("healthy"), attribute("index")]),
        ),
        ("a domain by a name, whole", "cel.bind(d, device.attributes['gpu.example.com'], d == {})", None),
        ("which attributes there are", "'model' in device.attributes['gpu.example.com']", None),
        ("a computed domain", "device.attributes[device.driver].model == 'x'", None),
        ("the device", "device == device", None),
    ];
    for (name, expression, reads) in cases {
        let wanted = reads.map_or(Reads::Everything, |reads| Reads::Only(BTreeSet::from_iter(reads)));
        assert_eq!(*ENVIRONMENT.compile(expression).unwrap().reads(), wanted, "{name}");
    }
}

#[test]
fn a_device_that_cannot_be_read_fails_whatever_is_asked() {
    let lists = [(named("ports"), AttributeValue::Ints([1].into()))];
    let broken = [(named("version"), AttributeValue::Unreadable("it is no version".into()))];
    for (list_attributes, attributes, wanted) in [
        (true, &lists, Ok(true)),
        (false, &lists, Err("attribute gpu.example.com/ports: unsupported attribute value")),
        (true, &broken, Err("attribute gpu.example.com/version: it is no version")),
    ] {
        let program = Environment { list_attributes }.compile("true").unwrap();
        let device = Device { driver: "x", allow_multiple_allocations: None, attributes, capacity: &[] };
        assert_eq!(
            program.matches(&device).map_err(|error| error.to_string()),
            wanted.map_err(str::to_owned)
        );
    }
}

#[test]
fn expressions_are_compiled_once() {
    let cache = Cache::default();
    let first = cache.get(ENVIRONMENT, "true");
    assert!(Arc::ptr_eq(&first, &cache.get(ENVIRONMENT, "true")));
    let other = Environment { list_attributes: false };
    assert!(!Arc::ptr_eq(&first, &cache.get(other, "true")));
    let wrong = cache.get(ENVIRONMENT, "nope");
    assert!(wrong.program().is_err());
    assert!(Arc::ptr_eq(&wrong, &cache.get(ENVIRONMENT, "nope")));
}

/// Time that no expression takes, on a slow machine that is busy and without optimisation.
const HANGS: Duration = Duration::from_secs(30);

#[test]
fn what_costs_too_much_ends_with_an_error() {
    let hundred = format!("[{}]", vec!["1"; 100].join(","));
    let doubled = |start: &str, times: usize, body: &str| {
        let mut expression = format!("cel.bind(x0, {start}, ");
        for index in 0..times {
            expression.push_str(&format!("cel.bind(x{}, x{index} + x{index}, ", index + 1));
        }
        format!("{expression}{body}{}", ")".repeat(times + 1)).replace("LAST", &format!("x{times}"))
    };
    let cases = [
        (
            "loops in loops",
            format!("{hundred}.all(a, {hundred}.all(b, {hundred}.all(c, {hundred}.all(d, a == b))))"),
        ),
        ("a long range", "lists.range(1000000000).size() > 0".to_owned()),
        ("a list twice as long, again and again", doubled("[1]", 60, "LAST.size() > 0")),
        ("a text twice as long, again and again", doubled("'aaaaaaaaaa'", 60, "LAST.size() > 0")),
        ("equality of long lists", doubled("[1]", 20, "[1,2,3,4,5,6,7,8].all(i, LAST == LAST)")),
        ("a long text replaced", doubled("'aaaaaaaaaa'", 12, "LAST.replace('a', LAST).size() > 0")),
        ("distinct", "lists.range(100000).distinct().size() > 0".to_owned()),
        (
            "a text joined",
            doubled("'aaaaaaaaaa'", 12, "lists.range(100000).map(i, LAST).join(LAST).size() > 0"),
        ),
        ("a large expression over a text", doubled("'aaaaaaaaaa'", 18, "LAST.matches('(a*)*b|(a|a)*c')")),
    ];
    for (name, expression) in cases {
        let start = Instant::now();
        let answer = asked(&expression).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answer, Err(EvaluationError::CostExceeded { limit: COST_LIMIT }), "{name}");
        assert!(start.elapsed() < HANGS, "{name} took {:?}", start.elapsed());
    }
}

#[test]
fn large_regular_expressions_are_refused_or_run_in_time() {
    for pattern in ["(a{1000}){1000}", "((a{100}){100}){100}", r"\\pL{1000}", "(x+x+)+y", "(?i)[^a]{1000}"] {
        let start = Instant::now();
        let _ = asked(&format!("'{}'.matches('{pattern}')", "x".repeat(5000)));
        assert!(start.elapsed() < HANGS, "{pattern} took {:?}", start.elapsed());
    }
}

#[test]
fn no_depth_overflows_the_stack() {
    for depth in [50, 249, 1000, 5000] {
        let around = |open: &str, inner: &str, close: &str| {
            format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
        };
        for expression in [
            around("(", "true", ")"),
            around("[", "1", "]"),
            around("{'a': ", "1", "}"),
            around("!", "true", ""),
            around("-", "1", ""),
            around("- ", "(1)", ""),
            around("dyn(", "1", ")"),
            around("true ? true : ", "false", ""),
            around("true ? ", "true", " : false"),
            around("true && ", "true", ""),
            around("1 + ", "1", ""),
            around("1 == ", "1", ""),
            around("1 < ", "1", ""),
            around("a.", "b", ""),
            around("[1].all(x, ", "true", ")"),
            around("cel.bind(x, 1, ", "true", ")"),
            around("x.", "y", ".z()"),
            format!("device{}", ".a".repeat(depth)),
            format!("device{}", "[0]".repeat(depth)),
            format!("'a'{}", ".trim()".repeat(depth)),
            format!("optional.of(1){}", ".optMap(x, x)".repeat(depth)),
            format!("[1]{}", ".map(x, x)".repeat(depth)),
            format!("1{} == 1", " + 1".repeat(depth)),
            "(".repeat(depth),
            "[".repeat(depth),
            "{".repeat(depth),
            "a(".repeat(depth),
            "?".repeat(depth),
            "a ? ".repeat(depth),
        ] {
            let start = Instant::now();
            let _ = asked(&expression);
            assert!(start.elapsed() < HANGS, "{:.40} took {:?}", expression, start.elapsed());
        }
    }
}

/// Pieces of expressions in any order.
fn soup() -> impl Strategy<Value = String> {
    let pieces = [
        "device",
        ".driver",
        ".attributes",
        ".capacity",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        "'gpu.example.com'",
        "\"x\"",
        ".",
        ".?",
        "[?",
        ":",
        ",",
        "?",
        "&&",
        "||",
        "!",
        "==",
        "!=",
        "<",
        ">=",
        "in",
        "+",
        "-",
        "*",
        "/",
        "%",
        "1",
        "0",
        "-1",
        "2u",
        "1.5",
        "true",
        "false",
        "null",
        "x",
        "y",
        ".all(x,",
        ".exists(",
        ".map(x,",
        ".filter(x,",
        "cel.bind(x,",
        "has(",
        "size(",
        ".matches('[a-z]+')",
        ".find(",
        "quantity('1Gi')",
        "semver('1.2.3')",
        ".isGreaterThan(",
        ".add(",
        "lists.range(9)",
        ".sort()",
        ".flatten()",
        "'%s %d'.format(",
        "duration('1s')",
        "timestamp('2024-01-01T00:00:00Z')",
        "ip('::1')",
        "cidr('10.0.0.0/8')",
        "url('/a')",
        "type(",
        "dyn(",
        "int(",
        "string(",
        "optional.of(",
        ".orValue(",
        "r'\\d'",
        "b'x'",
        "'''",
        "//",
        "\\",
        "`",
        "9223372036854775807",
        "sets.contains(",
        ".includes(",
        ".split('')",
        ".substring(1)",
        "@",
        "\u{0}",
    ];
    prop_oneof![
        4 => proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..24).prop_map(|pieces| pieces.concat()),
        1 => proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..24).prop_map(|pieces| pieces.join(" ")),
        1 => any::<String>(),
    ]
}

/// Texts that are regular expressions, more or less.
fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[\\[\\](){}*+?|^$.\\\\a-zQE0-9:&~,<>=!-]{0,20}"]
}

fn survives(expression: &str) {
    let start = Instant::now();
    let _ = asked(expression);
    assert!(start.elapsed() < HANGS, "it took {:?}", start.elapsed());
}

fn survives_pattern(pattern: &str) {
    let quoted: String = pattern.chars().flat_map(char::escape_unicode).collect();
    let quoted = quoted.replace("\\u{", "\\U").replace('}', "\n");
    let quoted: String = quoted
        .split('\n')
        .map(|hex| hex.strip_prefix("\\U").map_or(String::new(), |hex| format!("\\U{hex:0>8}")))
        .collect();
    survives(&format!("'aB1 äö'.find(\"{quoted}\") == ''"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_breaks_the_compiler(expression in soup()) {
        survives(&expression);
    }

    #[test]
    fn no_pattern_breaks_a_regular_expression(pattern in pattern()) {
        survives_pattern(&pattern);
    }
}

#[test]
#[ignore = "long: measures; run it with --release --nocapture"]
fn how_long_an_evaluation_takes() {
    for expression in [
        "device.driver == 'gpu.example.com'",
        "device.attributes['gpu.example.com'].model == 'h100'",
        "device.attributes['gpu.example.com'].version.isGreaterThan(semver('1.0.0'))",
        "device.capacity['gpu.example.com'].memory.compareTo(quantity('40Gi')) >= 0",
        "device.driver == 'gpu.example.com' && device.attributes['gpu.example.com'].model == 'h100' \
         && device.attributes['gpu.example.com'].index < 4",
        "device.attributes['gpu.example.com'].model.matches('^h[0-9]+$')",
        "cel.bind(d, device.attributes['gpu.example.com'], d.healthy && d.index == 3)",
        "['a100', 'h100'].exists(m, device.attributes['gpu.example.com'].model == m)",
    ] {
        let attributes = [
            (named("healthy"), AttributeValue::Bool(true)),
            (named("index"), AttributeValue::Int(3)),
            (named("model"), AttributeValue::String("h100".into())),
            (named("version"), AttributeValue::Version("1.2.3".parse().unwrap())),
        ];
        let capacity = [(named("memory"), "80Gi".parse().unwrap())];
        let device = Device {
            driver: "gpu.example.com",
            allow_multiple_allocations: None,
            attributes: &attributes,
            capacity: &capacity,
        };
        let start = Instant::now();
        let program = ENVIRONMENT.compile(expression).unwrap();
        let compiled = start.elapsed();
        let start = Instant::now();
        for _ in 0..100_000 {
            assert_eq!(program.matches(&device), Ok(true));
        }
        println!(
            "{:>5} ns, compiled in {:>6} µs: {expression}",
            start.elapsed().as_nanos() / 100_000,
            compiled.as_micros()
        );
    }
}
