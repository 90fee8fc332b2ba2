//! Runs an expression.

use std::sync::Arc;

use super::Device;
use super::cost::{self, Budget};
use super::map::Map;
use super::plan::{Call, Element, Entry, Node};
use super::special;
use super::value::{Fatal, Fault, Outcome, Value};

mod loops;
mod paths;

/// Runs an expression for a device: what comes out, and what it cost.
pub(super) fn run<'a>(node: &Node, variables: usize, device: &'a Device<'a>) -> (Outcome<'a>, u64) {
    let mut run = Run { variables: Vec::new(), budget: Budget::default(), device };
    run.variables.resize_with(variables, || Variable::Pending(None));
    let outcome = run.value(node);
    (outcome, run.budget.spent())
}

struct Run<'p, 'a> {
    variables: Vec<Variable<'p, 'a>>,
    budget: Budget,
    device: &'a Device<'a>,
}

enum Variable<'p, 'a> {
    /// Evaluated when it is first read.
    Pending(Option<&'p Node>),
    Known(Outcome<'a>),
    /// Known, and charged for when it is first read.
    Charged(Value<'a>, u64),
}

impl<'p, 'a> Run<'p, 'a> {
    /// One part of the expression. Kept slim: it is what nests.
    fn value(&mut self, node: &'p Node) -> Outcome<'a> {
        match node {
            Node::Constant(value) => Ok(value.clone()),
            Node::Path(path) => self.path(path),
            Node::Has(path) => self.has(path),
            Node::And(terms) => self.logic(terms, false),
            Node::Or(terms) => self.logic(terms, true),
            Node::Equal(sides) => self.equality(sides, true),
            Node::Unequal(sides) => self.equality(sides, false),
            Node::OptionalOr(sides) => self.optional_or(sides),
            Node::OptionalOrValue(sides) => self.optional_or_value(sides),
            Node::NotStrictlyFalse(of) => self.not_strictly_false(of),
            Node::Member(member) => {
                let value = self.value(&member.0)?;
                special::in_set(&value, &member.1).map(Value::Bool)
            }
            Node::Call(call) => self.call(call),
            Node::List(elements) => self.list(elements),
            Node::Map(entries) => self.map(entries),
            Node::Fold(fold) => self.fold(fold),
            Node::Bind(bind) => self.bind(bind),
            Node::OptionalMap(map) => self.optional_map(map),
            Node::Append(append) => self.append(append),
            Node::Insert(insert) => self.insert(insert),
        }
    }

    /// `&&` and `||`: the value that decides wins over failures.
    #[inline(never)]
    fn logic(&mut self, terms: &'p [Node], decides: bool) -> Outcome<'a> {
        let mut failed = None;
        for term in terms {
            match self.value(term) {
                Ok(Value::Bool(value)) if value == decides => return Ok(Value::Bool(decides)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => {
                    failed.get_or_insert_with(Fault::no_such_overload);
                }
                Err(Fault::Fatal(why)) => return Err(Fault::Fatal(why)),
                Err(fault) => {
                    failed.get_or_insert(fault);
                }
            }
        }
        failed.map_or(Ok(Value::Bool(!decides)), Err)
    }

    #[inline(never)]
    fn equality(&mut self, sides: &'p [Node; 2], wanted: bool) -> Outcome<'a> {
        let (one, other) = self.both(&sides[0], &sides[1])?;
        let weights = (one.as_ref().map_or(1, Value::weight), other.as_ref().map_or(1, Value::weight));
        let object = one.as_ref().is_ok_and(|one| one.is_foreign() || matches!(one, Value::Format(_)));
        let cost = if object && wanted { 1 } else { weights.0.min(weights.1).div_ceil(10) };
        let equal = match (one, other) {
            (Ok(one), Ok(other)) => match self.budget.equal(&one, &other) {
                Err(Fault::Error(_)) if !wanted => Ok(false),
                outcome => outcome,
            },
            (Err(fault), _) | (_, Err(fault)) => Err(fault),
        };
        self.budget.charge(cost)?;
        Ok(Value::Bool(equal? == wanted))
    }

    /// Two values, both evaluated whether the first fails or not.
    fn both(&mut self, one: &'p Node, other: &'p Node) -> Result<(Outcome<'a>, Outcome<'a>), Fault> {
        let one = self.value(one);
        if exceeded(&one) {
            return Err(Fault::Fatal(Fatal::Exceeded));
        }
        let other = self.value(other);
        if exceeded(&other) {
            return Err(Fault::Fatal(Fatal::Exceeded));
        }
        Ok((one, other))
    }

    #[inline(never)]
    fn optional_or(&mut self, sides: &'p [Node; 2]) -> Outcome<'a> {
        match self.value(&sides[0])? {
            Value::Optional(None) => self.value(&sides[1]),
            other => Ok(other),
        }
    }

    #[inline(never)]
    fn optional_or_value(&mut self, sides: &'p [Node; 2]) -> Outcome<'a> {
        match self.value(&sides[0])? {
            Value::Optional(None) => self.value(&sides[1]),
            Value::Optional(Some(inner)) => Ok((*inner).clone()),
            other => Ok(other),
        }
    }

    #[inline(never)]
    fn not_strictly_false(&mut self, of: &'p Node) -> Outcome<'a> {
        let value = self.value(of);
        self.budget.charge(1)?;
        match value {
            Err(Fault::Fatal(why)) => Err(Fault::Fatal(why)),
            Ok(Value::Bool(value)) => Ok(Value::Bool(value)),
            _ => Ok(Value::Bool(true)),
        }
    }

    #[inline(never)]
    fn call(&mut self, call: &'p Call) -> Outcome<'a> {
        let mut arguments = Vec::with_capacity(call.arguments.len());
        let mut failed = None;
        for argument in &call.arguments {
            match self.value(argument) {
                Ok(value) => arguments.push(value),
                Err(Fault::Fatal(why)) => return Err(Fault::Fatal(why)),
                Err(fault) => {
                    arguments.push(Value::Null);
                    if call.ends_at_failure && arguments.len() < call.arguments.len() {
                        return Err(fault);
                    }
                    failed.get_or_insert(fault);
                }
            }
        }
        if failed.is_some() && call.cost.needs_list(&arguments) {
            return Err(Fault::Fatal(Fatal::Internal));
        }
        let result = failed.map_or_else(|| (call.function)(&arguments, &mut self.budget), Err);
        if exceeded(&result) {
            return result;
        }
        self.budget.charge(call.cost.of(&arguments, result.as_ref().ok()))?;
        result
    }

    #[inline(never)]
    fn list(&mut self, elements: &'p [Element]) -> Outcome<'a> {
        let list = self.elements(elements);
        if !matches!(list, Err(Fault::Fatal(_))) {
            self.budget.charge(cost::LIST)?;
        }
        list.map(Value::list)
    }

    fn elements(&mut self, elements: &'p [Element]) -> Result<Vec<Value<'a>>, Fault> {
        let mut values = Vec::with_capacity(elements.len());
        for element in elements {
            match self.value(&element.value)? {
                Value::Optional(None) if element.optional => {}
                Value::Optional(Some(inner)) if element.optional => values.push((*inner).clone()),
                _ if element.optional => {
                    return Err(Fault::new(
                        "cannot initialize optional list element from non-optional value",
                    ));
                }
                value => values.push(value),
            }
        }
        Ok(values)
    }

    #[inline(never)]
    fn map(&mut self, entries: &'p [Entry]) -> Outcome<'a> {
        let map = self.entries(entries);
        if !matches!(map, Err(Fault::Fatal(_))) {
            self.budget.charge(cost::MAP)?;
        }
        map.map(|map| Value::Map(Arc::new(map)))
    }

    fn entries(&mut self, entries: &'p [Entry]) -> Result<Map<'a>, Fault> {
        let mut map = Map::default();
        for entry in entries {
            let key = self.value(&entry.key)?;
            let value = match self.value(&entry.value)? {
                Value::Optional(None) if entry.optional => {
                    map.remove(&key);
                    continue;
                }
                Value::Optional(Some(inner)) if entry.optional => (*inner).clone(),
                _ if entry.optional => {
                    return Err(Fault::new("cannot initialize optional entry from non-optional value"));
                }
                value => value,
            };
            if key.is_unhashable() {
                return Err(Fault::Fatal(Fatal::Internal));
            }
            map.set(key, value).ok_or_else(|| Fault::new("unsupported key type"))?;
        }
        Ok(map)
    }
}

fn exceeded(outcome: &Outcome<'_>) -> bool {
    matches!(outcome, Err(Fault::Fatal(_)))
}
