//! A selector taken apart: which of the parts between its `&&` is false for a device, by which values, and what it
//! would have to say instead.

use std::sync::Arc;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};

use super::check::check;
use super::plan::Node;
use super::value::Value;
use super::written::{Binding, at, quoted, term, written};
use super::{CompileError, Device, Environment, evaluate, syntax};

/// How many parts a selector is taken into.
const PARTS: usize = 64;
/// How many characters of a text are shown.
const SHOWN: usize = 120;
/// How many elements of a list are.
const ELEMENTS: usize = 8;

/// A selector taken apart.
#[derive(Debug)]
pub struct Anatomy {
    parts: Vec<Part>,
}

/// What stands between two `&&`.
#[derive(Debug)]
struct Part {
    /// Its text, so that it can stand there.
    text: Arc<str>,
    node: Node,
    variables: usize,
    /// What it compares: of several by `||`, all; nothing, where it does something else.
    comparisons: Vec<Comparison>,
}

/// A comparison of something of the device with something else.
#[derive(Debug)]
struct Comparison {
    /// The device's side, as people call it.
    subject: String,
    /// What the device's side is.
    is: (Node, usize),
    relation: Relation,
    /// What the other side is.
    other: Option<(Node, usize)>,
    /// The text of the whole part around a value that would do.
    edit: Option<Around>,
}

/// How the sides are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    StartsWith,
    EndsWith,
    Contains,
    Matches,
    IsTrue,
    IsFalse,
    IsThere,
}

/// The text around a value.
#[derive(Debug)]
struct Around {
    before: String,
    after: String,
}

/// A part that does not hold for a device.
#[derive(Debug, Clone, PartialEq)]
pub struct FalsePart {
    /// Which part it is.
    pub index: usize,
    /// Its text.
    pub text: Arc<str>,
    /// Why it is false, with the values: `memory 80Gi < 100Gi`.
    pub says: String,
    /// What it would have to be so that it holds, with a value of the device, and how far that is.
    pub edit: Option<Edit>,
}

/// What a part would have to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// Its text.
    pub becomes: Arc<str>,
    /// How far the value in it is from the one that stands there.
    pub distance: f64,
}

impl Anatomy {
    /// Takes a selector apart.
    pub fn of(environment: Environment, text: &str) -> Result<Self, CompileError> {
        syntax::on_deep_stack(|| {
            let parsed = syntax::parsed(text)?;
            let mut terms = Vec::new();
            flatten(&parsed, operators::LOGICAL_AND, &mut terms);
            if terms.len() > PARTS {
                terms = vec![&parsed];
            }
            let parts: Result<Vec<Part>, CompileError> =
                terms.into_iter().map(|term| Part::of(environment, term)).collect();
            Ok(Self { parts: parts? })
        })
    }

    /// The parts that are false for a device, or have no value.
    #[must_use]
    pub fn false_parts(&self, device: &Device<'_>) -> Vec<FalsePart> {
        let parts = self.parts.iter().enumerate();
        parts.filter_map(|(index, part)| part.judged(index, device)).collect()
    }

    /// The selector with other parts; with nothing in place of those that are to go. Nothing, where none is left.
    #[must_use]
    pub fn with(&self, changes: &[(usize, Option<Arc<str>>)]) -> Option<String> {
        let parts = self.parts.iter().enumerate().filter_map(|(index, part)| {
            match changes.iter().find(|(changed, _)| *changed == index) {
                Some((_, becomes)) => becomes.clone(),
                None => Some(Arc::clone(&part.text)),
            }
        });
        let parts: Vec<Arc<str>> = parts.collect();
        (!parts.is_empty()).then(|| parts.join(" && "))
    }
}

impl Part {
    fn of(environment: Environment, part: &IdedExpr) -> Result<Self, CompileError> {
        let text = term(part).ok_or_else(|| CompileError::new("it cannot be written again"))?;
        let (node, variables) = compiled(environment, part)?;
        let mut alternatives = Vec::new();
        flatten(part, operators::LOGICAL_OR, &mut alternatives);
        let comparison = |(at, one): (usize, &&IdedExpr)| {
            let rest: Option<Vec<String>> = alternatives.iter().map(|other| term(other)).collect();
            let rest = rest.filter(|_| alternatives.len() > 1);
            Comparison::of(environment, one, rest.as_deref().map(|rest| (at, rest)))
        };
        let comparisons: Option<Vec<Comparison>> = alternatives.iter().enumerate().map(comparison).collect();
        Ok(Self { text: text.into(), node, variables, comparisons: comparisons.unwrap_or_default() })
    }

    fn judged(&self, index: usize, device: &Device<'_>) -> Option<FalsePart> {
        let part = |says: String, edit| FalsePart { index, text: Arc::clone(&self.text), says, edit };
        match evaluate::run(&self.node, self.variables, device).0 {
            Ok(Value::Bool(true)) => None,
            Ok(Value::Bool(false)) => {
                let said: Option<Vec<_>> = self.comparisons.iter().map(|one| one.said(device)).collect();
                let Some(said) = said.filter(|said| !said.is_empty()) else {
                    return Some(part(format!("{} is false", shortened(&self.text)), None));
                };
                let nearest = said.iter().filter_map(|(_, edit)| edit.clone());
                let nearest = nearest.min_by(|one, other| one.distance.total_cmp(&other.distance));
                let says: Vec<&str> = said.iter().map(|(says, _)| says.as_str()).collect();
                Some(part(says.join(" and "), nearest))
            }
            Ok(_) | Err(_) => Some(part(format!("{} has no value", shortened(&self.text)), None)),
        }
    }
}

fn compiled(environment: Environment, of: &IdedExpr) -> Result<(Node, usize), CompileError> {
    let checked = check(environment, of)?;
    Ok((checked.node, checked.variables))
}

/// The operands of a row of equal operators.
fn flatten<'e>(of: &'e IdedExpr, operator: &str, into: &mut Vec<&'e IdedExpr>) {
    match &of.expr {
        Expr::Call(call) if call.target.is_none() && call.func_name == operator => {
            call.args.iter().for_each(|arg| flatten(arg, operator, into));
        }
        _ => into.push(of),
    }
}

/// The sides of a comparison, before they are compiled.
struct Sides<'e> {
    subject: &'e IdedExpr,
    relation: Relation,
    other: Option<&'e IdedExpr>,
}

impl Comparison {
    fn of(environment: Environment, one: &IdedExpr, among: Option<(usize, &[String])>) -> Option<Self> {
        let Sides { subject, relation, other } = sides(one)?;
        let around = other.and_then(|other| around(subject, relation, other, among));
        Some(Self {
            subject: short(subject)?,
            is: compiled(environment, subject).ok()?,
            relation,
            other: match other {
                Some(other) => Some(compiled(environment, other).ok()?),
                None => None,
            },
            edit: around,
        })
    }

    /// Why it is false, and what it would have to be.
    fn said(&self, device: &Device<'_>) -> Option<(String, Option<Edit>)> {
        let subject = &self.subject;
        let value = |(node, variables): &(Node, usize)| evaluate::run(node, *variables, device).0.ok();
        let other = self.other.as_ref().map(|other| value(other).ok_or(())).transpose().ok()?;
        let wanted = other.as_ref().map(shown).unwrap_or_default();
        if self.relation == Relation::IsThere {
            return Some((format!("it has no {subject}"), None));
        }
        let is = value(&self.is)?;
        if self.relation == Relation::In && is_constant_key(&is, other.as_ref()) {
            return Some((format!("it has no {}", shown(&is)), None));
        }
        let now = shown(&is);
        let says = match self.relation {
            Relation::Equal => format!("{subject} is {now}, not {wanted}"),
            Relation::Unequal => format!("{subject} is {now}"),
            Relation::Less => format!("{subject} {now} >= {wanted}"),
            Relation::LessOrEqual => format!("{subject} {now} > {wanted}"),
            Relation::Greater => format!("{subject} {now} <= {wanted}"),
            Relation::GreaterOrEqual => format!("{subject} {now} < {wanted}"),
            Relation::In => format!("{subject} is {now}, not one of {wanted}"),
            Relation::StartsWith => format!("{subject} is {now}, which does not start with {wanted}"),
            Relation::EndsWith => format!("{subject} is {now}, which does not end with {wanted}"),
            Relation::Contains => format!("{subject} is {now}, which does not contain {wanted}"),
            Relation::Matches => format!("{subject} is {now}, which does not match {wanted}"),
            Relation::IsTrue => format!("{subject} is false"),
            Relation::IsFalse => format!("{subject} is true"),
            Relation::IsThere => return None,
        };
        let edit = self.edit.as_ref().zip(literal(&is)).map(|(around, literal)| {
            let literal = if self.relation == Relation::In { format!(", {literal}") } else { literal };
            let becomes = format!("{}{literal}{}", around.before, around.after).into();
            Edit { becomes, distance: distance(&is, other.as_ref()) }
        });
        Some((says, edit))
    }
}

/// Whether `'name' in device.attributes['domain']` asks for a name.
fn is_constant_key(is: &Value<'_>, other: Option<&Value<'_>>) -> bool {
    matches!(is, Value::String(_)) && other.is_some_and(Value::is_map)
}

fn sides(of: &IdedExpr) -> Option<Sides<'_>> {
    let Expr::Call(call) = &of.expr else {
        return reads_device(of).then_some(Sides { subject: of, relation: Relation::IsTrue, other: None });
    };
    let between = |subject, relation, other| Some(Sides { subject, relation, other: Some(other) });
    match (&call.target, call.func_name.as_str(), call.args.as_slice()) {
        (None, operators::LOGICAL_NOT, [inner]) if is_path(inner) => {
            Some(Sides { subject: inner, relation: Relation::IsFalse, other: None })
        }
        (None, operators::HAS, [of]) => Some(Sides { subject: of, relation: Relation::IsThere, other: None }),
        (None, operators::INDEX | operators::OPT_SELECT, _) if is_path(of) => {
            Some(Sides { subject: of, relation: Relation::IsTrue, other: None })
        }
        (None, operators::IN, [one, other]) => between(one, Relation::In, other),
        (None, operator, [one, other]) => {
            let relation = relation(operator)?;
            if let (Some((subject, wanted)), true) = (compared(one), is_zero(other)) {
                return between(subject, relation, wanted);
            }
            if reads_device(one) {
                between(one, relation, other)
            } else {
                between(other, turned(relation), one)
            }
        }
        (Some(target), name, [other]) => {
            let relation = match name {
                "isGreaterThan" => Relation::Greater,
                "isLessThan" => Relation::Less,
                "startsWith" => Relation::StartsWith,
                "endsWith" => Relation::EndsWith,
                "contains" => Relation::Contains,
                "matches" => Relation::Matches,
                _ => return None,
            };
            between(target, relation, other)
        }
        _ => None,
    }
}

fn relation(operator: &str) -> Option<Relation> {
    Some(match operator {
        operators::EQUALS => Relation::Equal,
        operators::NOT_EQUALS => Relation::Unequal,
        operators::LESS => Relation::Less,
        operators::LESS_EQUALS => Relation::LessOrEqual,
        operators::GREATER => Relation::Greater,
        operators::GREATER_EQUALS => Relation::GreaterOrEqual,
        _ => return None,
    })
}

/// The relation when the sides change places.
fn turned(relation: Relation) -> Relation {
    match relation {
        Relation::Less => Relation::Greater,
        Relation::LessOrEqual => Relation::GreaterOrEqual,
        Relation::Greater => Relation::Less,
        Relation::GreaterOrEqual => Relation::LessOrEqual,
        other => other,
    }
}

/// The two sides of `a.compareTo(b)`.
fn compared(of: &IdedExpr) -> Option<(&IdedExpr, &IdedExpr)> {
    match &of.expr {
        Expr::Call(CallExpr { target: Some(target), func_name, args }) if func_name == "compareTo" => {
            Some((target, args.first()?))
        }
        _ => None,
    }
}

fn is_zero(of: &IdedExpr) -> bool {
    matches!(&of.expr, Expr::Literal(LiteralValue::Int(value)) if *value.inner() == 0)
}

/// Whether it is a name, and fields and constant keys behind it.
fn is_path(of: &IdedExpr) -> bool {
    match &of.expr {
        Expr::Ident(_) => true,
        Expr::Select(select) => is_path(&select.operand),
        Expr::Call(call) => match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT, [operand, key]) => {
                is_path(operand) && matches!(key.expr, Expr::Literal(_))
            }
            _ => false,
        },
        _ => false,
    }
}

/// Whether it reads anything of the device.
fn reads_device(of: &IdedExpr) -> bool {
    match &of.expr {
        Expr::Ident(name) => name.trim_start_matches('.') == "device",
        Expr::Select(select) => reads_device(&select.operand),
        Expr::Call(call) => {
            call.target.iter().any(|target| reads_device(target)) || call.args.iter().any(reads_device)
        }
        Expr::List(list) => list.elements.iter().any(reads_device),
        _ => false,
    }
}

/// What people call the device's side: the last name of a path.
fn short(of: &IdedExpr) -> Option<String> {
    match &of.expr {
        Expr::Select(select) if is_path(of) => Some(select.field.clone()),
        Expr::Call(call) if is_path(of) => match &call.args.last()?.expr {
            Expr::Literal(LiteralValue::String(name)) => Some(name.inner().to_owned()),
            _ => written(of),
        },
        Expr::Call(CallExpr { target: Some(target), func_name, .. })
            if matches!(func_name.as_str(), "orValue" | "value" | "asInteger" | "lowerAscii") =>
        {
            short(target)
        }
        _ => written(of).map(|text| shortened(&text)),
    }
}

/// The text of a part around the value with which a device's side is compared, with an operator that holds for equal
/// values.
fn around(
    subject: &IdedExpr,
    relation: Relation,
    other: &IdedExpr,
    among: Option<(usize, &[String])>,
) -> Option<Around> {
    let subject = at(subject, Binding::Member)?;
    let (before, after) = match (relation, wrapper(other)?) {
        (Relation::In, Wrapper::List(elements)) => (format!("{subject} in [{elements}"), "]".to_owned()),
        (Relation::In | Relation::Unequal, _) | (_, Wrapper::List(_)) => return None,
        (
            Relation::Equal
            | Relation::StartsWith
            | Relation::EndsWith
            | Relation::Contains
            | Relation::Matches,
            Wrapper::Plain,
        ) => (format!("{subject} == "), String::new()),
        (Relation::Less | Relation::LessOrEqual, Wrapper::Plain) => (format!("{subject} <= "), String::new()),
        (Relation::Greater | Relation::GreaterOrEqual, Wrapper::Plain) => {
            (format!("{subject} >= "), String::new())
        }
        (relation, Wrapper::Compared) => {
            let sign = match relation {
                Relation::Equal => "==",
                Relation::Less | Relation::LessOrEqual => "<=",
                Relation::Greater | Relation::GreaterOrEqual => ">=",
                _ => return None,
            };
            (format!("{subject}.compareTo("), format!(") {sign} 0"))
        }
        _ => return None,
    };
    let Some((place, alternatives)) = among else { return Some(Around { before, after }) };
    // Brackets keep the alternatives of one part together.
    let join = |texts: &[String]| texts.iter().map(|text| format!("{text} || ")).collect::<String>();
    let rest: String = alternatives[place + 1..].iter().map(|text| format!(" || {text}")).collect();
    Some(Around {
        before: format!("({}{before}", join(&alternatives[..place])),
        after: format!("{after}{rest})"),
    })
}

/// How a constant is written.
enum Wrapper {
    /// As it is.
    Plain,
    /// As the argument of `quantity` or `semver`.
    Compared,
    /// As elements of a list.
    List(String),
}

fn wrapper(of: &IdedExpr) -> Option<Wrapper> {
    match &of.expr {
        Expr::Literal(_) => Some(Wrapper::Plain),
        Expr::Call(CallExpr { target: None, func_name, args }) => match (func_name.as_str(), args.as_slice())
        {
            ("quantity" | "semver", [IdedExpr { expr: Expr::Literal(_), .. }]) => Some(Wrapper::Compared),
            (operators::NEGATE, [IdedExpr { expr: Expr::Literal(_), .. }]) => Some(Wrapper::Plain),
            _ => None,
        },
        Expr::List(list) if !list.elements.is_empty() && list.optional_indices.is_empty() => {
            let elements: Option<Vec<String>> = list.elements.iter().map(written).collect();
            Some(Wrapper::List(elements?.join(", ")))
        }
        _ => None,
    }
}

/// A value as an expression.
fn literal(of: &Value<'_>) -> Option<String> {
    Some(match of {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => format!("{value}u"),
        Value::Double(value) => format!("{value:?}"),
        Value::String(text) => quoted(text),
        Value::Quantity(quantity) | Value::Sum(quantity) => {
            format!("quantity({})", quoted(&quantity.to_string()))
        }
        Value::Version(version) => format!("semver({})", quoted(&version.to_string())),
        _ => return None,
    })
}

/// A value for people.
fn shown(of: &Value<'_>) -> String {
    match of {
        Value::Quantity(quantity) | Value::Sum(quantity) => quantity.to_string(),
        Value::Version(version) => version.to_string(),
        Value::String(text) => shortened(text),
        Value::List(elements) => {
            let some: Vec<String> = elements.iter().take(ELEMENTS).map(shown).collect();
            let more = if elements.len() > ELEMENTS { ", ..." } else { "" };
            format!("[{}{more}]", some.join(", "))
        }
        Value::Null | Value::Optional(None) => "nothing".to_owned(),
        Value::Optional(Some(inner)) => shown(inner),
        other => other.shown(),
    }
}

fn shortened(text: &str) -> String {
    let mut characters = text.chars();
    let start: String =
        characters.by_ref().take(SHOWN).map(|one| if one.is_control() { ' ' } else { one }).collect();
    if characters.next().is_some() { format!("{start}...") } else { start }
}

/// How far a device's value is from what is wanted: numbers by their difference, others all alike.
#[allow(clippy::cast_precision_loss, reason = "an order of nearness is all that is wanted")]
fn distance(is: &Value<'_>, wanted: Option<&Value<'_>>) -> f64 {
    let number = |value: &Value<'_>| match value {
        Value::Int(value) => Some(*value as f64),
        Value::Uint(value) => Some(*value as f64),
        Value::Double(value) => Some(*value),
        Value::Quantity(quantity) | Value::Sum(quantity) => Some(quantity.as_float()),
        Value::Version(version) => {
            let parts = [version.major(), version.minor(), version.patch()];
            Some(parts.iter().fold(0.0, |sum, part| sum * 1e4 + *part as f64))
        }
        _ => None,
    };
    match (number(is), wanted.and_then(number)) {
        (Some(one), Some(other)) => (one - other).abs(),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests;
