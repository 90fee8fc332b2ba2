//! Variables, and what is picked from values: fields, keys, indexes.

use super::super::plan::{Node, Path, Root, Step, StepKey};
use super::super::value::{Fault, Outcome, Value};
use super::{Run, Variable, exceeded};

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
    #[inline(never)]
    pub(super) fn path(&mut self, path: &'p Path) -> Outcome<'a> {
        let found = self.resolve(path);
        if !matches!(path.root, Root::Choice(..)) {
            self.budget.charge(1)?;
        }
        found
    }

    fn resolve(&mut self, path: &'p Path) -> Outcome<'a> {
        let root = self.root(&path.root)?;
        // Upstream cannot name an optional of a type that is not of the language itself.
        if let (Root::Variable(_) | Root::Value(_), Value::Optional(Some(inner))) = (&path.root, &root)
            && inner.is_foreign()
        {
            return Err(Fault::new(format!("unsupported conversion to ref.Val: ({})", inner.type_name())));
        }
        if path.steps.is_empty() {
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
            Value::Optional(Some(inner)) => ((*inner).clone(), true),
            plain => (plain, false),
        };
        for step in steps {
            optional |= step.optional;
            let found = match &step.key {
                StepKey::Constant(key) => self.step(&value, key, optional),
                StepKey::Computed(node) => {
                    let key = match node {
                        Node::Path(path) => self.resolve(path),
                        other => self.value(other),
                    };
                    match key {
                        Err(Fault::Fatal(why)) => return Err(Fault::Fatal(why)),
                        Err(fault) => Err(fault),
                        Ok(key) if can_be_step(&key) => self.step(&value, &key, optional),
                        Ok(key) => Err(Fault::new(format!("invalid qualifier type: {}", key.type_name()))),
                    }
                }
            };
            if !(optional && matches!(found, Ok(None))) {
                self.budget.charge(1)?;
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
    pub(super) fn has(&mut self, path: &'p Path) -> Outcome<'a> {
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
}

/// Whether a value can be a key or an index.
fn can_be_step(key: &Value<'_>) -> bool {
    matches!(key, Value::String(_) | Value::Int(_) | Value::Uint(_) | Value::Bool(_) | Value::Double(_))
}

/// A value as the index of a list.
fn index(of: &Value<'_>) -> Result<i128, Fault> {
    match of {
        Value::Int(index) => Ok(i128::from(*index)),
        Value::Uint(index) => Ok(i128::from(*index)),
        Value::Double(index) => super::super::map::whole(*index)
            .ok_or_else(|| Fault::new(format!("unsupported index value {index} in list"))),
        other => Err(Fault::new(format!("unsupported index type '{}' in list", other.type_name()))),
    }
}
