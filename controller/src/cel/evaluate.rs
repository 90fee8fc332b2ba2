//! Runs an expression.

use std::sync::Arc;

use super::Device;
use super::cost::{self, Budget};
use super::map::Map;
use super::plan::{
    Append, Bind, Call, Element, Entry, Fold, Insert, Node, OptionalMap, Path, Root, Step, StepKey,
};
use super::special;
use super::value::{Fault, Outcome, Value};

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

/// What a path leads to: a value, wrapped in an optional where a step was optional.
enum Found<'a> {
    Plain(Value<'a>),
    Some(Value<'a>),
    None,
}

impl<'a> Found<'a> {
    fn into_value(self) -> Value<'a> {
        match self {
            Self::Plain(value) => value,
            Self::Some(value) => Value::some(value),
            Self::None => Value::Optional(None),
        }
    }
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

    #[inline(never)]
    fn path(&mut self, path: &'p Path) -> Outcome<'a> {
        let found = self.resolve(path);
        if !matches!(path.root, Root::Choice(..)) {
            self.budget.charge(1)?;
        }
        found
    }

    fn resolve(&mut self, path: &'p Path) -> Outcome<'a> {
        let root = self.root(&path.root)?;
        if path.steps.is_empty() && !matches!(root, Value::Optional(Some(_))) {
            return Ok(root);
        }
        self.follow(root, &path.steps).map(Found::into_value)
    }

    fn root(&mut self, root: &'p Root) -> Outcome<'a> {
        match root {
            Root::Device => Ok(Value::Device(self.device)),
            Root::Variable(number) => self.variable(*number),
            Root::Value(node) => self.value(node),
            Root::Choice(condition, then, other) => {
                let chosen = match self.value(condition)? {
                    Value::Bool(true) => then,
                    Value::Bool(false) => other,
                    _ => return Err(Fault::no_such_overload()),
                };
                match chosen {
                    Node::Path(path) => self.resolve(path),
                    other => self.value(other),
                }
            }
        }
    }

    fn variable(&mut self, number: usize) -> Outcome<'a> {
        if let Variable::Pending(Some(node)) = self.variables[number] {
            let value = self.value(node);
            if exceeded(&value) {
                return value;
            }
            self.variables[number] = Variable::Known(value);
        }
        if let Variable::Charged(value, cost) = &self.variables[number] {
            let (value, cost) = (value.clone(), *cost);
            self.budget.charge(cost)?;
            self.variables[number] = Variable::Known(Ok(value));
        }
        match &self.variables[number] {
            Variable::Known(value) => value.clone(),
            Variable::Pending(_) | Variable::Charged(..) => Err(Fault::new("no such attribute")),
        }
    }

    #[inline(never)]
    fn follow(&mut self, root: Value<'a>, steps: &'p [Step]) -> Result<Found<'a>, Fault> {
        let (mut value, mut optional) = match root {
            Value::Optional(None) => return Ok(Found::None),
            // Upstream cannot name an optional of a type that is not of the language itself.
            Value::Optional(Some(inner)) if inner.is_foreign() => {
                return Err(Fault::new(format!(
                    "unsupported conversion to ref.Val: ({})",
                    inner.type_name()
                )));
            }
            Value::Optional(Some(inner)) => ((*inner).clone(), true),
            plain => (plain, false),
        };
        for step in steps {
            optional |= step.optional;
            let (found, cost) = match &step.key {
                StepKey::Constant(key) => (self.step(&value, key, optional), 1),
                StepKey::Computed(node) => {
                    let (key, cost) = match node {
                        Node::Path(path) => {
                            (self.resolve(path), u64::from(!matches!(path.root, Root::Choice(..))))
                        }
                        other => (self.value(other), 1),
                    };
                    match key {
                        Err(Fault::Exceeded) => return Err(Fault::Exceeded),
                        Err(fault) => (Err(fault), cost),
                        Ok(key) if can_be_step(&key) => (self.step(&value, &key, optional), cost),
                        Ok(key) => {
                            (Err(Fault::new(format!("invalid qualifier type: {}", key.type_name()))), cost)
                        }
                    }
                }
            };
            if !(optional && matches!(found, Ok(None))) {
                self.budget.charge(cost)?;
            }
            match found? {
                Some(next) => value = next,
                None => return Ok(Found::None),
            }
        }
        Ok(if optional { Found::Some(value) } else { Found::Plain(value) })
    }

    /// One step. What is missing is `None` where it may be, and an error elsewhere.
    fn step(
        &self,
        from: &Value<'a>,
        key: &Value<'_>,
        may_be_missing: bool,
    ) -> Result<Option<Value<'a>>, Fault> {
        let found = match from {
            Value::Device(device) => match key {
                Value::String(name) => device.named_field(name),
                _ => None,
            },
            Value::Domains(domains) => Some(Value::Domain(match key {
                Value::String(domain) => domains.get(domain),
                _ => domains.get(""),
            })),
            Value::Domain(domain) => domain.get(key),
            Value::Map(map) => map.get(key).cloned(),
            Value::List(elements) => {
                let index = index(key)?;
                let found = usize::try_from(index).ok().and_then(|index| elements.get(index)).cloned();
                if found.is_none() && !may_be_missing {
                    return Err(Fault::new(format!("index out of bounds: {index}")));
                }
                found
            }
            _ => None,
        };
        if found.is_none() && !may_be_missing {
            return Err(Fault::no_such_key(key));
        }
        Ok(found)
    }

    #[inline(never)]
    fn has(&mut self, path: &'p Path) -> Outcome<'a> {
        let root = self.root(&path.root)?;
        let Some((last, before)) = path.steps.split_last() else { return Ok(Value::Bool(true)) };
        let (value, optional) = match self.follow(root, before)? {
            Found::Plain(value) => (value, false),
            Found::Some(value) => (value, true),
            Found::None => return Ok(Value::Bool(false)),
        };
        let StepKey::Constant(key) = &last.key else { return Err(Fault::no_such_overload()) };
        let found = self.step(&value, key, true);
        if !optional || !matches!(found, Ok(None)) {
            self.budget.charge(1)?;
        }
        Ok(Value::Bool(found?.is_some()))
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
                Err(Fault::Exceeded) => return Err(Fault::Exceeded),
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
            return Err(Fault::Exceeded);
        }
        let other = self.value(other);
        if exceeded(&other) {
            return Err(Fault::Exceeded);
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
            Err(Fault::Exceeded) => Err(Fault::Exceeded),
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
                Err(Fault::Exceeded) => return Err(Fault::Exceeded),
                // With more than two arguments the first failure ends the call, and it costs nothing.
                Err(fault) if call.arguments.len() > 2 => return Err(fault),
                Err(fault) => {
                    failed.get_or_insert(fault);
                    arguments.push(Value::Null);
                }
            }
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
        if !matches!(list, Err(Fault::Exceeded)) {
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
        if !matches!(map, Err(Fault::Exceeded)) {
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
            map.set(key, value).ok_or_else(|| Fault::new("unsupported key type"))?;
        }
        Ok(map)
    }

    #[inline(never)]
    fn bind(&mut self, bind: &'p Bind) -> Outcome<'a> {
        self.variables[bind.variable] = Variable::Pending(Some(&bind.value));
        self.value(&bind.body)
    }

    /// As `target.hasValue() ? optional.of(bind(variable, target.value(), body)) : optional.none()`, which evaluates
    /// the target twice: here it is once, and counted twice.
    #[inline(never)]
    fn optional_map(&mut self, map: &'p OptionalMap) -> Outcome<'a> {
        let before = self.budget.spent();
        let target = self.value(&map.target);
        let again = self.budget.spent() - before;
        self.budget.charge(1)?;
        match target? {
            Value::Optional(None) => {
                self.budget.charge(1)?;
                Ok(Value::Optional(None))
            }
            Value::Optional(Some(inner)) => {
                self.variables[map.variable] = Variable::Charged((*inner).clone(), again + 1);
                let body = self.value(&map.body);
                if map.flat {
                    return body;
                }
                if !exceeded(&body) {
                    self.budget.charge(1)?;
                }
                body.map(Value::some)
            }
            _ => Err(Fault::no_such_overload()),
        }
    }

    #[inline(never)]
    fn fold(&mut self, fold: &'p Fold) -> Outcome<'a> {
        let range = self.value(&fold.range)?;
        let start = self.value(&fold.start);
        self.variables[fold.collected] = Variable::Known(start);
        match &range {
            Value::List(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    let index = Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
                    if !self.turn(fold, index, element)? {
                        break;
                    }
                }
            }
            map if map.is_map() => {
                for (key, value) in map.entries() {
                    let going = match fold.second {
                        Some(_) => self.turn(fold, key, &value)?,
                        None => self.turn(fold, Value::Null, &key)?,
                    };
                    if !going {
                        break;
                    }
                }
            }
            other => return Err(Fault::new(format!("got '{}', expected iterable type", other.type_name()))),
        }
        self.value(&fold.result)
    }

    /// One turn of a loop: whether it goes on.
    fn turn(&mut self, fold: &'p Fold, position: Value<'a>, element: &Value<'a>) -> Result<bool, Fault> {
        self.budget.work(1)?;
        match fold.second {
            None => self.variables[fold.first] = Variable::Known(Ok(element.clone())),
            Some(second) => {
                self.variables[fold.first] = Variable::Known(Ok(position));
                self.variables[second] = Variable::Known(Ok(element.clone()));
            }
        }
        match self.value(&fold.condition) {
            Ok(Value::Bool(false)) => return Ok(false),
            Err(Fault::Exceeded) => return Err(Fault::Exceeded),
            _ => {}
        }
        let next = self.value(&fold.step);
        if exceeded(&next) {
            return Err(Fault::Exceeded);
        }
        self.variables[fold.collected] = Variable::Known(next);
        Ok(true)
    }

    /// What a loop has collected, taken out to be added to.
    fn taken(&mut self, collected: usize) -> Outcome<'a> {
        match std::mem::replace(&mut self.variables[collected], Variable::Pending(None)) {
            Variable::Known(value) => value,
            Variable::Pending(_) | Variable::Charged(..) => Err(Fault::no_such_overload()),
        }
    }

    #[inline(never)]
    fn append(&mut self, append: &'p Append) -> Outcome<'a> {
        let element = self.value(&append.element);
        if exceeded(&element) {
            return element;
        }
        // Reading what is collected, making the list of one, adding it.
        self.budget.charge(1 + append.cost + 1)?;
        self.budget.work(1)?;
        let collected = self.taken(append.collected)?;
        let element = element?;
        let Value::List(mut list) = collected else { return Err(Fault::no_such_overload()) };
        Arc::make_mut(&mut list).push(element);
        Ok(Value::List(list))
    }

    #[inline(never)]
    fn insert(&mut self, insert: &'p Insert) -> Outcome<'a> {
        self.budget.charge(1)?;
        let key = insert.key.as_ref().map(|key| self.value(key)).transpose()?;
        let value = self.value(&insert.value)?;
        self.budget.charge(1)?;
        let Value::Map(mut map) = self.taken(insert.collected)? else {
            return Err(Fault::no_such_overload());
        };
        let entries = match key {
            Some(key) => vec![(key, value)],
            None => value.entries(),
        };
        let to = Arc::make_mut(&mut map);
        for (key, value) in entries {
            self.budget.work(1)?;
            match to.insert(key.clone(), value) {
                Some(true) => {}
                Some(false) => {
                    return Err(Fault::new(format!("insert failed: key {} already exists", key.shown())));
                }
                None => return Err(Fault::new("unsupported key type")),
            }
        }
        Ok(Value::Map(map))
    }
}

fn exceeded(outcome: &Outcome<'_>) -> bool {
    matches!(outcome, Err(Fault::Exceeded))
}

/// Whether a value can be a key or an index.
fn can_be_step(key: &Value<'_>) -> bool {
    matches!(key, Value::String(_) | Value::Int(_) | Value::Uint(_) | Value::Bool(_) | Value::Double(_))
}

/// A value as the index of a list.
pub(super) fn index(of: &Value<'_>) -> Result<i128, Fault> {
    match of {
        Value::Int(index) => Ok(i128::from(*index)),
        Value::Uint(index) => Ok(i128::from(*index)),
        Value::Double(index) => super::map::whole(*index)
            .ok_or_else(|| Fault::new(format!("unsupported index value {index} in list"))),
        other => Err(Fault::new(format!("unsupported index type '{}' in list", other.type_name()))),
    }
}
