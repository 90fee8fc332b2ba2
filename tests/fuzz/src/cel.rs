//! Device selectors: whatever an expression is, compiling and evaluating it ends with an answer or an error, within
//! its cost, and the answer depends on nothing but what the expression says it reads.

use std::sync::{Arc, LazyLock};

use dra_controller::cel::{COST_LIMIT, Device, Environment, Program, Read, Reads};
use dra_controller::model::attribute::{AttributeValue, QualifiedName};
use dra_driver::quantity::Quantity;
use fastrand::Rng;

use crate::text::Words;

pub(crate) fn run(input: &[u8]) {
    let expression = String::from_utf8_lossy(input);
    // With lists, attributes may be of more types: what does not compile then hardly does without.
    for list_attributes in [true, false] {
        match (Environment { list_attributes }).compile(&expression) {
            Err(error) => {
                assert!(!error.to_string().contains("the compiler panicked"), "{error}");
                return;
            }
            Ok(program) => {
                let shapes = SHAPES.iter().filter(|shape| list_attributes || !shape.has_lists);
                shapes.for_each(|shape| holds_for(&program, shape));
            }
        }
    }
}

fn holds_for(program: &Program, shape: &Shape) {
    let (answer, cost) = program.evaluate(&shape.device());
    assert!(answer.is_err() || cost <= COST_LIMIT, "an answer that costs {cost}");
    let read = shape.read_by(program.reads());
    let (again, cost_again) = program.evaluate(&read.device());
    assert_eq!(
        again,
        answer,
        "the answer is another where there is only what is read: {:?}",
        program.reads()
    );
    assert!(
        answer.is_err() || cost == cost_again,
        "it costs {cost}, and {cost_again} where there is only what is read"
    );
}

/// A device, owned.
#[derive(Clone)]
struct Shape {
    driver: &'static str,
    shared: bool,
    has_lists: bool,
    attributes: Vec<(QualifiedName, AttributeValue)>,
    capacity: Vec<(QualifiedName, Quantity)>,
}

impl Shape {
    fn device(&self) -> Device<'_> {
        Device {
            driver: self.driver,
            allow_multiple_allocations: Some(self.shared),
            attributes: &self.attributes,
            capacity: &self.capacity,
        }
    }

    /// It, with nothing but what is read.
    fn read_by(&self, reads: &Reads) -> Self {
        let mut shape = self.clone();
        let Reads::Only(reads) = reads else { return shape };
        let attribute = |name: &QualifiedName| {
            let (domain, name) = (Arc::clone(&name.domain), Arc::clone(&name.name));
            reads.contains(&Read::Attribute { domain, name })
        };
        let capacity = |name: &QualifiedName| {
            let (domain, name) = (Arc::clone(&name.domain), Arc::clone(&name.name));
            reads.contains(&Read::Capacity { domain, name })
        };
        shape.attributes.retain(|(name, _)| attribute(name));
        shape.capacity.retain(|(name, _)| capacity(name));
        if !reads.contains(&Read::Driver) {
            shape.driver = "another.example.com";
        }
        if !reads.contains(&Read::AllowMultipleAllocations) {
            shape.shared = !shape.shared;
        }
        shape
    }
}

/// An ordinary device, one with lists, one with nothing, and one with the largest and oddest that there is.
static SHAPES: LazyLock<[Shape; 4]> = LazyLock::new(|| {
    use AttributeValue::{Bool, Bools, Int, Ints, String, Strings, Versions};
    let version = |text: &str| text.parse().expect("it is a version");
    let ordinary = Shape {
        driver: "gpu.example.com",
        shared: true,
        has_lists: false,
        attributes: named([
            ("gpu.example.com/model", String("h100".into())),
            ("gpu.example.com/index", Int(3)),
            ("gpu.example.com/healthy", Bool(true)),
            ("gpu.example.com/version", AttributeValue::Version(version("1.2.3"))),
            ("other.example.com/rack", String("r1".into())),
        ]),
        capacity: named([
            ("gpu.example.com/memory", amount("80Gi")),
            ("other.example.com/slots", amount("7")),
        ]),
    };
    let mut lists = ordinary.clone();
    lists.has_lists = true;
    lists.attributes.extend(named([
        ("gpu.example.com/ports", Strings(["a".into(), "b".into()].into())),
        ("gpu.example.com/numas", Ints([0, i64::MIN].into())),
        ("gpu.example.com/flags", Bools([true, false].into())),
        ("gpu.example.com/versions", Versions([version("1.0.0"), version("2.0.0-rc.1")].into())),
    ]));
    lists.attributes.sort_by(|one, other| one.0.cmp(&other.0));
    let nothing = Shape { attributes: Vec::new(), capacity: Vec::new(), ..ordinary.clone() };
    let odd = Shape {
        driver: "gpu.example.com",
        shared: false,
        has_lists: false,
        attributes: named([
            ("gpu.example.com/index", Int(i64::MIN)),
            ("gpu.example.com/model", String("ä\u{0}\u{10ffff}".repeat(2_000).into())),
            ("gpu.example.com/version", AttributeValue::Version(version("18446744073709551615.0.0-x+y"))),
            ("other.example.com/rack", String("(".repeat(5_000).into())),
        ]),
        capacity: named([
            ("gpu.example.com/memory", amount("1e2147483647")),
            ("other.example.com/slots", amount("-1n")),
        ]),
    };
    [ordinary, lists, nothing, odd]
});

fn named<T, const N: usize>(of: [(&str, T); N]) -> Vec<(QualifiedName, T)> {
    let mut named: Vec<_> = of.map(|(name, value)| (QualifiedName::resolve(name, ""), value)).into();
    named.sort_by(|one, other| one.0.cmp(&other.0));
    named
}

fn amount(text: &str) -> Quantity {
    text.parse().expect("it is a quantity")
}

/// The expressions of the table that is compared with Kubernetes' answers.
static TABLE: LazyLock<Vec<String>> = LazyLock::new(|| {
    let table = include_str!("../../conformance/tests/cel/table.txt");
    let lines = table.lines().filter(|line| !line.starts_with(['#', '[']));
    lines
        .filter_map(|line| line.split_once(" | "))
        .map(|(_, expression)| expression.trim().to_owned())
        .collect()
});

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    TABLE.iter().map(|expression| expression.as_bytes().to_vec()).collect()
}

pub(crate) fn mutate(input: &[u8], rng: &mut Rng) -> Vec<u8> {
    WORDS.mutate(&String::from_utf8_lossy(input), rng).into_bytes()
}

static WORDS: LazyLock<Words> = LazyLock::new(|| Words {
    texts: TABLE.clone(),
    words: &[
        "device",
        "device.attributes",
        "device.attributes[\"gpu.example.com\"].model",
        "device.attributes[\"gpu.example.com\"].ports",
        "device.attributes[\"other.example.com\"].rack",
        "device.attributes[?\"gpu.example.com\"].?index",
        "device.capacity[\"gpu.example.com\"].memory",
        "true",
        "null",
        "1",
        "-1",
        "1u",
        "1.5",
        "\"a\"",
        "b\"a\"",
        "\"(a*)*b\"",
        "\"((((a{1000}){1000}){1000}){1000})\"",
        "\"(?i)[\\\\pL&&~~^]{9}\"",
        "\"%s %d %x %.9999e\"",
        "\"2020-01-01T00:00:00Z\"",
        "\"9999999h\"",
        "\"10.0.0.0/8\"",
        "\"https://a:1/b?c=d\"",
        "[]",
        "{}",
        ".size()",
        ".map(x, x)",
        ".filter(x, true)",
        ".all(i, x, true)",
        ".transformMap(i, x, x)",
        ".sort()",
        ".flatten(99)",
        ".distinct()",
        ".join(\"x\")",
        ".split(\"\")",
        ".replace(\"a\", \"aaaaaaaaaa\")",
        ".matches(\"a\")",
        ".findAll(\".\")",
        ".format([1])",
        ".add(1)",
        ".orValue(1)",
        ".optMap(x, x)",
        ".includes(1)",
        ".charAt(-1)",
        ".substring(1, 0)",
        ".slice(0, 1)",
        "lists.range(10)",
        "sets.contains([1], [1])",
        "quantity(\"1e18\")",
        "semver(\"1.2.3\")",
        "timestamp(253402300799)",
        "duration(\"-1ns\")",
        "ip(\"::1\")",
        "cidr(\"::/0\")",
        "url(\"a\")",
        "dyn(1)",
        "optional.none()",
        "int(1e308)",
        "math",
        "strings.quote(\"\\u0000\")",
        " in ",
        " ? ",
        " : ",
        " + ",
        " * ",
        " / ",
        " % ",
        " && ",
        " == ",
        "//",
        "\"\"\"",
        "r'",
        "\\",
        "`a`",
        ".",
        "?",
        "@result",
        "a{b: 1}",
    ],
    around: &[
        ("(", ")"),
        ("[", "]"),
        ("{1: ", "}"),
        ("!", ""),
        ("-", ""),
        ("size(", ")"),
        ("dyn(", ")"),
        ("string(", ")"),
        ("type(", ")"),
        ("optional.of(", ")"),
        ("", ".map(x, [x, x])"),
        ("", ".map(x, x + x)"),
        ("[1, 2, 3, 4, 5, 6, 7, 8, 9].all(x, ", ")"),
        ("[1, 2, 3].map(x, ", ")"),
        ("[[1, 2, 3], [1, 2, 3]].exists(x, x.exists(y, ", "))"),
        ("{1: 2, 3: 4}.all(k, v, ", ")"),
        ("cel.bind(x, ", ", x + x)"),
        ("cel.bind(x, 1, ", ")"),
        ("true ? ", " : false"),
        ("true && ", ""),
        ("", " || false"),
        ("has(", ".a)"),
        ("\"", "\""),
        ("\"%s\".format([", "])"),
        ("", "[0]"),
        ("", ".a"),
    ],
    numbers: &[
        "0",
        "1000000000",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616u",
        "0xffffffffffffffff",
        "1e308",
        "1e-400",
        "99999999999999999999999999",
    ],
});
