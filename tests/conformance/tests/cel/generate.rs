//! Random expressions and devices.

use fastrand::Rng;
use serde_json::{Value, json};

use super::questions::Question;

/// The type that an expression is to have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int,
    Double,
    Text,
    Version,
    Quantity,
    Texts,
    Ints,
    Map,
    /// An attribute, of any type.
    Unknown,
    /// An attribute that may be missing.
    Optional,
}

/// A question made from a seed.
pub(crate) fn question(seed: u64) -> Question {
    let mut dice = Rng::with_seed(seed);
    let lists = dice.u8(..4) == 0;
    let mut maker = Maker { dice, names: Vec::new(), lists };
    let depth = maker.dice.u8(1..5);
    let expression = maker.expression(Kind::Bool, depth);
    let device = device(&mut maker.dice, lists);
    Question { name: format!("seed {seed}"), expression, device, lists }
}

const DOMAINS: [&str; 3] = ["gpu.example.com", "other.example.com", "none.example.com"];
const TEXTS: [&str; 10] = ["", "a", "b", "h100", "H100", "a100", "ab", "x-y", "äö", "1.2.3"];
const VERSIONS: [&str; 6] = ["1.2.3", "1.2.3-rc.1", "0.0.1", "2.0.0", "1.2.3+x", "1.10.0"];
const QUANTITIES: [&str; 10] =
    ["0", "1", "1500m", "1.5", "80Gi", "80G", "1e3", "1k", "-2", "9223372036854775807"];
const PATTERNS: [&str; 8] = ["^a", "[0-9]+", "h100|a100", "(?i)H", "x*", "\\\\d", ".", "b$"];

/// A device with some attributes of every type, in two domains.
fn device(dice: &mut Rng, lists: bool) -> Value {
    let mut attributes = serde_json::Map::new();
    let mut capacity = serde_json::Map::new();
    for prefix in ["", "other.example.com/"] {
        for name in ["a", "b", "c"] {
            if dice.u8(..4) == 0 {
                continue;
            }
            let several: Vec<usize> = (0..dice.usize(..4)).map(|_| dice.usize(..6)).collect();
            let value = match dice.u8(..if lists { 8 } else { 4 }) {
                0 => json!({"int": dice.i64(-2..5)}),
                1 => json!({"bool": dice.bool()}),
                2 => json!({"string": pick(dice, &TEXTS)}),
                3 => json!({"version": pick(dice, &VERSIONS)}),
                4 => json!({"ints": several}),
                5 => json!({"bools": several.iter().map(|number| number % 2 == 0).collect::<Vec<_>>()}),
                6 => json!({"strings": several.iter().map(|number| TEXTS[*number]).collect::<Vec<_>>()}),
                _ => json!({"versions": several.iter().map(|number| VERSIONS[*number]).collect::<Vec<_>>()}),
            };
            attributes.insert(format!("{prefix}{name}"), value);
        }
        for name in ["m", "n"] {
            if dice.u8(..4) != 0 {
                capacity.insert(format!("{prefix}{name}"), json!({"value": pick(dice, &QUANTITIES)}));
            }
        }
    }
    json!({
        "driver": pick(dice, &DOMAINS[..2]),
        "allowMultipleAllocations": dice.bool(),
        "attributes": attributes,
        "capacity": capacity,
    })
}

fn pick<T: Copy>(dice: &mut Rng, from: &[T]) -> T {
    from[dice.usize(..from.len())]
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

struct Maker {
    dice: Rng,
    /// The variables of the macros around.
    names: Vec<(String, Kind)>,
    lists: bool,
}

impl Maker {
    fn text(&mut self) -> String {
        quoted(pick(&mut self.dice, &TEXTS))
    }

    fn name_of(&mut self, kind: Kind) -> Option<String> {
        let names: Vec<&String> =
            self.names.iter().filter(|(_, of)| *of == kind).map(|(name, _)| name).collect();
        (!names.is_empty()).then(|| pick(&mut self.dice, &names).clone())
    }

    fn attribute(&mut self) -> String {
        let domain = match self.dice.u8(..4) {
            0 => "device.driver".to_owned(),
            _ => quoted(pick(&mut self.dice, &DOMAINS)),
        };
        let name = pick(&mut self.dice, &["a", "b", "c", "d"]);
        match self.dice.u8(..3) {
            0 => format!("device.attributes[{domain}][\"{name}\"]"),
            _ => format!("device.attributes[{domain}].{name}"),
        }
    }

    /// An expression that mostly has the type, and now and then another one.
    fn expression(&mut self, kind: Kind, depth: u8) -> String {
        if self.dice.u8(..60) == 0 {
            let other = pick(
                &mut self.dice,
                &[Kind::Bool, Kind::Int, Kind::Text, Kind::Unknown, Kind::Texts, Kind::Quantity],
            );
            return self.typed(other, depth);
        }
        if depth > 0 && self.dice.u8(..12) == 0 {
            return self.around(kind, depth - 1);
        }
        self.typed(kind, depth)
    }

    fn one_of(&mut self, kinds: &[Kind], depth: u8) -> String {
        let kind = pick(&mut self.dice, kinds);
        self.expression(kind, depth)
    }

    /// What may stand around an expression of any type.
    fn around(&mut self, kind: Kind, depth: u8) -> String {
        match self.dice.u8(..4) {
            0 => {
                let condition = self.expression(Kind::Bool, depth);
                let (one, other) = (self.expression(kind, depth), self.expression(kind, depth));
                format!("({condition} ? {one} : {other})")
            }
            1 => {
                let bound = pick(&mut self.dice, &[Kind::Int, Kind::Text, Kind::Unknown, Kind::Texts]);
                let value = self.expression(bound, depth);
                let name = format!("v{}", self.names.len());
                self.names.push((name.clone(), bound));
                let body = self.expression(kind, depth);
                self.names.pop();
                format!("cel.bind({name}, {value}, {body})")
            }
            2 => {
                let (optional, other) =
                    (self.expression(Kind::Optional, depth), self.expression(kind, depth));
                format!("{optional}.orValue({other})")
            }
            _ => format!("({})", self.expression(kind, depth)),
        }
    }

    fn typed(&mut self, kind: Kind, depth: u8) -> String {
        if self.dice.u8(..3) == 0
            && let Some(name) = self.name_of(kind)
        {
            return name;
        }
        let leaf = depth == 0;
        let depth = depth.saturating_sub(1);
        match kind {
            Kind::Bool if leaf => {
                pick(&mut self.dice, &["true", "false", "device.allowMultipleAllocations"]).to_owned()
            }
            Kind::Bool => self.boolean(depth),
            Kind::Int if leaf => self.dice.i64(-3..8).to_string(),
            Kind::Int => self.integer(depth),
            Kind::Double if leaf => pick(&mut self.dice, &["0.5", "1.0", "2.5", "-1.5", "1e3"]).to_owned(),
            Kind::Double => {
                let operator = pick(&mut self.dice, &["+", "-", "*", "/"]);
                match self.dice.u8(..3) {
                    0 => format!("double({})", self.expression(Kind::Int, depth)),
                    1 => format!("{}.asApproximateFloat()", self.expression(Kind::Quantity, depth)),
                    _ => format!(
                        "({} {operator} {})",
                        self.expression(Kind::Double, depth),
                        self.expression(Kind::Double, depth)
                    ),
                }
            }
            Kind::Text if leaf => match self.dice.u8(..4) {
                0 => "device.driver".to_owned(),
                _ => self.text(),
            },
            Kind::Text => self.words(depth),
            Kind::Version => match self.dice.u8(..3) {
                0 => self.attribute(),
                _ => format!("semver({})", quoted(pick(&mut self.dice, &VERSIONS))),
            },
            Kind::Quantity if leaf || self.dice.bool() => match self.dice.u8(..2) {
                0 => format!("quantity({})", quoted(pick(&mut self.dice, &QUANTITIES))),
                _ => format!(
                    "device.capacity[{}].{}",
                    quoted(pick(&mut self.dice, &DOMAINS)),
                    pick(&mut self.dice, &["m", "n"])
                ),
            },
            Kind::Quantity => {
                let function = pick(&mut self.dice, &["add", "sub"]);
                let other = pick(&mut self.dice, &[Kind::Quantity, Kind::Int]);
                format!(
                    "{}.{function}({})",
                    self.expression(Kind::Quantity, depth),
                    self.expression(other, depth)
                )
            }
            Kind::Texts => self.texts(depth, leaf),
            Kind::Ints => self.integers(depth, leaf),
            Kind::Map => format!(
                "{{{}: {}, \"k\": {}}}",
                self.expression(Kind::Text, depth.min(1)),
                self.expression(Kind::Int, depth),
                self.expression(Kind::Int, depth)
            ),
            Kind::Unknown => self.attribute(),
            Kind::Optional => {
                let domain = quoted(pick(&mut self.dice, &DOMAINS));
                let name = pick(&mut self.dice, &["a", "b", "c", "d"]);
                match self.dice.u8(..4) {
                    0 => format!("device.attributes[?{domain}].{name}"),
                    1 => format!("device.attributes[{domain}][?\"{name}\"]"),
                    _ => format!("device.attributes[{domain}].?{name}"),
                }
            }
        }
    }

    fn boolean(&mut self, depth: u8) -> String {
        let comparison = pick(&mut self.dice, &["==", "!=", "<", "<=", ">", ">="]);
        let equality = pick(&mut self.dice, &["==", "!="]);
        match self.dice.u8(..30) {
            0..=3 => {
                let operator = pick(&mut self.dice, &["&&", "||"]);
                format!(
                    "({} {operator} {})",
                    self.expression(Kind::Bool, depth),
                    self.expression(Kind::Bool, depth)
                )
            }
            4 => format!("!{}", self.expression(Kind::Bool, depth)),
            5 | 6 => format!(
                "{} {comparison} {}",
                self.expression(Kind::Int, depth),
                self.expression(Kind::Int, depth)
            ),
            7 => format!(
                "{} {comparison} {}",
                self.expression(Kind::Text, depth),
                self.expression(Kind::Text, depth)
            ),
            8 => format!(
                "{} {comparison} {}",
                self.expression(Kind::Double, depth),
                self.expression(Kind::Int, depth)
            ),
            9 | 10 => {
                let kind = pick(
                    &mut self.dice,
                    &[Kind::Int, Kind::Text, Kind::Version, Kind::Bool, Kind::Unknown, Kind::Quantity],
                );
                format!("{} {equality} {}", self.attribute(), self.expression(kind, depth))
            }
            11 => format!(
                "{} {equality} {}",
                self.expression(Kind::Texts, depth),
                self.expression(Kind::Texts, depth)
            ),
            12 => format!(
                "{} {equality} {}",
                self.expression(Kind::Map, depth),
                self.expression(Kind::Map, depth)
            ),
            13 => format!(
                "{} {equality} {}",
                self.expression(Kind::Quantity, depth),
                self.expression(Kind::Quantity, depth)
            ),
            14 => {
                let function = pick(&mut self.dice, &["isGreaterThan", "isLessThan"]);
                let kind = pick(&mut self.dice, &[Kind::Version, Kind::Quantity]);
                format!("{}.{function}({})", self.expression(kind, depth), self.expression(kind, depth))
            }
            15 => {
                let function = pick(&mut self.dice, &["contains", "startsWith", "endsWith"]);
                format!(
                    "{}.{function}({})",
                    self.expression(Kind::Text, depth),
                    self.expression(Kind::Text, depth)
                )
            }
            16 => {
                let pattern = quoted(pick(&mut self.dice, &PATTERNS));
                format!("{}.matches({pattern})", self.expression(Kind::Text, depth))
            }
            17 => {
                let value = self.expression(Kind::Unknown, depth);
                let texts = self.expression(Kind::Texts, depth);
                format!("{value} in {texts}")
            }
            18 => format!("{} in {}", self.expression(Kind::Int, depth), self.expression(Kind::Ints, depth)),
            19 => format!("{} in {}", self.expression(Kind::Text, depth), self.expression(Kind::Map, depth)),
            20 => format!("has({})", self.attribute().replace("[\"a\"]", ".a").replace("[\"b\"]", ".b")),
            21 => {
                let function = pick(&mut self.dice, &["all", "exists", "exists_one"]);
                let (kind, list) = pick(
                    &mut self.dice,
                    &[(Kind::Int, Kind::Ints), (Kind::Text, Kind::Texts), (Kind::Text, Kind::Map)],
                );
                let list = self.expression(list, depth);
                let name = format!("v{}", self.names.len());
                self.names.push((name.clone(), kind));
                let body = self.expression(Kind::Bool, depth);
                self.names.pop();
                format!("{list}.{function}({name}, {body})")
            }
            22 => {
                let function = pick(&mut self.dice, &["all", "exists", "existsOne"]);
                let list = self.expression(Kind::Ints, depth);
                let (index, value) = (format!("i{}", self.names.len()), format!("w{}", self.names.len()));
                self.names.push((index.clone(), Kind::Int));
                self.names.push((value.clone(), Kind::Int));
                let body = self.expression(Kind::Bool, depth);
                self.names.truncate(self.names.len() - 2);
                format!("{list}.{function}({index}, {value}, {body})")
            }
            23 => {
                let function = pick(&mut self.dice, &["contains", "equivalent", "intersects"]);
                format!(
                    "sets.{function}({}, {})",
                    self.expression(Kind::Ints, depth),
                    self.expression(Kind::Ints, depth)
                )
            }
            24 => format!("{}.hasValue()", self.expression(Kind::Optional, depth)),
            25 => {
                let function = pick(&mut self.dice, &["isSemver", "isQuantity", "isURL", "isIP", "isCIDR"]);
                format!("{function}({})", self.expression(Kind::Text, depth))
            }
            26 if self.lists => {
                format!("{}.includes({})", self.attribute(), self.expression(Kind::Unknown, depth))
            }
            27 => self.attribute(),
            28 => format!("{} {comparison} {}", self.attribute(), self.expression(Kind::Int, depth)),
            _ => format!("{}.isSorted()", self.expression(Kind::Ints, depth)),
        }
    }

    fn integer(&mut self, depth: u8) -> String {
        match self.dice.u8(..10) {
            0..=2 => {
                let operator = pick(&mut self.dice, &["+", "-", "*", "/", "%"]);
                format!(
                    "({} {operator} {})",
                    self.expression(Kind::Int, depth),
                    self.expression(Kind::Int, depth)
                )
            }
            3 => {
                let kind = pick(&mut self.dice, &[Kind::Text, Kind::Texts, Kind::Ints, Kind::Map]);
                format!("size({})", self.expression(kind, depth))
            }
            4 => format!(
                "{}.compareTo({})",
                self.expression(Kind::Quantity, depth),
                self.expression(Kind::Quantity, depth)
            ),
            5 => {
                let function = pick(&mut self.dice, &["indexOf", "lastIndexOf"]);
                format!(
                    "{}.{function}({})",
                    self.expression(Kind::Text, depth),
                    self.expression(Kind::Text, depth)
                )
            }
            6 => {
                let function = pick(&mut self.dice, &["sum", "max", "min"]);
                format!("{}.{function}()", self.expression(Kind::Ints, depth))
            }
            7 => format!("{}[{}]", self.expression(Kind::Ints, depth), self.expression(Kind::Int, depth)),
            8 => format!(
                "int({})",
                self.expression(
                    pick(&mut Rng::with_seed(u64::from(depth)), &[Kind::Text, Kind::Double]),
                    depth
                )
            ),
            _ => self.attribute(),
        }
    }

    fn words(&mut self, depth: u8) -> String {
        match self.dice.u8(..9) {
            0 => format!("({} + {})", self.expression(Kind::Text, depth), self.expression(Kind::Text, depth)),
            1 => {
                let function = pick(&mut self.dice, &["lowerAscii", "upperAscii", "trim"]);
                format!("{}.{function}()", self.expression(Kind::Text, depth))
            }
            2 => format!(
                "{}.substring({})",
                self.expression(Kind::Text, depth),
                self.expression(Kind::Int, depth)
            ),
            3 => {
                let (text, old, new) = (
                    self.expression(Kind::Text, depth),
                    self.expression(Kind::Text, depth),
                    self.expression(Kind::Text, depth),
                );
                format!("{text}.replace({old}, {new})")
            }
            4 => format!(
                "string({})",
                self.expression(
                    pick(&mut Rng::with_seed(u64::from(depth)), &[Kind::Int, Kind::Double, Kind::Bool]),
                    depth
                )
            ),
            5 => format!(
                "{}.join({})",
                self.expression(Kind::Texts, depth),
                self.expression(Kind::Text, depth)
            ),
            6 => format!(
                "\"<%s|%s>\".format([{}, {}])",
                self.expression(Kind::Int, depth),
                self.expression(Kind::Text, depth)
            ),
            7 => format!(
                "{}.find({})",
                self.expression(Kind::Text, depth),
                quoted(pick(&mut self.dice, &PATTERNS))
            ),
            _ => self.attribute(),
        }
    }

    fn texts(&mut self, depth: u8, leaf: bool) -> String {
        if leaf {
            return format!("[{}, {}]", self.text(), self.text());
        }
        match self.dice.u8(..7) {
            0 => format!("{}.split({})", self.expression(Kind::Text, depth), self.text()),
            1 => {
                format!("({} + {})", self.expression(Kind::Texts, depth), self.expression(Kind::Texts, depth))
            }
            2 => format!(
                "{}.findAll({})",
                self.expression(Kind::Text, depth),
                quoted(pick(&mut self.dice, &PATTERNS))
            ),
            3 => {
                let list = self.expression(Kind::Texts, depth);
                let name = format!("v{}", self.names.len());
                self.names.push((name.clone(), Kind::Text));
                let body = self.expression(Kind::Text, depth);
                self.names.pop();
                format!("{list}.map({name}, {body})")
            }
            4 => {
                let function = pick(&mut self.dice, &["sort", "reverse", "distinct"]);
                format!("{}.{function}()", self.expression(Kind::Texts, depth))
            }
            5 if self.lists => self.attribute(),
            _ => format!("[{}, {}]", self.expression(Kind::Text, depth), self.expression(Kind::Text, depth)),
        }
    }

    fn integers(&mut self, depth: u8, leaf: bool) -> String {
        if leaf {
            return format!("[{}, {}]", self.dice.i64(0..5), self.dice.i64(0..5));
        }
        match self.dice.u8(..7) {
            0 => format!("lists.range({})", self.dice.u8(..6)),
            1 => format!("({} + {})", self.expression(Kind::Ints, depth), self.expression(Kind::Ints, depth)),
            2 => {
                let list = self.expression(Kind::Ints, depth);
                let name = format!("v{}", self.names.len());
                self.names.push((name.clone(), Kind::Int));
                let (filter, body) = (self.expression(Kind::Bool, depth), self.expression(Kind::Int, depth));
                self.names.pop();
                match self.dice.u8(..3) {
                    0 => format!("{list}.filter({name}, {filter})"),
                    1 => format!("{list}.map({name}, {filter}, {body})"),
                    _ => format!("{list}.map({name}, {body})"),
                }
            }
            3 => {
                let function = pick(&mut self.dice, &["sort", "reverse", "distinct"]);
                format!("{}.{function}()", self.expression(Kind::Ints, depth))
            }
            4 => format!(
                "[{}, [{}]].flatten()",
                self.expression(Kind::Ints, depth),
                self.expression(Kind::Int, depth)
            ),
            5 => format!(
                "{}.slice({}, {})",
                self.expression(Kind::Ints, depth),
                self.dice.u8(..2),
                self.dice.u8(..4)
            ),
            _ => format!("[{}, {}]", self.expression(Kind::Int, depth), self.expression(Kind::Int, depth)),
        }
    }
}
