//! Random expressions and devices.

mod conditions;
pub(crate) mod patterns;
mod values;

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
    ["0", "1", "1500m", "1.5", "80Gi", "80G", "1e3", "1k", "-2", "922337203685477580"];
const PATTERNS: [&str; 8] = ["^a", "[0-9]+", "h100|a100", "(?i)H", "x*", "\\\\d", ".", "b$"];

/// A device with some attributes of every type, in two domains.
fn device(dice: &mut Rng, lists: bool) -> Value {
    let mut attributes = serde_json::Map::new();
    let mut capacity = serde_json::Map::new();
    // Where a device has one name twice, with the driver's domain and without, upstream takes either.
    let driver = pick(dice, &DOMAINS[..2]);
    let other = if driver == DOMAINS[0] { DOMAINS[1] } else { DOMAINS[0] };
    for prefix in [String::new(), format!("{other}/")] {
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
        "driver": driver,
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

    /// An expression of one of these types.
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
}
