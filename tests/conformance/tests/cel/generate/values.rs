//! Numbers, texts and lists.

use super::{Kind, Maker, PATTERNS, pick, quoted};

impl Maker {
    pub(super) fn integer(&mut self, depth: u8) -> String {
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
            8 => format!("int({})", self.one_of(&[Kind::Text, Kind::Double], depth)),
            _ => self.attribute(),
        }
    }

    pub(super) fn words(&mut self, depth: u8) -> String {
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
            4 => format!("string({})", self.one_of(&[Kind::Int, Kind::Double, Kind::Bool], depth)),
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

    pub(super) fn texts(&mut self, depth: u8, leaf: bool) -> String {
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

    pub(super) fn integers(&mut self, depth: u8, leaf: bool) -> String {
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
