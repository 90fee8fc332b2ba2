//! Expressions that are true or false.

use super::{Kind, Maker, PATTERNS, pick, quoted};

impl Maker {
    pub(super) fn boolean(&mut self, depth: u8) -> String {
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
                // Not over maps: upstream goes through them in any order.
                let (kind, list) =
                    pick(&mut self.dice, &[(Kind::Int, Kind::Ints), (Kind::Text, Kind::Texts)]);
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
}
